"""Fine-tune WavLM with LoRA on fMRI responses to stories, end to end, on a native core.

The public names are those of ``__all__``; each is loaded when it is first used, so that the kernels need no torch.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kernels import correlation as correlation
    from .kernels import correlation_loss as correlation_loss
    from .kernels import delay_stack as delay_stack
    from .model import BrainWavLM as BrainWavLM
    from .ridge import BandedRidgeCV as BandedRidgeCV
    from .ridge import RidgeCV as RidgeCV

    __version__: str

_HOMES = {
    "BandedRidgeCV": "ridge",
    "BrainWavLM": "model",
    "RidgeCV": "ridge",
    "correlation": "kernels",
    "correlation_loss": "kernels",
    "delay_stack": "kernels",
}
__all__ = ["BandedRidgeCV", "BrainWavLM", "RidgeCV", "__version__", "correlation", "correlation_loss", "delay_stack"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("brainwavlm-fast")
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
