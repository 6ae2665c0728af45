"""Continue sessions: greedy and beam search, the model being asked once for a step and never for the past again.

The first half is encoded once; the decoder keeps the keys and values of the steps before (a cache), so that a step
costs one token. All steps are one compiled call. Greedy search is beam search of width 1.

Letters: B sessions, K beams, N steps, C width, V ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from common.options import require
from session_transformers.layers import MASKED
from session_transformers.model import Bert, SessionModel, last_tracks
from session_transformers.settings import AnyArchitecture

NONE = -1
"""In place of a token that is not there yet."""


@dataclass(frozen=True)
class Continued:
    """Continuations of B sessions, best first."""

    tokens: np.ndarray
    """(B, K, N) int32."""
    log_probabilities: np.ndarray
    """(B, K, N) float32: of each token given those before it."""
    hidden: np.ndarray | None
    """(B, K, N, C) states before the output layer, if asked for."""


def candidates(architecture: AnyArchitecture, beams: int, forbid_repeats: bool) -> int:
    """Best tokens to look at after each beam: enough of them, whatever is forbidden.

    Raises:
        UserError: there are not as many tracks.
    """
    found = beams + (2 * architecture.half if forbid_repeats else 0)
    tracks = architecture.vocabulary - architecture.impossible
    require(
        found <= tracks,
        f"a vocabulary of {tracks} tracks is too small for {beams} beams" + " without repeats" * forbid_repeats,
    )
    return found


class Search(keras.Model):
    """Beam search as a Keras model, so that any backend compiles it.

    A BERT fine-tuned for tracks is searched too: its states do not depend on what was chosen before.

    Args:
        model: for track sequences.
        beams: K continuations kept at every step, those of the greatest probability.
        forbid_repeats: never choose a token that the session holds already. Probabilities stay those of the model.
        steps: N, tokens to tell; None: as many as a half has.
    """

    def __init__(
        self, model: SessionModel, beams: int = 1, forbid_repeats: bool = False, steps: int | None = None
    ) -> None:
        super().__init__(name="search")
        architecture = model.architecture
        name = f"{architecture.model} model for --task {architecture.task}"
        require(architecture.task == "seq" and architecture.model != "bert", f"a {name} cannot continue sessions")
        require(beams >= 1, f"{beams} beams; there must be at least 1")
        self.model, self.beams, self.forbid_repeats = model, beams, forbid_repeats
        self.steps = steps or architecture.half
        self.candidates = candidates(architecture, beams, forbid_repeats)

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Continue sessions.

        Args:
            inputs: ``source`` (B, N), and where they are known ``source_skips`` (B, N) and ``bert`` (B, N, C) features.

        Returns:
            The arrays of :class:`Continued` by name.
        """
        source = ops.cast(inputs["source"], "int32")
        rows, beams, steps = ops.shape(source)[0], self.beams, self.steps
        states, carried = self._begin(source, inputs)
        zeros = ops.zeros((rows, beams, steps))
        state = {
            "tokens": ops.full((rows, beams, steps), NONE, dtype="int32"),
            "log_probabilities": zeros,
            "hidden": ops.zeros((rows, beams, steps, self.model.architecture.width), dtype=self.model.compute_dtype),
            # All beams are equal at first: only one of them counts.
            "scores": zeros[:, :, 0] + ops.where(ops.arange(beams) == 0, 0.0, MASKED),
            "last": ops.repeat(last_tracks(source), beams, axis=1),
            "carried": carried,
        }

        def step(position: Any, state: dict[str, Any]) -> dict[str, Any]:
            here = ops.arange(steps) == position  # (N,)
            x, carried = states(position, state["last"], state["carried"])  # (B, K, C)
            logits = self.model.head(x)  # (B, K, V)
            chosen, token, log_probability, scores = self._choose(logits, state, source)  # (B, K) each
            kept = {name: self._of(state[name], chosen) for name in ("tokens", "log_probabilities", "hidden")}
            return {
                "tokens": ops.where(here, token[..., None], kept["tokens"]),
                "log_probabilities": ops.where(here, log_probability[..., None], kept["log_probabilities"]),
                "hidden": ops.where(here[:, None], self._of(x, chosen)[:, :, None], kept["hidden"]),
                "scores": scores,
                "last": token,
                "carried": [self._of(cache, chosen) for cache in carried],
            }

        found = ops.fori_loop(0, steps, step, state)
        return {name: found[name] for name in ("tokens", "log_probabilities", "hidden")}

    def _begin(self, source: Any, inputs: dict[str, Any]) -> tuple[Any, list[Any]]:
        """The function (position, last tokens (B, K), caches) -> states (B, K, C), caches; and the first caches."""
        model, beams = self.model, self.beams
        if isinstance(model, Bert):
            told = model.hidden(source, ops.zeros_like(source), inputs.get("source_skips"))  # (B, N, C)

            def looked_up(position: Any, last: Any, caches: list[Any]) -> tuple[Any, list[Any]]:
                return ops.repeat(ops.take(told, position, axis=1)[:, None], beams, axis=1), caches

            return looked_up, []
        encoded = model.encode(source, inputs.get("source_skips"), inputs.get("bert"))
        asked = model.asked(encoded)
        heads, width = model.architecture.heads, model.architecture.width
        shape = (ops.shape(source)[0], beams, heads, model.architecture.half, width // heads)
        empty = [ops.zeros(shape, dtype=model.compute_dtype) for _ in range(2 * len(asked))]

        def decoded(position: Any, last: Any, caches: list[Any]) -> tuple[Any, list[Any]]:
            x = model.embedding(last, position=position)  # (B, K, C)
            after: list[Any] = []
            for i, layer in enumerate(model.decoder):
                flat = tuple(ops.reshape(cache, (-1, *shape[2:])) for cache in caches[2 * i : 2 * i + 2])
                x, new = layer.step(x, flat, position, asked[i], encoded.mask)
                after += [ops.reshape(cache, shape) for cache in new]
            return model.decoder_norm(x), after

        return decoded, empty

    def _choose(self, logits: Any, state: dict[str, Any], source: Any) -> tuple[Any, Any, Any, Any]:
        """The K best of all beams' next tokens: beam each one continues, token, log-probability, score; (B, K) each."""
        scale = ops.logsumexp(logits, axis=-1, keepdims=True)  # (B, K, 1)
        if self.candidates == 1:
            token = ops.argmax(logits, axis=-1)[..., None]
            values = ops.max(logits, axis=-1, keepdims=True)
        else:  # as many of each beam as can be needed, whatever is forbidden: exact, and small
            values, token = ops.top_k(logits, self.candidates)  # (B, K, candidates)
        token, log_probability = ops.cast(token, "int32"), values - scale
        scores = log_probability + state["scores"][..., None]
        if self.forbid_repeats:
            seen = ops.repeat(source[:, None], self.beams, axis=1)
            seen = ops.concatenate([seen, state["tokens"]], axis=-1)  # (B, K, 2 N)
            repeated = ops.any(token[..., None] == seen[:, :, None], axis=-1)
            scores = ops.where(repeated, 2 * MASKED, scores)  # worse than a beam that does not count
        flat = (-1, self.beams * self.candidates)
        scores, best = ops.top_k(ops.reshape(scores, flat), self.beams)  # (B, K)
        token = ops.take_along_axis(ops.reshape(token, flat), best, axis=1)
        log_probability = ops.take_along_axis(ops.reshape(log_probability, flat), best, axis=1)
        return best // self.candidates, token, log_probability, scores

    def _of(self, array: Any, chosen: Any) -> Any:
        """The beams (B, K) of an array (B, K, ...)."""
        if self.beams == 1:
            return array
        index = ops.reshape(chosen, (*ops.shape(chosen), *(1 for _ in array.shape[2:])))
        return ops.take_along_axis(array, index, axis=1)


def continue_sessions(
    search: Search,
    source: np.ndarray,
    source_skips: np.ndarray | None = None,
    bert: np.ndarray | None = None,
    batch_size: int = 256,
    with_hidden: bool = False,
) -> Continued:
    """Continue sessions in batches of one size, so that the search is compiled once; keep ``search`` for the next call.

    Args:
        search: see there.
        source: (B, N) first halves; each must hold a track.
        source_skips: (B, N) 0 played, 1 skipped, for models that are told.
        bert: (B, N, C) BERT's features, for an augmented model that has no BERT.
        batch_size: sessions in a batch.
        with_hidden: whether to return states.

    Raises:
        UserError: there are no sessions.
    """
    require(len(source) > 0, "there is no session to continue")
    given = {"source": source, "source_skips": source_skips, "bert": bert}
    inputs = {name: np.asarray(array) for name, array in given.items() if array is not None}
    if not search.compiled:
        search.compile()
    batch_size = min(batch_size, len(source))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("tokens", "log_probabilities")}
    parts |= {"hidden": []} if with_hidden else {}
    for start in range(0, len(source), batch_size):
        batch = {name: array[start : start + batch_size] for name, array in inputs.items()}
        there = len(batch["source"])
        full = {name: np.resize(array, (batch_size, *array.shape[1:])) for name, array in batch.items()}
        found = search.predict_on_batch(full)
        for name, part in parts.items():
            part.append(np.asarray(found[name])[:there])
    arrays = {name: np.concatenate(part) for name, part in parts.items()}
    return Continued(arrays["tokens"], arrays["log_probabilities"], arrays.get("hidden"))
