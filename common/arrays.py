"""Prepared arrays: content-addressed, immutable sets of files, made once and memory-mapped from then on.

A set is a folder that is named by what it is made of (:class:`Recipe`): the SHA-256 of every raw file, the options, and
the version of the code that makes it. It is written beside its place, renamed when whole and never changed afterwards:
so processes that read it need not fear those that prepare other data, and two that want the same set make it once.
Deleting sets loses nothing but the time to make them again.

A look at a file, not into it, decides whether it is read again: size, times and inode of a raw file
(:func:`state_of`), whose SHA-256 ``digests.json`` remembers beside the sets; size and time of a file of a set, to know
whether it is what was written. So a start takes as long for gigabytes as for a sample.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import time
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common import console
from common.folders import made_once
from common.options import UserError, reason_of, write_json

META, DIGESTS = "meta.json", "digests.json"
SETTLED_SECONDS = 2.0
"""A file that has changed within that time may change once more without showing it, where the clock of the file system
is coarse: its SHA-256 is not remembered."""
BLOCK = 2**24
"""Numbers of an array that are looked at at once."""
DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError),
    *(RecursionError, SyntaxError, tokenize.TokenError),  # of nested JSON, and of the header of an .npy file
)
"""What reading a damaged file of JSON or NumPy may raise."""
_OLD = ("meta.json", "gru4rec", "session_transformers", "corrected", "released", "dlrs-data")
"""Where version 0.1 kept its arrays, in the same folder."""
_SIZE = re.compile(r"([^\[+]+)(?:\[-1\]|\+(\d+))?")
State = tuple[int, int, int, int]


@dataclass(frozen=True)
class Array:
    """What must hold of one array of a set."""

    name: str
    """Of its file, without ``.npy``."""
    dtype: Any
    """A type, several of which any will do, or ``"S"`` for bytes of any length."""
    shape: tuple[int | str, ...]
    """Sizes: a number; a name, which stands for the same size wherever it is; ``"name+1"``; or ``"offsets[-1]"``, the
    last value of the array ``offsets``, which is declared before."""
    low: float | None = None
    """No value is below. It is checked of the values when they are written; then they are known to be as written."""
    high: float | str | None = None
    """All values are below this number, or this size. NaN is never allowed where there is a bound."""
    optional: bool = False
    """Whether the set may lack it."""


@dataclass(frozen=True)
class ArraySet:
    """A set as it lies on disk."""

    folder: Path
    address: str
    """See :meth:`Recipe.address`."""
    meta: dict[str, Any]
    """What the maker returned, as JSON keeps it."""
    contents: dict[str, str]
    """File -> SHA-256 of its content."""
    fingerprint: str
    """SHA-256 over all files: the same for the same data, however the raw files were packed."""
    arrays: dict[str, NDArray[Any]] = field(repr=False)
    """Those that are declared, memory-mapped for reading."""

    def json(self, name: str) -> Any:
        """The content of a JSON file of the set."""
        return json.loads((self.folder / name).read_text("utf-8"))


@dataclass(frozen=True)
class Recipe:
    """How a set is made, and of what: equal recipes of equal files make equal sets."""

    name: str
    """Of the folder, before its address: small letters and ``_``."""
    version: int
    """Of the code that makes it; raise it when that makes other arrays of the same files."""
    files: Mapping[str, Path]
    """Every raw file that is read, by its part in the set: a role, or a name within the dataset."""
    options: Mapping[str, Any]
    """All that changes the arrays, as JSON."""
    make: Callable[[Path], Mapping[str, Any]] = field(repr=False)
    """Writes the files into an empty folder; returns what else is to be known of them, as JSON (counts, kinds, ...)."""
    arrays: tuple[Array, ...] = ()
    """What is checked of them."""
    resumes: bool = False
    """Whether ``make`` goes on with what an interrupted call has left in the folder."""

    def address(self, contents: Mapping[str, str]) -> str:
        """SHA-256 (hex) over all that the set is made of; ``contents`` are the SHA-256 of the files."""
        return digest_of([self.name, self.version, dict(contents), self.options])


def array_set(home: Path, recipe: Recipe, *, folder: Path | None = None, anew: bool = False) -> ArraySet:
    """Open the set of a recipe, which is made if it is not there or damaged.

    Args:
        home: folder of all sets of a dataset.
        folder: of this set, if it is not to be one of ``home``.
        anew: make it in any case.

    Raises:
        UserError: a raw file or ``home`` cannot be read or written, or what ``make`` raises. No set is half-written.
    """
    before = _stats(recipe.files)
    memory = Digests(home)
    address = recipe.address(memory.of(recipe.files))
    place = folder or home / f"{recipe.name}-{address[:16]}"

    def make(beside: Path) -> None:
        _tell_of_old_arrays(home)
        meta = recipe.make(beside)
        for role, stat in _stats(recipe.files).items():
            if stat != before[role]:
                raise UserError(f"{recipe.files[role]}: has changed while it was read; run the command again")
        try:
            _check_values(*_mapped(beside, recipe.arrays), recipe.arrays)
        except DAMAGE as error:
            raise UserError(f"{place}: what was written cannot be read back ({error}); is the disk full?") from error
        seal(beside, address, meta)

    def load(place: Path) -> ArraySet | None:
        return open_set(place, address, recipe.arrays)

    try:
        found = made_once(place, load, make, anew=anew, resumes=recipe.resumes)
    except OSError as error:
        raise UserError(f"{error.filename or place}: {reason_of(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            home.rmdir()  # if it is empty: nothing is left of what failed
    memory.keep()
    return found


def open_set(
    folder: Path,
    address: str,
    arrays: Sequence[Array] = (),
    *,
    distrust: bool = False,
) -> ArraySet | None:
    """Open the set of an address in ``folder``; None if there is none, or it is damaged or another one.

    Args:
        arrays: see :attr:`Recipe.arrays`.
        distrust: look at all values, whatever the times of the files say: of a set that others may have handed over.
    """
    try:
        meta = read_sealed(folder / META)
        if meta["address"] != address or not _as_written(folder, meta["files"], distrust):
            return None
        contents = {name: stamp[2] for name, stamp in meta["files"].items()}
        mapped, sizes = _mapped(folder, arrays)
        if distrust:
            _check_values(mapped, sizes, arrays)
        return ArraySet(folder, address, meta["meta"], contents, meta["fingerprint"], mapped)
    except DAMAGE:
        return None


def seal(folder: Path, address: str, meta: Mapping[str, Any]) -> None:
    """Write ``meta.json`` of a set whose files are whole: from now on they do not change."""
    stats = _stats({name: folder / name for name in _names(folder)})
    files: dict[str, list[Any]] = {name: [*stat[:2], sha256(folder / name)] for name, stat in stats.items()}
    whole = fingerprint({name: stamp[2] for name, stamp in files.items()})
    write_sealed(folder / META, {"address": address, "fingerprint": whole, "files": files, "meta": dict(meta)})


def _names(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if name != META)


def _as_written(folder: Path, files: Mapping[str, Any], distrust: bool) -> bool:
    for name, (size, changed, content) in files.items():
        stat = (folder / name).stat()
        known = not distrust and stat.st_mtime_ns == changed  # otherwise it may be a copy, or be damaged
        if stat.st_size != size or not (known or sha256(folder / name) == content):
            return False
    return True


def _mapped(folder: Path, declared: Sequence[Array]) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """The declared arrays, of the types and shapes that they must have, and the sizes that have names.

    Raises:
        ValueError: one has not.
    """
    arrays: dict[str, NDArray[Any]] = {}
    sizes: dict[str, int] = {}
    for one in declared:
        path = folder / f"{one.name}.npy"
        if one.optional and not path.exists():
            continue
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        types = one.dtype if isinstance(one.dtype, tuple) else (one.dtype,)
        if not any(array.dtype.kind == "S" if kind == "S" else array.dtype == kind for kind in types):
            raise ValueError(f"{one.name}: holds {array.dtype}")
        expected = [_size(size, found, sizes, arrays) for size, found in zip(one.shape, array.shape, strict=True)]
        if list(array.shape) != expected:
            raise ValueError(f"{one.name}: has the shape {array.shape}; expected {expected}")
        arrays[one.name] = array
    return arrays, sizes


def _size(size: int | str, found: int, sizes: dict[str, int], arrays: Mapping[str, NDArray[Any]]) -> int:
    """The size that an axis must have; a name that is new stands for the size that it has."""
    if isinstance(size, int):
        return size
    parts = _SIZE.fullmatch(size)
    assert parts is not None, size
    name, more = parts[1], int(parts[2] or 0)
    if size.endswith("[-1]"):
        return int(arrays[name][-1])
    return sizes.setdefault(name, found - more) + more


def _check_values(arrays: Mapping[str, NDArray[Any]], sizes: Mapping[str, int], declared: Sequence[Array]) -> None:
    """Look at all values of the arrays that have bounds.

    Raises:
        ValueError: one lies beyond.
    """
    for one in declared:
        array = arrays.get(one.name)
        if array is None or (one.low, one.high) == (None, None):
            continue
        low = -np.inf if one.low is None else one.low
        high = np.inf if one.high is None else sizes[one.high] if isinstance(one.high, str) else one.high
        step = max(BLOCK // max(array[:1].size, 1), 1)
        for start in range(0, len(array), step):
            block = array[start : start + step]
            if not ((block >= low) & (block < high)).all():
                raise ValueError(f"{one.name}: a value is not in {low} <= x < {high}")


class Digests:
    """SHA-256 of raw files, remembered in ``digests.json`` of a folder of sets."""

    def __init__(self, home: Path | None) -> None:
        self._file, self._new = home / DIGESTS if home else None, False
        self._known: dict[str, Any] = {}
        with contextlib.suppress(*DAMAGE):
            self._known = dict(read_sealed(self._file)["files"]) if self._file else {}

    def of(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Key -> SHA-256 (hex) of the content; files of the state of last time are not read.

        Raises:
            UserError: one cannot be read, or changes meanwhile.
        """
        found = {}
        bar = tqdm(files.items(), "reading raw files", unit=" files", delay=3, disable=console.no_bar(), leave=False)
        for key, path in bar:
            [state] = _stats({key: path}).values()
            name, started = str(path.absolute()), time.time()
            known = self._known.get(name)
            if known is None or known[:-1] != [*state]:
                try:
                    known = [*state, sha256(path)]
                except OSError as error:
                    raise UserError(f"{path}: {reason_of(error)}") from error
                if _stats({key: path}) != {key: state}:
                    raise UserError(f"{path}: changes while it is read; wait until it is whole")
                if state[1] < (started - SETTLED_SECONDS) * 1e9:
                    self._known[name], self._new = known, True
            found[key] = known[-1]
        return found

    def keep(self) -> None:
        """Remember what was found, if the folder can be written to."""
        if self._new and self._file:
            kept = {name: known for name, known in self._known.items() if Path(name).exists()}
            with contextlib.suppress(OSError, ValueError):  # a name that is no text cannot be remembered
                write_sealed(self._file, {"files": kept})


def digests(files: Mapping[str, Path], home: Path | None) -> dict[str, str]:
    """Key -> SHA-256 (hex) of the content of each file; the folder ``home``, if any, remembers them.

    Raises:
        UserError: one cannot be read.
    """
    memory = Digests(home)
    found = memory.of(files)
    memory.keep()
    return found


def fingerprint(contents: Mapping[str, str]) -> str:
    """SHA-256 (hex) over names and SHA-256 of files, in the order of their names."""
    whole = hashlib.sha256()
    for name, content in sorted(contents.items()):
        whole.update(f"{name}\0{content}\n".encode())
    return whole.hexdigest()


def digest_of(described: Any) -> str:
    """SHA-256 (hex) over JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 (hex) of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with a digest of itself, so that damage is noticed."""
    plain = json.loads(json.dumps(content, default=_plain), parse_constant=lambda _: None)
    write_json(path, plain | {"seal": digest_of(plain)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what :func:`write_sealed` wrote.

    Raises:
        OSError, ValueError, TypeError, ...: see :data:`DAMAGE`.
    """
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if content.pop("seal") != digest_of(content):
        raise ValueError(f"{path}: has been changed")
    return content


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def state_of(path: Path) -> State:
    """Size, time of change of the content and of the entry (nanoseconds), inode: other content has another state.

    Tools that copy or exchange a file can give it the size and time of another, but not the time of its entry.

    Raises:
        OSError: the file cannot be looked at.
    """
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _stats(files: Mapping[str, Path]) -> dict[str, State]:
    """Key -> state of the file.

    Raises:
        UserError: a file cannot be looked at.
    """
    try:
        return {key: state_of(path) for key, path in files.items()}
    except OSError as error:
        raise UserError(f"{error.filename}: {reason_of(error)}") from error


def _tell_of_old_arrays(home: Path) -> None:
    old = [name for name in _OLD if (home / name).exists()]
    if old:
        console.notify(f"{home}: {', '.join(old)} of version 0.1 are used no more; you may delete them")
