"""Runs side by side: groups, rows, tests. The runs are made up; those of all five papers look as theirs do."""

import json
import subprocess
import sys

import numpy as np
import pytest

from common.command import parse
from common.options import PROJECT, UserError
from common.reporting.comparison import ReportOptions, differences, main, table_of
from common.reporting.paired import between, paired_tests
from common.reporting.runs import baselines_of, grouped, published, read_runs
from common.testing import paired_result, run_result

GRU = "GRU4Rec (Hidasi et al. 2016)"
SEER = "SeER (Damak, Nasraoui, Sanders 2021; arXiv 1907.01640)"


@pytest.fixture
def run_of(tmp_path):
    def make(name, figures, seed=1, paper=GRU, fingerprint="f", options=None, **more):
        folder = tmp_path / name
        folder.mkdir()
        dataset = {"fingerprint": fingerprint} | more.pop("dataset", {})
        metrics = run_result(paper=paper, dataset=dataset, metrics=figures, seed=seed, **more)
        (folder / "metrics.json").write_text(json.dumps(metrics))
        given = {"seed": seed, "run_dir": str(folder), "loss": "xe"} | (options or {})
        (folder / "options.json").write_text(json.dumps({"options": given}))
        return folder

    return make


def groups_of(*folders):
    return grouped([run for folder in folders for run in read_runs(folder)])


def test_runs_of_other_texts_are_rows_of_their_own(run_of):
    folders = [
        run_of(f"{name}-1", {"recall@20": 0.5}, dataset={"inputs": {"text": text}})
        for name, text in (("a", "1" * 64), ("b", "2" * 64))
    ]
    (group,) = groups_of(*folders)
    assert list(group.rows) == ["a", "b"]
    assert differences(group)[0] == {"a": {"data: text": "1" * 8}, "b": {"data: text": "2" * 8}}


def test_seeds_are_one_row_and_other_options_another(run_of):
    folders = [
        run_of(f"a-{seed}", {"recall@20": 0.1 * seed, "mrr@20": 0.5}, seed, options={"bert": f"runs/bert-{seed}"})
        for seed in (1, 2, 3)
    ]
    folders.append(
        run_of("b", {"recall@20": 0.4}, options={"loss": "bpr", "new": None}, baselines={"Markov": {"recall@20": 0.6}})
    )
    (group,) = groups_of(*folders)
    rows, columns = table_of(group)
    assert group.title == "GRU4Rec, sample (synthetic data)" and columns == ["recall@20", "mrr@20"]
    assert rows["a (3 seeds)"] == {"recall@20": "0.2000 ± 0.1000", "mrr@20": "0.5000"}
    assert rows["b"] == {"recall@20": "0.4000"} and rows["Markov"] == {"recall@20": "0.6000"}
    different = {"a": {"loss": "xe", "bert": "runs/bert"}, "b": {"loss": "bpr", "bert": ""}}
    assert differences(group) == (different, ["loss", "bert"])


def test_papers_tasks_and_data_are_groups(run_of):
    khan = "Khan, Cui, Arora: Sessions"
    folders = [
        run_of("a", {"recall@20": 0.1}),
        run_of("b", {"recall@20": 0.1}, fingerprint="g"),
        run_of("c", {"maa": 0.5}, paper=khan, task="skip", intervals={"ours": {"maa": [0.4, 0.6]}}),
        run_of("d", {"free_maa": 0.1}, paper=khan, task="seq", intervals={"ours": {"free_maa": [0.05, 0.15]}}),
    ]
    groups = groups_of(*folders)
    assert [group.title for group in groups][2:] == [
        f"Session transformers, {task}, sample (synthetic data)" for task in ("skip", "seq")
    ]
    assert table_of(groups[2])[0]["c"] == {"maa": "0.5000 [0.4000, 0.6000]"}
    assert table_of(groups[3])[0]["d"] == {"free_maa": "0.1000 [0.0500, 0.1500]"}
    assert published(groups[2])["paper: transformer"] == {"maa": 0.571}
    assert published(groups[3])["paper: BERT fine-tuned"] == {"free_maa": 0.144}


def test_folders_of_runs_are_searched_and_runs_inside_runs_left_out(run_of, tmp_path):
    outer = run_of("a", {"recall@20": 0.1})
    run_of("a/branch", {"recall@20": 0.9})
    assert [run.folder for run in read_runs(tmp_path)] == [outer]


def test_baselines_come_from_the_first_row_that_has_them_with_their_spread(run_of):
    folders = [
        run_of(f"a-{seed}", {"recall@20": 0.1}, seed, baselines={"random": {"recall@20": float(seed)}})
        for seed in (1, 2)
    ]
    (group,) = groups_of(*folders)
    assert format(baselines_of(group)["random"]["recall@20"], ".2f") == "1.50 ± 0.71"


def test_tests_that_runs_recorded_are_shown(run_of):
    khan, oramas = "Khan, Cui, Arora: Sessions", "Oramas, Nieto: Cold-start"
    folders = [
        run_of(
            "a",
            {"map": 0.1},
            paper="DTNMR (x)",
            tests={"map": paired_result("knn", wilcoxon_p_holm=0)},
            baselines={"knn": {"map": 0.0}},
        ),
        run_of("b", {"free_maa": 1}, paper=khan, tests={"free_maa": paired_result("kNN", wilcoxon_p=None)}),
        run_of("c", {"map@500": 0.1}, paper=oramas, tests={"map@500": paired_result("ridge")}),
    ]
    shown = {title: row for group in groups_of(*folders) for title, row in paired_tests(group).items()}
    assert shown["a - knn: map"]["p (Holm)"] == "< 0.0001" and shown["b - kNN: free_maa"]["p"] == ""
    ends = {"difference": 0.1, "low": 0.05, "high": 0.15}
    assert shown["c - ridge: map@500"] == {"pairs": "9", **ends, "p": "0.2000", "p (Holm)": "0.4000"}
    assert len(shown) == 3


def test_rows_are_compared_over_the_seeds_that_both_have(run_of):
    folders = [run_of(f"a-{seed}", {"recall@20": 0.5 + 0.01 * seed**2}, seed) for seed in (1, 2, 3)]
    folders += [run_of(f"b-{seed}", {"recall@20": 0.4}, seed, options={"loss": "bpr"}) for seed in (1, 2, 4)]
    (group,) = groups_of(*folders)
    (found,) = between(group, "a", "b", "recall@20")
    assert found[0] == "recall@20, over seeds" and found[1].pairs == 2
    assert found[1].difference == pytest.approx(0.125)
    assert paired_tests(group).keys() == {"a - b: recall@20, over seeds"}


def test_ratings_of_the_same_rows_are_compared_over_users_and_others_are_not(run_of):
    first, second, other = (
        run_of(name, {"rmse": value}, paper=SEER, options={"variant": name})
        for name, value in (("a", 0.5), ("b", 1.0), ("c", 2.0))
    )
    user, song = np.array([0, 0, 1, 3]), np.array([0, 1, 0, 2])
    true = np.array([3, 4, 5, 1], np.float32)
    for folder, off, songs in ((first, 0.5, song), (second, [1.5, 2.5, 1.0, 1.0], song), (other, 1.0, song + 1)):
        np.savez(folder / "predictions.npz", user=user, song=songs, true=true, predicted=true + np.array(off))
    (group,) = groups_of(first, second, other)
    (found,) = between(group, "a", "b", "rmse")
    assert found[0] == "mae, over users" and found[1].pairs == 3
    assert found[1].difference == pytest.approx(0.5 - (2.0 + 1.0 + 1.0) / 3)
    assert not list(between(group, "a", "c", "rmse"))
    assert paired_tests(group).keys() == {"a - b: mae, over users"}  # the lowest rmse is the best


def test_each_weight_file_of_a_run_is_a_row(run_of):
    compared = {"released.h5": {"rmse": 0.7}, "ours.h5": {"rmse": 0.6}}
    folder = run_of("a", {"rmse": 0.7}, paper=SEER, model="released.h5", details={"comparison": compared})
    (group,) = groups_of(folder)
    assert table_of(group)[0] == {name: {"rmse": f"{row['rmse']:.4f}"} for name, row in compared.items()}
    assert [runs[0].predictions for runs in group.rows.values()] == ["predictions.npz", "predictions_2.npz"]


def test_experiments_among_runs_are_passed_over_and_refused_by_name(run_of, tmp_path):
    folder = run_of("study", {"row": {"rmse": 1.0}}, paper=SEER, experiment="study")
    first = run_of("a", {"rmse": 0.7}, paper=SEER)
    assert [run.folder for run in read_runs(tmp_path)] == [first]
    with pytest.raises(UserError, match="an experiment compares by itself"):
        list(read_runs(folder))
    (first / "metrics.json").unlink()
    with pytest.raises(UserError, match="holds experiments only"):
        list(read_runs(tmp_path))


def test_report_and_pictures(run_of, tmp_path, capsys, drawing):
    folders = (run_of("a", {"recall@20": 0.1}), run_of("b", {"recall@20": 0.2}, options={"loss": "bpr"}))
    with drawing():
        main(ReportOptions(folders, tmp_path / "out"))
    report = (tmp_path / "out" / "report.md").read_text()
    assert "## GRU4Rec, sample (synthetic data)\n\n| | recall@20 |\n" in report and "What differs:" in report
    assert "GRU4REC-spotify: one-hot, cross-entropy | 0.2400 |" in report
    assert (tmp_path / "out" / "1.png").stat().st_size > 1000 and "GRU4Rec" in capsys.readouterr().out


def test_figures_that_are_not_known_are_left_out(run_of, tmp_path):
    tests = {"recall@20": paired_result("Markov", difference=None, low=None, high=None, pairs=1)}
    (group,) = groups_of(
        run_of("a", {"recall@20": None, "mrr@20": 0.5}, tests=tests), run_of("b", {"recall@20": None}, 2)
    )
    (row,) = paired_tests(group).values()
    assert np.isnan(row["difference"]) and row["pairs"] == "1"
    main(ReportOptions((run_of("c", {"other": 1.0}, fingerprint="g"),), tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*.png"))


def test_mistakes_are_told(run_of, tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        list(read_runs(tmp_path))
    first = run_of("a", {"recall@20": 0.1})
    with pytest.raises(UserError, match="two runs of these options"):
        groups_of(first, run_of("b", {"recall@20": 0.1}))
    with pytest.raises(UserError, match="of no paper of this project"):
        groups_of(run_of("c", {}, paper="Another"))
    (first / "options.json").unlink()
    with pytest.raises(UserError, match="cannot be read as the figures of a run"):
        list(read_runs(first))
    (first / "metrics.json").write_text("[1]")
    with pytest.raises(UserError, match="cannot be read as the figures of a run"):
        list(read_runs(first))


def test_command_line(run_of):
    assert parse(ReportOptions, ["a", "b"]).runs[1].name == "b"
    folder = run_of("a", {"map@500": 0.1}, paper="Oramas, Nieto")
    command = [sys.executable, "-m", "common.report", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0 and "0.1000" in done.stdout, done.stderr
