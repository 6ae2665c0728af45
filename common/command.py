"""Command line: options parsed, with presets and those of a run that is resumed; a script's end in one line.

A script declares its options (:mod:`common.options`) and runs its ``main(options)`` through :func:`run_script`. A
mistake of the user ends in one line on stderr and exit status 2.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin

import tyro

from common import console, stop_at_once
from common.options import TrainingOptions, UserError, is_short, reason_of
from common.presets import as_arguments, options_of, preset_in
from common.rundir import arguments_of_run, claimed

Options = TypeVar("Options")
_FULL_OR_CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_NO_PLACE = (errno.EBUSY, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


def _paragraphs(helptext: str) -> str:
    """Help without the line ends of the source: one line for each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", helptext.strip()))


# tyro keeps the line ends of indented lines, which every docstring of a field has.
tyro._strings.remove_single_line_breaks = _paragraphs


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
    started = arguments_of_run(found.run_dir, found)
    try:
        # Of an option given twice the last value counts.
        return _parse(options, [*arguments[:command], *started, *arguments[command:]], description)
    except UserError as error:
        raise UserError(f"--resume, with the options in {found.run_dir / 'options.json'}: {error}") from None


def _parse_with_preset(
    options: type[Options], command: Sequence[str], arguments: Sequence[str], description: str | None
) -> Options:
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
    if signal.getsignal(signal.SIGINT) is stop_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from now on Ctrl-C is told below
    try:
        chosen = parse(options, description=main.__doc__)
        with claimed(chosen):
            main(chosen)
    except UserError as error:
        _end(" ".join(str(error).split()))
    except BrokenPipeError:  # nobody reads on, as after "| head": what is printed is of no use any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at the end
        sys.exit(1)
    except OSError as error:
        if error.errno not in _FULL_OR_CLOSED + _NO_PLACE and not is_short(error):
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
