"""What all benchmarks share: times of work and of commands, and what is recorded of them."""

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.options import PROJECT, UserError
from common.reporting.figures import machine


@dataclass(frozen=True)
class Options:
    """Options of a benchmark."""

    size: int = 3
    sizes: tuple[int, ...] = (1, 2)
    folder: Path | None = None


def measure(options: Options) -> dict[str, float]:
    """Measure something."""
    return {"seconds": float(options.size), "nothing": float("nan")}


@pytest.fixture
def measuring(monkeypatch):
    """The module, which the scripts find beside them."""
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    return importlib.import_module("measuring")


@pytest.fixture
def results(tmp_path, monkeypatch, measuring):
    monkeypatch.setattr(measuring, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def recording(results, measuring):
    return measuring.recording


def test_figures_are_recorded_with_all_that_they_depend_on(results, recording):
    main = recording(measure, "benchmarks/speed.py")
    assert main.__doc__ == "Measure something."
    assert main(Options())["seconds"] == 3.0
    found = json.loads((results / "speed.json").read_text())
    assert found["figures"] == {"seconds": 3.0, "nothing": None}
    assert found["options"] == {"size": 3, "sizes": [1, 2], "folder": None}
    assert found["script"] == "benchmarks/speed.py" and found["seconds"] >= 0
    assert {"processor", "cores", "memory_gigabytes", "quiet"} == found["machine"].keys()
    assert found["versions"]["numpy"]


def test_a_try_with_other_options_replaces_nothing(results, recording, capsys):
    main = recording(measure, "speed.py")
    main(Options())
    before = (results / "speed.json").read_text()
    assert main(Options(size=4))["seconds"] == 4.0
    assert (results / "speed.json").read_text() == before
    assert "is of other options (size 3, not 4); delete it" in capsys.readouterr().out


def test_measuring_anew_leaves_nothing_of_before_and_folders_do_not_matter(results, recording):
    results.mkdir()
    old = {"old": True, "options": {"size": 3, "sizes": [1, 2]}, "figures": {"seconds": 9.0}}
    (results / "speed.json").write_text(json.dumps(old))
    recording(measure, "speed.py")(Options(folder=Path("/some/where")))
    found = json.loads((results / "speed.json").read_text())
    assert "old" not in found and found["figures"]["seconds"] == 3.0 and "/some" not in json.dumps(found)


def test_a_damaged_record_is_told(results, recording):
    results.mkdir()
    (results / "speed.json").write_text("{")
    with pytest.raises(UserError, match=r"speed\.json: cannot be read"):
        recording(measure, "speed.py")(Options())


def test_facts_of_the_machine(measuring):
    found = machine()
    assert found["processor"] and found["cores"] >= 1
    assert measuring.versions()["python"].startswith("3.")
    before = measuring.others()
    assert before is None or (measuring.others() or 0) >= before - 0.1


def test_repeats_are_timed_one_by_one_after_those_that_do_not_count(measuring):
    calls = []

    def work():
        calls.append(time.sleep(0.05 if len(calls) == 3 else 0.01))
        return len(calls)

    taken = measuring.measure(work, repeats=3, warm=2)
    assert len(calls) == taken.result == 5 and len(taken.seconds) == len(taken.processor_seconds) == 3
    assert taken.best == min(taken.seconds) >= 0.01 and max(taken.seconds) == taken.seconds[1] >= 0.05
    assert taken.best <= taken.median <= max(taken.seconds) and taken.processor in taken.processor_seconds


def test_a_command_is_measured_with_its_memory_and_watched(measuring, capfd):
    code = "import os; many = bytearray(99 << 20); print(sum(range(2_000_000)), os.environ['WORD'], len(many))"
    seen = []
    command = [sys.executable, "-c", code]
    taken = measuring.measure_command(command, {"WORD": "here"}, seen.append)
    assert "here" in capfd.readouterr().out and len(set(seen)) == 1 and seen[0] != os.getpid()
    assert taken.seconds > 0 and taken.processor_seconds > 0 and taken.peak_megabytes > 99
    measuring.measure_command(command, {"WORD": "here"}, silent=True)
    assert capfd.readouterr().out == "" and measuring.peak_megabytes() > 1
    with pytest.raises(UserError, match="exit\\(3\\) failed, see above"):
        measuring.measure_command([sys.executable, "-c", "exit(3)"])


def test_threads_are_set_before_libraries_read_them(measuring, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    for arguments, count in (([], 2), (["--threads", "3"], 3)):
        monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
        assert measuring.threads_given() == count
        assert os.environ["OMP_NUM_THREADS"] == os.environ["TF_NUM_INTRAOP_THREADS"] == str(count)
    monkeypatch.setattr(sys, "argv", ["script.py", "--threads", "many"])
    with pytest.raises(UserError, match="two words"):
        measuring.threads_given()
