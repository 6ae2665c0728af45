"""Session transformers (Khan, Cui, Arora 2020): the tracks and the skips of a Spotify session's second half."""

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)
