"""The recommender DTNMR: what is particular to it, for Python and the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from common import console
from common.options import require
from common.paper import WEIGHTS
from common.recommender import Description, Recommender, Told, as_in_python
from common.sources import Dataset
from common.vocabulary import digest, read_vocabulary, save_vocabulary
from dtnmr.cold_start import Heard, Listener, artists_of, heard_by, listeners_of, with_later_plays, with_new_songs
from dtnmr.dataset import KkboxData, columns, read_data, save_data
from dtnmr.encoding import make_rows
from dtnmr.kkbox import USUAL_NAMES, kkbox_files
from dtnmr.options import RELEASED_ACCURACY, Architecture, DtnmrOptions
from dtnmr.preprocess import load_dataset, load_sample, prepare_tables

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    from common.checkpoint import Progress
    from common.evaluation import Evaluation, Measured
    from dtnmr.evaluation import Outcome, Scores, Task
    from dtnmr.model import Networks

CITATION = (
    "DTNMR (Zheng et al.: A Deep Temporal Neural Music Recommendation Model Utilizing Music and User Metadata, Applied "
    "Sciences 2019, 9(4), 703)"
)
NOTE = (
    "The paper's figures could not be found, and the released code reports none. next_*: the next song at every test "
    f"point, among all songs not heard before it; {RELEASED_ACCURACY}: label above four random songs."
)
SPLIT = "WSDM's by time; histories go on from training, pairs of user and song known from training are no test"
RELEASED_SPLIT = "WSDM's by time; playlists of the test file begin anew, without those of the training file"


def columns_of(cutoffs: Sequence[int]) -> tuple[str, ...]:
    """The figures that the table shows: the paper's six, NDCG, and the next song, at the middle cut-off.

    By the first one, MAP, the best baseline is chosen.
    """
    k = cutoffs[len(cutoffs) // 2]
    at = [f"{name}@{k}" for name in ("precision", "recall", "f")]
    more = [f"user_coverage@{k}", "auc", f"ndcg@{k}", "mrr", f"next_recall@{k}", "next_mrr", RELEASED_ACCURACY]
    return ("map", *at, *more)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is recommended to a listener."""

    user: str | None
    """Id; None of one who is not in the data."""
    heard: list[str]
    """Songs heard, without the unknown ones."""
    skipped: list[str]
    """Songs that the data do not have."""
    recommended: list[dict[str, Any]]
    """``song``, ``title`` (None if it has none), ``artists``, ``new`` (without a play in training) and ``score`` of
    each, best first."""


class DTNMR(Recommender[DtnmrOptions, KkboxData]):
    """The next songs of a user, from metadata of songs and users and what was heard (Zheng et al. 2019).

    >>> DTNMR(rating="mlp", mlp=[64, 32], epochs=5)
    DTNMR(epochs=5, rating='mlp', mlp=(64, 32))
    """

    options_type = DtnmrOptions
    mirrored = False
    _networks: Networks | None = None
    _weights: Path | None = None
    _integers: bool = False
    _task: Task | None = None
    _asked: KkboxData | None = None
    _outcomes: dict[str, Outcome]

    def fit(  # type: ignore[override]  # here further tables and columns have names
        self,
        data: Any = None,
        validation: Any = None,
        run_dir: str | Path | None = None,
        resume: bool = False,
        *,
        songs: Any = None,
        members: Any = None,
        user: str | None = None,
        song: str | None = None,
        verbose: bool = False,
    ) -> Self:
        """Learn from plays; see :meth:`common.recommender.Recommender.fit`.

        Args:
            data: a folder with KKBOX's files, ``"sample"``, or a table of plays with a user and a song in each row, the
                oldest play of a user first; perhaps with how each song was come by (``source_system_tab``).
            validation: not taken: the last ``validation_share`` of each user's examples choose the best epoch.
            run_dir: see there.
            resume: see there.
            songs: beside a table of plays: a table with the id of each song and its length in milliseconds, genres,
                artists, composers and language as far as they are known, several values with ``|`` between them.
            members: beside a table of plays: a table with the id of each user and age, gender and city as far as they
                are known. None: nothing is known of the users but what they have heard.
            user: name of the column of user ids, if it is none of :data:`dtnmr.kkbox.USUAL_NAMES`.
            song: of song ids.
            verbose: say what is being done.
        """
        tables = {"songs": songs, "members": members, "user": user, "song": song}
        return super().fit(data, validation, run_dir, resume, verbose=verbose, **tables)

    def evaluate(  # type: ignore[override]
        self,
        data: Any = None,
        baselines: bool = True,
        *,
        songs: Any = None,
        members: Any = None,
        user: str | None = None,
        song: str | None = None,
        verbose: bool = False,
    ) -> Evaluation:
        """Rank the songs that users play later; see :meth:`common.recommender.Recommender.evaluate`.

        Args:
            data: a table of later plays, a folder with KKBOX's files, whose test file is taken, or None: the test part
                of the dataset that was learnt from.
            baselines: measure the baselines too.
            songs: beside a table: metadata of songs that were not learnt from, which are ranked, too. Plays of songs
                that are not known are left out.
            members: the same of users.
            user: see :meth:`fit`.
            song: see :meth:`fit`.
            verbose: say what is being done.
        """
        tables = {"songs": songs, "members": members, "user": user, "song": song}
        return super().evaluate(data, baselines, verbose=verbose, **tables)

    def recommend(
        self,
        user: Any = None,
        k: int = 10,
        *,
        age: int | str | None = None,
        city: int | str | None = None,
        gender: str | None = None,
        history: Sequence[Any] = (),
        songs: Any = None,
    ) -> pd.DataFrame:
        """The songs that listeners are most likely to play next, of those they have not heard.

        Args:
            user: id of a user who was learnt from, or None, for somebody else. Several listeners: a list of ids and of
                dictionaries with the arguments of one, such as ``{"age": 30, "history": ["s1"]}``, or a data frame with
                a listener in each row.
            k: songs for each listener; fewer if there are no more.
            age: in years, of somebody else.
            city: of somebody else.
            gender: of somebody else.
            history: ids of songs heard, the oldest first; of a known user after those that were learnt from.
            songs: a table of songs that were not learnt from, to be ranked too, as of :meth:`fit`.

        Returns:
            Columns ``rank`` (from 1), ``item``, ``score``, ``title`` where songs have titles, and ``artist``, best
            first; for several listeners before them ``user``, the id, or the place in the list. Equal scores stand in
            the order of the songs.

        Raises:
            UserError: nothing was learnt yet, the user is not known, or nothing that is told of a listener is. Single
                unknown songs and values are passed over, with a warning.
        """
        self.require_fitted()
        require(isinstance(k, int) and k >= 1, f"k is {k!r}; it must be a whole number, 1 or more")
        told = {"age": age, "city": city, "gender": gender, "history": history}
        with as_in_python(Listener):
            keys, listeners = listeners_of(user, told)
            answers = self.answers(listeners, k, songs)
        titled = bool(self.training_data(whole=False).titles)
        rows = [
            (key, rank, one["song"], one["score"], *((one["title"],) if titled else ()), ", ".join(one["artists"]))
            for key, answer in zip(keys, answers, strict=True)
            for rank, one in enumerate(answer.recommended, 1)
        ]
        names = ["user", "rank", "item", "score", *(("title",) if titled else ()), "artist"]
        frame = pd.DataFrame(rows, columns=names)
        if self._integers:
            frame["item"] = frame["item"].astype(np.int64)
        return frame if keys != [None] else frame.drop(columns="user")

    def answers(self, listeners: Sequence[Listener], k: int, new_songs: Any = None) -> list[Answer]:
        """The best songs for listeners; what is not known of them is named on stderr.

        Raises:
            UserError: a user is not in the data, nothing that is told of a listener is known, or ``new_songs``, a table
                or file of songs to rank besides, is wrong.
        """
        known = self.training_data(whole=False)
        data = known if new_songs is None else with_new_songs(known, new_songs)
        found = heard_by(data, listeners)
        scores = self._scores(data, found)
        require(bool(np.isfinite(scores).all()), "the model's scores are not finite: its training has diverged")
        if np.ptp(scores) == 0:
            alike = "the model scores all songs alike, as its music network is dead: the order below means nothing"
            console.notify(alike)
        answers = []
        for listener, one, of_songs in zip(listeners, found, scores, strict=True):
            ranked = of_songs.astype(np.float64)
            ranked[one.songs] = -np.inf
            best = np.argsort(-ranked, kind="stable")[: min(k, int(np.isfinite(ranked).sum()))]
            recommended = [
                {
                    "song": data.song_ids[song],
                    "title": data.titles.get(data.song_ids[song]),
                    "artists": artists_of(data, song),
                    "new": bool(song >= known.songs or data.plays[song] == 0),
                    "score": float(of_songs[song]),
                }
                for song in best.tolist()
            ]
            heard = [data.song_ids[song] for song in one.songs]
            answers.append(Answer(listener.user, heard, one.skipped, recommended))
        return answers

    def _scores(self, data: KkboxData, asked: Sequence[Heard]) -> np.ndarray:
        """(n, songs): scores of all songs."""
        networks = self.networks
        from dtnmr.evaluation import Scorer

        rows = [make_rows([getattr(one, name) for one in asked]) for name in ("songs", "behaviours", "bits")]
        return np.asarray(Scorer(networks, data).scores(*rows), np.float32)

    # Data.

    def read(
        self, options: DtnmrOptions, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[DtnmrOptions, Dataset, KkboxData]:
        require(
            validation is None,
            "validation: DTNMR takes no table; the last validation_share of each user's examples choose the best epoch",
        )
        self._integers = False
        folder = Path(data) if isinstance(data, str | Path) and Path(data).is_dir() else None
        sample = isinstance(data, str) and data == "sample" and folder is None
        if data is None or sample or folder is not None:
            given = [name for name, value in reading.items() if value is not None]
            require(not given, f"{', '.join(given)}: belong to a table of plays; a dataset has files of its own")
        if sample:
            dataset, found = load_sample(options.of_data, options.protocol)
            return dataclasses.replace(options, data_dir=dataset.raw), dataset, found
        if data is None or folder is not None:
            place = options.data_dir if folder is None else folder
            return dataclasses.replace(options, data_dir=place), *load_dataset(options.of_data, options.protocol, place)
        require(
            reading.get("songs") is not None,
            "songs is missing: beside a table of plays DTNMR needs one with the metadata of the songs",
        )
        found = prepare_tables(
            data, reading["songs"], reading.get("members"), options.of_data, options.protocol, _named(reading)
        )
        self._integers = _are_integers(data, reading.get("song"))
        name = Path(data).name if isinstance(data, str | Path) else "table"
        return options, Dataset(Path(), Path(), name, synthetic=False), found

    def tested_on(self, data: KkboxData, table: Any, reading: Mapping[str, Any]) -> KkboxData:
        assert self.settings is not None
        sources = {"test": table, "songs": reading.get("songs"), "members": reading.get("members")}
        if isinstance(table, str | Path) and Path(table).is_dir():
            files = kkbox_files(Path(table))
            sources = {name: files[name] for name in sources}
        there = {name: source for name, source in sources.items() if source is not None}
        return with_later_plays(data, there, self.settings.of_data, _named(reading))

    def training_data(self, whole: bool) -> KkboxData:
        assert self.data is not None
        return self.data

    def counts(self, data: KkboxData) -> dict[str, int]:
        """Sizes of the data, and what their preparation counted."""
        sizes = {
            "users": data.users,
            "songs": data.songs,
            "playlists": len(data.owners),
            "plays": int(data.plays.sum()),
        }
        points = {f"{part}_points": len(getattr(data, part)) for part in ("train", "validation", "test")}
        return sizes | points | {"song_columns": data.song_width, "user_columns": data.user_width} | data.counts

    def tests(self, data: KkboxData) -> int:
        return len(data.test)

    def require_tested(self, data: KkboxData) -> None:
        require(len(data.test) > 0, "no test example is left; see --long-term-len and --top")

    def warnings(self, data: KkboxData) -> list[str]:
        return data.warnings()

    # Networks and training.

    @property
    def networks(self) -> Networks:
        """The networks; those of a loaded model are read when they are needed, as that takes Keras."""
        if self._networks is None:
            from common import runtime
            from dtnmr.weights import load_model

            assert self._weights is not None and self.settings is not None
            with runtime.applied(self.settings):
                self._networks = load_model(self._weights, self.training_data(whole=False))
        return self._networks

    @property
    def network(self) -> dict[str, Any]:
        """The functional models MFC, USFC, UDFC and RC, and the whole; see :mod:`dtnmr.model`."""
        self.require_fitted()
        return self.networks.parts | {"whole": self.networks.whole}

    @property
    def kept(self) -> Any:
        return self.networks.whole

    def build(self, data: KkboxData, weights: Path | None) -> None:
        from dtnmr.model import Networks
        from dtnmr.weights import given_model

        assert self.settings is not None
        self._task = None
        architecture = architecture_of(self.settings, data)
        if weights:
            self._networks = given_model(weights, data, architecture, self.settings.protocol == "released")
        else:
            self._networks = Networks(architecture, self.settings.seed)

    def train(self, data: KkboxData, run_dir: Path | None) -> Progress:
        from dtnmr import training

        assert self.settings is not None
        return training.train(self.networks, self.settings, data, run_dir)

    # What is measured.

    def task_of(self, data: KkboxData) -> Task:
        """Whom and what every row is measured by."""
        from dtnmr.evaluation import make_task

        assert self.settings is not None
        if self._task is None or self._asked is not data:
            self._task = make_task(data, self.settings.seed, self.settings.test_points)
            self._asked, self._outcomes = data, {}
        return self._task

    def measure(self, data: KkboxData) -> Measured:
        return self._measured_networks(self.title(), self.networks, data)

    def measure_models(self, data: KkboxData) -> dict[str, Measured]:
        from dtnmr.weights import given_model

        assert self.settings is not None
        found = super().measure_models(data)
        for path in self.settings.weights[1:]:
            own = architecture_of(self.settings, data)
            networks = given_model(path, data, own, self.settings.protocol == "released")
            found[str(path)] = self._measured_networks(str(path), networks, data)
        return found

    def _measured_networks(self, name: str, networks: Networks, data: KkboxData) -> Measured:
        from dtnmr.evaluation import Scorer, recommender
        from dtnmr.training import DEAD

        scorer = Scorer(networks, data)
        if scorer.dead:
            console.notify(f"warning: {DEAD}")
        return self._measured(name, recommender(scorer), data)

    def measure_baselines(self, data: KkboxData) -> dict[str, Measured]:
        from dtnmr.baselines import make_baselines

        assert self.settings is not None
        learning = make_baselines(data, self.settings.seed)
        return {name: self._measured(name, learn(), data) for name, learn in learning.items()}

    def _measured(self, name: str, scores: Scores, data: KkboxData) -> Measured:
        from dtnmr.evaluation import evaluate

        assert self.settings is not None
        task = self.task_of(data)
        self._outcomes[name] = evaluate(scores, task, self.settings.cutoffs)
        return self._outcomes[name].measured()

    # What is kept and told.

    def facts(self, data: KkboxData) -> dict[str, Any]:
        return {
            "architecture": dataclasses.asdict(self.networks.architecture),
            "vocabulary": digest(columns(data)),
            "integer_items": self._integers,
        }

    def keep(self, folder: Path) -> None:
        """Write the prepared data and the names of all columns."""
        data = self.training_data(whole=True)
        save_vocabulary(folder, columns(data))
        save_data(folder, data)

    def restore(self, folder: Path, data_dir: str | None) -> None:
        from dtnmr.weights import read_architecture

        self.data, self._weights = read_data(folder), folder / WEIGHTS
        read_vocabulary(folder)
        read_architecture(folder, self.data)
        self._integers = bool(self.recorded.get("integer_items"))
        described = self.recorded["dataset"]
        name, synthetic = str(described.get("name")), bool(described.get("synthetic"))
        self.dataset = Dataset(Path(), Path(), name, synthetic)

    def title(self) -> str:
        return f"DTNMR ({self.networks.architecture.rating})"

    def name_of_run(self, dataset: Dataset) -> str:
        options = self.settings or self.options
        return f"{self.networks.architecture.rating}-{options.protocol}-{dataset.name}"

    @property
    def description(self) -> Description:
        options, task, drawn = self.settings or self.options, self._task, ""
        if task is not None:
            some = "all" if len(task.points) == task.points_in_all else f"{len(task.points):,} drawn"
            drawn = f", at {some} of {task.points_in_all:,} test points"
        return Description(
            folder="dtnmr",
            title="DTNMR",
            citation=CITATION,
            columns=columns_of(options.cutoffs),
            split=RELEASED_SPLIT if options.protocol == "released" else SPLIT,
            ranking=(
                "per user (users with a training playlist): all songs not played in training; next_*: all songs not in "
                f"the history{drawn}; {RELEASED_ACCURACY}: sampled, 4 frozen songs"
            ),
            ties=f"expected rank; {RELEASED_ACCURACY}: against the label",
        )

    def told(self, data: KkboxData, folder: Path, found: Evaluation) -> Told:
        from common.report import Part

        assert self.settings is not None
        task, ours = self.task_of(data), self.title()
        apart = {title: outcome.apart() for title, outcome in self._outcomes.items()}
        groups = {f"{title}: {group}": of_group for title, of in apart.items() for group, of_group in of.items()}
        of_users = [column for column in self.description.columns if column in self._outcomes[ours].users]
        return Told(
            details={
                "architecture": dataclasses.asdict(self.networks.architecture),
                "cutoffs": list(self.settings.cutoffs),
                "apart": apart[ours],
                "baselines_apart": {title: of for title, of in apart.items() if title != ours},
                "test_users": int(task.known.sum()),
                "new_users": int((~task.known).sum()),
                "test_points": {"evaluated": len(task.points), "in_all": task.points_in_all},
            },
            published={"paper (no figure known)": {}},
            notes=[NOTE],
            parts=[Part(groups, ["users", *of_users], "Songs without a play in training, and users without one")],
            following=["dtnmr/recommend.py", "--run-dir", folder, "--user", "USER"],
        )


def architecture_of(options: DtnmrOptions, data: KkboxData) -> Architecture:
    """The architecture that complete options describe."""
    names = ("embedding", "mlp", "lstm", "lstm_layers", "dropout", "rating")
    return Architecture(
        song_width=data.song_width,
        user_width=data.user_width,
        behaviours=len(data.values["behaviour"]),
        long_length=options.long_term_len,
        short_length=options.short_term_len,
        final_relu=options.final_relu == "yes",
        **{name: getattr(options, name) for name in names},
    )


def _named(reading: Mapping[str, Any]) -> dict[str, str]:
    """The columns of ids that are named."""
    return {name: reading[name] for name in ("user", "song") if reading.get(name) is not None}


def _are_integers(table: Any, song: str | None) -> bool:
    """Whether the ids of a pandas table's songs are integers, so that its user expects such."""
    if not isinstance(table, pd.DataFrame):
        return False
    name = next((name for name in ([song] if song else USUAL_NAMES["song_id"]) if name in table.columns), None)
    return name is not None and pd.api.types.is_integer_dtype(table[name].dtype)
