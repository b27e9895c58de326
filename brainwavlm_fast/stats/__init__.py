"""Significance and noise ceilings of voxelwise scores. Arrays in, arrays out."""

from __future__ import annotations

from .noise_ceiling import noise_ceiling, normalised
from .significance import Significance, compare_models, false_discovery_rate, permutation_test, within_subject_sem

__all__ = [
    "Significance",
    "compare_models",
    "false_discovery_rate",
    "noise_ceiling",
    "normalised",
    "permutation_test",
    "within_subject_sem",
]
