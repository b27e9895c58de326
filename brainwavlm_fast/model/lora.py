"""LoRA on a WavLM's attention projections: made and saved by PEFT, read by our own forward pass."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import ConfigError
from .weights import load_tensors, take_tensors

_ADAPTER = "default"


def with_lora(wavlm: nn.Module, config: ModelConfig) -> nn.Module:
    """A WavLM whose first ``config.layer`` layers have adapters on q, k and v; every other weight is frozen.

    The scale of the update is alpha / rank.
    """
    adapters = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=["q_proj", "k_proj", "v_proj"],
        layers_to_transform=list(range(config.layer)),
        layers_pattern="layers",
    )
    with warnings.catch_warnings():  # between the two libraries: PEFT asks transformers by a name it deprecated
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        return get_peft_model(wavlm, adapters)


def save_adapter(wavlm: Any, folder: Path) -> None:
    """Write LoRA as a PEFT adapter, which opens on a plain ``transformers`` WavLM.

    Raises
    ------
    ConfigError
        Another adapter is active than the one that this package made: it would not be what is saved.
    """
    name = active_adapter(wavlm)
    if name != _ADAPTER:
        raise ConfigError(f"the active adapter is '{name}', but '{_ADAPTER}' is what is saved; choose it first.")
    wavlm.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card


def load_adapter(wavlm: Any, path: Path) -> None:
    """Load LoRA from a PEFT adapter's safetensors file whose keys and shapes are exactly this WavLM's.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, or its keys or shapes are others.
    """
    tensors = load_tensors(path)
    take_tensors(get_peft_model_state_dict(wavlm), tensors, where=path)
    set_peft_model_state_dict(wavlm, tensors)


def adapted(projection: Any) -> bool:
    """Whether a projection has an update that is neither merged nor switched off."""
    return isinstance(projection, LoraLinear) and not projection.merged and not projection.disable_adapters


def low_rank(projection: Any) -> tuple[Tensor, Tensor, float]:
    """A (rank, width), B (width, rank), and the scale of B A."""
    name = active_adapter(projection)
    return projection.lora_A[name].weight, projection.lora_B[name].weight, projection.scaling[name]


def dropped(projection: Any, hidden: Tensor) -> Tensor:
    """What the update sees: hidden states after the adapter's own dropout."""
    return projection.lora_dropout[active_adapter(projection)](hidden)


def active_adapter(projection: Any) -> str:
    """The adapter that PEFT's ``set_adapter`` chose.

    Raises
    ------
    ConfigError
        Several are active at once.
    """
    names: list[str] = list(projection.active_adapters)
    if len(names) != 1:
        raise ConfigError(f"{len(names)} adapters are active ({', '.join(names)}); choose one with set_adapter.")
    return names[0]
