import numpy as np
import pytest
import scipy.sparse as sp

from audiotext.audio.scaler import Scaler
from audiotext.rows import Patches, Repeated, as_rows
from audiotext.splits import artist_split, released_split
from common.options import UserError


def test_rows_of_every_kind_are_float32(tmp_path):
    dense = np.random.default_rng(0).normal(size=(6, 4)) * (np.random.default_rng(1).random((6, 4)) < 0.5)
    np.save(tmp_path / "x.npy", dense)
    wanted = np.array([4, 0, 4])
    for source in (dense, np.load(tmp_path / "x.npy", mmap_mode="r"), sp.csr_matrix(dense), sp.csr_array(dense)):
        rows = as_rows(source)
        found = rows.take(wanted)
        assert len(rows) == 6 and found.dtype == np.float32 and type(found) is np.ndarray
        np.testing.assert_array_equal(found, dense[wanted].astype(np.float32))
        assert as_rows(rows) is rows
    owners = np.array([5, 5, 0, 1])
    repeated = Repeated(as_rows(sp.csr_matrix(dense)), owners)
    assert len(repeated) == 4
    np.testing.assert_array_equal(repeated.take(np.array([1, 3])), dense[[5, 1]].astype(np.float32))


def test_patches_are_scaled_as_they_are_read():
    patches = np.random.default_rng(0).normal(-40, 9, (8, 3, 2)).astype(np.float16)
    scaler = Scaler.fit(patches)
    rows = Patches(patches, scaler)
    np.testing.assert_array_equal(rows.take(np.array([2, 5])), scaler.transform(patches)[[2, 5]])
    assert len(rows) == 8


def test_released_split_of_the_seeds_log():
    split = released_split(264_344)
    assert [len(split.train), len(split.validation), len(split.test)] == [211_475, 26_434, 26_435]
    np.testing.assert_array_equal(np.concatenate([split.train, split.validation, split.test]), np.arange(264_344))


def test_no_artist_is_on_two_sides():
    artists = np.repeat([f"a{i}" for i in range(50)], np.random.default_rng(0).integers(1, 9, 50))
    artists = np.random.default_rng(1).permutation(artists)
    split = artist_split(artists, seed=3)
    parts = [set(artists[rows]) for rows in (split.train, split.validation, split.test)]
    assert (
        [len(part) for part in parts] == [40, 5, 5] and not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
    )
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(len(artists)))
    again, other = artist_split(artists, seed=3), artist_split(artists, seed=4)
    np.testing.assert_array_equal(split.test, again.test)
    assert set(artists[other.test]) != parts[2]
    with pytest.raises(UserError, match="2 artists cannot be split"):
        artist_split(np.array(["a", "b", "a"]), seed=1)
