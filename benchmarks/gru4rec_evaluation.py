"""How fast GRU4Rec is evaluated: (event x whole catalogue) rankings per minute, and what limits them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import numpy as np
import tensorflow as tf
from measuring import recording

from common.command import run_script
from common.sessions import Sessions
from gru4rec.evaluation import Evaluator
from gru4rec.model import Networks
from gru4rec.options import Architecture


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    items: int = 37_483
    """Items of the catalogue (RSC15: 37,483)."""
    units: int = 100
    """Units of the GRU."""
    events: int = 100_000
    """Events to rank the next item of."""
    batch_size: int = 512
    """Sessions walked through side by side."""
    repeats: int = 3
    """Times to measure; the fastest counts."""


def made_up_sessions(events: int, items: int) -> Sessions:
    """Sessions with ``events`` next items: 2 to 20 events each, items by a power law."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 21, events)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths - 1), events)) + 1]
    lengths[-1] -= int((lengths - 1).sum()) - events
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    played = np.minimum(items ** rng.random(offsets[-1]), items - 1).astype(np.int32)
    return Sessions(played, offsets, np.arange(len(lengths), dtype=float))


def fastest(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Wall and CPU seconds of the fastest of several calls, one before them not counted."""
    work()
    times = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(times)


def main(options: Options) -> dict[str, float]:
    """Time a whole evaluation, its walk through the sessions, and the bare products of states and output weights."""
    model = Networks(Architecture(options.items, (options.units,)))
    sessions = made_up_sessions(options.events, options.items)
    evaluator = Evaluator(model, options.batch_size)
    rng = np.random.default_rng(1)
    states = tf.constant(rng.normal(size=(evaluator.rows, options.units)).astype(np.float32))
    weights = tf.constant(rng.normal(size=(options.units, options.items)).astype(np.float32))

    def products() -> None:
        for _ in range(-(-options.events // evaluator.rows)):
            tf.matmul(states, weights)

    found: dict[str, float] = {}
    parts = {
        "evaluation": lambda: evaluator(sessions),
        "walk": lambda: evaluator.states(sessions),
        "products": products,
    }
    for name, work in parts.items():
        found[f"{name}_seconds"], found[f"{name}_cpu_seconds"] = fastest(work, options.repeats)
    found["rankings_per_minute"] = 60 * options.events / found["evaluation_seconds"]
    found["rankings_per_cpu_minute"] = 60 * options.events / found["evaluation_cpu_seconds"]
    found["ratio_to_products"] = found["evaluation_seconds"] / found["products_seconds"]
    found["peak_memory_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.events:,} events x {options.items:,} items, {options.units} units, {os.cpu_count()} cores")
    for name, value in found.items():
        print(f"{name:28s} {value:14,.2f}")
    return found


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
