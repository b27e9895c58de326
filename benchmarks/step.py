"""One training step at WavLM Base+'s size on this CPU, against the same step through plain ``transformers``.

The plain step is what a script without shortcuts does: ``WavLMModel.train()``, all twelve layers, ``W + BA`` in its
weights, the loss in torch. Both have WavLM's random regularisers at zero, so that their numbers can be compared:
loss and gradients must agree before anything is timed. Rounds are interleaved; a ratio is of medians in one run.

    python benchmarks/step.py                  (about five minutes and 7 GiB on two cores)
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import WavLMConfig, WavLMModel

from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import keep_freed_memory
from brainwavlm_fast.model import BrainWavLM, Story
from brainwavlm_fast.training.losses import training_loss

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from helpers.tiny import randomise_lora
from published_step import plain_step

RESULTS = Path(__file__).parent / "results" / "step.json"
N_TRS, START, STOP, N_VOXELS = 40, 20, 24, 90_000
STRIDE = 2.0  # s: twelve windows in the block instead of the paper's 97, the cost of each is the same
TOLERANCE = {"loss": 1e-4, "gradient": 1e-3}  # float32 round-off, which z-scoring four rows amplifies


def main() -> None:
    """Prove equality, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    quiet = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj")}
    with tempfile.TemporaryDirectory() as folder:
        wavlm = WavLMModel(WavLMConfig(layerdrop=0.0, mask_time_prob=0.0, **quiet))
        for layer in wavlm.encoder.layers:
            torch.nn.init.normal_(layer.attention.gru_rel_pos_linear.weight)
        wavlm.save_pretrained(folder)
        model = BrainWavLM(ModelConfig(model=folder, stride=STRIDE, lora_dropout=0.0), N_VOXELS)
    randomise_lora(model, std=0.05)
    wavlm.train(), model.train()
    rng = np.random.default_rng(0)
    audio = rng.standard_normal(16_000 * (2 * N_TRS + 20)).astype(np.float32)
    measured = torch.from_numpy(rng.standard_normal((STOP - START, N_VOXELS), dtype=np.float32))
    fresh = Story(audio, N_TRS, model.config, for_training=True)
    kept = Story(audio, N_TRS, model.config, for_training=True)
    kept.keep_front_end(model.encoder)

    def ours(story: Story) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad(set_to_none=True)
        loss = training_loss("voxels", model(story, START, STOP), measured)
        loss.backward()
        return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    steps: dict[str, Callable[[], tuple[torch.Tensor, dict[str, torch.Tensor]]]] = {
        "plain transformers": lambda: plain_step(model, wavlm, audio, measured, START, STOP, N_TRS),
        "ours": lambda: ours(fresh),
        "ours, front end kept": lambda: ours(kept),
    }
    expected, gradients = steps["plain transformers"]()
    errors = {}
    for name in list(steps)[1:]:
        loss, found = steps[name]()
        assert found.keys() == gradients.keys()
        worst = max(float((found[k] - g).abs().max() / g.abs().max()) for k, g in gradients.items())
        errors[name] = {"loss": abs(float(loss / expected) - 1), "gradient": worst}
        print(f"{name}: loss differs by {errors[name]['loss']:.1e}, gradients by {worst:.1e} (relative)")
        assert all(errors[name][kind] <= limit for kind, limit in TOLERANCE.items()), "not equal: nothing was timed"

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {name: medians["plain transformers"] / value for name, value in medians.items()}
    n_windows = len(fresh.rows(START + fresh.history - 4, STOP + fresh.history - 1)[0])
    for name, value in medians.items():
        print(f"{name:22} {value:6.2f} s a step of {n_windows} windows, {ratios[name]:.2f} times as fast as plain")
    result = {
        "what": "training step, WavLM Base+ size, float32, CPU; forward, loss, backward",
        "n_windows": n_windows,
        "n_voxels": N_VOXELS,
        "threads": torch.get_num_threads(),
        "relative_errors": errors,
        "seconds": seconds,
        "medians": medians,
        "times_as_fast": ratios,
        "provenance": provenance(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
