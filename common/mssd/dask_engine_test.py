"""A cluster prepares what one machine prepares, for both papers, whatever becomes of a worker."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tarfile
from pathlib import Path

import pytest

import gru4rec.options
import gru4rec.preprocess
import session_transformers.data_options
import session_transformers.preprocess
from common.mssd import dask_engine, engines
from common.mssd.dask_engine import connected, local_processes
from common.mssd.files_test import MONDAY
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import UserError

pytest.importorskip("distributed", reason="Dask is not installed: the extra cluster")
WORKERS = 2


@pytest.fixture(scope="module")
def scheduler():
    with pytest.MonkeyPatch.context() as patch, local_processes(WORKERS) as address:
        patch.setattr(dask_engine, "TIMEOUT", dask_engine.START_TIMEOUT)  # the machine may be busy with other tests
        yield address


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Four days, two of them in an archive."""
    folder = tmp_path_factory.mktemp("mssd")
    write_sample(folder, SessionSampleOptions(folder, sessions=500, tracks=120, days=4))
    with tarfile.open(folder / "two.tar.gz", "w:gz") as archive:
        for path in sorted(folder.glob("log_*.csv"))[1:3]:
            archive.add(path, f"training_set/{path.name}")
            path.unlink()
    return folder


def prepared(sample, folder, engine, scheduler):
    """The fingerprints of all arrays of both papers."""
    chosen = {"engine": engine, "dask_scheduler": scheduler}
    ours = gru4rec.options.DataOptions(min_support=4, test_share=0.25, collapse_repeats=True, **chosen)
    theirs = session_transformers.data_options.DataOptions(min_plays=5, any_length=True, **chosen)
    data = [
        gru4rec.preprocess.prepare(sample, folder / "gru4rec", ours),
        session_transformers.preprocess.prepare(sample, folder / "session_transformers", theirs),
    ]
    assert all(len(found.train) > 50 and len(found.test) > 5 for found in data)
    return [(found.fingerprint, found.dropped) for found in data]


@pytest.fixture(scope="module")
def expected(sample, tmp_path_factory):
    return prepared(sample, tmp_path_factory.mktemp("duckdb"), "duckdb", "")


def test_the_same_arrays_for_both_papers(sample, expected, scheduler, tmp_path):
    assert prepared(sample, tmp_path, "dask", scheduler) == expected


def dying(function, mark, job):
    """``function(*job)``, but the first to come kills its worker after the work, before anybody knows of it."""
    result = function(*job)
    with contextlib.suppress(FileExistsError):
        mark.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return result


class Deadly:
    """A cluster that loses a worker in the first step and in a later one."""

    def __init__(self, cluster, folder):
        self._cluster, self._folder, self.steps = cluster, folder, []

    def check_visible(self, files, folder):
        self._cluster.check_visible(files, folder)

    def map(self, function, jobs):
        if function.__name__ not in ("convert_file", "_write_pieces"):
            return self._cluster.map(function, jobs)
        self.steps.append(function.__name__)
        mark = self._folder / function.__name__
        return self._cluster.map(dying, [(function, mark, job) for job in jobs])


def test_lost_workers_change_nothing(sample, expected, scheduler, tmp_path, monkeypatch):
    (tmp_path / "marks").mkdir()
    deadly = []

    @contextlib.contextmanager
    def losing(address):
        with connected(address) as cluster:
            deadly.append(Deadly(cluster, tmp_path / "marks"))
            yield deadly[-1]

    monkeypatch.setattr(dask_engine, "connected", losing)
    options = gru4rec.options.DataOptions(
        min_support=4, test_share=0.25, collapse_repeats=True, engine="dask", dask_scheduler=scheduler
    )
    data = gru4rec.preprocess.prepare(sample, tmp_path / "gru4rec", options)
    assert (data.fingerprint, data.dropped) == expected[0]
    (lost,) = deadly
    assert (
        {path.name for path in (tmp_path / "marks").iterdir()} == set(lost.steps) == {"convert_file", "_write_pieces"}
    )


def mistake(raw, folder, **options):
    with pytest.raises(UserError) as caught:
        gru4rec.preprocess.prepare(raw, folder, gru4rec.options.DataOptions(**options))
    assert not folder.exists() and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_file_gives_the_message_of_one_machine(scheduler, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "log_0.csv").write_text(MONDAY)
    (raw / "log_1.csv").write_text(MONDAY.replace("b,2,", "b,two,"))
    (raw / "log_2.csv").write_text("no log\n")
    told = mistake(raw, tmp_path / "prepared", engine="duckdb")
    assert told.endswith("log_1.csv, line 3: session_position is 'two'; expected an integer in 1..20")
    assert mistake(raw, tmp_path / "prepared", engine="dask", dask_scheduler=scheduler) == told
    (raw / "log_2.csv").unlink()
    shutil.copy(raw / "log_0.csv", raw / "log_1.csv")
    told = mistake(raw, tmp_path / "prepared", engine="duckdb")
    assert "session a is in " in told
    assert mistake(raw, tmp_path / "prepared", engine="dask", dask_scheduler=scheduler) == told


def test_a_file_that_a_worker_does_not_see(scheduler, tmp_path):
    with connected(scheduler) as cluster:
        cluster.check_visible([Path(__file__)], tmp_path)
        with pytest.raises(
            UserError, match=r"--engine dask: the worker tcp://\S+ does not see /no/log_0.csv; all mach"
        ):
            cluster.check_visible([Path(__file__), Path("/no/log_0.csv")], tmp_path)
        with pytest.raises(UserError, match=r"read_bytes fails on a worker: .*No such file.*log_0.csv"):
            cluster.map(Path.read_bytes, [(Path("/no/log_0.csv"),)])


def test_the_scheduler_named_by_the_environment(scheduler, tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", scheduler)
    with connected() as cluster:
        assert cluster.map(divmod, [(7, 2), (9, 5)]) == [(3, 1), (1, 4)]


def test_no_scheduler_and_no_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_engine, "TIMEOUT", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "tls://127.0.0.1:9"):
        told = rf"--dask-scheduler {address}: cannot be reached within 0.5 s \(.*\); is it running\?"
        with pytest.raises(UserError, match=told), connected(address):
            pass


def test_dask_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    (tmp_path / "log_0.csv").write_text(MONDAY)
    told = r"--engine dask: Dask is not installed; install the extra: pip install -e .\[cluster\]"
    with pytest.raises(UserError, match=told), engines.open_logs([tmp_path / "log_0.csv"], tmp_path, "dask"):
        pass
