"""How fast a session transformer trains and decodes, against torch.nn.Transformer in the same run (extra ``bench``).

The released sizes: track embedding and features 282 wide, 2 + 2 layers, 2 heads, feed-forward 2,048, dropout 0.2, Adam
over all weights, cross-entropy over the whole vocabulary. The PyTorch side decodes as the released code does: ten
times over the whole second half. Both sides get the same number of threads and batches made beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from measuring import measure, recording, show, threads_given

from common.command import run_script
from common.options import require

THREADS = threads_given()  # before the libraries that read it are imported

import common.runtime  # noqa: F401, E402  # isort: skip
import numpy as np  # noqa: E402

from session_transformers.architecture import Architecture  # noqa: E402
from session_transformers.decoding import Search, continue_sessions  # noqa: E402
from session_transformers.fitting import trainer_of  # noqa: E402
from session_transformers.kinds import HALF, Ids  # noqa: E402
from session_transformers.model import build_model  # noqa: E402
from session_transformers.options import SessionOptions  # noqa: E402
from session_transformers.sessions.halves import Halves  # noqa: E402

FEATURES = 26


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    threads: int = 2
    """Threads of each side."""
    vocabularies: tuple[int, ...] = (5_000, 104_000)
    """Ids of the vocabulary."""
    batch_sizes: tuple[int, ...] = (64, 64)
    """Sessions in a batch, for each vocabulary."""
    steps: int = 3
    """Steps timed; the fastest of three passes counts."""
    feed_forward: int = 2048
    """Units of the feed-forward layers."""


def sessions(vocabulary: int, count: int) -> Halves:
    """Made-up sessions."""
    rng = np.random.default_rng(1)
    tracks = rng.integers(3, vocabulary, (count, 2 * HALF)).astype(np.int32)
    return Halves(tracks, rng.integers(0, 2, tracks.shape).astype(np.uint8))


def of_keras(vocabulary: int, batch: int, options: Options) -> tuple[float, float]:
    """Seconds of this project per training step and per decoded batch."""
    settings = SessionOptions(batch_size=batch, feed_forward=options.feed_forward, learning_rate=1e-4, epochs=1)
    architecture = settings.architecture(vocabulary, FEATURES, Ids())
    assert isinstance(architecture, Architecture)
    features = np.random.default_rng(2).standard_normal((vocabulary, FEATURES)).astype(np.float32)
    model = build_model(architecture, features)
    halves = sessions(vocabulary, batch * options.steps)
    trainer, batches = trainer_of(model, settings.completed(False), halves, np.ones(vocabulary, np.int64), None, None)
    made = list(batches(0))
    step = best(lambda: trainer.fit(lambda epoch: made, trainer.progress.epochs + 1, quiet=True)) / options.steps
    search = Search(model)
    return step, best(lambda: continue_sessions(search, halves.source[:batch], batch_size=batch))


def of_torch(vocabulary: int, batch: int, options: Options) -> tuple[float, float]:
    """The same of PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    width = 282

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tracks = nn.Embedding(vocabulary, width - FEATURES)
            self.features = nn.Embedding(vocabulary, FEATURES)
            self.positions = nn.Embedding(HALF, width)
            self.transformer = nn.Transformer(width, 2, 2, 2, options.feed_forward, 0.2, batch_first=True)
            self.out = nn.Linear(width, vocabulary)

        def embed(self, tokens: Any) -> Any:
            both = torch.cat([self.tracks(tokens), self.features(tokens)], -1)
            return both + self.positions(torch.arange(tokens.shape[1]))

        def forward(self, source: Any, target: Any) -> Any:
            mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
            return self.out(self.transformer(self.embed(source), self.embed(target), tgt_mask=mask, tgt_is_causal=True))

    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    halves = sessions(vocabulary, batch * options.steps)
    tracks = torch.tensor(halves.tracks, dtype=torch.long)
    source, target = tracks[:, :HALF], tracks[:, HALF:]
    shifted = torch.cat([source[:, -1:], target[:, :-1]], 1)

    def train() -> None:
        model.train()
        for start in range(0, len(source), batch):
            rows = slice(start, start + batch)
            logits = model(source[rows], shifted[rows])
            loss = nn.functional.cross_entropy(logits.reshape(-1, vocabulary), target[rows].reshape(-1), ignore_index=0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def decode() -> None:
        model.eval()
        tokens = source[:batch, -1:].repeat(1, HALF)
        with torch.no_grad():
            for step in range(HALF):
                logits = model(source[:batch], tokens)
                if step + 1 < HALF:
                    tokens[:, step + 1] = logits[:, step].argmax(-1)

    return best(train) / options.steps, best(decode)


def best(call: Callable[[], object]) -> float:
    """Wall seconds of the fastest of three calls, after one that does not count."""
    return measure(call, 3, warm=1).best


def main(options: Options) -> dict[str, float]:
    """Time training steps and greedy decoding of a session transformer and of torch.nn.Transformer."""
    require(options.threads == THREADS, "--threads must be given as two words: --threads 2")
    require(
        len(options.vocabularies) == len(options.batch_sizes), "--vocabularies and --batch-sizes must be equally many"
    )
    result: dict[str, float] = {}
    for vocabulary, batch in zip(options.vocabularies, options.batch_sizes, strict=True):
        name = f"{vocabulary:,} ids, batch {batch}"
        ours, theirs = of_keras(vocabulary, batch, options), of_torch(vocabulary, batch, options)
        result |= {
            f"{name}: training steps/s": 1 / ours[0],
            f"{name}: training steps/s of PyTorch": 1 / theirs[0],
            f"{name}: training, ratio": theirs[0] / ours[0],
            f"{name}: sessions decoded/s": batch / ours[1],
            f"{name}: sessions decoded/s by PyTorch": batch / theirs[1],
            f"{name}: decoding, ratio": theirs[1] / ours[1],
        }
    return show(result)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
