"""Session files of the official GRU4Rec code: SessionId, ItemId, Time, and the clicks of RSC15 (Yoochoose)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.csvtext import Column, open_sources, read_table
from common.mssd.logs import Numbering
from common.options import UserError, require
from common.sessions import Events, group_events

RSC15_COLUMNS = ("SessionId", "Time", "ItemId", "Category")
"""The clicks have no header line."""
SECONDS = (-1e18, 1e18)
"""Times that can be told from each other, whatever their unit."""


def read_events(path: Path, session: str, item: str, time: str, items: Numbering) -> Events:
    """Read a tab-separated file with a header; further columns are ignored, rows may be in any order.

    Args:
        path: plain or ``.gz``.
        session, item, time: names of the three columns. The time is a number of seconds. Session ids are ordered
            as integers if all are, else as texts.
        items: gives the item numbers: those of items that it knows, new ones after them.

    Raises:
        UserError: a column is missing, a value is wrong, or there is no row.
    """
    columns = {session: Column("text"), item: Column("text"), time: Column("number", *SECONDS)}
    pieces: list[tuple[Any, ...]] = []
    sessions = Numbering()
    for source, stream in open_sources(path):
        for table in read_table(source, stream, columns, separator="\t"):
            pieces.append((sessions(table[session], source), items(table[item], source), table[time].to_numpy()))
    require(bool(pieces), f"{path}: holds no row; expected one for each event")
    numbers, events, times = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return group_events(numbers, events, times, _integers(sessions.names()))


def _integers(ids: NDArray[np.bytes_]) -> NDArray[Any]:
    """The ids as integers if each is one in its usual form (no leading zeros), else as they are."""
    try:
        numbers = ids.astype(np.int64)
    except (ValueError, OverflowError):
        return ids
    return numbers if (numbers.astype(ids.dtype) == ids).all() else ids


def read_clicks(path: Path) -> tuple[Events, list[str]]:
    """Read ``yoochoose-clicks.dat``: session, time (2014-04-07T10:51:09.277Z), item, category; no header.

    Returns:
        The events, and the item ids by item number.

    Raises:
        UserError: a line is wrong, or there is none.
    """
    columns = {"SessionId": Column("integer"), "Time": Column("text"), "ItemId": Column("integer")}
    pieces: list[tuple[Any, ...]] = []
    for source, stream in open_sources(path):
        for table in read_table(source, stream, columns, header=RSC15_COLUMNS):
            times = pd.to_datetime(table["Time"], format="ISO8601", utc=True, errors="coerce")
            wrong = np.flatnonzero(times.isna())
            if wrong.size:
                line, text = table.index[wrong[0]] + 1, table["Time"].iloc[wrong[0]]
                raise UserError(
                    f"{source}, line {line}: the time is {text!r}; expected one as 2014-04-07T10:51:09.277Z"
                )
            seconds = times.dt.tz_localize(None).to_numpy("datetime64[ms]").astype(np.float64) / 1000
            pieces.append((table["SessionId"].to_numpy(), table["ItemId"].to_numpy(), seconds))
    require(bool(pieces), f"{path}: holds no row; expected one for each click")
    sessions, items, seconds = (np.concatenate(column) for column in zip(*pieces, strict=True))
    del pieces
    codes, distinct = pd.factorize(items)
    numbers, ids = pd.factorize(sessions)
    return group_events(numbers, codes.astype(np.int32), seconds, ids), [str(item) for item in distinct.tolist()]
