"""The published training step in our own words, which ours must equal: for tests and for benchmarks.

Plain ``transformers``: a WavLM in train mode, all of its layers with eager attention, ``W + s B A`` put into its
weights (so that autograd forms the gradient of each whole weight), the frozen front end computed again in every step
and, in train mode, differentiated down to the audio; windows gathered in a loop on the host; a loss in plain torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from brainwavlm_fast.data import response_times
from brainwavlm_fast.model import BrainWavLM, plan_windows

_LORA = "encoder.wavlm.base_model.model."


class PublishedStep:
    """A story and copies of a model's trained tensors, to be trained in the published way.

    Attributes
    ----------
    trained : the LoRA and readout tensors by their names in the model; leaves, whose ``grad`` a backward pass fills.
    """

    def __init__(self, model: BrainWavLM, wavlm: Any, audio: np.ndarray, n_trs: int) -> None:
        """Take a model's values and a plain ``WavLMModel`` in the mode, type and device to be used."""
        self._config, self._wavlm, self._audio = model.config, wavlm, audio
        anchor = next(wavlm.parameters())
        self.trained = {
            name: p.detach().to(anchor).clone().requires_grad_()
            for name, p in model.named_parameters()
            if "lora_" in name or name.startswith("readout")
        }
        config = model.config
        self._plan = plan_windows(len(audio), response_times(n_trs, context=config.context), stride=config.stride)

    def loss(self, measured: Tensor, start: int, stop: int, *, with_context: bool = True) -> Tensor:
        """Loss of responses ``start`` to ``stop - 1``, with its graph; ``measured`` is (stop - start, n_voxels).

        As published a block starts from zeros; ``with_context`` its delays see the rows before it, as ours do.
        """
        delays, context = self._config.delays, self._config.context
        first, last = (start - max(delays), stop - min(delays)) if with_context else (start, stop)
        used, filtered = self._plan.rows(first + context, last + context)
        features = self._features(used)
        rows = torch.from_numpy(filtered).to(features) @ features
        rows = (rows - rows.mean(0)) / torch.sqrt(rows.var(0, unbiased=False) + 1e-5)
        rows = torch.cat([rows.new_zeros(max(delays), rows.shape[1]), rows])
        predicted = torch.stack(
            [torch.cat([rows[t - first - d + max(delays)] for d in delays]) for t in range(start, stop)]
        )
        for k in range(2 if self._config.bottleneck else 1):
            predicted = predicted @ self.trained[f"readout.layers.{k}.weight"].T
            predicted = predicted + self.trained[f"readout.layers.{k}.bias"]
        p, m = predicted - predicted.mean(1, keepdim=True), measured - measured.mean(1, keepdim=True)
        norms = p.norm(dim=1) * m.norm(dim=1)
        norms = norms.where(norms > 0, torch.inf)  # no context, a readout that starts without bias: the row is constant
        return -((p * m).sum(1) / norms).mean()

    def _features(self, used: np.ndarray) -> Tensor:
        """The read frame of each window: (n_windows, width)."""
        weights = self._weights()
        anchor = next(self._wavlm.parameters())
        lengths = self._plan.ends[used] - self._plan.starts[used]
        features = anchor.new_empty(len(used), self._wavlm.config.hidden_size)
        for length in np.unique(lengths):
            group = np.flatnonzero(lengths == length)
            windows = np.stack([self._audio[self._plan.starts[w] : self._plan.ends[w]] for w in used[group]])
            batch = torch.from_numpy(windows).to(anchor)
            output = functional_call(self._wavlm, weights, (batch,), {"output_hidden_states": True})
            read = output.hidden_states[self._config.layer][:, 0]
            features = features.index_put((torch.from_numpy(group).to(anchor.device),), read)
        return features

    def _weights(self) -> dict[str, Tensor]:
        """WavLM's weights, frozen, with the updates in their places."""
        weights = {name: p.detach() for name, p in self._wavlm.named_parameters()}
        scale = self._config.lora_alpha / self._config.lora_rank
        for name, a in self.trained.items():
            if "lora_A" in name:
                b = self.trained[name.replace("lora_A", "lora_B")]
                target = name.removeprefix(_LORA).replace("lora_A.default.", "")
                weights[target] = weights[target] + scale * b @ a
        return weights
