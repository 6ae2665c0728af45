"""How fast GRU4Rec trains, against a plain PyTorch loop in the same run (extra ``bench``).

Made-up sessions over catalogues of 37,483 items (as RSC15) and 500,000: 100 units, shared embedding, 2,048 negatives,
no dropout. The PyTorch loop is ``nn.GRUCell``, rows of the tables by ``nn.Embedding``, and Adagrad on the rows touched,
in two kinds: ``plain``, with PyTorch's default gradients (of a whole table, zero but for some rows), and ``sparse``,
with ``nn.Embedding(sparse=True)``. Both sides get the same number of threads and batches made beforehand. Compilation
is a figure of its own: what the first chunk takes of the processor beyond another one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from common.command import run_script
from common.options import require

THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "2"
for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):  # read when the libraries are imported
    os.environ[variable] = THREADS

import common.runtime  # noqa: F401, E402  # isort: skip
import numpy as np  # noqa: E402
from measuring import recording  # noqa: E402

from common.negatives import Negatives  # noqa: E402
from common.optimizers import RowAdagrad  # noqa: E402
from common.sessions import Sessions  # noqa: E402
from gru4rec.losses import make_loss  # noqa: E402
from gru4rec.model import Networks  # noqa: E402
from gru4rec.options import Architecture  # noqa: E402
from gru4rec.training import CHUNK, Chunk, SessionTrainer, chunks  # noqa: E402

UNITS, NEGATIVES, RATE, ALPHA = 100, 2048, 0.05, 0.5


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    threads: int = 2
    """Threads of each side."""
    batch_sizes: tuple[int, ...] = (32, 64, 128)
    """Sessions side by side."""
    items: tuple[int, ...] = (37_483, 500_000)
    """Sizes of the catalogue; PyTorch is measured at the first one only."""
    losses: tuple[str, ...] = ("cross-entropy", "bpr-max")
    """Training losses."""
    calls: int = 10
    """Chunks of 128 steps (48 of PyTorch) to time, all sides in turn; the fastest of each counts."""


def made_up(items: int) -> tuple[Sessions, np.ndarray]:
    """20,000 sessions of 2 to 20 events by a Zipf law, and each item's number of events."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(2, 21, 20_000)
    weights = 1.0 / np.arange(1, items + 1) ** 0.95
    events = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(lengths.sum())).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sessions(events, offsets, np.arange(len(lengths), dtype=float)), np.bincount(events, minlength=items) + 1


Timed = Callable[[Chunk], float]
"""Seconds per step over a chunk."""


def of_keras(items: int, batch: int, loss: str, support: np.ndarray) -> Timed:
    """This project."""
    model = Networks(Architecture(items, (UNITS,)))
    kind: Any = loss
    trainer = SessionTrainer(
        model, RowAdagrad(model.named, RATE), make_loss(kind, 1.0, 0.5), batch, support,
        logq=1.0 if loss == "cross-entropy" else 0.0, alpha=ALPHA,
    )  # fmt: skip

    def seconds(chunk: Chunk) -> float:
        started = time.perf_counter()
        trainer.epoch(iter([chunk]), 0)
        return (time.perf_counter() - started) / CHUNK

    return seconds


def of_torch(items: int, batch: int, loss: str, support: np.ndarray, sparse: bool, steps: int = 48) -> Timed:
    """The PyTorch loop."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(int(THREADS))
    torch.manual_seed(1)
    table, bias = (torch.nn.Embedding(items, width, sparse=sparse) for width in (UNITS, 1))
    cell = torch.nn.GRUCell(UNITS, UNITS)
    parameters: list[Any] = [table.weight, bias.weight, *cell.parameters()]
    sums = {p: torch.full_like(p, 1e-6) for p in parameters}
    log_support = torch.log(torch.tensor(support, dtype=torch.float32))

    def step(hidden: Any, inputs: Any, outputs: Any) -> Any:
        rows = table(torch.cat([inputs, outputs]))
        hidden = cell(rows[:batch], hidden)
        scores = hidden @ rows[batch:].T + bias(outputs).T
        own = torch.arange(batch)
        if loss == "cross-entropy":
            powers = torch.cat([torch.ones(batch), torch.full((NEGATIVES,), ALPHA)])
            value = functional.cross_entropy(scores - log_support[outputs] * powers, own)
        else:
            scores = functional.elu(scores, 0.5)
            others = 1.0 - torch.eye(batch, scores.shape[1])
            share = torch.softmax(scores.masked_fill(others == 0, -1e30), -1)
            better = (share * torch.sigmoid(scores[own, own][:, None] - scores)).sum(-1)
            value = (-torch.log(better + 1e-24) + (share * scores**2).sum(-1)).mean()
        value.backward()
        with torch.no_grad():
            for p, total in sums.items():
                if len(p) == items:
                    if sparse:
                        gradient = p.grad.coalesce()
                        index, values = gradient.indices()[0], gradient.values()
                    else:
                        index = torch.unique(torch.cat([inputs, outputs]) if p is table.weight else outputs)
                        values = p.grad[index]
                    total.index_add_(0, index, values**2)
                    p.index_add_(0, index, values / torch.sqrt(total[index]), alpha=-RATE)
                else:
                    total += p.grad**2
                    p -= RATE * p.grad / torch.sqrt(total)
                p.grad = None
        return hidden.detach()

    def seconds(chunk: Chunk) -> float:
        hidden = torch.zeros(batch, UNITS)
        parts = [
            (torch.tensor(chunk.inputs[t]), torch.tensor(np.concatenate([chunk.targets[t], chunk.negatives[t]])))
            for t in range(steps)
        ]
        started = time.perf_counter()
        for inputs, outputs in parts:
            hidden = step(hidden, inputs, outputs)
        return (time.perf_counter() - started) / steps

    return seconds


def _processor_seconds(side: Timed, chunk: Chunk) -> float:
    started = time.process_time()
    side(chunk)
    return time.process_time() - started


def main(options: Options) -> dict[str, float]:
    """Time training steps of GRU4Rec and of a plain PyTorch loop."""
    require(str(options.threads) == THREADS, "--threads must be given as two words: --threads 2")
    result: dict[str, float] = {}
    catalogues = {items: made_up(items) for items in options.items}
    first = options.items[0]
    for batch in options.batch_sizes:
        work = {
            items: list(
                islice(chunks(sessions, batch, Negatives(support, ALPHA, NEGATIVES, 1).epoch(0)), options.calls)
            )
            for items, (sessions, support) in catalogues.items()
        }
        enough = all(len(found) == options.calls and found[-1].steps == CHUNK for found in work.values())
        require(enough, f"--calls {options.calls}: the sessions of batch {batch} have fewer chunks")
        for loss in options.losses:
            sides: dict[tuple[int, str], Timed] = {
                (items, "ours"): of_keras(items, batch, loss, support) for items, (_, support) in catalogues.items()
            }
            for kind in ("plain", "sparse"):
                sides[first, kind] = of_torch(first, batch, loss, catalogues[first][1], kind == "sparse")
            first_chunk, ours = work[first][0], sides[first, "ours"]
            spent = [_processor_seconds(ours, first_chunk) for _ in range(2)]
            result[f"{first} items, batch {batch}, {loss}: compilation, processor seconds"] = spent[0] - spent[1]
            best = dict.fromkeys(sides, float("inf"))
            for number in range(options.calls):  # in turn, so that a slow moment of the machine is everyone's
                for side, seconds in sides.items():
                    best[side] = min(best[side], seconds(work[side[0]][number]))
            for items in options.items:
                name, taken = f"{items} items, batch {batch}, {loss}", best[items, "ours"]
                result[f"{name}: events/s"] = batch / taken
                if items == first:
                    for kind in ("plain", "sparse"):
                        result[f"{name}: PyTorch ({kind}) events/s"] = batch / best[first, kind]
                        result[f"{name}: ratio to PyTorch ({kind})"] = best[first, kind] / taken
                else:
                    result[f"{name}: time per step, ratio to {first} items"] = taken / best[first, "ours"]
    for key, value in result.items():
        print(f"{key:75s} {value:12,.2f}")
    return result


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
