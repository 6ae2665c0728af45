"""The recommender GRU4Rec: what is particular to it, for Python and the command line."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from common import console
from common.arrays import DAMAGE
from common.checkpoint import read_npz
from common.options import UserError, replacing, require
from common.paper import WEIGHTS
from common.recommender import Description, Recommender, Told, as_in_python
from common.sessions import Sessions
from common.sources import Dataset
from common.vocabulary import digest, read_vocabulary, save_vocabulary
from gru4rec.options import Architecture, GruOptions, find_session_files
from gru4rec.preprocess import SessionData, load_dataset, load_sample, prepare_tables, tested_events, tested_on
from gru4rec.sessions import USUAL_NAMES, read_events

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    from common.checkpoint import Progress
    from common.evaluation import Evaluation, Measured
    from gru4rec.evaluation import Ties
    from gru4rec.model import Networks

TRAINING = "training.npz"
"""The sessions that a model learnt from, where they are in no dataset: the baselines learn from them, too."""
COLUMNS = ("recall@20", "mrr@20", "recall@5", "mrr@5", "recall@10", "mrr@10", "recall@20_session", "mrr@20_session")
"""The figures of the tables; by the first one the best baseline is chosen."""
NOTHING = "The figures have no value: no session of the test part has two events, so nothing can be ranked."
NOTE = "GRU4REC-spotify's figures are of other sub-samples of MSSD: no reference for these. mrr@20_seed is its MRR."
OFFICIAL_TIES: tuple[Ties, ...] = ("standard", "conservative", "median")
PAPER = {
    # GRU4REC-spotify (Navon), table 2: sub-samples of MSSD, other sessions and splits than here.
    "GRU4REC-spotify: one-hot, cross-entropy": {"recall@20": 0.24, "mrr@20_seed": 0.024},
    "GRU4REC-spotify: content-mlp, cross-entropy": {"recall@20": 0.164, "mrr@20_seed": 0.0191},
    "GRU4REC-spotify: most popular": {"recall@20": 0.0696, "mrr@20_seed": 0.0095},
}
KEYS = {"session": "session_key", "item": "item_key", "time": "time_key"}
"""Argument of ``fit`` and ``evaluate`` -> the option that it stands for."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is recommended after a session."""

    session: list[str]
    """Its items, without the unknown ones."""
    skipped: list[str]
    """Items that the training data do not have."""
    recommended: list[tuple[str, float]]
    """Item and score, best first."""


class GRU4Rec(Recommender[GruOptions, SessionData]):
    """The next item of a session, by the items so far (Hidasi et al., arXiv 1511.06939 and 1706.03847).

    >>> GRU4Rec(loss="bpr-max", layers=[64], epochs=5)
    GRU4Rec(epochs=5, layers=(64,), loss='bpr-max')
    """

    options_type = GruOptions
    mirrored = False
    description = Description(
        folder="gru4rec",
        title="GRU4Rec",
        citation="GRU4Rec (Hidasi et al. 2016, arXiv 1511.06939; Hidasi, Karatzoglou 2018, arXiv 1706.03847)",
        columns=COLUMNS,
        split="by time: test sessions after the training sessions; items unseen in training dropped",
        ranking="all training items, after every event of a test session but its last",
        ties="expected rank; official_ties of the details has the modes of the official code",
        protocol="official",
    )
    _networks: Networks | None = None
    _weights: Path | None = None
    _integers: bool = False
    _ranks: Any = None

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
        verbose: bool = False,
    ) -> Self:
        """Learn from events, each of a session, an item and a time; see :meth:`common.recommender.Recommender.fit`.

        Args:
            data: see there.
            validation: see there.
            run_dir: see there.
            resume: see there.
            session: name of the column of session ids, if it is none of :data:`gru4rec.sessions.USUAL_NAMES`.
            item: of item ids.
            time: of times: seconds or smaller units, ISO 8601 texts, or times of pandas.
            verbose: print what was read, and the figures of each epoch.
        """
        return super().fit(data, validation, run_dir, resume, verbose=verbose, session=session, item=item, time=time)

    def evaluate(  # type: ignore[override]
        self,
        data: Any = None,
        baselines: bool = True,
        *,
        session: str | None = None,
        item: str | None = None,
        time: str | None = None,
        verbose: bool = False,
    ) -> Evaluation:
        """Rank the next item of every event; see :meth:`common.recommender.Recommender.evaluate` and :meth:`fit`."""
        return super().evaluate(data, baselines, verbose=verbose, session=session, item=item, time=time)

    def recommend(self, sessions: Any, k: int = 10, exclude_seen: bool = False) -> pd.DataFrame:
        """The items most likely to come next.

        Args:
            sessions: item ids of one session, the oldest first; or several sessions: a list of such lists, a mapping
                session -> items, or a data frame with the columns of :meth:`fit`, whatever their usual names.
            k: items for each session; fewer if there are no more.
            exclude_seen: leave out the items that the session has already.

        Returns:
            Columns ``rank`` (from 1), ``item`` and ``score``, best first; for several sessions before them ``session``,
            its key, or its place in the list. Equal scores stand in the order of the training data's items.

        Raises:
            UserError: nothing was learnt yet, or a session has no item that the training data have. Single unknown
                items are passed over, with a warning.
        """
        self.require_fitted()
        require(isinstance(k, int) and k >= 1, f"k is {k!r}; it must be a whole number, 1 or more")
        keys, texts = _session_lists(sessions)
        names = ["the session"] if keys is None else [f"session {key}" for key in keys]
        with as_in_python(GruOptions):
            answers = self.answers(list(zip(names, texts, strict=True)), k, exclude_seen)
        rows = [
            (key, rank, item, score)
            for key, answer in zip([None] if keys is None else keys, answers, strict=True)
            for rank, (item, score) in enumerate(answer.recommended, 1)
        ]
        frame = pd.DataFrame(rows, columns=["session", "rank", "item", "score"])
        if self._integers:
            frame["item"] = frame["item"].astype(np.int64)
        return frame if keys is not None else frame.drop(columns="session")

    def answers(self, sessions: Sequence[tuple[str, list[str]]], k: int, exclude_seen: bool) -> list[Answer]:
        """The best items after sessions, each with its name for messages; unknown items are named on stderr.

        Raises:
            UserError: a session has no item that the training data have.
        """
        from gru4rec.evaluation import best_items

        ids = self.training_data(whole=False).item_ids
        numbers = {name: number for number, name in enumerate(ids)}
        known = [_known(where, items, numbers) for where, items in sessions]
        best = best_items(self.networks, known, k, exclude_seen)
        return [
            Answer(
                [ids[item] for item in session],
                [name for name in items if name not in numbers],
                [(ids[item], score) for item, score in found],
            )
            for (_, items), session, found in zip(sessions, known, best, strict=True)
        ]

    # Data.

    def read(
        self, options: GruOptions, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[GruOptions, Dataset, SessionData]:
        named: dict[str, Any] = {KEYS[name]: given for name, given in reading.items() if given is not None}
        options = dataclasses.replace(options, **named)
        folder = Path(data) if isinstance(data, str | Path) and Path(data).is_dir() else None
        self._integers = False
        if data is None:
            require(validation is None, "validation: a dataset has a validation part of its own")
            return options, *load_dataset(options.data_dir, options.of_data)
        if isinstance(data, str) and data == "sample" and folder is None:
            require(validation is None, "validation: the sample has a validation part of its own")
            dataset, found = load_sample(options.of_data)
            return dataclasses.replace(options, data_dir=dataset.raw), dataset, found
        if folder is not None and find_session_files(folder, options.of_data):
            require(validation is None, f"validation: the dataset in {folder} has a validation part of its own")
            return dataclasses.replace(options, data_dir=folder), *load_dataset(folder, options.of_data)
        found = prepare_tables(data, validation, options.of_data)
        self._integers = _are_integers(data, reading.get("item"))
        return options, Dataset(Path(), Path(), _name_of(data), synthetic=False), found

    def tested_on(self, data: SessionData, table: Any, reading: Mapping[str, Any]) -> SessionData:
        assert self.settings is not None
        named: dict[str, Any] = {KEYS[name]: given for name, given in reading.items() if given is not None}
        return tested_on(data, table, dataclasses.replace(self.settings.of_data, **named))

    def training_data(self, whole: bool) -> SessionData:
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

    def counts(self, data: SessionData) -> dict[str, int]:
        found = {"items": len(data.item_ids)}
        for name, part in (("train", data.train), ("test", data.test)):
            found |= {f"{name}_sessions": len(part), f"{name}_events": len(part.items)}
        return found

    def tests(self, data: SessionData) -> int:
        return tested_events(data.test)

    def require_tested(self, data: SessionData) -> None:
        require(len(data.test) > 0, f"{self._where}: no test session is left; see --test-days and --min-support")

    @property
    def _where(self) -> str:
        return self.dataset.name if self.dataset else "the data"

    # Networks and training.

    @property
    def networks(self) -> Networks:
        """The networks; those of a loaded model are read when they are needed, as that takes Keras."""
        if self._networks is None:
            from gru4rec.weights import load_model

            assert self._weights is not None
            self._networks = load_model(self._weights, len(self.training_data(whole=False).item_ids))
        return self._networks

    @property
    def network(self) -> dict[str, Any]:
        """The functional models ``step`` and ``core``, see :mod:`gru4rec.model`."""
        self.require_fitted()
        return {"step": self.networks.step, "core": self.networks.core.network}

    @property
    def kept(self) -> Any:
        return self.networks.step

    def build(self, data: SessionData, weights: Path | None) -> None:
        from gru4rec.model import Networks
        from gru4rec.weights import load_weights

        assert self.settings is not None
        self._ranks = None
        learns = self.settings.epochs == 0 or has_next(data.train)
        require(learns, f"{self._where}: no session of the training data has two events; nothing can be learnt")
        if weights:
            self._networks = load_weights(weights, data)
            return
        architecture = self.settings.architecture(
            len(data.item_ids), None if data.features is None else data.features.shape[1]
        )
        features = np.asarray(data.features, np.float32) if architecture.input_table is None else None
        self._networks = Networks(architecture, features, self.settings.seed)

    def train(self, data: SessionData, run_dir: Path | None) -> Progress:
        """Train epoch after epoch; with a validation part the weights of the best epoch stay, else the last one's."""
        from common import runtime
        from common.epochs import EpochLoop, Monitor, Trained, advancing
        from common.negatives import Negatives
        from common.optimizers import RowAdagrad, RowAdam, RowOptimizer
        from common.replicas import said_if_a_worker_is_gone
        from gru4rec import training
        from gru4rec.evaluation import Evaluator
        from gru4rec.losses import make_loss

        options, networks = self.settings, self.networks
        assert options is not None and options.epochs is not None and options.batch_size and options.loss
        assert options.learning_rate is not None and options.momentum is not None
        scaled = runtime.precision(options) == "mixed_float16"
        optimizer: RowOptimizer = RowAdagrad(networks.named, options.learning_rate, options.momentum, scaled)
        if options.optimizer == "adam":
            optimizer = RowAdam(networks.named, options.learning_rate, scaled)
        size, strategy = options.batch_size, runtime.strategy(options.distribute)
        negatives = Negatives(data.support, options.alpha or 0.0, options.negatives or 0, options.seed)
        trainer = training.SessionTrainer(
            networks,
            optimizer,
            make_loss(options.loss, options.bpreg or 0.0, options.elu or 0.0),
            size,
            data.support,
            logq=options.logq or 0.0,
            alpha=options.alpha or 0.0,
            dropout_input=options.dropout_input or 0.0,
            dropout_hidden=options.dropout_hidden or 0.0,
            seed=options.seed,
            jit=not options.deterministic,
            strategy=strategy,
        )
        evaluator = Evaluator(networks, jit=not options.deterministic) if has_next(data.validation) else None

        def train(epoch: int, bar: Any) -> Trained:
            work = training.chunks(data.train, size, negatives.epoch(epoch))
            with said_if_a_worker_is_gone(strategy):
                losses, live = trainer.epoch(advancing(bar, work), epoch)
            return Trained(float(np.sum(losses) * size / live.sum()), float(live.sum()))

        def validate(epoch: int) -> dict[str, float]:
            found = evaluator(data.validation).figures() if evaluator else {}
            return {f"val_{name}": found[name] for name in ("recall@20", "mrr@20") if name in found}

        weights: dict[str, Any] = {f"model.{name}": variable for name, variable in networks.named.items()}
        variables = weights | {f"optimizer.{name}": variable for name, variable in optimizer.state.items()}
        monitor = Monitor("val_mrr@20", higher=True) if evaluator else None
        loop = EpochLoop(variables, run_dir, monitor, weights)
        if options.resume:
            loop.resume()
        return loop.run(train, options.epochs, validate, "GRU4Rec, ", "chunk")

    # What is measured.

    def measure(self, data: SessionData) -> Measured:
        from gru4rec.evaluation import Evaluator

        assert self.settings is not None
        self._ranks = Evaluator(self.networks, jit=not self.settings.deterministic)(data.test)
        return self._ranks.measured()

    def measure_baselines(self, data: SessionData) -> dict[str, Measured]:
        from gru4rec.evaluation import baseline_ranks

        found = baseline_ranks(data.train, data.test, len(data.item_ids))
        return {name: ranks.measured() for name, ranks in found.items()}

    # What is kept and told.

    def facts(self, data: SessionData) -> dict[str, Any]:
        return {
            "architecture": dataclasses.asdict(self.networks.architecture),
            "vocabulary": digest(data.item_ids),
            "integer_items": self._integers,
        }

    def keep(self, folder: Path) -> None:
        """Write the vocabulary, the features, and the training sessions if they are in no dataset."""
        data = self.data
        assert data is not None
        save_vocabulary(folder, data.item_ids)
        features = data.features if self.networks.features is None else np.asarray(self.networks.features)
        if features is not None:
            with replacing(folder / "features.npy") as file:
                np.save(file, features)
        if self.dataset is not None and self.dataset.raw == Path():
            with replacing(folder / TRAINING) as file:
                np.savez(file, **vars(data.train))

    def restore(self, folder: Path, data_dir: str | None) -> None:
        assert self.settings is not None
        ids, self._weights = read_vocabulary(folder), folder / WEIGHTS
        Architecture.of_run(folder, len(ids))  # what is wrong with it is told without waiting for Keras
        self._integers = bool(self.recorded.get("integer_items"))
        described = self.recorded.get("dataset", {})
        if data_dir:
            self.settings = dataclasses.replace(self.settings, data_dir=Path(data_dir))
        train, kept = _none(), folder / TRAINING
        if kept.is_file():
            train = _read_training(kept, len(ids))
            self.dataset = Dataset(Path(), Path(), str(described.get("name")), synthetic=False)
        support = np.bincount(train.items, minlength=len(ids)).astype(np.int64)
        self.data = SessionData(
            train, _none(), _none(), ids, support, None, [], "tsv", {}, str(described.get("fingerprint"))
        )

    def title(self) -> str:
        assert self.settings is not None
        return f"GRU4Rec ({self.networks.architecture.inputs}, {self.settings.loss})"

    def name_of_run(self, dataset: Dataset) -> str:
        options = self.settings or self.options
        preset = options.preset if options.preset in options.presets else f"{options.inputs}-{options.loss}"
        return f"{preset}-{dataset.name}"

    def told(self, data: SessionData, folder: Path, found: Evaluation) -> Told:
        return Told(
            details={
                "architecture": dataclasses.asdict(self.networks.architecture),
                "official_ties": {mode: self._ranks.figures(ties=mode) for mode in OFFICIAL_TIES},
            },
            published=PAPER,
            more_columns=["mrr@20_seed"],
            notes=[*([] if len(self._ranks) else [NOTHING]), NOTE],
            following=["gru4rec/recommend.py", "--run-dir", folder, "ID", "ID"],
        )


def has_next(sessions: Sessions) -> bool:
    """Whether an event of the sessions is followed by another, so that something can be ranked."""
    return bool((np.diff(sessions.offsets) >= 2).any())


def _known(where: str, items: Sequence[str], numbers: Mapping[str, int]) -> list[int]:
    """Numbers of the items of a session; unknown ones are named on stderr and passed over.

    Raises:
        UserError: all are unknown.
    """
    unknown = [name for name in items if name not in numbers]
    some = " ".join(map(console.short, unknown[:3])) + " ..." * (len(unknown) > 3)
    require(len(unknown) < len(items), f"{where}: none of its items was in the training data: {some}")
    for name in unknown:
        console.notify(f"{where}: item {console.short(name)} was not in the training data; it is skipped")
    return [numbers[name] for name in items if name in numbers]


def _read_training(file: Path, items: int) -> Sessions:
    """The sessions in a file of ``items`` items.

    Raises:
        UserError: it is damaged.
    """
    try:
        arrays = read_npz(file)
        found = Sessions(arrays["items"], arrays["offsets"], arrays["starts"])
        lengths = np.diff(found.offsets)
        whole = bool((lengths > 0).all()) and (len(found), len(found.items)) == (len(lengths), int(found.offsets[-1]))
        whole = whole and bool(((found.items >= 0) & (found.items < items)).all())
    except DAMAGE as error:
        raise UserError(f"{file}: cannot be read ({error}); save the model again") from None
    require(whole, f"{file}: holds no sessions of the model's {items:,} items; save the model again")
    return found


def _none() -> Sessions:
    return Sessions(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0))


def _session_lists(sessions: Any) -> tuple[list[Any] | None, list[list[str]]]:
    """Keys and items of sessions as texts; no keys for a single session.

    Raises:
        UserError: there is no session, or one is empty.
    """
    keys: list[Any] | None
    if isinstance(sessions, pd.DataFrame) or hasattr(sessions, "get_column") or hasattr(sessions, "column_names"):
        read = read_events(sessions, "SessionId", "ItemId", "Time")
        events = read.events
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in events.ids]
        parts = [events.items[low:high] for low, high in itertools.pairwise(events.offsets)]
        items_of = {name: [read.item_ids[item] for item in part] for name, part in zip(names, parts, strict=True)}
        return list(read.session_ids), [items_of[name] for name in read.session_ids]
    if isinstance(sessions, Mapping):
        keys, found = list(sessions), [_ids(items) for items in sessions.values()]
    else:
        require(
            isinstance(sessions, Iterable) and not isinstance(sessions, str | bytes),
            f"sessions is {sessions!r:.60}; it must be a list of item ids, or several such lists",
        )
        members = list(sessions)
        several = bool(members) and not any(isinstance(one, str | bytes) or np.ndim(one) == 0 for one in members)
        keys, found = (
            (list(range(len(members))), [_ids(one) for one in members]) if several else (None, [_ids(members)])
        )
    require(bool(found) and all(found), "sessions: one has no item; a session needs one or more")
    return keys, found


def _ids(items: Iterable[Any]) -> list[str]:
    """Ids as the tables' reader keeps them."""
    return [one.decode() if isinstance(one, bytes) else str(one) for one in items]


def _are_integers(table: Any, item: str | None) -> bool:
    """Whether the ids of a pandas table's items are integers, so that its user expects such."""
    if not isinstance(table, pd.DataFrame):
        return False
    names = [item] if item else USUAL_NAMES["ItemId"]
    column = next((name for name in names if name in table.columns), None)
    return column is not None and pd.api.types.is_integer_dtype(table[column].dtype)


def _name_of(source: Any) -> str:
    """What reports call a table."""
    return Path(source).name if isinstance(source, str | Path) else "table"
