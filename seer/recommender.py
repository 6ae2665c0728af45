"""The recommender SeER: what is particular to it, for Python and the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from common.options import replacing, require
from common.paper import WEIGHTS, Description, Told
from common.recommender import Recommender, as_in_python
from common.sources import Dataset
from seer.options import PAPER, SIZES, Architecture, SeerOptions
from seer.preprocess import SeerData, load_dataset, load_sample, split_of
from seer.songs import (
    KEPT,
    USUAL_NAMES,
    ratings_of_tables,
    read_kept,
    read_rating_table,
    songs_of,
    tested_on,
    write_kept,
)

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    from common.checkpoint import Progress
    from common.evaluation import Evaluation, Measured
    from seer.baselines import Rater
    from seer.explain import Explainer, Protocol
    from seer.model import Networks
    from seer.new_user import Person, SongRatings
    from seer.presentation.explained import Explained
    from seer.training import Evaluator
    from seer.weights import WeightFile

RELEASED_COLUMNS = ("rmse", "mae", *(f"{name}@{k}_released" for name in ("map", "ndcg") for k in (5, 10)), "map@10_v2")
STANDARD_COLUMNS = ("rmse", "mae", "map@10", "ndcg@10", "recall@10", "recall@100", "mrr@10", "auc")
"""Figures of the tables of both protocols; by the first one the best baseline is chosen."""
CORRECTED = Description(
    folder="seer",
    title="SeER",
    citation="SeER (Damak, Nasraoui, Sanders 2021; arXiv 1907.01640)",
    columns=STANDARD_COLUMNS,
    split="released: 80/20 by row, random_state 1, a tenth of the 80 for validation",
    ranking="full catalogue without the user's training songs; *_released and *_v2: the user's test rows only",
    ties="expected rank; *_released and *_v2: row order as in the released code",
    tested="test rating",
)
RELEASED = dataclasses.replace(
    CORRECTED,
    columns=RELEASED_COLUMNS,
    split="released: 80/20 by row, random_state 1",
    ranking="the user's test rows only, as the released code does",
)
NO_REFERENCE = "The paper's figures are of its own dataset: here they are no reference."
OF_TABLES = ("user", "song", "rating")


class SeER(Recommender[SeerOptions, SeerData]):
    """The rating of a song by a user, from what the song sounds like (Damak, Nasraoui, Sanders, arXiv 1907.01640).

    >>> SeER(variant="dot", epochs=5)
    SeER(epochs=5, variant='dot')
    """

    options_type = SeerOptions
    _evaluator: Evaluator | None = None
    _hidden: np.ndarray | None = None
    _integers: bool = False
    _files: Sequence[WeightFile] = ()
    weights: WeightFile | None = None
    """Where its weights are from, if it was not trained here."""

    @property
    def description(self) -> Description:
        return RELEASED if (self.settings or self.options).protocol == "released" else CORRECTED

    def fit(  # type: ignore[override]  # here the columns have names
        self,
        data: Any = None,
        validation: Any = None,
        run_dir: str | Path | None = None,
        resume: bool = False,
        *,
        songs: Any = None,
        user: str | None = None,
        song: str | None = None,
        rating: str | None = None,
        verbose: bool = False,
    ) -> Self:
        """Learn from ratings, each of a user, a song and 1 to 5; see :meth:`common.recommender.Recommender.fit`.

        Args:
            data: see there.
            validation: see there.
            run_dir: see there.
            resume: see there.
            songs: what the songs of a table of ratings sound like: see :func:`seer.songs.songs_of`. A dataset has its
                own.
            user: name of the column of user ids, if it is none of :data:`seer.songs.USUAL_NAMES`.
            song: of song ids.
            rating: of ratings.
            verbose: say what is being done.
        """
        reading = {"songs": songs, "user": user, "song": song, "rating": rating}
        return super().fit(data, validation, run_dir, resume, verbose=verbose, **reading)

    def evaluate(  # type: ignore[override]
        self,
        data: Any = None,
        baselines: bool = True,
        *,
        user: str | None = None,
        song: str | None = None,
        rating: str | None = None,
        verbose: bool = False,
    ) -> Evaluation:
        """Rate and rank songs of test ratings; see :meth:`common.recommender.Recommender.evaluate` and :meth:`fit`."""
        return super().evaluate(data, baselines, verbose=verbose, user=user, song=song, rating=rating)

    @classmethod
    def load(cls, folder: str | Path, data_dir: str | Path | None = None, weights: str = WEIGHTS) -> Self:
        """See :meth:`common.recommender.Recommender.load`.

        Args:
            folder: see there.
            data_dir: where the dataset that it learnt from lies now, if it was moved.
            weights: name of the file of weights in the folder.
        """
        model = super().load(folder)
        if weights != WEIGHTS:
            from seer.weights import own_weights

            model.weights = own_weights(Path(folder) / weights, model.recorded)
        if data_dir is not None:
            assert model.settings is not None
            model.settings = dataclasses.replace(model.settings, data_dir=Path(data_dir))
        return model

    def recommend(
        self,
        user: Any = None,
        k: int = 10,
        *,
        ratings: Any = None,
        exclude_rated: bool = True,
        ridge: float | None = None,
    ) -> pd.DataFrame:
        """The songs that users would rate highest.

        Args:
            user: a user's id (of a dataset: number), or a list of such.
            k: songs for each; fewer if there are no more.
            ratings: instead of users, what somebody new says: a mapping song -> rating, or a table with the columns
                ``song`` and ``rating``. Several at once: a mapping name -> such a mapping, a list of such mappings, or
                a table with the column ``user``, too.
            exclude_rated: leave out the songs that the user has rated.
            ridge: of somebody new: weight of the pull towards the average user; None: estimated from the trained users.

        Returns:
            Columns ``rank`` (from 1), ``item`` and ``score``, the predicted rating, best first, and ``title`` and
            ``artist`` if they are known; for several users before them ``user``.

        Raises:
            UserError: nothing was learnt yet, or a user, song or rating is none.
        """
        from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)

        self.require_fitted()
        require(isinstance(k, int) and not isinstance(k, bool) and k >= 1, f"k is {k!r}; it must be 1 or more")
        with as_in_python(SeerOptions):
            data = self.training_data(whole=False)
            keys, persons = self._persons(user, ratings, ridge)
            scores = self.networks.score_matrix(np.array([one.vector for one in persons]), self.hidden())
        ids, rows = data.song_information["song_id"].tolist(), []
        for key, person, of_user in zip([None] if keys is None else keys, persons, scores, strict=True):
            best = best_songs(of_user, person.rated.songs if exclude_rated else (), k)
            rows += [(key, rank, song, float(of_user[song])) for rank, song in enumerate(best, 1)]
        frame = pd.DataFrame(rows, columns=["user", "rank", "item", "score"])
        numbers = frame["item"].to_numpy(int)
        frame["item"] = [ids[number] for number in numbers]
        if self._integers:
            frame["item"] = frame["item"].astype(np.int64)
        for name, column in (("title", "title"), ("artist", "artist_name")):
            told = data.song_information[column]
            if (told != "").any():
                frame[name] = told.to_numpy()[numbers]
        return frame if keys is not None else frame.drop(columns="user")

    def explain(
        self,
        user: Any = None,
        songs: Any = None,
        *,
        ratings: Any = None,
        seconds: float = 10.0,
        whole_song: bool = False,
        protocol: Protocol = "corrected",
        ridge: float | None = None,
    ) -> list[Explained]:
        """Why a user would like songs: the section of each that the model would rate highest on its own.

        Args:
            user: the user's id (of a dataset: number).
            songs: id of a song, or a list of such; None: the five that are recommended.
            ratings: instead of a user, what somebody new says, see :meth:`recommend`.
            seconds: length of a section (paper: 10).
            whole_song: look for sections in the whole song, not only in the part that the model read in training.
            protocol: the rule by which sections are found, see :mod:`seer.explain`.
            ridge: see :meth:`recommend`.

        Returns:
            For each song its sections with their times and ratings, the best of them, a picture and the sound.

        Raises:
            UserError: nothing was learnt yet, or the user or a song is unknown.
        """
        from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
        from seer.presentation.explained import Explained, Shown

        self.require_fitted()
        require(0.5 <= seconds <= 600, f"seconds is {seconds!r}; it must lie in 0.5..600")
        with as_in_python(SeerOptions):
            data = self.training_data(whole=False)
            keys, persons = self._persons(user, ratings, ridge)
            require(keys is None, "explain answers one user at a time")
            if songs is None:
                songs = self.recommend(user, 5, ratings=ratings, ridge=ridge)["item"].tolist()
            names = [songs] if isinstance(songs, str | int | np.integer) else list(songs)
            numbers = [self._song(name, data) for name in names]
            vector = persons[0].vector
            whole = self.networks.score_matrix(vector[None], self.hidden()[numbers])[0]
            explainer = self.explainer(seconds, protocol, whole_song)
            found = explainer.explain_vectors(np.repeat(vector[None], len(numbers), axis=0), np.array(numbers, int))
        shown = Shown(explainer, data, self.midi_dir)
        return [Explained(float(rating), one, shown) for rating, one in zip(whole, found, strict=True)]

    # Users, songs and their encodings.

    def _persons(self, user: Any, ratings: Any, ridge: float | None) -> tuple[list[Any] | None, list[Person]]:
        """Keys and vectors of users; no keys for a single one."""
        require((user is None) != (ratings is None), "name a user, or give ratings of somebody new: one of them")
        if ratings is None:
            require(ridge is None, "ridge belongs to ratings")
            several = not isinstance(user, str | int | np.integer)
            keys = list(user) if several else [user]
            require(bool(keys), "user is empty; expected an id, or a list of them")
            return (keys if several else None), [self.known_user(key) for key in keys]
        require(
            ridge is None or 0 <= ridge < float("inf"), f"ridge is {ridge!r}; it must be a finite number, 0 or more"
        )
        names, tables = _rating_tables(ratings)
        return names, [self.new_user(*of_user, ridge=ridge) for of_user in tables]

    def known_user(self, key: Any) -> Person:
        """A user of the training data, by id, or by number where users have no ids."""
        from seer.new_user import Person, SongRatings

        data = self.training_data(whole=False)
        if data.user_ids is None:
            known = str(key).isdecimal() and int(key) < data.num_users
            require(known, f"user {key}: not in the data; their users are numbered 0..{data.num_users - 1}")
            number = int(key)
        else:
            first = ", ".join(data.user_ids[:3])
            require(str(key) in data.user_ids, f"user {key}: not in the data; users there are such as {first}")
            number = data.user_ids.index(str(key))
        rows = data.users == number
        rated = SongRatings(data.songs[rows], data.ratings[rows])
        return Person(f"user {key}", self.networks.user_vectors(np.array([number]))[0], rated, number)

    def new_user(self, songs: Sequence[Any], values: Sequence[float], ridge: float | None = None) -> Person:
        """Somebody who was not there in training, by ratings of songs."""
        from seer.new_user import SongRatings

        data = self.training_data(whole=False)
        rated = SongRatings(np.array([self._song(song, data) for song in songs]), np.asarray(values, np.float64))
        require(len(np.unique(rated.songs)) == len(rated.songs), "ratings: a song is rated twice")
        return self.folded_in(rated, "somebody new", ridge)

    def folded_in(self, rated: SongRatings, name: str, ridge: float | None = None) -> Person:
        """The vector of somebody who was not there in training, see :mod:`seer.new_user`."""
        from seer.new_user import Person, default_ridge, fold_in

        if ridge is None:
            ridge = default_ridge(self.networks, self.training_data(whole=False), self.hidden())
        return Person(name, fold_in(self.networks, self.hidden()[rated.songs], rated.values, ridge), rated)

    @staticmethod
    def _song(key: Any, data: SeerData) -> int:
        found = np.flatnonzero((data.song_information["song_id"] == str(key)).to_numpy())
        first = ", ".join(data.song_information["song_id"][:3])
        require(len(found) > 0, f"song {key!r:.60}: not in the data; songs there are such as {first}")
        return int(found[0])

    def explainer(self, seconds: float, protocol: Protocol, whole_song: bool) -> Explainer:
        """What finds sections, see :mod:`seer.explain`."""
        from seer.explain import Explainer

        return Explainer(self.networks, self.training_data(whole=False), seconds, protocol, whole_song)

    def hidden(self) -> np.ndarray:
        """(songs, latent) encodings of all songs."""
        if self._hidden is None:
            self._hidden = self.evaluator.hidden()
        return self._hidden

    def rater(self) -> Rater:
        """The model as what rates pairs and scores catalogues."""
        return self.evaluator.rater(self.hidden())

    @property
    def midi_dir(self) -> Path | None:
        """The MIDI files of the dataset by song number, if it has them."""
        folder = self.dataset.raw / "midi" if self.dataset is not None else Path()
        return folder if folder.is_dir() and self.dataset is not None and self.dataset.raw != Path() else None

    # Data.

    def read(
        self, options: SeerOptions, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[SeerOptions, Dataset, SeerData]:
        self._integers = False
        songs, folder = reading.get("songs"), isinstance(data, str | Path) and Path(data).is_dir()
        if songs is None and (data is None or folder or (isinstance(data, str) and data == "sample")):
            require(validation is None, "validation: a dataset has a validation part of its own")
            if data == "sample" and not folder:
                dataset, found = load_sample()
                options = dataclasses.replace(options, data_dir=dataset.raw)
            else:
                place = Path(data) if folder else options.data_dir
                dataset, found = load_dataset(place)
                options = dataclasses.replace(options, data_dir=place)
            return options, dataset, _split(found, options)
        require(data is not None, "songs are given without ratings; the first argument of fit is a table of them")
        require(songs is not None, "songs is missing: what the rated songs sound like, such as a folder of MIDI files")
        validated = options.protocol == "corrected"
        names = {name: reading.get(name) for name in OF_TABLES}
        found = ratings_of_tables(data, validation, songs_of(songs), names, validated, options.seed)
        column = names["song"] or next((c for c in USUAL_NAMES["song"] if c in getattr(data, "columns", ())), None)
        ids = data[column] if isinstance(data, pd.DataFrame) and column is not None else None
        self._integers = ids is not None and pd.api.types.is_integer_dtype(ids)
        name = Path(data).name if isinstance(data, str | Path) else "table"
        return options, Dataset(Path(), Path(), name, synthetic=False), found

    def tested_on(self, data: SeerData, table: Any, reading: Mapping[str, Any]) -> SeerData:
        return tested_on(data, table, reading)

    def training_data(self, whole: bool) -> SeerData:
        """Of a loaded model they are read when they are needed."""
        if self.data is None:
            assert self.settings is not None and self.weights is not None
            known, place = self.recorded["dataset"], self.settings.data_dir
            require(
                place is None or place.is_dir(),
                f"{self.weights.path.parent / 'options.json'}: the run was trained on {place}, and there is no such "
                "folder; name it with --data-dir",
            )
            sample = place is None and known.get("name") == "sample"
            self.dataset, found = load_sample() if sample else load_dataset(place)
            self.weights.check(found)
            self.data = _split(found, self.settings)
        return self.data

    def counts(self, data: SeerData) -> dict[str, int]:
        return {"users": data.num_users, "songs": data.num_songs, "ratings": len(data.ratings), "steps": data.num_steps}

    def tests(self, data: SeerData) -> int:
        return len(data.split.test)

    def require_tested(self, data: SeerData) -> None:
        require(len(data.split.test) > 0, "no rating is there to test on; give evaluate() a table of them")

    def warnings(self, data: SeerData) -> list[str]:
        found, threshold = super().warnings(data), (self.settings or self.options).interaction_threshold
        if not (data.split.test.values >= threshold).any():
            found.append(f"no test rating reaches --interaction-threshold {threshold:g}: nothing can be found")
        return found

    # Networks and training.

    def completed(self, options: SeerOptions, dataset: Dataset, data: SeerData) -> SeerOptions:
        from seer.weights import weight_file

        self._files = [weight_file(path, options.gate_activation) for path in options.weights]
        for file in self._files:
            file.check(data)
            file.check_options(options)
        if len(self._files) == 1:
            found = self._files[0].architecture
            options = dataclasses.replace(options, **{name: getattr(found, name) for name in SIZES})
        return options.completed(dataset.synthetic, data.num_steps) if options.epochs != 0 else options

    def build(self, data: SeerData, weights: Path | None) -> None:
        self._build(self._files[0] if weights else None, data)

    def _build(self, file: WeightFile | None, data: SeerData) -> None:
        from common import runtime
        from seer.model import Networks
        from seer.training import Evaluator, model_input

        options = self.settings
        assert options is not None
        if file is not None and not options.epochs:
            architecture = file.architecture
        else:
            sizes = {name: getattr(options, name) for name in (*SIZES, "dropout")}
            architecture = Architecture(num_users=data.num_users, **sizes)
        with runtime.seeded(options.seed):
            networks = Networks(architecture)
        if file is not None:
            file.load_into(networks)
        self.weights, self._hidden = file, None
        self._evaluator = Evaluator(networks, model_input(data, architecture), jit=not options.deterministic)

    @property
    def evaluator(self) -> Evaluator:
        """What rates with the networks; those of a loaded model are read when they are needed."""
        if self._evaluator is None:
            from common import runtime

            assert self.settings is not None
            data = self.training_data(whole=False)
            with runtime.applied(self.settings):
                self._build(self.weights, data)
        assert self._evaluator is not None
        return self._evaluator

    @property
    def networks(self) -> Networks:
        """See :mod:`seer.model`."""
        return self.evaluator.networks

    @property
    def network(self) -> dict[str, Any]:
        """The functional models: ``whole``, and the views ``encoder``, ``section_encoder`` and ``head`` of it."""
        self.require_fitted()
        found = self.networks
        views = {"encoder": found.encoder, "section_encoder": found.section_encoder, "head": found.head}
        return {"whole": found.model} | views

    @property
    def kept(self) -> Any:
        return self.networks.model

    def train(self, data: SeerData, run_dir: Path | None) -> Progress:
        from seer.training import train

        assert self.settings is not None
        return train(self.evaluator, self.settings, data, run_dir)

    # What is measured.

    def measure(self, data: SeerData) -> Measured:
        return self._measure(data)[0]

    def _measure(self, data: SeerData) -> tuple[Measured, np.ndarray, dict[str, int]]:
        """Figures, predicted ratings of the test part, and how personal the rankings are."""
        from seer.evaluation import evaluate, personalisation

        assert self.settings is not None
        rater, full = self.rater(), self.settings.protocol == "corrected"
        found, predicted = evaluate(data.split, rater, self.settings.interaction_threshold, data.num_songs, full)
        return found, predicted, personalisation(rater, data.num_users)

    def measure_models(self, data: SeerData) -> dict[str, Measured]:
        """Of the model, or of each of the ``--weights`` that are compared."""
        assert self.settings is not None
        compared = self._files[1:] if self.settings.epochs == 0 else []
        names = [self.title()]
        found = {names[0]: self._measure(data)}
        for file in compared:
            self._build(file, data)
            found[str(file.path) if self.title() in found else self.title()] = self._measure(data)
        if compared:
            self._build(self._files[0], data)
        self._predicted = [predicted for _, predicted, _ in found.values()]
        self._personal = {name: personal for name, (_, _, personal) in found.items()}
        return {name: measured for name, (measured, _, _) in found.items()}

    def measure_baselines(self, data: SeerData) -> dict[str, Measured]:
        from seer.baselines import all_baselines
        from seer.evaluation import evaluate

        options = self.settings
        assert options is not None
        if options.protocol == "released":
            return {}
        raters = all_baselines(options, data).items()
        threshold = options.interaction_threshold
        return {name: evaluate(data.split, rater, threshold, data.num_songs, True)[0] for name, rater in raters}

    # What is kept and told.

    def facts(self, data: SeerData) -> dict[str, Any]:
        return {"architecture": dataclasses.asdict(self.networks.architecture), "integer_items": self._integers}

    def keep(self, folder: Path) -> None:
        """Write ratings and songs if they are in no dataset."""
        data = self.training_data(whole=True)
        if self.dataset is not None and self.dataset.raw == Path():
            write_kept(folder, data)

    def restore(self, folder: Path, data_dir: str | None) -> None:
        from seer.weights import own_weights

        options, file = self.settings, folder / "options.json"
        assert options is not None
        self.weights = own_weights(folder / WEIGHTS, self.recorded)
        sizes = {name: getattr(self.weights.architecture, name) for name in (*SIZES, "dropout")}
        require(data_dir is None or isinstance(data_dir, str), f"{file}: data_dir is {data_dir!r}, not a folder")
        self.settings = dataclasses.replace(options, data_dir=Path(data_dir) if data_dir else None, **sizes)
        self._integers = bool(self.recorded.get("integer_items"))
        if (folder / KEPT).is_file():
            self.data = read_kept(folder)
            self.weights.check(self.data)
            self.dataset = Dataset(Path(), Path(), self.weights.trained_on, synthetic=False)

    def title(self) -> str:
        assert self.settings is not None
        if self.settings.epochs == 0 and self.weights is not None:
            return self.weights.name
        return f"SeER {self.settings.variant} ({self.settings.cell})"

    def name_of_run(self, dataset: Dataset) -> str:
        options = self.settings or self.options
        return f"{'compare' if options.epochs == 0 else options.variant}-{dataset.name}"

    def keep_predictions(self, folder: Path, data: SeerData) -> None:
        """Arrays user, song, true, predicted of the test part, in a file for each model."""
        test = data.split.test
        for number, predicted in enumerate(self._predicted, 1):
            with replacing(folder / (f"predictions_{number}.npz" if number > 1 else "predictions.npz")) as file:
                np.savez_compressed(file, user=test.users, song=test.songs, true=test.values, predicted=predicted)

    def told(self, data: SeerData, folder: Path, found: Evaluation) -> Told:
        from common.report import Part, data_dir

        options, architecture = self.settings, self.networks.architecture
        assert options is not None
        personal = next(iter(self._personal.values())) if len(self._personal) == 1 else self._personal
        details: dict[str, Any] = {
            "relevant": f"rating >= {options.interaction_threshold}",
            "personalisation": personal,
            "architecture": dataclasses.asdict(architecture) | {"parameters": self.networks.model.count_params()},
        }
        notes = [file.note for file in self._files if file.note]
        if options.epochs == 0:
            gates = {str(file.path): file.gates or file.architecture.gate_activation for file in self._files}
            details |= {"weights": [str(file.path) for file in self._files], "gates": gates}
        else:
            notes = [f"Started from {note}" for note in notes]
        no_reference = [] if self.recorded["dataset"]["name"] == "released" else [NO_REFERENCE]
        released = options.protocol == "released"
        title = "The released code's figures (test rows only)"
        more = Part({**found.rows, **PAPER}, RELEASED_COLUMNS, title, no_reference)
        return Told(
            details=details,
            published=PAPER if released else {},
            notes=[*notes, *(no_reference if released else [])],
            parts=[] if released else [more],
            following=["seer/recommend_explain.py", "--run-dir", folder, *data_dir(options), "--user-number", 1],
        )


def best_songs(scores: np.ndarray, left_out: Iterable[int], k: int) -> list[int]:
    """The ``k`` songs with the highest of ``scores`` (songs,), best first (ties: the lower number)."""
    candidates = np.ones(len(scores), bool)
    candidates[list(left_out)] = False
    order = np.argsort(-scores, kind="stable")
    return [int(song) for song in order[candidates[order]][:k]]


def _split(data: SeerData, options: SeerOptions) -> SeerData:
    return dataclasses.replace(data, split=split_of(data.all_ratings, options.protocol, options.seed))


def _rating_tables(ratings: Any) -> tuple[list[Any] | None, list[tuple[list[Any], list[float]]]]:
    """Names, and songs and values, of what new users say; no names for a single one."""
    if isinstance(ratings, Mapping):
        several = bool(ratings) and all(isinstance(one, Mapping) for one in ratings.values())
        names, tables = (list(ratings), list(ratings.values())) if several else (None, [ratings])
    elif isinstance(ratings, list | tuple) and all(isinstance(one, Mapping) for one in ratings):
        names, tables = list(range(len(ratings))), list(ratings)
    else:
        read = read_rating_table(ratings, {}, with_users=False)
        rows = pd.DataFrame({"user": read.users, "song": read.songs, "rating": read.values})
        parts = list(rows.groupby("user", sort=False))
        found = [(part["song"].tolist(), part["rating"].tolist()) for _, part in parts]
        keys = [name for name, _ in parts]
        return (None if keys == [""] else keys), found
    require(bool(tables) and all(tables), "ratings: there is none; expected song -> rating from 1 to 5")
    for table in tables:
        for song, value in table.items():
            good = isinstance(value, int | float | np.number) and not isinstance(value, bool) and 1 <= value <= 5
            require(bool(good), f"ratings: song {song!r:.60} has {value!r:.40}; expected a number from 1 to 5")
    return names, [(list(table), [float(value) for value in table.values()]) for table in tables]
