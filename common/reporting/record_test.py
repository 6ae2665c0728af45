import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.options import UserError
from common.reporting import record as module
from common.reporting.record import machine, others, recording, versions


@dataclass(frozen=True)
class Options:
    """Options of a benchmark."""

    size: int = 3
    sizes: tuple[int, ...] = (1, 2)
    folder: Path | None = None


def measure(options: Options) -> dict[str, float]:
    """Measure something."""
    return {"seconds": float(options.size), "nothing": float("nan")}


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_figures_are_recorded_with_all_that_they_depend_on(results):
    main = recording(measure, "benchmarks/speed.py")
    assert main.__doc__ == "Measure something."
    assert main(Options())["seconds"] == 3.0
    found = json.loads((results / "speed.json").read_text())
    assert found["figures"] == {"seconds": 3.0, "nothing": None}
    assert found["options"] == {"size": 3, "sizes": [1, 2], "folder": None}
    assert found["script"] == "benchmarks/speed.py" and found["seconds"] >= 0
    assert {"processor", "cores", "memory_gigabytes", "quiet"} == found["machine"].keys()
    assert found["versions"]["numpy"]


def test_a_try_with_other_options_replaces_nothing(results, capsys):
    main = recording(measure, "speed.py")
    main(Options())
    before = (results / "speed.json").read_text()
    assert main(Options(size=4))["seconds"] == 4.0
    assert (results / "speed.json").read_text() == before
    assert "is of other options (size 3, not 4); delete it" in capsys.readouterr().out


def test_measuring_anew_leaves_nothing_of_before_and_folders_do_not_matter(results):
    results.mkdir()
    old = {"old": True, "options": {"size": 3, "sizes": [1, 2]}, "figures": {"seconds": 9.0}}
    (results / "speed.json").write_text(json.dumps(old))
    recording(measure, "speed.py")(Options(folder=Path("/some/where")))
    found = json.loads((results / "speed.json").read_text())
    assert "old" not in found and found["figures"]["seconds"] == 3.0 and "/some" not in json.dumps(found)


def test_a_damaged_record_is_told(results):
    results.mkdir()
    (results / "speed.json").write_text("{")
    with pytest.raises(UserError, match=r"speed\.json: cannot be read"):
        recording(measure, "speed.py")(Options())


def test_facts_of_the_machine():
    found = machine()
    assert found["processor"] and found["cores"] >= 1
    assert versions()["python"].startswith("3.")
    before = others()
    assert before is None or (others() or 0) >= before - 0.1
