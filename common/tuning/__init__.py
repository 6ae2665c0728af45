"""The search for good options behind ``python -m common.tune``: spaces, trials, the study."""
