"""Noise ceiling: the estimator and its floor against repeats whose signal is known, and what the mean response is.

The simulated repeats differ in gain, in noise and in the noise's autocorrelation: nothing is equal between repeats, as
the estimator would like it.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from brainwavlm_fast.stats import noise_ceiling, normalize_by_ceiling
from brainwavlm_fast.stats.noise_ceiling import agreement, composition, signal_of_shifts

N_TRS, GAINS, NOISES = 291, (0.6, 1.4), (0.5, 1.8)


def unequal(
    n_repeats: int, ceilings: NDArray, *, seed: int = 0, gains: tuple[float, float] = GAINS
) -> tuple[NDArray, NDArray]:
    """Repeats whose plain mean correlates with its signal at about ``ceilings``, and the signal (n_trs, n_voxels)."""
    generator = np.random.default_rng(seed)
    n = len(ceilings)
    signal = lfilter([1], [1, -0.6], generator.standard_normal((N_TRS + 50, n)), axis=0)[50:]
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    gain = generator.uniform(*gains, (n_repeats, 1, n))
    spread = generator.uniform(*NOISES, (n_repeats, 1, n))
    noise = np.empty((n_repeats, N_TRS, n))
    for k, rho in enumerate(np.linspace(0.1, 0.6, n_repeats)):
        white = generator.standard_normal((N_TRS + 50, n)) * np.sqrt(1 - rho**2)
        noise[k] = lfilter([1], [1, -rho], white, axis=0)[50:]
    of_mean = (spread**2).sum(axis=0) / n_repeats**2
    scale = np.sqrt(gain.mean(axis=0) ** 2 * (1 - ceilings**2) / of_mean)
    return ceilings * gain * signal + scale * spread * noise, signal


def reached(mean: NDArray, signal: NDArray) -> NDArray:
    """Correlation of a mean response with the signal: what the best model reaches."""
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(mean.T, signal.T, strict=True)])


def zscored(repeats: NDArray) -> NDArray:
    return (repeats - repeats.mean(axis=1, keepdims=True)) / repeats.std(axis=1, keepdims=True)


@pytest.mark.parametrize("n_repeats", [2, 5, 10])
@pytest.mark.parametrize("standardize", [False, True])
def test_ceilings_are_unbiased_with_unequal_gain_and_noise(n_repeats: int, standardize: bool) -> None:
    levels = np.array([0.4, 0.55, 0.7, 0.85])
    repeats, signal = unequal(n_repeats, np.repeat(levels, 800))
    made = zscored(repeats) if standardize else repeats
    got = noise_ceiling(repeats, standardize=standardize).value
    bias = (got - reached(made.mean(axis=0), signal)).reshape(4, 800).mean(axis=1)
    assert np.abs(bias).max() < 0.02


def test_two_repeats_cannot_tell_unequal_gains_from_less_signal() -> None:
    repeats, signal = unequal(2, np.full(800, 0.85), gains=(0.2, 1.8))
    assert (noise_ceiling(repeats).value - reached(repeats.mean(axis=0), signal)).mean() < -0.02  # as the module says


@pytest.mark.parametrize("n_repeats", [2, 5, 10])
def test_noise_passes_the_floor_at_its_level(n_repeats: int) -> None:
    repeats, _ = unequal(n_repeats, np.zeros(6000))
    passing = noise_ceiling(repeats).repeats.mean()
    assert 0.04 < passing < 0.057  # 3 standard errors of 5 % above; at a fixed floor of .2 a third passed
    strong = noise_ceiling(unequal(n_repeats, np.full(200, 0.7))[0])
    assert strong.repeats.mean() > 0.95


def test_the_floor_is_that_of_shifts_that_are_really_drawn() -> None:
    generator = np.random.default_rng(1)
    repeats, _ = unequal(3, np.array([0.0, 0.5, 0.9]))
    repeats -= repeats.mean(axis=1, keepdims=True)
    spread, limit = signal_of_shifts(repeats)
    within = repeats.var(axis=1).mean(axis=0)
    drawn = []
    for _ in range(4000):
        shifted = np.stack([np.roll(one, generator.integers(N_TRS), axis=0) for one in repeats])
        drawn.append((3 * shifted.mean(axis=0).var(axis=0) - within) / 2)
    np.testing.assert_allclose(np.std(drawn, axis=0), spread, rtol=0.05)
    above = (np.array(drawn) > limit).mean(axis=0)
    assert ((above > 0.035) & (above < 0.07)).all()
    assert 0.04 < above.mean() < 0.06


def test_equals_the_definition() -> None:
    repeats, _ = unequal(4, np.linspace(0.6, 0.9, 7))
    covariance = np.stack([np.cov(repeats[:, :, v], ddof=0) for v in range(7)])
    signal = np.array([c[~np.eye(4, dtype=bool)].mean() for c in covariance])  # what two repeats share
    share = signal / repeats.mean(axis=0).var(axis=0)
    plain = np.sqrt(share)
    got = noise_ceiling(repeats).value
    assert (got >= plain).all()
    assert (got - plain < 0.01 / share**1.5 / 8).all()  # the root's second-order term, at a standard deviation of .1
    np.testing.assert_allclose(
        noise_ceiling(repeats, standardize=True).value, noise_ceiling(zscored(repeats)).value, rtol=1e-12
    )


def test_no_noise_constant_and_nan_voxels() -> None:
    repeats, signal = unequal(3, np.full(4, 0.5))
    np.testing.assert_allclose(noise_ceiling(np.stack([signal] * 3)).value, 1.0, atol=1e-12)
    repeats[:, :, 1], repeats[2, 5, 2] = 0.1, np.nan
    got = noise_ceiling(repeats)
    assert got.value[1] == 0
    assert np.isnan(got.value[2])
    assert np.isfinite(got.value[[0, 3]]).all()
    assert not got.repeats[[1, 2]].any()
    with pytest.raises(ValueError, match="2 repeats"):
        noise_ceiling(repeats[:1])


def test_only_what_repeats_is_normalized() -> None:
    repeats, _ = unequal(5, np.array([0.9, 0.0, 0.9]), seed=3)
    repeats[0, 0, 2] = np.nan
    ceiling = noise_ceiling(repeats)
    got = normalize_by_ceiling([0.45, 0.1, 0.3], ceiling)
    assert got[0] == 0.45 / ceiling.value[0]
    assert np.isnan(got[1:]).all()


def test_what_the_mean_is_is_found_out() -> None:
    repeats, _ = unequal(5, np.full(60, 0.5))
    plain, standardized = repeats.mean(axis=0), zscored(repeats).mean(axis=0)
    assert composition(agreement(3 * plain + 1, repeats)) == "plain mean"
    assert composition(agreement(standardized.astype(np.float32), repeats)) == "mean of z-scored"
    assert composition(agreement(standardized, zscored(repeats))) == "both"
    assert composition(agreement(repeats[:4].mean(axis=0), repeats)) == "neither"
    plain[:, 0] = 2.0
    plain[3, 1] = np.nan
    assert composition(agreement(plain, repeats)) == "plain mean"
    assert composition(np.full((2, 3), np.nan)) == "neither"
