"""How long SeER trains at the released sizes, against what its matrix products alone would take here.

Made-up data of the released sizes (6,442 songs of 500 steps x 32 values, 32,180 users, 752,835 training ratings), the
released optimum (LSTM, 150 latent features, dropout 0.2). Reference, measured in the same run: NumPy's matrix product
of 4,000 x 4,000 float32 matrices, and a training step through ``keras.layers.LSTM`` with traced gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import keras
import numpy as np
from measuring import measure, peak_megabytes, recording, sgemm_rate, show

from common.command import run_script
from common.optimizers import make_optimizer
from common.sources import dataset_folder
from common.training import CPU_PARTS, Trainer
from seer import layers
from seer.model import Architecture, Networks
from seer.preprocess import REQUIRED, Ratings, prepare, released_split
from seer.sample import write_sample
from seer.training import Evaluator, PairBatches, SongBatches

USERS, SONGS, RATINGS, STEPS, FEATURES, LATENT = 32_180, 6_442, 752_835, 500, 32, 150
PRODUCTS = 2 * ((FEATURES + LATENT) * 4 * LATENT * 2 + 4 * LATENT * LATENT)
"""Floating-point operations of the LSTM's matrix products for one step of one song, forward and backward."""


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    folder: Path | None = None
    """Folder of the full-size files that benchmarks/seer_full_size.py wrote; default: made-up arrays of that size."""
    pair_batches: int = 3
    """Batches of 1,000 pairs to time."""
    songs_per_batch: int = 256
    """Songs in a batch of the fast mode."""


def made_up() -> tuple[Ratings, np.ndarray]:
    """Ratings with long-tailed popularity, and MIDI-like songs in which most values are 0."""
    rng = np.random.default_rng(1)
    popularity = rng.pareto(1.2, SONGS) + 0.1
    songs = rng.choice(SONGS, RATINGS, p=popularity / popularity.sum()).astype(np.int32)
    users = rng.integers(0, USERS, RATINGS, dtype=np.int32)
    midi = rng.integers(1, 128, (SONGS, STEPS, FEATURES), dtype=np.uint8)
    midi *= rng.random((SONGS, STEPS, FEATURES), dtype=np.float32) < 0.1
    return Ratings(users, songs, rng.integers(1, 6, RATINGS).astype(np.float32)), midi


def converted(folder: Path) -> tuple[Ratings, np.ndarray]:
    """The released training rows and the first steps of the songs of a full-size data set."""
    dataset = dataset_folder("seer", folder, list(REQUIRED.values()), write_sample)
    data = prepare(dataset.raw, dataset.prepared)
    split = released_split(Ratings(data.users, data.songs, data.ratings))
    return split.train, np.ascontiguousarray(data.midi[:, :STEPS])


def first(batches: PairBatches | SongBatches, count: int) -> list[list]:
    """The first ``count`` batches of an epoch that have the shapes of its first one, to time without compilation."""
    found: list[list] = []
    for parts in batches(0):
        shapes = [array.shape for array in parts[0].inputs.values()]
        if not found or shapes == [array.shape for array in found[0][0].inputs.values()]:
            found.append(parts)
        if len(found) == count:
            break
    return found


def main(options: Options) -> dict[str, float]:
    """Time training and prediction of SeER at the released sizes."""
    ratings, midi = converted(options.folder) if options.folder else made_up()
    rate = sgemm_rate(4000, 3)
    alone = SONGS * STEPS * PRODUCTS / rate
    result = {"gflops_of_sgemm": rate / 1e9, "products_alone_seconds": alone}

    def trainer() -> tuple[Networks, Trainer]:
        keras.utils.set_random_seed(1)
        seer = Networks(Architecture(USERS, STEPS, latent_features=LATENT))
        return seer, Trainer(seer.model, make_optimizer("adam", 1e-3), seed=1)

    def seconds_per_1000(kind: Trainer, batches: list[list]) -> tuple[float, float]:
        kind.fit(lambda epoch: batches[:1], 1, quiet=True)
        taken = measure(lambda: kind.fit(lambda epoch: batches, 2, quiet=True))
        return taken.best / len(batches), taken.processor / len(batches)

    for name, distinct in (("pairs", True), ("pairs_released_dropout", False)):
        batches = first(
            PairBatches(ratings, midi, 1000, seed=1, distinct=distinct, parts=CPU_PARTS), options.pair_batches
        )
        wall, cpu = seconds_per_1000(trainer()[1], batches)
        result |= {f"{name}_fit_1000_wall_seconds": wall, f"{name}_fit_1000_cpu_seconds": cpu}
    with patch.object(layers.HardSigmoidLSTM, "inner_loop", keras.layers.LSTM.inner_loop):  # the reference
        result["traced_gradient_fit_1000_wall_seconds"], _ = seconds_per_1000(trainer()[1], batches)

    seer, fast = trainer()
    whole = SongBatches(ratings, midi, options.songs_per_batch, seed=1, parts=CPU_PARTS)
    fast.fit(whole, 1)  # compiles
    epoch = measure(lambda: fast.fit(whole, 2))
    result |= {"songs_epoch_wall_seconds": epoch.best, "songs_epoch_cpu_seconds": epoch.processor}
    evaluator = Evaluator(seer, midi, jit=True)
    evaluator.rater().rate(ratings.users[:1000], ratings.songs[:1000])
    encoding = measure(evaluator.rater)
    rating = measure(lambda: encoding.result.rate(ratings.users[:188_209], ratings.songs[:188_209]))
    result |= {"encode_catalogue_seconds": encoding.best, "rate_188209_pairs_seconds": rating.best}
    result["ratio_epoch_to_products"] = result["songs_epoch_wall_seconds"] / alone
    result["ratio_traced_to_written_out"] = (
        result["traced_gradient_fit_1000_wall_seconds"] / result["pairs_released_dropout_fit_1000_wall_seconds"]
    )
    result["peak_memory_gigabytes"] = peak_megabytes() / 1024
    return show(result)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
