"""Continue sessions with a recurrent model: greedy and beam search, as for the transformers.

:func:`session_transformers.decoding.continue_sessions` takes a :class:`RecurrentSearch` like any other search: the
first half is read once, the decoder's state takes the place of the cache, and all steps are one compiled call.
"""

from __future__ import annotations

from typing import Any, cast

from keras import ops

from session_transformers.decoding import Search
from session_transformers.recurrent.model import RecurrentModel


class RecurrentSearch(Search):
    """Beam search; see :class:`session_transformers.decoding.Search`."""

    def __init__(
        self, model: RecurrentModel, beams: int = 1, forbid_repeats: bool = False, steps: int | None = None
    ) -> None:
        super().__init__(cast(Any, model), beams, forbid_repeats, steps)
        self.recurrent = model

    def _begin(self, source: Any, inputs: dict[str, Any]) -> tuple[Any, list[Any]]:
        model = self.recurrent
        state = model.encode(source, inputs.get("source_skips"))  # (B, H) each

        def decoded(position: Any, last: Any, state: list[Any]) -> tuple[Any, list[Any]]:
            after = model.step(last, tuple(state))
            return ops.cast(after[0], model.compute_dtype), list(after)

        return decoded, [ops.repeat(part[:, None], self.beams, axis=1) for part in state]  # (B, K, H) each
