"""Folders that are written beside their place: whole or not there, made once, left-overs removed."""

import os
import threading
import time
from pathlib import Path

import pytest

from common.folders import made_once, replacing_folder
from common.options import UserError

LONG_AGO = time.time() - 100_000


def number_in(folder: Path) -> int | None:
    return int((folder / "number").read_text()) if (folder / "number").is_file() else None


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_made_once_and_again_when_it_cannot_be_opened(tmp_path):
    target, made = tmp_path / "deep/prepared", []

    def make(folder):
        made.append(folder)
        assert names(folder) == []
        (folder / "number").write_text(str(len(made)))

    assert [made_once(target, number_in, make) for _ in range(2)] == [1, 1]
    (target / "number").unlink()
    assert made_once(target, number_in, make) == 2
    assert made_once(target, number_in, make, anew=True) == 3
    assert names(target.parent) == ["prepared"]
    with pytest.raises(UserError, match="cannot be read back"):
        made_once(tmp_path / "other", lambda _: None, make)
    assert names(tmp_path) == ["deep"]


def test_what_a_killed_or_failed_call_has_left_is_made_anew_or_gone_on_with(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    def go_on(folder):
        assert names(folder) == ["half"]
        (folder / "number").write_text("1")

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "sound", number_in, fail, resumes=True)
    assert names(tmp_path) == [".sound.resumed"]
    assert made_once(tmp_path / "sound", number_in, go_on, resumes=True) == 1 and names(tmp_path) == ["sound"]
    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "plays", number_in, fail)
    (tmp_path / ".plays.making").mkdir()  # of a process that was killed
    (tmp_path / ".plays.making/half").touch()
    assert made_once(tmp_path / "plays", number_in, lambda folder: (folder / "number").write_text("2")) == 2
    assert names(tmp_path) == ["plays", "sound"]


def test_who_comes_second_waits_and_opens_what_the_first_has_made(tmp_path, capsys):
    begun, may_end, found = threading.Event(), threading.Event(), []

    def make(folder):
        begun.set()
        assert may_end.wait(10)
        (folder / "number").write_text("7")

    def second():
        found.append(made_once(tmp_path / "set", number_in, lambda _: pytest.fail("made twice")))

    threads = [threading.Thread(target=lambda: found.append(made_once(tmp_path / "set", number_in, make)))]
    threads[0].start()
    assert begun.wait(10)
    threads += [threading.Thread(target=second) for _ in range(3)]
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.1)
    may_end.set()
    for thread in threads:
        thread.join(10)
    assert found == [7] * 4 and names(tmp_path) == ["set"]
    assert "another process is making it" in capsys.readouterr().err


def test_without_locks_the_last_one_stays(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("common.folders.fcntl.flock", refuse)
    assert made_once(tmp_path / "set", number_in, lambda folder: (folder / "number").write_text("1")) == 1
    assert number_in(tmp_path / "set") == 1


def test_replacing_folder_replaces_what_is_out_of_date(tmp_path):
    target = tmp_path / "deep/target"
    for version in ("old", "new"):
        with replacing_folder(target, lambda _: False) as beside:
            (beside / version).write_text(version)
        assert names(target) == [version]
    with replacing_folder(target, lambda _: True) as beside:
        (beside / "slow").write_text("another process was faster: its result stays")
    assert names(target) == ["new"] and names(target.parent) == ["target"]


def test_nothing_is_left_after_an_error_and_old_leftovers_go(tmp_path):
    target = tmp_path / "target"
    left = [".target.killed", f".other-{'0' * 16}.making", f".sound-{'0' * 16}.resumed", ".target.running", ".users"]
    for folder in left:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "half").write_text("half")
        if "running" not in folder:
            for path in (tmp_path / folder / "half", tmp_path / folder):
                os.utime(path, (LONG_AGO, LONG_AGO))
    (tmp_path / ".digests.json.killed").touch()
    os.utime(tmp_path / ".digests.json.killed", (LONG_AGO, LONG_AGO))
    with pytest.raises(KeyboardInterrupt), replacing_folder(target, lambda _: False) as beside:
        (beside / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == sorted(left[2:])  # hours of work that can be gone on with, and what is none of ours, stay
