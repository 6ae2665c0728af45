"""Recommend the next items of a session with a trained GRU4Rec."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from common import console
from common.options import OptionalPath, require, run_script
from common.session_text import read_session_texts
from common.sessions import Sessions
from common.vocabulary import read_vocabulary
from gru4rec.stored import WEIGHTS, load_model

if TYPE_CHECKING:  # imported late: a mistake in the options or the sessions is reported without waiting for TensorFlow
    from gru4rec.model import GRU4Rec

EXPECTED = "expected item ids, a session per line"
BLOCK = 256
"""Sessions that are scored at a time."""


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


def next_scores(model: GRU4Rec, sessions: list[list[int]]) -> Iterator[np.ndarray]:
    """Scores of all items (items,) after each of the sessions, which are item numbers, none empty."""
    from gru4rec.evaluation import Evaluator

    wy, by = (np.asarray(model.named[name]) for name in ("Wy", "By"))
    evaluator = Evaluator(model, min(BLOCK, len(sessions)), jit=False)
    for start in range(0, len(sessions), BLOCK):
        block = sessions[start : start + BLOCK]
        # The last event of a session has no state of its own there, so each gets one more event, of no meaning.
        offsets = np.concatenate([[0], np.cumsum([len(session) + 1 for session in block])])
        items = np.concatenate([[*session, 0] for session in block]).astype(np.int32)
        extended = Sessions(items, offsets, np.zeros(len(block)))
        states = evaluator.states(extended)
        yield from states[offsets[1:] - 2] @ wy.T + by[:, 0]


def recommend(
    model: GRU4Rec, sessions: list[list[int]], top_k: int, exclude_seen: bool
) -> list[list[tuple[int, float]]]:
    """The best (item, score) of each session, best first, equal ones by item number.

    Raises:
        UserError: the scores are not finite.
    """
    found = []
    for session, scores in zip(sessions, next_scores(model, sessions), strict=True):
        require(bool(np.isfinite(scores).all()), "the model's scores are not finite: its training has diverged")
        if exclude_seen:
            scores[session] = -np.inf
        order = np.argsort(-scores, kind="stable")[: min(top_k, int(np.isfinite(scores).sum()))]
        found.append([(int(item), float(scores[item])) for item in order])
    return found


def known_items(sessions: list[tuple[str, list[str]]], numbers: dict[str, int]) -> list[list[int]]:
    """Item numbers of each session; unknown ids are named on stderr and skipped.

    Raises:
        UserError: a session has unknown ids only.
    """
    known = []
    for where, ids in sessions:
        unknown = [name for name in ids if name not in numbers]
        some = " ".join(map(console.short, unknown[:3])) + " ..." * (len(unknown) > 3)
        require(
            len(unknown) < len(ids),
            f"{where}: none of its items was in the training data: {some}",
        )
        for name in unknown:
            console.notify(f"{where}: item {console.short(name)} was not in the training data; it is skipped")
        known.append([numbers[name] for name in ids if name in numbers])
    return known


def main(options: RecommendOptions) -> dict[str, Any]:
    """Recommend the next items of a session, or of several, with a trained GRU4Rec."""
    assert options.run_dir is not None
    sessions = read_session_texts(options.ids, options.session_file, EXPECTED)
    ids = read_vocabulary(options.run_dir)
    numbers = {name: number for number, name in enumerate(ids)}
    known = known_items(sessions, numbers)
    model = load_model(options.run_dir / WEIGHTS, len(ids))
    best = recommend(model, known, options.top_k, options.exclude_seen)
    found: dict[str, list[dict[str, Any]]] = {
        "sessions": [
            {
                "session": [ids[item] for item in session],
                "skipped": [name for name in names if name not in numbers],
                "recommended": [{"item": ids[item], "score": score} for item, score in items],
            }
            for (_, names), session, items in zip(sessions, known, best, strict=True)
        ]
    }
    if options.json:
        console.say_json(found)
    else:
        for session in found["sessions"]:
            rows = [
                [str(rank), one["item"], f"{one['score']:.4f}"] for rank, one in enumerate(session["recommended"], 1)
            ]
            console.print_table(f"After {' '.join(session['session'])}", ["", "item", "score"], rows)
    return found


if __name__ == "__main__":
    run_script(main, RecommendOptions)
