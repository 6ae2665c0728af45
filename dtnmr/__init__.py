"""DTNMR (Zheng et al. 2019): the next songs of a user, from metadata of songs and users and from what was heard."""

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)
