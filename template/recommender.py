"""The recommender Template: what is particular to it, for Python and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.interactions import Interactions, UserRecommender
from common.recommender import Description
from template.options import TemplateOptions
from template.preprocess import FILE, PAPER, write_sample

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    from common.checkpoint import Progress


class Template(UserRecommender[TemplateOptions]):
    """Matrix factorisation of plays: songs for users."""

    options_type, file, write_sample = TemplateOptions, FILE, staticmethod(write_sample)
    description = Description(
        folder=PAPER,
        title=PAPER,
        citation="authors, title, venue and year",
        columns=("recall@10", "ndcg@10", "auc"),
        split="every fifth song of a user, drawn once, is for the test",
        ranking="all songs but the user's training songs",
    )

    def new_network(self, data: Interactions) -> Any:
        from template.model import build

        assert self.settings is not None and self.settings.factors
        return build(len(data.user_ids), len(data.item_ids), self.settings.factors, self.settings.seed)

    def scores(self, users: np.ndarray) -> np.ndarray:
        from template.model import score_matrix

        return score_matrix(self.model, users)

    def train(self, data: Interactions, run_dir: Path | None) -> Progress:
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
            drawn = np.random.default_rng((options.seed, epoch, 1)).integers(len(data.item_ids), size=len(users))
            played = np.repeat(np.array([1, 0], np.float32), len(users))
            columns = (np.tile(users, 2), np.concatenate([songs, drawn.astype(np.int32)]), played, np.ones_like(played))
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                user, song, target, weight = (padded(column[rows], size) for column in columns)
                yield [Batch({"user": user, "item": song}, target, weight)]

        optimizer = make_optimizer("adam", options.learning_rate, runtime.precision(options) == "mixed_float16")
        trainer = Trainer(self.model, optimizer, options.seed, run_dir, logistic, jit=not options.deterministic)
        if options.resume:
            trainer.resume()
        return trainer.fit(batches, options.epochs, description=f"{PAPER}, ")
