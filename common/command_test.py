"""Command lines: what is parsed, and how a mistake, a full disk or Ctrl-C ends in one line."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.command import parse, run_script
from common.options import PROJECT, TrainingOptions, UserError
from common.rundir import open_run, resumable


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-size", "7", "--learning-rate", "0.5", "--no-resume"],
        ["--batch_size", "7", "--learning_rate", "0.5"],
        ["--batch_size=7", "--learning-rate=0.5"],
    ],
)
def test_hyphens_and_underscores_are_the_same(arguments):
    options = parse(TrainingOptions, arguments)
    assert (options.batch_size, options.learning_rate, options.resume) == (7, 0.5, False)


def test_defaults_and_paths(tmp_path):
    assert parse(TrainingOptions, []) == TrainingOptions()
    files = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for file in files:
        file.touch()
    options = parse(TrainingOptions, ["--weights", *map(str, files), "--run-dir", str(tmp_path)])
    assert options.weights == tuple(files) and options.run_dir == tmp_path
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.seed = 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colour", "red"], "Unrecognized options: --colour"),
        (["--seeds", "3"], "--seeds"),
        (["left", "over"], "left"),
        (["--precision", "float99"], "float99"),
        (["--distribute", "all"], "mirrored"),
        (["--epochs", "many"], "--epochs"),
        (["--epochs"], "--epochs"),
        (["--epochs", "-1"], "--epochs is -1; it must be 0 or more"),
        (["--batch-size", "0"], "--batch-size is 0; it must be 1 or more"),
        (["--learning-rate", "0"], "--learning-rate is 0.0; it must be a positive number"),
        (["--learning-rate", "nan"], "--learning-rate is nan"),
        (["--learning-rate", "inf"], "--learning-rate is inf"),
        (["--seed", "-3"], "--seed is -3; it must lie in 0..2147483647"),
        (["--resume"], "--resume needs --run-dir"),
        (["--weights", "/no/such/file.h5"], "--weights /no/such/file.h5: no such file"),
        (["--weights", "/"], "--weights /: a folder, not a file"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["script.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        run_script(lambda options: pytest.fail("main must not run"), TrainingOptions)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == ""
    assert err.startswith("error: ") and message in err
    assert err.count("\n") == 1 and err.endswith("\n") and "│" not in err and "Traceback" not in err


def test_a_mistake_of_several_lines_is_told_in_one(capsys, monkeypatch):
    def main(options):
        raise UserError("file.txt, line 3:\n   expected a number")

    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit) as stop:
        run_script(main, TrainingOptions)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: file.txt, line 3: expected a number\n"


@pytest.mark.parametrize("folder", [None, Path("runs/x")])
def test_ctrl_c_tells_how_to_go_on_where_that_is_possible(folder, capsys, monkeypatch):
    def main(options):
        if folder is None:
            raise KeyboardInterrupt
        with resumable(folder):
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit) as stop:
        run_script(main, TrainingOptions)
    assert stop.value.code == 130
    err = capsys.readouterr().err
    advice = "; continue from its last whole epoch with --run-dir runs/x --resume"
    assert err == f"interrupted{advice if folder else ''}\n"


def test_where_only_ascii_can_be_written_the_line_has_no_rules():
    code = "from common.command import run_script\nfrom common.options import TrainingOptions\n"
    code += "run_script(print, TrainingOptions)"
    command = [sys.executable, "-c", code, "--precision", "float99"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: invalid choice 'float99'") and done.stderr.endswith("(see --help)\n")


@pytest.mark.parametrize("code", ["ENOSPC", "EPERM", "EBUSY", "ENOTDIR", "ENAMETOOLONG"])
def test_a_place_that_cannot_be_written_is_told_in_one_line(code, capsys, monkeypatch):
    def main(options):
        raise OSError(getattr(errno, code), "not here", "some/place")

    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit) as stop:
        run_script(main, TrainingOptions)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: some/place: not here; what was whole before is kept\n"


def test_nobody_reads_on():
    """As after ``| head -1``: no traceback, not even when Python flushes at its end."""
    code = (
        "from common.command import run_script\nfrom common.options import TrainingOptions\n"
        "run_script(lambda options: [print('x' * 9999, flush=True) for _ in range(99)], TrainingOptions)"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, **pipes) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(60) == 1


def test_other_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(ZeroDivisionError):
        run_script(lambda options: 1 / 0, TrainingOptions)


def help_of(options, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(options, ["--help"], description="What it does.")
    assert not stop.value.code
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_help_has_no_line_ends_of_the_source(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    text = help_of(TrainingOptions, capsys)
    for field in (
        "mirrored trains on all GPUs of this machine, each batch split between them; multiworker on several",
        "else the synthetic sample, which is written on first use.",
        "of a run). With --epochs 0 each",
    ):
        assert field in text or field.replace(" of a run", " of a run") in text, text


def test_help_tells_every_option(capsys):
    text = help_of(TrainingOptions, capsys)
    assert text.count("What it does.") == 1 and "default: None" not in text and "{None}" not in text
    for field in dataclasses.fields(TrainingOptions):
        _, _, rest = text.partition(f"--{field.name.replace('_', '-')}")
        assert len(rest) > 40, field.name
    assert "(default: 1)" in text and "(default: corrected)" in text


FACTS = {"sizes": (2, 3), "dataset": {"fingerprint": "abc"}}


@dataclasses.dataclass(frozen=True)
class SomeOptions(TrainingOptions):
    layers: tuple[int, ...] = ()
    name: str = "a"
    baselines: bool = True


def test_resume_takes_the_options_that_the_run_was_started_with(tmp_path):
    weights = tmp_path / "-odd name.h5"
    weights.touch()
    given = ["--layers", "8", "9", "--name=-b c", "--no-baselines", "--deterministic", "--learning-rate", "1e-05"]
    given += ["--epochs", "3", "--weights", str(weights), "--seed", "5", "--run-dir", str(tmp_path / "run")]
    started = parse(SomeOptions, given)
    open_run("seer", "x", started, FACTS)
    resume = ["--resume", "--run-dir", str(tmp_path / "run")]
    assert parse(SomeOptions, resume) == dataclasses.replace(started, resume=True)
    assert parse(SomeOptions, [*resume, *given]) == dataclasses.replace(started, resume=True)
    longer = parse(SomeOptions, [*resume, "--epochs", "7"])
    open_run("seer", "x", longer, FACTS)
    assert parse(SomeOptions, resume).epochs == 7
    for other in (["--seed", "1"], ["--layers", "8"], ["--baselines"], ["--no-deterministic"]):
        with pytest.raises(UserError, match="was started with"):
            open_run("seer", "x", parse(SomeOptions, [*resume, *other]), FACTS)


@pytest.mark.parametrize("wrong", [{"seed": "x"}, {"layers": ["y"]}, {"precision": 3}, {"weights": ["/no/such"]}])
def test_resume_with_damaged_options_is_told(tmp_path, wrong):
    (tmp_path / "options.json").write_text(json.dumps({"options": wrong}))
    with pytest.raises(UserError, match=r"--resume, with the options in .*options\.json: "):
        parse(SomeOptions, ["--resume", "--run-dir", str(tmp_path)])


def test_a_full_disk_ends_in_one_line(monkeypatch, capsys):
    def main(options):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/checkpoint.npz")

    monkeypatch.setattr("sys.argv", ["script"])
    with pytest.raises(SystemExit) as stop:
        run_script(main, TrainingOptions)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: runs/x/checkpoint.npz: No space left on device") and err.count("\n") == 1
