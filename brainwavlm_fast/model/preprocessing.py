"""What a base model expects of its sound: Large, windows of zero mean and unit variance; Base, sound as it is."""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .hub_files import ModelFiles

FILE = "preprocessor_config.json"
_EPS = 1e-7  # of transformers' Wav2Vec2FeatureExtractor


def expects_normalized_sound(files: ModelFiles, config: Any) -> bool:
    """Whether a base model's windows must be normalized: ``do_normalize`` of the file beside its weights.

    Without the file, as it goes with WavLM's two layouts: models with layer norms in the feature encoder (Large) expect
    it, those with a group norm (Base, Base+) do not; a warning says so where it matters.

    Raises
    ------
    CheckpointError
        The file is damaged, or does not say it as true or false.
    """
    path = files.find(FILE)
    if path is None:
        by_layout = bool(config.feat_extract_norm == "layer")
        if by_layout:
            warnings.warn(
                f"{files.name} has no {FILE}; its feature encoder has layer norms, as WavLM Large's, so that each "
                "window of sound is brought to zero mean and unit variance. If it was trained otherwise, add that file "
                'with {"do_normalize": false}.',
                stacklevel=3,
            )
        return by_layout
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["do_normalize"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} must be JSON that says do_normalize; download it again.") from error
    if not isinstance(found, bool):
        raise CheckpointError(f"{path}: do_normalize must be true or false, it is {found!r}.")
    return found


def normalized(waveforms: Tensor) -> Tensor:
    """Each window of (n_windows, n_samples) with zero mean and unit variance, as transformers' feature extractor."""
    variance, mean = torch.var_mean(waveforms, dim=-1, correction=0, keepdim=True)
    return (waveforms - mean) / (variance + _EPS).sqrt()
