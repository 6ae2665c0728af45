"""What is run for the tables of the pages, what is used again, and what is collected. Nothing is trained here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import results
from common.command import parse
from common.options import PROJECT, UserError, write_json
from common.pages import declared
from common.results import ResultsOptions, finished, main, shown
from common.testing import run_result

TABLES = """
[sample]
script = "paper/train.py"
seeds = [1, 2]
also = ["apart"]
columns = ["rmse", ["cold", "{cold/rmse:.1f}"]]
[sample.rows]
plain = { args = "" }
deep = { args = "--layers '2 3'", seeds = [1] }
random = {}
constant = {}
[far]
script = "paper/train.py"
data = "files that nobody has"
seeds = [1]
columns = ["rmse"]
[far.rows]
plain = { args = "" }
[all]
command = "paper/compare.py --out {out}"
out = "comparison"
file = "all.json"
figures = ["models.*.figures", "baselines.*"]
intervals = ["intervals.*"]
columns = [["rmse", "{rmse:.1fi}"]]
[all.rows]
one = {}
mean = {}
"""
PAGE = "".join(f"<!-- table: paper/{name} -->\n<!-- end of table -->\n" for name in ("sample", "all"))


class Scripts:
    """Stands for the processes: remembers commands and leaves behind what they would."""

    def __init__(self):
        self.commands, self.data, self.error, self.fingerprint = [], [], "", {}

    def __call__(self, command, env, **_):
        assert command[0] == sys.executable
        self.data.append(env.get("ENCORE_DATA"))
        self.commands.append(" ".join(command[1:]).replace(f"{PROJECT}/", ""))
        if self.error and self.error in self.commands[-1]:
            return subprocess.CompletedProcess(command, 2, "", "a warning\nerror: no such thing\n")
        given = dict(zip(command[2::2], command[3::2], strict=False))
        folder = Path(given.get("--run-dir") or given["--out"])
        folder.mkdir(parents=True, exist_ok=True)
        if "--out" in given:
            content = {
                "models": {"one": {"figures": {"rmse": [1.0, 3.0]}}},
                "baselines": {"mean": {"rmse": 5.0}},
                "intervals": {"mean": {"rmse": [5.0, 4.0, 6.0]}},
                "dataset": {"name": "small"},
                "versions": {"keras": "3"},
            }
            (folder / "all.json").write_text(json.dumps(content))
        else:
            seed = int(given["--seed"])
            apart = {"apart": {"cold": {"rmse": 10.0 * seed}}}
            apart["baselines_apart"] = {"constant": {"cold": {"rmse": 8.0}}}
            content = run_result(
                metrics={"rmse": float(seed), "none": None},
                baselines={"random": {"rmse": seed + 2.0}, "constant": {"rmse": 7.0}},
                intervals={"ours": {"rmse": [0.5, 1.5]}},
                dataset={"fingerprint": self.fingerprint.get(folder.name, "f")},
                versions={"keras": "3"},
                details=apart,
            )
            (folder / "metrics.json").write_text(json.dumps(content))
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def scripts(monkeypatch):
    made = Scripts()
    monkeypatch.setattr(results.subprocess, "run", made)
    return made


@pytest.fixture
def root(tmp_path):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "results.toml").write_text(TABLES)
    (tmp_path / "paper" / "README.md").write_text(PAGE)
    row = {"rmse": 9.0, "cold/rmse": 9.0}
    for name in ("sample", "all"):
        rows = declared("paper", tmp_path)[name]["rows"]
        write_json(tmp_path / "paper/results" / f"{name}.json", {"old": True, "figures": dict.fromkeys(rows, row)})
    return tmp_path


def run(root, *only, data_dir=None):
    return main(ResultsOptions(only, data_dir, root / "runs"), root)


def test_commands_are_shown_without_folders_of_this_machine(tmp_path):
    command = ["gru4rec/train.py", "--data-dir", str(tmp_path / "data"), "--run-dir", f"{tmp_path}/data/runs/a"]
    told = "python gru4rec/train.py --data-dir FOLDER --run-dir FOLDER/runs/a"
    assert shown(command, tmp_path / "data", None) == told


def test_everything_missing_is_run_collected_and_shown(root, scripts, capsys):
    assert run(root) == ["paper/sample", "paper/all"]
    at = f"--run-dir {root}/runs/paper/results"
    assert scripts.commands == [
        f"paper/train.py --seed 1 {at}/sample/plain-1",
        f"paper/train.py --seed 2 {at}/sample/plain-2",
        f"paper/train.py --layers 2 3 --seed 1 {at}/sample/deep-1",
        f"paper/compare.py --out {root}/runs/paper/results/comparison",
    ]
    assert set(scripts.data) == {f"{root}/runs/results-data"}
    assert "paper/far: needs files that nobody has: --only paper/far --data-dir FOLDER" in capsys.readouterr().out
    found = json.loads((root / "paper" / "results" / "sample.json").read_text())
    assert found["figures"] == {
        "plain": {"rmse": [1.0, 2.0], "cold/rmse": [10.0, 20.0]},
        "deep": {"rmse": [1.0], "cold/rmse": [10.0]},
        "random": {"rmse": [3.0, 4.0]},
        "constant": {"rmse": [7.0], "cold/rmse": [8.0]},
    }
    assert found["intervals"] == {"plain": {"rmse": [0.5, 1.5]}, "deep": {"rmse": [0.5, 1.5]}}
    assert found["commands"]["deep, seed 1"] == "python paper/train.py --layers '2 3' --seed 1 --run-dir FOLDER"
    assert found["seconds"] == {"plain": [2.0, 2.0], "deep": [2.0]} and found["versions"] == {"keras": "3"}
    assert not {"old"} & found.keys() and found["machine"]["processor"] and len(found["date"]) == 10
    page = (root / "paper" / "README.md").read_text()
    assert "| plain | 1.500 ± 0.707 | 15.0 ± 7.1 |" in page and "| constant | 7.000 | 8.0 |" in page
    assert "| one | 2.0 |" in page and "| mean | 5.0 [4.0, 6.0] |" in page
    assert str(root) not in json.dumps(found)


def test_finished_runs_are_used_again_and_interrupted_ones_continued(root, scripts):
    run(root, "paper/sample")
    folder = root / "runs" / "paper" / "results" / "sample" / "plain-2"
    (folder / "metrics.json").rename(folder / "options.json")
    scripts.commands.clear()
    run(root, "paper/sample")
    assert [command.split()[-1] for command in scripts.commands] == ["--resume"]
    assert "--seed 2" in scripts.commands[0]


def test_runs_of_another_command_are_refused(root, scripts, capsys):
    run(root, "paper")
    path = root / "paper" / "results.toml"
    path.write_text(path.read_text().replace("2 3", "2 4"))
    with pytest.raises(UserError, match=r"no figures of paper/sample"):
        run(root, "paper")
    assert "deep-1/metrics.json: is of another command" in capsys.readouterr().err
    folder = root / "somewhere"
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="of another command, unknown"):
        finished(["x.py"], folder, "metrics.json", {})


def test_a_failure_is_repeated_and_stops_no_other_table(root, scripts, capsys):
    scripts.error = "--layers"
    with pytest.raises(UserError, match=r"no figures of paper/sample, see above"):
        run(root)
    assert "--layers '2 3'" in (said := capsys.readouterr().err) and "no such thing" in said
    assert '"old"' not in (root / "paper" / "results" / "all.json").read_text()
    assert '"old"' in (root / "paper" / "results" / "sample.json").read_text()


def test_rows_of_different_data_are_refused_unless_they_say_so(root, scripts, capsys):
    scripts.fingerprint = {"deep-1": "g"}
    with pytest.raises(UserError):
        run(root, "paper/sample")
    assert "runs of deep are of other data than those of plain" in capsys.readouterr().err
    path = root / "paper" / "results.toml"
    path.write_text(path.read_text().replace("seeds = [1] }", "seeds = [1], other_data = true }"))
    assert run(root, "paper/sample") == ["paper/sample"]


def test_data_of_the_users_own_are_named_for_one_table(root, scripts):
    path = root / "paper" / "README.md"
    path.write_text("<!-- table: paper/far -->\n<!-- end of table -->\n")
    assert run(root, "paper/far", data_dir=Path("/some/where")) == ["paper/far"]
    assert "--data-dir /some/where" in scripts.commands[0] and scripts.data == [os.environ["ENCORE_DATA"]]
    found = json.loads((root / "paper" / "results" / "far.json").read_text())
    assert found["commands"]["plain, seed 1"].count("FOLDER") == 2
    with pytest.raises(UserError, match="--data-dir belongs to one table"):
        ResultsOptions(("paper",), Path("x"))
    with pytest.raises(UserError, match="--only papers: no such paper or table; there are paper, paper/all"):
        run(root, "papers")


def test_a_damaged_result_is_told(root, scripts):
    run(root, "paper/all")
    (root / "runs" / "paper" / "results" / "comparison" / "all.json").write_text("{")
    with pytest.raises(UserError, match="no figures of paper/all"):
        run(root, "paper/all")


def test_options():
    assert parse(ResultsOptions, ["--only", "seer", "gru4rec/sample"]).only == ("seer", "gru4rec/sample")


def test_every_command_of_this_project_exists():
    for path in PROJECT.glob("*/results.toml"):
        for spec in declared(path.parent.name).values():
            script = spec.get("script") or spec.get("command", "").split(" ")[0]
            assert not script or (PROJECT / script).is_file()
