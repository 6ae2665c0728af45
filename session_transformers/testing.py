"""What a trained model foretells for many sessions: its predictions, block by block, and how right they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from common.evaluation import Measured, Sample
from common.training import padded
from session_transformers.decoding import Search, continue_sessions
from session_transformers.evaluation import CUTOFFS, Outcome, TrackRanks, skip_outcome, track_outcome
from session_transformers.examples import examples
from session_transformers.fitting import AnyNetwork, Loss
from session_transformers.kinds import HALF, PAD
from session_transformers.layers import MASKED
from session_transformers.masking import mask_randomly
from session_transformers.recurrent.decoding import RecurrentSearch
from session_transformers.recurrent.model import RecurrentModel
from session_transformers.sessions.halves import Halves

BLOCK = 64
"""Sessions at a time; with 104,000 tracks the scores of one position of theirs are 27 MB."""


class Tester:
    """The predictions of a model, in inference mode; its functions are compiled once.

    Args:
        model: the model; it may go on being trained.
        jit: compile with XLA.
    """

    def __init__(self, model: AnyNetwork, jit: bool = True) -> None:
        self.model, self.jit = model, jit
        self._loss = Loss(model, BLOCK, jit)

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def hidden(inputs: Any) -> Any:
            return model.hidden(**inputs, training=False)

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def skip_chance(inputs: Any) -> Any:
            return ops.softmax(model(inputs, training=False)[:, -HALF:], axis=-1)[..., 1]

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def places(states: Any, target: Any) -> Any:
            table, bias = model.head.weights_of()
            specials = ops.arange(bias.shape[0]) < model.architecture.ids.first_track
            return standing(table, ops.where(specials, MASKED, bias), states, target)

        self._hidden, self._skip_chance, self._places = hidden, skip_chance, places

    def inputs(self, halves: Halves, rows: slice) -> dict[str, np.ndarray]:
        """What the model reads of a block of sessions."""
        tracks, skips = np.asarray(halves.tracks[rows]), np.asarray(halves.skips[rows])
        inputs, *_ = examples(self.model.architecture, tracks, skips, np.random.default_rng(0))
        return {name: padded(array, BLOCK) for name, array in inputs.items()}

    def skip_chances(self, halves: Halves) -> NDArray[np.float32]:
        """(sessions, 10) the chance that each track of the second halves is skipped; of a model for ``--task skip``."""
        chances = [
            np.asarray(self._skip_chance(self.inputs(halves, slice(start, start + BLOCK))), np.float32)
            for start in range(0, len(halves), BLOCK)
        ]
        return np.concatenate(chances)[: len(halves)]

    def skips(self, halves: Halves) -> Outcome:
        """The skips of the second halves; of a model for ``--task skip``."""
        return skip_outcome(self.skip_chances(halves), halves.target_skips, halves.target_mask)

    def forced(self, halves: Halves) -> TrackRanks:
        """Where each true track stands among all, the true ones before it being known."""
        states = (self._hidden(self.inputs(halves, slice(s, s + BLOCK))) for s in range(0, len(halves), BLOCK))
        return self._ranks(states, halves.target, "forced")

    def free(self, halves: Halves, beam: int = 1, forbid_repeats: bool = False) -> tuple[Outcome, TrackRanks]:
        """The second halves told from the model's own predictions, and where each true track stood on the way."""
        search = search_of(self.model, beam, forbid_repeats, self.jit)
        skips = halves.source_skips.astype(np.int32) if self.model.architecture.skip_input != "none" else None
        found = continue_sessions(search, np.asarray(halves.source), skips, with_hidden=True, batch_size=BLOCK)
        assert found.hidden is not None
        best = found.hidden[:, 0]
        states = (padded(best[start : start + BLOCK], BLOCK) for start in range(0, len(halves), BLOCK))
        return track_outcome(found.tokens[:, 0], halves.target, "free"), self._ranks(states, halves.target, "free")

    def _ranks(self, states: Any, target: np.ndarray, mode: Any) -> TrackRanks:
        greater, equal = [], []
        for number, block in enumerate(states):
            wanted = padded(np.asarray(target[number * BLOCK : (number + 1) * BLOCK]), BLOCK)
            above, level = self._places(block, wanted)
            greater.append(np.asarray(above))
            equal.append(np.asarray(level))
        tracks = self.model.architecture.vocabulary - self.model.architecture.ids.first_track
        above, level = (np.concatenate(part)[: len(target)].astype(np.int64) for part in (greater, equal))
        return TrackRanks(above, level, np.asarray(target) != PAD, tracks, mode)

    def masked(self, halves: Halves, seed: int) -> Measured:
        """How well a pre-trained BERT tells masked tracks: loss, and recall and MRR among all tracks."""
        architecture, rng = self.model.architecture, np.random.default_rng((seed, 2))
        masked = [  # block by block, as the loss does: the same masks
            mask_randomly(np.asarray(halves.tracks[s : s + BLOCK]), rng, architecture.vocabulary, architecture.ids)
            for s in range(0, len(halves), BLOCK)
        ]
        labels = np.concatenate([labels for _, labels in masked])
        blocks = (padded(tracks, BLOCK) for tracks, _ in masked)
        states = (self._hidden({"source": block[:, :HALF], "target": block[:, HALF:]}) for block in blocks)
        found = self._ranks(states, labels, "forced").sample(CUTOFFS)
        values = {name.replace("forced", "masked"): value for name, value in found.values.items()}
        return Measured([Sample(values, found.units, found.unit)], {"masked_loss": self._loss(halves, seed)})

    def mean_loss(self, halves: Halves, seed: int) -> float:
        """The mean loss over all labels, over the whole vocabulary."""
        return self._loss(halves, seed)


def search_of(
    model: AnyNetwork, beams: int, forbid_repeats: bool, jit: bool | str = "auto", steps: int | None = None
) -> Search:
    """The beam search that continues sessions with ``model``, with XLA or without."""
    kind = RecurrentSearch if isinstance(model, RecurrentModel) else Search
    search = kind(model, beams, forbid_repeats, steps)
    search.compile(jit_compile=jit)
    return search


def standing(table: Any, bias: Any, states: Any, target: Any) -> tuple[Any, Any]:
    """How many ids score above each target, and how many level with it, itself included.

    One position at a time, so that only its scores exist.

    Args:
        table, bias: (V, C) and (V,) of the output layer; the bias of ids that are no tracks is too low to count.
        states: (B, T, C) before the output layer.
        target: (B, T) ids.

    Returns:
        Two of (B, T) int32; meaningless where the target is padding.
    """
    steps = states.shape[1]
    target = ops.cast(target, "int32")
    weights, states = ops.cast(ops.transpose(table), "float32"), ops.cast(states, "float32")

    def position(t: Any, found: tuple[Any, Any]) -> tuple[Any, Any]:
        scores = ops.matmul(ops.take(states, t, axis=1), weights) + bias  # (B, V)
        own = ops.take_along_axis(scores, ops.take(target, t, axis=1)[:, None], axis=1)  # (B, 1)
        here = (ops.arange(steps) == t)[None]
        counts = (ops.sum(ops.cast(which, "int32"), axis=1)[:, None] for which in (scores > own, scores == own))
        above, level = (ops.where(here, count, before) for count, before in zip(counts, found, strict=True))
        return above, level

    return ops.fori_loop(0, steps, position, (ops.zeros_like(target), ops.zeros_like(target)))
