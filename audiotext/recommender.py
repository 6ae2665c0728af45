"""The recommender AudioText: what is particular to it, for Python and the command line."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from audiotext.architecture import Architecture, Branch
from audiotext.baselines import UPPER
from audiotext.dataset import Collection, Items, owner_rows, read_items, read_users
from audiotext.evaluation import factor_scores, measured, rank_items, unit_rows
from audiotext.kinds import NAMES, TEXT_KINDS, Text, items_of
from audiotext.layout import ARTISTS, SONGS, ItemSet, Layout
from audiotext.matrices import read_dense, read_ids, write_dense, write_ids
from audiotext.options import AudioTextOptions
from audiotext.preprocess import KEPT_SOUND, open_dataset, prepare_tables
from audiotext.raw import FILES
from audiotext.sample import write_sample
from audiotext.splits import Split, artist_split, released_split
from audiotext.tables import collection_of_tables, plays_of, unheard_split
from audiotext.weights import (
    ARCHITECTURE,
    PREDICTED,
    PREDICTIONS,
    SCALER,
    TEXT,
    load_any,
    load_network,
    read_architecture,
    read_facts,
)
from common import console
from common.options import UserError, require, write_json
from common.paper import WEIGHTS
from common.recommender import Description, Recommender, Told, as_in_python
from common.row_counts import RowCounts
from common.sources import Dataset, sample_dataset
from common.vocabulary import digest

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    import keras

    from audiotext.audio.scaler import Scaler
    from audiotext.inputs import Inputs
    from audiotext.text import TfIdf
    from audiotext.training import Predictor
    from common.checkpoint import Progress
    from common.evaluation import Evaluation, Measured

COLUMNS = ("map@500", "ndcg@10", "precision@10", "auc", "catalogue_coverage@10", "map@500_released")
"""The figures of the tables; by the first one the best baseline is chosen."""
CITATION = "Oramas, Nieto, Sordo, Serra: A Deep Multimodal Approach for Cold-start Music Recommendation (2017)"
NOTE = (
    "Means over the users with a test item of theirs, all test items ranked, tied items at their expected rank; "
    "map@500_released as tartarus: users without one count 0. catalogue_coverage@10: share of the test items in "
    "anybody's top 10."
)
BRANCHES: tuple[Branch, ...] = ("text", "audio")
KEPT = "dlrs-data"
"""In the folder of a model that learnt from tables: what was made of them."""
BLOCK = 256
"""Items that a network reads at a time when it predicts."""


class AudioText(Recommender[AudioTextOptions, Collection]):
    """Songs or artists that nobody has played yet, by biographies and sound (Oramas et al. 2017, arXiv 1706.09739).

    >>> AudioText(model="a-tags", epochs=5)
    AudioText(epochs=5, model='a-tags')
    """

    options_type = AudioTextOptions
    not_of_a_model = ("text_run", "audio_run")
    reports = False
    """Whether the branches of a late fusion report on themselves, as on the command line."""
    architecture: Architecture
    split: Split
    empty: int = 0
    """Training items without any text, which are left out."""
    text: Text | None = None
    """What the network, or the branch whose embedding it reads, reads."""
    tfidf: TfIdf | None = None
    scaler: Scaler | None = None
    folder: Path | None = None
    """Of the run that has been reported on."""
    _model: keras.Model | None = None
    _weights: Path | None = None
    _reads: Inputs | None = None
    _vectors: NDArray[np.float32] | None = None
    _kept_vectors: tuple[list[str], NDArray[Any]] | None = None
    _kept_data: Path | None = None
    _embedded: Sequence[Branch] = ()
    _whole: bool = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.branches: dict[Branch, AudioText] = {}

    @property
    def description(self) -> Description:
        options, counts = self.settings or self.options, self.recorded.get("dataset", {}).get("counts", {})
        cold = "the data do not say whose the items are"
        if "test_artists" in counts:
            cold = f"{counts['cold_start_artists']:,} of {counts['test_artists']:,} test artists have no training item"
        inner = "in file order" if options.protocol == "released" else "by artist, at random"
        users = min(counts.get("users", 0), options.users or counts.get("users", 0))
        return Description(
            folder="audiotext",
            title=NAMES[options.model],
            citation=CITATION,
            columns=COLUMNS,
            split=f"test items as the dataset has them ({cold}); of the training items 80/10/10, {inner}",
            ranking=f"all {counts.get('test_items', 0):,} test items, for the first {users:,} users",
            ties="expected rank; in *_released as NumPy's unstable sort left them until version 1.24",
            tested="pair of a user and a test item",
            bounds=(UPPER,),
            against_all=True,
        )

    def run(self) -> dict[str, Any]:
        self.reports = True
        return super().run()

    def fit(  # type: ignore[override]  # here the tables have names
        self,
        data: Any = None,
        validation: Any = None,
        run_dir: str | Path | None = None,
        resume: bool = False,
        *,
        songs: Any = None,
        biographies: Any = None,
        tags: Any = None,
        entities: Any = None,
        user: str | None = None,
        item: str | None = None,
        plays: str | None = None,
        verbose: bool = False,
    ) -> Self:
        """Learn from a folder in one of the formats of ``data/README.md``, or from tables.

        Items with plays are learnt from; those that the other tables name beside them are to be recommended.

        Args:
            data: a folder, ``"sample"``, None (as the command line without ``--data-dir``), or a table of plays:
                columns ``user_id``, ``song_id`` or ``artist_id``, and ``plays``; without the last each row is a play.
            validation: none is taken: a part of the training items is split off.
            run_dir: see :meth:`common.recommender.Recommender.fit`.
            resume: see there.
            songs: table of ``song_id``, ``artist_id`` and, if known, ``title``, ``artist`` and ``audio``, the path of a
                sound file. Without it items are artists.
            biographies: table of ``artist_id`` and ``biography``, or a mapping artist -> text.
            tags: table of ``artist_id``, ``tag`` and, if known, ``count``.
            entities: table of ``artist_id`` and ``entity``, a row for each mention.
            user, item, plays: names of the columns of ``data``, if they are not usual ones.
            verbose: print what was read, and the figures of each epoch.

        Raises:
            UserError: the data are wrong, or options do not fit them.
        """
        tables = {"songs": songs, "biographies": biographies, "tags": tags, "entities": entities}
        columns = {"user": user, "item": item, "plays": plays}
        return super().fit(data, validation, run_dir, resume, verbose=verbose, **tables, **columns)

    def evaluate(  # type: ignore[override]
        self,
        data: Any = None,
        baselines: bool = True,
        *,
        user: str | None = None,
        item: str | None = None,
        plays: str | None = None,
        verbose: bool = False,
    ) -> Evaluation:
        """Rank the items that nobody had played, for the users that played one later.

        Args:
            data: table of later plays of these items, as for :meth:`fit`; None: the test part of the dataset.
            baselines: see :meth:`common.recommender.Recommender.evaluate`.
            user, item, plays: names of its columns, if they are not usual ones.
            verbose: see there.

        Raises:
            UserError: see there.
        """
        return super().evaluate(data, baselines, verbose=verbose, user=user, item=item, plays=plays)

    @classmethod
    def load(cls, folder: str | Path, data_dir: str | Path | None = None) -> Self:
        """See :meth:`common.recommender.Recommender.load`; ``data_dir``: where the dataset is now, if it was moved."""
        model = super().load(folder)
        if data_dir is not None and model.settings is not None:
            model.settings = dataclasses.replace(model.settings, data_dir=Path(data_dir))
        return model

    def recommend(self, user: Any, k: int = 10) -> pd.DataFrame:
        """Items that nobody has played yet, for a user.

        Args:
            user: id of a user of the data, or a list of such.
            k: items for each; fewer if there are no more.

        Returns:
            Columns ``rank`` (from 1), ``item`` and ``score``, best first, and as far as they are known ``title`` and
            ``artist``, of artists ``name``; for several users before them ``user``.

        Raises:
            UserError: nothing was learnt yet, or a user is not in the data.
        """
        self.require_fitted()
        several = not isinstance(user, str | int | np.integer)
        users = [str(one) for one in user] if several else [str(user)]
        require(bool(users), "user is empty; expected an id, or a list of them")
        with as_in_python(AudioTextOptions):
            answers = self.answers(users, k)
        shown = ("rank", "item", "score", "title", "artist", "name")
        rows = [
            {"user": one, **{name: row[name] for name in shown if name in row}}
            for one, listed in zip(users, answers, strict=True)
            for row in listed
        ]
        frame = pd.DataFrame(rows)
        return frame if several else frame.drop(columns="user")

    def answers(self, users: Sequence[str], k: int) -> list[list[dict[str, Any]]]:
        """The best items of each user: rank, item, score, names, the artist's id, and plays in the test part.

        Raises:
            UserError: there is no such user, or the run is not finished.
        """
        _require_k(k)
        data = self.training_data(whole=False)
        items, ids = data.items, read_users(data.layout, len(data.items.user_factors))
        number, names = {name: row for row, name in enumerate(ids)}, Names(data.layout, items.kind)
        for user in users:
            require(user in number, f"user {console.short(user)}: no such user; ids are such as {', '.join(ids[:3])}")
        unit = unit_rows(self.vectors)
        found = []
        for user in users:
            scores = unit @ items.user_factors[number[user]]
            plays = np.asarray(items.plays[:, [number[user]]].todense()).ravel()
            best = np.argsort(-scores, kind="stable")[:k]
            found.append(
                [
                    {"rank": rank, **names.of(items.test, items.test_artists, row), "score": float(scores[row])}
                    | {"plays": int(plays[row])}
                    for rank, row in enumerate(best, 1)
                ]
            )
        return found

    def listeners(
        self, audio: str | Path | None = None, text: str | Path = "", terms: Sequence[str] = (), k: int = 10
    ) -> pd.DataFrame:
        """The users who would like a song, or an artist, that is in no dataset.

        Args:
            audio: sound file (WAV, FLAC, Ogg, MP3), if the network hears.
            text: biography of the artist, or the path of a text file, if it reads.
            terms: entities (a-sem) or tags (a-tags) of the artist.
            k: users.

        Returns:
            Columns ``rank`` (from 1), ``user`` and ``score``, best first.

        Raises:
            UserError: see :meth:`item_vector`.
        """
        self.require_fitted()
        _require_k(k)
        with as_in_python(AudioTextOptions):
            found = self.nearest_and_listeners(self.item_vector(audio, text, terms), k)["users"]
        rows = [(rank, row["user"], row["score"]) for rank, row in enumerate(found, 1)]
        return pd.DataFrame(rows, columns=["rank", "user", "score"])

    def nearest_and_listeners(self, vector: NDArray[Any], k: int) -> dict[str, list[dict[str, Any]]]:
        """The known items nearest to an item vector by the cosine of their factors; the users who score it highest."""
        data = self.training_data(whole=False)
        items, unit = data.items, unit_rows(vector[None])[0]
        cosines, scores = unit_rows(items.factors) @ unit, items.user_factors @ unit
        nearest, best = (np.argsort(-values, kind="stable")[:k] for values in (cosines, scores))
        users, names = read_users(data.layout, len(scores)), Names(data.layout, items.kind)
        return {
            "nearest": [
                {**names.of(items.train, items.train_artists, row), "score": float(cosines[row])} for row in nearest
            ],
            "users": [{"user": users[row], "score": float(scores[row])} for row in best],
        }

    def item_vector(
        self, audio: str | Path | None = None, text: str | Path = "", terms: Sequence[str] = ()
    ) -> NDArray[np.float32]:
        """The item vector (factors,) that the network predicts for a new song or artist; see :meth:`listeners`.

        Raises:
            UserError: something is missing that the network needs or given though it does not, cannot be read, or tells
                nothing (silence; no word that the training texts have).
        """
        from audiotext.new_song import patch_row, read_biography, text_row

        self.require_fitted()
        assert self.settings is not None
        kind, inputs = self.settings.model, self.architecture.inputs
        for name, wanted, given, what in (
            ("audio", "audio" in inputs, audio is not None, "sound"),
            ("text", "text" in inputs, bool(text) or bool(terms), "texts"),
        ):
            require(wanted or not given, f"{name}: the {kind} network reads no {what}; leave it out")
            require(given or not wanted, f"{name} is missing: the {kind} network reads {what}")
        rows: dict[str, Any] = {}
        if "text" in inputs:
            tfidf = self._reader_of("text").tfidf
            require(tfidf is not None, "the run read its texts ready-made; they cannot be made for new artists")
            assert tfidf is not None
            biography = read_biography(text) if isinstance(text, Path) else text
            rows["text"] = text_row(tfidf, self.text, biography, terms)
        if audio is not None:
            hears = self._reader_of("audio")
            require(
                hears.scaler is not None,
                "the run read its audio embeddings ready-made; they cannot be made for new songs",
            )
            assert hears.scaler is not None and hears.settings is not None
            rows["audio"] = patch_row(hears.scaler, hears.settings.protocol, Path(audio))
        for branch, model in self.branches.items():
            model._require_fits(branch, rows[branch])
            rows[branch] = np.asarray(_embedding(model.network, branch)({branch: rows[branch]}, training=False))
        for name, row in rows.items():
            self._require_fits(name, row)
        vector = np.asarray(self.network(rows, training=False), np.float32)[0]
        require(bool(np.isfinite(vector).all()), "the network predicts NaN; its training has failed")
        return vector

    def _reader_of(self, branch: Branch) -> AudioText:
        """The model that reads texts or sound: a branch of this one, or itself."""
        return self.branches.get(branch, self)

    def _require_fits(self, branch: str, row: NDArray[Any]) -> None:
        """Files of a run may have been exchanged."""
        found = self.architecture
        shape = (found.frames, found.bins) if found.reads_patches else (found.audio,)
        wanted = (found.text,) if branch == "text" else shape
        fits = row.shape[1:] == wanted
        require(fits, f"the network reads {branch} of {wanted}, its other files make {row.shape[1:]}; train it anew")

    # Data.

    def read(
        self, options: AudioTextOptions, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[AudioTextOptions, Dataset, Collection]:
        require(validation is None, "validation: a part of the training items is split off; leave it out")
        folder = Path(data) if isinstance(data, str | Path) and Path(data).is_dir() else None
        sample = folder is None and isinstance(data, str) and data == "sample"
        if data is None or folder is not None or sample:
            given = [name for name, value in reading.items() if value is not None]
            require(not given, f"{', '.join(given)}: belong to a table of plays; leave them out")
            if sample:
                folder = sample_dataset("audiotext", FILES, write_sample).raw
            options = dataclasses.replace(options, data_dir=folder or options.data_dir)
            dataset, layout = open_dataset(options.data_dir, options.of_data, options.parts, options.protocol)
            return options, dataset, Collection.of(layout, items_of(options.model))
        return options, Dataset(Path(), Path(), "table", synthetic=False), self._of_tables(options, data, reading)

    def _of_tables(self, options: AudioTextOptions, plays: Any, reading: Mapping[str, Any]) -> Collection:
        kind = items_of(options.model)
        tables = {name: reading.get(name) for name in ("songs", "biographies", "tags", "entities")}
        require(
            kind == ARTISTS or tables["songs"] is not None,
            f"--model {options.model} recommends songs: name them and their artists with songs=",
        )
        raw = collection_of_tables(plays, reading, **tables)
        split = unheard_split(raw, kind == ARTISTS)
        folder = tempfile.TemporaryDirectory(prefix="encore-", ignore_cleanup_errors=True)
        layout = prepare_tables(raw, split, options.of_data, Path(folder.name), options.parts, options.protocol)
        return Collection.of(layout, kind, rows=raw.rows.as_json(), notes=raw.notes, folder=folder)

    def tested_on(self, data: Collection, table: Any, reading: Mapping[str, Any]) -> Collection:
        items, rows = data.items, RowCounts()
        frame = plays_of(table, reading, items.kind == ARTISTS)
        users = {name: row for row, name in enumerate(read_users(data.layout, len(items.user_factors)))}
        tests = {name: row for row, name in enumerate(items.test)}
        known, new = frame.user.isin(users), frame["item"].isin(tests)
        rows.add_file("the table", len(frame))
        heard = frame["item"].isin(items.train)
        rows.leave_out("the table", "of items that had plays in training", int(heard.sum()))
        rows.leave_out("the table", "of unknown items", int((~heard & ~new).sum()))
        rows.leave_out("the table", "of unknown users", int((new & ~known).sum()))
        used = frame[new & known]
        user, item = used.user.map(users).to_numpy(np.int64), used["item"].map(tests).to_numpy(np.int64)
        cells = (used.plays.to_numpy(np.float32), (item, user))
        plays = sparse.csr_matrix(cells, shape=(len(items.test), len(users)))
        return dataclasses.replace(data, items=dataclasses.replace(items, plays=plays), rows=rows.as_json())

    def training_data(self, whole: bool) -> Collection:
        if self.data is None or (whole and not self._whole):
            self.data, self._whole = self._opened(whole), whole
        return self.data

    def _opened(self, whole: bool) -> Collection:
        """The dataset of a loaded model."""
        from audiotext.inputs import input_fingerprints

        options, known = self.settings, self.recorded.get("dataset", {})
        assert options is not None
        kind = items_of(options.model)
        if self._kept_data is not None:
            sound = self._kept_data / KEPT_SOUND
            layout = Layout(self._kept_data, self.architecture.factors, sound=sound if sound.is_dir() else None)
            found = Collection.of(layout, kind, rows=known.get("rows", {}))
        else:
            parts = options.parts if whole else ["factors"]
            _, layout = open_dataset(options.data_dir, options.of_data, parts, options.protocol)  # type: ignore[arg-type]
            found = Collection.of(layout, kind)
        same = known.get("fingerprint") == found.fingerprint
        if whole and same:
            same = known.get("inputs") == input_fingerprints(options, layout, self.text, list(self.branches))
        require(same, f"{layout.folder}: is not the dataset that the run was trained on; name that with --data-dir")
        return found

    def counts(self, data: Collection) -> dict[str, int]:
        return data.items.counts

    def inputs(self, data: Collection) -> dict[str, str]:
        from audiotext.inputs import input_fingerprints

        assert self.settings is not None
        return input_fingerprints(self.settings, data.layout, self.text, self._embedded)

    def tests(self, data: Collection) -> int:
        return int(data.items.plays[:, self._users].count_nonzero())

    def require_tested(self, data: Collection) -> None:
        require(self.tests(data) > 0, "none of the users to be evaluated has played a test item; see --users")

    @property
    def _users(self) -> slice:
        """Those that are evaluated."""
        return slice((self.settings or self.options).users or None)

    # Networks and training.

    @property
    def network(self) -> keras.Model:
        self.require_fitted()
        if self._model is None:
            assert self._weights is not None
            self._model = load_network(self.architecture, self._weights)
        return self._model

    def build(self, data: Collection, weights: Path | None) -> None:
        from audiotext.inputs import embedded, text_of
        from audiotext.model import network
        from common import runtime

        options = self.settings
        assert options is not None
        self.progress, self._vectors, self._kept_vectors, self._kept_data = None, None, None, None
        self.branches, self._whole = {}, True
        self.text = text_of(options, data.layout)
        self._embedded = embedded(options, data.layout, self.text)
        for path in options.weights:
            self._require_same_data(path, data)
        for name in self._embedded:
            self._find_branch(name, data, weights)
        self._read(data)
        assert self._reads is not None
        self.architecture = options.architecture(factors=data.items.factors.shape[1], **self._reads.sizes)
        with runtime.seeded(options.seed):
            self._model = network(self.architecture)
        if weights:
            load_any(self._model, weights)

    def _read(self, data: Collection) -> None:
        """Open what the network reads; the sizes of embeddings to come are those of the branches."""
        from audiotext.inputs import read_inputs

        options = self.settings
        assert options is not None
        split = split_of(data.items, options)
        self._reads = reads = read_inputs(options, data.layout, data.items, split, self.text, self._embedded)
        self.split, self.empty = without_empty(split, reads)
        for name, pending in reads.pending.items():
            if name in self.branches:
                found = self.branches[name].architecture
                known = {size: getattr(found, size) for size in pending.size}
                require(
                    known == pending.size,
                    f"--{name}-run: reads {name} of {tuple(known.values())}, "
                    f"the dataset has {tuple(pending.size.values())}",
                )
            else:
                synthetic = self.dataset is not None and self.dataset.synthetic
                chosen = self._options_of_branch(name, None).completed(synthetic)
                found = chosen.architecture(factors=data.items.factors.shape[1], **pending.size)
            reads.sizes[name] = found.embedding_size(name)
        self.tfidf, self.scaler = reads.tfidf, reads.scaler

    def _find_branch(self, name: Branch, data: Collection, weights: Path | None) -> None:
        """Load the run that the embedding of a branch comes from, if one is named or lies beside given weights."""
        options = self.settings
        assert options is not None
        run = options.text_run if name == "text" else options.audio_run
        if run is None and weights is not None and (weights.parent / name / WEIGHTS).is_file():
            run = weights.parent / name
        if run is None:
            require(options.epochs != 0, f"--epochs 0 needs the {name} branch too: name its run with --{name}-run")
            return
        facts = read_facts(run, TEXT_KINDS if name == "text" else ("audio",))
        of_items = data.layout.load_index("train", ARTISTS) if name == "text" else data.items.train
        require(
            facts.get("train_items") == digest(of_items),
            f"{run}: was trained on other items than those of this dataset; name a run on the same data",
        )
        what = "text" if name == "text" else "sound"
        require(
            facts["dataset"].get("inputs", {}).get(what) == self.inputs(data)[what],
            f"{run}: was trained on another {what} than that of this dataset; name a run on the same data",
        )
        self.branches[name] = self._branch_of(run, data)

    def _branch_of(self, run: Path, data: Collection) -> AudioText:
        """The branch in the folder of a run, on the dataset of this model."""
        branch = AudioText.load(run)
        assert branch.settings is not None
        branch.data = dataclasses.replace(data, items=_items_of(data, branch.settings))
        return branch

    def _require_same_data(self, weights: Path, data: Collection) -> None:
        """Weights of a run on another split may have seen the test items; those of other texts know other terms."""
        from common.weights import is_keras_layout

        if is_keras_layout(weights) or not (weights.parent / "options.json").is_file():
            return
        trained_on = read_facts(weights.parent)["dataset"]
        before = {"items": trained_on.get("fingerprint"), **trained_on.get("inputs", {})}
        now = {"items": data.fingerprint, **self.inputs(data)}
        changed = [name for name, value in now.items() if name in before and before[name] != value]
        require(
            not changed,
            f"--weights {weights}: were trained on other data ({', '.join(changed)}); name those with --data-dir, and "
            "the options that prepared them",
        )

    def train(self, data: Collection, run_dir: Path | None) -> Progress:
        """Train the branches that are needed, then the network; with tartarus's early stopping."""
        from audiotext.losses import unit_rows as unit_targets
        from audiotext.training import RELEASED_BLOCK, FitOptions, fit
        from common import runtime

        options = self.settings
        assert options is not None and options.epochs is not None and options.batch_size
        assert options.learning_rate and options.patience is not None
        self._embed(run_dir)
        released = options.protocol == "released"
        settings = FitOptions(
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            patience=options.patience,
            seed=options.seed,
            restore_best=not released,
            block=RELEASED_BLOCK if released and self.architecture.reads_patches else None,
            # XLA has no deterministic max-pooling, and hardly makes a network that reads patches faster.
            jit=not options.deterministic and not self.architecture.reads_patches,
        )
        assert self._reads is not None
        rows, targets = self._reads.rows["train"], unit_targets(data.items.factors)
        train, validation, title = self.split.train, self.split.validation, f"{NAMES[options.model]}, "
        with runtime.strategy(options.distribute).scope():
            progress = fit(self.network, rows, targets, train, validation, settings, run_dir, options.resume, title)
        self._vectors = None
        if run_dir is not None:
            self.keep_predictions(run_dir, data)
        return progress

    def _embed(self, run_dir: Path | None) -> None:
        """Make the embeddings that are pending, with branches that are trained first unless they are given."""
        assert self._reads is not None
        for name in list(self._reads.pending):
            if name not in self.branches:
                self.branches[name] = self._trained_branch(name, run_dir)
            branch = self.branches[name]
            from audiotext.training import Predictor

            network = Predictor(_embedding(branch.network, name), BLOCK)
            self._reads.embed(name, network, branch.scaler if name == "audio" else None, run_dir)

    def _options_of_branch(self, name: Branch, folder: Path | None) -> AudioTextOptions:
        assert self.settings is not None
        kind: Any = self.text if name == "text" else "audio"
        return dataclasses.replace(
            self.options,
            data_dir=self.settings.data_dir,
            model=kind,
            text="auto",
            text_run=None,
            audio_run=None,
            weights=(),
            baselines=False,
            run_dir=folder,
            resume=folder is not None and (folder / "options.json").is_file(),
        )

    def _trained_branch(self, name: Branch, run_dir: Path | None) -> AudioText:
        """Train a network whose embedding this one reads; its run lies in the folder of this one."""
        from common import experiment

        assert self.dataset is not None and self.data is not None
        folder = run_dir / name if run_dir is not None else None
        if folder is not None and (folder / ("metrics.json" if self.reports else WEIGHTS)).is_file():
            return self._branch_of(folder, self.data)
        options = self._options_of_branch(name, folder)
        branch, data = AudioText.of(options), dataclasses.replace(self.data, items=_items_of(self.data, options))
        if self.reports:
            console.say(f"First the {name} branch: {NAMES[options.model]}")
            branch.reports = True
            experiment.run(branch, options, self.dataset, data)
        else:
            experiment.fit(branch, options, self.dataset, data, runs=folder is not None)
        return branch

    # What is measured.

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Item vectors (test items, factors): of a loaded model those that its run has kept.

        Raises:
            UserError: the run of a loaded model is not finished, or what it has kept does not fit the dataset.
        """
        if self._vectors is not None or self._reads is not None:
            return self._predicted()
        require(
            self._kept_vectors is not None, f"{self._place / PREDICTIONS}: not there; continue the run with --resume"
        )
        assert self._kept_vectors is not None
        ids, vectors = self._kept_vectors
        items = self.training_data(whole=False).items
        require(
            ids == items.test and vectors.shape == (len(ids), items.user_factors.shape[1]),
            f"{self._place / PREDICTIONS}: is not of the dataset's {len(items.test):,} test items; train it anew",
        )
        return vectors

    @property
    def _place(self) -> Path:
        return self._weights.parent if self._weights is not None else Path()

    def _predicted(self) -> NDArray[np.float32]:
        """The item vectors, by the network itself."""
        if self._vectors is None:
            self._ready()
            assert self._reads is not None
            self._vectors = self._predictor()(self._reads.rows["test"])
        return self._vectors

    def _ready(self) -> None:
        """Open what the network reads, if that has not been done, with the embeddings of its branches."""
        if self._reads is None:
            self._embedded = tuple(self.branches)
            self._read(self.training_data(whole=True))
        self._embed(None)

    def _predictor(self) -> Predictor:
        from audiotext.training import Predictor

        assert self.settings is not None
        return Predictor(self.network, BLOCK, not self.settings.deterministic)

    def _measured(self, items: Items, vectors: NDArray[Any], users: NDArray[Any] | None = None) -> Measured:
        scores = factor_scores(items.user_factors if users is None else users, vectors)
        return measured(rank_items(scores, items.plays, self._users))

    def measure(self, data: Collection) -> Measured:
        return self._measured(data.items, self._predicted())

    def measure_models(self, data: Collection) -> dict[str, Measured]:
        found = {self.title(): self.measure(data)}
        assert self.settings is not None
        for path in self.settings.weights[1:]:
            name, vectors = self._of_further_weights(path)
            found[name if name not in found else f"{name} ({path.parent.name})"] = self._measured(data.items, vectors)
        return found

    def _of_further_weights(self, path: Path) -> tuple[str, NDArray[Any]]:
        """Name and item vectors of a network that this one is compared with: of another run, or of its own sizes."""
        from audiotext.model import network
        from audiotext.training import Predictor

        assert self.settings is not None and self._reads is not None
        if (path.parent / "options.json").is_file():
            other = AudioText.load(path.parent)
            assert other.settings is not None
            require(
                items_of(other.settings.model) == items_of(self.settings.model),
                f"--weights {path}: are of artists where these are of songs, or the other way round",
            )
            other.settings = dataclasses.replace(other.settings, data_dir=self.settings.data_dir)
            return NAMES[other.settings.model], other.vectors
        other_network = network(self.architecture)
        load_any(other_network, path)
        predict = Predictor(other_network, BLOCK, not self.settings.deterministic)
        return f"{self.title()} {path.name}", predict(self._reads.rows["test"])

    def measure_baselines(self, data: Collection) -> dict[str, Measured]:
        from audiotext.references import references

        self._ready()
        assert self.settings is not None and self._reads is not None
        synthetic = bool(self.recorded["dataset"]["synthetic"])
        found = references(self.settings, data.items, self._reads, self.split, self._users, synthetic)
        return self._alone(data) | {name: measured(one) for name, one in found.items()}

    def _alone(self, data: Collection) -> dict[str, Measured]:
        """How the branches of a late fusion score the songs alone; by text a song has the score of its artist."""
        found: dict[str, Measured] = {}
        for name, branch in self.branches.items():
            if branch.data is None and branch.settings is not None:
                branch.data = dataclasses.replace(data, items=_items_of(data, branch.settings))
            vectors, users = branch.vectors, data.items.user_factors
            if name == "text":  # artists have factors of their own, and users too
                vectors = vectors[owner_rows(data.layout, data.items, "test")]
                users = data.layout.load_user_factors(ARTISTS)
            if len(users) == len(data.items.user_factors):
                found[f"{branch.title()} alone"] = self._measured(data.items, vectors, users)
        return found

    # What is kept and told.

    def facts(self, data: Collection) -> dict[str, Any]:
        assert self.settings is not None
        return {
            "kind": self.settings.model,
            "text": self.text,
            "train_items": digest(data.items.train),
            "branches": list(self._embedded),
        }

    def keep(self, folder: Path) -> None:
        """Write the architecture, what its inputs go through, the branches, item vectors, and what tables gave."""
        from common import experiment

        write_json(folder / ARCHITECTURE, self.architecture)
        if self.tfidf is not None:
            self.tfidf.save(folder / TEXT)
        if self.scaler is not None:
            self.scaler.save(folder / SCALER)
        for name, branch in self.branches.items():
            if not (folder / name / "options.json").is_file():
                experiment.save(branch, folder / name)
        if self._kept_vectors is not None:
            _write_vectors(folder, *self._kept_vectors)
        elif self.progress is not None:
            self.keep_predictions(folder, self.training_data(whole=False))
        tables = self._kept_data or (self.data.layout.folder if self.data and self.data.folder is not None else None)
        if tables is not None:
            shutil.copytree(tables, folder / KEPT, dirs_exist_ok=True)

    def keep_predictions(self, folder: Path, data: Collection) -> None:
        _write_vectors(folder, data.items.test, self.vectors)

    def restore(self, folder: Path, data_dir: str | None) -> None:
        from audiotext.audio.scaler import Scaler
        from audiotext.text import TfIdf

        assert self.settings is not None
        facts = read_facts(folder)
        require(data_dir is None or isinstance(data_dir, str), f"{folder / 'options.json'}: data_dir is no folder")
        self.architecture, self._weights = read_architecture(folder), folder / WEIGHTS
        self.text, kept = facts.get("text"), folder / KEPT
        self.settings = dataclasses.replace(self.settings, data_dir=Path(data_dir) if data_dir else None)
        if (folder / TEXT).is_file():
            self.tfidf = TfIdf.load(folder / TEXT)
        if (folder / SCALER).is_file():
            self.scaler = Scaler.load(folder / SCALER)
        if (folder / PREDICTIONS).is_file():
            ids, vectors = read_ids(folder / PREDICTED), read_dense(folder / PREDICTIONS)
            right = vectors.shape == (len(ids), self.architecture.factors)
            require(right, f"{folder / PREDICTIONS}: does not fit {folder / PREDICTED}; train it anew")
            self._kept_vectors = ids, vectors
        if kept.is_dir():
            self._kept_data = kept
            self.dataset = Dataset(Path(), Path(), str(facts["dataset"].get("name")), synthetic=False)
        self.branches = {name: AudioText.load(run) for name, run in branch_runs(folder, facts).items()}

    def title(self) -> str:
        return NAMES[(self.settings or self.options).model]

    def name_of_run(self, dataset: Dataset) -> str:
        options = self.settings or self.options
        return f"{options.model}-{'released-' if options.protocol == 'released' else ''}{dataset.name}"

    def told(self, data: Collection, folder: Path, found: Evaluation) -> Told:
        from common.report import data_dir

        assert self.settings is not None
        self.folder = folder
        facts = {name: value for name, value in self.recorded.items() if name not in ("dataset", "branches")}
        return Told(
            details={
                **facts,
                "empty_items_left_out": self.empty,
                "parameters": self.network.count_params(),
                "checks": self._checks(data),
                "branches": {name: str(folder / name) for name in self.branches},
            },
            notes=[NOTE],
            following=["audiotext/recommend.py", "--run-dir", folder, *data_dir(self.settings), "--user", "USER"],
        )

    def _checks(self, data: Collection) -> dict[str, dict[str, float]]:
        """Loss and R2 of the inner splits of the training items, as tartarus logs them."""
        from audiotext.losses import half_cosine, mean_squared_error, r2
        from audiotext.losses import unit_rows as unit_targets

        assert self._reads is not None
        found, predict = {}, self._predictor()
        for name, rows in (("validation", self.split.validation), ("inner_test", self.split.test)):
            if len(rows):
                targets, predicted = unit_targets(data.items.factors[rows]), predict(self._reads.rows["train"], rows)
                losses = np.asarray(half_cosine(targets, predicted), np.float64)
                found[name] = {
                    "items": len(rows),
                    "loss": float(losses.mean()),
                    "mse": float(mean_squared_error(targets, predicted).mean()),
                    "r2": float(r2(targets, predicted).mean()),
                }
        return found


def _items_of(data: Collection, options: AudioTextOptions) -> Items:
    """Artists or songs, whichever a network is of."""
    kind = items_of(options.model)
    return data.items if kind == data.items.kind else read_items(data.layout, kind)


def split_of(items: Items, options: AudioTextOptions) -> Split:
    """Which training items a network is fitted to and stopped by: by artist, or in file order as released."""
    if options.protocol == "released":
        return released_split(len(items.train))
    return artist_split(np.asarray(items.train_artists or items.train), options.seed)


def without_empty(split: Split, inputs: Inputs) -> tuple[Split, int]:
    """``split`` without the training items of which a network over texts alone would read nothing, and their number.

    Such an item tells nothing; and while the biases are 0 its prediction is 0 too, where the cosine has no gradient.
    """
    if set(inputs.rows["train"]) != {"text"} or inputs.pending:
        return split, 0
    filled = np.asarray(abs(inputs.features["text"][0]).sum(axis=1)).ravel() > 0
    kept = [part[filled[part]] for part in (split.train, split.validation, split.test)]
    return Split(*kept), int((~filled).sum())


def branch_runs(folder: Path, facts: Mapping[str, Any]) -> dict[Branch, Path]:
    """Branch -> run that its embedding comes from, which lies within that of the late fusion.

    Raises:
        UserError: the run is not finished.
    """
    names = facts.get("branches")
    if names is None:  # a run of version 0.1.0, whose branches may lie elsewhere
        file = folder / "metrics.json"
        try:
            named = json.loads(file.read_text("utf-8"))["details"]["branches"]
            found = {name: Path(named[name]) for name in BRANCHES if name in named}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{file}: cannot be read ({error}); the run is not finished: use --resume") from None
        return {name: folder / name if (folder / name).is_dir() else path for name, path in found.items()}
    return {name: folder / name for name in BRANCHES if name in names and (folder / name).is_dir()}


def _write_vectors(folder: Path, ids: Sequence[str], vectors: NDArray[Any]) -> None:
    write_dense(folder / PREDICTIONS, np.asarray(vectors))
    write_ids(folder / PREDICTED, ids)


def _embedding(network: keras.Model, branch: Branch) -> keras.Model:
    from audiotext.model import embedding

    return embedding(network, branch)


def _require_k(k: Any) -> None:
    require(isinstance(k, int) and k >= 1, f"k is {k!r}; it must be a whole number, 1 or more")


class Names:
    """What the songs or artists of a dataset are called, where it says so."""

    def __init__(self, layout: Layout, kind: ItemSet) -> None:
        self._kind, self._artists = kind, layout.load_names(ARTISTS)
        self._songs = layout.load_names(SONGS) if kind == SONGS else {}

    def of(self, ids: list[str], artists: list[str] | None, row: int) -> dict[str, Any]:
        """``item`` and, as far as they are known, ``title``, ``artist_id`` and ``artist`` (the name) of a song, or the
        ``name`` of an artist. All rows have the same keys.
        """
        item = ids[row]
        if self._kind == ARTISTS:
            return {"item": item, **({"name": self._artists.get(item, ("",))[0]} if self._artists else {})}
        title, artist = self._songs.get(item, ("", ""))
        found = {"item": item, **({"title": title} if self._songs else {})}
        if artists is not None:
            found["artist_id"] = artists[row]
            artist = artist or self._artists.get(artists[row], ("",))[0]
        return {**found, **({"artist": artist} if self._songs or self._artists else {})}
