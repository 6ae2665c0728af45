import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from audiotext.audio import scaler as module
from audiotext.audio.scaler import Scaler
from common.options import UserError


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_equals_scikit_learn_on_the_chosen_rows(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    rng = np.random.default_rng(0)
    patches = rng.normal(-40, 15, (50, 6, 5)).astype(np.float16)
    patches[:, 0, 0], patches[:, 1, 1] = -80, 0.1  # cells that never differ
    rows = rng.permutation(50)[:30]
    ours, theirs = Scaler.fit(patches, rows), StandardScaler().fit(patches[rows].reshape(30, -1).astype(float))
    np.testing.assert_allclose(ours.mean.ravel(), theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.deviation.ravel(), theirs.scale_, rtol=1e-6)
    expected = theirs.transform(patches.reshape(50, -1).astype(float)).reshape(patches.shape)
    np.testing.assert_allclose(ours.transform(patches), expected, atol=2e-5)
    assert ours.transform(patches).dtype == np.float32


def test_saved_and_loaded(tmp_path):
    scaler = Scaler.fit(np.random.default_rng(0).normal(size=(9, 4, 3)))
    scaler.save(tmp_path / "scaler.npz")
    again = Scaler.load(tmp_path / "scaler.npz")
    np.testing.assert_array_equal(again.mean, scaler.mean)
    np.testing.assert_array_equal(again.deviation, scaler.deviation)
    for content in (b"", b"PK no zip", None):
        if content is None:
            np.savez(tmp_path / "scaler.npz", other=1)
        else:
            (tmp_path / "scaler.npz").write_bytes(content)
        with pytest.raises(UserError, match="not a scaler"):
            Scaler.load(tmp_path / "scaler.npz")


def test_refuses_nothing_and_nan():
    with pytest.raises(UserError, match="no patch"):
        Scaler.fit(np.zeros((0, 2, 2)))
    with pytest.raises(UserError, match="NaN"):
        Scaler.fit(np.full((3, 2, 2), np.nan))
