"""Opening of files that hold tables: plain, gzip, Zstandard, zip and members of tar archives, as streams of bytes.

Nothing is ever extracted beside the file, and no archive can make it take more memory than a table does.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import importlib
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from common.options import UserError, reason_of, require
from common.sources import open_text_or_zip

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)
MOST_MEMBERS = 100_000
"""Members of an archive; MSSD's largest has under a thousand. All of them are kept in memory."""
MOST_BEHIND = 2**26
"""Bytes behind the last member of an archive, which are zeros to fill up a block."""
ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".parquet", ".jsonl", ".ndjson")
"""Of the tables that a folder is searched for; each also with .gz, .zst or .zip behind it."""
PACKED = (".gz", ".zst", ".zip")


@dataclass(frozen=True)
class Source:
    """A file with a table, or such a member of a tar archive."""

    path: Path
    member: str | None = None
    open: Callable[[], IO[bytes]] | None = field(default=None, repr=False, compare=False)
    """Opens its bytes, where these are not a file's or a member's as they stand; else they are found by the names."""

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The name of the table's file without ``.gz``, ``.zst`` or ``.zip``, in lower case.

        >>> Source(Path("data/Train.tsv.gz")).name
        'train.tsv'
        """
        name = PurePosixPath(self.member).name.lower() if self.member else self.path.name.lower()
        return name.rsplit(".", 1)[0] if name.endswith(PACKED) else name

    @property
    def plain(self) -> bool:
        """Whether the bytes of the table are those of the file."""
        return not (self.member or self.open or self.path.name.lower().endswith(PACKED))


@contextlib.contextmanager
def telling_damage(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged archive, or of a file that cannot be read, into a UserError."""
    try:
        yield
    except DAMAGED as error:
        raise UserError(f"{path}: the archive is damaged: {error}; download the file again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason_of(error)}") from error


def is_archive(path: Path) -> bool:
    """Whether the name of ``path`` says that it is a tar archive."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def find_sources(place: str | Path | Source | Sequence[str | Path | Source]) -> list[Source]:
    """The tables of a file, a folder, a pattern such as ``plays/*.csv``, or a list of them, in the order of names.

    A tar archive gives no member here; see :func:`open_sources`.

    Raises:
        UserError: there is no such file, or no table in a folder.
    """
    if isinstance(place, Source):
        return [place]
    if not isinstance(place, str | Path):
        return [source for one in place for source in find_sources(one)]
    path = Path(place)
    if path.is_dir():
        found = [
            file
            for file in sorted(path.iterdir())
            if file.is_file() and not file.name.startswith(".") and Source(file).name.endswith(ENDINGS)
        ]
        require(bool(found), f"{path}: holds no table; expected files that end in {', '.join(ENDINGS)}")
        return [Source(file) for file in found]
    if not path.exists() and glob.has_magic(str(path)):
        first = next(place for place, part in enumerate(path.parts) if glob.has_magic(part))
        pattern = str(PurePosixPath(*path.parts[first:]))
        matching = sorted(found for found in Path(*path.parts[:first]).glob(pattern) if found.is_file())
        require(bool(matching), f"{path}: no file is called so")
        return [Source(file) for file in matching]
    require(path.is_file(), f"{path}: no such file")
    return [Source(path)]


def open_sources(path: Path, *patterns: str) -> Iterator[tuple[Source, IO[bytes]]]:
    """The file ``path``, or the members of the archive ``path`` whose names match, one after the other.

    Args:
        path: a file that is taken whatever its name, or a tar archive, which is read once from front to back.
        patterns: of file names (without folders, in lower case) such as ``log_*.csv``.

    Raises:
        UserError: the file cannot be read or is damaged; raised while reading, too.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(telling_damage(path))
        if not is_archive(path):
            yield Source(path), stack.enter_context(opened(path))
            return
        packed = stack.enter_context(path.open("rb"))
        # tarfile unpacks gzip by itself where it only reads forward, but never looks at the checksum.
        zipped = packed.peek(2)[:2] == b"\x1f\x8b"
        whole = _unzipped(packed) if zipped else packed
        archive = stack.enter_context(tarfile.open(fileobj=whole, mode="r|*"))
        for number, member in enumerate(archive):
            require(number < MOST_MEMBERS, f"{path}: has more than {MOST_MEMBERS:,} members; expected tables")
            name = PurePosixPath(member.name).name.lower()
            if member.isfile() and any(fnmatch(name, pattern) for pattern in patterns):
                content = archive.extractfile(member)
                if content is not None:
                    with _unzipped(content) if name.endswith(".gz") else content as stream:
                        yield Source(path, member.name), stream
        behind = 0
        while zipped and (rest := len(whole.read(2**20))):  # behind the last member: the checksum is at the very end
            behind += rest
            require(behind <= MOST_BEHIND, f"{path}: goes on for over {MOST_BEHIND:,} bytes behind its last member")


def _unzipped(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(stream))


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[IO[bytes]]:
    """The bytes of one table, unpacked; for a member of an archive all before it is passed over.

    Raises:
        UserError: as :func:`open_sources`, or the archive has no such member.
    """
    if source.open is not None:
        with telling_damage(source.path), source.open() as stream:
            yield stream
        return
    if source.member is None:
        with telling_damage(source.path), opened(source.path) as stream:
            yield stream
        return
    pattern = glob.escape(PurePosixPath(source.member).name.lower())
    for found, stream in open_sources(source.path, pattern):
        if found == source:
            yield stream
            return
    raise UserError(f"{source}: the archive has no such member any more")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, of ``.gz`` and ``.zst`` unpacked, of ``.zip`` the only file in it."""
    name = path.name.lower()
    if name.endswith(".gz"):
        with gzip.open(path) as stream:
            yield cast(IO[bytes], stream)
    elif name.endswith(".zst"):
        with _open_zstandard(path) as stream:
            yield stream
    else:
        with open_text_or_zip(path) as stream:
            yield stream


@contextlib.contextmanager
def _open_zstandard(path: Path) -> Iterator[IO[bytes]]:
    """By Python's own module (from 3.14 on), the package zstandard, or the program zstd, whichever is there."""
    for module in ("compression.zstd", "backports.zstd", "zstandard", "pyzstd"):
        try:
            unpack: Any = importlib.import_module(module)
        except ImportError:
            continue
        errors = tuple(
            getattr(unpack, name) for name in ("ZstdError",) if isinstance(getattr(unpack, name, None), type)
        )
        try:
            with unpack.open(path, "rb") as stream:
                yield stream
        except errors as error:
            raise UserError(f"{path}: the archive is damaged: {error}; download the file again") from error
        return
    program = shutil.which("zstd")
    if program is None:
        raise UserError(
            f"{path}: nothing here unpacks Zstandard; install it (pip install zstandard) or unpack the file"
        )
    with subprocess.Popen(
        [program, "-dcq", "--", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        stream = cast(IO[bytes], process.stdout)
        yield stream
        whole = not stream.read(1)
        if not whole:
            process.kill()
        if whole and process.wait():
            raise UserError(f"{path}: the archive is damaged; download the file again")
