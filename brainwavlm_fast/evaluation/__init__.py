"""What a trained encoder is worth: ridge encoding models, their significance and ceilings, a run's evaluation."""

from __future__ import annotations

from .ridge import RidgeCV
from .splits import ChunkBootstrap

__all__ = ["ChunkBootstrap", "RidgeCV"]
