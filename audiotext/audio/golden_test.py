"""The log-CQT against librosa on real music: transform, decibels, and how near another version of librosa comes."""

import json

import numpy as np
import pytest

from audiotext.audio.features import HOP, decibels, log_cqt, magnitudes
from conftest import GOLDEN

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "audiotext"
LONGEST_HALF_FILTER = 8 * HOP
"""Frames further than that from the end of a wave do not depend on what follows."""


@pytest.fixture(scope="module")
def arrays():
    with np.load(FOLDER / "cqt_librosa_current.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def clips(arrays):
    found = sorted(key.removesuffix("_wave3s") for key in arrays if key.endswith("_wave3s"))
    assert found
    return found


def wave_of(arrays, clip):
    """The tests' own copy is the beginning of the wave, in 16 bits."""
    wave = arrays[f"{clip}_wave3s"]
    return wave.astype(np.float32) / 2**14 if wave.dtype == np.int16 else wave


def test_transform_equals_that_of_librosa(arrays, clips):
    for clip in clips:
        wave, expected = wave_of(arrays, clip), arrays[f"{clip}_cqt_abs_3s"].astype(np.float32)
        ours = magnitudes(wave)
        assert ours.shape == (1 + len(wave) // HOP, expected.shape[1])
        whole = len(ours) == len(expected)
        frames = len(ours) if whole else (len(wave) - LONGEST_HALF_FILTER) // HOP
        assert frames >= 15
        # Another version of librosa may differ: 0.6.0 by 0.4 dB on average.
        np.testing.assert_allclose(ours[:frames], expected[:frames], rtol=2e-3, atol=1e-4 * expected.max())


def test_decibels_equal_those_of_librosa(arrays, clips):
    for clip in clips:
        expected = arrays[f"{clip}_logcqt_3s"].astype(np.float64)
        power = np.square(arrays[f"{clip}_cqt_abs_3s"].astype(np.float32))
        for protocol in ("corrected", "released"):
            np.testing.assert_allclose(decibels(power, protocol)[: len(expected)], expected, atol=0.04)


def test_statistics_of_whole_clips_lie_as_near_as_versions_of_librosa_do(arrays, clips):
    files = json.loads((FOLDER / "cqt_librosa_current.json").read_text())["files"]
    older = json.loads((FOLDER / "cqt_librosa060.json").read_text())["diff_vs_current"]
    for clip in clips:
        wave = wave_of(arrays, clip)
        expected = files[clip]["patch3s_own_max"]
        ours = log_cqt(wave)
        assert ours.dtype == np.float32 and ours.min() == pytest.approx(-80) and ours.max() == 0
        if len(wave) == files[clip]["wave"]["shape"][0]:
            ours = ours[: expected["shape"][0]]
            for name, value in (("mean", ours.mean()), ("std", ours.std()), ("median", np.median(ours))):
                assert value == pytest.approx(expected[name], abs=0.05)
        # A part of the clip, or another librosa, is off by what the two versions differ, times a few.
        assert ours.mean() == pytest.approx(expected["mean"], abs=10 * older[clip]["dB_absdiff_mean"])
