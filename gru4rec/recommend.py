"""Recommend the next items of a session with a trained GRU4Rec."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from common import console
from common.command import run_script
from common.options import OptionalPath, require
from common.session_text import read_session_texts
from gru4rec.recommender import GRU4Rec

EXPECTED = "expected item ids, a session per line"


@dataclass(frozen=True)
class RecommendOptions:
    """Options of this script."""

    ids: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ID ...", help_behavior_hint="")] = ()
    """Items of the session, the oldest first. Default: those of --session-file, or else of the standard input."""
    run_dir: OptionalPath = None
    """Folder of a run of gru4rec/train.py. Required."""
    session_file: OptionalPath = None
    """Text file with a session in every line, items separated by tabs; without any tab, by spaces or commas."""
    top_k: int = 20
    """Items to recommend (the papers evaluate 20)."""
    exclude_seen: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave out the items that the session already has."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of a table."""

    def __post_init__(self) -> None:
        require(self.top_k >= 1, f"--top-k is {self.top_k}; it must be 1 or more")
        require(self.run_dir is not None, "--run-dir is missing: name the folder of a run of gru4rec/train.py")
        require(bool(self.run_dir and self.run_dir.is_dir()), f"--run-dir {self.run_dir}: no such folder")
        require(
            not (self.ids and self.session_file), "items and --session-file both give sessions; leave out one of them"
        )
        require(
            self.session_file is None or self.session_file.is_file(),
            f"--session-file {self.session_file}: no such file",
        )


def main(options: RecommendOptions) -> dict[str, Any]:
    """Recommend the next items of a session, or of several, with a trained GRU4Rec."""
    assert options.run_dir is not None
    sessions = read_session_texts(options.ids, options.session_file, EXPECTED)
    answers = GRU4Rec.load(options.run_dir).answers(sessions, options.top_k, options.exclude_seen)
    found: dict[str, list[dict[str, Any]]] = {
        "sessions": [
            {
                "session": answer.session,
                "skipped": answer.skipped,
                "recommended": [{"item": item, "score": score} for item, score in answer.recommended],
            }
            for answer in answers
        ]
    }
    if options.json:
        console.say_json(found)
        return found
    for answer in answers:
        rows = [[str(rank), item, f"{score:.4f}"] for rank, (item, score) in enumerate(answer.recommended, 1)]
        console.print_table(f"After {' '.join(answer.session)}", ["", "item", "score"], rows)
    return found


if __name__ == "__main__":
    run_script(main, RecommendOptions)
