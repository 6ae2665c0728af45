"""How fast logs of the Music Streaming Sessions Dataset are prepared for GRU4Rec, and in how much memory.

Run ``python benchmarks/mssd_preprocess.py``: it writes synthetic logs in the released format (a GB for 5 million
rows) to a temporary folder, prepares them in processes of their own with NumPy and with DuckDB, prints what each took
and compares the results.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.options import PROJECT, UserError, require, run_script
from common.record import recording

ROWS_PER_SESSION = 16.58
_READ = """
import sys
from pathlib import Path
from common.mssd import find_mssd
from common.mssd_logs import read_logs
read_logs(find_mssd(Path(sys.argv[2])).logs, Path(sys.argv[3]), engine=sys.argv[1])
"""


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of this benchmark."""

    rows: int = 5_000_000
    """Rows of the logs, roughly."""
    tracks: int = 500_000
    """Distinct tracks in the table of features."""
    days: int = 10
    """Logs: one for each day."""
    engines: tuple[Literal["numpy", "duckdb"], ...] = ("numpy", "duckdb")
    """What reads the logs; the arrays of all must be the same."""

    def __post_init__(self) -> None:
        require(self.rows >= 1000, f"--rows is {self.rows}; it must be 1000 or more")


def main(options: BenchmarkOptions) -> dict[str, Any]:
    """Measure gru4rec/preprocess.py on synthetic logs."""
    require(Path("/proc/self/statm").is_file(), "this benchmark reads memory from /proc: it needs Linux")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        sessions = round(options.rows / ROWS_PER_SESSION)
        sample = ["-m", "common.session_sample", "--out", str(raw), "--sessions", str(sessions)]
        sample += ["--tracks", str(options.tracks), "--days", str(options.days)]
        writing, writing_peak = _measured(sample, folder)
        size = sum(path.stat().st_size for path in raw.iterdir())
        rows = sum(path.read_bytes().count(b"\n") - 1 for path in raw.glob("log_*.csv"))
        print(
            f"{rows:,} rows and {options.tracks:,} tracks, {size / 1e9:.2f} GB of text: written in {writing:.1f} s "
            f"(peak {writing_peak:.0f} MB)"
        )
        found: dict[str, Any] = {"rows": rows}
        for engine in options.engines:
            preprocess = [str(PROJECT / "gru4rec/preprocess.py"), "--data-dir", str(raw), "--engine", engine]
            data = str(Path(folder) / engine)
            seconds, peak = _measured(preprocess, data)
            loading, _ = _measured(preprocess, data)
            (meta,) = Path(data).rglob("meta.json")
            fingerprint = json.loads(meta.read_text("utf-8"))["fingerprint"]
            reading, reading_peak = _measured(["-c", _READ, engine, str(raw), folder], folder)
            found[engine] = {
                "seconds": seconds,
                "peak_megabytes": peak,
                "reading_seconds": reading,
                "reading_peak_megabytes": reading_peak,
                "fingerprint": fingerprint,
            }
            print(
                f"{engine}: prepared in {seconds:.1f} s on {os.cpu_count()} cores, {rows / seconds:,.0f} rows/s, peak "
                f"{peak:.0f} MB in all processes, {reading:.1f} s and {reading_peak:.0f} MB for reading alone; "
                f"a second start takes {loading:.1f} s"
            )
    same = len({found[engine]["fingerprint"] for engine in options.engines}) == 1
    require(same, "the engines disagree on the prepared arrays")
    return found


def _measured(arguments: list[str], data: str) -> tuple[float, float]:
    """Wall seconds of a Python command, and the most resident memory (MB) of it and its children together."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "ENCORE_DATA": data}
    process = subprocess.Popen([sys.executable, *arguments], env=environment)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(_resident(pid) for pid in _family(process.pid)))
        time.sleep(0.05)
    if process.returncode:
        raise UserError(f"{' '.join(arguments)} failed, see above")
    return time.perf_counter() - started, peak


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                yield from _family(int(child))
        except OSError:  # the process has just ended
            return


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    run_script(recording(main, __file__), BenchmarkOptions)
