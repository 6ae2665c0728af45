from __future__ import annotations

import gzip

import numpy as np
import pytest

from common.mssd.logs import Numbering
from common.options import UserError
from gru4rec.tables import read_clicks, read_events

KEYS = ("SessionId", "ItemId", "Time")
HEADER = "SessionId\tItemId\tTime\n"


def read(path):
    items = Numbering()
    return read_events(path, *KEYS, items), items.names().tolist()


def test_columns_by_name_rows_in_any_order(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("Time\tx\tItemId\tSessionId\n3\t\tb\t10\n1.5\t\ta\t9\n2\t\tc\t10\n1.5\t\ta\t10\n1.5\t\tb\t10\n")
    events, items = read(path)
    assert items == [b"b", b"a", b"c"]
    sessions = events.sessions()
    assert [items[i] for i in sessions.items] == [b"a", b"a", b"b", b"c", b"b"]  # 9 before 10; ties as in the file
    assert sessions.offsets.tolist() == [0, 1, 5] and sessions.starts.tolist() == [1.5, 1.5]


@pytest.mark.parametrize(("ids", "first"), [(["10", "9"], "9"), (["x10", "x9"], "x10"), (["010", "9"], "010")])
def test_session_ids_are_ordered_as_integers_if_all_are(tmp_path, ids, first):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress((HEADER + "".join(f"{name}\t{name}\t1\n" for name in ids)).encode()))
    events, items = read(path)
    assert items[events.sessions().items[0]] == first.encode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SessionId\tItemId\n", "line 1: the column Time is missing among SessionId, ItemId"),
        (HEADER + "1\t2\t2014-04-07\n", "line 2: Time is '2014-04-07'; expected a number"),
        (HEADER + "1\t2\t3\n1\t\t3\n", "line 3: ItemId is ''; expected a text"),
        (HEADER + "1\t2\tinf\n", "line 2: Time is 'inf'"),
        (HEADER + "1,2,3\n", "line 2: has 1 values; expected 3"),
    ],
)
def test_mistakes(tmp_path, text, told):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, {told}")


def test_no_rows(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(HEADER)
    with pytest.raises(UserError, match="holds no row"):
        read(path)


def test_clicks(tmp_path):
    path = tmp_path / "yoochoose-clicks.dat"
    path.write_text(
        "2,2014-04-07T10:51:10.000Z,7,S\n11,2014-04-07T10:51:09.277Z,5,0\n2,2014-04-07T10:51:09.277Z,5,12\n"
    )
    events, items = read_clicks(path)
    assert items == ["7", "5"]
    sessions = events.sessions()
    assert sessions.items.tolist() == [1, 0, 1] and sessions.offsets.tolist() == [0, 2, 3]
    assert sessions.starts[0] == np.datetime64("2014-04-07T10:51:09.277").astype("datetime64[ms]").astype(float) / 1000


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("2,1396867869,7,0", "line 2: the time is '1396867869'; expected one as 2014-04-07T10:51:09.277Z"),
        ("x,2014-04-07T10:51:09.277Z,7,0", "line 2: SessionId is 'x'; expected an integer"),
        ("2,2014-04-07T10:51:09.277Z,7", "line 2: has 3 values; expected 4"),
    ],
)
def test_wrong_clicks(tmp_path, line, told):
    path = tmp_path / "yoochoose-clicks.dat"
    path.write_text("2,2014-04-07T10:51:10.000Z,7,S\n" + line + "\n")
    with pytest.raises(UserError) as caught:
        read_clicks(path)
    assert str(caught.value).startswith(f"{path}, {told}")
