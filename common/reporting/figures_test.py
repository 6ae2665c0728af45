import json
import math

import pytest

from common.options import UserError
from common.reporting.figures import MISSING, Figure, Figures, Files, fill, measured, read_figures, summary


def test_summary_is_mean_and_sample_deviation_and_a_value_that_never_changes_stands_alone():
    found = summary([1.0, 2.0, 3.0])
    assert found == Figure(2.0, 1.0)
    assert summary([0.5]) == summary([0.5, 0.5]) == Figure(0.5)
    assert summary([]) is MISSING and summary([1.0, math.nan]) is MISSING


@pytest.mark.parametrize(
    ("figure", "spec", "text"),
    [
        (Figure(0.23456), ".3f", "0.235"),
        (Figure(0.5, 0.01), ".2f", "0.50 ± 0.01"),
        (Figure(1234567.0), ",.0f", "1,234,567"),
        (Figure(1234567.0), ".1fM", "1.2"),
        (Figure(0.5, 0.1, (0.25, 0.75)), ".2fi", "0.50 [0.25, 0.75]"),
        (Figure(-0.5, None, (-0.75, 0.25)), "+.2fi", "−0.50 [−0.75, +0.25]"),
        (Figure(0.5, 0.1, (0.25, 0.75)), ".2fb", "0.25 to 0.75"),
        (Figure(0.5, 0.1), ".2fb", "–"),
        (Figure(0.5), ".2fi", "0.50"),
        (Figure(-0.5), ".1f", "-0.5"),
    ],
)
def test_formats(figure, spec, text):
    assert format(figure, spec) == text


def test_figures_of_seeds_and_their_means_are_read_alike():
    tree = {"a": {"x": [1.0, 3.0], "y": {"mean": 2.0, "sd": 0.5}, "z": None, "n": 4}, "name": "gru"}
    figures = Figures(tree, {"a": {"x": [0.5, 3.5]}})
    assert figures["a"]["x"] == Figure(2.0, math.sqrt(2), (0.5, 3.5))
    assert figures["a"]["y"] == Figure(2.0, 0.5)
    assert figures["a"]["z"] is MISSING and format(figures["a"]["z"], ".3f") == "–"
    assert figures["a"]["n"] == Figure(4)
    assert figures["name"] == "gru" and len(figures) == 2


def test_a_row_may_be_the_beginning_of_names():
    figures = Figures({"batch 16: rate": 2.0, "batch 16: ratio": 3.0, "batch 160: rate": 9.0})
    assert dict(figures.row("batch 16")) == {"rate": Figure(2.0), "ratio": Figure(3.0)}
    assert len(figures.row("batch 1")) == 0


def test_templates_take_names_with_colons_and_commas_from_the_own_folder_first(tmp_path):
    for folder, value in (("paper", 1.5), ("benchmarks", 2.5)):
        (tmp_path / folder / "results").mkdir(parents=True)
        for name in {"paper": ("own",), "benchmarks": ("own", "speed")}[folder]:
            content = {"figures": {"batch 16, dot: rate": value}, "machine": {"processor": "P", "cores": 2}}
            (tmp_path / folder / "results" / f"{name}.json").write_text(json.dumps(content))
    files = Files("paper", tmp_path)
    text = fill("{own[batch 16, dot: rate]:.1f} {speed[batch 16, dot: rate]:.1f}; {speed[measured]}", files, "here")
    assert text == "1.5 2.5; P, 2 cores"
    assert list(files) == ["own", "speed"] and len(files) == 2
    for wrong in ("{own[none]:.1f}", "{none[x]:.1f}", "{own[batch 16, dot: rate]:q}"):
        with pytest.raises(UserError, match=r"here: .*no such figure"):
            fill(wrong, files, "here")


def test_what_is_said_of_the_machine():
    assert measured({}) == "unknown machine"
    assert measured({"machine": {"processor": "P", "cores": 2, "quiet": True}}) == "P, 2 cores"
    assert measured({"machine": {"processor": "P", "cores": 2, "quiet": False}}) == "P, 2 cores, beside other work"


@pytest.mark.parametrize("text", ["", "[]", '{"rows": {}}', '{"figures": 3}'])
def test_damaged_files_are_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=r"x\.json"):
        read_figures(tmp_path / "x.json")
