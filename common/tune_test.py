"""A search: trials of a made-up trainer, going on after a kill, what is refused; and one of GRU4Rec itself."""

import csv
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import common.tune
import common.tuning.search_space
import common.tuning.trials
from common.command import parse
from common.options import PROJECT
from common.testing import in_process
from common.tune import TuneOptions, main
from common.tuning.search_space import FILE, read_tables
from common.tuning.trials import given_options
from conftest import GOLDEN
from gru4rec.options import GruOptions

SPACE = """
[plain]
metrics = { val_error = "minimize", "val_hit@5" = "maximize", val_none = "minimize" }
options = { kind = "round" }
trial = { baselines = false }
[plain.search]
layers = [[4, 2], [8]]
rate = { low = 0.0, high = 1.0 }
bend = { choices = [1, 2], when = { layers = [[8]] } }
[few]
metrics = { val_error = "minimize" }
[few.search]
rate = [0.25, 0.75]
"""
TRAINER = """
import argparse, json, os, pathlib, sys, time

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--layers", nargs="*", type=int)
for name, kind in {"rate": float, "bend": int, "epochs": int, "seed": int, "kind": str, "data": str}.items():
    parser.add_argument(f"--{name}", type=kind)
parser.add_argument("--run-dir", type=pathlib.Path)
parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--fail", action="store_true")
options = parser.parse_args()
if options.fail:
    sys.exit(f"error: it fails at {options.rate}")
folder = options.run_dir
folder.mkdir(parents=True, exist_ok=options.resume)
facts = {"dataset": {"name": "made up", "synthetic": True, "fingerprint": os.environ.get("FINGERPRINT", "f")}}
(folder / "options.json").write_text(json.dumps({"options": vars(options)} | facts, default=str))
time.sleep(float(os.environ.get("SECONDS", 0)))
print("trained", "again" if options.resume else "anew", options.baselines)
error = (options.rate - 0.3) ** 2  # and least in the second epoch
rows = [f"{epoch},{error + (epoch - 2) ** 2},{1 - error},{os.environ.get('TEST', 0)}" for epoch in (1, 2, 3)]
(folder / "history.csv").write_text("\\n".join(["epoch,val_error,val_hit@5,error", *rows]) + "\\n")
(folder / "metrics.json").write_text(json.dumps({"best_epoch": 2} | facts))
"""
RUN = """
import sys
from pathlib import Path
import common.tuning.search_space, common.tuning.trials, common.tune
for module in (common.tuning.search_space, common.tuning.trials, common.tune):
    module.PROJECT = Path(sys.argv.pop(1))
    sys.argv.insert(1, str(module.PROJECT))
del sys.argv[1]
common.tune.run_script(common.tune.main, common.tune.TuneOptions)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one paper, whose trainer is made up."""
    folder = tmp_path / "project"
    (folder / "paper").mkdir(parents=True)
    (folder / "paper" / "search_space.toml").write_text(SPACE)
    (folder / "paper" / "train.py").write_text(TRAINER)
    for module in (common.tuning.search_space, common.tuning.trials, common.tune):
        monkeypatch.setattr(module, "PROJECT", folder)
    return folder


@pytest.fixture
def cli(monkeypatch, capsys):
    return in_process(monkeypatch, capsys, main, TuneOptions)


def rows_of(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def preset_in(folder):
    return json.loads((folder / "preset.json").read_text())


def test_a_search_leaves_a_table_and_a_preset(project, cli):
    status, out, err = cli("paper", "--trials", 5, "--epochs", 3)
    assert (status, err) == (0, ""), err
    folder = project / "runs" / "paper" / "tune-plain"
    rows, preset = rows_of(folder), preset_in(folder)
    assert [row["trial"] for row in rows] == list("01234") and {row["state"] for row in rows} == {"complete"}
    assert all((row["bend"] != "") == (row["layers"] == "[8]") for row in rows)
    assert len({row["rate"] for row in rows}) == 5 and {row["epoch"] for row in rows} == {"2"}
    best = min(rows, key=lambda row: float(row["val_error"]))
    assert float(best["val_error"]) == pytest.approx((float(best["rate"]) - 0.3) ** 2)
    assert preset["found"]["trial"] == int(best["trial"]) and preset["found"]["dataset"]["synthetic"]
    expected = {"kind": "round", "layers": json.loads(best["layers"]), "rate": float(best["rate"]), "epochs": 3}
    assert preset["options"] == expected | ({"bend": int(best["bend"])} if best["bend"] else {})
    assert f"train.py --preset {folder / 'preset.json'}" in out and "the best of 5 trials" in out
    assert (folder / "trial-0000.log").read_text() == "trained anew False\n"
    assert out.count("Trial 3: ") == 2 and "[I " not in out + err


def test_a_search_that_is_continued_equals_one_in_one_go(project, cli):
    for trials in (2, 4):
        assert cli("paper", "--trials", trials, "--out", project / "parts")[0] == 0
    assert cli("paper", "--trials", 4, "--out", project / "whole")[0] == 0
    whole, parts = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(project / name)]
        for name in ("whole", "parts")
    )
    assert whole == parts
    status, out, _ = cli("paper", "--trials", 4, "--out", project / "whole")  # nothing is left to do
    assert status == 0 and "4 of 4 trials are done" in out and "Trial 4" not in out
    assert cli("paper", "--trials", 1, "--seed", 2, "--out", project / "other")[0] == 0
    assert rows_of(project / "other")[0]["rate"] != whole[0]["rate"]


def test_a_search_goes_on_after_a_kill_in_the_middle_of_a_trial(project, cli):
    folder = project / "out"
    assert cli("paper", "--trials", 1, "--out", folder)[0] == 0
    command = [sys.executable, "-c", RUN, project, "paper", "--trials", "3", "--out", folder]
    environment = os.environ | {"SECONDS": "30"}
    process = subprocess.Popen(command, env=environment, start_new_session=True, cwd=PROJECT)
    begun = folder / "trial-0001" / "options.json"
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    status, _, err = cli("paper", "--trials", 3, "--out", folder)  # the trainer lives on, and must not meet another
    assert status == 2 and err.endswith("is at work there; wait for it\n"), err
    os.killpg(process.pid, signal.SIGKILL)
    while True:
        status, out, err = cli("paper", "--trials", 3, "--out", folder)
        if "at work there" not in err:  # the kill has not reached all of them yet
            break
    assert status == 0, err
    assert "1 of 3 trials are done" in out
    assert [row["trial"] for row in rows_of(folder)] == ["0", "1", "2"]
    assert (folder / "trial-0001.log").read_text() == "trained again False\n"
    assert cli("paper", "--trials", 3, "--out", project / "whole")[0] == 0
    assert [row["rate"] for row in rows_of(folder)] == [row["rate"] for row in rows_of(project / "whole")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_search_that_is_told_to_end_takes_its_trial_with_it(project, cli, number):
    folder = project / "out"
    command = [sys.executable, "-c", RUN, project, "paper", "--trials", "1", "--out", folder]
    process = subprocess.Popen(
        command, env=os.environ | {"SECONDS": "60"}, stderr=subprocess.PIPE, cwd=PROJECT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    while not (folder / "trial-0000" / "options.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    told = "interrupted; the same command goes on with the search\n" if number == signal.SIGINT else ""
    assert process.stderr.read().decode() == told
    assert cli("paper", "--trials", 1, "--out", folder)[0] == 0


def test_what_was_killed_before_its_run_began_begins_anew(project, cli):
    folder = project / "out"
    command = [sys.executable, "-c", "import os; os.kill(os.getppid(), 9)"]
    (project / "paper" / "train.py").write_text(command[-1])
    started = [sys.executable, "-c", RUN, project, "paper", "--trials", "1", "--out", folder]
    assert subprocess.run(started, capture_output=True, cwd=PROJECT).returncode == -9
    with (folder / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the trainer keeps it until it has ended, too
    (folder / "trial-0000").mkdir()
    (folder / "trial-0000" / "half").touch()
    (project / "paper" / "train.py").write_text(TRAINER)
    assert cli("paper", "--trials", 1, "--out", folder)[0] == 0
    assert not (folder / "trial-0000" / "half").exists() and len(rows_of(folder)) == 1


def test_options_after_the_dashes_are_not_searched(project, cli):
    folder = project / "out"
    status, _, err = cli("paper", "--trials", 3, "--out", folder, "--", "--layers", 8, "--data=y", "--baselines")
    assert status == 0, err
    rows, options = rows_of(folder), preset_in(folder)["options"]
    assert "layers" not in rows[0]
    assert (options["layers"], options["data"], options["baselines"]) == ([8], "y", True)
    assert (folder / "trial-0000.log").read_text() == "trained anew True\n"


def test_the_closing_line_is_the_whole_command(project, cli):
    """Followed literally it trains on the same data, with the same options and seed."""
    given = ("--data-dir", project / "paper", "--seed", 3, "--", "--layers", 8, "--data", "two words", "--no-baselines")
    text = TRAINER.replace("options = parser", 'parser.add_argument("--data-dir")\noptions = parser')
    (project / "paper" / "train.py").write_text(text)
    status, out, err = cli("paper", "--trials", 1, "--out", project / "out", *given)
    assert status == 0, err
    line = f"python paper/train.py --preset {project / 'out' / 'preset.json'} --data-dir {project / 'paper'} --seed 3"
    assert out.endswith(f"{line} --layers 8 --data 'two words' --no-baselines\n")


def test_a_best_trial_that_is_worse_than_chance_is_told(project, cli):
    space = project / "paper" / "search_space.toml"
    words = "Even the best trial is worse than chance: val_error is "
    for chance, said in ((-0.1, True), (1.0, False)):
        space.write_text(SPACE.replace("[plain]\n", f"[plain]\nchance = {{ val_error = {chance} }}\n"))
        status, out, _ = cli("paper", "--trials", 1, "--out", project / str(chance))
        assert status == 0 and (words in out) == said
    space.write_text(SPACE.replace("[plain]\n", "[plain]\nchance = { val_none = 0.5, other = 1 }\n"))
    status, _, err = cli("paper", "--trials", 1)
    assert status == 2 and "chance must name metrics of this space" in err and err.count("\n") == 1
    known = [space for paper in ("session_transformers",) for space in read_tables(PROJECT / paper / FILE).items()]
    for name, table in known:
        coin = table["options"]["task"] == "skip" and "val_loss" in table["metrics"]
        assert table.get("chance", {}) == ({"val_loss": pytest.approx(math.log(2))} if coin else {}), name


@pytest.mark.parametrize(
    ("space", "arguments", "why"),
    [
        ("gru4rec", (), ""),
        ("gru4rec", ("--data-dir", GOLDEN / "gru4rec"), "sessions of tsv files have none by default"),
        ("gru4rec", ("--data-dir", GOLDEN / "gru4rec", "--", "--validation-share", 0.2), ""),
        ("gru4rec", ("--data-dir", GOLDEN / "gru4rec", "--", "--validation-days", 2), ""),
        ("gru4rec", ("--", "--validation-days", 0), "--validation-days is 0"),
        ("gru4rec", ("--", "--validation-share", 0), "--validation-share is 0"),
        ("session_transformers", ("--", "--validation-share", 0), "--validation-share is 0"),
        ("session_transformers", ("--", "--protocol", "released"), ""),
        ("dtnmr", ("--", "--validation-share", 0), "--validation-share is 0"),
        ("dtnmr", ("--", "--protocol", "released"), "--protocol released has none"),
        ("seer", ("--", "--protocol", "released"), "--protocol released has none"),
        ("audiotext", (), ""),
    ],
    ids=str,
)
def test_a_search_without_validation_is_refused_at_once(cli, tmp_path, monkeypatch, space, arguments, why):
    class Began(Exception):
        pass

    def begins(*_):
        raise Began

    monkeypatch.setattr(common.tune, "open_study", begins)
    given = (space, "--out", tmp_path / "out", *arguments)
    if why:
        status, _, err = cli(*given)
        assert status == 2 and f"of a validation part, but {why}; give it one" in err and err.count("\n") == 1, err
        assert not (tmp_path / "out").exists()
    else:
        with pytest.raises(Began):
            cli(*given)


def test_one_number_for_a_list_still_meets_its_condition(project, cli):
    text = SPACE.replace("when = { layers = [[8]] }", 'when = { kind = "round" }')
    (project / "paper" / "search_space.toml").write_text(text)
    assert cli("paper", "--trials", 1, "--out", project / "out")[0] == 0
    assert rows_of(project / "out")[0]["bend"] in ("1", "2")
    assert cli("paper", "--trials", 1, "--out", project / "other", "--", "--kind", "flat")[0] == 0
    assert rows_of(project / "other")[0]["bend"] == ""


def test_the_same_options_are_not_tried_twice(project, cli):
    folder = project / "out"
    assert cli("paper/few", "--trials", 6, "--out", folder)[0] == 0
    rows = rows_of(folder)
    assert len(rows) == 6 and len(list(folder.glob("trial-*.log"))) == 2
    for row in rows:
        if row["same_as"]:
            first = rows[int(row["same_as"])]
            assert (row["val_error"], row["rate"]) == (first["val_error"], first["rate"])


def test_another_metric_is_of_its_own_direction_and_no_test_figure_counts(project, cli, monkeypatch):
    assert cli("paper", "--trials", 4, "--out", project / "error")[0] == 0
    monkeypatch.setenv("TEST", "9")
    assert cli("paper", "--trials", 4, "--out", project / "hit", "--metric", "val_hit@5")[0] == 0
    rows = rows_of(project / "hit")
    best = max(rows, key=lambda row: float(row["val_hit@5"]))
    assert preset_in(project / "hit")["found"]["trial"] == int(best["trial"])
    status, _, err = cli("paper", "--metric", "error")
    assert (status, err) == (2, "error: --metric is error; trials of paper/plain can be compared by val_error, "
                             "val_hit@5, val_none\n")  # fmt: skip


def test_a_study_is_of_one_question(project, cli, monkeypatch):
    folder = project / "out"
    start = ("--out", folder, "--trials", 1)
    assert cli("paper", *start)[0] == 0
    cases = [
        (("paper/few", *start), "was begun with space = paper/plain, not paper/few"),
        (("paper", *start, "--metric", "val_hit@5"), "was begun with metric = val_error, not val_hit@5"),
        (("paper", *start, "--seed", 2), "was begun with --seed = 1, not 2"),
        (("paper", *start, "--epochs", 2), "was begun with --epochs = none, not 2"),
        (("paper", *start, "--data-dir", project), f"was begun with --data-dir = none, not {project}"),
        (("paper", *start, "--", "--bend", 1), "was begun with options after -- = none, not --bend 1"),
    ]
    for arguments, words in cases:
        status, _, err = cli(*arguments)
        assert status == 2 and words in err and err.count("\n") == 1, err
    (project / "paper" / "search_space.toml").write_text(SPACE.replace("high = 1.0", "high = 2.0"))
    status, _, err = cli("paper", *start)
    assert status == 2 and "was begun with another search space of this name" in err
    (project / "paper" / "search_space.toml").write_text(SPACE)
    monkeypatch.setenv("FINGERPRINT", "g")
    status, _, err = cli("paper", "--out", folder, "--trials", 2)
    assert status == 2 and "is of another dataset than the trials before" in err and err.count("\n") == 1


def test_trials_that_fail_are_recorded_and_three_of_them_are_enough(project, cli):
    folder = project / "out"
    status, out, err = cli("paper", "--trials", 9, "--out", folder, "--", "--fail")
    rows = rows_of(folder)
    assert status == 2 and err.startswith("error: the first 3 trials all failed, the last one with: it fails at 0.")
    assert len(rows) == 3 and all(row["error"].startswith("it fails at ") for row in rows)
    assert out.count("failed: it fails at") == 3 and not (folder / "preset.json").exists()

    text = TRAINER.replace("if options.fail", "if options.rate <= 0.5")
    (project / "paper" / "train.py").write_text(text)
    status, _, err = cli("paper", "--trials", 8, "--out", project / "some")
    rows = rows_of(project / "some")
    assert status == 0, err
    assert {row["state"] for row in rows} == {"complete", "fail"} and len(rows) == 8
    assert all((row["error"] != "") == (float(row["rate"]) <= 0.5) for row in rows)

    (project / "paper" / "train.py").write_text("import os; print('oh'); os.abort()")
    status, _, err = cli("paper", "--trials", 1, "--out", project / "crash")
    assert status == 2 and err.startswith("error: all 1 trials failed")
    assert rows_of(project / "crash")[0]["error"] == "the trainer ended with status -6: oh"


def test_a_figure_that_is_no_number_fails_and_one_that_is_missing_ends_the_search(project, cli):
    text = TRAINER.replace("(options.rate - 0.3) ** 2", "float('nan')")
    (project / "paper" / "train.py").write_text(text)
    assert cli("paper", "--trials", 1, "--out", project / "nan")[0] == 2
    assert rows_of(project / "nan")[0]["error"] == "val_error is nan in epoch 2"
    status, _, err = cli("paper", "--trials", 9, "--out", project / "none", "--metric", "val_none")
    assert status == 2 and "has no val_none, so this training is not validated" in err and err.count("\n") == 1
    assert not (project / "none" / "trial-0001").exists()


def test_mistakes_end_in_one_line(project, cli, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "trial-0000").mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "study.db").write_bytes(b"nothing of sqlite" * 99)
    (tmp_path / "file").touch()
    cases = [
        (("nothing",), "no paper with a search space; expected one of paper"),
        (("paper/nothing",), "paper/nothing: no such search space; paper has plain, few"),
        ((), "PAPER"),
        (("paper", "--trials", 0), "--trials is 0"),
        (("paper", "--epochs", 0), "--epochs is 0"),
        (("paper", "--", "8"), "after -- stands 8"),
        (("paper", "--", "--run-dir", "x"), "--run-dir after --: a search has none"),
        (("paper", "--", "--seed=3"), "--seed after --: a search has its own"),
        (("paper", "--out", full), "is not empty and holds no study"),
        (("paper", "--out", damaged), "cannot be read or written as a study"),
        (("paper", "--out", tmp_path / "file" / "below"), "Not a directory"),
    ]
    for arguments, words in cases:
        status, _, err = cli(*arguments)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and words in err, (arguments, err)
    assert (full / "trial-0000").exists()


def test_values_on_a_command_line():
    given = ["--a-b=1.5", "--c", "x", "2", "--no-d", "--e", "--f.no-g", "--h", "-3"]
    assert given_options(given) == {"a_b": 1.5, "c": ["x", 2], "d": False, "e": True, "f.g": False, "h": -3}


@pytest.mark.slow
def test_a_search_of_gru4rec_goes_on_to_a_second_trial(cli, tmp_path):
    data = tmp_path / "sessions"
    data.mkdir()
    for name in ("train.tsv", "test.tsv"):
        shutil.copy(GOLDEN / "gru4rec" / name, data)
    out = tmp_path / "out"
    arguments = ("gru4rec", "--data-dir", data, "--epochs", 1, "--out", out)
    fixed = ("--", "--negatives", 16, "--layers", 8, "--batch-size", 16, "--validation-share", 0.2, "--momentum", 0)
    fixed += ("--loss", "cross-entropy", "--deterministic")
    for trials in (1, 2):
        status, printed, err = cli(*arguments, "--trials", trials, *fixed)
        assert status == 0, err
    assert "1 of 2 trials are done" in printed
    rows, found = rows_of(out), preset_in(out)
    assert len(rows) == 2
    for row in rows:
        with (out / f"trial-{int(row['trial']):04d}" / "history.csv").open() as file:
            assert row["val_mrr@20"] == list(csv.DictReader(file))[-1]["val_mrr@20"]
    best = max(rows, key=lambda row: float(row["val_mrr@20"]))
    assert found["found"]["trial"] == int(best["trial"]) and found["options"]["negatives"] == 16
    assert float(best["learning_rate"]) == found["options"]["learning_rate"]
    taken = parse(GruOptions, ["--preset", str(out / "preset.json")])
    recorded = json.loads((out / f"trial-{int(best['trial']):04d}" / "options.json").read_text())["options"]
    for name in ("loss", "learning_rate", "dropout_hidden", "logq", "negatives", "epochs", "validation_share"):
        assert getattr(taken, name) == recorded[name], name
