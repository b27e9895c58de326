"""Context rows of a block reused from the step before, against computing them anew: what it saves, what it costs.

On a planted brain, tuned outside auditory cortex with the settings of ``planted.py``: one run of each kind per seed,
the gain of ridge outside AC at the same epoch; and the seconds of a step of each kind, in turns on the same blocks.

    python -m benchmarks.context --work /tmp/context --seeds 1,2      (some fifteen minutes per seed on one core)

Seeds that are in the results already are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainwavlm_fast.config import RunConfig
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.distributed import SINGLE_PROCESS
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.model import BrainWavLM, cache_front_ends
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.training.gradient import BlockGradient
from brainwavlm_fast.training.loop import make_optimizer
from brainwavlm_fast.training.training_data import TrainingData, choose_voxels, open_training_data

from .planted import bwlm, tuned

RESULTS = Path(__file__).parent / "results" / "context.json"
BLOCK_SIZES = (25, 10)  # the planted brain's and the paper's
KINDS = {"exact": [], "carried": ["--carry-context"]}


def run_pair(seed: int, work: Path, epochs: int) -> dict[str, Any]:
    """Both kinds of run on one planted brain: encoding outside AC, pre-trained and after the last epoch."""
    brain = work / f"brain-{seed}"
    if not brain.exists():
        bwlm("simulate", brain, "--seed", seed, "--subjects", "S01")
    found = {}
    for kind, options in KINDS.items():
        done = tuned(brain, work / f"{kind}-{seed}", "nonac", epochs, str(epochs), *options)
        first, last = done["curve"][0]["test"]["nonac"], done["curve"][-1]["test"]["nonac"]
        found[kind] = {"pretrained": first, "tuned": last, "gain": last - first, "steps": done["steps"]}
    return {"seed": seed, "epochs": epochs, **found}


def time_steps(run: Path, block_size: int, n_blocks: int) -> dict[str, Any]:
    """Seconds on the clock and of work per step of each kind, in turns over consecutive blocks of a story."""
    config = RunConfig.from_json(run / "config.json")
    train = replace(config.train, block_size=block_size, carry_context=False)
    config, dataset = replace(config, train=train), Dataset(Path(config.data))
    training_data = open_training_data(config, dataset, *choose_voxels(config, dataset, Progress()), Progress())
    model = BrainWavLM.from_pretrained(run / "checkpoints" / "epoch-000").train()
    cache_front_ends(model.encoder, training_data.stories, limit_gb=8.0, folder=None, dtype="fp32", progress=Progress())
    optimizer = make_optimizer(model, replace(train, lr_encoder=0.0, lr_readout=0.0))
    gradients = {
        "exact": BlockGradient(model, train, training_data, SINGLE_PROCESS),
        "carried": BlockGradient(model, replace(train, carry_context=True), training_data, SINGLE_PROCESS),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in gradients}
    work: dict[str, list[float]] = {kind: [] for kind in gradients}
    for number, block in enumerate(training_data.blocks[:n_blocks], start=1):
        (subject,) = training_data.subjects
        responses = {subject: training_data.responses(subject, block.story)[block.start : block.stop]}
        turns = list(gradients.items())
        for kind, gradient in turns if number % 2 else turns[::-1]:  # the second finds the block's data in the cache
            started, before = time.perf_counter(), time.process_time()
            gradient.compute(number, [block], responses, stop=False)
            optimizer.step()
            if block.start > 0:  # a story's first block has nothing to take over
                work[kind].append(time.process_time() - before)
                seconds[kind].append(time.perf_counter() - started)
    medians = {kind: statistics.median(times) for kind, times in seconds.items()}
    least = {kind: statistics.median(times) for kind, times in work.items()}
    return {
        "block_size": block_size,
        "n_windows": _windows(training_data, model, block_size),
        "n_steps": len(seconds["exact"]),
        "median_seconds": medians,
        "median_work_seconds": least,
        "times_as_fast": medians["exact"] / medians["carried"],
        "times_less_work": least["exact"] / least["carried"],
    }


def _windows(training_data: TrainingData, model: BrainWavLM, block_size: int) -> dict[str, int]:
    """Windows of the second block of the first story."""
    story = training_data.stories[training_data.blocks[0].story]
    first, last, _ = model.block_span(story, block_size, 2 * block_size, with_context=True)
    n_carried = max(model.config.delays) - min(model.config.delays)
    return {"exact": len(story.rows(first, last)[0]), "carried": len(story.rows(first + n_carried, last)[0])}


def main() -> None:
    """Run what is asked for, keep every finished seed, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for data sets and runs (about 1 GB per seed)")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = json.loads(options.out.read_text()) if options.out.exists() else {"runs": [], "steps": []}
    for seed in map(int, options.seeds.split(",")):
        if all(r["seed"] != seed for r in result["runs"]):
            result["runs"].append(run_pair(seed, options.work, options.epochs))
            write_json(options.out, result)
    timed = options.work / f"exact-{result['runs'][0]['seed']}"
    if timed.exists():
        result["steps"] = [time_steps(timed, size, 800 // size) for size in BLOCK_SIZES]
    result["provenance"] = provenance()
    write_json(options.out, result)
    for r in result["runs"]:
        print(f"seed {r['seed']}, epoch {r['epochs']}: gain outside AC", {k: round(r[k]["gain"], 4) for k in KINDS})
    gains = [r["carried"]["gain"] - r["exact"]["gain"] for r in result["runs"]]
    print(f"carried minus exact, mean over {len(gains)} seed(s): {np.mean(gains):+.4f}")
    for s in result["steps"]:
        print(
            f"blocks of {s['block_size']}: {s['n_windows']} windows, {s['times_as_fast']:.2f} times as fast on the "
            f"clock, {s['times_less_work']:.2f} times less work"
        )


if __name__ == "__main__":
    main()
