"""One training step at WavLM Base+'s size against the published one (``published_step.py``): equal first, then timed.

What is proven before anything is timed, with WavLM's and LoRA's random regularizers at zero so that numbers can be
compared: in float64 on a small model every shortcut together gives the published loss to 1e-12 and LoRA gradients to
1e-10; in float32 the losses of fifty optimiser steps stay within 1e-4; at full size one step agrees to float32's
rounding. What float16 and bfloat16 change is measured there, too. Rounds are interleaved, ratios are of medians;
none is given where the system was handing out memory meanwhile.

    python -m benchmarks.step                       CPU, one thread, 16 windows: about ten minutes and 8 GiB
    python -m benchmarks.step --device cuda         the paper's step: 121 windows, 90,000 voxels, and an epoch projected
    python -m benchmarks.step --device cuda --limit-gb 8 --out FILE      ours alone, as if the GPU had no more
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers import WavLMConfig, WavLMModel

from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import GIB, keep_freed_memory, peak_memory
from brainwavlm_fast.model import Story, products

from .rivals import Rival, terms
from .step_epoch import limited, project
from .step_pair import QUIET, Pair, Size, seconds_of, small, system_seconds

RESULTS = Path(__file__).parent / "results"
N_VOXELS = 90_000
_WARM_UP = 2  # rounds in which the process takes the memory that later ones find
SIZES = {"cpu": Size(1.25, 30, 14, 20), "cuda": Size(0.25, 150, 20, 30)}  # 16 windows; 121, of which 6 have no weight


RIVALS = {"published, train mode": Rival("transformers", "torch, eager attention, MKL's products on a CPU")}


def prove(device: str) -> dict[str, float]:
    """float64: one step. float32: fifty."""
    with tempfile.TemporaryDirectory() as folder:
        pair = small(device, folder).double()
        pair.model.encoder.recompute = True
        published = pair.published()
        loss, expected = pair.ours(pair.story("fp32")), pair.theirs(published)
        loss.backward(), expected.backward()
        gradients = {k: p.grad for k, p in pair.trained().items()}
        assert gradients.keys() == published.trained.keys()
        found = {
            "float64 loss": abs(loss.item() / expected.item() - 1),
            "float64 LoRA gradients": max(
                float((gradients[k] - p.grad).abs().max() / p.grad.abs().max())
                for k, p in published.trained.items()
                if "lora_" in k
            ),
        }
    with tempfile.TemporaryDirectory() as folder:
        pair = small(device, folder)
        published, story = pair.published(), pair.story("fp32")
        optimizers = [torch.optim.Adam(p.values(), lr=1e-3) for p in (pair.trained(), published.trained)]
        losses = []
        for _ in range(50):
            pairs = []
            for optimizer, loss_of in zip(
                optimizers, (lambda: pair.ours(story), lambda: pair.theirs(published)), strict=True
            ):
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of()
                loss.backward()
                optimizer.step()
                pairs.append(loss.item())
            losses.append(pairs)
        assert losses[-1][0] < losses[0][0] - 0.05, "the fifty steps learned nothing"
        found["float32 losses of 50 steps"] = max(abs(a - b) for a, b in losses)
    for (name, value), bound in zip(found.items(), (1e-12, 1e-10, 1e-4), strict=True):
        print(f"{name}: differ by at most {value:.1e} (bound {bound:.0e})")
        assert value <= bound, "not equal: nothing was timed"
    return found


def compare(loss: Tensor, trained: dict[str, Tensor], expected: Tensor, wanted: dict[str, Tensor]) -> dict[str, float]:
    """One step against the published one: loss, worst tensor, and the angle of the LoRA gradient as a whole."""
    a, b = (torch.cat([p[k].grad.double().flatten() for k in wanted if "lora_" in k]) for p in (trained, wanted))
    worst = max(float((trained[k].grad - p.grad).abs().max() / p.grad.abs().max()) for k, p in wanted.items())
    return {
        "loss": abs(loss.item() / expected.item() - 1),
        "worst gradient": worst,
        "LoRA gradient L2": float((a - b).norm() / b.norm()),
        "1 - cosine": float(1 - torch.dot(a, b) / (a.norm() * b.norm())),
    }


def stepper(loss_of: Callable[[], Tensor], parameters: list[Tensor]) -> Callable[[], None]:
    """A whole step: loss, gradients, Adam (at rate 0, so that every round computes the same)."""
    on_gpu = parameters[0].is_cuda
    optimizer = torch.optim.Adam(parameters, lr=0.0, fused=on_gpu or None)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of().backward()
        optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()

    return step


def without_onednn(step: Callable[[], None]) -> Callable[[], None]:
    """A step whose float32 products are MKL's: half of oneDNN's rate where a processor is not Intel's."""

    def run() -> None:
        with patch.object(products, "ONEDNN_IS_FASTER", False):
            step()

    return run


def measure(pair: Pair, rounds: int) -> dict[str, Any]:
    """Every variant, compared and timed."""
    published = pair.published()
    fresh, fp32, fp16 = pair.story(), pair.story("fp32"), pair.story("fp16")
    with tempfile.TemporaryDirectory() as folder:
        pair.wavlm.save_pretrained(folder)
        low = Pair(folder, pair.size, N_VOXELS, pair.device)
        low.model.encoder.use_precision("bf16")
    variants: dict[str, tuple[Pair, Story]] = {
        "ours, front end computed": (pair, fresh),
        "ours, front end kept in fp32": (pair, fp32),
        "ours, front end kept in fp16": (pair, fp16),
        "ours in bf16, front end kept in fp16": (low, fp16),
    }
    if products.bfloat16_is_slow(torch.device(pair.device)):
        print("bf16 is left out: this processor has no instructions for it")
        variants.pop("ours in bf16, front end kept in fp16")
    expected = pair.theirs(published)
    expected.backward()
    differences = {}
    for name, (owner, story) in variants.items():
        owner.model.zero_grad(set_to_none=True)
        loss = owner.ours(story)
        loss.backward()
        differences[name] = compare(loss, owner.trained(), expected.detach(), published.trained)
        print(f"{name}: " + ", ".join(f"{k} {v:.1e}" for k, v in differences[name].items()))
    for name in list(variants)[:2]:
        assert differences[name]["loss"] <= 1e-4, f"{name}: not equal, nothing was timed"
        assert differences[name]["worst gradient"] <= 1e-3, f"{name}: not equal, nothing was timed"
    steps = {"published, train mode": stepper(lambda: pair.theirs(published), list(published.trained.values()))}
    for name, (owner, story) in variants.items():
        steps[name] = stepper(partial(owner.ours, story), list(owner.trained().values()))
    if pair.device == "cpu" and products.ONEDNN_IS_FASTER:  # elsewhere MKL makes ours, too
        kept = "ours, front end kept in fp32"
        steps[f"{kept}, products by MKL as the published one's"] = without_onednn(steps[kept])
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    system: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(rounds + _WARM_UP):
        for name, step in steps.items():
            before = system_seconds()
            took = seconds_of(step)
            print(f"round {k + 1} of {rounds + _WARM_UP}, {name}: {took:.2f} s", flush=True)
            if k >= _WARM_UP:
                seconds[name].append(took)
                system[name].append(system_seconds() - before)
    shares = {name: statistics.median(spent) / statistics.median(seconds[name]) for name, spent in system.items()}
    for name, share in shares.items() if pair.device == "cpu" else ():  # handing out memory is no part of a step
        assert share < 0.1, f"{name}: {share:.0%} of a step went to the system, for new memory: run it again"
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {name: medians["published, train mode"] / value for name, value in medians.items()}
    for name, value in medians.items():
        print(f"{name:40} {value:8.4f} s a step, {ratios[name]:6.2f} times as fast as the published one")
    result = {"differences": differences, "seconds": seconds, "medians": medians, "times_as_fast": ratios}
    result["share_of_the_system"] = shares
    result |= terms(RIVALS, torch.get_num_threads())
    if pair.device == "cpu":
        result["our_float32_products"] = "oneDNN" if products.ONEDNN_IS_FASTER else "MKL"
    if pair.device == "cuda":
        result["epoch"] = {"fp32": project(pair, fp16), "bf16": project(low, fp16)}
    return result


def main() -> None:
    """Prove equality, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit-gb", type=float, help="CUDA: ours alone, within this much of the GPU's memory")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here.")
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 on both sides
    proof, size = prove(options.device), SIZES[options.device]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        wavlm = WavLMModel(WavLMConfig(**QUIET))
        for layer in wavlm.encoder.layers:
            torch.nn.init.normal_(layer.attention.gru_rel_pos_linear.weight)
        wavlm.save_pretrained(folder)
        pair = Pair(folder, size, N_VOXELS, options.device)
    block = pair.model.block_span(pair.story(), size.start, size.stop, with_context=False)[:2]
    n_windows = len(pair.story().rows(*block)[0])
    print(f"{n_windows} windows, {N_VOXELS} voxels, {options.threads} thread(s)")
    found = measure(pair, options.rounds) if options.limit_gb is None else limited(pair, options.limit_gb)
    result = {
        "what": "training step at WavLM Base+'s size: forward, loss, backward, Adam; random weights, dropout at zero",
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "threads": options.threads,
        "n_windows": n_windows,
        "n_voxels": N_VOXELS,
        "limit_gb": options.limit_gb,
        "proof": proof,
        **found,
        "peak_memory_gib": peak_memory() / GIB,
        "provenance": provenance(),
    }
    name = {"cpu": "step.json", "cuda": "step-gpu.json"}[options.device]
    write_json(options.out or RESULTS / name, result)


if __name__ == "__main__":
    main()
