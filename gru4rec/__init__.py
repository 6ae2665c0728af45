"""GRU4Rec (Hidasi et al., arXiv 1511.06939 and 1706.03847) on sessions of music."""

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)
