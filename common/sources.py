"""Where a dataset lives: the released files, the synthetic sample in their place, and the prepared arrays."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from common.options import PROJECT, UserError, reason_of, require

Data = TypeVar("Data")

MARKER = "SYNTHETIC.txt"
"""A folder that holds this file is made up; results on it are marked synthetic."""
ABANDONED_SECONDS = 3600
"""A temporary folder that nobody has written to for so long is left over from a killed run."""
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
            sample in ``data/<paper>/sample`` is used.
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
        require(not missing, f"--data-dir {data_dir} lacks {', '.join(missing)}; see data/README.md")
    elif not missing_files(home, required):
        raw, name = home, "released"
    elif not missing_files(home / "released", required):
        raw, name = home / "released", "released"
    else:
        print(
            f"The released files are missing in {home} (data/README.md says where to get them): "
            f"the synthetic sample in {home / 'sample'} is used.",
            file=sys.stderr,
        )
        return sample_dataset(paper, required, write_sample)
    if raw.is_relative_to(data_root()):
        prepared = raw / "prepared"
    else:  # somebody else's folder, perhaps read-only: never write there
        code = hashlib.sha256(os.fsencode(raw)).hexdigest()[:8]
        prepared = home / f"{raw.name}-{code}" / "prepared"
    return Dataset(raw, prepared, name, synthetic=(raw / MARKER).is_file())


def sample_dataset(
    paper: str, required: Sequence[str | tuple[str, ...]], write_sample: Callable[[Path], object]
) -> Dataset:
    """The synthetic sample of ``paper``, written on first use; see :func:`dataset_folder`.

    Raises:
        UserError: it cannot be written.
    """
    raw = data_root() / paper / "sample"
    _write_sample_once(raw, required, write_sample)
    return Dataset(raw, raw / "prepared", "sample", synthetic=True)


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
    except OSError as error:
        raise UserError(f"cannot write the sample to {folder}: {reason_of(error)}") from error


def mark_synthetic(folder: Path, why: str = "Written by the sample of Encore; no real users or songs.") -> None:
    """Mark the dataset in ``folder`` as made up, so that every result on it says so; ``why`` says what is."""
    (folder / MARKER).write_text(f"Made-up data. {why}\n", "utf-8")


@contextlib.contextmanager
def replacing_folder(folder: Path, is_current: Callable[[Path], bool]) -> Iterator[Path]:
    """Fill an empty folder beside ``folder`` and rename it to ``folder`` once the block has ended well.

    Several processes may do so at once: if another one was faster, that is if ``is_current(folder)`` holds by
    then, its result stays. After an error or Ctrl-C nothing is left; what a killed run left is removed later.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}."
    for path in folder.parent.iterdir():
        if path.name.startswith(prefix) and _idle_seconds(path) > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        yield beside
        mask = os.umask(0)  # mkdtemp makes private folders; give this one the user's usual permissions
        os.umask(mask)
        beside.chmod(0o777 & ~mask)
        while True:
            try:
                beside.rename(folder)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            if is_current(folder):
                break
            outdated = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
            with contextlib.suppress(FileNotFoundError):  # another process took it away first
                folder.rename(outdated)
            shutil.rmtree(outdated, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def prepared_arrays(folder: Path, load: Callable[[Path], Data | None], make: Callable[[Path], None]) -> Data:
    """What ``load`` opens in ``folder``, which is filled by ``make`` if that is None.

    Args:
        folder: of the prepared arrays.
        load: opens the arrays in a folder; None if they are missing, damaged or made of something else.
        make: writes them into an empty folder, which is renamed at the end: ``folder`` is never half-written.

    Raises:
        UserError: the folder cannot be read or written.
    """
    try:
        data = load(folder)
        if data is None:
            with replacing_folder(folder, lambda other: load(other) is not None) as beside:
                make(beside)
                # Opened before the rename: whatever another process then does with the folder, the maps stay.
                data = load(beside)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {reason_of(error)}") from error
    if data is None:
        raise UserError(f"{folder}: the arrays just written cannot be read back; is the disk full?")
    return data


def states_of(files: Iterable[Path]) -> list[list[Any]]:
    """Name, size and time of change of files: what was made of them is out of date once any of it differs.

    Raises:
        UserError: one cannot be looked at.
    """
    try:
        return [[path.name, (stat := path.stat()).st_size, stat.st_mtime_ns] for path in files]
    except OSError as error:
        raise UserError(f"{error.filename}: {reason_of(error)}") from error


def _idle_seconds(folder: Path) -> float:
    newest = 0.0
    with contextlib.suppress(OSError):  # files may vanish while we look
        newest = max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
        return time.time() - newest
    return 0.0


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
def open_text_or_zip(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain file, or the only file inside a ``.zip``, as a stream of bytes; nothing is ever extracted.

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
                stream = stack.enter_context(archive.open(_only_member(path, archive)))
            else:
                stream = stack.enter_context(path.open("rb"))
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


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = []
    for member in archive.infolist():
        # zipfile cuts a name at a zero byte; orig_filename is what the archive really says.
        name = PurePosixPath(member.orig_filename.replace("\\", "/"))
        require(
            bool(name.parts) and not name.is_absolute() and ".." not in name.parts and ":" not in name.parts[0],
            f"{path}: the member {member.orig_filename!r} leads out of the archive; expected a plain name",
        )
        if not member.is_dir() and name.parts[0] != "__MACOSX":
            members.append(member)
    require(
        len(members) == 1,
        f"{path}: holds {len(members)} files; expected exactly one, the text file of the same name",
    )
    require(not members[0].flag_bits & 1, f"{path}: is encrypted; expected a zip without password")
    return members[0]


def stamps(folder: Path) -> dict[str, list[int]]:
    """Name -> size and time of change of the arrays and texts in ``folder``, to be kept in its ``meta.json``.

    Arrays whose stamps have changed since are not those that were written: they may load, and be wrong.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".npy", ".json") and path.stem != "meta"]
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over the names and contents of ``files``, in the order of their names; streamed."""
    whole = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
        whole.update(f"{path.name}\0{content.hexdigest()}\n".encode())
    return whole.hexdigest()
