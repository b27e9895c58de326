"""Tensors on disk, key by key: safetensors only, nothing missing, nothing extra, nothing silently ignored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import CheckpointError


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file."""
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; a missing or damaged one is a :class:`CheckpointError`."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the checkpoint is incomplete.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); use another checkpoint.") from error


def take_tensors(into: nn.Module | Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Copy tensors into a module (or a state dict) whose keys and shapes they must match exactly.

    Raises
    ------
    CheckpointError
        Naming the first keys that are missing, extra, or of another shape. Nothing is copied then.
    """
    current = into.state_dict() if isinstance(into, nn.Module) else into
    missing, extra = sorted(current.keys() - tensors.keys()), sorted(tensors.keys() - current.keys())
    if missing or extra:
        parts = [f"{kind} {', '.join(keys[:3])}" for kind, keys in (("missing", missing), ("extra", extra)) if keys]
        raise CheckpointError(
            f"{where} does not match this model: {'; '.join(parts)}. It was written by another configuration."
        )
    for name, tensor in tensors.items():
        if tensor.shape != current[name].shape:
            raise CheckpointError(
                f"{where}: {name} has shape {tuple(tensor.shape)}, expected {tuple(current[name].shape)}. "
                "It was written by another configuration (other voxels, rank or model)."
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{where}: {name} holds NaN or infinity; use an earlier checkpoint.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            current[name].copy_(tensor)
