"""Presets: by name and from a file, what wins over what, and mistakes in them."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from common.command import parse
from common.options import TrainingOptions, UserError
from common.presets import preset_in
from common.rundir import open_run


@dataclass(frozen=True)
class Inner:
    """Of a part."""

    gamma: float = 0.9
    """x."""


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Of a script with presets of its own."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"small": {"layers": (8, 4), "seed": 3}}
    layers: tuple[int, ...] = ()
    """x."""
    baselines: bool = True
    """x."""
    inner: Inner = field(default_factory=Inner)
    """x."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs == 7 and self.batch_size != 7:
            raise UserError("--epochs 7 needs --batch-size 7")


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "preset.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_what_is_given_wins_over_a_preset_and_that_over_the_defaults(file):
    assert parse(Options, ["--preset", "small"]) == Options(layers=(8, 4), seed=3, preset="small")
    found = parse(Options, ["--layers", "5", "--preset=small", "--epochs", "2"])
    assert (found.layers, found.seed, found.epochs) == ((5,), 3, 2)
    options = {"layers": [6], "baselines": False, "learning_rate": 0.25, "inner.gamma": 0.5, "precision": "float32"}
    path = file({"options": options, "found": "anywhere"})
    found = parse(Options, ["--preset", path, "--seed", "9"])
    assert found == Options(
        layers=(6,), baselines=False, learning_rate=0.25, inner=Inner(0.5), precision="float32", seed=9, preset=path
    )
    assert parse(Options, ["--baselines", "--preset", path]).baselines


def test_options_that_go_together_only_with_the_preset(file):
    path = file({"options": {"batch_size": 7}})
    assert parse(Options, ["--preset", path, "--epochs", "7"]).epochs == 7
    path = file({"options": {"epochs": 7}})
    assert parse(Options, ["--preset", path, "--batch-size", "7"]).epochs == 7


def test_the_last_preset_counts():
    assert preset_in(["--preset", "a", "--x", "--preset=b=c"]) == "b=c"
    assert preset_in(["--preset"]) is None and preset_in(["a", "--presets", "b"]) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"options": {"colour": "red"}}, "Unrecognized options: --colour"),
        ({"options": {"epochs": "many"}}, "--epochs"),
        ({"options": {"epochs": 1.5}}, "--epochs"),
        ({"options": {"epochs": True}}, "--epochs"),
        ({"options": {"epochs": [1, 2]}}, "2"),
        ({"options": {"epochs": -1}}, "--epochs is -1"),
        ({"options": {"epochs": 7}}, "--epochs 7 needs"),
        ({"options": {"baselines": "no"}}, "Unrecognized options: no"),
        ({"options": {"layers": ["x"]}}, "--layers"),
        ({"options": {"layers": None}}, "layers is None; expected a number"),
        ({"options": {"inner": {"gamma": 1}}}, "inner is {'gamma': 1}; expected a number"),
        ({"options": {"layers": [[1]]}}, "layers is"),
        ({"options": {"learning_rate": float("nan")}}, "--learning-rate is nan"),
        ({"options": {"run_dir": "x"}}, "run_dir is of a single run"),
        ({"options": {"preset": "small"}}, "preset is of a single run"),
        ({"options": {"run-dir": "x"}}, "run-dir is of a single run"),
        ({"options": {"Run-Dir": "x"}}, "Run-Dir is of a single run"),
        ({"options": {"help": True}}, "help is of a single run"),
        ({"options": {"h": True}}, "h is of a single run"),
        ({"options": {"resume": True}}, "resume is of a single run"),
        ({"options": {"no-resume": True}}, "no-resume is of a single run"),
        ({"options": {"tyro-write-completion": "bash"}}, "is no name of an option"),
        ({"options": {"": 1}}, "is no name of an option"),
        ({"options": {"seed 3 --run-dir": "x"}}, "is no name of an option"),
        ({"options": {"seed=3": "x"}}, "is no name of an option"),
        ({"options": {"layers": ["8", "--run-dir", "x"]}}, "'--run-dir', which would be an option of its own"),
        ({"options": {"layers": [8, "-h"]}}, "'-h', which would be an option of its own"),
        ({"options": {"layers": [8, "--"]}}, "'--', which would be an option of its own"),
        ({"options": [1]}, "expected an object"),
        ({}, "expected an object"),
        ([1], "expected an object"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("\0", "cannot be read as JSON"),
    ],
)
def test_a_mistake_in_the_file_names_it(content, message, file):
    path = file(content)
    with pytest.raises(UserError) as error:
        parse(Options, ["--preset", path])
    assert str(error.value).startswith(f"--preset {path}: ") and message in str(error.value), error.value


def test_a_mistake_on_the_command_line_is_not_the_presets(file):
    path = file({"options": {"batch_size": 7}})
    with pytest.raises(UserError, match=r"^(?!--preset).*--seed"):
        parse(Options, ["--preset", path, "--seed", "x"])
    with pytest.raises(UserError, match=r"^--preset is nothing; expected a JSON file of options, or one of small$"):
        parse(Options, ["--preset", "nothing"])
    with pytest.raises(UserError, match=r"^--preset is nothing; expected a JSON file of options$"):
        parse(TrainingOptions, ["--preset", "nothing"])
    with pytest.raises(UserError, match="--preset"):
        parse(Options, ["--preset"])


def test_a_run_goes_on_with_what_it_was_started_with_whatever_the_preset_says_now(file, tmp_path):
    path = file({"options": {"layers": [8], "baselines": False, "seed": 4}})
    started = parse(Options, ["--preset", path, "--baselines", "--run-dir", str(tmp_path / "run")])
    open_run("seer", "x", started, {})
    again = ["--resume", "--run-dir", str(tmp_path / "run")]
    file({"options": {"layers": [9], "baselines": False}})
    for arguments in (again, [*again, "--preset", path]):
        found = parse(Options, arguments)
        assert found == dataclasses.replace(started, resume=True)
        open_run("seer", "x", found, {})
