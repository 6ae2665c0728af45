"""Interactions: what of a table is used, how it is split, what is told of a wrong one; figures and recommendations."""

import json

import numpy as np
import pandas as pd
import pytest

from common import interactions
from common.interactions import (
    PreprocessOptions,
    all_of,
    measured,
    preprocess,
    read_kept,
    split_of,
    write_kept,
)
from common.options import UserError


@pytest.fixture
def plays():
    rng = np.random.default_rng(3)
    users, songs = np.repeat(np.arange(30), 10), np.concatenate([rng.permutation(25)[:10] for _ in range(30)])
    return pd.DataFrame({"user_id": [f"u{user}" for user in users], "track": [f"s{song}" for song in songs]})


def test_every_fifth_of_a_user_is_for_the_test_and_no_pair_is_in_both(plays):
    data = split_of(plays)
    assert (len(data.train[0]), len(data.test[0])) == (240, 60) and set(np.bincount(data.test[0])) == {2}
    assert not set(zip(*data.train, strict=True)) & set(zip(*data.test, strict=True))
    assert len(data.notes) == 2 or not data.notes


def test_columns_may_have_any_names(plays):
    named = all_of(plays.rename(columns={"user_id": "wer", "track": "was"}), {"user": "wer", "item": "was"})
    assert named.fingerprint == all_of(plays).fingerprint
    with pytest.raises(UserError, match="item"):
        all_of(plays.rename(columns={"track": "was"}))


def test_later_pairs_are_tested_where_users_and_items_are_known_and_the_pair_is_not(plays):
    data = all_of(plays)
    later = pd.DataFrame(
        {"user": ["u0", "new", "u0", plays["user_id"][0]], "item": ["s1", "s1", "new", plays["track"][0]]}
    )
    found = interactions.tested_on(data, later)
    left_out = next(iter(found.rows["files"].values()))["left_out"]
    assert sum(left_out.values()) + len(found.test[0]) == 4 and left_out["users or items unknown in training"] == 2


def test_what_is_kept_is_read_back_and_refused_where_it_was_changed(plays, tmp_path):
    data = split_of(plays)
    write_kept(tmp_path, data)
    found = read_kept(tmp_path)
    assert found.fingerprint == data.fingerprint and found.item_ids == data.item_ids
    file = tmp_path / "interactions.json"
    for wrong, words in (
        (file.read_text().replace("u1", "u2", 1), "is not as it was written"),
        ("{", "cannot be read"),
    ):
        file.write_text(wrong)
        with pytest.raises(UserError, match=words):
            read_kept(tmp_path)


def test_a_model_that_scores_all_alike_scores_as_chance(plays):
    data = split_of(plays)
    alike = measured(lambda users: np.zeros((len(users), len(data.item_ids))), data)
    assert alike.figures["auc"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [("user,song\na\n", "line 2"), ("user\na\n", "item"), ("user,song\n", "has no rows"), ("user,song\na,b\n", "five")],
)
def test_wrong_files_are_told(tmp_path, text, message):
    (tmp_path / "plays.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        split_of(tmp_path / "plays.csv")


def test_rows_are_used_or_left_out(tmp_path, capsys):
    plays = "".join(f"u,{song}\n" for song in "abcdeaa")
    (tmp_path / "plays.csv").write_text(f"user,song\n{plays}\n")
    preprocess("mypaper", "plays.csv", lambda folder: None, PreprocessOptions(tmp_path, json=True))
    found = json.loads(capsys.readouterr().out)
    counts = {"rows": 7, "used": 5, "left_out": {"pairs that are there already": 2}, "blank_lines": 1}
    assert found == {"files": {"plays.csv": counts}, "parts": {"train": {"pairs": 4}, "test": {"pairs": 1}}}
