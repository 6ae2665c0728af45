"""The whole pipeline in one command, as the released code's ``run.py``: preprocess, train, evaluate, compare."""

from __future__ import annotations

from common.command import run_script
from dtnmr.options import DtnmrOptions
from dtnmr.train import main

if __name__ == "__main__":
    run_script(main, DtnmrOptions)
