"""The recommender SessionTransformer: what is particular to it, for Python and the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from common.arrays import DAMAGE
from common.checkpoint import read_npz
from common.mssd.files import find_mssd
from common.options import UserError, replacing, require
from common.paper import WEIGHTS
from common.recommender import Description, Recommender, Told, as_in_python
from common.reporting.run_metrics import deviation_words
from common.sources import Dataset
from common.vocabulary import digest, read_vocabulary, save_vocabulary
from session_transformers import tables
from session_transformers.kinds import HALF, PAD, Ids
from session_transformers.open_sessions import OpenSessions, asked, from_plays, upcoming_of
from session_transformers.options import SessionOptions
from session_transformers.paper import (
    CANDIDATE_COLUMNS,
    CANDIDATE_NOTE,
    LEAK_NOTE,
    MASKED_COLUMNS,
    NOTE,
    PAPER,
    SKIP_COLUMNS,
    TRACK_COLUMNS,
)
from session_transformers.preprocess import SequenceData, load_dataset, load_sample
from session_transformers.sessions.halves import Halves
from session_transformers.weights import OfRun, read_architecture

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    from common.checkpoint import Progress
    from common.evaluation import Evaluation, Measured
    from session_transformers.evaluation import Outcome
    from session_transformers.predictors import Judged, Predictor

TRAINING = "training.npz"
"""The sessions that a model learnt from, where they are in no dataset: the baselines learn from them, too."""
TRAIN = "session_transformers/train.py"


class SessionTransformer(Recommender[SessionOptions, SequenceData]):
    """The second half of a listening session: its tracks, or which of them are skipped (Khan, Cui, Arora 2020).

    >>> SessionTransformer(model="lstm", task="skip", units=64)
    SessionTransformer(task='skip', model='lstm', units=64)
    """

    options_type = SessionOptions
    _predictor: Predictor | None = None
    _folder: Path | None = None
    _integers: bool = False
    _judged: Judged | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._outcomes: dict[str, Outcome] = {}

    @property
    def description(self) -> Description:
        options = self.settings or self.options
        columns: Sequence[str] = TRACK_COLUMNS
        ranking = "all tracks of the vocabulary"
        if options.model == "bert":
            columns, ranking = MASKED_COLUMNS, "at each masked place all tracks of the vocabulary"
        elif options.task == "skip":
            columns, ranking = SKIP_COLUMNS, "none: of each track it is told whether it is skipped"
        elif options.model == "ddpg":
            columns, ranking = CANDIDATE_COLUMNS, "all tracks of the vocabulary; *_of_100: the track and 99 drawn ones"
        return Description(
            folder="session_transformers",
            title="Session transformers",
            citation="Khan, Cui, Arora: Sequential Sessions Based Music Recommendations Using Deep Learning (2020)",
            columns=columns,
            split="by session id, drawn once; no session in two parts",
            ranking=ranking,
        )

    # The verbs.

    def fit(  # type: ignore[override]  # here the columns have names
        self,
        data: Any = None,
        validation: Any = None,
        run_dir: str | Path | None = None,
        resume: bool = False,
        *,
        session: str | None = None,
        item: str | None = None,
        time: str | None = None,
        skipped: str | None = None,
        verbose: bool = False,
    ) -> Self:
        """Learn from plays, each of a track in a session; see :meth:`common.recommender.Recommender.fit`.

        Args:
            data: see there; a table has a session and a track in each row, see
                :func:`session_transformers.tables.read_plays`.
            validation: see there.
            run_dir: see there.
            resume: see there.
            session: name of the column of session ids, if it is none of
                :data:`session_transformers.tables.USUAL_NAMES`.
            item: of track ids.
            time: of times, which order a session; without such a column the rows do.
            skipped: of what was skipped: true or false, or 1 or 0.
            verbose: say what is being done.
        """
        names = {"session": session, "item": item, "time": time, "skipped": skipped}
        return super().fit(data, validation, run_dir, resume, verbose=verbose, **names)

    def evaluate(  # type: ignore[override]
        self,
        data: Any = None,
        baselines: bool = True,
        *,
        session: str | None = None,
        item: str | None = None,
        time: str | None = None,
        skipped: str | None = None,
        verbose: bool = False,
    ) -> Evaluation:
        """Tell the second halves of sessions; see :meth:`common.recommender.Recommender.evaluate` and :meth:`fit`."""
        names = {"session": session, "item": item, "time": time, "skipped": skipped}
        return super().evaluate(data, baselines, verbose=verbose, **names)

    def recommend(self, sessions: Any, k: int = 10, exclude_seen: bool = False) -> pd.DataFrame:
        """The tracks most likely to come next, of a model of ``task="seq"``.

        Args:
            sessions: tracks of one session, the oldest first: ids, or pairs (id, whether it was skipped); or several
                sessions: a list of such lists, a mapping session -> tracks, or a data frame as for :meth:`fit`. Of more
                than ten tracks the last ten count.
            k: tracks for each session; fewer if there are no more.
            exclude_seen: leave out the tracks that the session has already.

        Returns:
            Columns ``rank`` (from 1), ``item`` and ``score``, best first; for several sessions before them ``session``,
            its key, or its place in the list. Equal scores stand in the order of the vocabulary.

        Raises:
            UserError: nothing was learnt yet, the model is one of skips, or a session has no track that the training
                data have. Single unknown tracks are passed over, with a warning.
        """
        self.require_fitted()
        require(type(k) is int and k >= 1, f"k is {k!r}; it must be a whole number, 1 or more")
        keys, plays = asked(sessions)
        with as_in_python(SessionOptions):
            self.require_continues("this model")
            heard = self.open_sessions(keys, plays)
            first = self.architecture.ids.first_track
            scores = np.array(self.predictor.scores(heard.halves)[:, first:])
            if exclude_seen:
                row, place = np.nonzero(heard.halves.source != PAD)
                scores[row, heard.halves.source[row, place] - first] = -np.inf
        rows = []
        for key, of_one in zip(keys or [None], scores, strict=True):
            best = [token for token in np.argsort(-of_one, kind="stable")[:k] if of_one[token] > -np.inf]
            rows += [(key, rank, self.ids[token + first], float(of_one[token])) for rank, token in enumerate(best, 1)]
        return self._frame(rows, ["session", "rank", "item", "score"], keys)

    def continue_session(
        self, sessions: Any, tracks: int = HALF, beams: int = 1, forbid_repeats: bool = False
    ) -> pd.DataFrame:
        """The tracks that follow one another, of a model of ``task="seq"``: each one is told from those before it.

        Args:
            sessions: see :meth:`recommend`.
            tracks: how many to tell, 1 to 10.
            beams: continuations to keep while searching for the most probable one; 1 is greedy.
            forbid_repeats: never continue with a track that the session has already.

        Returns:
            Columns ``position`` (from 1), ``item`` and ``probability`` (none of ``model="ddpg"``); with several beams
            before them ``beam`` (from 1), the most probable first; for several sessions first of all ``session``.

        Raises:
            UserError: as :meth:`recommend`; or there are fewer tracks than beams.
        """
        self.require_fitted()
        require(type(tracks) is int and 1 <= tracks <= HALF, f"tracks is {tracks!r}; it must lie in 1..{HALF}")
        require(type(beams) is int and 1 <= beams <= 1000, f"beams is {beams!r}; it must lie in 1..1000")
        keys, plays = asked(sessions)
        with as_in_python(SessionOptions):
            self.require_continues("this model")
            heard = self.open_sessions(keys, plays)
            told = self.predictor.continuations(heard.halves, tracks, beams, forbid_repeats)
        rows = []
        for one, key in enumerate(keys or [None]):
            for beam, tokens in enumerate(told.tokens[one].tolist()):
                logs = [np.nan] * len(tokens) if told.log_probabilities is None else told.log_probabilities[one, beam]
                for place, (token, log) in enumerate(zip(tokens, logs, strict=True), 1):
                    rows.append((key, beam + 1, place, self.name(token), float(np.exp(log))))
        frame = self._frame(rows, ["session", "beam", "position", "item", "probability"], keys)
        return frame.drop(
            columns=[*([] if beams > 1 else ["beam"]), *(["probability"] * (told.log_probabilities is None))]
        )

    def predict_skips(self, sessions: Any, upcoming: Any) -> pd.DataFrame:
        """Which of the upcoming tracks are skipped, of a model of ``task="skip"``.

        Args:
            sessions: see :meth:`recommend`; tell what was skipped so far.
            upcoming: the tracks that come next, 1 to 10 ids; for several sessions a list of such lists, or a mapping.

        Returns:
            Columns ``position`` (from 1), ``item``, ``skipped`` and ``probability`` (of a skip; none of the models
            ``autoencoder`` and ``ddpg``); for several sessions before them ``session``.

        Raises:
            UserError: as :meth:`recommend`; or the model is one of tracks.
        """
        self.require_fitted()
        keys, plays = asked(sessions)
        following = upcoming_of(upcoming, keys)
        with as_in_python(SessionOptions):
            self.require_foretells("this model")
            heard = self.open_sessions(keys, plays, following)
            told = self.predictor.skips(heard.halves)
        rows = []
        for one, key in enumerate(keys or [None]):
            for place, token in enumerate(heard.halves.target[one].tolist()):
                if token != PAD:
                    chance = float(told[one, place])
                    rows.append((key, place + 1, self.name(token), bool(chance > 0.5), chance))
        frame = self._frame(rows, ["session", "position", "item", "skipped", "probability"], keys)
        return frame if told.dtype.kind == "f" else frame.drop(columns="probability")

    def _frame(self, rows: Sequence[tuple[Any, ...]], columns: list[str], keys: Sequence[Any] | None) -> pd.DataFrame:
        frame = pd.DataFrame(rows, columns=columns)
        if self._integers:
            frame["item"] = frame["item"].astype(np.int64)
        return frame if keys is not None else frame.drop(columns="session")

    def open_sessions(
        self, keys: Sequence[Any] | None, plays: Sequence[Any], following: Sequence[Sequence[str]] = ()
    ) -> OpenSessions:
        """Sessions of Python as ids; see :func:`session_transformers.open_sessions.from_plays`."""
        names = ["the session"] if keys is None else [f"session {key}" for key in keys]
        return from_plays(list(zip(names, plays, strict=True)), following, self.ids, "upcoming")

    def require_continues(self, where: str) -> None:
        """Refuse to continue sessions with a model that cannot; ``where`` names it in the message."""
        found = self.architecture
        require(
            found.model != "bert",
            f"{where}: a BERT that is only pre-trained cannot continue sessions; fine-tune it with "
            f"`python {TRAIN} --model bert-finetuned --bert FOLDER` and name that run",
        )
        require(found.task == "seq", f"{where}: is one of --task skip, which tells no tracks; take one of --task seq")

    def require_foretells(self, where: str) -> None:
        """Refuse to foretell skips with a model that cannot; ``where`` names it in the message."""
        found = self.architecture
        require(found.task == "skip", f"{where}: is one of --task {found.task}; take one of --task skip")
        leaks = getattr(getattr(found, "switches", None), "label_leak", False)
        require(
            not leaks,
            f"{where}: its decoder starts from the last true skip of the second half (label_leak), which is not known "
            "here",
        )

    @property
    def architecture(self) -> OfRun:
        """What fixes the model's shapes and equations; of a loaded one it needs no TensorFlow."""
        if self._predictor is None and self._folder is not None:
            return read_architecture(self._folder, len(self.ids))
        return self.predictor.architecture

    @property
    def ids(self) -> list[str]:
        """The vocabulary: the track of each id, "" for the ids that are no tracks."""
        return self.training_data(whole=False).track_ids

    def name(self, token: int) -> str:
        """What to call an id: released models may predict ids that are no tracks."""
        special = {PAD: "(padding)", self.architecture.ids.mask: "(mask)"}
        return self.ids[token] or special.get(token, "(skip)")

    # Data.

    def read(
        self, options: SessionOptions, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[SessionOptions, Dataset, SequenceData]:
        options.require_bert()
        self._integers = False
        folder = Path(data) if isinstance(data, str | Path) and Path(data).is_dir() else None
        own = "validation: {} has a validation part of its own"
        if data is None:
            require(validation is None, own.format("a dataset"))
            return options, *load_dataset(options.data_dir, options.of_data)
        if isinstance(data, str) and data == "sample" and folder is None:
            require(validation is None, own.format("the sample"))
            dataset, found = load_sample(options.of_data)
            return dataclasses.replace(options, data_dir=dataset.raw), dataset, found
        if folder is not None and find_mssd(folder).logs:
            require(validation is None, own.format(f"the dataset in {folder}"))
            return dataclasses.replace(options, data_dir=folder), *load_dataset(folder, options.of_data)
        found = tables.prepare_tables(data, validation, options.of_data, reading)
        self._integers = tables.are_integers(data, reading.get("item"))
        return options, Dataset(Path(), Path(), tables.name_of(data), synthetic=False), found

    def tested_on(self, data: SequenceData, table: Any, reading: Mapping[str, Any]) -> SequenceData:
        return tables.tested_on(data, table, reading)

    def training_data(self, whole: bool) -> SequenceData:
        assert self.data is not None and self.settings is not None
        if whole and not len(self.data.train):  # of a loaded model
            _, found = load_dataset(self.settings.data_dir, self.settings.of_data)
            known = self.recorded["dataset"]
            require(
                found.fingerprint == known["fingerprint"],
                f"the dataset {known['name']} that the model learnt from is not there any more, or has changed; the "
                "baselines learn from it: evaluate(data, baselines=False) does without",
            )
            self.data = found
        return self.data

    def counts(self, data: SequenceData) -> dict[str, int]:
        counts = {"tracks": data.vocabulary_size - data.ids.first_track}
        return counts | {f"{part}_sessions": len(getattr(data, part)) for part in ("train", "validation", "test")}

    def tests(self, data: SequenceData) -> int:
        return int(data.test.target_mask.sum())

    def require_tested(self, data: SequenceData) -> None:
        require(len(data.test) > 0, "no test session is left: one needs two tracks or more that training knows")

    # Networks and training.

    @property
    def predictor(self) -> Predictor:
        """The model; that of a loaded one is read when it is needed, as that takes Keras."""
        if self._predictor is None:
            from session_transformers.predictors import load_predictor

            assert self._folder is not None
            self._predictor = load_predictor(self._folder / WEIGHTS, read_architecture(self._folder, len(self.ids)))
        return self._predictor

    @property
    def network(self) -> dict[str, Any]:
        """Functional models by name: ``whole``; of the auto-encoder ``encoder``, of DDPG ``actor`` and ``critic``."""
        self.require_fitted()
        return self.predictor.networks

    @property
    def kept(self) -> Any:
        return self.predictor.kept

    def build(self, data: SequenceData, weights: Path | None) -> None:
        from session_transformers.predictors import make_predictor

        assert self.settings is not None
        self._predictor, self._judged, self._outcomes = make_predictor(self.settings, data, weights), None, {}

    def train(self, data: SequenceData, run_dir: Path | None) -> Progress:
        """Train; the epoch of the lowest validation loss stays (of DDPG the best round), else the last."""
        from common import runtime

        assert self.settings is not None
        with runtime.strategy(self.settings.distribute).scope():
            return self.predictor.train(self.settings, data, run_dir)

    # What is measured.

    def measure(self, data: SequenceData) -> Measured:
        assert self.settings is not None
        self._judged = self.predictor.judge(self.settings, data.test)
        self._outcomes = {} if self._judged.outcome is None else {self.title(): self._judged.outcome}
        return self._judged.measured

    def measure_baselines(self, data: SequenceData) -> dict[str, Measured]:
        from session_transformers.baselines.comparison import skip_results, track_results

        options = self.settings
        assert options is not None
        if options.model == "bert":
            return {}
        if options.task == "skip":
            skips = skip_results(data.train, data.test, data.vocabulary_size)
            self._outcomes |= skips
            return {name: other.measured() for name, other in skips.items()}
        candidates = options.seed if options.model == "ddpg" else None
        rivals = self.predictor.rivals()
        found = track_results(data.train, data.test, data.vocabulary_size, data.ids, rivals, candidates)
        self._outcomes |= {name: other.free for name, other in found.items()}
        return {name: other.measured() for name, other in found.items()}

    # What is kept and told.

    def facts(self, data: SequenceData) -> dict[str, Any]:
        from session_transformers.predictors import described

        return {
            "architecture": described(self.predictor.architecture),
            "vocabulary": digest(data.track_ids),
            "integer_items": self._integers,
        }

    def keep(self, folder: Path) -> None:
        """Write the vocabulary, and the training sessions if they are in no dataset."""
        data = self.data
        assert data is not None
        save_vocabulary(folder, data.track_ids)
        if self.dataset is not None and self.dataset.raw == Path():
            with replacing(folder / TRAINING) as file:
                np.savez(file, tracks=data.train.tracks, skips=data.train.skips)

    def restore(self, folder: Path, data_dir: str | None) -> None:
        assert self.settings is not None
        self._folder = folder
        track_ids, described = read_vocabulary(folder), self.recorded.get("dataset", {})
        ids = read_architecture(folder, len(track_ids)).ids
        self._integers = bool(self.recorded.get("integer_items"))
        if data_dir:
            self.settings = dataclasses.replace(self.settings, data_dir=Path(data_dir))
        train = tables.none()
        if (folder / TRAINING).is_file():
            train = _read_training(folder / TRAINING, len(track_ids), ids)
            self.dataset = Dataset(Path(), Path(), str(described.get("name")), synthetic=False)
        known_as = str(described.get("fingerprint"))
        self.data = tables.of_parts(train, tables.none(), track_ids, ids, known_as=known_as)

    def title(self) -> str:
        options = self.settings
        assert options is not None
        words = deviation_words({"protocol": options.protocol, "deviations": options.deviations})
        return f"{options.model} ({', '.join(filter(None, [options.task, words]))})"

    def name_of_run(self, dataset: Dataset) -> str:
        options = self.settings or self.options
        released = "released-" if options.protocol == "released" else ""
        return f"{options.model}-{options.task}-{released}{dataset.name}"

    def told(self, data: SequenceData, folder: Path, found: Evaluation) -> Told:
        from common.report import Part

        options, judged, progress = self.settings, self._judged, self.progress
        assert options is not None and judged is not None and progress is not None
        bert, leaks = options.model == "bert", getattr(options.switches, "label_leak", False)
        positions = dict(self._positions())
        parts = []
        if not bert and deviation_words({"protocol": options.protocol, "deviations": options.deviations}):
            places = [str(place) for place in range(1, HALF + 1)]
            title = "Accuracy by position of the second half"
            parts.append(Part(positions, places, title, [LEAK_NOTE] if leaks else []))
        following: list[object] = ["session_transformers/recommend.py", "--run-dir", folder, "ID", "ID"]
        following += ["--next", "ID"] if options.task == "skip" else []
        return Told(
            details={
                "architecture": self.recorded["architecture"],
                **self.predictor.facts(progress),
                "by_position": judged.details,
                "positions": positions,
            },
            task=options.task,
            deviations=options.deviations,
            published={} if bert else PAPER[options.task],
            notes=[
                *self.predictor.notes(),
                *([] if bert else [NOTE]),
                *([CANDIDATE_NOTE] if self.description.columns == CANDIDATE_COLUMNS else []),
            ],
            parts=parts,
            following=[] if bert or leaks else following,
        )

    def _positions(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Row -> position -> share right there."""
        for row, outcome in self._outcomes.items():
            yield row, {str(place): value for place, value in enumerate(outcome.by_position().tolist(), 1)}


def _read_training(file: Path, vocabulary: int, ids: Ids) -> Halves:
    """The sessions in a file.

    Raises:
        UserError: it is damaged.
    """
    try:
        arrays = read_npz(file)
        tracks, skips = arrays["tracks"], arrays["skips"]
        whole = tracks.ndim == 2 and tracks.shape == skips.shape == (len(tracks), 2 * HALF)
        whole = whole and bool(((tracks == PAD) | ((tracks >= ids.first_track) & (tracks < vocabulary))).all())
    except DAMAGE as error:
        raise UserError(f"{file}: cannot be read ({error}); save the model again") from None
    require(whole, f"{file}: holds no sessions of the model's {vocabulary:,} ids; save the model again")
    return Halves(tracks.astype(np.int32, copy=False), skips.astype(np.uint8, copy=False))
