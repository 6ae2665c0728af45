"""Train the template, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from template.options import TemplateOptions
from template.recommender import Template


def main(options: TemplateOptions) -> dict[str, Any]:
    """Train matrix factorisation on plays, rank the songs that users have not played, compare with the baselines."""
    return Template.of(options).run()


if __name__ == "__main__":
    run_script(main, TemplateOptions)
