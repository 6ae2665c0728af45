"""Command lines, mistakes in one line, files that are never half-written, the run directory."""

import dataclasses
import errno
import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from common.options import PROJECT, TrainingOptions, UserError, parse, replacing, run_script, write_json
from common.rundir import open_run, read_run, resumable, same_data


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
    code = "from common.options import TrainingOptions, run_script; run_script(print, TrainingOptions)"
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
        "from common.options import TrainingOptions, run_script\n"
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


# --- files ---------------------------------------------------------------------------------------------------------


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


# --- the run directory ---------------------------------------------------------------------------------------------

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


def test_a_full_disk_ends_in_one_line(monkeypatch, capsys):
    def main(options):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/checkpoint.npz")

    monkeypatch.setattr("sys.argv", ["script"])
    with pytest.raises(SystemExit) as stop:
        run_script(main, TrainingOptions)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: runs/x/checkpoint.npz: No space left on device") and err.count("\n") == 1


def test_a_mistake_is_a_value_error_and_its_words_stay_as_they_are():
    with pytest.raises(ValueError, match=r"^--epochs is -1; it must be 0 or more$"):
        parse(TrainingOptions, ["--epochs", "-1"])
