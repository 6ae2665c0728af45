"""The harness of faults must fail where it should: it is fed trainers and readers with every defect it looks for."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.options import PROJECT, UserError
from faults import audit, results
from faults.equality import differences, kept_for_ever
from faults.formats import FORMATS
from faults.hostile import attack
from faults.hostile_archives import canary, pickled
from faults.kills import kill_at_random
from faults.mutations import Format, mutate_all
from faults.processes import run
from faults.trainers import TRAINERS, Trainer

GOOD = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--run-dir") + 1])
kind = os.environ.get("KIND", "")
folder.mkdir(parents=True, exist_ok=True)
def write(name, content):
    (folder / f".{name}").write_text(json.dumps(content))
    (folder / f".{name}").rename(folder / name)
if not (folder / "options.json").exists():
    write("options.json", {"options": {}})
for left in folder.glob(".*"):
    left.unlink()
file = folder / "progress.json"
done = json.loads(file.read_text()) if file.exists() else []
if kind == "loses" and done:
    done = []
    write("metrics.json", {"lost": True})
for epoch in range(len(done), 4):
    time.sleep(0.05)
    done.append(epoch)
    write("progress.json", done)
if not (folder / "metrics.json").exists():
    write("metrics.json", {"sum": sum(done), "seconds": time.time()})
if kind == "temporary":
    (folder / ".metrics.json.abc").touch()
"""


@pytest.fixture
def trainer(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(GOOD)
    return Trainer("fake", str(script), (), "fake")


def test_a_good_trainer_passes(trainer, tmp_path):
    tally = kill_at_random(trainer, tmp_path / "work", kills=4, seed=1)
    assert (tally.kills, tally.defects) == (4, []) and tally.lives >= 1


@pytest.mark.parametrize(("kind", "word"), [("loses", "differs"), ("temporary", "was left")])
def test_a_trainer_that_loses_data_or_leaves_files_is_caught(trainer, tmp_path, monkeypatch, kind, word):
    monkeypatch.setenv("KIND", kind)
    tally = kill_at_random(trainer, tmp_path / "work", kills=4, seed=1)
    assert any(word in defect for defect in tally.defects)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("raise KeyError(3)", "traceback"),
        ("import time; time.sleep(60)", "hang"),
        ("import sys; sys.exit(1)", "exit status 1"),
        ("import os; os.kill(os.getpid(), 11)", "exit status -11"),
        ("import sys; print('error: a\\nerror: b', file=sys.stderr); sys.exit(2)", "exit status 2, 2 error"),
        ("import subprocess; subprocess.Popen(['sleep', '60'])", "orphans"),
        ("import sys; print('error: it is full', file=sys.stderr); sys.exit(2)", ""),
        ("print('all is well')", ""),
    ],
)
def test_how_a_command_ends_is_judged(code, word, monkeypatch):
    monkeypatch.setattr("faults.processes.GRACE", 0.3)
    complaint = run(["-c", code], seconds=2 if word == "hang" else 60).complaint()
    assert complaint.startswith(word) if word else not complaint


def test_differences_are_seen_and_times_are_not(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "checkpoint.npz", a=np.arange(3.0), progress=json.dumps({"seconds": time.time()}))
        (tmp_path / name / "metrics.json").write_text(json.dumps({"metrics": {"mae": 0.5}, "seconds": time.time()}))
    assert list(differences(tmp_path / "one", tmp_path / "two")) == []
    np.savez(tmp_path / "two" / "checkpoint.npz", a=np.nextafter(np.arange(3.0), 9), progress="{}")
    (tmp_path / "two" / "metrics.json").write_text('{"metrics": {"mae": 0.25}}')
    (tmp_path / "two" / "more.txt").touch()
    found = list(differences(tmp_path / "one", tmp_path / "two"))
    assert [word.split()[0] for word in found] == ["files", "checkpoint.npz", "metrics.json"]


def test_a_temporary_folder_that_nobody_would_remove_is_seen(tmp_path):
    for name in ("sample", ".sample.abc", "..sample.abc.part"):
        (tmp_path / name).mkdir()
    (tmp_path / "sample" / "file").touch()
    assert kept_for_ever(tmp_path) == [tmp_path / "..sample.abc.part"]


def reading(kind):
    """A reader with a defect of this kind, that comes out once its file is damaged."""

    def read(folder, scratch):
        text = (folder / "numbers.txt").read_bytes()
        if text == b"1 2 3 4 5 6 7 8 9 10":
            return text
        if kind == "refuses":
            raise UserError("damaged")
        if kind == "leaves":
            (scratch / "half").touch()
            raise UserError("damaged")
        if kind == "hangs":
            time.sleep(60)
        if kind == "crashes":
            sys.modules["os"]._exit(139)
        if kind == "eats":
            return np.ones(2**24).sum()
        return [float(number) for number in text.split()] if kind == "raises" else text

    return read


def write_numbers(folder):
    (folder / "numbers.txt").write_text("1 2 3 4 5 6 7 8 9 10")
    return [folder / "numbers.txt"]


@pytest.mark.parametrize(
    ("kind", "guard", "found", "defective"),
    [
        ("refuses", "", "refused", False),
        ("takes", "", "different", False),
        ("takes", "checksum", "different", True),
        ("raises", "", "traceback", True),
        ("crashes", "", "crash", True),
        ("hangs", "", "hang", True),
        ("eats", "", "memory", True),
        ("leaves", "", "left behind", True),
    ],
)
def test_every_class_of_outcomes_is_told_apart(tmp_path, monkeypatch, kind, guard, found, defective):
    monkeypatch.setattr("faults.reading.FIRST", 0.0)
    monkeypatch.setattr("faults.reading.MEMORY", 2**26)
    count = 12 if kind in ("refuses", "raises", "takes") else 2
    seconds = 1.0 if kind == "hangs" else 30.0
    row = mutate_all(Format(kind, write_numbers, reading(kind), guard), tmp_path, count, seed=2, seconds=seconds)
    assert row[found] > 0 and bool(row["defects"]) == defective


def test_a_reader_that_unpickles_is_caught(tmp_path):
    def write(folder):
        np.save(folder / "factors.npy", np.ones(3))
        return [folder / "factors.npy"]

    reckless = Format("reckless", write, lambda folder, _: str(np.load(folder / "factors.npy", allow_pickle=True)))
    row = attack(reckless, {"pickle": lambda folder: pickled("factors.npy", folder)}, tmp_path)
    assert row["defects"] == ["pickle: crash it executed, or wrote, what the file told it to"]
    assert canary(tmp_path / "files").exists()


def test_readers_of_the_project_refuse_a_pickle(tmp_path):
    form = next(form for form in FORMATS if form.name == "audiotext npy")
    row = attack(form, {"pickle": lambda folder: pickled("factors.npy", folder)}, tmp_path)
    assert row["refused"] == 1 and not row["defects"]


def test_every_paper_and_every_name_is_there_once():
    papers = sorted(path.parent.name for path in PROJECT.glob("*/train.py") if path.parent.name != "template")
    assert sorted(trainer.name for trainer in TRAINERS) == papers
    names = [form.name for form in FORMATS]
    assert len(set(names)) == len(names)


def test_rows_are_kept_and_shown(tmp_path):
    results.write("kills", {}, [{"name": "a", "kills": 1, "defects": []}], tmp_path)
    results.write("kills", {}, [{"name": "b", "kills": 2, "defects": ["x"]}], tmp_path)
    results.write("kills", {}, [{"name": "a", "kills": 3, "defects": []}], tmp_path)
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- kills -->\nold\n<!-- end of kills -->\nafter\n")
    results.write_page(page, tmp_path)
    assert "| a | 3 | 0 |\n| b | 2 | 1 |" in page.read_text() and "old" not in page.read_text()


def test_the_page_shows_the_results():
    text = (PROJECT / "faults" / "README.md").read_text("utf-8")
    for file in sorted(results.FOLDER.glob("*.json")):
        assert results.table(json.loads(Path(file).read_text("utf-8"))["rows"]) in text, file.name


def test_an_advisory_fails_the_lint_unless_it_is_listed_with_a_reason(tmp_path):
    advisory = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.0"]}
    report = {"dependencies": [{"name": "a", "version": "1.0", "vulns": [advisory]}, {"name": "b", "skip_reason": ""}]}
    assert audit.open_advisories(report, {}) == ["a 1.0: PYSEC-1, CVE-1; mended in 2.0"]
    assert audit.open_advisories(report, {"CVE-1": "never called"}) == []
    project = tmp_path / "pyproject.toml"
    project.write_text('[tool.encore.advisories]\n"CVE-1" = "never called"\n')
    assert audit.accepted(project) == {"CVE-1": "never called"}
    project.write_text('[tool.encore.advisories]\n"CVE-1" = " "\n')
    with pytest.raises(UserError, match="CVE-1 needs a reason"):
        audit.accepted(project)


def test_without_the_service_nothing_is_audited_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setattr(audit, "reachable", lambda: False)
    assert audit.main() == 0 and "not audited" in capsys.readouterr().out
    monkeypatch.setattr(audit, "reachable", lambda: True)
    bad = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X"}]}]}
    monkeypatch.setattr(audit, "ask", lambda *_: bad)
    assert audit.main() == 1 and "a 1: X" in capsys.readouterr().out


def test_no_folder_of_a_machine_gets_into_the_results():
    row = {"name": "a", "defects": ["refused: /tmp/faults-x1_y/old.h5: line 2"], "notes": {"b": "/var/t/faults-9/run"}}
    assert results.without_places(row) == {
        "name": "a",
        "defects": ["refused: FOLDER/old.h5: line 2"],
        "notes": {"b": "FOLDER/run"},
    }
