"""The recommender Template: what is particular to it, for Python and the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common.options import require
from common.paper import WEIGHTS
from common.recommender import Description, Recommender, Told
from common.rundir import same_data
from common.sources import Dataset
from template.options import TemplateOptions
from template.preprocess import PAPER, PlayData, all_of, load_dataset, read_kept, tested_on, write_kept

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    import keras

    from common.checkpoint import Progress
    from common.evaluation import Evaluation, Measured
    from common.ranking import Scores


class Template(Recommender[TemplateOptions, PlayData]):
    """Matrix factorisation of plays: songs for users."""

    options_type = TemplateOptions
    description = Description(
        folder=PAPER,
        title=PAPER,
        citation="authors, title, venue and year",
        columns=("recall@10", "ndcg@10", "auc"),
        split="every fifth song of a user, drawn once, is for the test",
        ranking="all songs but the user's training songs",
    )
    model: keras.Model

    def recommend(self, users: Any, k: int = 10) -> pd.DataFrame:
        """Songs that users have not played yet.

        Args:
            users: id of a user, or a list of such.
            k: songs for each; fewer if there are no more.

        Returns:
            Columns ``rank`` (from 1), ``item`` and ``score``, best first; for several users before them ``user``.

        Raises:
            UserError: nothing was learnt yet, or a user is not in the data.
        """
        from template.model import score_matrix

        self.require_fitted()
        data, several = self.training_data(whole=True), not isinstance(users, str | int)
        known = {name: number for number, name in enumerate(data.user_ids)}
        names = [str(user) for user in users] if several else [str(users)]
        for name in names:
            require(name in known, f"--user {name}: not in the data; users are {data.user_ids[0]}, ...")
        rows = []
        for name in names:
            scores = score_matrix(self.model, np.array([known[name]]))[0]
            for played_by, songs in (data.train, data.test):
                scores[songs[played_by == known[name]]] = -np.inf
            best = [song for song in np.argsort(-scores, kind="stable")[:k] if np.isfinite(scores[song])]
            rows += [(name, rank, data.song_ids[song], float(scores[song])) for rank, song in enumerate(best, 1)]
        frame = pd.DataFrame(rows, columns=["user", "rank", "item", "score"])
        return frame if several else frame.drop(columns="user")

    def read(
        self, options: TemplateOptions, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[TemplateOptions, Dataset, PlayData]:
        require(validation is None, "validation: the template chooses no epoch")
        if data is None or (isinstance(data, str | Path) and Path(data).is_dir()):
            folder = Path(data) if data is not None else options.data_dir
            return replace(options, data_dir=folder), *load_dataset(folder)
        return options, Dataset(Path(), Path(), "table", synthetic=False), all_of(data)

    def tested_on(self, data: PlayData, table: Any, reading: Mapping[str, Any]) -> PlayData:
        return tested_on(data, table)

    def training_data(self, whole: bool) -> PlayData:
        assert self.data is not None
        return self.data

    def counts(self, data: PlayData) -> dict[str, int]:
        found = {"users": len(data.user_ids), "songs": len(data.song_ids)}
        return found | {"train_pairs": len(data.train[0]), "test_pairs": len(data.test[0])}

    def tests(self, data: PlayData) -> int:
        return len(data.test[0])

    def require_tested(self, data: PlayData) -> None:
        require(len(data.test[0]) > 0, "no pair of a user and a song is left to test on")

    @property
    def network(self) -> keras.Model:
        self.require_fitted()
        return self.model

    def build(self, data: PlayData, weights: Path | None) -> None:
        from common.weights import load_own_weights
        from template.model import Architecture, build

        assert self.settings is not None
        if weights:
            same_data(weights.parent, data.fingerprint, f"--weights {weights}")
        sizes = (len(data.user_ids), len(data.song_ids), self.settings.factors or 0)
        self.model = build(Architecture(*sizes), self.settings.seed)
        if weights:
            load_own_weights(self.model, weights)

    def train(self, data: PlayData, run_dir: Path | None) -> Progress:
        """Train against as many songs drawn at random, anew in every epoch, as there are plays."""
        from common import runtime
        from common.epochs import epoch_order
        from common.optimizers import make_optimizer
        from common.training import Batch, Trainer, padded
        from template.model import logistic

        options = self.settings
        assert options is not None and options.epochs is not None and options.batch_size and options.learning_rate
        size, (users, songs) = options.batch_size, data.train

        def batches(epoch: int) -> Iterator[list[Batch]]:
            order = epoch_order(2 * len(users), options.seed, epoch)
            drawn = np.random.default_rng((options.seed, epoch, 1)).integers(len(data.song_ids), size=len(users))
            columns = (np.tile(users, 2), np.concatenate([songs, drawn.astype(np.int32)]))
            played = np.repeat(np.array([1, 0], np.float32), len(users))
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                user, song, target, weight = (
                    padded(column[rows], size) for column in (*columns, played, np.ones(len(played), np.float32))
                )
                yield [Batch({"user": user, "song": song}, target, weight)]

        optimizer = make_optimizer("adam", options.learning_rate, runtime.precision(options) == "mixed_float16")
        trainer = Trainer(self.model, optimizer, options.seed, run_dir, logistic, jit=not options.deterministic)
        if options.resume:
            trainer.resume()
        return trainer.fit(batches, options.epochs, description=f"{PAPER}, ")

    def measure(self, data: PlayData) -> Measured:
        from template.model import score_matrix

        return measured(lambda users: score_matrix(self.model, users), data)

    def measure_baselines(self, data: PlayData) -> dict[str, Measured]:
        """What knows nothing, and what knows no user."""
        assert self.settings is not None
        songs = len(data.song_ids)
        plays = np.bincount(data.train[1], minlength=songs).astype(np.float32)
        noise = np.random.default_rng(self.settings.seed).random((len(data.user_ids), songs), np.float32)
        return {
            "random": measured(lambda users: noise[users], data),
            "popularity": measured(lambda users: np.tile(plays, (len(users), 1)), data),
        }

    def facts(self, data: PlayData) -> dict[str, Any]:
        assert self.settings is not None
        return {"architecture": {"factors": self.settings.factors}}

    def keep(self, folder: Path) -> None:
        assert self.data is not None
        write_kept(folder, self.data)

    def restore(self, folder: Path, data_dir: str | None) -> None:
        self.data = read_kept(folder)
        self.build(self.data, folder / WEIGHTS)

    def title(self) -> str:
        return "ours"

    def told(self, data: PlayData, folder: Path, found: Evaluation) -> Told:
        return Told(following=[f"{PAPER}/recommend.py", "--run-dir", folder, "--user", data.user_ids[0]])


def measured(scores: Scores, data: PlayData) -> Measured:
    """Where the test songs stand among all songs but the training ones, by user."""
    from common.evaluation import Measured, Sample
    from common.metrics import auc, ndcg_at, recall_at
    from common.ranking import catalogue_ranking

    users, songs = data.test
    relevant = (users, songs, np.ones(len(users)))
    ranking = catalogue_ranking(scores, np.unique(users), relevant, data.train, len(data.song_ids))
    values = {name: at(ranking, 10, per_user=True) for name, at in (("recall@10", recall_at), ("ndcg@10", ndcg_at))}
    return Measured([Sample(values | {"auc": auc(ranking, per_user=True)}, "users")])
