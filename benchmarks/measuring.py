"""Timing and recording, shared by all benchmarks: wall and processor seconds, memory, and what pages show of them.

:func:`measure` times work in this process, :func:`measure_command` a command in one of its own, :func:`recording` keeps
the figures with options, machine, versions and date. Nothing here imports NumPy or TensorFlow before it is needed.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from common import console
from common.options import PROJECT, UserError, require, write_json

Options = TypeVar("Options")
Result = TypeVar("Result")
Figures = TypeVar("Figures", bound=Mapping[str, Any])
RESULTS = PROJECT / "benchmarks" / "results"
PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "librosa", "torch", "jax", "implicit", "duckdb", "distributed")
QUIET = 0.05
"""A machine is quiet if other processes use less than this share of its processor time."""
WATCHED = 0.05
"""Seconds between two looks at a command that is watched."""


@dataclass(frozen=True)
class Measured(Generic[Result]):
    """What some calls took, one after the other."""

    seconds: tuple[float, ...]
    """Wall seconds of each."""
    processor_seconds: tuple[float, ...]
    """Processor seconds of this process during each, those of all threads."""
    result: Result
    """What the last one returned."""

    @property
    def best(self) -> float:
        """Wall seconds of the fastest."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Wall seconds of the one in the middle."""
        return statistics.median(self.seconds)

    @property
    def processor(self) -> float:
        """Processor seconds of the fastest."""
        return min(zip(self.seconds, self.processor_seconds, strict=True))[1]


def measure(work: Callable[[], Result], repeats: int = 1, warm: int = 0) -> Measured[Result]:
    """Time ``repeats`` calls of ``work``, after ``warm`` calls that do not count: what they compile is there then."""
    for _ in range(warm):
        work()
    seconds, processor = [], []
    for _ in range(repeats):
        started, busy = time.perf_counter(), time.process_time()
        result = work()
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - busy)
    return Measured(tuple(seconds), tuple(processor), result)


@dataclass(frozen=True)
class Command:
    """What a command took."""

    seconds: float
    processor_seconds: float
    """Of it and of the children that it waited for."""
    peak_megabytes: float
    """The most resident memory of one of these processes; not less than what this process has had: Linux hands that on
    to what it starts."""


def measure_command(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    watch: Callable[[int], None] | None = None,
    silent: bool = False,
) -> Command:
    """Run a command, with the project on the path of its Python, and measure it.

    Args:
        command: program and arguments.
        environment: variables beside those of this process.
        watch: called with the command's process id again and again while it runs.
        silent: leave away what it prints.

    Raises:
        UserError: it failed.
    """
    variables = os.environ | {"PYTHONPATH": str(PROJECT)} | dict(environment or {})
    started = time.perf_counter()
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL if silent else None)
    ended = 0
    while not ended:
        ended, status, used = os.wait4(process.pid, os.WNOHANG if watch else 0)
        if watch and not ended:
            watch(process.pid)
            time.sleep(WATCHED)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{' '.join(command)} failed, see above")
    return Command(seconds, used.ru_utime + used.ru_stime, _megabytes(used))


def peak_megabytes() -> float:
    """The most resident memory that this process has had."""
    return _megabytes(resource.getrusage(resource.RUSAGE_SELF))


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def sgemm_rate(size: int, calls: int) -> float:
    """Operations per second of NumPy's product of two float32 matrices of ``size`` rows and columns."""
    import numpy as np

    square = np.random.default_rng(0).random((size, size), np.float32)

    def products() -> None:
        for _ in range(calls):
            square @ square

    square @ square
    return calls * 2 * size**3 / measure(products).best


def threads_given() -> int:
    """``--threads`` as the command line has it, also for libraries that read it from the environment when imported."""
    count = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "2"
    for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ[variable] = count
    require(count.isdigit(), "--threads must be given as two words: --threads 2")
    return int(count)


def show(figures: Figures) -> Figures:
    """Print figures, one a line; returns them."""
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:{width}s} {value:14,.6g}")
    return figures


def others() -> float | None:
    """Processor seconds that all processes but this one and its ended children have used; None if not known."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = ticks
    used = (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return used - sum(usage.ru_utime + usage.ru_stime for usage in own)


def versions() -> dict[str, str]:
    """Of Python and of those packages of :data:`PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def recording(main: Callable[[Options], Mapping[str, Any]], script: str) -> Callable[[Options], Mapping[str, Any]]:
    """``main`` of a benchmark, which also writes ``benchmarks/results/<script>.json``.

    Figures of other options than those recorded before are printed, but not recorded: a quick try must not replace
    the figures of the pages. Where files are (options that are paths) makes no difference.

    Args:
        main: takes the options (a dataclass), returns figures by name.
        script: ``__file__`` of the benchmark.
    """

    @functools.wraps(main)
    def recorded(options: Options) -> Mapping[str, Any]:
        from common.reporting.figures import machine

        before, taken, after = others(), measure(lambda: main(options)), others()
        around = machine()
        if before is not None and after is not None:
            around["quiet"] = after - before < QUIET * taken.best * around["cores"]
        record(Path(script).stem, options, taken.result, around, taken.best)
        return taken.result

    return recorded


def record(name: str, options: Any, figures: Mapping[str, Any], around: Mapping[str, Any], seconds: float) -> bool:
    """Write the figures of a benchmark, unless other options are recorded; returns whether it did.

    Raises:
        UserError: what was recorded before is damaged.
    """
    from common.reporting.figures import read_figures

    path = RESULTS / f"{name}.json"
    chosen = {
        field.name: value
        for field in dataclasses.fields(options)
        if not isinstance(value := getattr(options, field.name), Path)
    }
    chosen = json.loads(json.dumps(chosen, default=str))
    if path.is_file():
        before = read_figures(path).get("options", {})
        other = [f"{key} {value}, not {chosen.get(key)}" for key, value in before.items() if value != chosen.get(key)]
        if other:
            console.say(f"Not recorded: {path} is of other options ({'; '.join(other)}); delete it to record these.")
            return False
    facts = {"script": f"benchmarks/{name}.py", "options": chosen, "date": time.strftime("%Y-%m-%d")}
    write_json(path, facts | {"seconds": seconds, "machine": around, "versions": versions(), "figures": figures})
    console.say(f"Recorded in {path}")
    return True
