"""The whole pipeline in one command, as the Spotify project's ``run.py``: preprocess, train, evaluate, compare."""

from __future__ import annotations

from common.command import run_script
from gru4rec.options import GruOptions
from gru4rec.train import main

if __name__ == "__main__":
    run_script(main, GruOptions)
