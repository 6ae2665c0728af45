import os
from pathlib import Path

import numpy as np
import pytest

from common.options import UserError
from common.prepared import fingerprint, prepared_arrays, stamps, states_of


def test_arrays_are_made_once_and_again_when_they_cannot_be_opened(tmp_path: Path) -> None:
    target, made = tmp_path / "prepared", []

    def load(folder: Path) -> float | None:
        return float(np.load(folder / "a.npy")) if (folder / "a.npy").is_file() else None

    def make(folder: Path) -> None:
        made.append(folder)
        np.save(folder / "a.npy", len(made))

    assert [prepared_arrays(target, load, make) for _ in range(2)] == [1.0, 1.0]
    (target / "a.npy").unlink()
    assert prepared_arrays(target, load, make) == 2.0 and len(made) == 2
    with pytest.raises(UserError, match="cannot be read back"):
        prepared_arrays(tmp_path / "other", lambda _: None, make)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*Not a directory|file.*exists"):
        prepared_arrays(tmp_path / "file" / "below", load, make)


def test_stamps_and_states_tell_of_changed_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", 1)
    (tmp_path / "meta.json").touch()
    before, state = stamps(tmp_path), states_of([tmp_path / "a.npy"])
    assert before == {"a.npy": state[0][1:]} and state[0][0] == "a.npy"
    os.utime(tmp_path / "a.npy", (1, 1))
    assert stamps(tmp_path) != before and states_of([tmp_path / "a.npy"]) != state
    with pytest.raises(UserError, match=r"no\.csv: No such file"):
        states_of([tmp_path / "no.csv"])


def test_fingerprint_depends_on_names_and_contents_not_on_order_or_folder(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            (tmp_path / folder / name).write_text(f"content of {name}")
    files = [tmp_path / "one/a", tmp_path / "one/b"]
    expected = fingerprint(files)
    assert len(expected) == 64
    assert fingerprint(reversed(files)) == fingerprint([tmp_path / "two/a", tmp_path / "two/b"]) == expected
    assert fingerprint(files[:1]) != expected
    (tmp_path / "two/a").write_text("content of b")
    assert fingerprint([tmp_path / "two/a", tmp_path / "two/b"]) != expected
