"""A simulated brain with known ground truth ("planted"): a data set in ds003020's layout.

It stands above data, model and evaluation: its teacher is a model, and its truth is measured by the evaluation.
"""

from __future__ import annotations

from .settings import Settings, planted_model
from .simulate import simulate

__all__ = ["Settings", "planted_model", "simulate"]
