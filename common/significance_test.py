"""Paired tests against textbook formulas, and Holm's correction against its definition."""

import numpy as np
import pytest
from scipy import stats

from common.significance import holm, paired_test


def test_paired_test_equals_scipy_and_the_block_design():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 1, 40), rng.normal(0, 1, 40)
    found = paired_test(first, second)
    reference = stats.ttest_rel(first, second)
    assert found.t == pytest.approx(reference.statistic) and found.t_p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    # randomised block design with two treatments: F = t^2
    values = np.stack([first, second])
    effects = 40 * np.sum((values.mean(1) - values.mean()) ** 2)
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    assert found.t**2 == pytest.approx(effects / (np.sum(rest**2) / 39))


def test_the_sign_is_that_of_first_minus_second():
    assert paired_test([1.0, 2.0, 4.0], [0.0, 0.0, 0.0]).difference > 0
    assert paired_test([0.0, 0.0, 0.0], [1.0, 2.0, 4.0]).difference < 0


def test_missing_pairs_are_left_out_and_degenerate_ones_are_nan():
    assert paired_test([1.0, np.nan, 3.0, 5.0], [0.0, 1.0, np.nan, 1.0]).pairs == 2
    assert np.isnan(paired_test([1.0], [0.0]).t_p) and np.isnan(paired_test([], []).difference)
    same = paired_test([1.0, 2.0], [1.0, 2.0])
    assert same.t_p == 1 and same.wilcoxon_p == 1 and same.difference == 0
    assert np.isnan(paired_test([2.0, 3.0], [1.0, 2.0]).t_p)  # always exactly one more


def test_wrong_arguments():
    with pytest.raises(ValueError, match="shapes"):
        paired_test([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="level"):
        paired_test([1.0], [1.0], level=1.0)


def test_holm_rejects_as_its_step_down_definition():
    rng = np.random.default_rng(1)
    for _ in range(50):
        p = rng.random(6) ** 3
        corrected = np.array(holm(p))
        for level in (0.01, 0.05, 0.3):
            rejected = np.zeros(6, bool)
            for rank, index in enumerate(np.argsort(p)):
                if p[index] > level / (6 - rank):
                    break
                rejected[index] = True
            np.testing.assert_array_equal(corrected <= level, rejected)
    assert holm([0.5, float("nan")])[0] == 0.5 and np.isnan(holm([0.5, float("nan")])[1])
