"""The experiments of the paper, and cold start: ``seer/experiments.py`` runs them."""
