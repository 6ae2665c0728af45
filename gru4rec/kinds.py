"""Names of the kinds of input, cell and loss; apart from the models, so that options need no TensorFlow."""

from __future__ import annotations

from typing import Literal

InputKind = Literal["shared", "separate", "one-hot", "content", "content-mlp"]
GruKind = Literal["original", "cudnn"]
LossName = Literal["cross-entropy", "bpr-max", "top1-max", "bpr", "top1"]
