"""GRU4Rec (Hidasi et al., arXiv 1511.06939 and 1706.03847) on sessions of music."""
