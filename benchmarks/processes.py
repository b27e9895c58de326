"""A block's windows sharded over processes of one thread each, against one such process: a whole training step.

One job: in every round the first process computes a step alone while the others wait, then all compute it together.
Loss and gradients of the two must agree before anything is timed. WavLM Base+'s size, the feature encoder cached,
90,000 voxels, the step of Adam included. Beside seconds on the clock, which need as many idle cores as there are
processes, seconds of work are given: processor time of the lone process, and of the busiest of all.

    python -m benchmarks.processes             (about five minutes and 9 GiB on two cores)
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import WavLMConfig, WavLMModel

from brainwavlm_fast.config import ModelConfig, TrainConfig
from brainwavlm_fast.distributed import SINGLE_PROCESS, Ranks, opened_ranks
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import keep_freed_memory
from brainwavlm_fast.model import BrainWavLM, Story, cache_front_end
from brainwavlm_fast.training.gradient import BlockGradient
from brainwavlm_fast.training.loop import make_optimizer
from brainwavlm_fast.training.training_data import Block
from tests.helpers.tiny import randomise_lora

RESULTS = Path(__file__).parent / "results" / "processes.json"
N_TRS, START, STOP, N_VOXELS = 48, 20, 35, 90_000
STRIDE = 1.0  # s: 41 windows in the block instead of some 160, the cost of each is the same
TOLERANCE = {"loss": 1e-5, "gradient": 1e-3}  # float32 round-off, which z-scoring few rows amplifies


def save_base(folder: str) -> None:
    """A random WavLM of Base+'s size without regularizers."""
    torch.manual_seed(0)
    quiet = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj")}
    wavlm = WavLMModel(WavLMConfig(layerdrop=0.0, mask_time_prob=0.0, **quiet))
    for layer in wavlm.encoder.layers:
        torch.nn.init.normal_(layer.attention.gru_rel_pos_linear.weight)
    wavlm.save_pretrained(folder)


def steps_of(folder: str, ranks: Ranks) -> tuple[BrainWavLM, int, dict[str, Callable[[], Tensor]]]:
    """The model, its block's windows, and the step made by one process and by all."""
    torch.manual_seed(0)
    model = BrainWavLM(ModelConfig(model=folder, stride=STRIDE, lora_dropout=0.0), N_VOXELS).train()
    randomise_lora(model, std=0.05)
    rng = np.random.default_rng(0)
    story = Story(
        rng.standard_normal(16_000 * (2 * N_TRS + 20)).astype(np.float32), N_TRS, model.config, for_training=True
    )
    cache_front_end(model.encoder, story)
    block, config = Block("story", START, STOP), TrainConfig()
    training_data: Any = SimpleNamespace(stories={"story": story}, blocks=(block,), heard_by=lambda _: ["one"])
    responses = {"one": torch.from_numpy(rng.standard_normal((STOP - START, N_VOXELS), dtype=np.float32))}
    optimizer = make_optimizer(model, replace(config, lr_encoder=0.0, lr_readout=0.0))  # the work, not the change

    def made_by(team: Ranks) -> Callable[[], Tensor]:
        gradient = BlockGradient(model, config, training_data, team)

        def make() -> Tensor:
            values = gradient.compute(1, [block], responses, stop=False)
            optimizer.step()
            return values

        return make

    first, last, _ = model.block_span(story, START, STOP, with_context=True)
    return (
        model,
        len(story.rows(first, last)[0]),
        {"one process": made_by(SINGLE_PROCESS), "all processes": made_by(ranks)},
    )


def rank_main(folder: str, rounds: int, out: Path) -> None:
    """One rank's part of the job."""
    keep_freed_memory()
    torch.set_num_threads(1)
    with opened_ranks() as ranks:
        model, n_windows, steps = steps_of(folder, ranks)
        errors = {}
        shared = float(steps["all processes"]()[0])
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        if ranks.is_main:
            alone = float(steps["one process"]()[0])
            errors["loss"] = abs(shared / alone - 1)
            worst = [
                float((gradients[name] - p.grad).abs().max() / p.grad.abs().max())
                for name, p in model.named_parameters()
                if p.grad is not None
            ]
            errors["gradient"] = max(worst)
            assert len(worst) == len(gradients)
            print(f"loss differs by {errors['loss']:.1e}, gradients by {errors['gradient']:.1e} (relative)")
            assert all(errors[kind] <= limit for kind, limit in TOLERANCE.items()), "not equal: nothing was timed"
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        work: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                ranks.barrier()
                spent = 0.0
                if ranks.is_main or name == "all processes":
                    started, before = time.perf_counter(), time.process_time()
                    step()
                    spent = time.process_time() - before
                    seconds[name].append(time.perf_counter() - started)
                everyone = torch.zeros(ranks.size, dtype=torch.float64)
                everyone[ranks.rank] = spent
                work[name].append(float(ranks.all_reduce([everyone])[0].max()))
        if ranks.is_main:
            report(seconds, work, n_windows, ranks.size, errors, out)


def report(
    seconds: dict[str, list[float]],
    work: dict[str, list[float]],
    n_windows: int,
    n_processes: int,
    errors: dict[str, float],
    out: Path,
) -> None:
    """Print and write."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    busiest = {name: statistics.median(times) for name, times in work.items()}
    ratio, least = (m["one process"] / m["all processes"] for m in (medians, busiest))
    for name, value in medians.items():
        print(f"{name:14} {value:6.2f} s per step of {n_windows} windows, {busiest[name]:6.2f} s of work")
    print(
        f"{n_processes} processes of one thread: {ratio:.2f} times one on the clock, {least:.2f} times less work each"
    )
    result = {
        "what": "training step, WavLM Base+ size, float32, CPU; windows of the block shared by processes",
        "n_processes": n_processes,
        "threads_each": torch.get_num_threads(),
        "n_windows": n_windows,
        "n_voxels": N_VOXELS,
        "relative_errors": errors,
        "seconds": seconds,
        "medians": medians,
        "times_as_fast": ratio,
        "work_seconds": work,
        "times_less_work_each": least,
        "load_average_at_end": os.getloadavg()[0],
        "provenance": provenance(),
    }
    write_json(out, result)


def main() -> None:
    """Start the job, on free ports and without torchrun's own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.model is not None:
        rank_main(chosen.model, chosen.rounds, chosen.out)
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        save_base(folder)
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        job = {"WORLD_SIZE": str(chosen.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [
            sys.executable,
            __file__,
            "--rounds",
            str(chosen.rounds),
            "--out",
            str(chosen.out),
            "--model",
            folder,
        ]
        ranks = [
            subprocess.Popen(
                command, env=os.environ | job | {"OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)}
            )
            for rank in range(chosen.processes)
        ]
        if sum(rank.wait() != 0 for rank in ranks):
            raise SystemExit("a process of the job failed")


if __name__ == "__main__":
    main()
