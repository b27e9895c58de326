"""What each of two processes does in ``test_processes.py``: gradients of a step, and whole runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from brainwavlm_fast.config import RunConfig
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.distributed import Ranks, opened_ranks
from brainwavlm_fast.errors import BwlmError
from brainwavlm_fast.evaluation.encoding import RidgeSettings
from brainwavlm_fast.evaluation.evaluate import EvaluationOptions, evaluate_run
from brainwavlm_fast.evaluation.run_statistics import sharded
from brainwavlm_fast.model import BrainWavLM
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.ridge.cholesky import CholeskySolver
from brainwavlm_fast.ridge.spectral import SpectralSolver
from brainwavlm_fast.stats import significance
from brainwavlm_fast.training import resume_run, start_run
from brainwavlm_fast.training.gradient import BlockGradient
from brainwavlm_fast.training.randomness import keyed
from brainwavlm_fast.training.training_data import Block, TrainingData, choose_voxels, open_training_data
from tests.helpers.tiny import randomise_lora

BLOCKS = {  # of a step: the second one's first block has the short windows of a story's start
    "windows": [("avatar", 5, 15)],
    "start": [("avatar", 0, 10)],
    "blocks": [("avatar", 0, 10), ("alternateithicatom", 10, 20)],
    "last": [("alternateithicatom", 20, 25)],  # a step in which the second rank has no block
}


def open_double(config: RunConfig) -> tuple[BrainWavLM, TrainingData]:
    """The model and the data in float64, LoRA already doing something."""
    dataset = Dataset(Path(config.data))
    training_data = open_training_data(config, dataset, *choose_voxels(config, dataset, Progress()), Progress())
    with keyed(0, 0):
        model = BrainWavLM(config.model, training_data.n_voxels).double().train()
    randomise_lora(model)
    for story in training_data.stories.values():
        story.audio = story.audio.double()
    return model, training_data


def gradients(config: RunConfig, blocks: list[tuple[str, int, int]], ranks: Ranks) -> dict[str, Tensor]:
    """Loss, norm and all gradients of one step."""
    model, training_data = open_double(config)
    gradient = BlockGradient(model, config.train, training_data, ranks)
    batch = [Block(*block) for block in blocks]
    local = gradient.local_block(batch)
    responses = {}
    if local is not None:
        for subject in training_data.heard_by(local.story):
            responses[subject] = training_data.responses(subject, local.story)[local.start : local.stop].double()
    values = gradient.compute(1, batch, responses, stop=ranks.rank == 1)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None} | {"values": values}


def evaluate(folder: Path, out: str, ranks: Ranks) -> None:
    """Ridge of the run ``one``, and a test, with tiles so narrow that there are several for each rank."""
    CholeskySolver.pays = staticmethod(lambda *sizes: False)  # few targets would be one tile, for one rank
    SpectralSolver.tile_width = lambda self: 8
    significance.TILE = 16
    options = EvaluationOptions([2], RidgeSettings(chunk_length=4))
    evaluate_run(folder / "one", out=out, options=options, ranks=ranks)
    rng = np.random.default_rng(0)
    measured, predicted = rng.standard_normal((2, 44, 50))
    measured[3, 5] = np.nan
    tested = sharded(significance.correlation_test, measured, predicted, ranks=ranks)
    np.save(folder / f"{out}-tested-{ranks.rank}.npy", np.stack([tested.statistic, tested.p, tested.q]))


def main(folder: Path) -> None:
    """Everything, into ``folder``; the first rank writes."""
    config = RunConfig.from_json(folder / "plain.json")
    with opened_ranks() as ranks:
        for name, blocks in BLOCKS.items():
            split = "blocks" if name in ("blocks", "last") else "windows"
            found = gradients(replace(config, train=replace(config.train, parallelism=split)), blocks, ranks)
            save_file({key: value.contiguous() for key, value in found.items()}, folder / f"{name}-{ranks.rank}.st")
        found = gradients(RunConfig.from_json(folder / "dropping.json"), BLOCKS["start"], ranks)
        save_file({key: value.contiguous() for key, value in found.items()}, folder / f"dropping-{ranks.rank}.st")
        voxels = np.full((2, 7), np.nan)
        here = ranks.local_slice(7, multiple=2)
        voxels[:, here] = 10 * ranks.rank + np.arange(7)[here]
        ranks.all_gather_slices(voxels, multiple=2)
        np.save(folder / f"joined-{ranks.rank}.npy", voxels)
        evaluate(folder, "two", ranks)
        start_run(folder / "windows", config)
        start_run(folder / "by-blocks", replace(config, train=replace(config.train, parallelism="blocks")))
        start_run(folder / "regularised", RunConfig.from_json(folder / "regularised.json"))
        resume_run(folder / "half")  # one process trained its first epoch
        for name in ("few-windows", "carried-blocks"):
            try:
                start_run(folder / name, RunConfig.from_json(folder / f"{name}.json"))
            except BwlmError as error:
                (folder / f"{name}-{ranks.rank}.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
