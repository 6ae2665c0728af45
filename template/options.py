"""Options of the template, and their defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from common.options import OptionalInt, TrainingOptions, require, require_between

DEFAULTS: dict[str, Any] = {"epochs": 20, "batch_size": 1024, "learning_rate": 0.001, "factors": 64}
SAMPLE: dict[str, Any] = {"epochs": 10, "batch_size": 128, "learning_rate": 0.03, "factors": 4}
"""On made-up data: what learns them in seconds."""


@dataclass(frozen=True)
class TemplateOptions(TrainingOptions):
    """Options of the template; say of each what the paper used."""

    factors: OptionalInt = None
    """Size of the vectors of users and songs (paper: 64). Default: 64, on synthetic data 4."""
    baselines: bool = True
    """Evaluate the baselines too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between(self, factors=(1, 4096))
        require(self.distribute == "none", f"--distribute {self.distribute}: the template trains on one device")
        require(self.protocol == "corrected", "--protocol released: there is no released code of the template")
        require(len(self.weights) <= 1, "--weights names several files; name one")

    def completed(self, synthetic: bool) -> TemplateOptions:
        """These options with everything filled in."""
        chosen = DEFAULTS | (SAMPLE if synthetic else {})
        return replace(self, **{name: value for name, value in chosen.items() if getattr(self, name) is None})
