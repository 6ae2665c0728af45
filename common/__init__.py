"""What two or more papers need. Never imports a paper."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """Ctrl-C while a command is still importing: there is nothing to keep, and no traceback is of use."""
    os.write(2, b"interrupted\n")
    os._exit(130)


# Only for the project's own commands, until common.options.run_script takes over; never for who imports the project.
_command = (getattr(sys, "argv", None) or [""])[0]
_own = _command == "-m" or Path(_command).resolve().parent.parent == Path(__file__).resolve().parent.parent
if _own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_at_once)
