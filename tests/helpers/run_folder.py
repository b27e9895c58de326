"""A run folder as training leaves it, made without training: checkpoints are models with random adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from brainwavlm_fast.config import RunConfig, preset
from brainwavlm_fast.model import BrainWavLM
from tests.helpers.tiny import randomise_lora

N_VOXELS = 30
STORIES = {"adventure": 15, "bicycle": 18, "fromboyhoodtofatherhood": 12, "wheretheressmoke": 44}
NAN_VOXEL, CONSTANT_VOXEL = 4, 9


def make_run(folder: Path, tree: Path, wavlm: Path, *, n_epochs: int = 2, **changes: object) -> Path:
    """A run folder as ``bwlm train`` leaves it, with an adapter of its own in every epoch but 0."""
    model, train = preset("paper")
    model = replace(model, model=str(wavlm), layer=2, window=2.0, stride=2.0, bottleneck=3, **changes)
    train = replace(train, subject="UTS02", roi="nonac", epochs=n_epochs)
    RunConfig(str(tree), "paper", model, train).to_json(folder / "config.json")
    for epoch in range(n_epochs + 1):
        torch.manual_seed(0)
        tuned = BrainWavLM(model, N_VOXELS)
        if epoch and model.finetune == "lora":
            randomise_lora(tuned.encoder, seed=epoch, std=0.5)
        tuned.save_pretrained(folder / "checkpoints" / f"epoch-{epoch:03d}")
    return folder
