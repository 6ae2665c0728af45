from __future__ import annotations

import gzip

import numpy as np
import pytest

from common.options import UserError
from session_transformers.preprocess_test import HEADER, T, log_rows
from session_transformers.sessions.halves import read_first_halves


def test_first_halves_of_the_challenge(tmp_path):
    """As its published halves: a session of 13 ends at position 6, and position 1 may be missing."""
    rows = log_rows("odd", T[1:6], [1, 0, 1, 0, 1], length=13, first=2) + log_rows("whole", T[:20], [1] * 20)
    rows += log_rows("new", ["x"] * 5 + ["t01"] * 5) + log_rows("unknown", ["x"] * 5, length=10)
    (tmp_path / "halves.csv.gz").write_bytes(gzip.compress((HEADER + rows).encode()))
    read = read_first_halves(tmp_path / "halves.csv.gz", ["", "", "", *T[:5], *T[6:]])
    assert read.session_ids == ["odd", "whole", "new", "unknown"]
    assert read.tracks[0].tolist() == [4, 5, 6, 7] + [0] * 6  # t05 is not in the vocabulary
    assert read.skips[0].tolist() == [1, 0, 1, 0] + [0] * 6
    assert read.tracks[1].tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11, 0] and read.skips[1].tolist() == [1] * 9 + [0]
    assert read.known.tolist() == [4, 9, 0, 0] and read.unknown.tolist() == [1, 1, 5, 5]
    assert read.missing.tolist() == [7, 10, 5, 5]
    assert read.following[1].tolist() == list(range(12, 22)) and read.following[2].tolist() == [4] * 5 + [0] * 5
    assert not read.following[[0, 3]].any() and not read.following_unknown.any()
    assert read.tracks.dtype == np.int32 and read.skips.dtype == np.uint8


def test_wrong_first_halves(tmp_path):
    path = tmp_path / "log.csv"
    with pytest.raises(UserError, match=r"log.csv: no such file"):
        read_first_halves(path, T)
    path.write_text(HEADER + log_rows("a", ["x"] * 20))
    with pytest.raises(UserError, match=r"no track of its first halves is among the 40 tracks that the model knows"):
        read_first_halves(path, T)
    path.write_text(HEADER + log_rows("a", T[:20]).replace("a,4,20,", "a,21,20,"))
    with pytest.raises(UserError, match=r"log.csv, line 5: session_position is '21'; expected an integer in 1..20"):
        read_first_halves(path, T)
