"""Command-line options that every script shares, and how a script ends when the user made a mistake.

A script declares its options as a frozen dataclass (a sentence under each field becomes its help text), parses
them with :func:`parse` and runs its ``main(options)`` through :func:`run_script`. A mistake of the user is raised
as :class:`UserError` anywhere below; it ends in one line on stderr and exit status 2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import inspect
import io
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal, NoReturn, TypeVar, get_args, get_origin

import tyro

from common import console, stop_at_once

Options = TypeVar("Options")
PROJECT = Path(__file__).resolve().parent.parent
"""Root of the checkout: the default ``data/``, ``runs/`` and ``weights/`` lie below it."""


_FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_NO_PLACE = (errno.EBUSY, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


def _paragraphs(helptext: str) -> str:
    """Help without the line ends of the source: one line for each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", helptext.strip()))


# tyro keeps the line ends of indented lines, which every docstring of a field has.
tyro._strings.remove_single_line_breaks = _paragraphs

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


def parse(options: type[Options], arguments: Sequence[str] | None = None, description: str | None = None) -> Options:
    """Parse the command line into ``options``; hyphens and underscores are the same.

    With ``--preset`` an option that is not given is what the preset says, see :mod:`common.presets`; with ``--resume
    --run-dir FOLDER`` it is what it was when the run was started, whatever the preset says now.

    Raises:
        UserError: an option is unknown, lacks its value or has a value that is not allowed, here or in the preset.
        SystemExit: after ``--help``.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    command = 1 if arguments and not arguments[0].startswith("-") else 0  # of a script with several, it comes first
    found = _parse_with_preset(options, arguments[:command], arguments[command:], description)
    if not isinstance(found, TrainingOptions) or not found.resume or found.run_dir is None:
        return found
    from common.rundir import arguments_of_run  # that module needs this one

    started = arguments_of_run(found.run_dir, found)
    try:
        # Of an option given twice the last value counts.
        return _parse(options, [*arguments[:command], *started, *arguments[command:]], description)
    except UserError as error:
        raise UserError(f"--resume, with the options in {found.run_dir / 'options.json'}: {error}") from None


def _parse_with_preset(
    options: type[Options], command: Sequence[str], arguments: Sequence[str], description: str | None
) -> Options:
    from common.presets import as_arguments, options_of, preset_in  # that module needs this one

    preset = preset_in(arguments) if _are_of_training(options) else None
    if preset is None:
        return _parse(options, [*command, *arguments], description)
    chosen = [*command, *as_arguments(options_of(preset, getattr(options, "presets", {})))]
    try:
        return _parse(options, [*chosen, *arguments], description)
    except UserError as error:
        try:
            _parse(options, chosen, description)
        except UserError as alone:
            if str(alone) == str(error):  # so it is not what stands on the command line
                raise UserError(f"--preset {preset}: {error}") from None
        raise


def _are_of_training(options: Any) -> bool:
    """Whether these, or any of several commands' options, have ``--preset``."""
    kinds = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in get_args(options) or (options,)]
    return any(isinstance(kind, type) and issubclass(kind, TrainingOptions) for kind in kinds)


def _parse(options: type[Options], arguments: Sequence[str], description: str | None) -> Options:
    printed = io.StringIO()
    about = _paragraphs(inspect.cleandoc(description)) if description else None
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(options, args=arguments, description=about)
    except SystemExit as stop:
        if not stop.code:
            raise
        told: BaseException | None = stop  # what the options themselves refuse, tyro wraps in words of its own
        while told is not None and not isinstance(told, UserError):
            told = told.__context__
        if told is not None:
            raise told from None
        # tyro draws a box, of ASCII characters where it must; its text up to the first rule is the message.
        lines = [line.strip("│╭╮╰╯|+ \n") for line in printed.getvalue().splitlines()[1:]]
        text = " ".join(line for line in lines if not set(line) <= {"─", "-"}).split("Argument helptext:")[0]
        text = re.split(r"For full helptext| Got errors:", text)[0].strip()
        raise UserError(f"{text} (see --help)") from None


def run_script(main: Callable[[Options], object], options: type[Options]) -> None:
    """Run ``main`` on the parsed command line; mistakes of the user end in one line and exit status 2.

    The folder that ``--run-dir`` names is claimed at once, before TensorFlow is imported and data are prepared.
    """
    from common import rundir  # that module needs this one

    if signal.getsignal(signal.SIGINT) is stop_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from now on Ctrl-C is told below
    try:
        chosen = parse(options, description=main.__doc__)
        with rundir.claimed(chosen):
            main(chosen)
    except UserError as error:
        _end(" ".join(str(error).split()))
    except BrokenPipeError:  # nobody reads on, as after "| head": what is printed is of no use any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at the end
        sys.exit(1)
    except OSError as error:
        if error.errno not in _FULL_OR_CLOSED + _NO_PLACE and not _is_short(error):
            raise  # a fault of the program, not of the place it writes to
        _end(f"{error.filename or 'writing'}: {reason_of(error)}; what was whole before is kept")
    except UnicodeEncodeError as error:
        if not any(0xD800 <= ord(character) <= 0xDFFF for character in error.object):
            raise
        _end(f"{error.object}: is not text in {sys.getfilesystemencoding()}; give that file or folder another name")
    except KeyboardInterrupt as stop:  # its text, if any, says what is kept and how to go on
        console.notify(f"interrupted; {stop}" if str(stop) else "interrupted")
        sys.exit(130)


def _end(message: str) -> NoReturn:
    console.notify(f"error: {message}")
    sys.exit(2)


def _is_short(error: OSError) -> bool:
    """Whether NumPy could not write a whole array, of which the system tells nothing."""
    return error.errno is None and " requested and " in str(error)


def reason_of(error: OSError) -> str:
    """What went wrong with a file, in the words of the system, for a message that names the file."""
    return error.strerror or ("the disk is full" if _is_short(error) else str(error))


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
