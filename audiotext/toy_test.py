"""The toy run of the whole of tartarus: its predictions score the same, and training lands where its own did."""

import json

import numpy as np
import pytest
from scipy import sparse

from audiotext.evaluation import factor_scores, rank_items, released_average_precision, released_figures
from audiotext.layout import ARTISTS, SONGS, Layout
from audiotext.options import AudioTextOptions
from audiotext.train import main
from common.command import parse
from conftest import GOLDEN

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "audiotext"
RUNS = {"a_sem": ARTISTS, "mm_lf_lin": SONGS, "mm_lf_h1": SONGS}
NEAR = 0.03
"""Dropout is drawn otherwise: the mean over seeds must lie so near the one run of tartarus."""


def write_toy(folder):
    """The toy set as dlrs-data."""
    with np.load(FOLDER / "toyrun_tartarus.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    layout = Layout(folder, arrays["user_factors"].shape[1])
    for items in (ARTISTS, SONGS):
        for part in ("train", "test"):
            layout.save_index(part, items, arrays[f"{items}_{part}_ids"].astype(str).tolist())
        layout.save_dense(layout.factors_name(items), arrays[f"{items}_y_train"])
        layout.save_dense(layout.user_factors_name(items), arrays["user_factors"])
        layout.save_csr(layout.matrix_test_name(items), sparse.csr_matrix(arrays[f"{items}_matrix_test"]))
    for part in ("train", "test"):
        layout.save_csr(layout.text_name(part, "a-sem"), sparse.csr_matrix(arrays[f"X_{part}_sem-bio"]))
        layout.save_dense(layout.artist_embedding_name(part), arrays[f"X_{part}_a-sem-emb"])
        layout.save_dense(layout.audio_name(part), arrays[f"X_{part}_audio-emb"])
    return layout.folder


@pytest.fixture(scope="module")
def arrays():
    with np.load(FOLDER / "toyrun_tartarus.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def known():
    return json.loads((FOLDER / "toyrun_tartarus.json").read_text())["runs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize("name", RUNS)
def test_predictions_score_as_tartarus_printed(name, arrays, known):
    plays = sparse.csr_matrix(arrays[f"{RUNS[name]}_matrix_test"])
    ranked = rank_items(factor_scores(arrays["user_factors"], arrays[f"pred_{name}"]), plays)
    assert released_average_precision(ranked, 500).mean() == pytest.approx(known[name]["MAP@500"], abs=1e-9)
    found = released_figures(ranked)
    names = {"MAP@500": "map@500", "ROC-AUC": "roc_auc", "PR-AUC": "pr_auc"}
    for k in (1, 3, 5):
        names |= {f"P@{k}": f"precision@{k}", f"nDCG@{k}": f"ndcg@{k}", f"ADiv/C@{k}": f"adiv@{k}"}
    for line in known[name]["eval_lines"]:
        key, printed = line.split(": ")
        digits = len(printed.split(".")[1])
        assert abs(found[names[key] + "_released"] - float(printed)) <= 0.5000001 * 10**-digits, line


def sizes(extra):
    """Command-line options of the sizes that a toy run had."""
    found = dict(pair.split("=") for pair in extra.split("&"))
    if "cnn.n_dense_2" in found:
        return ["--text-units", found["cnn.n_dense"], found["cnn.n_dense_2"]]
    return ["--fusion-units", found["cnn.n_dense"]] if found["cnn.n_dense"] != "0" else []


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_training_lands_where_tartarus_did(name, folder, known, tmp_path):
    command = ["--data-dir", folder, "--model", name.replace("_", "-"), *sizes(known[name]["extra"]), "--no-baselines"]
    command = [*map(str, command), "--protocol", "released", "--deterministic"]
    found = []
    for seed in (1, 2, 3):
        options = parse(AudioTextOptions, [*command, "--seed", str(seed), "--run-dir", str(tmp_path / str(seed))])
        found.append(main(options)["metrics"]["map@500_released"])
    assert abs(np.mean(found) - known[name]["MAP@500"]) < NEAR, found
