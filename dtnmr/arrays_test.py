"""Prepared arrays come back as they were written; whatever is damaged or edited counts as missing."""

import json
import shutil

import numpy as np
import pytest

from common.arrays import read_sealed
from common.testing import reseal
from dtnmr.dataset import keep, load
from dtnmr.testing import tiny_data

DATA = tiny_data()


@pytest.fixture
def folder(tmp_path):
    keep(DATA, tmp_path)
    return tmp_path


def test_what_is_saved_comes_back(folder):
    found = load(folder, "tiny")
    assert found is not None and found.song_ids == DATA.song_ids and found.values == DATA.values
    for name in ("song_bits", "songs_played", "behaviours"):
        np.testing.assert_array_equal(getattr(found, name).values, getattr(DATA, name).values)
    assert load(folder, "another") is None


def test_a_number_that_is_another_is_noticed_and_a_copy_is_none(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "arrays"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)  # with other times
    assert load(copy, "tiny") is not None
    plays = np.load(folder / "plays.npy")
    np.save(folder / "plays.npy", plays[::-1])
    assert (plays != plays[::-1]).any() and load(folder, "tiny") is None
    meta = (copy / "meta.json").read_text()
    (copy / "meta.json").write_text(meta.replace('"longest_history": ', '"longest_history": 3'))
    assert load(copy, "tiny") is None


def out_of_range(array):
    return np.full_like(array, 10**6)


def backwards(indptr):
    return np.concatenate([indptr[:1], [-5], indptr[2:]])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((f"{name}_values", out_of_range) for name in ("song_bits", "user_bits", "songs_played", "behaviours")),
        *((name, out_of_range) for name in ("owners", "trained", "train_playlists", "test_positions")),
        *((f"{name}_indptr", backwards) for name in ("song_bits", "songs_played")),
        ("song_bits_values", lambda array: array - 1),
        ("behaviours_indptr", lambda array: np.concatenate([array[:1], array[1:-1] + 1, array[-1:]])),
        ("song_bits_indptr", lambda array: array[:0]),
        ("lengths", lambda array: array * np.nan),
        ("lengths", lambda array: np.array([{}] * len(array), object)),
        ("plays", lambda array: array.astype(np.int32)),
    ],
)
def test_arrays_that_do_not_fit_together_are_no_arrays(folder, name, change):
    file = folder / f"{name}.npy"
    np.save(file, change(np.load(file)), allow_pickle=True)
    reseal(folder)
    assert load(folder, "tiny") is None


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((  \n"])
def test_files_that_are_no_arrays(folder, content):
    (folder / "plays.npy").write_bytes(content)
    reseal(folder)
    assert load(folder, "tiny") is None


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("texts", {"values": {}}),
        ("texts", {"values": [1]}),
        ("texts", {"values": dict.fromkeys(DATA.values)}),
        ("texts", {"song_ids": list(range(36))}),
        ("texts", {"user_ids": {f"u{user}": 1 for user in range(40)}}),
        ("meta", {"longest_history": "9"}),
        ("meta", {"longest_history": 0}),
        ("meta", {"longest_length": 0}),
        ("meta", {"longest_length": None}),
        ("meta", {"counts": "x"}),
        ("meta", {"counts": {"songs": None}}),
    ],
)
def test_edited_texts(folder, file, change):
    if file == "texts":
        path = folder / "texts.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        reseal(folder)
    else:
        reseal(folder, meta=read_sealed(folder / "meta.json")["meta"] | change)
    assert load(folder, "tiny") is None


@pytest.mark.parametrize("file", ["meta", "texts"])
@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_texts_that_are_no_json_of_ours(folder, file, content):
    (folder / f"{file}.json").write_text(content)
    if file == "texts":
        reseal(folder)
    assert load(folder, "tiny") is None
