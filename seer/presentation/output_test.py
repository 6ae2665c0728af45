"""Which folders an answer may replace."""

from pathlib import Path

import pytest

from common.options import UserError
from seer.presentation.output import replaceable


def test_new_empty_and_own_folders_are_replaced(tmp_path, monkeypatch):
    assert replaceable(tmp_path / "new" / "er", "--output") == tmp_path / "new" / "er"
    assert replaceable(tmp_path, "--output") == tmp_path
    for name in ("recommendations.json", "index.html", "1.png", "12.mid", "3.wav"):
        (tmp_path / name).touch()
    assert replaceable(tmp_path, "--output") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert replaceable(Path(), "--output") == tmp_path  # a rename onto "." is impossible


def test_links_are_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert replaceable(tmp_path / "link", "--output") == tmp_path / "real"


@pytest.mark.parametrize("name", ["thesis.txt", "mine.csv", "cover.png", "1.png.bak", ".git"])
def test_files_of_others_beside_recommendations_are_not_lost(tmp_path, name):
    (tmp_path / "recommendations.json").touch()
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"--output .*holds something else .*{name}"):
        replaceable(tmp_path, "--output")


def test_files_and_mount_points_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        replaceable(tmp_path / "file", "--output")
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    with pytest.raises(UserError, match="mount point"):
        replaceable(tmp_path / "disk", "--output")
