"""Every command in the pages is one that works: read as its script reads it, and run on tiny data, here or by the test
that ``ONLY_READ`` of ``quick_scripts.py`` names.

Options are added that make it quick: of an option that is given twice the last one counts. What stands for something of
the user's (FOLDER, ID, ``<run>``) is filled in. A script that is neither in ``SCRIPTS`` nor in ``ELSEWHERE`` of
``quick_scripts.py`` fails here until somebody says how to run it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import keras
import pytest
import tensorflow as tf

from common.command import parse
from common.options import PROJECT, UserError
from conftest import GOLDEN
from tests.contract_test import NOISE
from tests.page_commands import MAKEFILE, Command, all_commands
from tests.quick_checkout import Checkout, fill
from tests.quick_scripts import SCRIPTS, elsewhere, inserted, only_read, quickened

COMMANDS = all_commands()


def of(program: str) -> pytest.MarkDecorator:
    commands = [one for one in COMMANDS if one.words[0] == program and not one.tf_config]
    return pytest.mark.parametrize("command", commands, ids=str)


def read_options(command: Command, arguments: Sequence[str]) -> None:
    """Parse a command line while its script is ``__main__``, where the types of its options are looked up."""
    with (
        mock.patch("common.command.run_script", lambda main, options: parse(options, arguments)),
        mock.patch.object(sys, "path", [str((PROJECT / command.script).parent), str(PROJECT), *sys.path]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(SystemExit),  # of --help
    ):
        try:
            runpy.run_path(str(PROJECT / command.script), run_name="__main__")
        except UserError as error:
            pytest.fail(f"{command}: {error}")


def run_code(command: Command) -> None:
    """Run what ``python -c`` is given: the one call that does all, made quick."""
    from audiotext import MusicRecommender

    quick = {"epochs": 1, "factors": 4, "jobs": 1, "text_units": (8, 8), "baselines": False, "deterministic": True}
    init = functools.partialmethod(MusicRecommender.__init__, run_dir="made/code", **quick)
    with mock.patch.object(MusicRecommender, "__init__", init), contextlib.redirect_stdout(io.StringIO()) as out:
        exec(command.arguments[0], {})
    assert "Recommended songs" in out.getvalue() and Path("made/code/track_recommendations.tsv").is_file(), command


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """The current folder, in which tracing TensorFlow's functions would take longer than all else."""
    folder = tmp_path_factory.mktemp("checkout")
    fill(folder, GOLDEN)
    tf.config.run_functions_eagerly(True)
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, ENCORE_DATA=str(folder / "data")),
    ):
        yield Checkout()
    tf.config.run_functions_eagerly(False)
    keras.config.set_dtype_policy("float32")


@of("python")
def test_a_command_is_read_and_runs(command: Command, checkout: Checkout) -> None:
    if elsewhere(command):
        script = PROJECT / command.script
        if script.is_file() and "run_script(" in script.read_text("utf-8"):
            read_options(command, command.arguments)
        return
    if command.script == "-c":
        run_code(command)
        return
    assert command.script in SCRIPTS, f"{command}: say how to run it, or where it is tested, in tests/quick_scripts.py"
    how, given = SCRIPTS[command.script], checkout.arguments(command)
    read_options(command, given)
    if only_read(command):
        return
    arguments, into = quickened(command.script, given), checkout.results_of(command)
    named = Path(given[given.index(how.into) + 1]) if how.into in given else None
    if named and not named.exists():
        into = named
    elif how.into:
        arguments = inserted(arguments, [how.into, str(into)])
    status, out, err = checkout.run(command.script, arguments)
    assert status == 0 and not any(word in err for word in (*NOISE, "Warning")), f"{command}: {status}, {err}"
    if "--help" not in given:
        assert how.prints in out and (not how.leaves or list(into.glob(how.leaves))), f"{command}: {out}"


@of("make")
def test_what_is_made_has_a_rule(command: Command) -> None:
    """The rules install, or take minutes; the steps of the demo are commands above, test and lint are what CI runs."""
    targets = [word for word in command.words[1:] if "=" not in word]
    variables = [word.partition("=")[0] for word in command.words[1:] if "=" in word]
    assert targets and all(re.search(rf"^{target}:.*## ", MAKEFILE, re.MULTILINE) for target in targets), command
    assert all(f"$({name})" in MAKEFILE for name in variables), command


@of("pip")
def test_what_is_installed_is_there(command: Command) -> None:
    """Installing needs the network; files, extras and packages are looked for."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {re.split(r"[^\w-]", name)[0] for name in project["dependencies"]}
    assert command.words[1] == "install", command
    for word in command.words[2:]:
        extras = re.fullmatch(r"\.\[([\w,-]+)\]", word)
        known = word in ("-r", "-e") or (PROJECT / word).is_file() or re.split(r"[^\w-]", word)[0] in names
        assert set(extras[1].split(",")) <= set(project["optional-dependencies"]) if extras else known, command


def test_two_workers_are_started_as_in_the_test_of_two_workers() -> None:
    """``tests/multiworker_test.py`` runs two processes; the example is only read."""
    workers = [one for one in COMMANDS if one.tf_config]
    configs = [json.loads(one.tf_config) for one in workers]
    assert sorted(config["task"]["index"] for config in configs) == [0, 1]
    for one, config in zip(workers, configs, strict=True):
        assert config["task"]["type"] == "worker" and len(config["cluster"]["worker"]) == 2
        assert {"--distribute", "multiworker", "--run-dir"} <= set(one.arguments)
        read_options(one, one.arguments)


def test_there_are_no_other_programs() -> None:
    """Nobody would run them."""
    assert {one.words[0] for one in COMMANDS} == {"python", "make", "pip"}
