"""Cold-start song recommendation from biographies and audio (Oramas et al., DLRS 2017), and the seed project on top."""

from __future__ import annotations

from typing import Any

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)

__all__ = ["MusicRecommender"]


def __getattr__(name: str) -> Any:
    if name == "MusicRecommender":  # imported late: other modules of this folder need neither TensorFlow nor options
        from audiotext.recommender import MusicRecommender

        return MusicRecommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
