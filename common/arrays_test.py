"""Sets of prepared arrays: named by what they are made of, never changed, checked when they are opened."""

import json
import os
import shutil
import time

import numpy as np
import pytest

from common.arrays import Array, Recipe, array_set, digests, fingerprint, open_set, read_sealed
from common.options import UserError

DECLARED = (
    Array("offsets", np.int64, ("sessions+1",)),
    Array("items", (np.int32, np.int64), ("offsets[-1]",), 0, "tracks"),
    Array("names", "S", ("tracks",)),
    Array("features", np.float32, ("tracks", 2), optional=True),
)


def write(folder):
    np.save(folder / "offsets.npy", np.array([0, 2, 3]))
    np.save(folder / "items.npy", np.array([0, 1, 1], np.int32))
    np.save(folder / "names.npy", np.array([b"a", b"bc"]))
    (folder / "texts.json").write_text('{"title": "é"}')


@pytest.fixture
def raw(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("1,2\n")
    os.utime(path, (1e9, 1e9))
    return path


class Maker:
    """A recipe, and how often it was made."""

    def __init__(self, raw, write=write, **more):
        self.raw, self.write, self.more, self.times = raw, write, more, 0

    def make(self, folder):
        self.times += 1
        self.write(folder)
        return {"rows": np.int64(3), "left_out": {"short": 1}, "nothing": float("nan")}

    def recipe(self, **options):
        return Recipe("tiny", 1, {"events": self.raw}, options, self.make, DECLARED, **self.more)


def test_a_set_is_made_once_for_each_content_and_option_and_stays_as_it_is(raw, tmp_path):
    maker, home = Maker(raw), tmp_path / "home"
    first = array_set(home, maker.recipe(seed=1))
    assert first.meta == {"rows": 3, "left_out": {"short": 1}, "nothing": None}
    assert first.json("texts.json") == {"title": "é"} and set(first.arrays) == {"offsets", "items", "names"}
    assert first.folder.parent == home and first.folder.name.startswith("tiny-")
    assert array_set(home, maker.recipe(seed=1)).folder == first.folder and maker.times == 1
    other = array_set(home, maker.recipe(seed=2))
    assert maker.times == 2 and other.folder != first.folder and first.folder.is_dir()
    assert other.fingerprint == first.fingerprint == read_sealed(first.folder / "meta.json")["fingerprint"]
    raw.write_text("3,4\n")
    changed = array_set(home, maker.recipe(seed=1))
    assert maker.times == 3 and changed.folder not in (first.folder, other.folder)
    raw.write_text("1,2\n")  # again as it was, at another time
    assert array_set(home, maker.recipe(seed=1)).folder == first.folder and maker.times == 3
    assert np.asarray(first.arrays["items"]).tolist() == [0, 1, 1]


def test_a_damaged_set_is_made_anew_and_open_maps_stay(raw, tmp_path):
    maker, home = Maker(raw), tmp_path / "home"
    first = array_set(home, maker.recipe())
    for times, name in enumerate(["items.npy", "texts.json", "meta.json"], 2):
        path = first.folder / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-5] + b"0" + content[-4:])
        assert array_set(home, maker.recipe()).fingerprint == first.fingerprint
        assert maker.times == times and (name == "meta.json" or path.read_bytes() == content)
    (first.folder / "names.npy").unlink()
    array_set(home, maker.recipe())
    assert maker.times == 5 and first.arrays["names"].tolist() == [b"a", b"bc"]
    assert sorted(path.name for path in home.iterdir()) == ["digests.json", first.folder.name]


def test_a_copy_of_a_set_is_good_and_an_altered_copy_is_not(raw, tmp_path):
    first = array_set(tmp_path / "home", Maker(raw).recipe())
    address = read_sealed(first.folder / "meta.json")["address"]
    copy = shutil.copytree(first.folder, tmp_path / "copy", copy_function=shutil.copy)  # of another time
    for distrust in (False, True):
        assert open_set(copy, address, DECLARED, distrust=distrust).fingerprint == first.fingerprint
        assert open_set(copy, "another", DECLARED, distrust=distrust) is None
    stat = (copy / "items.npy").stat()
    np.save(copy / "items.npy", np.array([0, 1, 0], np.int32))
    assert open_set(copy, address, DECLARED) is None
    os.utime(copy / "items.npy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_set(copy, address, DECLARED, distrust=True) is None


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("items", np.array([0, 1, 2], np.int32)),  # there are two tracks
        ("items", np.array([0, 1, -1], np.int32)),
        ("items", np.array([0, 1], np.int32)),
        ("items", np.array([0, 1, 1], np.float32)),
        ("offsets", np.array([[0, 3]])),
        ("names", np.array(["a", "b"])),
        ("features", np.zeros((3, 2), np.float32)),
        ("features", np.array([{}, {}])),
    ],
)
def test_what_is_not_as_declared_is_never_kept(name, array, raw, tmp_path):
    def wrong(folder):
        write(folder)
        np.save(folder / f"{name}.npy", array)

    with pytest.raises(UserError, match=r"tiny-\w+: what was written cannot be read back"):
        array_set(tmp_path / "home", Maker(raw, wrong).recipe())
    assert not (tmp_path / "home").exists()


def test_files_are_not_read_again_until_their_size_or_time_changes(raw, tmp_path, monkeypatch):
    import common.arrays

    read, sha256 = [], common.arrays.sha256
    monkeypatch.setattr(common.arrays, "sha256", lambda path: read.append(path.name) or sha256(path))
    first = digests({"events": raw}, tmp_path)
    assert digests({"role": raw}, tmp_path) == {"role": first["events"]} and read == ["raw.csv"]
    os.utime(raw, (1e9, 1e9 + 1))
    assert digests({"events": raw}, tmp_path) == first and read == ["raw.csv"] * 2
    raw.rename(tmp_path / "before.csv")  # another file of the same size and time in its place
    raw.write_text("1,3\n")
    os.utime(raw, (1e9, 1e9 + 1))
    other = digests({"events": raw}, tmp_path)
    assert other != first and digests({"events": raw}, tmp_path) == other and read == ["raw.csv"] * 3
    raw.write_text("1,2\n")  # in place
    os.utime(raw, (1e9, 1e9 + 1))
    assert digests({"events": raw}, tmp_path) == first and read == ["raw.csv"] * 4
    memory = tmp_path / "digests.json"
    memory.write_text(memory.read_text().replace(first["events"], "0" * 64))
    assert digests({"events": raw}, tmp_path) == first and read == ["raw.csv"] * 5
    raw.write_text("just now")  # may change once more within the same tick of the clock
    for _ in range(2):
        digests({"events": raw}, tmp_path)
    assert read == ["raw.csv"] * 7 and json.loads(memory.read_text())["files"]
    with pytest.raises(UserError, match=r"no\.csv: No such file"):
        digests({"events": tmp_path / "no.csv"}, tmp_path)


def test_a_raw_file_that_changes_while_it_is_read_is_told(raw, tmp_path):
    def slow(folder):
        write(folder)
        raw.write_text("5,6\n")

    with pytest.raises(UserError, match=r"raw\.csv: has changed while it was read"):
        array_set(tmp_path / "home", Maker(raw, slow).recipe())
    assert not (tmp_path / "home").exists()


def test_folders_that_cannot_be_written_and_old_arrays_are_told_in_one_line(raw, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*Not a directory|file.*exists"):
        array_set(tmp_path / "file" / "home", Maker(raw).recipe())
    (tmp_path / "home/gru4rec").mkdir(parents=True)
    for _ in range(2):
        array_set(tmp_path / "home", Maker(raw).recipe())
    told = capsys.readouterr().err
    assert told.count("gru4rec of version 0.1 are used no more; you may delete") == told.count("\n") == 1
    assert (tmp_path / "home/gru4rec").is_dir()


def test_a_set_in_a_folder_of_ones_own_is_replaced_when_asked(raw, tmp_path):
    maker, mine = Maker(raw), tmp_path / "mine"
    for anew in (False, False, True):
        assert array_set(tmp_path / "home", maker.recipe(), folder=mine, anew=anew).folder == mine
    assert maker.times == 2


def test_names_count_and_the_order_does_not():
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"}) != fingerprint({"a": "2", "b": "1"})
    assert len(fingerprint({})) == 64


def test_opening_takes_no_longer_for_large_files(tmp_path):
    """Large raw files and arrays (which take no space) is opened without being read."""
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.truncate(2**26)
    os.utime(raw, (1e9, 1e9))

    def make(folder):
        with (folder / "large.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**26,)})
            file.truncate(file.tell() + 2**26)
        return {}

    recipe = Recipe("tiny", 1, {"raw": raw}, {}, make, (Array("large", np.uint8, ("n",)),))
    array_set(tmp_path / "home", recipe)
    started = time.perf_counter()
    assert len(array_set(tmp_path / "home", recipe).arrays["large"]) == 2**26
    assert time.perf_counter() - started < 0.2
