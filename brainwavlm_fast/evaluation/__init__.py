"""What a trained encoder is worth: ridge encoding models, their significance and ceilings, a run's evaluation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {"ChunkBootstrap": "splits", "RidgeCV": "ridge"}  # loaded when first used: saved results open without torch
__all__ = ["ChunkBootstrap", "RidgeCV"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
