"""Significance, intervals, noise ceilings and pooled effects of voxelwise scores. Arrays in, arrays out."""

from __future__ import annotations

from .noise_ceiling import NoiseCeiling, noise_ceiling, normalize_by_ceiling
from .significance import Significance, compare_models, correlation_test, false_discovery_rate

__all__ = [
    "NoiseCeiling",
    "Significance",
    "compare_models",
    "correlation_test",
    "false_discovery_rate",
    "noise_ceiling",
    "normalize_by_ceiling",
]
