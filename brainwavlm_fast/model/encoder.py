"""WavLM with LoRA, read at one frame of one layer: the part of the model that is fine-tuned.

The pre-trained network is ``transformers``' own, PEFT owns the adapters; what is ours is the walk through the layers:
the frozen convolutional front end runs without a gradient, layers above the one read are not there, and the last
layer is computed for the frame that is read alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..cached_files import key_digest
from ..config import Finetune, ModelConfig, Precision, Token
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError
from .attention import position_bias
from .front_end import convolutions
from .identity import architecture, base_digests, require_base, tensors_digest
from .lora import LoraSettings, with_lora
from .pretrained import load_wavlm
from .products import packed_weights, product
from .transformer_layer import layer_forward, layer_forward_one, positional_conv, skip_layer
from .weights import load_tensors, take_tensors

ADAPTER = "adapter"
FULL = "encoder.safetensors"
CPU_GROUP = 8  # windows whose activations a CPU's cache holds
GPU_GROUP = 16  # windows computed again together: some 1.2 GB at Base's size in float32
_FRONT_GROUP = 32  # windows through the convolutions together on a GPU: some 2.5 GB at Base's size


class Encoder(nn.Module):
    """Waveform windows to one feature vector each.

    Made by :meth:`from_pretrained` or :meth:`from_config`. ``wavlm`` is the pre-trained network, wrapped by PEFT when
    LoRA is on; ``front_end`` and ``transformer`` are the two halves of the forward pass. ``precision`` is what the
    transformer's large products are computed in (:meth:`use_precision`); the front end, hidden states between layers,
    LoRA's updates and everything after stay in the weights' type.
    """

    precision: Precision = "fp32"
    recompute: bool = False
    """Keep little between forward and backward: layers are computed again, a group of windows at a time."""
    ranks: Ranks = SINGLE_PROCESS
    """The processes that share the windows of a story or a block."""

    def __init__(
        self,
        wavlm: Any,
        *,
        layer: int,
        token: Token,
        finetune: Finetune,
        lora: LoraSettings | None,
        whole: bool = False,
    ) -> None:
        """Take a WavLM; ``whole`` keeps the layers above ``layer``, pre-trained, for :meth:`layer_features`."""
        super().__init__()
        config = wavlm.config
        if layer > config.num_hidden_layers:
            raise ConfigError(
                f"layer is {layer}, but {config.name_or_path or 'this WavLM'} has {config.num_hidden_layers} layers."
            )
        if (finetune == "lora") != (lora is not None):
            raise ValueError(f"lora: settings are for finetune='lora', got finetune={finetune!r} and lora={lora!r}.")
        self.base_digests = base_digests(wavlm)
        # The first layer owns the position bias; it stays even if only the front end is read.
        above = wavlm.encoder.layers[max(layer, 1) :]
        wavlm.encoder.layers = wavlm.encoder.layers[: max(layer, 1)]
        wavlm.requires_grad_(finetune == "full")
        self.above = above.requires_grad_(False) if whole else nn.ModuleList()
        self.layer = layer
        self.token: Token = token
        self.finetune: Finetune = finetune
        self.wavlm: Any = wavlm if lora is None else with_lora(wavlm, layer, lora)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        layer: int,
        token: Token = "first",
        lora: LoraSettings | None = None,
        finetune: Finetune | None = None,
        whole: bool = False,
    ) -> Encoder:
        """Load WavLM (a folder in Hugging Face format, or a name on the hub) and cut it off above ``layer``.

        ``finetune`` defaults to ``lora`` when settings are given and to ``frozen`` otherwise; ``whole`` keeps what is
        above ``layer`` for :meth:`layer_features`.

        Raises
        ------
        CheckpointError : it cannot be loaded, is not a WavLM, or its keys are not all there.
        """
        finetune = finetune or ("lora" if lora is not None else "frozen")
        return cls(load_wavlm(name), layer=layer, token=token, finetune=finetune, lora=lora, whole=whole)

    @classmethod
    def from_config(cls, config: ModelConfig, *, whole: bool = False) -> Encoder:
        """The encoder that a :class:`ModelConfig` describes."""
        lora = (
            LoraSettings(config.lora_rank, config.lora_alpha, config.lora_dropout)
            if config.finetune == "lora"
            else None
        )
        return cls.from_pretrained(
            config.model, layer=config.layer, token=config.token, lora=lora, finetune=config.finetune, whole=whole
        )

    @property
    def base(self) -> Any:
        """The ``transformers`` model inside, adapters included."""
        return self.wavlm.get_base_model() if self.finetune == "lora" else self.wavlm

    @property
    def width(self) -> int:
        """Features a window."""
        return int(self.base.config.hidden_size)

    @property
    def front_width(self) -> int:
        """Numbers a frame of what :meth:`front_end` gives."""
        return int(self.base.config.conv_dim[-1])

    def n_frames(self, n_samples: int) -> int:
        """Frames of a window of ``n_samples``."""
        return int(self.base._get_feat_extract_output_lengths(n_samples))

    def front_digest(self) -> str:
        """A digest of the front end's weights."""
        parts = (self.base.feature_extractor, self.base.feature_projection.layer_norm)
        return key_digest([architecture(self.base.config), *(tensors_digest(part.state_dict()) for part in parts)])

    @property
    def base_digest(self) -> str:
        """A digest of the pre-trained weights that hidden state :attr:`layer` depends on, as they were loaded."""
        return self.base_digests[self.layer]

    def use_precision(self, precision: Precision) -> None:
        """Choose what the transformer's large products are computed in, once, before training.

        With ``bf16`` the frozen weights of layers that are computed whole are held in bfloat16 from then on.
        """
        self.precision = precision
        if precision == "bf16":
            for layer in self.base.encoder.layers[: self._n_whole]:
                for module in layer.modules():
                    if isinstance(module, nn.Linear) and module is not layer.attention.gru_rel_pos_linear:
                        for parameter in module.parameters():
                            if not parameter.requires_grad:
                                parameter.data = parameter.data.bfloat16()

    def front_end(self, waveforms: Tensor) -> Tensor:
        """Convolutions and their layer norm: (n_windows, n_samples) -> (n_windows, n_frames, :attr:`front_width`).

        Never differentiated unless every weight is trained, so its output can be kept. Never in TF32.
        """
        base = self.base
        # On a CPU a window at a time: the convolutions of several leave the cache, and take nearly twice as long.
        parts = waveforms.split(1 if waveforms.device.type == "cpu" else _FRONT_GROUP)
        with nullcontext() if self.finetune == "full" else torch.no_grad():
            convolved = convolutions(base.feature_extractor.conv_layers, waveforms)
            norm = base.feature_projection.layer_norm
            return torch.cat([self._checkpointed(lambda part: norm(convolved(part)), part) for part in parts])

    def transformer(self, front: Tensor) -> Tensor:
        """Front end's output to the frame that is read: (n_windows, n_frames, front_width) -> (n_windows, width).

        Windows go through in groups: what a CPU's cache holds, and what is made again at once with ``recompute``.
        """
        hidden = self.first_hidden(front)
        bias = position_bias(self.base.encoder.layers[0], hidden.shape[1])
        parts = hidden.split(self._group(hidden))
        return torch.cat([self._checkpointed(self._layers, part, bias) for part in parts])

    def _group(self, hidden: Tensor) -> int:
        """Windows to take through the layers together."""
        return CPU_GROUP if hidden.device.type == "cpu" else GPU_GROUP if self.recompute else max(1, len(hidden))

    def _checkpointed(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """``function(*inputs)``; with ``recompute`` keeping its inputs alone, and the state of torch's generators."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False)
        return function(*inputs)

    def _layers(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """Hidden state 0 to the frame that is read: (n_windows, n_frames, width) -> (n_windows, width)."""
        base = self.base
        dtype = torch.bfloat16 if self.precision == "bf16" else hidden.dtype
        stable, frame = base.config.do_stable_layer_norm, self._frame(hidden)
        for index, layer in enumerate(base.encoder.layers[: self.layer]):
            if skip_layer(index, base.config.layerdrop, self.training):
                continue
            if index < self._n_whole:
                hidden = layer_forward(layer, hidden, bias, dtype, stable=stable)
            else:
                return layer_forward_one(layer, hidden, bias, frame, stable=stable)
        return self._read(hidden)

    @property
    def _n_whole(self) -> int:
        """Layers of which every frame is computed."""
        return self.layer if self.token == "mean" else max(0, self.layer - 1)

    def _frame(self, hidden: Tensor) -> int:
        return 0 if self.token == "first" else hidden.shape[1] - 1

    def _read(self, hidden: Tensor) -> Tensor:
        """The feature in a whole hidden state: (n_windows, n_frames, width) -> (n_windows, width)."""
        return hidden.mean(dim=1) if self.token == "mean" else hidden[:, self._frame(hidden)]

    @property
    def n_layers(self) -> int:
        """Transformer layers that are here."""
        return len(self.base.encoder.layers) + len(self.above)

    @torch.no_grad()
    def layer_features(self, front: Tensor, layers: Sequence[int]) -> Tensor:
        """Several hidden states at the frame that is read: (n_windows, len(layers), width), without a gradient.

        ``layers``: hidden states wanted, rising (0 = input of the first transformer layer, k = output of layer k); no
        layer above the last of them is computed, and that one for the frame that is read alone.
        """
        base, wanted, last = self.base, list(layers), layers[-1]
        if wanted != sorted(set(wanted)) or not 0 <= wanted[0] <= last <= self.n_layers:
            raise ValueError(f"layers: expected rising numbers from 0 to {self.n_layers}, got {wanted}.")
        hidden = self.first_hidden(front)
        bias = position_bias(base.encoder.layers[0], hidden.shape[1])
        stable = base.config.do_stable_layer_norm
        found = [self._read(hidden)] if wanted[0] == 0 else []
        parts = hidden.split(self._group(hidden))
        for number, layer in enumerate([*base.encoder.layers, *self.above][:last], start=1):
            if number == last and self.token != "mean":
                found.append(layer_forward_one(layer, torch.cat(parts), bias, self._frame(hidden), stable=stable))
                break
            with packed_weights(layer):
                parts = tuple(layer_forward(layer, part, bias, part.dtype, stable=stable) for part in parts)
            if number in wanted:
                found.append(torch.cat([self._read(part) for part in parts]))
        return torch.stack(found, dim=1)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(n_windows, n_samples) at 16 kHz -> (n_windows, width)."""
        return self.transformer(self.front_end(waveforms))

    def save_adapter(self, folder: Path) -> None:
        """Write LoRA as a PEFT adapter, which opens on a plain ``transformers`` WavLM."""
        self.wavlm.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card

    def load(self, folder: Path) -> None:
        """Take the tuned weights, if any, from a model folder that was tuned on this base; every key must fit."""
        if self.finetune == "lora":
            self.load_adapter(folder / ADAPTER)
        elif self.finetune == "full":
            take_tensors(self.wavlm, load_tensors(folder / FULL), where=folder / FULL)
        require_base(folder, self.base_digest, model=self.base.config.name_or_path)

    def load_adapter(self, folder: Path) -> None:
        """Take LoRA from a PEFT adapter whose keys and shapes are exactly this encoder's."""
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        path = folder / "adapter_model.safetensors"
        tensors = load_tensors(path)
        take_tensors(get_peft_model_state_dict(self.wavlm), tensors, where=path)
        set_peft_model_state_dict(self.wavlm, tensors)

    def first_hidden(self, front: Tensor) -> Tensor:
        """Hidden state 0 of what :meth:`front_end` gave: (n_windows, n_frames, width).

        Projection, SpecAugment (training), position convolution, and Base's layer norm.
        """
        base = self.base
        projection, encoder = base.feature_projection, base.encoder
        with nullcontext() if self.finetune == "full" else torch.no_grad():
            hidden = projection.dropout(product(projection.projection, front, front.dtype))
            # transformers refuses a mask longer than the window, which the short windows at a story's start can be.
            if self.training and hidden.shape[1] >= base.config.mask_time_length:
                hidden = base._mask_hidden_states(hidden)
            hidden = hidden + positional_conv(encoder.pos_conv_embed, hidden)
            if not base.config.do_stable_layer_norm:
                hidden = encoder.layer_norm(hidden)
            return encoder.dropout(hidden)
