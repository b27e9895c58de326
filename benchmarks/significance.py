"""Tests of significance held against noise that is as smooth as responses are: level, power, false discoveries.

Candidates for "better than chance" beside the package's: moved blocks of 10 TRs (as up to version 0.3, 2,000 orders),
signs of blocks whose length follows from the autocorrelation (Politis and White 2004), random phases, and Student's t
with the degrees of freedom that the autocorrelations leave (Bartlett). Each cell of the level table has 20,000 pairs
without a relation, 291 TRs each. Power is that at a true correlation of .25. The noise is made from its definition in
the time domain; ``variance over time`` and ``heavy tails`` break what the test supposes.

    python -m benchmarks.significance                some ten minutes, one core
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import detrend, fftconvolve, lfilter
from scipy.stats import gamma, norm
from scipy.stats import t as student

from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.stats.significance import compare_models, correlation_test, false_discovery_rate

N_TRS, N_NULLS, ORDERS = 291, 20_000, 2_000
LEVELS = (0.05, 0.01, 0.001)
RESULTS = Path(__file__).parent / "results"
Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Array]


def autoregressive(coefficient: float) -> Noise:
    """Noise of lag-1 correlation ``coefficient``."""

    def draw(rng: np.random.Generator, n: int) -> Array:
        return np.asarray(lfilter([1], [1, -coefficient], rng.standard_normal((N_TRS + 100, n)), axis=0)[100:])

    return draw


def hrf_over(coefficient: float) -> Noise:
    """The same, convolved with a double-gamma HRF at 2 s."""
    at = np.arange(0, 32, 2.0)
    hrf = gamma.pdf(at, 6) - gamma.pdf(at, 16) / 6

    def draw(rng: np.random.Generator, n: int) -> Array:
        noise = lfilter([1], [1, -coefficient], rng.standard_normal((N_TRS + 150, n)), axis=0)
        return np.asarray(fftconvolve(noise, hrf[:, None], axes=0)[100 : 100 + N_TRS])

    return draw


def pink(rng: np.random.Generator, n: int) -> Array:
    """Power 1/f, four times as long as the story; what is cut out has its trend taken away."""
    spectrum = np.fft.rfft(rng.standard_normal((4 * N_TRS, n)), axis=0)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))[:, None]
    spectrum[0] = 0
    return np.asarray(detrend(np.fft.irfft(spectrum, axis=0)[:N_TRS], axis=0))


def heavy_tails(rng: np.random.Generator, n: int) -> Array:
    """Student's t with 3 degrees of freedom, smoothed by AR .5."""
    return np.asarray(lfilter([1], [1, -0.5], rng.standard_t(3, (N_TRS + 50, n)), axis=0)[50:])


def changing_variance(rng: np.random.Generator, n: int) -> Array:
    """AR .4 that is three times as large in the second fifth of the story, in everything."""
    size = np.ones(N_TRS)
    size[N_TRS // 5 : 2 * N_TRS // 5] = 3
    return autoregressive(0.4)(rng, n) * size[:, None]


NOISES: dict[str, Noise] = {
    "white": autoregressive(0.0),
    "AR .8": autoregressive(0.8),
    "HRF over AR .8": hrf_over(0.8),
    "1/f, detrended": pink,
    "AR .9": autoregressive(0.9),
    "heavy tails": heavy_tails,
    "variance over time": changing_variance,
}


def moved_blocks(y: Array, x: Array, block: int = 10) -> Array:
    """p of the blocks' random orders."""
    rng, n = np.random.default_rng(0), len(y) // block
    orders = np.stack([rng.permutation(n) for _ in range(ORDERS)])
    taken = np.zeros((n, n, ORDERS), np.float32)
    taken[np.arange(n)[None, :], orders, np.arange(ORDERS)[:, None]] = 1
    y, x = unit(y), unit(x)
    p = []
    for start in range(0, y.shape[1], 1000):
        a, b = y[:, start : start + 1000].astype(np.float32), x[:, start : start + 1000].astype(np.float32)
        cut_a, cut_b = (values[: n * block].T.reshape(-1, n, block) for values in (a, b))
        pairs = np.matmul(cut_b, cut_a.transpose(0, 2, 1)).reshape(-1, n * n)
        values = pairs @ taken.reshape(n * n, -1) + (a[n * block :] * b[n * block :]).sum(axis=0)[:, None]
        p.append((1 + (values >= (a * b).sum(axis=0)[:, None] - 1e-6).sum(axis=1)) / (ORDERS + 1))
    return np.concatenate(p)


def automatic_blocks(y: Array, x: Array) -> Array:
    """p of the signs of blocks as long as Politis and White's rule says for the products, the voxels' median."""
    products = unit(y) * unit(x)
    correlation = autocorrelation(products, N_TRS // 3).mean(axis=1)
    small = np.abs(correlation) < 2 * np.sqrt(np.log10(N_TRS) / N_TRS)
    reach = next((k for k in range(len(small) - 5) if small[k : k + 5].all()), len(small) // 2)
    lags = np.arange(1, 2 * reach + 1)
    taper = np.minimum(1, 2 * (1 - lags / (2 * reach + 1)))
    g = 2 * (taper * lags * correlation[lags]).sum()
    spread = 1 + 2 * (taper * correlation[lags]).sum()
    block = int(np.clip(np.ceil((2 * g**2 / (4 / 3 * spread**2)) ** (1 / 3) * N_TRS ** (1 / 3)), 1, N_TRS // 8))
    return correlation_test(y, x, block=block).p


def random_phases(y: Array, x: Array) -> Array:
    """p of Fourier terms whose phases are drawn anew."""
    a, b = (np.fft.rfft(unit(values), axis=0)[1:] for values in (y, x))
    terms = 2 * a * b.conj() / N_TRS
    cosines = np.cos(np.random.default_rng(0).uniform(0, 2 * np.pi, (ORDERS, len(terms)))).astype(np.float32)
    p = []
    for start in range(0, y.shape[1], 1000):
        part = terms[:, start : start + 1000]
        drawn = cosines @ np.abs(part).astype(np.float32)
        p.append((1 + (drawn >= part.real.sum(axis=0) - 1e-6).sum(axis=0)) / (ORDERS + 1))
    return np.concatenate(p)


def effective_freedom(y: Array, x: Array) -> Array:
    """p of Student's t, the number of TRs reduced by both autocorrelations (Tukey's taper over 2 sqrt(n) lags)."""
    n_lags = int(2 * np.sqrt(N_TRS))
    taper = 0.5 * (1 + np.cos(np.pi * np.arange(n_lags + 1) / n_lags))[:, None]
    both = taper * autocorrelation(y, n_lags) * autocorrelation(x, n_lags)
    n = N_TRS / np.maximum(1 + 2 * both[1:].sum(axis=0), 1)
    r = (unit(y) * unit(x)).sum(axis=0)
    freedom = np.maximum(n - 2, 1)
    return np.asarray(student.sf(r * np.sqrt(freedom / (1 - r * r)), freedom))


def autocorrelation(values: Array, n_lags: int) -> Array:
    """(n_lags + 1, n_columns)."""
    values = unit(values)
    return np.stack([(values[: len(values) - k] * values[k:]).sum(axis=0) for k in range(n_lags + 1)])


def unit(values: Array) -> Array:
    """Centred columns of length 1."""
    centred = values - values.mean(axis=0)
    return np.asarray(centred / np.linalg.norm(centred, axis=0))


def ours(y: Array, x: Array) -> Array:
    """The package's."""
    return correlation_test(y, x).p


CANDIDATES: dict[str, Callable[[Array, Array], Array]] = {
    "moved blocks of 10": moved_blocks,
    "automatic blocks": automatic_blocks,
    "random phases": random_phases,
    "effective freedom": effective_freedom,
    "cosine signs (ours)": ours,
}


def rates(p: Array) -> list[float]:
    """Share of p at each level."""
    return [float((p <= level).mean()) for level in LEVELS]


def against_chance() -> dict[str, Any]:
    """Level and power of every candidate in every noise."""
    found: dict[str, Any] = {}
    for k, (name, noise) in enumerate(NOISES.items()):
        rng = np.random.default_rng(k)
        y, x = noise(rng, N_NULLS), noise(rng, N_NULLS)
        related = 0.25 * unit(y) + np.sqrt(1 - 0.25**2) * unit(x)
        found[name] = {}
        for test, p_of in CANDIDATES.items():
            numbers = {"level": rates(p_of(y, x)), "power": rates(p_of(y, related))}
            found[name][test] = numbers
            print_row(name, test, numbers)
    return found


def between_models() -> dict[str, Any]:
    """The same of two models that share a signal with the responses: equally good, and one with less noise."""
    found: dict[str, Any] = {}
    for k, (name, noise) in enumerate(NOISES.items()):
        rng = np.random.default_rng(100 + k)
        y, signal, a, b = (noise(rng, N_NULLS) for _ in range(4))
        found[name] = {}
        for test, block in (("signs of blocks of 20", 20), ("cosine signs (ours)", None)):
            equal = compare_models(y + signal, signal + a, signal + b, block=block).p
            better = compare_models(y + signal, signal + 0.5 * a, signal + b, block=block).p
            numbers = {"level": rates(equal), "power": rates(better)}
            found[name][test] = numbers
            print_row(name, test, numbers)
    return found


def false_discoveries() -> dict[str, float]:
    """Share of false ones among the discoveries at q <= .05, mean over 200 data sets of 2,000 voxels."""
    found = {}
    for name in ("AR .8", "HRF over AR .8", "1/f, detrended", "AR .9"):
        for share in (0.1, 0.3):
            for smooth in (0, 5):
                shares = []
                for seed in range(200):
                    rng = np.random.default_rng(seed)
                    y, x = (spatially_smooth(NOISES[name](rng, 2000), smooth) for _ in range(2))
                    true = np.arange(2000) < share * 2000
                    x = np.where(true, 0.6 * y + 0.8 * x, x)
                    called = false_discovery_rate(ours(y, x)) <= 0.05
                    shares.append((called & ~true).sum() / max(called.sum(), 1))
                label = f"{name}, {share:.0%} with a signal, {'smooth' if smooth else 'independent'} voxels"
                found[label] = float(np.mean(shares))
                print(f"{label}: {found[label]:.4f}", flush=True)
    return found


def spatially_smooth(values: Array, width: float) -> Array:
    """Voxels in a row, smoothed with their neighbours."""
    return unit(gaussian_filter1d(values, width, axis=1) if width else values)


def print_row(name: str, test: str, numbers: dict[str, list[float]]) -> None:
    """One line: level and power at 5, 1 and 0.1 %."""
    level, power = (" ".join(f"{100 * value:6.2f}" for value in numbers[kind]) for kind in ("level", "power"))
    print(f"{name:20} {test:22} level {level}   power {power}", flush=True)


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    result = {
        "levels": LEVELS,
        "n_trs": N_TRS,
        "n_nulls": N_NULLS,
        "standard_error_at_5_percent": float(norm.std() * np.sqrt(0.05 * 0.95 / N_NULLS)),
        "against_chance": against_chance(),
        "between_models": between_models(),
        "false_discoveries": false_discoveries(),
        "provenance": provenance(),
    }
    write_json(RESULTS / "significance.json", result)


if __name__ == "__main__":
    main()
