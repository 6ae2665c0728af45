"""Archives that somebody made to do harm: tar, gzip, zip, npz and npy files that lie, lead out or never end."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

GIGABYTE = 2**30
Damage = Callable[[Path], None]


class Payload:
    """Unpickling it writes a file: the sign that a reader has executed what it read."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self._target, "executed")


def canary(folder: Path) -> Path:
    """Nothing may ever be written there: a file beside the folder of a case."""
    return folder.parent / "outside" / "canary"


def repeated(filling: bytes, size: int) -> Iterator[bytes]:
    """A gzip file of ``size`` bytes of ``filling``: small members behind each other, which is quick to make."""
    block = filling * (2**24 // len(filling))
    member = gzip.compress(block, 9, mtime=0)
    for _ in range(size // len(block)):
        yield member


def gzip_bomb(pattern: str, filling: bytes, size: int, keep_header: bool, folder: Path) -> None:
    """Replace the first file of the name ``pattern`` by one of 20 MB that unpacks to ``size`` bytes."""
    path = sorted(folder.glob(pattern))[0]
    with gzip.open(path) as packed:
        first = packed.readline() if keep_header else b""
    with path.open("wb") as file:
        file.write(gzip.compress(first))
        file.writelines(repeated(filling, size))


def _logs(folder: Path) -> tuple[Path, list[tuple[tarfile.TarInfo, bytes]]]:
    path = next(folder.glob("logs.tar*"))
    with tarfile.open(path) as archive:
        kept = []
        for member in archive:
            content = archive.extractfile(member)
            assert content
            kept.append((member, content.read()))
    return path, kept


def tar_with(name: str, kind: bytes, target: str, folder: Path) -> None:
    """Add a member to the archive of logs: of the content of a log, or a link or device."""
    path, kept = _logs(folder)
    evil = tarfile.TarInfo(name.format(outside=canary(folder)))
    evil.type, evil.linkname = kind, target.format(outside=canary(folder))
    content = kept[0][1] if kind == tarfile.REGTYPE else b""
    evil.size = len(content)
    with tarfile.open(path, "w:gz") as archive:
        for member, text in [*kept, (evil, content)]:
            archive.addfile(member, io.BytesIO(text))


def tar_bomb(folder: Path) -> None:
    """A log of 20 GB of zeros in an archive of 20 MB."""
    path, _ = _logs(folder)
    member = tarfile.TarInfo("log_0_20180715_000000000000.csv")
    member.size = 20 * GIGABYTE
    with path.open("wb") as file:
        file.write(gzip.compress(member.tobuf(tarfile.GNU_FORMAT)))
        file.writelines(repeated(b"\0", 20 * GIGABYTE))


def tar_of_a_million(folder: Path) -> None:
    """A million empty members before the end."""
    path, _ = _logs(folder)
    block = gzip.compress(tarfile.TarInfo("log.txt").tobuf() * 10_000, 9)
    with path.open("wb") as file:
        file.writelines([block] * 100)
        file.write(gzip.compress(bytes(1024)))


def zip_with(pattern: str, name: str, count: int, folder: Path) -> None:
    """Give the members of an archive other names, and ``count`` of each."""
    path = next(folder.glob(pattern))
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for old, content in members:
            for number in range(count):
                archive.writestr(name.format(old=old, number=number, outside=canary(folder)), content)


def zip_bomb(pattern: str, member: str, head: bytes, filling: bytes, folder: Path) -> None:
    """Replace an archive by one of 4 MB whose members unpack to 4 GB; the member ``member``, or its own ones."""
    path = next(folder.glob(pattern))
    names = [member] if member else zipfile.ZipFile(path).namelist()
    blocks, size = 238, 238 * 2**24 + len(head)
    packer = zlib.compressobj(9, wbits=-15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(filling * (2**24 // len(filling))) + packer.flush(zlib.Z_FULL_FLUSH)
    body = first + block * blocks + packer.flush()
    parts, central, offset = [], [], 0
    for name in names:
        fields = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 33, 0, len(body), size, len(name), 0)
        parts += [b"PK\3\4" + fields + name.encode(), body]
        entry = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHLL", 0, 0, 0, 0, offset) + name.encode()
        central.append(entry)
        offset += sum(map(len, parts[-2:]))
    whole = b"".join(central)
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, len(names), len(names), len(whole), offset, 0)
    path.write_bytes(b"".join([*parts, whole, end]))


def zip_of_a_million(pattern: str, folder: Path) -> None:
    """An archive that lists the same empty member a million times."""
    path = next(folder.glob(pattern))
    fields = struct.pack("<HHHHHLLLHH", 20, 0, 0, 0, 33, 0, 0, 0, 5, 0)
    entry = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + b"a.txt"
    central = entry * 1_000_000
    local = b"PK\3\4" + fields + b"a.txt"
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 65535, 65535, len(central), len(local), 0)
    path.write_bytes(local + central + end)


def npy_header(shape: str, kind: str = "<f4") -> bytes:
    """The beginning of an .npy file that says it has this shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def npy_with(name: str, content: bytes, folder: Path) -> None:
    """Replace an .npy file."""
    (folder / name).write_bytes(content)


def npz_member(name: str, content: bytes, folder: Path) -> None:
    """Give the first array of an .npz another content."""
    path = folder / name
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[next(iter(members))] = content
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)


def pickled(name: str, folder: Path) -> None:
    """An array of objects, that is a pickle, which writes a file when it is loaded."""
    payload = pickle.dumps(np.array([Payload(canary(folder))], object), protocol=2)
    content = npy_header("(1,)", "|O") + payload
    (npz_member if name.endswith(".npz") else npy_with)(name, content, folder)


def plain_pickle(name: str, folder: Path) -> None:
    """A pickle under the name of an array."""
    (folder / name).write_bytes(pickle.dumps(Payload(canary(folder))))


_LOG, _ZEROS = "log_*.csv.gz", b"\0"
_TARS: dict[str, Damage] = {
    "tar: absolute path": partial(tar_with, "{outside}/log_9_x.csv", tarfile.REGTYPE, ""),
    "tar: path with ..": partial(tar_with, "../outside/log_9_x.csv", tarfile.REGTYPE, ""),
    "tar: name with line ends": partial(tar_with, "log_9\n\r\n_x.csv", tarfile.REGTYPE, ""),
    "tar: symbolic link": partial(tar_with, "log_9_x.csv", tarfile.SYMTYPE, "/etc/passwd"),
    "tar: hard link": partial(tar_with, "log_9_x.csv", tarfile.LNKTYPE, "/etc/passwd"),
    "tar: device": partial(tar_with, "log_9_x.csv", tarfile.CHRTYPE, ""),
    "tar: pipe": partial(tar_with, "log_9_x.csv", tarfile.FIFOTYPE, ""),
    "tar: 20 GB of zeros": tar_bomb,
    "tar: a million members": tar_of_a_million,
}
_HUGE = "(1000000, 1000000)"
ARCHIVES: tuple[tuple[str, str, Damage], ...] = (
    *((name, "mssd tar.gz", damage) for name, damage in _TARS.items()),
    *((name, "mssd tar.gz, duckdb", damage) for name, damage in _TARS.items()),
    ("gzip: 20 GB of zeros", "mssd csv.gz", partial(gzip_bomb, _LOG, _ZEROS, 20 * GIGABYTE, False)),
    ("gzip: 20 GB of zeros below a header", "mssd csv.gz", partial(gzip_bomb, _LOG, _ZEROS, 20 * GIGABYTE, True)),
    ("gzip: 20 GB of commas", "mssd csv.gz", partial(gzip_bomb, _LOG, b",", 20 * GIGABYTE, True)),
    ("gzip: 20 GB of zeros", "mssd csv.gz, duckdb", partial(gzip_bomb, _LOG, _ZEROS, 20 * GIGABYTE, True)),
    ("gzip: 20 GB of zeros", "kkbox csv.gz", partial(gzip_bomb, "*.gz", _ZEROS, 20 * GIGABYTE, True)),
    ("gzip: 20 GB of quotes", "kkbox csv.gz", partial(gzip_bomb, "*.gz", b'"', 20 * GIGABYTE, True)),
    ("gzip: 20 GB of zeros", "seer play counts gz", partial(gzip_bomb, "*.gz", _ZEROS, 20 * GIGABYTE, False)),
    ("gzip: 20 GB of zeros", "audiotext tsv.gz", partial(gzip_bomb, "*.gz", _ZEROS, 20 * GIGABYTE, True)),
    ("zip: absolute path", "seer arrays zip", partial(zip_with, "midi*", "{outside}", 1)),
    ("zip: path with ..", "seer arrays zip", partial(zip_with, "midi*", "../outside/{old}", 1)),
    ("zip: name with line ends", "seer arrays zip", partial(zip_with, "midi*", "a\n\r\n{old}", 1)),
    ("zip: two files", "seer arrays zip", partial(zip_with, "midi*", "{number}{old}", 2)),
    ("zip: a million members", "seer arrays zip", partial(zip_of_a_million, "midi*")),
    ("zip: 4 GB of zeros", "seer arrays zip", partial(zip_bomb, "midi*", "", b"[[", b"0")),
    ("zip: 4 GB of brackets", "seer arrays zip", partial(zip_bomb, "midi*", "", b"[", b"[")),
    ("zip: 4 GB of spaces", "seer arrays zip", partial(zip_bomb, "midi*", "", b"[", b" ")),
    ("zip: path with ..", "audiotext hetrec zip", partial(zip_with, "*.zip", "../outside/{old}", 1)),
    ("zip: 4 GB a member", "audiotext hetrec zip", partial(zip_bomb, "*.zip", "", b"id\tname\n", b"0")),
    ("zip: a million members", "audiotext hetrec zip", partial(zip_of_a_million, "*.zip")),
    *(
        (what, form, partial(damage, name))
        for form, name in (("audiotext npz", "plays.npz"), ("audiotext npz", "scipy.npz"), ("torch npz", "arrays.npz"),
                           ("checkpoint.npz", "checkpoint.npz"), ("audiotext tfidf and scaler", "scaler.npz"))
        for what, damage in (
            (f"npz: pickle in {name}", pickled),
            (f"npz: no zip but a pickle, {name}", plain_pickle),
            (f"npz: shape of 4 TB, {name}", lambda name, folder: npz_member(name, npy_header(_HUGE), folder)),
            (f"npz: 4 GB of zeros, {name}",
             lambda name, folder: zip_bomb(name, "", npy_header("(998244352,)"), _ZEROS, folder)),
            (f"npz: a million members, {name}", lambda name, folder: zip_of_a_million(name, folder)),
            (f"npz: path with .., {name}", lambda name, folder: zip_with(name, "../outside/{old}", 1, folder)),
        )
    ),
    ("npy: pickle", "audiotext npy", partial(pickled, "factors.npy")),
    ("npy: no array but a pickle", "audiotext npy", partial(plain_pickle, "factors.npy")),
    ("npy: shape of 4 TB", "audiotext npy", lambda folder: npy_with("factors.npy", npy_header(_HUGE), folder)),
    ("npy: header of brackets", "audiotext npy",
     lambda folder: npy_with("factors.npy", npy_header("(" * 9000 + ")" * 9000), folder)),
)  # fmt: skip
