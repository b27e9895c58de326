"""Noise ceiling: the estimator against planted signal and noise, and its edges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from brainwavlm_fast.stats import noise_ceiling, normalize_by_ceiling


def planted(n_repeats: int, ceilings: NDArray, *, n_trs: int = 291, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Repeats whose mean correlates with its signal at about ``ceilings``, and the signal; AR(1) 0.4 noise."""
    generator = np.random.default_rng(seed)
    signal = lfilter([1], [1, -0.6], generator.standard_normal((n_trs, len(ceilings))), axis=0)
    signal /= signal.std(axis=0)
    noise = lfilter([1], [1, -0.4], generator.standard_normal((n_repeats, n_trs, len(ceilings))), axis=1)
    noise /= noise.std(axis=1, keepdims=True)
    return ceilings * signal + np.sqrt(n_repeats * (1 - ceilings**2)) * noise, signal


@pytest.mark.parametrize("n_repeats", [2, 5, 10])
def test_planted_ceilings_are_recovered(n_repeats: int) -> None:
    ceilings = np.repeat([0.2, 0.38, 0.55, 0.7, 0.85], 400)
    repeats, signal = planted(n_repeats, ceilings)
    got = noise_ceiling(repeats).reshape(5, 400).mean(axis=1)
    mean = repeats.mean(axis=0)
    reached = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(mean.T, signal.T, strict=True)]).reshape(5, 400)
    assert np.abs(got[1:] - reached.mean(axis=1)[1:]).max() < 0.05
    if n_repeats == 10:
        assert np.abs(got - reached.mean(axis=1)).max() < 0.05


def test_no_signal_stays_low_and_no_noise_is_one() -> None:
    repeats, signal = planted(10, np.zeros(500))
    assert noise_ceiling(repeats).mean() < 0.15
    np.testing.assert_allclose(noise_ceiling(np.stack([signal] * 3)), 1.0, atol=1e-12)


def test_equals_the_definition() -> None:
    repeats, _ = planted(4, np.linspace(0.3, 0.9, 7), n_trs=50)
    covariance = np.stack([np.cov(repeats[:, :, v], ddof=0) for v in range(7)])
    signal = np.array([c[~np.eye(4, dtype=bool)].mean() for c in covariance])  # what two repeats share
    expected = np.sqrt(np.clip(signal / repeats.mean(axis=0).var(axis=0), 0, 1))
    np.testing.assert_allclose(noise_ceiling(repeats), expected, rtol=1e-10)


def test_constant_and_nan_voxels() -> None:
    repeats, _ = planted(3, np.full(4, 0.5))
    repeats[:, :, 1], repeats[2, 5, 2] = 0.25, np.nan
    got = noise_ceiling(repeats)
    assert got[1] == 0
    assert np.isnan(got[2])
    assert np.isfinite(got[[0, 3]]).all()
    with pytest.raises(ValueError, match="2 repeats"):
        noise_ceiling(repeats[:1])


def test_what_cannot_be_normalized_is_left_out() -> None:
    got = normalize_by_ceiling([0.3, 0.1, 0.2, np.nan], [0.6, 0.1, np.nan, 0.5])
    np.testing.assert_array_equal(got, [0.5, np.nan, np.nan, np.nan])
