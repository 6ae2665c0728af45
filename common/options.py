"""Options: those that every training has, what a mistake in one raises, and files that are written whole or not at all.

A script declares its options as a frozen dataclass, a sentence under each field being its help text; they are parsed by
:mod:`common.command`. A mistake of the user is raised as :class:`UserError` anywhere below.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal

import tyro

PROJECT = Path(__file__).resolve().parent.parent
"""Root of the checkout: the default ``data/``, ``runs/`` and ``weights/`` lie below it."""


# Options that may be left open: their help says what happens then, so no "(default: None)" is shown.
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
Paths = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH ...", help_behavior_hint="")]


class UserError(ValueError):
    """A mistake the user can mend. The message is one line: where, what was expected, how to mend it."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options that all train scripts share."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """The script's own presets: name -> options."""

    data_dir: OptionalPath = None
    """Folder with the dataset in the released formats. Default: the released files below data/<paper>, else the
    synthetic sample, which is written on first use."""
    run_dir: OptionalPath = None
    """Folder for the results of this run. Default: runs/<paper>/<name of the run and time>."""
    epochs: OptionalInt = None
    """Passes over the training data; 0 evaluates the given weights. Default: the paper's, or fewer on the sample."""
    batch_size: OptionalInt = None
    """Training examples in a batch. Default: the paper's, or fewer on the sample."""
    learning_rate: OptionalFloat = None
    """Step size of the optimizer. Default: the paper's, or another on the sample."""
    seed: int = 1
    """Seed of everything random but the released split: initial weights, order of examples, dropout."""
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    """Arithmetic of the layers; auto is float32 on a CPU and mixed_float16 on a GPU."""
    distribute: Literal["none", "mirrored", "multiworker"] = "none"
    """mirrored trains on all GPUs of this machine, each batch split between them; multiworker on several machines, on
    each of which the same command runs with its own TF_CONFIG (see the README)."""
    resume: bool = False
    """Continue the interrupted run in --run-dir from its last whole epoch, with the options of its start."""
    weights: Paths = ()
    """Weight files (.h5 of the released code or a .zip of it, or model.weights.h5 of a run). With --epochs 0 each is
    evaluated and compared; with more epochs training starts from the one given."""
    protocol: Literal["corrected", "released"] = "corrected"
    """corrected: the paper's model with repaired evaluation; released: the original code, step by step."""
    deterministic: bool = False
    """Bit-identical results on the same machine, also after --resume (slower: without XLA)."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """JSON file of options, such as the preset.json of a search; those on the command line win over them."""

    def __post_init__(self) -> None:
        require(self.epochs is None or self.epochs >= 0, f"--epochs is {self.epochs}; it must be 0 or more")
        require(
            self.batch_size is None or self.batch_size >= 1,
            f"--batch-size is {self.batch_size}; it must be 1 or more",
        )
        require(
            self.learning_rate is None or 0 < self.learning_rate < float("inf"),
            f"--learning-rate is {self.learning_rate}; it must be a positive number",
        )
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")
        require(
            not self.resume or self.run_dir is not None, "--resume needs --run-dir: the folder of the run to continue"
        )
        require(self.epochs != 0 or bool(self.weights), "--epochs 0 evaluates weights: name them with --weights FILE")
        for path in self.weights:
            require(path.is_file(), f"--weights {path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")

    def unvalidated(self) -> str:
        """Why a run of these options has no validation part, for a search; empty if it has one."""
        return ""


def require(condition: bool, message: str) -> None:
    """Raise :class:`UserError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)


def flag(name: str) -> str:
    """The option of a field as one types it.

    >>> flag("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def require_between(options: object, **bounds: tuple[float, float]) -> None:
    """Require the named options to lie within their bounds, both included, where they are not left open (None)."""
    for name, (low, high) in bounds.items():
        value = getattr(options, name)
        ends = f"{low}..{high:g}" if isinstance(high, float) else f"{low}..{high}"
        require(value is None or low <= value <= high, f"{flag(name)} is {value}; it must lie in {ends}")


def choice(*names: str) -> Any:
    """Help for an option that is one of some names, or is left open."""
    return tyro.conf.arg(metavar="{" + ",".join(names) + "}", help_behavior_hint="")


def is_short(error: OSError) -> bool:
    """Whether NumPy could not write a whole array, of which the system tells nothing."""
    return error.errno is None and " requested and " in str(error)


def reason_of(error: OSError) -> str:
    """What went wrong with a file, in the words of the system, for a message that names the file."""
    return error.strerror or ("the disk is full" if is_short(error) else str(error))


@contextlib.contextmanager
def replacing(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file beside ``path`` for writing and rename it to ``path`` once it is complete and on disk.

    A reader, or a run that is killed, sees the old file or the whole new one, never a half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        text = "b" not in mode
        with os.fdopen(handle, mode, encoding="utf-8" if text else None, newline="" if text else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)  # mkstemp makes private files; give this one the user's usual permissions
        os.umask(mask)
        beside.chmod(0o666 & ~mask)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` (dataclasses, arrays, paths and tuples allowed) as readable JSON, atomically; NaN is null."""
    plain = json.loads(json.dumps(content, default=_plain), parse_constant=lambda name: None)
    text = json.dumps(plain, indent=1, ensure_ascii=False)
    # A name of a file that is no UTF-8 holds halves of characters, which stand as \\udcXX.
    text = re.sub("[\ud800-\udfff]", lambda half: json.dumps(half[0])[1:-1], text)
    with replacing(path, "w") as file:
        file.write(f"{text}\n")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
