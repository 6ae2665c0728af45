from __future__ import annotations

import numpy as np
import pytest

from common.mssd.tasks import InTurn, Tally, add_tallies, join_arrays, join_offsets, save_array


@pytest.mark.parametrize("kind", [np.int32, "S3"])
@pytest.mark.parametrize("pieces", [1, 2, 5, 8])
def test_the_sum_of_tallies_has_the_keys_in_the_order_of_the_whole(kind, pieces, tmp_path):
    rng = np.random.default_rng(pieces)
    parts = [rng.integers(0, 9, rng.integers(0, 12)) for _ in range(pieces)]
    stems = [tmp_path / f"{number:06}" for number in range(pieces)]
    for part, stem in zip(parts, stems, strict=True):
        distinct, first, counts = np.unique(part, return_index=True, return_counts=True)
        order = np.argsort(first)
        Tally(distinct[order].astype(kind), counts[order]).save(stem)
    whole = np.concatenate(parts).tolist()
    found = add_tallies(InTurn(), stems)
    assert found.keys.tolist() == np.array(list(dict.fromkeys(whole)), np.int64).astype(kind).tolist()
    assert found.counts.tolist() == [whole.count(int(key)) for key in found.keys]


def test_texts_and_rows_are_joined_as_they_are(tmp_path):
    for array in (np.array([b"ab", b"c"], "S3"), np.arange(6, dtype=np.float32).reshape(3, 2), np.zeros(0, bool)):
        np.save(tmp_path / "0.npy", array)
        np.save(tmp_path / "1.npy", array[::-1])
        found = join_arrays([tmp_path / "0.npy", tmp_path / "1.npy"], tmp_path / "whole.npy")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, np.concatenate([array, array[::-1]]))


def test_arrays_are_joined_in_their_order(tmp_path):
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, lengths in zip(paths, ([2, 3], [], [4]), strict=True):
        save_array(path, np.array(lengths, np.int64))
    assert join_arrays(paths, tmp_path / "whole.npy").tolist() == [2, 3, 4]
    offsets = join_offsets(paths, tmp_path / "offsets.npy")
    assert offsets.tolist() == [0, 2, 5, 9] and not offsets.flags.writeable
    assert join_offsets(paths[1:2], tmp_path / "none.npy").tolist() == [0]
