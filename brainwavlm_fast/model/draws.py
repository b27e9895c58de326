"""What a forward pass draws once for all its windows, as ``transformers`` does: dropped layers and SpecAugment's masks.

The draws are made before the windows are batched, grouped, recomputed or sharded over ranks, so that all windows of a
block see one subnetwork however the work is divided. Dropout is drawn element by element where it acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.models.wavlm.modeling_wavlm import _compute_mask_indices

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """Random choices of one forward pass; by default there are none.

    Attributes
    ----------
    dropped_layers : frozenset of int
        Transformer layers that are left out, counted from 0.
    frames, channels : sequence of array
        Per window the masked frames, (n_frames,), and hidden channels, (width,); empty where nothing is masked.
    """

    dropped_layers: frozenset[int] = frozenset()
    frames: Sequence[Mask] = ()
    channels: Sequence[Mask] = ()

    def take(self, rows: Sequence[int]) -> Draws:
        """Those of some windows, which have one length."""
        frames, channels = ([masks[row] for row in rows] if masks else () for masks in (self.frames, self.channels))
        return Draws(self.dropped_layers, frames, channels)

    def mask(self, hidden: Tensor, embedding: Tensor | None) -> Tensor:
        """Mask (n_windows, n_frames, width) in place, frames with WavLM's learned embedding (width,)."""
        if len(self.frames) and embedding is not None:
            hidden[torch.from_numpy(np.stack(self.frames)).to(hidden.device)] = embedding.to(hidden.dtype)
        if len(self.channels):
            channels = torch.from_numpy(np.stack(self.channels)).to(hidden.device)
            hidden[channels[:, None].expand(-1, hidden.shape[1], -1)] = 0
        return hidden


NO_DRAWS = Draws()


def draw(config: Any, n_layers: int, n_frames: NDArray[np.int64]) -> Draws:
    """Draw for a pass through ``n_layers`` of windows of so many frames each, from torch's and NumPy's generators.

    ``config`` is the WavLM's. Windows shorter than a masked span, at a story's start, are not masked in time:
    ``transformers`` refuses them.
    """
    # The first layer, which holds the position bias, is never dropped.
    n_droppable = n_layers if config.layerdrop > 0 else 0
    dropped = frozenset(k for k in range(1, n_droppable) if torch.rand([]) < config.layerdrop)
    if not getattr(config, "apply_spec_augment", True):
        return Draws(dropped)
    frames: list[Mask] = [np.zeros(n, dtype=bool) for n in n_frames]
    channels: list[Mask] = [np.zeros(config.hidden_size, dtype=bool) for _ in n_frames]
    for length in np.unique(n_frames):
        rows = np.flatnonzero(n_frames == length)
        if config.mask_time_prob > 0 and length >= config.mask_time_length:
            _fill(frames, rows, length, config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks)
        if config.mask_feature_prob > 0:
            span, least = config.mask_feature_length, getattr(config, "mask_feature_min_masks", 0)
            _fill(channels, rows, config.hidden_size, config.mask_feature_prob, span, least)
    return Draws(dropped, frames if config.mask_time_prob > 0 else (), channels if config.mask_feature_prob > 0 else ())


def _fill(masks: list[Mask], rows: NDArray[np.intp], size: int, share: float, span: int, least: int) -> None:
    drawn = _compute_mask_indices((len(rows), int(size)), mask_prob=share, mask_length=span, min_masks=least)
    for row, mask in zip(rows, drawn, strict=True):
        masks[row] = mask
