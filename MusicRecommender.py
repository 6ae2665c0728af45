"""The seed project's import, ``from MusicRecommender import MusicRecommender``; see :mod:`audiotext.recommender`."""

from audiotext.recommender import MusicRecommender

__all__ = ["MusicRecommender"]
