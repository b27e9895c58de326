"""Fine-tune WavLM with LoRA on fMRI responses to stories, end to end, on a native core.

The public names are those of ``__all__``; each is loaded when it is first used, so that the kernels need no torch.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

_HOMES = {
    "BrainWavLM": "model",
    "RidgeCV": "ridge.estimator",
    "correlation": "kernels",
    "correlation_loss": "kernels",
    "delay_stack": "kernels",
}
__all__ = ["BrainWavLM", "RidgeCV", "__version__", "correlation", "correlation_loss", "delay_stack"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("brainwavlm-fast")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
