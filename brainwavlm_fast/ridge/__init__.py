"""Cross-validated ridge regression for many targets. Arrays in, arrays out; torch only for CUDA tensors."""

from __future__ import annotations

from .banded import BandedRidgeCV, Partition
from .estimator import RidgeCV
from .row_splits import ChunkBootstrap

__all__ = ["BandedRidgeCV", "ChunkBootstrap", "Partition", "RidgeCV"]
