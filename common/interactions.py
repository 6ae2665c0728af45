"""Interactions: pairs of a user and an item, from a table to recommendations; what papers that learn from them share.

A paper writes a subclass of :class:`UserRecommender`: its network, how it is trained, and the scores of all items for
users. Reading, numbering, the split, figures, baselines, keeping and the answers are here. A paper that learns from
other data writes the methods of :class:`common.paper.Paper` itself, as ``gru4rec/recommender.py`` does.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import tyro

from common import console
from common.arrays import DAMAGE
from common.evaluation import Evaluation, Measured, Sample
from common.metrics import auc, ndcg_at, recall_at
from common.options import OptionalPath, UserError, require, write_json
from common.paper import WEIGHTS, Options
from common.ranking import Scores, catalogue_ranking
from common.recommender import Recommender, Told
from common.row_counts import RowCounts, tell_preparation
from common.rundir import same_data
from common.sources import Dataset, dataset_folder
from common.tables import Column, open_table
from common.vocabulary import digest

KEPT = "interactions.json"
NAMES = {
    "user": ("user", "user_id", "userId", "listener"),
    "item": ("item", "item_id", "itemId", "song", "song_id", "track", "track_id"),
}
"""Column -> what it is usually called."""
Pairs = tuple[np.ndarray, np.ndarray]
"""Numbers of users and of items, (n,) int32 each."""
NO_PAIRS: Pairs = (np.zeros(0, np.int32), np.zeros(0, np.int32))


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who chose what; no pair is both in ``train`` and in ``test``."""

    user_ids: list[str]
    item_ids: list[str]
    train: Pairs
    test: Pairs
    fingerprint: str
    """SHA-256 over ids and pairs."""
    rows: dict[str, Any]
    """What became of the rows of the file; see :meth:`common.row_counts.RowCounts.as_json`."""
    notes: list[str]
    """What was recognised in it."""


def load_dataset(
    paper: str, file: str, data_dir: Path | None, write_sample: Callable[[Path], object]
) -> tuple[Dataset, Interactions]:
    """The user's dataset, else the released one, else the sample; see :func:`common.sources.dataset_folder`.

    Raises:
        UserError: as there, or as :func:`split_of`.
    """
    dataset = dataset_folder(paper, data_dir, [file], write_sample)
    return dataset, split_of(dataset.raw / file)


def read_pairs(source: Any, columns: Mapping[str, str | None]) -> tuple[pd.DataFrame, RowCounts, list[str]]:
    """Distinct pairs, in the columns ``user`` and ``item``; what became of the rows; what was recognised.

    A file that takes long to read is prepared once instead, as :mod:`gru4rec.preprocess` does.

    Args:
        source: a file or a data frame, see :func:`common.tables.open_table`.
        columns: what ``user`` and ``item`` are called; None, or what is not named, is recognised.

    Raises:
        UserError: a line is not a user and an item, or there is none.
    """
    names = {kind: columns.get(kind) or kind for kind in NAMES}
    wanted = {name: Column("id", names=() if columns.get(kind) else NAMES[kind]) for kind, name in names.items()}
    counts = RowCounts()
    with open_table(source, wanted) as table:
        file = table.files[0].name
        require(table.rows > 0, f"{file}: has no rows; expected a user and an item in each, below the names of columns")
        counts.add(table)
        pairs = table.frame().drop_duplicates()
        counts.leave_out(file, "pairs that are there already", table.rows - len(pairs))
        return pairs.rename(columns={name: kind for kind, name in names.items()}), counts, list(table.notes)


def all_of(source: Any, columns: Mapping[str, str | None] | None = None) -> Interactions:
    """Interactions that are all for training; see :func:`read_pairs`."""
    pairs, counts, notes = read_pairs(source, columns or {})
    users, user_ids = pd.factorize(pairs["user"], sort=True)
    items, item_ids = pd.factorize(pairs["item"], sort=True)
    train = (users.astype(np.int32), items.astype(np.int32))
    return _told(Interactions(list(user_ids), list(item_ids), train, NO_PAIRS, "", counts.as_json(), notes))


def split_of(source: Any) -> Interactions:
    """Interactions of which every fifth of a user, drawn once and for all, is for the test.

    Raises:
        UserError: as :func:`read_pairs`, or too few pairs are left.
    """
    found = all_of(source)
    users, items = found.train
    drawn = np.random.default_rng(0).permutation(len(users))  # the same split whatever --seed is
    place = pd.Series(users[drawn]).groupby(users[drawn]).cumcount().to_numpy()
    held = np.zeros(len(users), bool)
    held[drawn[place % 5 == 4]] = True
    require(bool(held.any()), f"{source}: no user has five items; nothing is left to test on")
    return _told(replace(found, train=(users[~held], items[~held]), test=(users[held], items[held])))


def tested_on(data: Interactions, source: Any, columns: Mapping[str, str | None] | None = None) -> Interactions:
    """The data with other pairs as their test part, but for users, items and pairs that are no test of the model.

    Raises:
        UserError: as :func:`read_pairs`.
    """
    pairs, counts, notes = read_pairs(source, columns or {})
    known_ids = ((data.user_ids, pairs["user"]), (data.item_ids, pairs["item"]))
    users, items = (pd.Index(known).get_indexer(pd.Index(column)).astype(np.int32) for known, column in known_ids)
    known = (users >= 0) & (items >= 0)
    places, learnt = (user.astype(np.int64) * len(data.item_ids) + item for user, item in ((users, items), data.train))
    new = known & ~np.isin(places, learnt)
    file = next(iter(counts.rows))
    counts.leave_out(file, "users or items unknown in training", int((~known).sum()))
    counts.leave_out(file, "pairs known from training", int((known & ~new).sum()))
    return replace(data, test=(users[new], items[new]), rows=counts.as_json(), notes=notes)


def _told(data: Interactions) -> Interactions:
    """The data with their fingerprint and the sizes of their parts."""
    parts = {name: {"pairs": len(part[0])} for name, part in (("train", data.train), ("test", data.test))}
    arrays = (part.tobytes().hex() for part in (*data.train, *data.test))
    return replace(
        data, fingerprint=digest([*data.user_ids, "", *data.item_ids, *arrays]), rows=data.rows | {"parts": parts}
    )


def write_kept(folder: Path, data: Interactions) -> None:
    """Keep what a model learnt from beside its weights."""
    write_json(folder / KEPT, data)


def read_kept(folder: Path) -> Interactions:
    """What a model learnt from.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        found = json.loads((folder / KEPT).read_text("utf-8"))
        parts = {name: tuple(np.array(of, np.int32) for of in found[name]) for name in ("train", "test")}
        data = Interactions(**(found | parts))
        whole = _told(data).fingerprint == data.fingerprint
    except DAMAGE as error:
        raise UserError(f"{folder / KEPT}: cannot be read ({error}); it must lie beside the weights of a run") from None
    require(whole, f"{folder / KEPT}: is not as it was written; restore the run's own file")
    return data


def measured(scores: Scores, data: Interactions) -> Measured:
    """Where the test items of each user stand among all items but the training ones: recall@10, ndcg@10, auc."""
    users, items = data.test
    relevant = (users, items, np.ones(len(users)))
    ranking = catalogue_ranking(scores, np.unique(users), relevant, data.train, len(data.item_ids))
    values = {name: at(ranking, 10, per_user=True) for name, at in (("recall@10", recall_at), ("ndcg@10", ndcg_at))}
    return Measured([Sample(values | {"auc": auc(ranking, per_user=True)}, "users")])


class UserRecommender(Recommender[Options, Interactions]):
    """Items for users, learnt from interactions alone: what is left to a paper is its model.

    Attributes:
        file: the table in a folder with a dataset.
    """

    file: ClassVar[str]
    model: Any

    @staticmethod
    @abc.abstractmethod
    def write_sample(folder: Path) -> None:
        """Write a synthetic dataset, its table being :attr:`file`."""

    @abc.abstractmethod
    def new_network(self, data: Interactions) -> Any:
        """The Keras model that the settings describe, with initial weights."""

    @abc.abstractmethod
    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores of all items for numbers of users (u,), as (u, items)."""

    def recommend(self, users: Any, k: int = 10) -> pd.DataFrame:
        """Items that users have not chosen yet.

        Args:
            users: id of a user, or a list of such.
            k: items for each; fewer if there are no more.

        Returns:
            Columns ``rank`` (from 1), ``item`` and ``score``, best first; for several users before them ``user``.

        Raises:
            UserError: nothing was learnt yet, or a user is not in the data.
        """
        self.require_fitted()
        data, several = self.training_data(whole=True), not isinstance(users, str | int)
        known = {name: number for number, name in enumerate(data.user_ids)}
        names = [str(user) for user in users] if several else [str(users)]
        require(bool(names), "users is empty; expected an id, or a list of them")
        for name in names:
            require(name in known, f"user {name}: not in the data; users are {data.user_ids[0]}, ...")
        rows: list[tuple[str, int, str, float]] = []
        for name in names:
            scores = np.array(self.scores(np.array([known[name]]))[0])
            for chosen_by, items in (data.train, data.test):
                scores[items[chosen_by == known[name]]] = -np.inf
            best = [item for item in np.argsort(-scores, kind="stable")[:k] if np.isfinite(scores[item])]
            rows += [(name, rank, data.item_ids[item], float(scores[item])) for rank, item in enumerate(best, 1)]
        frame = pd.DataFrame(rows, columns=["user", "rank", "item", "score"])
        return frame if several else frame.drop(columns="user")

    def read(
        self, options: Options, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[Options, Dataset, Interactions]:
        require(validation is None, f"validation: {type(self).__name__} chooses no epoch")
        if data is None or (isinstance(data, str | Path) and Path(data).is_dir()):
            folder = Path(data) if data is not None else options.data_dir
            found = load_dataset(self.description.folder, self.file, folder, self.write_sample)
            return replace(options, data_dir=folder), *found
        return options, Dataset(Path(), Path(), "table", synthetic=False), all_of(data, reading)

    def tested_on(self, data: Interactions, table: Any, reading: Mapping[str, Any]) -> Interactions:
        return tested_on(data, table, reading)

    def training_data(self, whole: bool) -> Interactions:
        assert self.data is not None
        return self.data

    def counts(self, data: Interactions) -> dict[str, int]:
        found = {"users": len(data.user_ids), "items": len(data.item_ids)}
        return found | {"train_pairs": len(data.train[0]), "test_pairs": len(data.test[0])}

    def tests(self, data: Interactions) -> int:
        return len(data.test[0])

    def require_tested(self, data: Interactions) -> None:
        require(len(data.test[0]) > 0, "no pair of a user and an item is left to test on")

    def build(self, data: Interactions, weights: Path | None) -> None:
        from common.weights import load_own_weights

        if weights:
            same_data(weights.parent, data.fingerprint, f"--weights {weights}")
        self.model = self.new_network(data)
        if weights:
            load_own_weights(self.model, weights)

    @property
    def network(self) -> Any:
        self.require_fitted()
        return self.model

    def measure(self, data: Interactions) -> Measured:
        return measured(self.scores, data)

    def measure_baselines(self, data: Interactions) -> dict[str, Measured]:
        """What knows nothing, and what knows no user."""
        assert self.settings is not None
        items = len(data.item_ids)
        chosen = np.bincount(data.train[1], minlength=items).astype(np.float32)
        noise = np.random.default_rng(self.settings.seed).random((len(data.user_ids), items), np.float32)
        return {
            "random": measured(lambda users: noise[users], data),
            "popularity": measured(lambda users: np.tile(chosen, (len(users), 1)), data),
        }

    def facts(self, data: Interactions) -> dict[str, Any]:
        return {}

    def keep(self, folder: Path) -> None:
        assert self.data is not None
        write_kept(folder, self.data)

    def restore(self, folder: Path, data_dir: str | None) -> None:
        self.data = read_kept(folder)
        self.build(self.data, folder / WEIGHTS)

    def title(self) -> str:
        return self.description.title

    def told(self, data: Interactions, folder: Path, found: Evaluation) -> Told:
        script = f"{self.description.folder}/recommend.py"
        return Told(following=[script, "--run-dir", folder, "--user", data.user_ids[0]])


@dataclass(frozen=True)
class PreprocessOptions:
    """Options of a ``preprocess.py``."""

    data_dir: OptionalPath = None
    """Folder with the table. Default: the released file, else the synthetic sample, which is written on first use."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object: rows of the file, used and left out by reason, and what is in each part."""


def preprocess(
    paper: str, file: str, write_sample: Callable[[Path], object], options: PreprocessOptions
) -> Interactions:
    """Check a table of interactions and say what is in it; see :func:`load_dataset`."""
    dataset, data = load_dataset(paper, file, options.data_dir, write_sample)
    parts = f"{len(data.train[0]):,} pairs to train, {len(data.test[0]):,} to test"
    summary = f"{dataset.name}: {len(data.user_ids):,} users, {len(data.item_ids):,} items, {parts}"
    tell_preparation(summary, RowCounts.of_json(data.rows), data.notes, len(data.test[0]), as_json=options.json)
    return data


@dataclass(frozen=True)
class RecommendOptions:
    """Options of a ``recommend.py``."""

    user: str
    """Id of the user, as in the table."""
    run_dir: OptionalPath = None
    """Folder of a run of train.py. Required."""
    top_k: int = 10
    """Items to recommend."""

    def __post_init__(self) -> None:
        require(self.run_dir is not None, "--run-dir is missing: name the folder of a run of train.py")
        require(self.top_k >= 1, f"--top-k is {self.top_k}; it must be 1 or more")


def recommend(kind: type[UserRecommender[Any]], options: RecommendOptions) -> pd.DataFrame:
    """Print items that a user has not chosen yet, best first."""
    assert options.run_dir is not None
    found = kind.load(options.run_dir).recommend(options.user, options.top_k)
    for item, score in zip(found["item"], found["score"], strict=True):
        console.say(f"{score:8.4f}  {item}")
    return found
