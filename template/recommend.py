"""Recommend songs to a user with a trained model."""

from __future__ import annotations

import pandas as pd

from common.command import run_script
from common.interactions import RecommendOptions, recommend
from template.recommender import Template


def main(options: RecommendOptions) -> pd.DataFrame:
    """Recommend songs that a user has not played yet, best first."""
    return recommend(Template, options)


if __name__ == "__main__":
    run_script(main, RecommendOptions)
