import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from common.options import PROJECT
from common.workers import in_processes

SCRIPT = """
import os, sys, time
from pathlib import Path
from common.workers import in_processes

def work(number, folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(0.05 if number else 600)
    return number

if __name__ == "__main__":
    list(in_processes(work, range(100), [sys.argv[1]] * 100, workers=2, at_once=1))
"""


def running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_results_come_in_order_and_workers_end_with_their_parent(tmp_path):
    assert list(in_processes(pow, [2, 3, 4], [3, 2, 1], workers=1)) == [8, 9, 4]
    assert list(in_processes(pow, [2, 3, 4], [3, 2, 1], workers=2, at_once=1)) == [8, 9, 4]
    (tmp_path / "script.py").write_text(SCRIPT)
    seen = tmp_path / "seen"
    seen.mkdir()
    command = [sys.executable, str(tmp_path / "script.py"), str(seen)]
    parent = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(PROJECT)}, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while len(list(seen.iterdir())) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    workers = [int(path.name) for path in seen.iterdir()]
    assert len(workers) == 2 and all(map(running, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(map(running, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(map(running, workers))
