"""Continue listening sessions, and foretell their skips, with trained session transformers."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from common import console
from common.command import run_script
from common.options import OptionalPath, UserError, require
from common.session_text import read_session_texts
from common.vocabulary import read_vocabulary
from session_transformers.heard import EXPECTED, SKIPPED, Heard, from_log, from_texts
from session_transformers.kinds import HALF, PAD, Task
from session_transformers.sessions.halves import Halves
from session_transformers.settings import AnyArchitecture
from session_transformers.stored import WEIGHTS, load_model, read_architecture

if TYPE_CHECKING:  # imported late: a mistake in the options or the sessions is reported without waiting for TensorFlow
    from session_transformers.fitting import AnyNetwork

TRAIN = "session_transformers/train.py"
BLOCK = 256
"""Sessions that are continued at a time."""
_HEADS = {"probability": "probability", "skip_probability": "chance of a skip"}
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
    track_ids = read_vocabulary(options.run_dir)
    architecture = read_architecture(options.run_dir, len(track_ids))
    check(options, architecture)
    if options.skip_run:
        _check_beside(options.skip_run, track_ids)
    skips_only = architecture.task == "skip"
    if texts is None:
        assert options.log is not None
        heard = from_log(options.log, track_ids, with_following=skips_only)
    else:
        heard = from_texts(texts, options.next, track_ids)
        if heard.halves.skips.any() and architecture.skip_input == "none" and not options.skip_run:
            console.notify(f"the model in {options.run_dir} does not look at what was skipped")
    model = load_model(options.run_dir / WEIGHTS, len(track_ids))
    skip_model = load_model(options.skip_run / WEIGHTS, len(track_ids)) if options.skip_run else None
    names = name_tracks(track_ids, architecture)
    if skips_only:
        told = [{"next": tracks} for tracks in skips_of(model, heard.halves, names)]
    else:
        told = continuations(model, skip_model, heard.halves, names, options)
    found = {"sessions": [described | one for described, one in zip(_described(heard, names), told, strict=True)]}
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


def check(options: RecommendOptions, architecture: AnyArchitecture) -> None:
    """Refuse what the run of this architecture cannot answer.

    Raises:
        UserError: it is a pre-trained BERT, or an option is of the other task.
    """
    run, task = options.run_dir, architecture.task
    require(
        architecture.model != "bert",
        f"--run-dir {run}: a BERT that is only pre-trained cannot continue sessions; fine-tune it with "
        f"`python {TRAIN} --model bert-finetuned --bert {run}` and name that run",
    )
    _check_leak(f"--run-dir {run}", architecture)
    if task == "seq":
        require(not options.next, f"--next is for a run of --task skip; {run} is one of --task seq")
        return
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


def _check_beside(folder: Path, track_ids: list[str]) -> None:
    """The skip run must know the same tracks by the same ids."""
    theirs = read_vocabulary(folder)
    architecture = read_architecture(folder, len(theirs))
    _check_leak(f"--skip-run {folder}", architecture)
    found: Task = architecture.task
    require(found == "skip", f"--skip-run {folder}: is a run of --task {found}; name one of --task skip")
    require(theirs == track_ids, f"--skip-run {folder}: was trained on other tracks than the run in --run-dir")


def _check_leak(where: str, architecture: AnyArchitecture) -> None:
    require(
        architecture.task == "seq" or not getattr(architecture.switches, "label_leak", False),
        f"{where}: its decoder starts from the last true skip of the second half (label_leak), which is not known here",
    )


def name_tracks(track_ids: list[str], architecture: AnyArchitecture) -> list[str]:
    """What to call each id: released models may predict ids that are no tracks."""
    special = {PAD: "(padding)", architecture.ids.mask: "(mask)"}
    return [name or special.get(token, "(skip)") for token, name in enumerate(track_ids)]


def skips_of(model: AnyNetwork, halves: Halves, names: list[str]) -> list[list[dict[str, Any]]]:
    """The tracks of each second half and the chance that each is skipped.

    Raises:
        UserError: a chance is not finite.
    """
    from session_transformers.testing import Tester

    chances = Tester(model, jit=False).skip_chances(halves)
    return [
        [
            {"track": names[token], "skip_probability": float(one)}
            for token, one in zip(row, chance, strict=True)
            if token
        ]
        for row, chance in zip(halves.target.tolist(), _finite(chances), strict=True)
    ]


def continuations(
    model: AnyNetwork, skip_model: AnyNetwork | None, halves: Halves, names: list[str], options: RecommendOptions
) -> list[dict[str, Any]]:
    """The continuations of each first half, the most probable first.

    Raises:
        UserError: a probability is not finite, or there are more beams than tracks.
    """
    from session_transformers.decoding import continue_sessions
    from session_transformers.testing import search_of

    search = search_of(model, options.beam, options.forbid_repeats)
    search.compile(jit_compile=len(halves) > BLOCK)  # for few sessions compiling would take longer than searching
    told_skips = halves.source_skips.astype(np.int32) if model.architecture.skip_input != "none" else None
    found = continue_sessions(search, halves.source, told_skips, batch_size=BLOCK)
    logs = _finite(found.log_probabilities)
    chances = _skips_of_continued(skip_model, halves, found.tokens) if skip_model is not None else None
    told = []
    for session, beams in enumerate(found.tokens):
        listed = []
        for beam, tokens in enumerate(beams.tolist()):
            log = logs[session, beam]
            tracks = [
                {"track": names[token], "probability": float(np.exp(one))}
                | ({} if chances is None else {"skip_probability": float(chances[session, beam, place])})
                for place, (token, one) in enumerate(zip(tokens, log, strict=True))
            ]
            listed.append({"log_probability": float(log.sum(dtype=np.float64)), "tracks": tracks})
        told.append({"continuations": listed})
    return told


def _skips_of_continued(model: AnyNetwork, halves: Halves, tokens: np.ndarray) -> np.ndarray:
    """(sessions, beams, 10) the chance of a skip for each of ``tokens``, which continue the first halves."""
    from session_transformers.testing import Tester

    beams = tokens.shape[1]
    source, skips = (np.repeat(array, beams, axis=0) for array in (halves.source, halves.source_skips))
    continued = tokens.reshape(-1, HALF)
    whole = Halves(np.concatenate([source, continued], axis=1), np.concatenate([skips, 0 * skips], axis=1))
    return _finite(Tester(model, jit=False).skip_chances(whole)).reshape(tokens.shape)


def _finite(values: np.ndarray) -> np.ndarray:
    require(bool(np.isfinite(values).all()), "the model's scores are not finite: its training has diverged")
    return values


def _described(heard: Heard, names: list[str]) -> list[dict[str, Any]]:
    """What was heard of each session, as JSON."""
    halves = heard.halves
    return [
        {
            "session": session,
            "heard": [
                {"track": names[token], "skipped": bool(skip)} for token, skip in zip(row, marks, strict=True) if token
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
    rows = [[str(n), one["track"], *(f"{one[name]:.4f}" for name in names)] for n, one in enumerate(tracks, 1)]
    console.print_table("", ["", "track", *(_HEADS[name] for name in names)], rows)


if __name__ == "__main__":
    run_script(main, RecommendOptions)
