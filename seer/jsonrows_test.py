"""Tests of seer/jsonrows.py; seer/preprocess_test.py tests how the mistakes in a file are called."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

import seer.jsonrows
from common.options import UserError
from seer.jsonrows import parse_numbers, parse_small_numbers, rows_of, split_rows

ROWS = [[(row + entry) % 128 for entry in range(64)] for row in range(100)]


def test_absurdly_long_row_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    class Endless(io.BytesIO):
        begun = False

        def read(self, size: int | None = -1) -> bytes:
            text, self.begun = b"1," * 1000 if self.begun else b"[[", True
            return text

    with pytest.raises(UserError, match=r"row 0 .* over 100,000 bytes"):
        list(split_rows(Endless(), tmp_path / "midi_array.txt", longest=100_000))


def test_endless_blanks_are_refused(tmp_path: Path) -> None:
    class Endless(io.BytesIO):
        begun = False

        def read(self, size: int | None = -1) -> bytes:
            text, self.begun = b" " * 1000 if self.begun else b"[", True
            return text

    with pytest.raises(UserError, match=r"over 100,000 blanks beside row 0"):
        list(split_rows(Endless(), tmp_path / "midi_array.txt", longest=100_000))


def test_rows_that_span_chunks_and_the_first_of_several_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.txt"
    path.write_text(json.dumps(ROWS))
    for chunk in (1, 7, 1000):
        monkeypatch.setattr(seer.jsonrows, "CHUNK", chunk)
        assert [row.tolist() for row in rows_of(path, parse_numbers)] == ROWS
    path.write_text("[[1], [2], [x], [y], 4")
    with pytest.raises(UserError, match="row 2 "):
        list(rows_of(path, parse_numbers))


@pytest.mark.parametrize("seed", range(20))
def test_fast_parser_equals_json(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, [2, 11, 128, 1000][seed % 4], rng.integers(1, 200)).tolist()
    if seed % 3:
        values = [value / [1, 2, 3][rng.integers(3)] for value in values]
    text = json.dumps(values, separators=[(",", ":"), (", ", ": ")][seed % 2])
    fast = parse_small_numbers(text.encode())
    assert fast is not None and fast.tolist() == values
    assert parse_numbers(text.encode(), "").tolist() == values


def test_fast_parser_never_accepts_what_json_refuses() -> None:
    rng = np.random.default_rng(1)
    signs = np.array(list("01279., "))
    accepted = 0
    for _ in range(20_000):
        text = f"[{''.join(rng.choice(signs, rng.integers(0, 8)))}]"
        fast = parse_small_numbers(text.encode())
        if fast is not None:
            accepted += 1
            assert fast.tolist() == json.loads(text)
    assert accepted > 1000
