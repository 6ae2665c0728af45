"""Continue listening sessions, and foretell their skips, with trained session transformers."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from common import console
from common.command import run_script
from common.options import OptionalPath, UserError, require
from common.session_text import read_session_texts
from session_transformers.kinds import HALF
from session_transformers.open_sessions import EXPECTED, SKIPPED, OpenSessions, from_log, from_plays, plays_of
from session_transformers.recommender import SessionTransformer
from session_transformers.sessions.halves import Halves

TRAIN = "session_transformers/train.py"
_HEADS = {"probability": "probability", "skip_probability": "chance of a skip", "skipped": "skipped"}
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Ids = Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID ...", help_behavior_hint="")]


@dataclass(frozen=True)
class RecommendOptions:
    """Options of this script."""

    ids: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ID ...", help_behavior_hint="")] = ()
    """Tracks that have been heard, the oldest first; the last ten count. ID:skipped is one that was skipped. Default:
    those of --session-file or --log, or else of the standard input."""
    run_dir: OptionalPath = None
    """Folder of a run of session_transformers/train.py. Required. One of --task seq tells the ten next tracks, one of
    --task skip how likely given ones are skipped."""
    session_file: OptionalPath = None
    """Text file with a session in every line, tracks separated by tabs; without any tab, by spaces or commas."""
    log: OptionalPath = None
    """Log in the format of MSSD (log_*.csv, .csv.gz or an archive): the first half of each session was heard."""
    next: Ids = ()
    """With a run of --task skip: the tracks that come next, all ids after this option: the session stands before it.
    With --log: those of the second halves."""
    skip_run: OptionalPath = None
    """Beside a run of --task seq: folder of a run of --task skip on the same data. It foretells which of the continued
    tracks are skipped."""
    beam: int = 1
    """Continuations to keep while searching for the most probable one; all are shown. 1 is greedy."""
    forbid_repeats: Flag = False
    """Never continue with a track that the session has already."""
    json: Flag = False
    """Print JSON instead of tables."""

    def __post_init__(self) -> None:
        require(self.run_dir is not None, f"--run-dir is missing: name the folder of a run of {TRAIN}")
        for flag, folder in (("--run-dir", self.run_dir), ("--skip-run", self.skip_run)):
            require(folder is None or folder.is_dir(), f"{flag} {folder}: no such folder")
        for flag, file in (("--session-file", self.session_file), ("--log", self.log)):
            require(file is None or file.is_file(), f"{flag} {file}: no such file")
        given = sum(map(bool, (self.ids, self.session_file, self.log)))
        require(given <= 1, "tracks, --session-file and --log each give sessions; choose one of them")
        hint = "" if given or not self.next else f"; {_swallowed(self.next)}"
        require(len(self.next) <= HALF, f"--next names {len(self.next)} tracks; a second half has at most {HALF}{hint}")
        require(not (self.next and self.log), "--next and --log both tell what comes next; leave out one of them")
        require(1 <= self.beam <= 1000, f"--beam is {self.beam}; it must lie in 1..1000")


def main(options: RecommendOptions) -> dict[str, Any]:
    """Tell the ten next tracks of a session, or which of given ones are skipped, with a trained session transformer."""
    assert options.run_dir is not None
    texts = None if options.log else _read(options)
    model, where = SessionTransformer.load(options.run_dir), f"--run-dir {options.run_dir}"
    beside = SessionTransformer.load(options.skip_run) if options.skip_run else None
    skips_only = model.architecture.task == "skip"
    check(options, model, where)
    if beside:
        beside.require_foretells(f"--skip-run {options.skip_run}")
        same = beside.ids == model.ids
        require(same, f"--skip-run {options.skip_run}: was trained on other tracks than the run in --run-dir")
    if texts is None:
        assert options.log is not None
        heard = from_log(options.log, model.ids, with_following=skips_only)
    else:
        plays = [(name, plays_of(words)) for name, words in texts]
        heard = from_plays(plays, [options.next] if options.next else [], model.ids)
        if heard.halves.skips.any() and model.architecture.skip_input == "none" and not beside:
            console.notify(f"the model in {options.run_dir} does not look at what was skipped")
    told = skips_of(model, heard.halves) if skips_only else continuations(model, beside, heard.halves, options)
    found = {"sessions": [described | one for described, one in zip(_described(heard, model), told, strict=True)]}
    if options.json:
        console.say_json(found)
    else:
        for session in found["sessions"]:
            _print(session)
    return found


def _read(options: RecommendOptions) -> list[tuple[str, list[str]]]:
    try:
        return read_session_texts(options.ids, options.session_file, EXPECTED)
    except UserError as error:
        if not options.next or options.ids or options.session_file:
            raise
        raise UserError(f"{error}; {_swallowed(options.next)}") from None


def _swallowed(following: Sequence[str]) -> str:
    """What to do where --next may have taken the tracks that have been heard, too."""
    return (
        f"--next takes every id after it: name the session before it, as in ID ID --next {console.short(following[0])}"
    )


def check(options: RecommendOptions, model: SessionTransformer, where: str) -> None:
    """Refuse what the run cannot answer.

    Raises:
        UserError: it is a pre-trained BERT, or an option is of the other task.
    """
    run = options.run_dir
    if model.architecture.task == "seq":
        model.require_continues(where)
        require(not options.next, f"--next is for a run of --task skip; {run} is one of --task seq")
        return
    model.require_foretells(where)
    for flag, given in (
        ("--skip-run", options.skip_run),
        ("--beam", options.beam > 1),
        ("--forbid-repeats", options.forbid_repeats),
    ):
        require(not given, f"{flag} is for a run of --task seq; {run} is one of --task skip")
    require(
        bool(options.next or options.log),
        f"{run} is a run of --task skip: name the tracks whose skips it shall foretell with --next",
    )


def skips_of(model: SessionTransformer, halves: Halves) -> list[dict[str, Any]]:
    """The tracks of each second half, and the chance that each is skipped or, of a model that tells none, whether.

    Raises:
        UserError: a chance is not finite.
    """
    told = model.predictor.skips(halves)
    return [
        {"next": [{"track": model.name(token)} | _skip(one) for token, one in zip(row, skips, strict=True) if token]}
        for row, skips in zip(halves.target.tolist(), told.tolist(), strict=True)
    ]


def _skip(told: float | bool) -> dict[str, Any]:
    return {"skipped": told} if isinstance(told, bool) else {"skip_probability": told}


def continuations(
    model: SessionTransformer, beside: SessionTransformer | None, halves: Halves, options: RecommendOptions
) -> list[dict[str, Any]]:
    """The continuations of each first half, the most probable first, with the skips that ``beside`` foretells.

    Raises:
        UserError: a probability is not finite, or there are more beams than tracks.
    """
    found = model.predictor.continuations(halves, HALF, options.beam, options.forbid_repeats)
    skips = None if beside is None else _skips_of_continued(beside, halves, found.tokens)
    told = []
    for session, beams in enumerate(found.tokens):
        listed: list[dict[str, Any]] = []
        for beam, tokens in enumerate(beams.tolist()):
            tracks: list[dict[str, Any]] = [{"track": model.name(token)} for token in tokens]
            total = {}
            if found.log_probabilities is not None:
                logs = found.log_probabilities[session, beam]
                total = {"log_probability": float(logs.sum(dtype=np.float64))}
                for track, log in zip(tracks, logs, strict=True):
                    track["probability"] = float(np.exp(log))
            if skips is not None:
                for track, skip in zip(tracks, skips[session, beam].tolist(), strict=True):
                    track |= _skip(skip)
            listed.append(total | {"tracks": tracks})
        told.append({"continuations": listed})
    return told


def _skips_of_continued(model: SessionTransformer, halves: Halves, tokens: np.ndarray) -> np.ndarray:
    """(sessions, beams, 10) the skips of ``tokens``, which continue the first halves."""
    beams = tokens.shape[1]
    source, skips = (np.repeat(array, beams, axis=0) for array in (halves.source, halves.source_skips))
    continued = tokens.reshape(-1, HALF)
    whole = Halves(np.concatenate([source, continued], axis=1), np.concatenate([skips, 0 * skips], axis=1))
    return model.predictor.skips(whole).reshape(tokens.shape)


def _described(heard: OpenSessions, model: SessionTransformer) -> list[dict[str, Any]]:
    """What was heard of each session, as JSON."""
    halves = heard.halves
    return [
        {
            "session": session,
            "heard": [
                {"track": model.name(token), "skipped": bool(skip)}
                for token, skip in zip(row, marks, strict=True)
                if token
            ],
        }
        for session, row, marks in zip(heard.names, halves.source.tolist(), halves.source_skips.tolist(), strict=True)
    ]


def _print(session: dict[str, Any]) -> None:
    heard = " ".join(one["track"] + SKIPPED * one["skipped"] for one in session["heard"])
    console.say(f"{session['session']}: after {heard}")
    beams = session.get("continuations", [])
    _print_tracks(beams[0]["tracks"] if beams else session["next"])
    for number, beam in enumerate(beams if len(beams) > 1 else [], 1):
        tracks = " ".join(one["track"] for one in beam["tracks"])
        console.say(f"beam {number}, log-probability {beam['log_probability']:.3f}: {tracks}")


def _print_tracks(tracks: list[dict[str, Any]]) -> None:
    names = [name for name in tracks[0] if name in _HEADS]
    rows = [[str(n), one["track"], *(_text(one[name]) for name in names)] for n, one in enumerate(tracks, 1)]
    console.print_table("", ["", "track", *(_HEADS[name] for name in names)], rows)


def _text(value: float | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.4f}"


if __name__ == "__main__":
    run_script(main, RecommendOptions)
