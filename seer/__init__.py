"""SeER: sequence-based explainable hybrid song recommendation."""

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)
