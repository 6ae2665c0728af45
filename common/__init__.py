"""What two or more papers need. Never imports a paper."""

import _signal  # what signal is made of: importing that takes 30 ms, in which Ctrl-C would print a traceback
import os
import sys


def stop_at_once(number: int, frame: object) -> None:
    """Ctrl-C while a command is still importing: there is nothing to keep, and no traceback is of use."""
    os.write(2, b"interrupted\n")
    os._exit(130)


# Only for the project's own commands, until common.command.run_script takes over; never for who imports the project.
_command = (getattr(sys, "argv", None) or [""])[0]
_places = [os.path.realpath(path).split(os.sep)[:-2] for path in (_command, __file__)]  # noqa: PTH206 (17 ms)
_own = _command == "-m" or _places[0] == _places[1]
if _own and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, stop_at_once)
