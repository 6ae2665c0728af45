"""Dataset folders: the user's files, the released ones, or the synthetic sample in their place."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from common import console
from common.arrays import digests
from common.folders import replacing_folder
from common.options import PROJECT, UserError, reason_of, require

MARKER = "SYNTHETIC.txt"
"""A folder that holds this file is made up; results on it are marked synthetic."""
SUMS = "SYNTHETIC.sha256"
"""In a sample: SHA-256 and name of each of its files, as they were written (``sha256sum -c`` reads it, too)."""
LONGEST_LISTING = 2**22
"""Bytes of the list of members of a zip: some ten thousand names."""


@dataclass(frozen=True)
class Dataset:
    """The folders of one dataset."""

    raw: Path
    """Folder with the files in the released formats."""
    prepared: Path
    """Folder for the arrays made from them; it need not exist yet."""
    name: str
    """``released``, ``sample`` or the name of the user's own folder."""
    synthetic: bool
    """Whether the data are made up."""


def data_root() -> Path:
    """The folder ``data/`` of the project, or the folder in the environment variable ENCORE_DATA."""
    return Path(os.environ.get("ENCORE_DATA") or PROJECT / "data").resolve()


def find_file(folder: Path, *names: str) -> Path | None:
    """The first of ``names`` that is a file in ``folder``, upper and lower case being the same; else None.

    The released code of SeER ships ``Time_array.zip`` but reads ``time_array.txt``: hence the tolerance.
    """
    if not folder.is_dir():
        return None
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            files.setdefault(path.name.lower(), path)
    for name in names:
        if (folder / name).is_file():
            return folder / name
        if name.lower() in files:
            return files[name.lower()]
    return None


def missing_files(folder: Path, required: Sequence[str | tuple[str, ...]]) -> list[str]:
    """The ones of ``required`` that ``folder`` lacks; a tuple lists names of which any will do."""
    choices = [(names,) if isinstance(names, str) else names for names in required]
    return [" or ".join(names) for names in choices if find_file(folder, *names) is None]


def dataset_folder(
    paper: str,
    data_dir: Path | None,
    required: Sequence[str | tuple[str, ...]],
    write_sample: Callable[[Path], object],
) -> Dataset:
    """Find the dataset of ``paper`` (its folder's name): the user's, else the released one, else the sample.

    Args:
        data_dir: the user's ``--data-dir``; None looks for the released files in ``data/<paper>`` and
            ``data/<paper>/released``. If they are missing there too, one line on stderr says so and the
            sample in ``data/<paper>/sample`` is used. A folder may have the files in a folder ``Data``, as a clone of
            SeER's released code has.
        required: names of the released files; a tuple lists names of which any will do.
        write_sample: writes the sample into the empty folder it is given; called on first use only.

    Raises:
        UserError: ``data_dir`` is no folder or lacks files, or the sample cannot be written.
    """
    home = data_root() / paper
    if data_dir is not None:
        raw, name = data_dir.resolve(), data_dir.resolve().name
        require(raw.is_dir(), f"--data-dir {data_dir}: no such folder")
        missing = missing_files(raw, required)
        if missing and not missing_files(raw / "Data", required):
            raw, missing = raw / "Data", []
        require(not missing, f"--data-dir {data_dir} lacks {', '.join(missing)}; see data/README.md")
    elif found := [place for place in (home, home / "released", home / "Data") if not missing_files(place, required)]:
        raw, name = found[0], "released"
    else:
        console.notify(
            f"The released files are missing in {home} (data/README.md says where to get them): "
            f"the synthetic sample in {home / 'sample'} is used."
        )
        return sample_dataset(paper, required, write_sample)
    if raw.is_relative_to(data_root()):
        prepared = raw / "prepared"
    else:  # somebody else's folder, perhaps read-only: never write there
        code = hashlib.sha256(os.fsencode(raw)).hexdigest()[:8]
        prepared = home / f"{raw.name}-{code}" / "prepared"
    return _checked(Dataset(raw, prepared, name, synthetic=(raw / MARKER).is_file()))


def sample_dataset(
    paper: str, required: Sequence[str | tuple[str, ...]], write_sample: Callable[[Path], object]
) -> Dataset:
    """The synthetic sample of ``paper``, written on first use; see :func:`dataset_folder`.

    Raises:
        UserError: it cannot be written.
    """
    raw = data_root() / paper / "sample"
    _write_sample_once(raw, required, write_sample)
    return _checked(Dataset(raw, raw / "prepared", "sample", synthetic=True))


def _checked(dataset: Dataset) -> Dataset:
    """The dataset, under another name if it is a sample whose files are not those that were written.

    Raises:
        UserError: a file cannot be read.
    """
    listing, raw = dataset.raw / SUMS, dataset.raw
    if not listing.is_file():
        return dataset
    try:
        lines = [line.split("  ", 1) for line in listing.read_text("utf-8", errors="replace").splitlines()]
        written = {line[-1]: line[0] for line in lines}
        there = _files_of(raw)
        found = digests({name: path for name, path in there.items() if name in written}, dataset.prepared)
    except OSError as error:
        raise UserError(f"{error.filename or listing}: {reason_of(error)}") from error
    names = written.keys() | there.keys()
    other = sorted(name for name in names if name not in written or written[name] != found.get(name))
    if not other:
        return dataset
    console.notify(
        f"{raw}: is not as it was written ({other[0]}{f' and {len(other) - 1} more' if other[1:] else ''}): it is used "
        "as it is, under the name sample-altered; delete the folder to have the sample again"
    )
    return replace(dataset, name="sample-altered")


def _files_of(folder: Path) -> dict[str, Path]:
    """The files of a sample by their names, without what is made of them."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    made = ("prepared/", ".", SUMS)
    return {name: path for name, path in sorted(found.items()) if not name.startswith(made)}


def _write_sample_once(
    folder: Path, required: Sequence[str | tuple[str, ...]], write_sample: Callable[[Path], object]
) -> None:
    def complete(folder: Path) -> bool:
        return (folder / MARKER).is_file() and not missing_files(folder, required)

    if complete(folder):
        return
    require(
        not folder.exists() or (folder / MARKER).is_file() or not any(folder.iterdir()),
        f"{folder} should hold the synthetic sample, but its {MARKER} is missing; move the folder away",
    )
    try:
        with replacing_folder(folder, complete) as beside:
            write_sample(beside)
            mark_synthetic(beside)
            sums = digests(_files_of(beside), None)
            (beside / SUMS).write_text("".join(f"{sums[name]}  {name}\n" for name in sums), "utf-8")
    except OSError as error:
        raise UserError(f"cannot write the sample to {folder}: {reason_of(error)}") from error


def mark_synthetic(folder: Path, why: str = "Written by the sample of Encore; no real users or songs.") -> None:
    """Mark the dataset in ``folder`` as made up, so that every result on it says so; ``why`` says what is."""
    (folder / MARKER).write_text(f"Made-up data. {why}\n", "utf-8")


def check_listing(path: Path) -> None:
    """Look at the end of a zip before it is opened: ``zipfile`` reads the whole list of its members at once.

    Raises:
        zipfile.BadZipFile: the list of members is longer than :data:`LONGEST_LISTING`.
    """
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 2**16, 0))
        tail = file.read()
    place = tail.rfind(b"PK\5\6")  # where the list ends; its length in bytes is 12 bytes further on
    length = int.from_bytes(tail[place + 12 : place + 16], "little") if place >= 0 else 0
    if length > LONGEST_LISTING:
        raise zipfile.BadZipFile(f"it lists members over {length:,} bytes, expected at most {LONGEST_LISTING:,}")


@contextlib.contextmanager
def open_text_or_zip(path: Path, ending: str = "", largest: float = math.inf) -> Iterator[IO[bytes]]:
    """Open a plain file, or the only file inside a ``.zip``, as a stream of bytes; nothing is ever extracted.

    Args:
        path: the file.
        ending: members of a zip with other endings are ignored.
        largest: bytes that the member of a zip may unpack to.

    Raises:
        UserError: the file cannot be read, or the zip is damaged (raised while reading, too: the checksum
            comes last), encrypted, holds none or several files besides folders and ``__MACOSX/``, or has a
            member whose name leads out of the archive.
    """
    again = "download the file again"
    with contextlib.ExitStack() as stack:
        try:
            if path.suffix.lower() == ".zip":
                check_listing(path)
                archive = stack.enter_context(zipfile.ZipFile(path))
                stream = stack.enter_context(archive.open(_only_member(path, archive, ending, largest)))
            else:
                stream = stack.enter_context(path.open("rb"))
        except UserError:
            raise
        except (
            OSError,
            RuntimeError,
            NotImplementedError,
            ValueError,
            EOFError,
            zipfile.BadZipFile,
        ) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UserError(f"{path}: cannot be opened: {reason}; {again}") from error
        try:
            yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise UserError(f"{path}: the archive is damaged: {error}; {again}") from error


def _only_member(path: Path, archive: zipfile.ZipFile, ending: str, largest: float) -> zipfile.ZipInfo:
    members = []
    for member in archive.infolist():
        # zipfile cuts a name at a zero byte; orig_filename is what the archive really says.
        name = PurePosixPath(member.orig_filename.replace("\\", "/"))
        require(
            bool(name.parts) and not name.is_absolute() and ".." not in name.parts and ":" not in name.parts[0],
            f"{path}: the member {member.orig_filename!r} leads out of the archive; expected a plain name",
        )
        if not member.is_dir() and name.parts[0] != "__MACOSX" and name.name.lower().endswith(ending):
            members.append(member)
    listed = f" ({', '.join(member.orig_filename for member in members[:4])})" if members else ""
    require(
        len(members) == 1,
        f"{path}: holds {len(members)} {f'{ending} ' if ending else ''}files{listed}; expected exactly one",
    )
    size = members[0].file_size
    require(size <= largest, f"{path}: unpacks to {size:,} bytes; expected at most {largest:,}")
    require(not members[0].flag_bits & 1, f"{path}: is encrypted; expected a zip without password")
    return members[0]
