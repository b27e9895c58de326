"""The core's correlation, loss and delays against NumPy and torch, and against what the memory allows.

Every operation is held to its float64 definition before it is timed. Times are medians in one process, one core by
default; the bounds come from a copy and a read of the same arrays in the same run. "One call" is the core writing
into memory that is there, "torch op" the same through autograd, which allocates its results. The allocator matters:
torch and NumPy give every large array back to the system and take it again, page by page; ``--allocator kept`` keeps
freed memory for the next array, as ``bwlm train`` does, which helps every method, the peers most.

    python -m benchmarks.core                   (a minute and 2 GiB on one core)
    python -m benchmarks.core --device cuda     (the CUDA twins against torch's own kernels)
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

from .rivals import Rival, terms

RESULTS = Path(__file__).parent / "results" / "core.json"
RIVALS = {
    "cpu": {"torch eager": Rival("torch", "eager"), "NumPy centered": Rival("numpy", "numpy")},
    "cuda": {"torch eager": Rival("torch", "eager"), "torch.compile": Rival("torch", "inductor")},
}
DELAYS = [1, 2, 3, 4]
STORY = 300  # TRs
GENERATOR = torch.Generator().manual_seed(0)


class Bench:
    """Medians of one run on one device."""

    def __init__(self, device: str, rounds: int) -> None:
        self.device, self.rounds = device, rounds
        self.milliseconds: dict[str, float] = {}

    def time(self, name: str, run: Callable[[], Any]) -> float:
        """Median milliseconds of a call, after one that is not counted; on a GPU of a queue of calls."""
        times, calls = [], 1 if self.device == "cpu" else 20
        for _ in range(self.rounds + 1):
            self._wait()
            started = time.perf_counter()
            for _ in range(calls):
                run()
            self._wait()
            times.append(1e3 * (time.perf_counter() - started) / calls)
        self.milliseconds[name] = statistics.median(times[1:])
        print(f"{name:60} {self.milliseconds[name]:9.3f} ms", flush=True)
        return self.milliseconds[name]

    def kernels(self, name: str, run: Callable[[], Any]) -> float:
        """Median milliseconds of a call on the GPU alone: replayed from a CUDA graph, without what the host does."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return self.time(f"{name}, on the GPU alone", graph.replay)

    def peers(self, function: Callable[..., Any]) -> list[tuple[str, Callable[..., Any]]]:
        """Plain torch as it is written and, on a GPU, compiled: those of :data:`RIVALS`."""
        forms = {"torch eager": lambda: function, "torch.compile": lambda: torch.compile(function)}
        return [(name, forms[name]()) for name in RIVALS[self.device] if name in forms]

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def eager_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss in plain torch."""
    p, m = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return -((p * m).sum(1) / (p.norm(dim=1) * m.norm(dim=1))).mean()


def eager_story(x: torch.Tensor) -> torch.Tensor:
    """Z-score and delays of one story."""
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
    f = x[:, :300].contiguous()  # shorter than a story
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


def measure_loss(bench: Bench, threads: int, n_trs: int = 500, of: str = "") -> dict[str, float]:
    """The loss, forward and backward, at the paper's width."""
    x, y = (torch.randn(n_trs, 90_000, generator=GENERATOR).to(bench.device) for _ in range(2))
    out, leaf = torch.empty_like(x), x.clone().requires_grad_()
    copy = bench.time(f"copy, {n_trs} x 90,000", lambda: out.copy_(y))
    op = bench.time(
        f"loss{of} forward + backward, torch op",
        backward(lambda p: ops.correlation_loss(p, y, axis=1, num_threads=threads), leaf),
    )
    ratios = {}
    for name, peer in bench.peers(eager_loss):
        ratios[f"loss{of}: {name} / torch op"] = (
            bench.time(f"loss{of} forward + backward, {name}", backward(lambda p, f=peer: f(p, y), leaf)) / op
        )
    if bench.device == "cuda":  # both matrices read twice, one written
        alone = bench.kernels(
            f"loss{of} forward + backward, torch op",
            lambda: torch.autograd.grad(ops.correlation_loss(leaf, y, axis=1), leaf),
        )
        size = x.numel() * x.element_size() / 1e6
        return ratios | {
            f"loss{of}: kernels / copy bound": alone / (2.5 * copy),
            f"loss{of}: kernels, GB/s": 5 * size / alone,
            f"copy{of}, GB/s": 2 * size / copy,
        }
    a, b, grad, r = x.numpy(), y.numpy(), out.numpy(), np.empty((1, 500), np.float32)
    call = bench.time(
        "loss forward + backward, one call",
        lambda: kernels._C.correlation(a, b, 1, None, r, None, -1 / 500, grad, np.empty((0, 6)), threads, 0),
    )
    return ratios | {"loss: one call / copy bound": call / (1.5 * copy)}


def measure_over_time(bench: Bench, threads: int) -> dict[str, float]:
    """Correlation over time: a test story of every voxel."""
    x, y = (torch.randn(291, 90_000, generator=GENERATOR).to(bench.device) for _ in range(2))
    ours = bench.time("correlation over time", lambda: ops.correlation(x, y, axis=0, num_threads=threads))
    if bench.device == "cuda":

        def plain(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            u, v = a - a.mean(0), b - b.mean(0)
            return (u * v).sum(0) / torch.sqrt((u * u).sum(0) * (v * v).sum(0))

        return {
            f"over time: {name} / ours": bench.time(f"correlation over time, {name}", lambda f=peer: f(x, y)) / ours
            for name, peer in bench.peers(plain)
        }
    a, b = x.numpy(), y.numpy()
    read = bench.time("read of both", lambda: (a.sum(), b.sum()))

    def centered() -> np.ndarray:
        u, v = a - a.mean(0), b - b.mean(0)
        return (u * v).sum(0) / np.sqrt((u * u).sum(0) * (v * v).sum(0))

    numpy_centered = bench.time("correlation over time, NumPy centered", centered)
    return {"over time: NumPy centered / ours": numpy_centered / ours, "over time: ours / read bound": ours / read}


def measure_delays(bench: Bench, threads: int) -> dict[str, float]:
    """Z-score and four delays of thirty stories' features, forward and backward."""
    f = torch.randn(9000, 768, generator=GENERATOR).to(bench.device)
    g = torch.randn(9000, 768 * len(DELAYS), generator=GENERATOR).to(bench.device)
    onsets = list(range(0, len(f), STORY))
    leaf, narrow, wide = f.clone().requires_grad_(), torch.empty_like(f), torch.empty_like(g)

    def ours(z: torch.Tensor) -> torch.Tensor:
        return ops.delay_stack(z, DELAYS, run_onsets=onsets, zscore=True, num_threads=threads)

    bound = bench.time("copy of as many bytes", lambda: (wide.copy_(g), narrow.copy_(f))) * 5 / 8  # 1 read, 4 written
    op = bench.time("z-score and delays, torch op", lambda: ours(f))
    made = ours(leaf)
    op_back = bench.time("their backward, torch op", lambda: torch.autograd.grad(made, leaf, g, retain_graph=True))
    ratios = {}
    for name, peer in bench.peers(eager_story):

        def stories(x: torch.Tensor, peer: Callable[[torch.Tensor], torch.Tensor] = peer) -> torch.Tensor:
            return torch.cat([peer(story) for story in x.split(STORY)])

        made_there = stories(leaf)
        forward = bench.time(f"z-score and delays, {name}", lambda run=stories: run(f))
        back = bench.time(
            f"their backward, {name}", lambda m=made_there: torch.autograd.grad(m, leaf, g, retain_graph=True)
        )
        ratios |= {f"delays: {name} / torch op": forward / op, f"delays, backward: {name} / torch op": back / op_back}
    if bench.device == "cuda":
        return ratios | {"delays: torch op / copy bound": op / bound}
    x, stacked, g_out, gx = f.numpy(), wide.numpy(), g.numpy(), narrow.numpy()
    moments = np.empty((2 * len(onsets), 768), np.float32)
    call = bench.time(
        "z-score and delays, one call",
        lambda: kernels._C.delay_stack(x, DELAYS, onsets, 0, stacked, moments, 1e-5, threads, 0),
    )
    call_back = bench.time(
        "their backward, one call",
        lambda: kernels._C.delay_stack_backward(g_out, DELAYS, onsets, 0, gx, x, moments, threads, 0),
    )
    return ratios | {
        "delays: one call / copy bound": call / bound,
        "delays, backward: one call / copy bound": call_back / bound,
    }


def measure(bench: Bench, threads: int) -> dict[str, float]:
    """All times; returns the ratios."""
    ratios = measure_loss(bench, threads) | measure_over_time(bench, threads) | measure_delays(bench, threads)
    if bench.device == "cuda":
        ratios |= measure_loss(bench, threads, 10, " of 10 TRs")  # a step's block: few rows, each very wide
    return ratios


def main() -> None:
    """Prove equality, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--allocator", choices=["default", "kept"], default="default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here.")
    torch.set_num_threads(options.threads)
    if options.allocator == "kept":
        keep_freed_memory()
    errors = check(options.device)
    bench = Bench(options.device, options.rounds)
    ratios = measure(bench, options.threads)
    for name, value in ratios.items():
        print(f"{name:60} {value:8.2f}")
    result = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        **terms(RIVALS[options.device], options.threads),
        "allocator": options.allocator,
        "errors": errors,
        "milliseconds": bench.milliseconds,
        "ratios": ratios,
        "core": kernels.build_info(),
        "provenance": provenance(),
    }
    write_json(options.out, result)


if __name__ == "__main__":
    main()
