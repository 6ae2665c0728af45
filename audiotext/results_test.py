"""What the page says of its tables, held against the committed figures."""

import numpy as np
import pytest

from common.options import PROJECT
from common.reporting.figures import read_figures

RESULTS = PROJECT / "audiotext" / "results"


@pytest.fixture(scope="module")
def sample():
    """Row -> MAP@500, the mean over the seeds."""
    figures = read_figures(RESULTS / "sample.json")["figures"]
    return {row: float(np.mean(found["map@500"])) for row, found in figures.items()}


@pytest.mark.parametrize("row", ["mm-lf-lin", "mm-lf-h1", "seed"])
def test_sound_and_text_together_beat_each_alone_on_the_sample(row, sample):
    for other in ("A-SEM alone", "AUDIO alone", "ridge regression (text)", "nearest 20 (text)"):
        assert sample[row] > sample[other] + 0.02, other


def test_on_the_sample_the_linear_baseline_is_ahead_and_all_lie_between_chance_and_the_upper_bound(sample):
    best = sample.pop("upper bound (true factors)")
    chance = [sample.pop("random"), sample.pop("popularity of the artist")]
    assert max(sample.values()) == sample["ridge regression (both)"] < best
    assert all(sample[row] > 2 * max(chance) for row in ("mm-lf-lin", "mm-lf-h1", "mm", "seed"))


def test_on_real_tags_the_network_is_far_above_chance_and_not_above_the_simple_baselines():
    figures = read_figures(RESULTS / "lastfm.json")["figures"]
    row = {name: float(np.mean(found["map@500"])) for name, found in figures.items()}
    assert 50 * row["random"] < row["a-tags"] < row["nearest 20 (text)"] < row["ridge regression (text)"]


@pytest.mark.parametrize("name", ["sample", "lastfm"])
def test_shares_are_shares_and_the_key_of_the_catalogue_coverage_is_its_name(name):
    for found in read_figures(RESULTS / f"{name}.json")["figures"].values():
        assert all(0 <= value <= 1 for value in np.ravel(found["catalogue_coverage@10"]))
        assert not any(key.startswith("diversity") for key in found)
