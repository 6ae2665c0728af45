"""Training steps of the audio and text networks at the paper's sizes, and how long an epoch of MSD-A takes here.

Made-up inputs of the released sizes. References, measured in the same run: what the products of a step alone would take
at the speed of NumPy's matrix product, and the same step compiled with XLA.
"""

from __future__ import annotations

from dataclasses import dataclass

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import keras
import numpy as np
import scipy.sparse as sp
from measuring import measure, recording, sgemm_rate, show

from audiotext.architecture import Architecture, architecture
from audiotext.audio.scaler import Scaler
from audiotext.losses import weighted_half_cosine
from audiotext.model import network
from audiotext.rows import Patches
from audiotext.training import FitOptions, check_rows, make_batches
from common.command import run_script
from common.optimizers import make_optimizer
from common.training import CPU_PARTS, Trainer

SONGS, ARTISTS, ITEMS, WORDS = 264_344, 19_000, 8192, 120
NETWORKS = (("a-text", 32, ARTISTS), ("audio", 32, SONGS), ("mm-lf-lin", 32, SONGS), ("mm-lf-h1", 32, SONGS),
            ("mm-lf-h1", 256, SONGS), ("seed", 256, SONGS))  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    steps: int = 20
    """Training steps to time."""
    models: tuple[str, ...] = ("a-text", "audio", "mm-lf-lin", "mm-lf-h1", "seed")
    """Networks to time."""
    xla: bool = True
    """Time them compiled with XLA too."""


def inputs_of(a: Architecture, items: int) -> dict[str, object]:
    """Made-up inputs: tf-idf with 120 terms an item, embeddings, and patches that repeat."""
    rng, found = np.random.default_rng(1), {}
    if "text" in a.inputs and a.text_units and a.model not in ("mm-lf-lin", "mm-lf-h1"):
        places = np.arange(0, items * WORDS + 1, WORDS)
        terms = rng.integers(0, a.text, items * WORDS)
        found["text"] = sp.csr_matrix((rng.random(items * WORDS, np.float32), terms, places), (items, a.text))
    elif "text" in a.inputs:
        found["text"] = rng.random((items, a.text), np.float32)
    if a.reads_patches:
        patches = rng.normal(-40, 15, (items, a.frames, a.bins)).astype(np.float16)
        found["audio"] = Patches(patches, Scaler.fit(patches[:256]))
    elif "audio" in a.inputs:
        found["audio"] = rng.random((items, a.audio), np.float32)
    return found


def products(a: Architecture) -> float:
    """Multiplications and additions of the matrix products of one item: forward, and for both gradients."""
    model, count, frames = network(a), 0.0, a.frames
    pools = dict(
        zip((f"audio_convolution_{i}" for i in range(1, 9)), zip(a.kernels, a.pools, strict=True), strict=False)
    )
    for layer in (layer for layer in model.layers if layer.weights):
        times = 1
        if layer.name in pools:
            kernel, pool = pools[layer.name]
            times = frames - kernel + 1
            frames = times // pool
        first = layer.name in ("text_dense_1", "audio_convolution_1") or a.model.startswith("mm-lf")
        count += 2 * float(np.prod(layer.kernel.shape)) * times * (2 if first else 3)
    return count


def seconds_per_item(a: Architecture, batch_size: int, steps: int, jit: bool) -> tuple[float, float]:
    """Wall and CPU seconds of training."""
    items = min(ITEMS, (steps + 2) * batch_size) if a.reads_patches else ITEMS
    targets = np.random.default_rng(0).normal(size=(items, a.factors)).astype(np.float32)
    inputs, settings = check_rows(inputs_of(a, items), targets), FitOptions(batch_size=batch_size)
    keras.utils.set_random_seed(1)
    trainer = Trainer(network(a), make_optimizer("adam", 1e-3), 1, loss=weighted_half_cosine, jit=jit)
    chosen = np.arange(min(items, steps * batch_size))
    # The first steps, which trace and compile, do not count.
    trainer.fit(make_batches(inputs, targets, chosen[: 2 * batch_size], settings, CPU_PARTS), 1, quiet=True)
    timed = make_batches(inputs, targets, chosen, settings, CPU_PARTS)
    taken = measure(lambda: trainer.fit(timed, 2, quiet=True))
    return taken.best / len(chosen), taken.processor / len(chosen)


def main(options: Options) -> dict[str, float]:
    """Time training steps."""
    rate = sgemm_rate(2000, 5)
    found = {"gflops_of_sgemm": rate / 1e9}
    for name, batch_size, rows in NETWORKS:
        if name in options.models:
            a, key = architecture(name), f"{name}_{batch_size}"  # type: ignore[arg-type]
            wall, cpu = seconds_per_item(a, batch_size, options.steps, jit=False)
            found |= {f"{key}_steps_per_second": 1 / (wall * batch_size), f"{key}_epoch_minutes": wall * rows / 60}
            found |= {f"{key}_step_cpu_ms": 1e3 * cpu * batch_size, f"{key}_epoch_cpu_minutes": cpu * rows / 60}
            found[f"{key}_ratio_to_products"] = wall / (products(a) / rate)
            if options.xla:
                _, compiled = seconds_per_item(a, batch_size, options.steps, jit=True)
                found[f"{key}_xla_cpu_ratio"] = compiled / cpu
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
