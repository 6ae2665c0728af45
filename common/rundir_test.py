"""Run directories: one run in each, whoever wants it at once; resumed with the same options and data alone."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.options import PROJECT, TrainingOptions, UserError
from common.rundir import claim, claimed, open_run, read_run, release, same_data

ROUNDS = 40
RIVAL = """
import sys, time
from pathlib import Path
from common.options import UserError
from common.rundir import claim

folder, begin = Path(sys.argv[1]), float(sys.argv[2])
for number in range(int(sys.argv[3])):
    while time.time() < begin + 0.02 * number:
        pass
    try:
        claim(folder / "runs" / str(number))
        (folder / "runs" / str(number) / "options.json").write_text("{}")
        print("mine")
    except UserError as error:
        print(error)
sys.stdout.flush()
time.sleep(60)
"""
SCRIPT = """
import time
from common.command import run_script
from common.options import TrainingOptions

def main(options):
    print("mine", flush=True)
    time.sleep(60)

run_script(main, TrainingOptions)
"""


PIPES = {
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
    "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
}


def started(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=PROJECT, **PIPES)


def test_of_two_that_want_a_folder_at_once_exactly_one_gets_it(tmp_path):
    begin = time.time() + 3
    rivals = [started(RIVAL, tmp_path, begin, ROUNDS) for _ in range(2)]
    try:
        said = [[rival.stdout.readline().strip() for _ in range(ROUNDS)] for rival in rivals]
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate()
    for number, lines in enumerate(zip(*said, strict=True)):
        folder = tmp_path / "runs" / str(number)
        assert sorted(lines) == [f"--run-dir {folder}: another run is at work there; choose another folder", "mine"]


def test_a_second_start_is_one_line_and_a_killed_one_leaves_the_folder_free(tmp_path):
    folder = tmp_path / "run"
    first = started(SCRIPT, "--run-dir", folder)
    try:
        assert first.stdout.readline() == "mine\n"
        second = started(SCRIPT, "--run-dir", folder)
        out, err = second.communicate(timeout=60)
        assert (second.returncode, out) == (2, "")
        assert err == f"error: --run-dir {folder}: another run is at work there; choose another folder\n"
    finally:
        first.kill()
        first.communicate()
    claim(folder)
    release(folder)
    assert not folder.exists()  # nothing was written there


def test_ctrl_c_gives_the_folder_back(tmp_path):
    first = started(SCRIPT, "--run-dir", tmp_path / "run")
    assert first.stdout.readline() == "mine\n"
    first.send_signal(signal.SIGINT)
    assert first.communicate(timeout=60)[1] == "interrupted\n" and first.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_for_the_time_of_a_command(tmp_path):
    options = TrainingOptions(run_dir=tmp_path / "run")
    with claimed(options):
        claim(tmp_path / "run")  # what this process has already
        (tmp_path / "run" / "options.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="is not empty; choose another folder"), claimed(options):
        pass
    with claimed(TrainingOptions(run_dir=tmp_path / "run", resume=True)):
        pass
    with claimed(TrainingOptions(run_dir=tmp_path / "none", resume=True)):
        pass
    assert not (tmp_path / "none").exists()


def test_ctrl_c_while_a_command_imports_is_one_line(tmp_path):
    """Before the first module of the project Python itself is at work, so the signal comes once that is read."""
    script = tmp_path / "project" / "paper" / "train.py"
    (tmp_path / "project" / "common").mkdir(parents=True)
    (tmp_path / "project" / "common" / "__init__.py").write_text((PROJECT / "common" / "__init__.py").read_text())
    script.parent.mkdir()
    script.write_text(
        "import sys\nsys.path.insert(0, sys.path[0] + '/..')\nimport common\nprint(1, flush=True)\n"
        "import time\ntime.sleep(60)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen([sys.executable, "-S", str(script)], env=environment, **PIPES)
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "interrupted\n" and process.returncode == 130
    assert Path(script).exists()


def test_a_tf_config_that_does_not_tell_is_refused_before_tensorflow_is_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with (
        pytest.raises(UserError, match="needs TF_CONFIG"),
        claimed(TrainingOptions(run_dir=tmp_path / "run", distribute="multiworker")),
    ):
        pytest.fail("the command would begin")
    assert not (tmp_path / "run").exists()


FACTS = {"sizes": (2, 3), "dataset": {"fingerprint": "abc"}}


def test_weights_of_other_data_are_refused(tmp_path):
    open_run(
        "seer", "x", TrainingOptions(run_dir=tmp_path / "run"), {"dataset": {"name": "sample", "fingerprint": "1"}}
    )
    same_data(tmp_path / "run", "1", "--weights W")
    with pytest.raises(UserError, match="--weights W: was trained on the dataset sample, which is another one"):
        same_data(tmp_path / "run", "2", "--weights W")
    open_run("seer", "x", TrainingOptions(run_dir=tmp_path / "odd"), {"dataset": 3})
    with pytest.raises(UserError, match="--bert B: was trained on the dataset None"):
        same_data(tmp_path / "odd", "2", "--bert B")


def test_a_run_is_opened_once_and_resumed_with_the_same_options(tmp_path):
    folder = tmp_path / "run"
    options = TrainingOptions(run_dir=folder, epochs=3)
    assert open_run("seer", "x", options, FACTS) == folder
    assert read_run(folder)["options"]["epochs"] == 3 and read_run(folder)["sizes"] == [2, 3]
    with pytest.raises(UserError, match="is not empty; choose another folder, or add --resume"):
        open_run("seer", "x", options, FACTS)
    (folder / ".checkpoint.npz.abcdefgh").write_bytes(b"half")
    resumed = dataclasses.replace(options, resume=True, epochs=5, data_dir=Path("elsewhere"))
    assert open_run("seer", "x", resumed, FACTS) == folder
    assert [path.name for path in folder.iterdir()] == ["options.json"]
    with pytest.raises(UserError, match=r"was started with learning_rate = None, not 0\.1"):
        open_run("seer", "x", dataclasses.replace(resumed, learning_rate=0.1), FACTS)
    with pytest.raises(UserError, match="--resume: dataset differs from that of the run"):
        open_run("seer", "x", resumed, FACTS | {"dataset": {"fingerprint": "xyz"}})


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match=r"holds no run \(no options\.json\)"):
        open_run("seer", "x", TrainingOptions(run_dir=tmp_path, resume=True), FACTS)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"options": 3}', "{}", "\0", "[" * 100_000])
def test_damaged_options_of_a_run_are_told(content, tmp_path):
    (tmp_path / "options.json").write_text(content)
    with pytest.raises(UserError, match=r"options\.json: "):
        open_run("seer", "x", TrainingOptions(run_dir=tmp_path, resume=True), FACTS)


def test_a_run_directory_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing")):
        with pytest.raises(UserError, match=f"--run-dir {folder}: "):
            open_run("seer", "x", TrainingOptions(run_dir=folder), FACTS)
