"""The schema of metrics.json: what breaks it is told, old runs are named, and the page documents every key."""

import re

import pytest

from common.options import PROJECT, UserError
from common.reporting.schema import DATASET_KEYS, KEYS, TEST_KEYS, check, faults
from common.testing import paired_result, run_result


def test_a_result_that_keeps_the_schema_has_no_fault():
    whole = run_result(metrics={"map": 0.5, "auc": None}, baselines={"knn": {"map": 0.25}}, best_baseline="knn",
                       tests={"map": paired_result("knn")}, intervals={"ours": {"map": [0.25, 0.75]}})  # fmt: skip
    assert faults(whole) == [] and next(iter(KEYS)) == "schema"
    check(whole, "here")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"more": 1}, "has more, which no run has"),
        ({"metrics": {"map": "high"}}, "metrics: expected numbers"),
        ({"dataset": {"place": "here"}}, "dataset: has place"),
        ({"intervals": {"other": {}}}, "intervals: other is neither the model nor a baseline"),
        ({"intervals": {"ours": {"map": [2, 1]}}}, r"intervals: expected \[low, high\]"),
        ({"tests": {"map": {"p": 1}}}, "tests: map: lacks baseline"),
        ({"best_baseline": "knn"}, "knn is no baseline"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"warnings": "none"}, "warnings: expected a list"),
        ({"schema": 2}, "has schema 2; this version of the project reads 1"),
    ],
)
def test_what_breaks_the_schema_is_told(changes, words):
    with pytest.raises(UserError, match=words):
        check(run_result(**changes), "run/metrics.json")


def test_runs_of_an_older_version_are_named_as_such():
    old = {"metrics": {"map": 0.5}, "dataset": {"name": "sample"}}
    with pytest.raises(UserError, match=r"run/metrics\.json: written by an older version of this project") as told:
        check(old, "run/metrics.json")
    assert "\n" not in str(told.value)
    assert faults([]) == ["it is no object"]


def test_the_page_documents_every_key():
    page = (PROJECT / "docs" / "metrics.md").read_text("utf-8")
    for known in (KEYS, DATASET_KEYS, TEST_KEYS):
        for key, meaning in known.items():
            assert f"| `{key}` | {meaning} |" in page, key
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert named == [*KEYS, *DATASET_KEYS, *TEST_KEYS]
