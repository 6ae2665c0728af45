"""The commands that the tables of the pages are made with: their options are still options of those scripts."""

import shlex

import pytest

from audiotext.options import AudioTextOptions
from common.command import parse
from common.options import PROJECT
from common.pages import declared
from comparisons.next_track import NextTrackOptions
from dtnmr.options import DtnmrOptions
from gru4rec.options import GruOptions
from seer.experiments import Command
from seer.options import SeerOptions
from session_transformers.compare import CompareOptions
from session_transformers.options import SessionOptions

OPTIONS = {
    "audiotext/train.py": AudioTextOptions,
    "comparisons/next_track.py": NextTrackOptions,
    "dtnmr/run.py": DtnmrOptions,
    "gru4rec/run.py": GruOptions,
    "seer/experiments.py": Command,
    "seer/train.py": SeerOptions,
    "session_transformers/compare.py": CompareOptions,
    "session_transformers/train.py": SessionOptions,
}


def commands():
    """Every command of every ``results.toml``, with the options that common.results adds."""
    for path in sorted(PROJECT.glob("*/results.toml")):
        for spec in declared(path.parent.name).values():
            if "command" in spec:
                yield spec["command"].replace("{out}", "folder")
            elif "script" in spec:
                rows = [about["args"] for about in spec["rows"].values() if "args" in about]
                yield from (f"{spec['script']} {args} --seed 1 --run-dir folder" for args in rows)


@pytest.mark.parametrize("command", list(commands()))
def test_options_exist(command):
    script, *arguments = shlex.split(command)
    assert parse(OPTIONS[script], arguments)
