"""How fast logs of the Music Streaming Sessions Dataset are prepared for GRU4Rec, and in how much memory.

Run ``python benchmarks/mssd_preprocess.py``: it writes synthetic logs in the released format (a GB for 5 million
rows) to a temporary folder, prepares them in processes of their own with NumPy, with DuckDB and with Dask on a cluster
of processes, one for each core, prints what each took, compares the results, and reckons from the processor seconds
what the whole dataset takes. With ``--larger`` (as root, on Linux) DuckDB and Dask also prepare logs that are larger
than the memory which a control group leaves them, pages of files among it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from measuring import Command, measure_command, recording

from common.command import run_script
from common.mssd.conversion import available_cores
from common.options import PROJECT, UserError, require

ROWS_PER_SESSION = 16.58
WHOLE_ROWS, WHOLE_BYTES, WHOLE_FILES = 2_000_000_000, 350e9, 660
"""The released training set, roughly: 10 logs for each of 66 days."""
CLUSTER_CORES = 16 * 16


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of this benchmark."""

    rows: int = 5_000_000
    """Rows of the logs, roughly."""
    tracks: int = 500_000
    """Distinct tracks in the table of features."""
    days: int = 10
    """Logs: one for each day."""
    engines: tuple[Literal["duckdb", "dask"], ...] = ("duckdb", "dask")
    """What prepares the logs; the arrays of all must be the same."""
    larger: int = 0
    """Rows of the logs that are prepared in little memory, too; 0 for none."""
    larger_megabytes: int = 1500
    """That memory."""

    def __post_init__(self) -> None:
        require(self.rows >= 1000, f"--rows is {self.rows}; it must be 1000 or more")
        require(self.larger == 0 or self.larger >= 1000, f"--larger is {self.larger}; it must be 0, or 1000 or more")


def main(options: BenchmarkOptions) -> dict[str, Any]:
    """Measure gru4rec/preprocess.py on synthetic logs."""
    require(Path("/proc/self/statm").is_file(), "this benchmark reads memory from /proc: it needs Linux")
    with tempfile.TemporaryDirectory() as folder:
        raw, few = Path(folder) / "raw", Path(folder) / "few"
        rows, few_rows = _write_logs(raw, options.rows, options), _write_logs(few, options.rows // 10, options)
        found: dict[str, Any] = {"rows": rows, "few_rows": few_rows}
        fingerprints = set()
        for engine in options.engines:
            preprocess = [str(PROJECT / "gru4rec/preprocess.py"), "--engine", engine, "--data-dir", str(raw)]
            data = str(Path(folder) / engine)
            taken = _measured(preprocess, data)
            (meta,) = Path(data).rglob("meta.json")
            fingerprints.add(json.loads(meta.read_text("utf-8"))["fingerprint"])
            little = _measured([*preprocess[:-1], str(few)], str(Path(folder) / f"few_{engine}"))
            found[engine] = dataclasses.asdict(taken) | {
                "rows_per_processor_second": rows / taken.processor_seconds,
                "few_rows_processor_seconds": little.processor_seconds,
                "few_rows_own_processor_seconds": little.own_processor_seconds,
                "few_rows_private_megabytes": little.private_megabytes,
            }
            print(
                f"{engine}: prepared in {taken.seconds:.1f} s on {available_cores()} cores, "
                f"{rows / taken.seconds:,.0f} rows/s; {taken.processor_seconds:.1f} processor seconds "
                f"({taken.own_processor_seconds:.1f} of the first process), {rows / taken.processor_seconds:,.0f} rows "
                f"for each; peak {taken.peak_megabytes:.0f} MB in all processes, {taken.private_megabytes:.0f} MB "
                f"without mapped files; a second start takes {_measured(preprocess, data).seconds:.1f} s"
            )
        require(len(fingerprints) == 1, "the engines disagree on the prepared arrays")
        if "dask" in options.engines:
            found["whole"] = _whole(found)
    if options.larger:
        found["larger"] = _larger(options)
    return found


def _larger(options: BenchmarkOptions) -> dict[str, Any]:
    """Prepare logs within less memory than they have text; DuckDB's arrays must be Dask's."""
    with tempfile.TemporaryDirectory() as folder, _control_group(options.larger_megabytes) as group:
        raw = Path(folder) / "raw"
        rows = _write_logs(raw, options.larger, options)
        size = sum(path.stat().st_size for path in raw.iterdir())
        require(size > options.larger_megabytes * 1e6, f"{rows:,} rows are {size / 1e6:,.0f} MB: take more --larger")
        found: dict[str, Any] = {"rows": rows, "text_gigabytes": size / 1e9}
        fingerprints = set()
        for engine in ("duckdb", "dask"):
            data = str(Path(folder) / engine)
            preprocess = [str(PROJECT / "gru4rec/preprocess.py"), "--engine", engine, "--data-dir", str(raw)]
            taken = _measured(preprocess, data, group)
            found[engine] = dataclasses.asdict(taken)
            (meta,) = Path(data).rglob("meta.json")
            fingerprints.add(json.loads(meta.read_text("utf-8"))["fingerprint"])
            print(
                f"{engine}: {rows:,} rows, {size / 1e9:.1f} GB of text, prepared in {taken.seconds:.0f} s within "
                f"{options.larger_megabytes} MB; {taken.private_megabytes:.0f} MB without mapped files"
            )
        require(len(fingerprints) == 1, "the engines disagree on the prepared arrays")
    return found


@contextlib.contextmanager
def _control_group(megabytes: int) -> Iterator[Path]:
    """A control group of Linux (version 1 or 2) whose processes have so much memory, pages of files among it.

    Raises:
        UserError: there are none, or this user may not make one.
    """
    root = Path("/sys/fs/cgroup")
    old = (root / "memory").is_dir()
    group = (root / "memory" if old else root) / f"encore-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(megabytes * 10**6))
    except OSError as error:
        raise UserError(f"--larger needs a control group for memory, which cannot be made here ({error})") from None
    try:
        yield group
    finally:
        group.rmdir()


@dataclass(frozen=True)
class Taken(Command):
    """What a command took; its peak is the resident memory of it and its children together, mapped files among it."""

    own_processor_seconds: float
    """Without its children."""
    private_megabytes: float
    """The peak without the pages of files, which the system takes back when it needs them."""


def _write_logs(folder: Path, rows: int, options: BenchmarkOptions) -> int:
    """Write synthetic logs of about ``rows`` rows; returns how many there are."""
    sample = ["-m", "common.mssd.sample", "--out", str(folder), "--sessions", str(round(rows / ROWS_PER_SESSION))]
    sample += ["--tracks", str(options.tracks), "--days", str(options.days)]
    written = _measured(sample, str(folder.parent))
    size = sum(path.stat().st_size for path in folder.iterdir())
    found = sum(path.read_bytes().count(b"\n") - 1 for path in folder.glob("log_*.csv"))
    print(
        f"{found:,} rows and {options.tracks:,} tracks, {size / 1e9:.2f} GB of text: written in "
        f"{written.seconds:.1f} s (peak {written.peak_megabytes:.0f} MB)"
    )
    return found


def _whole(found: dict[str, Any]) -> dict[str, float]:
    """What the released logs would take, in hours.

    Processor seconds are taken to grow with the rows along the line through the two measured; what does not grow with
    them is the start and the table of features (of 3.7 million tracks, not of 500,000: some minutes more). One machine
    of two cores: all of them, on both cores. A cluster: those of Dask's workers, in as many rounds as the files need on
    its cores, then those of the first process alone. Storage is taken to keep up.
    """

    def whole(engine: str, name: str) -> float:
        many, few = found[engine][name], found[engine][f"few_rows_{name}"]
        slope = max(0.0, many - few) / (found["rows"] - found["few_rows"])
        return float(many + slope * (WHOLE_ROWS - found["rows"]))

    hours = {
        f"{engine}_two_cores_hours": whole(engine, "processor_seconds") / 2 / 3600
        for engine in ("duckdb", "dask")
        if engine in found
    }
    alone = whole("dask", "own_processor_seconds")
    working = whole("dask", "processor_seconds") - alone
    together = working / WHOLE_FILES * math.ceil(WHOLE_FILES / CLUSTER_CORES)
    hours["cluster_hours"] = (together + alone) / 3600
    hours["cluster_first_process_hours"] = alone / 3600
    gigabytes = WHOLE_BYTES / 1e9 / together
    print(
        f"Reckoned for {WHOLE_ROWS:,} rows, {WHOLE_BYTES / 1e9:.0f} GB: "
        + ", ".join(f"{name.replace('_', ' ')}: {value:.2f}" for name, value in hours.items())
        + f". The cluster ({CLUSTER_CORES} cores) must read {gigabytes:.1f} GB/s for that."
    )
    return hours | {"cluster_reads_gigabytes_per_second": gigabytes}


def _measured(arguments: list[str], data: str, group: Path | None = None) -> Taken:
    """Run a Python command, in a control group if one is given, and measure it."""
    peak = private = own = 0.0

    def watch(process: int) -> None:
        nonlocal peak, private, own
        memory = [_memory(pid) for pid in _family(process)]
        peak = max(peak, sum(resident for resident, _ in memory))
        private = max(private, sum(anonymous for _, anonymous in memory))
        own = max(own, _processor_seconds(process))

    os.environ.pop("DASK_SCHEDULER_ADDRESS", None)
    command = [sys.executable, *arguments]
    if group:  # the shell enters it and becomes the command
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    taken = measure_command(command, {"ENCORE_DATA": data}, watch)
    return Taken(taken.seconds, taken.processor_seconds, peak, own, private)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                yield from _family(int(child))
        except OSError:  # the process has just ended
            return


def _memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MB, and what of it is of no file; 0 if it has ended."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        resident, anonymous = (float(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
    except (OSError, KeyError):
        return 0.0, 0.0
    return resident, anonymous


def _processor_seconds(pid: int) -> float:
    """Of a process without its children; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    run_script(recording(main, __file__), BenchmarkOptions)
