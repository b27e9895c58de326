"""The published training step in plain words, which ours must equal: tests compare numbers, benchmarks time as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from brainwavlm_fast.data import response_times
from brainwavlm_fast.model import BrainWavLM, plan_windows


def plain_step(
    model: BrainWavLM, wavlm: Any, audio: np.ndarray, measured: Tensor, start: int, stop: int, n_trs: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """transformers' own WavLM with W + s B A in its weights, all its layers, and no shortcuts.

    ``wavlm`` is a plain ``WavLMModel`` in the mode and the type to be used. Returns the loss, and the gradient of each
    LoRA tensor and each readout tensor.
    """
    config, dtype = model.config, next(wavlm.parameters()).dtype
    trained = {
        name: p.detach().clone().requires_grad_()
        for name, p in model.named_parameters()
        if "lora_" in name or name.startswith("readout")
    }
    weights = dict(wavlm.named_parameters())
    for name, a in trained.items():
        if "lora_A" in name:
            b = trained[name.replace("lora_A", "lora_B")]
            target = name.removeprefix("encoder.wavlm.base_model.model.").replace("lora_A.default.", "")
            weights[target] = weights[target].detach() + config.lora_alpha / config.lora_rank * b @ a
    first, last = start - max(config.delays), stop - min(config.delays)
    plan = plan_windows(len(audio), response_times(n_trs, history=config.history), stride=config.stride)
    used, filtered = plan.rows(first + config.history, last + config.history)
    lengths = plan.ends[used] - plan.starts[used]
    features = torch.empty(len(used), wavlm.config.hidden_size, dtype=dtype)
    for length in np.unique(lengths):
        group = np.flatnonzero(lengths == length)
        windows = np.stack([audio[plan.starts[w] : plan.ends[w]] for w in used[group]])
        batch = (torch.from_numpy(windows).to(dtype),)
        hidden = functional_call(wavlm, weights, batch, {"output_hidden_states": True}).hidden_states[config.layer]
        features = features.index_put((torch.from_numpy(group),), hidden[:, 0])
    rows = torch.from_numpy(filtered).to(dtype) @ features
    rows = (rows - rows.mean(0)) / torch.sqrt(rows.var(0, unbiased=False) + 1e-5)
    lead = max(config.delays)
    stacked = [torch.cat([rows[t - start + lead - d] for d in config.delays]) for t in range(start, stop)]
    predicted = torch.stack(stacked)
    for k in range(len(model.readout.layers)):
        predicted = predicted @ trained[f"readout.layers.{k}.weight"].T + trained[f"readout.layers.{k}.bias"]
    p, m = predicted - predicted.mean(1, keepdim=True), measured - measured.mean(1, keepdim=True)
    loss = -((p * m).sum(1) / (p.norm(dim=1) * m.norm(dim=1))).mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in trained.items()}
