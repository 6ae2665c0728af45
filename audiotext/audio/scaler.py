"""Feature scaling of patches: each (frame, bin) cell with mean 0 and deviation 1 over the training tracks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from audiotext.matrices import DAMAGED
from common.checkpoint import check_unpacked_size
from common.options import UserError, replacing, require

RELEASED_ROWS = 10_000
"""The released code fits its scaler to the first block of the training file only."""
BLOCK = 256


class Selectable(Protocol):
    """An array (n, frames, bins), or rows of one that are read when they are asked for."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Scaler:
    """Mean and deviation of every cell, (frames, bins) float32 each; cells that never differ have deviation 1."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(cls, patches: np.ndarray | Selectable, rows: np.ndarray | None = None) -> Scaler:
        """The scale of ``patches[rows]`` (all without ``rows``), in one pass over blocks of them.

        Raises:
            UserError: there is none, or one holds NaN or infinite values.
        """
        rows = np.arange(len(patches)) if rows is None else np.sort(rows)
        require(len(rows) > 0, "no patch to fit the scale to")
        count, mean, squares = 0, np.zeros(patches.shape[1:]), np.zeros(patches.shape[1:])
        for start in range(0, len(rows), BLOCK):
            block = np.asarray(patches[rows[start : start + BLOCK]], np.float64)
            require(bool(np.isfinite(block).all()), f"patches {start} to {start + len(block) - 1} hold NaN or infinity")
            # Chan, Golub, LeVeque 1979: the mean and squares of two parts give those of both without cancellation.
            own, total = block.mean(axis=0), count + len(block)
            shift = own - mean
            squares += np.square(block - own).sum(axis=0) + np.square(shift) * count * len(block) / total
            mean += shift * len(block) / total
            count = total
        deviation = np.sqrt(squares / count)
        # Patches have single precision at most: a smaller deviation is the rounding of a cell that never differs.
        constant = deviation <= 1e-9 * np.maximum(np.abs(mean), 1.0)
        deviation = np.where(constant, 1.0, deviation)
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def transform(self, patches: np.ndarray) -> np.ndarray:
        """``patches`` (..., frames, bins) scaled, float32."""
        return (np.asarray(patches, np.float32) - self.mean) / self.deviation

    def save(self, path: Path) -> None:
        """Write an npz, atomically."""
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, mean=self.mean, deviation=self.deviation)

    @classmethod
    def load(cls, path: Path) -> Scaler:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: it cannot be read.
        """
        try:
            check_unpacked_size(path)
            with np.load(path, allow_pickle=False) as file:
                mean, deviation = (np.asarray(file[name], np.float32) for name in ("mean", "deviation"))
            fits = mean.ndim == 2 and mean.shape == deviation.shape
            usual = bool(np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all())
        except UserError:
            raise
        except DAMAGED as error:
            raise UserError(f"{path}: not a scaler of patches ({error})") from None
        require(fits and usual, f"{path}: not a scaler of patches (its arrays do not fit, or hold impossible values)")
        return cls(mean, deviation)
