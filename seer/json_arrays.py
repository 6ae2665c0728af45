"""The released arrays, JSON text of some 3 GB, checked and written as ``.npy`` row by row, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tqdm import tqdm

from common import console
from common.console import counted
from common.npyfile import write_header
from common.options import UserError, require
from seer.jsonrows import parse_numbers, parse_small_numbers, rows_of

Array = NDArray[Any]
CHANNELS = 16
FEATURES = 2 * CHANNELS
"""Numbers of one step: note and velocity of channel 1, note and velocity of channel 2, and so on."""


def convert_times(source: Path, target: Path, num_songs: int) -> int:
    """Write the times as float64 (songs, steps); returns the steps.

    Raises:
        UserError: a row of ``source`` is no such row, or there are not ``num_songs`` of them.
    """
    steps = 0
    with contextlib.closing(_rows(source, _times_row, num_songs)) as rows, target.open("wb") as file:
        for number, row in enumerate(rows):
            if number == 0:
                steps = row.size
                require(steps > 0, f"{source}: row 0 (counted from 0) is empty; expected the times of the steps")
                write_header(file, np.float64, (num_songs, steps))
            _check_width(source, number, row.size, steps)
            file.write(row.data)
    return steps


def _times_row(text: bytes, where: str) -> NDArray[np.float64]:
    times = parse_numbers(text, where)
    used = np.flatnonzero(times)
    falls = np.flatnonzero(np.diff(times[: used[-1] + 1], prepend=0.0) < 0) if used.size else used
    if falls.size:
        step = int(falls[0])
        before = times[step - 1] if step else 0.0
        raise UserError(
            f"{where}, entry {step} (counted from 0) is {times[step]} after {before}; expected microseconds "
            "from 0 that never decrease, and zeros only at the start or after the last step"
        )
    return times


def convert_midi(source: Path, target: Path, num_songs: int, steps: int) -> None:
    """Write the notes as (songs, steps, 32): as uint8, until a row has a fraction, then all as float32.

    Raises:
        UserError: as of :func:`convert_times`.
    """
    shape = (num_songs, steps, FEATURES)
    dtype: DTypeLike = np.uint8
    with contextlib.ExitStack() as stack:
        rows = stack.enter_context(contextlib.closing(_rows(source, _midi_row, num_songs)))
        file = stack.enter_context(target.open("w+b"))
        write_header(file, dtype, shape)
        for number, row in enumerate(rows):
            require(
                row.size > 0 and row.size % FEATURES == 0,
                f"{source}: row {number} (counted from 0) has {counted(row.size, 'number')}; expected a multiple of "
                f"{FEATURES} ({CHANNELS} channels x note and velocity for each step)",
            )
            _check_width(source, number, row.size, steps * FEATURES, f"{FEATURES} for each of {counted(steps, 'time')}")
            if row.dtype == np.float32 and dtype == np.uint8:
                dtype = np.float32
                whole = target.with_suffix(".part")
                wider = stack.enter_context(whole.open("w+b"))
                write_header(wider, dtype, shape)
                file.seek(-number * row.size, 2)
                while block := file.read(row.size):
                    wider.write(np.frombuffer(block, np.uint8).astype(np.float32).data)
                file = wider
                whole.replace(target)
            file.write(np.ascontiguousarray(row, dtype).data)


def _midi_row(text: bytes, where: str) -> Array:
    values: Array | None = parse_small_numbers(text)
    if values is None:
        values = parse_numbers(text, where)
    wrong = np.flatnonzero((values < 0) | (values > 127))
    if wrong.size:
        entry = wrong[0]
        raise UserError(f"{where}, entry {entry} (counted from 0) is {values[entry]}; expected 0..127")
    small = values.astype(np.uint8)
    return small if (small == values).all() else values.astype(np.float32)


def _rows(source: Path, parse: Callable[[bytes, str], Array], num_songs: int) -> Generator[Array]:
    """The parsed rows of ``source``, of which there must be ``num_songs``; with a progress bar if slow."""
    number = 0
    expected = f"expected {counted(num_songs, 'row')}, as triplets.txt has {counted(num_songs, 'distinct song')}"
    with contextlib.closing(rows_of(source, parse)) as rows:
        hidden = console.no_bar()
        for row in tqdm(rows, f"reading {source.name}", num_songs, unit=" songs", delay=5, disable=hidden):
            require(number < num_songs, f"{source}: row {number} (counted from 0) is one too many; {expected}")
            yield row
            number += 1
    require(number == num_songs, f"{source}: ends after row {number - 1} (counted from 0); {expected}")


def _check_width(source: Path, number: int, width: int, expected: int, reason: str = "as in row 0") -> None:
    require(
        width == expected,
        f"{source}: row {number} (counted from 0) has {counted(width, 'number')}; expected {expected:,}, {reason}",
    )
