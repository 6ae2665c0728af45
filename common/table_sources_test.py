from __future__ import annotations

import gzip
import importlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from common.options import UserError
from common.table_sources import Source, find_sources, open_source, open_sources, opened, telling_damage

TEXT = b"a,b\n1,2\n"


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_members_of_archives(tmp_path):
    path = tmp_path / "a.tar.gz"
    write_archive(path, {"x/a.csv": TEXT, "x/b.csv.gz": gzip.compress(TEXT), "x/notes.txt": b"no"})
    found = [(str(source), stream.read()) for source, stream in open_sources(path, "*.csv*")]
    assert found == [(f"{path}: x/a.csv", TEXT), (f"{path}: x/b.csv.gz", TEXT)]
    with open_source(Source(path, "x/b.csv.gz")) as stream:
        assert stream.read() == TEXT
    with pytest.raises(UserError, match="the archive has no such member"), open_source(Source(path, "x/c.csv")):
        pass


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tar.gz"])
def test_damaged_archives(tmp_path, name):
    path = tmp_path / name
    if name == "a.csv.gz":
        path.write_bytes(gzip.compress(TEXT * 5000))
    else:
        write_archive(path, {"a.csv": TEXT * 5000})
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"not packed at all" * 50, whole[:60] + b"\0" * 60 + whole[120:]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match="download the file again"):
            for _, stream in open_sources(path, "*.csv"):
                with telling_damage(path):
                    stream.read()


def test_an_archive_that_goes_on_behind_its_members(tmp_path, monkeypatch):
    path = tmp_path / "a.tar.gz"
    write_archive(path, {"a.csv": TEXT})
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(3_000_000)))
    assert [stream.read() for _, stream in open_sources(path, "*.csv")] == [TEXT]
    monkeypatch.setattr("common.table_sources.MOST_BEHIND", 2_000_000)
    with pytest.raises(UserError, match=r"a.tar.gz: goes on for over 2,000,000 bytes behind its last member"):
        list(open_sources(path, "*.csv"))
    with (tmp_path / "zeros.tar").open("wb") as file:
        file.truncate(2**40)  # takes no space, and no time
    assert list(open_sources(tmp_path / "zeros.tar", "*.csv")) == []


def test_files_folders_and_patterns(tmp_path):
    for name in ("b.csv", "a.tsv.gz", "notes.md", ".hidden.csv", "c.csv.zst"):
        (tmp_path / name).write_bytes(TEXT)
    assert [source.path.name for source in find_sources(tmp_path)] == ["a.tsv.gz", "b.csv", "c.csv.zst"]
    assert [source.path.name for source in find_sources(str(tmp_path / "*.csv"))] == [".hidden.csv", "b.csv"]
    assert [source.name for source in find_sources([tmp_path / "a.tsv.gz", tmp_path / "b.csv"])] == ["a.tsv", "b.csv"]
    with pytest.raises(UserError, match=r"holds no table; expected files that end in \.csv"):
        find_sources(Path(__file__).parent / "mssd")


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no program zstd")
def test_zstandard_is_unpacked_whole_or_refused(tmp_path):
    plain, packed = tmp_path / "a.csv", tmp_path / "a.csv.zst"
    plain.write_bytes(b'a,b\r\n1,"x\n' * 1000)
    subprocess.run(["zstd", "-q", plain], check=True)
    with opened(packed) as stream:
        assert stream.read() == plain.read_bytes()
    packed.write_bytes(packed.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"a\.csv\.zst: the archive is damaged"), opened(packed) as stream:
        stream.read()


def test_what_unpacks_zstandard_is_named_where_nothing_does(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    (tmp_path / "a.csv.zst").touch()
    message = r"unpacks Zstandard; install it \(pip install zstandard\) or unpack the file"
    with pytest.raises(UserError, match=message), opened(tmp_path / "a.csv.zst"):
        pass
