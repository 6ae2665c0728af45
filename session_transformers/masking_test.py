import numpy as np
import pytest

from session_transformers.kinds import CORRECTED_IDS, PAD, RELEASED_IDS
from session_transformers.masking import mask_by, mask_randomly, mask_second_half, next_tracks

IDS = [CORRECTED_IDS, RELEASED_IDS]


def test_one_draw_decides():
    tokens = np.array([[7, 8, 9, 10, 11, 12, PAD]])
    draws = np.array([[0.16, 0.17, 0.18, 0.19, 0.20, 0.21, 0.0]])
    masked, labels = mask_by(tokens, draws, np.full(tokens.shape, 5), CORRECTED_IDS)
    np.testing.assert_array_equal(masked, [[1, 5, 5, 10, 11, 12, PAD]])
    np.testing.assert_array_equal(labels, [[7, 8, 9, 10, 11, PAD, PAD]])


@pytest.mark.parametrize("ids", IDS)
def test_shares_of_random_masks(ids):
    rng = np.random.default_rng(0)
    tokens = rng.integers(ids.first_track, 500, (5000, 20)).astype(np.int32)
    tokens[:, -2:] = PAD
    masked, labels = mask_randomly(tokens, rng, 500, ids)
    there = tokens != PAD
    assert masked.dtype == labels.dtype == np.int32
    assert (masked[there] == ids.mask).mean() == pytest.approx(0.16, abs=0.005)
    assert (labels[there] != PAD).mean() == pytest.approx(0.20, abs=0.005)
    replaced = (masked != tokens) & (masked != ids.mask)
    assert replaced[there].mean() == pytest.approx(0.02, abs=0.002)
    assert masked[replaced].min() == ids.first_track and masked[replaced].max() == 499
    assert not (labels[~there] | masked[~there]).any()
    np.testing.assert_array_equal(labels[labels != PAD], tokens[labels != PAD])


def test_same_generator_same_masks():
    tokens = np.arange(3, 23)[None]
    one, two = (mask_randomly(tokens, np.random.default_rng(4), 50, CORRECTED_IDS) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_second_half():
    tokens = np.array([[3, 4, PAD, 5, 6, PAD]])
    masked, labels = mask_second_half(tokens, CORRECTED_IDS)
    np.testing.assert_array_equal(masked, [[3, 4, PAD, 1, 1, 1]])
    np.testing.assert_array_equal(labels, [[PAD, PAD, PAD, 5, 6, PAD]])


def test_next_tracks_are_the_same_shifted():
    tokens, labels = next_tracks(np.array([[3, 4, 5]]))
    np.testing.assert_array_equal(tokens, [[3, 4]])
    np.testing.assert_array_equal(labels, [[4, 5]])
