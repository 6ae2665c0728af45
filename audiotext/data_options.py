"""How raw material becomes dlrs-data: the options of ``preprocess.py``, which ``train.py`` has too."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from audiotext.audio.patches import FRAMES, PatchOptions
from audiotext.factors import FactorOptions
from common.options import OptionalFloat, OptionalInt, require

FACTORS: dict[str, Any] = {
    "factors": 200, "als_confidence": "linear", "als_alpha": 40.0, "als_epsilon": 1e-8, "als_regularisation": 0.1,
}  # fmt: skip
SAMPLE_FACTORS: dict[str, Any] = {
    "factors": 20, "als_confidence": "log", "als_alpha": 2.0, "als_epsilon": 1.0, "als_regularisation": 1.0,
}  # fmt: skip
SAMPLE_FRAMES = 86
"""The sample's clips have no more."""


_CONFIDENCE = tyro.conf.arg(metavar="{linear,log}", help_behavior_hint="")


@dataclass(frozen=True)
class PrepareOptions(FactorOptions):
    """Options that turn raw material into dlrs-data; of no effect on dlrs-data that are there already."""

    factors: OptionalInt = None  # type: ignore[assignment]
    """Factors of a user and of an item (paper: 200). Default: 200, on the sample 20."""
    als_confidence: Annotated[Literal["linear", "log"] | None, _CONFIDENCE] = None  # type: ignore[assignment]
    """Confidence in r plays: linear is 1 + alpha r (Hu et al.), log is 1 + alpha log(1 + r / epsilon) (van den Oord et
    al.). Default: linear, on the sample log."""
    als_alpha: OptionalFloat = None  # type: ignore[assignment]
    """alpha of the confidence. Default: 40 (Hu et al.), on the sample 2."""
    als_epsilon: OptionalFloat = None  # type: ignore[assignment]
    """epsilon of the confidence; only with log. Default: 1e-8, on the sample 1."""
    als_regularisation: OptionalFloat = None  # type: ignore[assignment]
    """lambda. Default: 0.1, on the sample 1."""
    terms: int = 10_000
    """Most terms of the texts (paper: 10,000)."""
    test_share: float = 0.2
    """Share of the artists that are held out, with all their songs (MSD-A: 0.2)."""
    split_seed: int = 1
    """Seed of the artists held out and of the factors' start."""
    frames: OptionalInt = None
    """Frames of a patch, 46 ms each (paper: 322, which is 15 s). Default: 322, on the sample 86."""
    jobs: OptionalInt = None
    """Processes that read sound files. Default: one per core."""

    def __post_init__(self) -> None:
        self.of_factors(synthetic=True)  # which checks the others
        require(self.terms >= 1, f"--terms is {self.terms}; it must be 1 or more")
        require(0 < self.test_share < 1, f"--test-share is {self.test_share:g}; it must lie between 0 and 1")
        require(0 <= self.split_seed < 2**31, f"--split-seed is {self.split_seed}; it must lie in 0..2147483647")
        require(self.frames is None or self.frames >= 1, f"--frames is {self.frames}; it must be 1 or more")
        require(self.jobs is None or self.jobs >= 1, f"--jobs is {self.jobs}; it must be 1 or more")

    def of_factors(self, synthetic: bool) -> FactorOptions:
        """The options of the factorisation, complete."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(FactorOptions)}
        values |= {
            name: value
            for name, value in (FACTORS | (SAMPLE_FACTORS if synthetic else {})).items()
            if values[name] is None
        }
        return FactorOptions(**values)

    def of_patches(self, synthetic: bool, protocol: str) -> PatchOptions:
        """The options of the patches, complete."""
        frames = self.frames or (SAMPLE_FRAMES if synthetic else FRAMES)
        return PatchOptions(frames, protocol=protocol)  # type: ignore[arg-type]
