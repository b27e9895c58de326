"""How often 95 % intervals of a mean correlation and of a gain hold the truth: ours, and a bootstrap's percentiles.

Planted: features and noise that are smooth in time, noise that voxels share, two models that know some of the features,
and their true correlations in closed form. One row per kind of data; `python -m benchmarks.intervals --out FILE` writes
them as JSON, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.stats.intervals import LeftOut, combined, correlation_without_blocks, mean_over

KINDS = {
    "features .7, noise .5": {},
    "features .8, noise .5": {"features": 0.8},
    "features .9, noise .8": {"features": 0.9, "noise": 0.8},
    "noise nearly all shared": {"shared": 0.95},
    "noise nearly none shared": {"shared": 0.05},
    "120 TRs": {"n_trs": 120},
    "600 TRs": {"n_trs": 600},
}
N_FEATURES, N_VOXELS, N_DRAWS = 8, 40, 500
BLOCKS = (20, 41)  # TRs, of the bootstrap


def smooth(rho: float, shape: tuple[int, int], rng: np.random.Generator) -> NDArray:
    """Columns of lag-1 correlation rho and variance 1, from their stationary start."""
    white = rng.standard_normal((shape[0] + 80, shape[1])) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], white, axis=0)[80:]


def planted(
    rng: np.random.Generator, *, n_trs: int = 291, features: float = 0.7, noise: float = 0.5, shared: float = 0.5
) -> tuple[NDArray, list[NDArray], list[float]]:
    """Responses (n_trs, n_voxels), two models' predictions, and their true mean correlations."""
    x = smooth(features, (n_trs, N_FEATURES), rng)
    weights = rng.standard_normal((N_FEATURES, N_VOXELS)) / np.sqrt(N_FEATURES)
    spread = rng.standard_normal((3, N_VOXELS)) / np.sqrt(3)
    gain = rng.uniform(0.2, 0.7, N_VOXELS)
    own = smooth(noise, (n_trs, N_VOXELS), rng)
    y = gain * (x @ weights) + np.sqrt(shared) * smooth(noise, (n_trs, 3), rng) @ spread + np.sqrt(1 - shared) * own
    variance = gain**2 * (weights**2).sum(axis=0) + shared * (spread**2).sum(axis=0) + 1 - shared
    predictions, truths = [], []
    for chance in (0.8, 0.5):
        known = weights * np.where(np.arange(N_FEATURES) == 0, True, rng.random(N_FEATURES) < chance)[:, None]
        predictions.append(x @ known)
        of_voxels = gain * (known * weights).sum(axis=0) / np.sqrt((known**2).sum(axis=0) * variance)
        truths.append(float(of_voxels.mean()))
    return y, predictions, [*truths, truths[0] - truths[1]]


def jackknifed(y: NDArray, predictions: list[NDArray]) -> list[list[float] | None]:
    """Our intervals of both means and of their difference."""
    means = []
    for x in predictions:
        r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)])
        mean = mean_over({"t": r}, {"t": correlation_without_blocks(x, y)}, np.ones(len(r), dtype=bool))
        assert isinstance(mean, LeftOut)
        means.append(mean)
    return [number.interval() for number in (*means, combined(np.subtract, *means))]


def bootstrapped(y: NDArray, predictions: list[NDArray], block: int, rng: np.random.Generator) -> list[list[float]]:
    """Percentiles over stories of blocks that are drawn with replacement, from any first TR on, circularly."""
    n_trs = len(y)
    firsts = rng.integers(0, n_trs, (N_DRAWS, -(-n_trs // block)))
    rows = (firsts[:, :, None] + np.arange(block)).reshape(N_DRAWS, -1)[:, :n_trs] % n_trs
    counts = np.stack([np.bincount(drawn, minlength=n_trs) for drawn in rows]) / n_trs
    means = []
    for x in predictions:
        moments = [counts @ values for values in (x, y, x * x, y * y, x * y)]
        covariance = moments[4] - moments[0] * moments[1]
        power = (moments[2] - moments[0] ** 2) * (moments[3] - moments[1] ** 2)
        means.append((covariance / np.sqrt(power)).mean(axis=1))
    return [np.percentile(draws, (2.5, 97.5)).tolist() for draws in (*means, means[0] - means[1])]


def coverage(n: int, seed: int, **kind: Any) -> dict[str, list[float]]:
    """Share of intervals that hold the truth: of each mean, and of the gain."""
    rng = np.random.default_rng(seed)
    hits: dict[str, list[NDArray]] = {}
    for _ in range(n):
        y, predictions, truths = planted(rng, **kind)
        found: dict[str, Any] = {"jackknife, t": jackknifed(y, predictions)}
        for block in BLOCKS:
            found[f"bootstrap, {block} TRs"] = bootstrapped(y, predictions, block, rng)
        for name, ends in found.items():
            held = [low <= truth <= high for (low, high), truth in zip(ends, truths, strict=True)]
            hits.setdefault(name, []).append(np.array(held))
    return {name: np.mean(held, axis=0).round(4).tolist() for name, held in hits.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000, help="planted data sets per kind")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = {}
    for name, kind in KINDS.items():
        results[name] = coverage(arguments.n, 0, **kind)
        for method, (first, second, gain) in results[name].items():
            print(f"{name:26} {method:20} means {first:.3f} {second:.3f}  gain {gain:.3f}", flush=True)
    if arguments.out:
        write_json(arguments.out, {"n": arguments.n, "coverage": results, "provenance": provenance()})


if __name__ == "__main__":
    main()
