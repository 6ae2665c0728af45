"""MAP@500 and all other printed figures against tartarus's own eval.py."""

import json
import re

import numpy as np
import pytest
from scipy import sparse

from audiotext.evaluation import (
    factor_scores,
    list_average_precision,
    rank_items,
    released_average_precision,
    released_figures,
    unit_rows,
)
from conftest import GOLDEN

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "audiotext"


@pytest.fixture(scope="module")
def known():
    return json.loads((FOLDER / "map_tartarus.json").read_text())


@pytest.fixture(scope="module")
def arrays():
    with np.load(FOLDER / "map_tartarus.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def ranked_of(arrays, users=slice(None)):
    scores = factor_scores(arrays["user_factors"], arrays["predictions"])
    plays = sparse.csr_matrix(arrays["matrix_test_items_users"][arrays["items_perm"]])  # aligned by id
    return rank_items(scores, plays, users)


def test_average_precision_of_lists(known):
    for case in known["apk_cases"]:
        assert list_average_precision(case["actual"], case["predicted"], case["k"]) == pytest.approx(
            case["apk"], abs=1e-12
        )


def test_scores_equal_the_released_ones(arrays):
    scores = arrays["user_factors"] @ unit_rows(arrays["predictions"]).T
    known = arrays["score_users_items"]  # of the first users
    np.testing.assert_allclose(scores[: len(known)], known, rtol=1e-6, atol=1e-5)


def test_figures_equal_the_released_ones(arrays, known):
    ranked, expected = ranked_of(arrays), known["evaluate_all"]
    for k in (10, 500):
        np.testing.assert_allclose(released_average_precision(ranked, k), arrays[f"apk{k}_per_user"], atol=1e-12)
    found = released_figures(ranked)
    for k in (10, 100, 500):
        assert found[f"map@{k}_released"] == pytest.approx(expected[f"MAP@{k}"], abs=1e-12)
    assert ranked.users == expected["n_users"] and (ranked.relevant == 0).sum() == expected["n_users_without_items"]
    names = {"MAP@500": "map@500", "ROC-AUC": "roc_auc", "PR-AUC": "pr_auc"}
    for k in (1, 3, 5):
        names |= {f"P@{k}": f"precision@{k}", f"nDCG@{k}": f"ndcg@{k}", f"ADiv/C@{k}": f"adiv@{k}"}
    for line in expected["text_output"]:
        name, printed = line.split(": ")
        digits = len(printed.split(".")[1])
        assert f"{found[names[name] + '_released']:.{digits}f}" == printed, name


def test_top_items_equal_the_released_ones(arrays):
    top = ranked_of(arrays).top
    np.testing.assert_array_equal(top, arrays["top20_per_user"][:, : top.shape[1]])


def test_slices_of_users_and_the_mean_over_batch_files(arrays, known):
    parts = {}
    slices = {name: re.fullmatch(r"users_(\d+)_(\d+)", name) for name in known}
    for name, (start, last) in ((name, map(int, found.groups())) for name, found in slices.items() if found):
        ranked = ranked_of(arrays, slice(start, last + 1))
        parts[f"map_{start}.txt"] = float(released_average_precision(ranked, 500).mean())
        assert parts[f"map_{start}.txt"] == pytest.approx(known[name]["MAP@500"], abs=1e-12)
    listed = [parts[name] for name in known["avg_eval_glob_order"]]
    assert np.mean(listed[:-1]) == pytest.approx(known["avg_eval_result"], abs=1e-12)  # it leaves out the last file


def test_of_tied_items_the_last_goes_first(arrays, known):
    scores = arrays["ties_scores"]
    plays = sparse.csr_matrix(arrays["ties_actual"].T)
    ranked = rank_items(lambda users: scores[users].copy(), plays)
    np.testing.assert_array_equal(ranked.top, arrays["ties_rank"][:, : ranked.top.shape[1]])
    np.testing.assert_allclose(released_average_precision(ranked, 500), arrays["ties_apk500"], atol=1e-12)
    for k in (3, 500):
        assert released_average_precision(ranked, k).mean() == pytest.approx(known[f"ties_MAP@{k}"], abs=1e-12)
