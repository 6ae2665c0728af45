import os
import time
from pathlib import Path

import numpy as np
import pytest

from common.options import UserError
from common.prepared import fingerprint, prepared_arrays, replacing_folder, stamps, states_of


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


def test_replacing_folder_replaces_what_is_out_of_date(tmp_path: Path) -> None:
    target = tmp_path / "deep/target"
    for version in ("old", "new"):
        with replacing_folder(target, lambda _: False) as beside:
            (beside / version).write_text(version)
        assert [path.name for path in target.iterdir()] == [version]
    with replacing_folder(target, lambda _: True) as beside:
        (beside / "slow").write_text("another process was faster: its result stays")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_replacing_folder_leaves_nothing_after_an_error_and_sweeps_old_leftovers(tmp_path: Path) -> None:
    target = tmp_path / "target"
    abandoned, running = tmp_path / ".target.killed", tmp_path / ".target.running"
    for folder in (abandoned, running):
        folder.mkdir()
        (folder / "half").write_text("half")
    long_ago = time.time() - 100_000
    os.utime(abandoned / "half", (long_ago, long_ago))
    os.utime(abandoned, (long_ago, long_ago))
    with pytest.raises(KeyboardInterrupt), replacing_folder(target, lambda _: False) as beside:
        (beside / "half").write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == [".target.running"]
