"""Commands as a user would run them, killed, bounded in time, and watched for what they leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from common.options import PROJECT

MARK = "ENCORE_FAULTS_RUN"
"""Environment variable that names a command and all processes it starts."""
GRACE = 10.0
"""Seconds that the workers of a killed process have to notice and end."""
BOUND = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Before a command of root: permissions count for it, too."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; minus the signal if one ended it.
        killed: whether it was killed as it should be.
        hung: whether it had to be killed because its time was over.
        orphans: command lines of processes it left running (they are ended now).
    """

    status: int
    out: str
    err: str
    seconds: float
    killed: bool = False
    hung: bool = False
    orphans: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The last line it wrote to stderr."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""

    def complaint(self) -> str:
        """What is wrong with how it ended, whether well or with a mistake told in one line; empty if nothing is."""
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        if self.hung:
            return f"hang: no end after {self.seconds:.0f} s"
        if "Traceback" in self.err:
            return f"traceback: {self.last}"
        if self.orphans:
            return f"orphans: {'; '.join(self.orphans)}"
        if self.killed or self.status == 0:
            return ""
        if self.status != 2 or len(errors) != 1 or errors[0] != self.last:
            return f"exit status {self.status}, {len(errors)} error lines, last: {self.last}"
        return ""


def run(
    command: Sequence[object],
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    kill: Callable[[float], bool] | None = None,
    alone: bool = False,
    bound: bool = False,
) -> Ended:
    """Run ``python`` with the arguments ``command`` in the project's root.

    Args:
        seconds: after which it counts as hung.
        environment: variables besides those of this process.
        kill: told the seconds since the start again and again; once it says so, the process is sent SIGKILL.
        alone: only the process itself is killed, as by the system when memory runs out; else its whole group.
        bound: permissions count even for root.
    """
    mark = uuid.uuid4().hex
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {}), MARK: mark}
    prefix = BOUND if bound and os.geteuid() == 0 else ()
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # pipes would fill up and block it
        process = subprocess.Popen(
            [*prefix, sys.executable, *map(str, command)],
            cwd=PROJECT, env=variables, start_new_session=True, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        killed, hung = _wait(process, started, seconds, kill)
        if killed and alone:
            process.kill()
        elif killed or hung:
            os.killpg(process.pid, signal.SIGKILL)
        orphans = [] if hung else _orphans(mark, process.pid)
        if orphans:
            _end(mark)
        process.wait()
        took = time.perf_counter() - started
        return Ended(process.returncode, _printed(out), _printed(err), took, killed, hung, orphans)


def _printed(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _wait(
    process: subprocess.Popen[bytes], started: float, seconds: float, kill: Callable[[float], bool] | None
) -> tuple[bool, bool]:
    """Whether it is to be killed, and whether it hangs; both are false once it has ended by itself."""
    while True:
        try:
            process.wait(0.005 if kill else 0.05)
            return False, False
        except subprocess.TimeoutExpired:
            now = time.perf_counter() - started
            if kill and kill(now):
                return True, False
            if now > seconds:
                return False, True


def _orphans(mark: str, own: int) -> list[str]:
    until = time.monotonic() + GRACE
    while found := {pid: line for pid, line in _marked(mark).items() if pid != own}:
        if time.monotonic() > until:
            return sorted(found.values())
        time.sleep(0.1)
    return []


def _marked(mark: str) -> dict[int, str]:
    """Process number -> command line of the living processes of a command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
        except OSError:  # it has ended, or is none of this user's
            continue
    return {pid: line for pid, line in found.items() if line}  # a zombie has no command line


def _end(mark: str) -> None:
    for pid in _marked(mark):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGKILL)
