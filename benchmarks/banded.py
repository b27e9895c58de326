"""Banded ridge against himalaya's random search on the same candidates, splits and penalties.

Equal first: in float64, on a few hundred targets, choices, scores and weights agree to 1e-8. Then timed in float32 at a
lab's size, for 5 candidates and for 20: what a candidate adds is the slope. One run each, interleaved, one core.

    python -m benchmarks.banded                     (n 3,000, two spaces of 512, 20,000 targets: some 25 minutes)
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.ridge import Splits, problem
from benchmarks.rivals import Rival, ratios
from brainwavlm_fast import BandedRidgeCV
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import peak_memory

RESULTS = Path(__file__).parent / "results" / "banded.json"
PENALTIES = np.logspace(2, 8, 10)
RIVALS = {"himalaya": Rival("himalaya", "numpy")}


def candidates(n: int) -> np.ndarray:
    """Weights of two spaces that sum to 1, drawn as himalaya draws them."""
    rng = np.random.default_rng(0)
    return np.array([rng.dirichlet([(1.0, 0.1)[k % 2]] * 2) for k in range(n)]).clip(1e-4)


def himalaya(X: np.ndarray, Y: np.ndarray, gammas: np.ndarray, splits: Splits) -> tuple[np.ndarray, ...]:
    """Its solver: logarithms of weight over penalty, weights, and the candidates' mean scores."""
    from himalaya.backend import set_backend
    from himalaya.ridge import solve_group_ridge_random_search
    from himalaya.scoring import correlation_score

    set_backend("numpy")
    half = X.shape[1] // 2
    found = solve_group_ridge_random_search(
        [X[:, :half], X[:, half:]], Y, n_iter=gammas, alphas=PENALTIES.astype(X.dtype), cv=splits, return_weights=True,
        score_func=correlation_score, progress_bar=False, local_alpha=True, warn=False, n_targets_batch=2000,
    )  # fmt: skip
    return found[0], found[1], found[2]


def ours(X: np.ndarray, Y: np.ndarray, gammas: np.ndarray, splits: Splits) -> BandedRidgeCV:
    """The package's."""
    half = X.shape[1] // 2
    groups = {"first": slice(0, half), "second": slice(half, None)}
    return BandedRidgeCV(groups, candidates=gammas, alphas=PENALTIES, penalty="alpha", cv=splits).fit(X, Y)


def check(X: np.ndarray, Y: np.ndarray, splits: Splits) -> dict[str, float]:
    """Differences on 300 targets in float64; a ValueError above 1e-8."""
    X, Y, gammas = X.astype(np.float64), Y[:, :300].astype(np.float64), candidates(5)
    deltas, weights, scores = himalaya(X, Y, gammas, splits)
    model = ours(X, Y, gammas, splits)
    errors = {
        "weights, of the largest": float(np.abs(model.coef_.T - weights).max() / np.abs(weights).max()),
        "best score": float(np.abs(model.cv_scores_.max(axis=0) - scores.max(axis=0)).max()),
        "log weight over penalty": float(np.abs(np.log(model.weights_ / model.alphas_) - deltas).max()),
    }
    if max(errors.values()) > 1e-8:
        raise ValueError(f"not equal, nothing was timed: {errors}")
    return errors


def main() -> None:
    """Prove equality, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--p", type=int, default=1024)
    parser.add_argument("--targets", type=int, default=20_000)
    parser.add_argument("--candidates", type=int, nargs=2, default=[5, 20])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    X, Y, splits = problem(options.n, options.p, options.targets)
    with threadpool_limits(1):
        differences = check(X, Y, splits)
        print(", ".join(f"{name} {value:.1e}" for name, value in differences.items()), flush=True)
        result: dict[str, Any] = {"what": vars(options) | {"out": str(options.out.name)}, "differences": differences}
        for n in options.candidates:
            seconds = {}
            for name, run in (("ours", ours), ("himalaya", himalaya)):
                started = time.perf_counter()
                run(X, Y, candidates(n), splits)
                seconds[name] = time.perf_counter() - started
                print(f"{n} candidates, {name}: {seconds[name]:.1f} s", flush=True)
            result[f"{n} candidates"] = {"seconds": seconds} | ratios(seconds, RIVALS, 1)
    few, many = (result[f"{n} candidates"]["seconds"] for n in options.candidates)
    step = options.candidates[1] - options.candidates[0]
    result["seconds_per_candidate"] = {name: (many[name] - few[name]) / step for name in few}
    print({name: round(value, 2) for name, value in result["seconds_per_candidate"].items()})
    write_json(options.out, result | {"peak_memory_gib": peak_memory() / 2**30, "provenance": provenance()})


if __name__ == "__main__":
    main()
