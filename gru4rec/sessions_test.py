from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from common.options import UserError
from gru4rec.sessions import join_items, read_clicks, read_events

KEYS = ("SessionId", "ItemId", "Time")
HEADER = "SessionId\tItemId\tTime\n"


def read(path):
    table = read_events(path, *KEYS)
    return table.events, table.item_ids


def test_columns_by_name_rows_in_any_order(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("Time\tx\tItemId\tSessionId\n3\t\tb\t10\n1.5\t\ta\t9\n2\t\tc\t10\n1.5\t\ta\t10\n1.5\t\tb\t10\n")
    events, items = read(path)
    assert items == ["b", "a", "c"]
    sessions = events.sessions()
    assert [items[i] for i in sessions.items] == ["a", "a", "b", "c", "b"]  # 9 before 10; ties as in the file
    assert sessions.offsets.tolist() == [0, 1, 5] and sessions.starts.tolist() == [1.5, 1.5]


@pytest.mark.parametrize(("ids", "first"), [(["10", "9"], "9"), (["x10", "x9"], "x10"), (["010", "9"], "010")])
def test_session_ids_are_ordered_as_integers_if_all_are(tmp_path, ids, first):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress((HEADER + "".join(f"{name}\t{name}\t1\n" for name in ids)).encode()))
    events, items = read(path)
    assert items[events.sessions().items[0]] == first


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SessionId\tItemId\n", "line 1: the column Time (or time, timestamp, ...) is missing among SessionId, ItemId"),
        (HEADER + "1\t2\t7.4.2014\n", "line 2: Time is '7.4.2014'; expected a time: a number"),
        (HEADER + "1\t2\t3\n1\t\t3\n", "line 3: ItemId is ''; expected an id"),
        (HEADER + "1\t2\tinf\n", "line 2: Time is 'inf'"),
        (HEADER + "1,2,3\n", "line 2: has 1 value; expected 3"),
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
    table = read_clicks(path)
    events, items = table.events, table.item_ids
    assert items == ["7", "5"]
    sessions = events.sessions()
    assert sessions.items.tolist() == [1, 0, 1] and sessions.offsets.tolist() == [0, 2, 3]
    assert sessions.starts[0] == np.datetime64("2014-04-07T10:51:09.277").astype("datetime64[ms]").astype(float) / 1000


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("2,1396867869,7,0", "line 2: Time is '1396867869'; expected a time: a number, in one unit in all rows, or"),
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


CASES = Path(__file__).parent / "testdata" / "sessions"


def events_of(case: str, name: str = "train.tsv"):
    keys = ("user_id:token", "item_id:token", "timestamp:float") if case == "97-recbole" else KEYS
    return read_events(CASES / case / name, *keys)


@pytest.mark.parametrize(
    ("case", "noted"),
    [
        ("01e-tsv-quoted", ""),
        ("01i-tsv-title-clean", ""),
        ("02c-item-half-floats", "the values of ItemId are all integers, some with .0"),
        ("03-time-iso", "the times in Time are texts"),
        ("03c-time-ns", "the times in Time are in nanoseconds"),
        ("03d-time-sci", ""),
        ("04-bom-crlf", ""),
        ("04c-cr-only", "the lines end in carriage returns (CR)"),
        ("05-commas", "the values are separated by commas"),
        ("10-ids-weird", ""),
        ("97-recbole", ""),
    ],
)
def test_odd_tables_are_read_whole(case, noted):
    table, clean = events_of(case), events_of("01i-tsv-title-clean")
    assert noted in " ".join(table.notes) and bool(table.notes) == bool(noted)
    assert table.files[0].rows == 240 and len(table.session_ids) == 60
    assert (table.events.offsets == clean.events.offsets).all() and np.allclose(
        table.events.times, clean.events.times, rtol=0, atol=1e6 * (case[:3] == "03d")
    )
    if case[:3] not in ("01e", "03d", "10-"):
        assert [table.item_ids[item] for item in table.events.items] == [
            clean.item_ids[item] for item in clean.events.items
        ]


@pytest.mark.parametrize(("case", "line"), [("01g-tsv-title-quotes", 22), ("01c-tsv-one-quote", 42)])
def test_a_lone_mark_is_told_with_the_line_on_which_it_opens(case, line):
    with pytest.raises(UserError, match=rf"train.tsv, line {line}: a quotation mark opens a value"):
        events_of(case)


def test_ids_as_they_stand():
    assert {"NA", "nan", "null"} <= set(events_of("10-ids-weird").item_ids)
    assert {"Heroes", '"A" and "B"', 'He said "no"'} <= set(events_of("01e-tsv-quoted").item_ids)


def test_items_of_two_files_and_shared_sessions():
    train, test = events_of("02-item-floats"), events_of("02-item-floats", "test.tsv")
    events, items = join_items(train, test)
    assert items == train.item_ids and "101" in items and "integers with .0" in train.notes[0]
    assert {items[item] for item in events.items} == set(test.item_ids)
    assert events.rows.min() == len(train.events.items)
    with pytest.raises(UserError, match=r"test.tsv: 13 of its 23 sessions are in .*train.tsv too, for example '38'"):
        join_items(events_of("06-session-in-both"), events_of("06-session-in-both", "test.tsv"))


def test_items_that_never_match_are_shown(tmp_path):
    for name, item in (("train", "track:1"), ("test", "1")):
        (tmp_path / f"{name}.tsv").write_text(HEADER + f"{name}\t{item}\t1\n")
    with pytest.raises(
        UserError, match=r"none of its 1 items is in .*: the ids there are such as 'track:1', here .*'1'"
    ):
        join_items(*(read_events(tmp_path / f"{name}.tsv", *KEYS) for name in ("train", "test")))


def test_columns_of_usual_names_are_recognised_and_it_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("session_id,track_id,timestamp,song\n1,a,10,x\n1,b,11,y\n")
    found = read_events(path, "SessionId", "ItemId", "Time")
    assert found.item_ids == ["a", "b"]
    assert [note for note in found.notes if "is read as" in note] == [
        f"the column {name} is read as {column}"
        for name, column in (("session_id", "SessionId"), ("track_id", "ItemId"), ("timestamp", "Time"))
    ]
    path.write_text("SessionId,ItemId,Time\n1,a,10\n")
    assert not read_events(path, "SessionId", "ItemId", "Time").notes
