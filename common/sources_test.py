"""Tests of common/sources.py: finding datasets, hostile zips."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from common.options import UserError
from common.sources import MARKER, dataset_folder, find_file, open_text_or_zip

REQUIRED: list[str | tuple[str, ...]] = ["triplets.txt", ("midi.txt", "midi.zip")]


def write_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "triplets.txt").write_text("0 0 1\n")
    (folder / "MIDI.zip").write_bytes(b"")


def never(folder: Path) -> None:
    pytest.fail("the sample is not needed here")


def read(path: Path) -> bytes:
    with open_text_or_zip(path) as stream:
        return stream.read()


def make_zip(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_find_file_ignores_case_and_prefers_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "Time_array.zip").write_bytes(b"")
    assert find_file(tmp_path, "time_array.txt", "time_array.zip") == tmp_path / "Time_array.zip"
    (tmp_path / "time_array.txt").write_bytes(b"")
    assert find_file(tmp_path, "time_array.txt", "time_array.zip") == tmp_path / "time_array.txt"
    (tmp_path / "folder.txt").mkdir()
    assert find_file(tmp_path, "folder.txt") is None
    assert find_file(tmp_path / "nowhere", "time_array.txt") is None


def test_sample_is_written_once_and_announced_in_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def write_sample(folder: Path) -> None:
        calls.append(folder)
        write_files(folder)

    for _ in range(2):
        dataset = dataset_folder("seer", None, REQUIRED, write_sample)
        assert (dataset.raw, dataset.name, dataset.synthetic) == (root / "seer/sample", "sample", True)
        assert dataset.prepared == root / "seer/sample/prepared"
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and "data/README.md" in lines[0] and "synthetic" in lines[0]
    assert len(calls) == 1
    assert [path.name for path in (root / "seer").iterdir()] == ["sample"]
    named = dataset_folder("seer", root / "seer/sample", REQUIRED, write_sample)
    assert named.synthetic and named.prepared == root / "seer/sample/prepared"


def test_a_sample_that_somebody_has_altered_is_noticed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def opened(folder: Path | None = None) -> tuple[str, list[str]]:
        dataset = dataset_folder("seer", folder, REQUIRED, write_files)
        return dataset.name, capsys.readouterr().err.splitlines()[-1:]

    sample = root / "seer/sample"
    assert opened()[0] == "sample" and opened(sample) == ("sample", [])
    (sample / "prepared").mkdir(exist_ok=True)
    (sample / "prepared/anything").touch()  # what is made of it is no part of it
    assert opened(sample) == ("sample", [])
    (sample / "triplets.txt").write_text("0 0 2\n")  # of the same size
    for folder in (None, sample):
        name, told = opened(folder)
        assert name == "sample-altered" and "not as it was written (triplets.txt)" in told[0]
    (sample / "triplets.txt").write_text("0 0 1\n")
    assert opened()[0] == "sample"
    (sample / "more.csv").touch()
    assert "(more.csv)" in opened()[1][0]
    (sample / "triplets.txt").write_text("")
    assert "(more.csv and 1 more)" in opened()[1][0]


def test_failed_sample_leaves_nothing(root: Path) -> None:
    def write_sample(folder: Path) -> None:
        write_files(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset_folder("seer", None, REQUIRED, write_sample)
    assert list((root / "seer").iterdir()) == []


def test_a_sample_folder_with_the_users_own_files_is_not_touched(root: Path) -> None:
    (root / "seer/sample").mkdir(parents=True)
    (root / "seer/sample/mine.txt").write_text("mine")
    with pytest.raises(UserError, match=MARKER):
        dataset_folder("seer", None, REQUIRED, write_files)
    assert (root / "seer/sample/mine.txt").read_text() == "mine"


@pytest.mark.parametrize("where", ["seer/released", "seer"])
def test_released_files_come_first(root: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(root / where)
    dataset = dataset_folder("seer", None, REQUIRED, never)
    assert (dataset.raw, dataset.name, dataset.synthetic) == (root / where, "released", False)
    assert dataset.prepared == root / where / "prepared"
    assert capsys.readouterr().err == ""


def test_foreign_folder_is_never_written_to(root: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a/mine", tmp_path / "b/mine"
    for folder in (first, second):
        write_files(folder)
    one, two = (dataset_folder("seer", folder, REQUIRED, never) for folder in (first, second))
    assert one.name == two.name == "mine" and not one.synthetic
    assert one.prepared != two.prepared
    assert one.prepared.parent.parent == root / "seer" and one.prepared.name == "prepared"
    (first / MARKER).write_text("")
    assert dataset_folder("seer", first, REQUIRED, never).synthetic


def test_wrong_data_dir_is_the_users_mistake(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        dataset_folder("seer", tmp_path / "nowhere", REQUIRED, never)
    with pytest.raises(UserError, match=r"lacks triplets.txt, midi.txt or midi.zip"):
        dataset_folder("seer", tmp_path, REQUIRED, never)


def test_zip_and_plain_file_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"content")
    archive = make_zip(tmp_path / "a.ZIP", ("Data/", b""), ("Data/a.txt", b"content"), ("__MACOSX/._a.txt", b"x"))
    assert read(archive) == read(tmp_path / "a.txt") == b"content"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "holds 0 files"),
        ([("folder/", b"")], "holds 0 files"),
        ([("a.txt", b"a"), ("b.txt", b"b")], "holds 2 files"),
        ([("/etc/passwd", b"a")], "leads out"),
        ([("../a.txt", b"a")], "leads out"),
        ([("a/../../b.txt", b"a")], "leads out"),
        ([("..\\a.txt", b"a")], "leads out"),
        ([("C:\\a.txt", b"a")], "leads out"),
        ([("a.txt", b"a"), ("../b.txt", b"b")], "leads out"),
    ],
)
def test_hostile_zip_is_refused(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    path = make_zip(tmp_path / "midi_array.zip", *members)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "midi_array.zip" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["midi_array.zip"]


def test_damaged_zip_is_refused(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "a.zip", ("a.txt", bytes(range(256)) * 999), method=zipfile.ZIP_STORED).read_bytes()
    path = tmp_path / "damaged.zip"
    for broken in (b"", b"no zip", whole[: len(whole) // 2], whole[len(whole) // 2 :]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"damaged\.zip"):
            read(path)
    flipped = bytearray(whole)
    flipped[1000] ^= 1  # only the checksum can tell
    path.write_bytes(flipped)
    with pytest.raises(UserError, match=r"damaged\.zip.*CRC"):
        read(path)
    deflated = bytearray(make_zip(tmp_path / "b.zip", ("a.txt", os.urandom(9999))).read_bytes())
    deflated[100:200] = bytes(100)
    path.write_bytes(deflated)
    with pytest.raises(UserError, match=r"damaged\.zip"):
        read(path)


def test_encrypted_zip_and_unknown_method_are_refused(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "a.zip", ("a.txt", b"content"), method=zipfile.ZIP_STORED).read_bytes()
    entry = whole.index(b"PK\x01\x02")
    for offset, value, message in ((8, 1, "encrypted"), (10, 99, "cannot be opened")):
        changed = bytearray(whole)
        changed[entry + offset] = value
        changed[offset - 2] = value
        (tmp_path / "b.zip").write_bytes(changed)
        with pytest.raises(UserError, match=rf"b\.zip.*{message}"):
            read(tmp_path / "b.zip")


def test_missing_file_is_a_user_error(tmp_path: Path) -> None:
    for name in ("a.txt", "a.zip"):
        with pytest.raises(UserError, match=f"{name}: cannot be opened: No such file"):
            read(tmp_path / name)


def test_reader_errors_pass_through(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"content")
    with pytest.raises(io.UnsupportedOperation), open_text_or_zip(tmp_path / "a.txt") as stream:
        stream.write(b"x")
