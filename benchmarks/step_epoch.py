"""An epoch's training steps on a GPU: projected, taken apart, and held within less memory than the GPU has."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from brainwavlm_fast.config import Precision
from brainwavlm_fast.memory import GIB
from brainwavlm_fast.model import Story, step_memory

from .step_pair import Pair, seconds_of

EPOCH_TRS = 28_088  # three of the data set's subjects heard 15.6 h, 2 s a TR
_N_WINDOWS, _WAVES = 121, 32  # of a step; through the front end at once


def project(pair: Pair, story: Story, n_steps: int = 100) -> dict[str, float]:
    """An epoch of 15.6 h from different blocks of a story, parts of a step, and the share of the matrix rate."""
    n = pair.size.stop - pair.size.start
    starts = [10 + n * (k % ((pair.size.n_trs - 10) // n - 1)) for k in range(n_steps + 10)]
    optimizer = torch.optim.Adam(pair.trained().values(), lr=0.0, fused=True)  # as bwlm train on a GPU
    torch.cuda.reset_peak_memory_stats()
    parts: dict[str, list[float]] = {"forward": [], "backward": [], "Adam": [], "whole step": []}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        done = work()
        torch.cuda.synchronize()
        parts[part].append(time.perf_counter() - started)
        return done

    def whole(start: int) -> None:
        """A step without waiting between its parts."""
        pair.ours(story, start).backward()
        optimizer.step()

    for start in starts:
        optimizer.zero_grad(set_to_none=True)
        loss = timed("forward", partial(pair.ours, story, start))
        timed("backward", loss.backward)
        timed("Adam", optimizer.step)
    for start in starts:
        optimizer.zero_grad(set_to_none=True)
        timed("whole step", partial(whole, start))
    medians = {f"{name}, s": statistics.median(times[10:]) for name, times in parts.items()}
    waves = torch.from_numpy(pair.audio[: _WAVES * 64_000]).view(_WAVES, 64_000).to(pair.device)
    parts["front end"] = []
    for _ in range(5):
        timed("front end", lambda: pair.model.encoder.front_end(waves))
    with FlopCounterMode(display=False) as counter:
        pair.ours(story).backward()
    flops, rate = counter.get_total_flops(), matrix_rate()
    seconds = medians["whole step, s"]
    return medians | {
        "front end, were it computed, s": _N_WINDOWS / _WAVES * statistics.median(parts["front end"][1:]),
        "measured steps": float(n_steps),
        "epoch of 15.6 h, s": seconds * EPOCH_TRS / n,
        "needed TFLOP a step": flops / 1e12,
        "bf16 matrix rate, TFLOP/s": rate / 1e12,
        "share of the bf16 matrix rate": flops / seconds / rate,
        "peak memory, GiB": torch.cuda.max_memory_allocated() / GIB,
    }


def matrix_rate() -> float:
    """FLOP/s of a large bfloat16 product here."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(20):
        torch.cuda.synchronize()
        times.append(seconds_of(lambda: (a @ b, torch.cuda.synchronize())))
    return 2 * 8192**3 / statistics.median(times)


def limited(pair: Pair, limit: float) -> dict[str, Any]:
    """Ours alone with ``limit`` GiB of a GPU, with the activation checkpointing that is chosen then, in both types."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit * GIB / total)
    result: dict[str, Any] = {}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        pair.model.encoder.use_precision(precision)
        needed = step_memory(pair.model.encoder, pair.model, n_windows=_N_WINDOWS, n_samples=64_000)
        chosen = needed.choose(int(limit * GIB) - torch.cuda.memory_allocated())
        pair.model.encoder.recompute = chosen == "on"
        estimate = needed.recompute if chosen == "on" else needed.keep
        result[precision] = {"activation_checkpointing": chosen, "estimate_gib": estimate / GIB}
        result[precision] |= project(pair, pair.story("fp16"), n_steps=20)
    return result
