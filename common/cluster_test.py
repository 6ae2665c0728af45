"""Which worker a process is, and where it may write."""

import json
import sys

import pytest

from common.cluster import Worker, own_folder, this_worker
from common.options import UserError


def told(kind, index, **cluster):
    return json.dumps({"cluster": cluster or {"worker": ["a:1", "b:2"]}, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("config", "worker"),
    [
        (told("worker", 0), Worker(0, 2)),
        (told("worker", 1), Worker(1, 2)),
        (told("worker", "1"), Worker(1, 2)),
        (told("chief", 0, chief=["c:1"], worker=["a:1", "b:2"]), Worker(0, 3)),
        (told("worker", 1, chief=["c:1"], worker=["a:1", "b:2"]), Worker(2, 3)),
    ],
)
def test_the_chief_is_number_0(monkeypatch, config, worker):
    monkeypatch.setenv("TF_CONFIG", config)
    assert this_worker() == worker


@pytest.mark.parametrize(
    "config",
    [
        *(None, "", "{", "[]", "{}", told("worker", 2), told("ps", 0), told("worker", "x"), '{"cluster": 3}'),
        *(told("worker", index) for index in (-1, 1e999, "9" * 5000, None, [], 10**400)),
        *(told("worker", 0, worker=[place]) for place in ("a:99999999", "a:0", "a", ":1", "a:1e3", 3, None, ["a:1"])),
        told("worker", 0, worker=["a:1", "a:1"]),
        told("worker", 0, chief=["a:1"], worker=["a:1"]),
        *(told("worker", 0, worker=odd) for odd in (3, None, {"a": 1}, "a:1")),
        "[" * 100_000,
        '{"cluster": ' + '{"worker": ' * 50_000,
    ],
)
def test_what_does_not_tell_is_refused_in_one_line(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match=r"multiworker needs TF_CONFIG in the environment") as found:
        this_worker()
    assert "\n" not in str(found.value)


def test_only_the_chief_writes_to_the_run_directory(monkeypatch, tmp_path, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "checkpoint.npz").write_text("kept")
    monkeypatch.setenv("TF_CONFIG", told("worker", 0))
    assert own_folder(run_dir, resume=True) is None
    monkeypatch.setenv("TF_CONFIG", told("worker", 1))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    fresh, resumed = own_folder(run_dir, resume=False), own_folder(run_dir, resume=True)
    assert run_dir not in (fresh, resumed) and not list(fresh.iterdir())
    assert (resumed / "checkpoint.npz").read_text() == "kept"
    with pytest.raises(UserError, match="needs --run-dir: the same for all workers"):
        own_folder(None, resume=False)
