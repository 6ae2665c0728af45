"""All figures of SeER's test set at its full size (188,209 made-up rows of 32,180 users, four K): seconds."""

from __future__ import annotations

from dataclasses import dataclass

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import numpy as np
from measuring import measure, recording, show

from common.command import run_script
from seer.evaluation import released_metrics
from seer.preprocess import Ratings


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    repeats: int = 3
    """Times to compute them; the fastest counts."""


def main(options: Options) -> dict[str, float]:
    """Time RMSE, MAE, both released MAPs and the released NDCG at K = 5, 10, 100, 500."""
    rng = np.random.default_rng(0)
    users, values = rng.integers(0, 32_180, 188_209), rng.integers(1, 6, 188_209).astype(np.float32)
    test, predicted = Ratings(users, users, values), rng.random(188_209)
    return show({"seconds": measure(lambda: released_metrics(test, predicted, 3), options.repeats).best})


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
