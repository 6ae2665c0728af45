"""What each model is shown of sessions, and what it must tell. NumPy only."""

from __future__ import annotations

import numpy as np

from session_transformers.kinds import HALF, PAD
from session_transformers.masking import mask_randomly
from session_transformers.recurrent.architecture import RecurrentArchitecture, recurrent_examples
from session_transformers.settings import AnyArchitecture


def examples(
    architecture: AnyArchitecture, tracks: np.ndarray, skips: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What the model reads of sessions, what it must tell, and where it must tell something.

    Args:
        architecture: the model's.
        tracks, skips: (B, 20) each.
        rng: draws BERT's masks.

    Returns:
        Inputs of ``hidden``, labels (B, T) and weights (B, T): 1, or 0 where there is nothing to tell.
    """
    if isinstance(architecture, RecurrentArchitecture):
        return recurrent_examples(architecture, tracks, skips)
    labels = tracks[:, HALF:]
    if architecture.model == "bert":
        tracks, labels = mask_randomly(tracks, rng, architecture.vocabulary, architecture.ids)
        return {"source": tracks[:, :HALF], "target": tracks[:, HALF:]}, labels, (labels != PAD).astype(np.float32)
    inputs = {"source": tracks[:, :HALF], "target": tracks[:, HALF:]}
    if architecture.skip_input != "none":
        inputs["source_skips"] = skips[:, :HALF].astype(np.int32)
    there = labels != PAD
    if architecture.task == "skip":
        labels = skips[:, HALF:]
        if architecture.is_bert and architecture.switches.bert_loss_everywhere:
            labels, there = skips, tracks != PAD
    return inputs, labels.astype(np.int32), there.astype(np.float32)
