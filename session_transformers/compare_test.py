"""The comparison of all models: its tables, what it trains, and what it refuses. No model is trained here."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.command import parse
from common.options import UserError
from common.testing import paired_result, run_result
from session_transformers import compare
from session_transformers.compare import MODELS, CompareOptions, main
from session_transformers.paper import PAPER, SKIP_COLUMNS
from session_transformers.settings import defaults, has_task

MAA = {"transformer": (0.5, 0.6, 0.7), "lstm": (0.8, 0.81, 0.82), "ddpg": (0.1, 0.2, 0.3)}


def metrics(model, task, seed, epochs=None, fingerprint="f"):
    """What a run's ``metrics.json`` says, as far as the comparison reads it."""
    maa = MAA.get(model, (0.4,) * 3)[seed - 1]
    name = "maa" if task == "skip" else "free_maa"
    places = {"accuracy_by_position": [maa, 0.1], "sessions_by_number_right": [0.7, 0.3]}
    return run_result(
        metrics={name: maa, name.replace("maa", "accuracy"): maa / 2},
        details={"by_position": places},
        intervals={"ours": {name: [maa - 0.01, maa + 0.01]}},
        tests={name: paired_result("repeat last skip")},
        baselines={"repeat last skip": {name: 0.45}},
        dataset={"name": "small", "fingerprint": fingerprint},
        train_seconds=1.5,
        best_epoch=2,
        versions={"keras": "3"},
        settings={"epochs": epochs or defaults(model, task, True)["epochs"]},
    )


class Trainings:
    """Stands for the process of a training: remembers the command and leaves ``metrics.json`` behind."""

    def __init__(self, fingerprint=lambda model, seed: "f"):
        self.commands, self.fingerprint, self.error = [], fingerprint, None

    def __call__(self, command, **_):
        given = dict(zip(command[2::2], command[3::2], strict=False))
        self.commands.append(command)
        if self.error:
            return subprocess.CompletedProcess(command, 2, "", f"some warning\nerror: {self.error}\n")
        model, task, seed = given["--model"], given["--task"], int(given["--seed"])
        folder = Path(given["--run-dir"])
        folder.mkdir(parents=True, exist_ok=True)
        epochs = int(given["--epochs"]) if "--epochs" in given else None
        figures = metrics(model, task, seed, epochs, self.fingerprint(model, seed))
        (folder / "metrics.json").write_text(json.dumps(figures))
        if model == "ddpg":
            (folder / "history.csv").write_text(f"epoch,reward\n1,0.5\n2,0.{seed}\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    @property
    def folders(self):
        return [Path(command[command.index("--run-dir") + 1]).name for command in self.commands]


@pytest.fixture
def trainings(monkeypatch):
    found = Trainings()
    monkeypatch.setattr(compare.subprocess, "run", found)
    return found


def run(folder, *arguments):
    return main(parse(CompareOptions, ["--out", str(folder), *map(str, arguments)]))


SMALL = ("--tasks", "skip", "--models", "transformer", "lstm", "ddpg")


def test_every_model_is_there():
    for task, models in MODELS.items():
        assert len(set(models)) == len(models) and all(has_task(model, task) for model in models)


def test_rows_hold_mean_and_deviation_the_best_first(trainings, tmp_path, capsys):
    found = run(tmp_path, *SMALL)["skip"]
    figures = found["models"]["transformer"]["figures"]
    assert figures["maa"] == [0.5, 0.6, 0.7] and figures["accuracy"] == [0.25, 0.3, 0.35]
    assert figures["accuracy_by_position/1"] == [0.5, 0.6, 0.7]
    assert figures["sessions_by_number_right/0"] == [0.7, 0.7, 0.7]
    assert found["models"]["lstm"]["maa_95"][1] == pytest.approx([0.8, 0.82])
    assert found["models"]["ddpg"]["train_seconds"] == [1.5] * 3 and found["seeds"] == 3
    assert found == json.loads((tmp_path / "skip.json").read_text())
    text = (tmp_path / "skip.md").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    names = [line[0].removeprefix("| ") for line in lines]
    assert names[1:5] == ["lstm", "transformer", "ddpg", "repeat last skip"] and names[5:] == list(PAPER["skip"])
    assert {len(line) for line in lines} == {len(SKIP_COLUMNS) + 2}
    assert lines[1][1] == "0.810 ± 0.010" and lines[2][1:3] == ["0.600 ± 0.100", "0.300 ± 0.050"]
    assert lines[2][3] == "–" and lines[2][-1] == "0.490 to 0.510 |"
    assert lines[4][1] == "0.450"
    assert "synthetic" in text.splitlines()[0] and "3 seeds" in text
    assert [path.name for path in tmp_path.glob("*.png")] == ["ddpg-skip.png"]  # the others have no history here
    out = capsys.readouterr().out
    assert "0.600 ± 0.100" in out and "challenge: winner" in out


def test_baselines_of_one_model_alone_stand_in_the_table_with_their_spread(trainings, tmp_path, monkeypatch):
    plain = metrics

    def with_candidates(model, task, seed, *rest):
        found = plain(model, task, seed, *rest)
        if model == "ddpg":
            found["metrics"]["hit@1_of_100"] = 0.1 * seed
            found["baselines"]["repeat last skip"]["hit@1_of_100"] = 0.2 * seed
            found["baselines"]["start vectors alone"] = {"free_maa": 0.03, "hit@1_of_100": 0.4}
        return found

    monkeypatch.setitem(globals(), "metrics", with_candidates)
    found = run(tmp_path, "--tasks", "seq", "--models", "transformer", "ddpg")["seq"]["baselines"]
    assert found["repeat last skip"] == {"free_maa": 0.45, "hit@1_of_100": pytest.approx([0.2, 0.4, 0.6])}
    assert found["start vectors alone"] == {"free_maa": 0.03, "hit@1_of_100": 0.4}
    text = (tmp_path / "seq.md").read_text()
    head, row = (next(line for line in text.splitlines() if word in line) for word in ("hit@1_of_100", "repeat last"))
    assert row.split(" | ")[head.split(" | ").index("hit@1_of_100")] == "0.400 ± 0.200"


def test_one_seed_has_no_deviation(trainings, tmp_path):
    run(tmp_path, *SMALL, "--seeds", 1)
    assert "| transformer | 0.500 | 0.250 |" in (tmp_path / "skip.md").read_text()


def test_finished_runs_are_not_trained_again_and_started_ones_are_resumed(trainings, tmp_path):
    first = run(tmp_path, *SMALL, "--seeds", 2)
    assert sorted(trainings.folders) == sorted(f"{model}-skip-{seed}" for model in MAA for seed in (1, 2))
    assert not any("--resume" in command for command in trainings.commands)
    trainings.commands.clear()
    assert run(tmp_path, *SMALL, "--seeds", 2) == first and not trainings.commands
    (tmp_path / "lstm-skip-2" / "metrics.json").unlink()
    (tmp_path / "lstm-skip-2" / "options.json").write_text("{}")
    assert run(tmp_path, *SMALL, "--seeds", 2) == first
    assert trainings.folders == ["lstm-skip-2"] and trainings.commands[0][-1] == "--resume"
    run(tmp_path, *SMALL)
    assert sorted(trainings.folders[1:]) == sorted(f"{model}-skip-3" for model in MAA)


def test_a_bert_is_pre_trained_once_for_each_seed(trainings, tmp_path):
    run(tmp_path, "--models", "bert-finetuned", "bert-augmented", "--seeds", 2, "--epochs", 3)
    assert trainings.folders.count("bert-seq-1") == trainings.folders.count("bert-seq-2") == 1
    assert len(trainings.folders) == 2 + 2 * 2 * 2
    for command, folder in zip(trainings.commands, trainings.folders, strict=True):
        assert command[command.index("--epochs") + 1] == "3"
        if not folder.startswith("bert-seq"):
            assert command[command.index("--bert") + 1] == str(tmp_path / f"bert-seq-{folder[-1]}")
            assert trainings.folders.index(f"bert-seq-{folder[-1]}") < trainings.folders.index(folder)
    assert (tmp_path / "skip.md").is_file() and (tmp_path / "seq.md").is_file()


def test_runs_of_different_data_are_refused(trainings, tmp_path):
    trainings.fingerprint = lambda model, seed: "other" if (model, seed) == ("ddpg", 2) else "f"
    with pytest.raises(UserError, match=r"the runs are of different data; choose another --out"):
        run(tmp_path, *SMALL)
    assert not (tmp_path / "skip.json").exists()


def test_finished_runs_of_other_epochs_or_data_are_refused(trainings, tmp_path):
    run(tmp_path, *SMALL, "--seeds", 1)
    with pytest.raises(
        UserError, match=r"transformer-skip-1: was trained with --epochs 6, not 2; choose another --out"
    ):
        run(tmp_path, *SMALL, "--seeds", 1, "--epochs", 2)
    with pytest.raises(UserError, match=r"was trained with --data-dir None, not /data; choose another --out"):
        run(tmp_path, *SMALL, "--seeds", 1, "--data-dir", "/data")


def test_the_ceiling_is_told_of_the_sample_only(trainings, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "load_dataset", lambda _: (None, SimpleNamespace(fingerprint="f")))
    monkeypatch.setattr(compare, "ceiling_figures", lambda *_: {"maa": 0.987})
    assert not run(tmp_path, *SMALL, "--seeds", 1)["skip"]["ceiling"]  # it is called "small"
    described = {"name": "sample", "synthetic": True, "fingerprint": "f"}
    options = CompareOptions()
    assert compare.ceiling(options, described) == {"ceiling of the sample": {"maa": 0.987}}
    assert not compare.ceiling(options, described | {"fingerprint": "of other options"})
    assert not compare.ceiling(CompareOptions(data_dir=tmp_path), described)


def test_the_message_of_a_training_that_fails_is_passed_on(trainings, tmp_path):
    trainings.error = "--data-dir /data holds no log_*.csv"
    with pytest.raises(
        UserError, match=r"train.py --model transformer .*: error: --data-dir /data holds no log"
    ) as found:
        run(tmp_path, *SMALL)
    assert len(trainings.commands) == 1 and "\n" not in str(found.value) and "some warning" not in str(found.value)


def test_a_real_training_that_fails(tmp_path):
    with pytest.raises(UserError, match=r"train.py .*--data-dir /no/such: no such folder"):
        run(tmp_path, *SMALL, "--data-dir", "/no/such")


def test_figures_that_cannot_be_read(trainings, tmp_path):
    run(tmp_path, *SMALL, "--seeds", 1)
    (tmp_path / "lstm-skip-1" / "metrics.json").write_text('{"metrics": ')
    with pytest.raises(UserError, match=r"lstm-skip-1/metrics.json: cannot be read .*; delete its folder"):
        run(tmp_path, *SMALL, "--seeds", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds is 0"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--models", "lstm-padding"], "none of them has --task seq; choose others, or --tasks"),
        (["--models", "bert"], "none of them has --task skip"),
        (["--models", "nothing"], "nothing"),
        (["--tasks", "nothing"], "nothing"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(CompareOptions, arguments)
