"""The core's correlation, loss and delays against NumPy and torch, and against what the memory allows.

Every operation is held to its float64 definition before it is timed. Times are medians in one process, one core by
default; the bounds come from a copy and a read of the same arrays in the same run.

    python benchmarks/core.py                   (a minute and 2 GiB on one core)
    python benchmarks/core.py --device cuda     (the CUDA twins against torch's own kernels)
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainwavlm_fast import kernels, ops, reference
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "core.json"
DELAYS = [1, 2, 3, 4]


class Bench:
    """Medians of one run on one device."""

    def __init__(self, device: str, rounds: int) -> None:
        self.device, self.rounds = device, rounds
        self.milliseconds: dict[str, float] = {}

    def time(self, name: str, run: Callable[[], Any]) -> float:
        """Median milliseconds of a call, after one that is not counted."""
        times = []
        for _ in range(self.rounds + 1):
            self._wait()
            started = time.perf_counter()
            run()
            self._wait()
            times.append(1e3 * (time.perf_counter() - started))
        self.milliseconds[name] = statistics.median(times[1:])
        print(f"{name:45} {self.milliseconds[name]:9.2f} ms", flush=True)
        return self.milliseconds[name]

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def eager_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss in plain torch."""
    p, m = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return -((p * m).sum(1) / (p.norm(dim=1) * m.norm(dim=1))).mean()


def eager_delays(x: torch.Tensor) -> torch.Tensor:
    """Z-score and delays in plain torch."""
    z = (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5)
    padded = torch.nn.functional.pad(z, (0, 0, max(DELAYS), 0))
    return torch.cat([padded[max(DELAYS) - d : max(DELAYS) - d + len(x)] for d in DELAYS], 1)


def backward(function: Callable[[torch.Tensor], torch.Tensor], leaf: torch.Tensor) -> Callable[[], None]:
    """Forward and backward of a function of one leaf."""

    def run() -> None:
        leaf.grad = None
        out = function(leaf)
        (out if out.ndim == 0 else out.sum()).backward()

    return run


def check(device: str) -> dict[str, float]:
    """Largest differences from the definition, on a smaller problem of the same shape."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, 9001, generator=generator).to(device) for _ in range(2))
    wide_x, wide_y = (a.double().cpu().numpy() for a in (x, y))
    leaf = x.clone().requires_grad_()
    ops.correlation_loss(leaf, y, axis=1).backward()
    expected = reference.correlation_loss_backward(wide_x, wide_y, axis=1)
    f = x[:, :300].contiguous()
    errors = {
        "correlation over time": np.abs(
            ops.correlation(x, y, axis=0).cpu().numpy() - reference.correlation(wide_x, wide_y, axis=0)
        ).max(),
        "loss gradient (relative)": np.abs(leaf.grad.cpu().numpy() - expected).max() / np.abs(expected).max(),
        "z-score and delays": np.abs(
            ops.delay_stack(f, DELAYS, zscore=True).cpu().numpy()
            - reference.delay_stack(reference.zscore(f.cpu().numpy()), DELAYS)
        ).max(),
    }
    found = {name: float(value) for name, value in errors.items()}
    for name, value in found.items():
        print(f"{name}: differs from its definition by at most {value:.1e}")
        assert value <= 5e-6, "not equal: nothing was timed"
    return found


def measure(bench: Bench, threads: int) -> dict[str, float]:
    """All times; returns the ratios."""
    device = bench.device
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(500, 90_000, generator=generator).to(device) for _ in range(2))
    out, leaf = torch.empty_like(x), x.clone().requires_grad_()
    copy = bench.time("copy, 500 x 90,000", lambda: out.copy_(y))
    if device == "cpu":
        a, b, grad, r = x.numpy(), y.numpy(), out.numpy(), np.empty((1, 500), np.float32)
        fused = bench.time(
            "loss forward + backward, one call",
            lambda: kernels._C.correlation(a, b, 1, None, r, None, -1 / 500, grad, threads, 0),
        )
    torch_ours = bench.time(
        "loss forward + backward, torch op",
        backward(lambda p: ops.correlation_loss(p, y, axis=1, num_threads=threads), leaf),
    )
    eager = bench.time("loss forward + backward, torch eager", backward(lambda p: eager_loss(p, y), leaf))
    ratios = {"loss: torch eager / torch op": eager / torch_ours}
    if device == "cpu":
        ratios |= {"loss: torch eager / one call": eager / fused, "loss: one call / copy bound": fused / (1.5 * copy)}
    else:
        ratios["loss: torch op / copy bound"] = torch_ours / (2.5 * copy)  # both matrices read twice, one written
    s, t = x[:291], y[:291]
    over_time = bench.time("correlation over time", lambda: ops.correlation(s, t, axis=0, num_threads=threads))
    if device == "cpu":
        read = bench.time("read of both", lambda: (s.numpy().sum(), t.numpy().sum()))

        def centred() -> np.ndarray:
            u, v = s.numpy() - s.numpy().mean(0), t.numpy() - t.numpy().mean(0)
            return (u * v).sum(0) / np.sqrt((u * u).sum(0) * (v * v).sum(0))

        numpy_centred = bench.time("correlation over time, NumPy centred", centred)
        ratios |= {
            "over time: NumPy centred / ours": numpy_centred / over_time,
            "over time: ours / read bound": over_time / read,
        }
    else:
        u, v = s - s.mean(0), t - t.mean(0)
        eager = bench.time(
            "correlation over time, torch", lambda: (u * v).sum(0) / torch.sqrt((u * u).sum(0) * (v * v).sum(0))
        )
        ratios["over time: torch / ours"] = eager / over_time
    f = torch.randn(9000, 768, generator=generator).to(device)
    leaf = f.clone().requires_grad_()
    g = torch.randn(9000, 768 * len(DELAYS), generator=generator).to(device)

    def ours(z: torch.Tensor) -> torch.Tensor:
        return ops.delay_stack(z, DELAYS, zscore=True, num_threads=threads)

    stack = bench.time("z-score and delays", lambda: ours(f))
    eager_stack = bench.time("z-score and delays, torch", lambda: eager_delays(f))
    made, made_eager = ours(leaf), eager_delays(leaf)
    back = bench.time("their backward", lambda: torch.autograd.grad(made, leaf, g, retain_graph=True))
    eager_back = bench.time(
        "their backward, torch", lambda: torch.autograd.grad(made_eager, leaf, g, retain_graph=True)
    )
    ratios |= {"delays: torch / ours": eager_stack / stack, "delays, backward: torch / ours": eager_back / back}
    narrow, wide = torch.empty_like(f), torch.empty_like(g)
    bound = bench.time("copy of as many bytes", lambda: (wide.copy_(g), narrow.copy_(f))) * 5 / 8  # 1 read, 4 written
    return ratios | {"delays: ours / copy bound": stack / bound}


def main() -> None:
    """Prove equality, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here.")
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    errors = check(options.device)
    bench = Bench(options.device, options.rounds)
    ratios = measure(bench, options.threads)
    for name, value in ratios.items():
        print(f"{name:45} {value:6.2f}")
    result = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "threads": options.threads,
        "errors": errors,
        "milliseconds": bench.milliseconds,
        "ratios": ratios,
        "core": kernels.build_info(),
        "provenance": provenance(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
