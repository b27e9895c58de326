"""WavLM with LoRA, read at one frame of one layer: the part of the model that is fine-tuned.

The pre-trained network is ``transformers``' own, PEFT makes the adapters; what is ours is the forward pass: the frozen
convolutional feature encoder runs without a gradient, layers above the one that is read are left out, and the last
layer is computed for the frame that is read alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..config import ModelConfig, Precision
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError
from .base_model import BaseModel
from .draws import NO_DRAWS, Draws, draw
from .front_end import convolutions, type_of_frames
from .hub_files import locate_model
from .identity import TUNED_FILES, base_digests
from .lora import load_adapter, with_lora
from .preprocessing import normalized
from .pretrained import load_wavlm
from .products import packed_weights, product
from .story import Story
from .transformer_layer import layer_forward, layer_forward_one, position_bias, positional_conv, round_weights
from .weights import load_tensors, take_tensors

CPU_GROUP = 8  # windows whose activations a CPU's cache holds
GPU_GROUP = 16  # windows recomputed together: some 1.2 GB at Base's size in float32
_FRONT_GROUP = 32  # windows through the convolutions together on a GPU: some 2.5 GB at Base's size
_FRONT_FRAMES = 6400  # of the feature encoder together, when nothing is differentiated: 32 windows of 4 s, 13 MB


class Encoder(nn.Module):
    """Waveform windows to one feature vector each.

    ``wavlm`` is the pre-trained network, wrapped by PEFT when LoRA is on, and ``pretrained`` says which it is;
    ``front_end`` (the feature encoder) and ``transformer`` are the two halves of the forward pass.
    ``precision`` is what the transformer's large products are computed in (:meth:`use_precision`); the feature encoder,
    hidden states between layers, LoRA's updates and everything after stay in the weights' type.
    """

    precision: Precision = "fp32"
    recompute: bool = False
    """Activation checkpointing: layers are computed again in the backward pass, a group of windows at a time."""

    def __init__(self, config: ModelConfig, *, all_layers: bool = False) -> None:
        """Load the pre-trained WavLM and cut it off above ``config.layer``.

        ``all_layers`` keeps the layers above, pre-trained, for :meth:`layer_features`.

        Raises
        ------
        CheckpointError
            WavLM cannot be loaded, is not a WavLM, or keys are missing.
        ConfigError
            It has fewer layers than ``config.layer``.
        """
        super().__init__()
        files, layer = locate_model(config.model, config.revision), config.layer
        wavlm = load_wavlm(files)
        if layer > wavlm.config.num_hidden_layers:
            raise ConfigError(f"layer is {layer}, but {config.model} has {wavlm.config.num_hidden_layers} layers.")
        self.pretrained = BaseModel(files, base_digests(wavlm), layer)
        # The first layer holds the position bias; it stays even if only its input is read.
        upper_layers = wavlm.encoder.layers[max(layer, 1) :]
        wavlm.encoder.layers = wavlm.encoder.layers[: max(layer, 1)]
        wavlm.requires_grad_(config.finetune == "full")
        self.upper_layers = upper_layers.requires_grad_(False) if all_layers else nn.ModuleList()
        self.layer, self.token, self.finetune = layer, config.token, config.finetune
        self.wavlm: Any = with_lora(wavlm, config) if config.finetune == "lora" else wavlm

    @property
    def base(self) -> Any:
        """The ``transformers`` model inside, adapters included."""
        return self.wavlm.get_base_model() if self.finetune == "lora" else self.wavlm

    @property
    def width(self) -> int:
        """Feature dimension."""
        return int(self.base.config.hidden_size)

    @property
    def front_width(self) -> int:
        """Channels per frame of the feature encoder."""
        return int(self.base.config.conv_dim[-1])

    def n_frames(self, n_samples: int) -> int:
        """Frames of a window of ``n_samples``."""
        return int(self.base._get_feat_extract_output_lengths(n_samples))

    def use_precision(self, precision: Precision) -> None:
        """Choose what the transformer's large products are computed in, once, before training.

        With ``bf16`` the frozen weights of layers of which every frame is computed are in bfloat16 from then on.
        """
        self.precision = precision
        if precision == "bf16":
            for layer in self.base.encoder.layers[: self._n_full_layers]:
                round_weights(layer)

    def encode(
        self,
        story: Story,
        windows: NDArray[np.int64],
        *,
        ranks: Ranks = SINGLE_PROCESS,
        batch_frames: int | None = None,
        layers: Sequence[int] | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """Features of some windows of a story, in their order: (len(windows), width).

        With ``layers`` those hidden states: (len(windows), len(layers), width). Windows of one length go through
        together (shorter ones exist at a story's start); ``batch_frames`` bounds how many, for when no gradient is
        kept. Windows are sharded over ``ranks``, and all features gathered on each. ``draws`` of the windows: those of
        :meth:`draw` by default, which must be the same on all ranks.
        """
        draws = draws or self.draw(story.plan.lengths[windows])
        local, row = ranks.shard(windows), {int(window): k for k, window in enumerate(windows)}
        features: list[Tensor] = []
        rows: list[int] = []
        for batch, front in self.front_ends(story, local, batch_frames=batch_frames):
            chosen = [row[int(window)] for window in batch]
            passed = (
                self.transformer(front, draws.take(chosen)) if layers is None else self.layer_features(front, layers)
            )
            features.append(passed)
            rows += chosen
        return ranks.all_gather(torch.cat(features)[np.argsort(rows)], windows)

    def draw(self, n_samples: NDArray[np.int64]) -> Draws:
        """What a forward pass over windows of so many samples each draws once; in evaluation mode nothing."""
        if not self.training:
            return NO_DRAWS
        lengths, which = np.unique(n_samples, return_inverse=True)  # few: transformers counts frames slowly
        return draw(self.base.config, self.layer, np.array([self.n_frames(int(n)) for n in lengths])[which])

    def front_ends(
        self, story: Story, windows: NDArray[np.int64], *, batch_frames: int | None = _FRONT_FRAMES
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Batches of windows of one length, and the feature encoder's output for them: cached, or computed now."""
        anchor = self.base.feature_projection.layer_norm.weight
        lengths = story.plan.lengths[windows]
        for length in np.unique(lengths):
            group = windows[lengths == length]
            n_batch = len(group) if batch_frames is None else max(1, batch_frames // self.n_frames(int(length)))
            for start in range(0, len(group), n_batch):
                batch = group[start : start + n_batch]
                if story.front_cache is not None:
                    yield batch, story.front_cache.take(batch, anchor)
                else:
                    yield batch, self.front_end(story.waveforms(batch, anchor.device))

    def front_end(self, waveforms: Tensor) -> Tensor:
        """The feature encoder and its layer norm: (n_windows, n_samples) -> (n_windows, n_frames, front_width).

        Sound is normalized first if the model expects it. Differentiated only if every weight is trained, so that its
        output can be cached. Never in TF32.

        Raises
        ------
        ConfigError
            The model was converted to half precision as a whole.
        """
        norm = self.base.feature_projection.layer_norm
        waveforms = waveforms.to(type_of_frames(norm.weight))
        if self.base.config.do_normalize:
            waveforms = normalized(waveforms)
        # On a CPU a window at a time: the convolutions of several leave the cache, and take nearly twice as long.
        parts = waveforms.split(1 if waveforms.device.type == "cpu" else _FRONT_GROUP)
        with nullcontext() if self.finetune == "full" else torch.no_grad():
            convolved = convolutions(self.base.feature_extractor.conv_layers, waveforms)
            forward = self._checkpointed(lambda part: norm(convolved(part)))
            return torch.cat([forward(part) for part in parts])

    def first_hidden(self, front: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Hidden state 0 of what :meth:`front_end` gave: (n_windows, n_frames, width).

        Projection, SpecAugment (training), convolutional positional embedding, and Base's layer norm.
        """
        base, projection, encoder = self.base, self.base.feature_projection, self.base.encoder
        with nullcontext() if self.finetune == "full" else torch.no_grad():
            hidden = projection.dropout(product(projection.projection, front, front.dtype))
            hidden = draws.mask(hidden, getattr(base, "masked_spec_embed", None))
            hidden = hidden + positional_conv(encoder.pos_conv_embed, hidden)
            if not base.config.do_stable_layer_norm:
                hidden = encoder.layer_norm(hidden)
            return encoder.dropout(hidden)

    def transformer(self, front: Tensor, draws: Draws = NO_DRAWS) -> Tensor:
        """Feature encoder's output to the frame that is read: (n_windows, n_frames, front_width) -> (n_windows, width).

        Windows go through in groups: what a CPU's cache holds, and what is recomputed at once with ``recompute``.
        All of them see the same layers.
        """
        hidden = self.first_hidden(front, draws)
        bias = position_bias(self.base.encoder.layers[0], hidden.shape[1])
        layers = self._checkpointed(partial(self._layers, dropped=draws.dropped_layers))
        return torch.cat([layers(group, bias) for group in hidden.split(self._group_size(hidden))])

    def _group_size(self, hidden: Tensor) -> int:
        """Windows to take through the layers together."""
        return CPU_GROUP if hidden.device.type == "cpu" else GPU_GROUP if self.recompute else max(1, len(hidden))

    def _checkpointed(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The function; with ``recompute`` storing its inputs alone, and the state of torch's generators."""
        if self.recompute and torch.is_grad_enabled():
            return partial(checkpoint, function, use_reentrant=False)
        return function

    def _layers(self, hidden: Tensor, bias: Tensor, dropped: frozenset[int]) -> Tensor:
        """Hidden state 0 to the frame that is read: (n_windows, n_frames, width) -> (n_windows, width)."""
        base = self.base
        dtype = torch.bfloat16 if self.precision == "bf16" else hidden.dtype
        stable, frame = base.config.do_stable_layer_norm, self._frame(hidden)
        for index, layer in enumerate(base.encoder.layers[: self.layer]):
            if index in dropped:
                continue
            if index < self._n_full_layers:
                hidden = layer_forward(layer, hidden, bias, dtype, stable=stable)
            else:
                return layer_forward_one(layer, hidden, bias, frame, stable=stable)
        return self._read(hidden)

    @property
    def _n_full_layers(self) -> int:
        """Layers of which every frame is computed."""
        return self.layer if self.token == "mean" else max(0, self.layer - 1)

    def _frame(self, hidden: Tensor) -> int:
        return 0 if self.token == "first" else hidden.shape[1] - 1

    def _read(self, hidden: Tensor) -> Tensor:
        """The feature in a hidden state of all frames: (n_windows, n_frames, width) -> (n_windows, width)."""
        return hidden.mean(dim=1) if self.token == "mean" else hidden[:, self._frame(hidden)]

    @property
    def n_layers(self) -> int:
        """Transformer layers that can be computed."""
        return len(self.base.encoder.layers) + len(self.upper_layers)

    @torch.no_grad()
    def layer_features(self, front: Tensor, layers: Sequence[int]) -> Tensor:
        """Several hidden states at the frame that is read: (n_windows, len(layers), width), without a gradient.

        ``layers``: hidden states wanted, rising (0 = input of the first transformer layer, k = output of layer k); no
        layer above the last of them is computed, and that one for the frame that is read alone.

        Raises
        ------
        ValueError
            They do not rise, or do not exist.
        """
        base, wanted, last = self.base, list(layers), layers[-1]
        if wanted != sorted(set(wanted)) or not 0 <= wanted[0] <= last <= self.n_layers:
            raise ValueError(f"layers: expected rising numbers from 0 to {self.n_layers}, got {wanted}.")
        hidden = self.first_hidden(front)
        bias = position_bias(base.encoder.layers[0], hidden.shape[1])
        stable = base.config.do_stable_layer_norm
        states = [self._read(hidden)] if wanted[0] == 0 else []
        parts = hidden.split(self._group_size(hidden))
        for number, layer in enumerate([*base.encoder.layers, *self.upper_layers][:last], start=1):
            if number == last and self.token != "mean":
                states.append(layer_forward_one(layer, torch.cat(parts), bias, self._frame(hidden), stable=stable))
                break
            with packed_weights(layer):
                parts = tuple(layer_forward(layer, part, bias, part.dtype, stable=stable) for part in parts)
            if number in wanted:
                states.append(torch.cat([self._read(part) for part in parts]))
        return torch.stack(states, dim=1)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(n_windows, n_samples) at 16 kHz -> (n_windows, width)."""
        return self.transformer(self.front_end(waveforms), self.draw(np.full(*waveforms.shape)))

    def load(self, folder: Path) -> None:
        """Load the tuned weights, if any, of a model folder that was tuned on this base; every key must match."""
        path = folder / TUNED_FILES.get(self.finetune, "")
        if self.finetune == "lora":
            load_adapter(self.wavlm, path)
        elif self.finetune == "full":
            take_tensors(self.wavlm, load_tensors(path), where=path)
        self.pretrained.require(folder)
