"""The seed project's ``from MusicRecommender import MusicRecommender``; see :mod:`audiotext.music_recommender`."""

from audiotext.music_recommender import MusicRecommender

__all__ = ["MusicRecommender"]
