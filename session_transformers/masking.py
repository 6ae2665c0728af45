"""Examples for BERT: sessions with some tracks masked, and the true tracks there as labels. NumPy only."""

from __future__ import annotations

import numpy as np

from session_transformers.kinds import PAD, Ids

MASKED, RANDOM, KEPT = 0.16, 0.18, 0.20
"""A track is masked for a draw up to the first, replaced up to the second, kept but asked for up to the third."""

Examples = tuple[np.ndarray, np.ndarray]
"""Tokens to read (B, T) and labels (B, T), 0 where nothing is asked for."""


def mask_by(tokens: np.ndarray, draws: np.ndarray, random_tracks: np.ndarray, ids: Ids) -> Examples:
    """Mask tracks by the one-draw rule of the seed: 16 % masked, 2 % another track, 2 % unchanged but asked for.

    Args:
        tokens: (B, T) ids; padding is left alone.
        draws: (B, T) u in [0, 1).
        random_tracks: (B, T) what a replaced track becomes.
        ids: which id masks.
    """
    asked = (draws <= KEPT) & (tokens != PAD)
    masked = np.where(draws <= MASKED, ids.mask, np.where(draws <= RANDOM, random_tracks, tokens))
    return np.where(asked, masked, tokens).astype(tokens.dtype), np.where(asked, tokens, PAD).astype(tokens.dtype)


def mask_randomly(tokens: np.ndarray, rng: np.random.Generator, vocabulary: int, ids: Ids) -> Examples:
    """:func:`mask_by` with draws from ``rng``; a replaced track becomes any track of the vocabulary."""
    draws = rng.random(tokens.shape)
    return mask_by(tokens, draws, rng.integers(ids.first_track, vocabulary, size=tokens.shape), ids)


def mask_second_half(tokens: np.ndarray, ids: Ids) -> Examples:
    """Mask the last half of (B, T) tokens and ask for all tracks in it: how BERT is fine-tuned to continue sessions.

    Padding there is masked too, since the model cannot know how long a session will be; it is not asked for.
    """
    second = np.arange(tokens.shape[1]) >= tokens.shape[1] // 2
    return np.where(second, ids.mask, tokens).astype(tokens.dtype), np.where(second, tokens, PAD).astype(tokens.dtype)


def next_tracks(tokens: np.ndarray) -> Examples:
    """Tokens but the last, and tokens but the first: the released code's committed fine-tuning.

    Attention looks both ways, so every answer but the last is in the input (deviation B9); here to show that leak.
    """
    return tokens[:, :-1], tokens[:, 1:]
