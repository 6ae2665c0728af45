"""Mistakes of the user, and files that are never half-written."""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from common.options import TrainingOptions, replacing, write_json


def test_replacing_shows_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    with replacing(path, "w") as file:
        file.write("old ä\n")
        assert not path.exists()
    with replacing(path, "w") as file:
        file.write("new\r\n")
        assert path.read_bytes() == "old ä\n".encode()
    assert path.read_bytes() == b"new\r\n"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_the_old_file_stays_and_nothing_else(error, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_get_the_usual_permissions(mask, expected, tmp_path):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "a") as file:
            file.write(b"x")
        assert os.umask(mask) == mask  # it is as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected


def test_json_of_what_results_consist_of(tmp_path):
    @dataclass
    class Point:
        x: float

    content = {
        "array": np.arange(3),
        "scalar": np.float32(0.5),
        "path": Path("a/b"),
        "data": Point(1.5),
        "tuple": (1, "ü"),
        "nan": float("nan"),
        "inside": [np.float64("inf"), {"x": np.array([1.0, np.nan])}],
    }
    write_json(tmp_path / "a.json", content)

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    found = json.loads((tmp_path / "a.json").read_text("utf-8"), parse_constant=refuse)
    assert found == {
        "array": [0, 1, 2],
        "scalar": 0.5,
        "path": "a/b",
        "data": {"x": 1.5},
        "tuple": [1, "ü"],
        "nan": None,
        "inside": [None, {"x": [1.0, None]}],
    }
    with pytest.raises(TypeError, match="cannot write set"):
        write_json(tmp_path / "a.json", {1, 2})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == found


def test_a_mistake_is_a_value_error_and_its_words_stay_as_they_are():
    with pytest.raises(ValueError, match=r"^--epochs is -1; it must be 0 or more$"):
        TrainingOptions(epochs=-1)
