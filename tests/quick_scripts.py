"""How each script of the pages is run in a moment, and what stands for what a page leaves to the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.contract_test import COPY, PAPERS, TINY
from tests.page_commands import Command

ELSEWHERE = {
    "benchmarks": "measures for minutes; tests/benchmarks_test.py runs what is quick",
    "faults": "kills trainers and damages files for hours",
    "mypaper": "does not exist yet; tests/contract_test.py copies the template under this name and runs it",
    "common/pages.py": "tests/results_test.py writes the tables of all pages",
    "common/results.py": "runs for hours; common/results_test.py runs tiny tables",
    "comparisons/next_track.py": "trains models of two papers; comparisons/next_track_test.py runs it with small ones",
    "seer/sample.py": "composes 150 songs; seer/sample_test.py does so",
    "pytest": "the tests do not run themselves",
    "import tensorflow; ": "prints the GPUs that TensorFlow sees",
}
"""Scripts that are not run here, their folders, or what they are asked for, and why; their options are read all the
same."""
ONLY_READ = {
    "audiotext/train.py": {"--data-dir": "audiotext/train_test.py, every network"},
    "common/tune.py": {
        "--": "common/tune_test.py, options after the dashes",
        "session_transformers/skip-transformer": "tests/search_spaces_test.py, trainers take what spaces hold",
    },
    "dtnmr/run.py": {
        "--protocol": "dtnmr/train_test.py, released weights; dtnmr/golden_test.py",
        "--rating": "dtnmr/training_test.py, every rating and loss",
    },
    "gru4rec/run.py": {
        "--preset": "common/presets_test.py, what a preset sets; gru4rec/golden_test.py, the losses",
        "--weights": "gru4rec/train_test.py, official weights",
    },
    "gru4rec/train.py": {"--preset": "common/tune_test.py, the preset that a search of GRU4Rec leaves is taken"},
    "seer/recommend_explain.py": {
        "--user_number 12": "seer/recommend_explain_test.py, a fresh checkout",
        "--ratings": "seer/recommend_explain_test.py, a new user; ratings under any name",
        "--weights": "seer/recommend_explain_test.py, the released table",
    },
    "seer/train.py": {
        "--protocol": "seer/train_test.py, released weights and training from them",
        "--data-dir": "seer/train_test.py, everywhere",
        "--sequence-length": "seer/train_test.py, its tiny run",
    },
    "session_transformers/compare.py": {"--seeds": "here without it: of one seed, as this one would be"},
    "session_transformers/train.py": {
        "--protocol": "session_transformers/train_test.py, every model by both protocols",
        "--bert": "session_transformers/train_test.py, every model by both protocols",
        "--data-dir": "session_transformers/train_test.py, everywhere",
    },
}
"""Script -> an option, or all that a command gives it -> the test that runs such a command to its end. Here its options
are read: nothing else differs from a command of the same script that is run here."""
QUICK = ("--epochs", "1", "--no-baselines", "--deterministic")
SMALL: dict[str, tuple[str, ...]] = {paper: TINY[paper][1] for paper in PAPERS} | {"template": TINY[COPY][1]}
SMALL["audiotext"] = ("--text-units", "8", "8", "--filters", "4", "4", "4", "4", "--fusion-units", "8")
SMALL["audiotext"] += ("--jobs", "1", "--factors", "4")
SMALL["seer"] += ("--batch-size", "2000")  # fewer steps of the golden data
TRAINERS = {f"{paper}/{name}.py" for paper in SMALL for name in ("train", "run")}


@dataclass(frozen=True)
class Script:
    """How a script is made quick, which option names its folder of results, and what it leaves there and prints."""

    quick: tuple[str, ...] = ()
    into: str = ""
    leaves: str = ""
    prints: str = ""


SCRIPTS = {
    **{name: Script(QUICK + SMALL[name.split("/")[0]], "--run-dir", "metrics.json", "Written to") for name in TRAINERS},
    "seer/preprocess.py": Script(prints="Prepared in"),
    "seer/recommend_explain.py": Script(("--no-audio", "--top-k", "1"), "--output", "index.html", "rating"),
    "seer/experiments.py": Script(
        ("--epochs", "1", "--seeds", "1", "--variant", "dot", *SMALL["seer"], "--deterministic"), "--run-dir", "*.json"
    ),
    "gru4rec/preprocess.py": Script(prints="Prepared in"),
    "gru4rec/recommend.py": Script(prints="After"),
    "session_transformers/compare.py": Script(
        ("--seeds", "1", "--epochs", "1", "--models", "transformer"), "--out", "*.md", "no reference"
    ),
    "session_transformers/recommend.py": Script(prints="track"),
    "dtnmr/preprocess.py": Script(prints="Prepared in"),
    "dtnmr/sample.py": Script(("--users", "60", "--songs", "300"), "--out", "train.csv", "training plays"),
    "dtnmr/recommend.py": Script(prints="score"),
    "audiotext/preprocess.py": Script(("--jobs", "1", "--factors", "4"), "--out", "prepared.json", "dlrs-data in"),
    "audiotext/recommend.py": Script(prints="score"),
    "template/preprocess.py": Script(prints="to train"),
    "template/recommend.py": Script(prints=" s0"),
    "common/report.py": Script(into="--out", leaves="report.md"),
    "common/mssd/sample.py": Script(
        ("--sessions", "240", "--tracks", "100", "--days", "4"), "--out", "tf_0.csv", "synthetic"
    ),
    "common/tune.py": Script(("--trials", "1", "--epochs", "1"), "--out", "preset.json"),
}
FILLED = {
    ("--from-midi", "FOLDER"): "MIDI_FOLDER",
    ("--triplets", "FILE"): "train_triplets.txt",
    ("--songs", "FILE"): "songs.csv",
    ("--new-songs", "FILE.csv"): "new_songs.csv",
    ("--preset", "runs/gru4rec/tune-official/preset.json"): "preset.json",
    ("--user_number", "1000"): "100",  # there are 200
    ("--out", "FOLDER"): "made/{number}",
    ("--data-dir", "FOLDER"): "given/{paper}",
    ("--db", "FOLDER"): "given/{paper}",
}
"""What is given for a word after an option. Files that a page names by a name lie where the tests run."""


def elsewhere(command: Command) -> bool:
    """Whether a name in ``ELSEWHERE`` is the script's or its folder's, or begins what it is given."""
    names = (command.script, command.script.split("/")[0], *command.arguments)
    return any(name == word or (name[-1] == " " and word.startswith(name)) for word in names for name in ELSEWHERE)


def only_read(command: Command) -> bool:
    """Whether another test runs such a command to its end, see :data:`ONLY_READ`."""
    entries = ONLY_READ.get(command.script, {})
    return any(entry in command.arguments or entry == " ".join(command.arguments) for entry in entries)


def quickened(script: str, arguments: Sequence[str]) -> list[str]:
    """The arguments and those that make them quick, which come last and so count; weights have their own sizes."""
    quick: Sequence[str] = SCRIPTS[script].quick
    if script in TRAINERS and "--weights" in arguments:
        quick = QUICK[2:] + (SMALL["dtnmr"] if script.startswith("dtnmr/") else ())  # which does not ask the file
    elif script == "seer/preprocess.py" and "--from-midi" in arguments:
        quick = ("--min-songs", "2", "--workers", "1")
    return inserted(arguments, quick)


def inserted(arguments: Sequence[str], more: Sequence[str]) -> list[str]:
    """The arguments with more behind them, but before those that a script hands on."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return [*arguments[:place], *more, *arguments[place:]]
