"""What ``--batching songs`` costs in quality: validation error over time and over epochs for both ways of batching.

A made-up, structured dataset of middle size: songs of eight styles that differ in channels and notes, users who like
some of them. Same model, same initial weights, same data; each way with a few learning rates, best one shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import keras
import matplotlib.pyplot as plt
import numpy as np
from measuring import measure, recording

from common.command import run_script
from common.optimizers import make_optimizer
from common.options import replacing
from common.training import Trainer
from seer.model import Architecture, Networks
from seer.preprocess import Ratings, corrected_split
from seer.training import Evaluator, PairBatches, SongBatches

USERS, SONGS, RATINGS, STEPS, STYLES, LATENT = 2000, 800, 80_000, 60, 8, 32


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    out: Path = Path(__file__).parent / "results"
    """Folder for the picture."""
    seconds: float = 120
    """Training time of each run, evaluation not counted."""


def made_up() -> tuple[Ratings, np.ndarray]:
    """Ratings 1..5 by style preference, song quality and noise; songs whose channels and notes tell their style."""
    rng = np.random.default_rng(5)
    style = rng.integers(0, STYLES, SONGS)
    midi = np.zeros((SONGS, STEPS, 32), np.uint8)
    for song, kind in enumerate(style):
        for channel in {kind, (kind + 3) % STYLES, 9}:
            on = rng.random(STEPS) < 0.6
            midi[song, :, 2 * channel] = on * rng.integers(40 + 3 * kind, 64 + 3 * kind, STEPS)
            midi[song, :, 2 * channel + 1] = on * rng.integers(50, 110, STEPS)
    taste = rng.normal(0, 1.0, (USERS, STYLES))
    quality = rng.normal(0, 0.3, SONGS)
    pairs = rng.choice(USERS * SONGS, RATINGS, replace=False)
    users, songs = pairs // SONGS, pairs % SONGS
    values = 3 + taste[users, style[songs]] + quality[songs] + rng.normal(0, 0.5, RATINGS)
    return Ratings(users, songs, np.clip(np.rint(values), 1, 5).astype(np.float32)), midi


def curve(kind: str, size: int, learning_rate: float, seconds: float) -> list[dict[str, float]]:
    """Validation RMSE after each epoch, with the training time so far (compilation left out)."""
    ratings, midi = made_up()
    split = corrected_split(ratings, seed=1)
    keras.utils.set_random_seed(1)
    seer = Networks(Architecture(USERS, STEPS, "dot", "lstm", LATENT))
    trainer = Trainer(seer.model, make_optimizer("adam", learning_rate), seed=1)
    batches: Any = (PairBatches if kind == "pairs" else SongBatches)(split.train, midi, size, 1)
    start = [np.asarray(v).copy() for v in trainer.optimizer.variables + seer.model.trainable_variables]
    trainer.fit(batches, 1, quiet=True)  # compiles every shape of an epoch; then all weights are set back
    for variable, value in zip(trainer.optimizer.variables + seer.model.trainable_variables, start, strict=True):
        variable.assign(value)
    evaluator, spent = Evaluator(seer, midi, jit=True), 0.0
    points: list[dict[str, float]] = []
    while spent < seconds:
        spent += measure(lambda: trainer.fit(batches, len(points) + 2, quiet=True)).best
        error = evaluator.rater().rate(split.validation.users, split.validation.songs) - split.validation.values
        points.append({"epoch": len(points) + 1.0, "seconds": spent, "val_rmse": float(np.sqrt(np.mean(error**2)))})
    return points


def main(options: Options) -> dict[str, Any]:
    """Draw validation error over time and epochs for both ways of batching."""
    runs: dict[str, list[dict[str, float]]] = {}
    for kind, size, rates in (("pairs", 1000, (1e-3, 3e-3)), ("songs", 64, (3e-3, 1e-2)), ("songs", 16, (3e-3,))):
        for rate in rates:
            runs[f"{kind}, {size} per batch, learning rate {rate:g}"] = curve(kind, size, rate, options.seconds)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for name, points in runs.items():
        for axis, key in zip(axes, ("seconds", "epoch"), strict=True):
            axis.plot([p[key] for p in points], [p["val_rmse"] for p in points], label=name, linewidth=1.4)
    axes[0].set(xlabel="training time (s)", ylabel="validation RMSE")
    axes[1].set(xlabel="epochs", xscale="log")
    axes[0].legend(fontsize=7, frameon=False)
    figure.suptitle("SeER dot on made-up data: what each way of batching reaches")
    with replacing(options.out / "seer_batching.png") as file:
        figure.savefig(file, format="png", dpi=110)
    table = {}
    for name, points in runs.items():
        best = min(points, key=lambda p: p["val_rmse"])
        reached = next((p["seconds"] for p in points if p["val_rmse"] <= 0.85), float("nan"))
        table[name] = {
            "seconds_per_epoch": points[-1]["seconds"] / len(points),
            "epochs": len(points),
            "best_val_rmse": best["val_rmse"],
            "seconds_to_best": best["seconds"],
            "seconds_to_0.85": reached,
        }
        print(name, {key: round(value, 3) for key, value in table[name].items()}, flush=True)
    return table


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
