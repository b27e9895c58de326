"""What features depend on, in one place: the key of every cache of features and of every result made from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cached_files import file_digest, key_digest
from ..config import ModelConfig, as_dict
from ..errors import CheckpointError
from ..files import read_json

TUNED_FILES = {"lora": "adapter/adapter_model.safetensors", "full": "encoder.safetensors"}
_LAYERS = "encoder.layers."
_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
# settings of a WavLM that change its outputs and are no tensor's shape
_ARCHITECTURE = (
    *("conv_kernel", "conv_stride", "feat_extract_activation", "feat_extract_norm", "hidden_act", "layer_norm_eps"),
    *("do_stable_layer_norm", "max_bucket_distance", "num_attention_heads", "num_buckets"),
    *("num_conv_pos_embedding_groups", "num_conv_pos_embeddings"),
)
_LORA = ("lora_rank", "lora_alpha")
# no part of features in evaluation: the name of the base model, the readout's settings, and those of training alone
_NO_PART = (
    "model",
    "revision",
    "delays",
    "bottleneck",
    "readout_bias",
    "lora_dropout",
    "regularizers",
    "negative_lobes",
)


def tensors_digest(tensors: Mapping[str, Tensor], digest: Any = None) -> str:
    """SHA-256 of names, types, shapes and bytes of tensors, sorted by name; continues ``digest`` if it is given."""
    digest = hashlib.sha256() if digest is None else digest
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return str(digest.hexdigest())


def architecture(config: Any) -> str:
    """The settings of a ``transformers`` WavLM that change its outputs, as text, normalized sound included."""
    settings = [(name, getattr(config, name, None)) for name in _ARCHITECTURE]
    if getattr(config, "do_normalize", False):  # else as before it was known, so that digests stay what they were
        settings.append(("do_normalize", True))
    return json.dumps(settings)


def base_digests(wavlm: Any) -> tuple[str, ...]:
    """Digests of a WavLM's weights and architecture: entry k covers everything that hidden state k depends on."""
    tensors = wavlm.state_dict()
    for old, name in _WEIGHT_NORM.items():  # older versions of torch name them so
        tensors = {key.replace(old, name): tensor for key, tensor in tensors.items()}
    digest = hashlib.sha256(architecture(wavlm.config).encode())
    digests = [tensors_digest({name: t for name, t in tensors.items() if not name.startswith(_LAYERS)}, digest)]
    for k in range(len(wavlm.encoder.layers)):
        layer = {name: t for name, t in tensors.items() if name.startswith(f"{_LAYERS}{k}.")}
        digests.append(tensors_digest(layer, digest))
    return tuple(digests)


def features_identity(config: ModelConfig, *, base: str, tuned: str = "") -> str:
    """A digest of everything that features in evaluation depend on but the story: weights, windows, settings.

    Parameters
    ----------
    config : ModelConfig
        Model, windows and times; a setting that is not listed as irrelevant counts.
    base : str
        Digest of the pre-trained weights that are read, of :func:`base_digests`.
    tuned : str
        Digest of the tuned weights, of :func:`tuned_digest`.
    """
    unused = (*_NO_PART, *(_LORA if config.finetune != "lora" else ()))
    settings = {name: value for name, value in as_dict(config).items() if name not in unused}
    return key_digest({"base": base, "tuned": tuned, "context": config.context, "settings": settings})


def tuned_digest(checkpoint: Path, config: ModelConfig) -> str:
    """SHA-256 of the tuned weights of a checkpoint; empty for a frozen encoder.

    Raises
    ------
    CheckpointError
        The file is missing, or is not what was saved.
    """
    if config.finetune not in TUNED_FILES:
        return ""
    path = checkpoint / TUNED_FILES[config.finetune]
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the checkpoint is damaged. Remove its folder, or train again.")
    weights = file_digest(path)
    state = checkpoint / "state.json"
    saved = read_json(state).get("files") if state.is_file() else None
    if isinstance(saved, dict) and weights != saved.get(TUNED_FILES[config.finetune], weights):
        raise CheckpointError(f"{path} is damaged: its contents are not those that were saved.")
    return weights
