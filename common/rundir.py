"""Run directory: where a run keeps its options, figures, weights and what it needs to go on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from common.cluster import own_folder, this_worker
from common.options import PROJECT, TrainingOptions, UserError, reason_of, require, write_json
from common.presets import as_arguments

_MAY_DIFFER = {"data_dir", "engine", "epochs", "resume", "run_dir"}
"""Options that a resumed run may change (the data themselves are compared by their fingerprint, whichever
engine read them)."""

_HELD: dict[Path, int] = {}
"""Run directories that this process has claimed -> the open folder, which is locked."""


def claim(folder: Path, resume: bool = False) -> None:
    """Take a run directory for this process until it ends or :func:`release` is called; made if it is missing.

    Of several processes that want it at once exactly one gets it: the folder itself is locked. Where the file system
    has no locks nothing is certain.

    Raises:
        UserError: another process has it; or, unless ``resume``, it already holds something.
    """
    place = folder.resolve()
    try:
        if place not in _HELD:
            _HELD[place] = _locked(folder)
        if resume:
            return
        # A run that was killed while it began leaves this file half-written, and nothing else.
        empty = all(path.name.startswith(".options.json.") for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"--run-dir {folder}: {reason_of(error)}") from None
    if not empty:
        release(folder)
        raise UserError(f"--run-dir {folder} is not empty; choose another folder, or add --resume to continue its run")


def _locked(folder: Path) -> int:
    while True:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(f"--run-dir {folder}: another run is at work there; choose another folder") from None
        except OSError:  # a file system without locks
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        os.close(handle)  # it was removed meanwhile


def release(folder: Path) -> None:
    """Give a claimed run directory back; if nothing was written there it is removed."""
    handle = _HELD.pop(folder.resolve(), None)
    if handle is not None:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is empty
        os.close(handle)


@contextlib.contextmanager
def claimed(options: object) -> Iterator[None]:
    """Claim the run directory that options of a training name for the time of the block.

    That of several workers is the first one's, which claims it when it opens the run.

    Raises:
        UserError: another process has it, or it holds something else; TF_CONFIG does not say which worker this is.
    """
    if isinstance(options, TrainingOptions) and options.distribute == "multiworker":
        this_worker()
        yield
        return
    if not isinstance(options, TrainingOptions) or options.run_dir is None:
        yield
        return
    folder = options.run_dir
    if not options.resume or folder.is_dir():
        claim(folder, options.resume)
    try:
        yield
    finally:
        release(folder)


def open_run(paper: str, name: str, options: TrainingOptions, facts: dict[str, Any]) -> Path:
    """Make the run directory and write ``options.json``, or check an old one before it is resumed.

    Args:
        paper: folder of the paper.
        name: of the run, for the default directory ``runs/<paper>/<name>-<time>``.
        options: of the command line.
        facts: what else a later session needs: the architecture, the dataset's fingerprint and sizes.

    Raises:
        UserError: the directory already holds a run and ``--resume`` is not given, or it is given and the run was
            started with other options or on other data.
    """
    own = "".join(c if c.isprintable() else "-" for c in name)  # a dataset's folder may be called anything
    folder = options.run_dir or PROJECT / "runs" / paper / f"{own}-{time.strftime('%Y%m%d-%H%M%S')}"
    if options.distribute == "multiworker":
        folder = own_folder(options.run_dir, options.resume) or folder
    file = folder / "options.json"
    now = json.loads(json.dumps(asdict(options), default=str))
    if options.resume:
        before = _read_started(folder)
        claim(folder, resume=True)
        for key, value in now.items():
            same = key in _MAY_DIFFER or before["options"].get(key) == value
            old = before["options"].get(key)
            require(same, f"--resume: the run in {folder} was started with {key} = {old}, not {value}")
        known = json.loads(json.dumps(facts, default=str))
        for key, value in known.items():
            which = _different(before.get(key), value)
            require(before.get(key) == value, f"--resume: {key} differs from that of the run in {folder}{which}")
        # What may differ counts from now on, so that the next --resume goes on with it.
        write_json(file, before | {"options": before["options"] | {key: now[key] for key in ("data_dir", "epochs")}})
        for left in folder.glob(".*"):  # half-written files of a run that was killed
            if left.is_file():
                left.unlink()
        return folder
    claim(folder)
    try:
        for left in list(folder.glob(".options.json.*")):
            left.unlink()
        write_json(file, {"options": now} | facts)
    except OSError as error:
        raise UserError(f"--run-dir {folder}: {reason_of(error)}") from None
    return folder


def _different(before: Any, now: Any) -> str:
    """The entries that differ, such as `` (inputs: text)``; empty if it is no object."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return ""
    names = [name + _different(before.get(name), now[name]) for name in now if before.get(name) != now[name]]
    return f" ({', '.join(names)})" if names else ""


def _read_started(folder: Path) -> dict[str, Any]:
    require((folder / "options.json").is_file(), f"--resume: {folder} holds no run (no options.json)")
    return read_run(folder)


def arguments_of_run(folder: Path, options: TrainingOptions) -> list[str]:
    """The command line that gives ``options`` of the same class the values that the run in ``folder`` was started with.

    Raises:
        UserError: there is no run, or its ``options.json`` is damaged.
    """
    before = _read_started(folder)["options"]
    return as_arguments(dict(_changed(before, json.loads(json.dumps(_defaults(options), default=str)))))


def _defaults(options: Any) -> dict[str, Any]:
    """Field -> default; of a field that is options itself, theirs."""
    found = {}
    for field in fields(options):
        if "Suppress" not in str(field.type):  # those cannot be given
            inner = getattr(options, field.name)
            found[field.name] = _defaults(inner) if is_dataclass(inner) else field.default
    return found


def _changed(before: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of what differs from its default; a dot leads into options within options."""
    for name, default in defaults.items():
        value = before.get(name)
        if name in ("resume", "run_dir") or value is None or value == default:
            continue
        if isinstance(value, dict):
            yield from _changed(value, default, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def read_run(folder: Path) -> dict[str, Any]:
    """The content of the ``options.json`` of a run.

    Raises:
        UserError: it is missing or not JSON.
    """
    file = folder / "options.json"
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({error}); it must lie beside the weights of a run") from None
    require(
        isinstance(found, dict) and isinstance(found.get("options"), dict),
        f"{file}: not the options of a run of this project",
    )
    return found


def same_data(run: Path, fingerprint: str, where: str) -> None:
    """Refuse the run in ``run`` unless it was trained on the data of ``fingerprint``; ``where`` begins the message.

    Weights that were trained on another split of the same items may have seen what they are to be tested on.

    Raises:
        UserError: it was not, or its ``options.json`` is damaged.
    """
    trained_on = read_run(run).get("dataset")
    known = trained_on if isinstance(trained_on, dict) else {}
    require(
        known.get("fingerprint") == fingerprint,
        f"{where}: was trained on the dataset {known.get('name')}, which is another one, was split or filtered "
        "otherwise, or has changed since; name it with --data-dir and the options that prepared it",
    )


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Let Ctrl-C within the block end the script with a line that says how to continue the run in ``folder``."""
    try:
        yield
    except KeyboardInterrupt:
        advice = f"continue from its last whole epoch with --run-dir {folder} --resume"
        raise KeyboardInterrupt(advice) from None
