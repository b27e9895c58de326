"""Tests by random signs, and the false discovery rate: definitions, calibration, awkward input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import detrend, fftconvolve, lfilter
from scipy.stats import false_discovery_control, gamma

from brainwavlm_fast.stats.significance import compare_models, correlation_test, false_discovery_rate


def autocorrelated(n_trs: int, n_voxels: int, coefficient: float, seed: int) -> NDArray:
    noise = np.random.default_rng(seed).standard_normal((n_trs + 50, n_voxels))
    return lfilter([1], [1, -coefficient], noise, axis=0)[50:]


def correlations(x: NDArray, y: NDArray) -> NDArray:
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)])


def units(*series: NDArray) -> list[NDArray]:
    return [(z - z.mean(axis=0)) / np.linalg.norm(z - z.mean(axis=0), axis=0) for z in series]


def drawn(terms: NDArray, sides: int) -> NDArray:
    """p by 200,000 random signs."""
    signs = np.random.default_rng(9).choice(np.array([-1, 1], np.float32), (200_000, len(terms)))
    values, total = signs @ terms.astype(np.float32), terms.sum(axis=0)
    if sides == 2:
        values, total = np.abs(values), np.abs(total)
    return (values >= total).mean(axis=0)


def cosines(n_trs: int) -> NDArray:
    """The transform's definition, (n_trs - 1, n_trs), without the mean."""
    k, t = np.arange(1, n_trs)[:, None], np.arange(n_trs)
    return np.sqrt(2 / n_trs) * np.cos(np.pi * k * (2 * t + 1) / (2 * n_trs))


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_p_is_that_of_random_signs_of_each_story_s_cosine_terms(alternative: str) -> None:
    y, x = autocorrelated(80, 12, 0.4, 1), autocorrelated(80, 12, 0.6, 2)
    x[:, :4] += 0.4 * y[:, :4]
    got = correlation_test(y, x, run_onsets=[0, 47], alternative=alternative)
    parts = [z - z.mean(axis=0) for part in (slice(0, 47), slice(47, 80)) for z in (y[part], x[part])]
    whole = [np.linalg.norm(np.concatenate(parts[k::2]), axis=0) for k in (0, 1)]
    terms = np.concatenate([
        (cosines(len(a)) @ a) * (cosines(len(b)) @ b) / whole[0] / whole[1]
        for a, b in (parts[:2], parts[2:])
    ])  # fmt: skip
    assert len(terms) == 78
    np.testing.assert_allclose(got.statistic, terms.sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(got.p, drawn(terms, 2 if alternative == "two-sided" else 1), atol=0.006)
    np.testing.assert_allclose(correlation_test(y, x).statistic, correlations(x, y), atol=1e-6)


def test_exchanging_terms_equals_the_definition() -> None:
    y, a, b = (autocorrelated(43, 7, 0.5, seed) for seed in (1, 2, 3))
    a += y
    unit_y, unit_a, unit_b = units(y, a, b)
    ra, rb = correlations(a, y), correlations(b, y)
    terms = (cosines(43) @ (unit_a - unit_b)) * (cosines(43) @ (unit_y - (ra + rb) / 4 * (unit_a + unit_b)))
    got = compare_models(y, a, b)
    np.testing.assert_allclose(got.statistic, ra - rb, atol=1e-6)
    np.testing.assert_allclose(terms.sum(axis=0), ra - rb, atol=1e-12)
    np.testing.assert_allclose(got.p, drawn(terms, 2), atol=0.006)


def test_signs_of_blocks_are_counted() -> None:
    y, a, b = (autocorrelated(43, 7, 0.5, seed) for seed in (1, 2, 3))
    unit_y, unit_a, unit_b = units(y, a, b)
    shares = (unit_a - unit_b) * (unit_y - (correlations(a, y) + correlations(b, y)) / 4 * (unit_a + unit_b))
    blocks = np.stack([part.sum(axis=0) for part in np.split(shares, [10, 20, 30, 40])])
    signs = np.array(list(itertools.product([-1, 1], repeat=5)))
    expected = (np.abs(signs @ blocks) >= np.abs(blocks.sum(axis=0)) - 1e-9).mean(axis=0)
    np.testing.assert_allclose(compare_models(y, a, b, block=10).p, expected, atol=1e-12)
    centred = np.concatenate([z - z.mean(axis=0) for z in (y[:24], y[24:])])
    other = np.concatenate([z - z.mean(axis=0) for z in (a[:24], a[24:])])
    unit_y, unit_a = units(centred, other)
    pieces = np.stack([part.sum(axis=0) for part in np.split(unit_y * unit_a, [10, 20, 24, 34])])
    expected = (signs @ pieces >= pieces.sum(axis=0) - 1e-9).mean(axis=0)
    got = correlation_test(centred, other, block=10, run_onsets=[0, 24])
    np.testing.assert_allclose(got.p, expected, atol=1e-12)


def test_trap_17_no_p_is_zero_and_signal_is_found() -> None:
    y = autocorrelated(291, 50, 0.4, 1)
    got = correlation_test(y, y + 0.1 * autocorrelated(291, 50, 0.4, 2))
    assert (got.p >= 2.0**-290).all()
    assert got.p.max() < 1e-20
    assert got.least_p == 2.0**-290


NOISES = {
    "white": lambda n, seed: autocorrelated(291, n, 0.0, seed),
    "AR .8": lambda n, seed: autocorrelated(291, n, 0.8, seed),
    "AR .9": lambda n, seed: autocorrelated(291, n, 0.9, seed),
    "HRF over AR .8": lambda n, seed: hrf_over(0.8, n, seed),
    "1/f, detrended": lambda n, seed: pink(n, seed),
}


def hrf_over(coefficient: float, n_voxels: int, seed: int) -> NDArray:
    at = np.arange(0, 32, 2.0)
    kernel = (gamma.pdf(at, 6) - gamma.pdf(at, 16) / 6)[:, None]
    return fftconvolve(autocorrelated(391, n_voxels, coefficient, seed), kernel, axes=0)[100:391]


def pink(n_voxels: int, seed: int) -> NDArray:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((1164, n_voxels)), axis=0)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))[:, None]
    return detrend(np.fft.irfft(spectrum, axis=0)[:291], axis=0)


@pytest.mark.parametrize("noise", NOISES)
def test_the_level_holds_for_smooth_noise(noise: str) -> None:
    """Four standard errors of 4,000 nulls; 20,000 in benchmarks/significance.py. Blocks of 10 TRs gave 7 to 10 %."""
    y, x, signal, other = (NOISES[noise](4000, seed) for seed in (1, 2, 3, 4))
    chance = correlation_test(y, x)
    equal = compare_models(y + signal, signal + x, signal + other)
    for test in (chance, equal):
        assert (test.p <= 0.05).mean() == pytest.approx(0.05, abs=0.0138)
        assert (test.p <= 0.01).mean() == pytest.approx(0.01, abs=0.0063)
        assert (test.q <= 0.05).mean() < 0.001


def test_variance_that_changes_together_is_seen_and_blocks_hold_there() -> None:
    size = np.where(np.arange(291) // 58 == 1, 3.0, 1.0)[:, None]
    y, x = (size * autocorrelated(291, 2000, 0.4, seed) for seed in (1, 2))
    test = correlation_test(y, x)
    assert test.shared_variance == pytest.approx(2.5, abs=0.4)  # 17 / 2.6^2
    assert (test.p <= 0.05).mean() > 0.12
    assert (correlation_test(y, x, block=20).p <= 0.05).mean() < 0.07
    assert correlation_test(y / size, x).shared_variance == pytest.approx(1, abs=0.1)
    assert correlation_test(y / size, y / size + x / size).shared_variance == pytest.approx(1, abs=0.1)  # r = .7


def test_a_better_model_is_found() -> None:
    signal, noise = autocorrelated(291, 500, 0.6, 1), autocorrelated(291, 500, 0.4, 2)
    a, b = autocorrelated(291, 500, 0.6, 3), autocorrelated(291, 500, 0.6, 4)
    got = compare_models(signal + noise, signal + 0.5 * a, signal + b, alternative="greater")
    assert (got.p <= 0.05).mean() > 0.7
    back = compare_models(signal + noise, signal + b, signal + 0.5 * a, alternative="greater")
    assert (back.p <= 0.05).mean() < 0.01
    np.testing.assert_allclose(back.statistic, -got.statistic, atol=1e-6)


def test_nan_voxels_stay_nan_and_constant_ones_are_not_significant() -> None:
    y, x = autocorrelated(60, 2000, 0.4, 1), autocorrelated(60, 2000, 0.4, 2)
    clean = correlation_test(y, x)
    y[3, 5], x[8, 1500] = np.nan, np.nan
    y[:, 7] = 0.1
    got = correlation_test(y, x)
    bad = [5, 1500]
    for values in (got.statistic, got.p, got.q):
        assert np.isnan(values[bad]).all()
    assert got.statistic[7] == 0
    assert got.p[7] == 1
    others = np.delete(np.arange(2000), [5, 7, 1500])
    np.testing.assert_allclose(got.p[others], clean.p[others], rtol=1e-9)
    assert np.isnan(compare_models(y, x, x).p[bad]).all()


def test_two_equal_models_do_not_differ() -> None:
    y, x = autocorrelated(60, 10, 0.4, 1), autocorrelated(60, 10, 0.4, 2)
    got = compare_models(y, x, x)
    assert np.array_equal(got.statistic, np.zeros(10))
    assert np.array_equal(got.p, np.ones(10))


def test_false_discovery_rate_equals_scipys() -> None:
    p = np.random.default_rng(0).random(500) ** 2
    np.testing.assert_allclose(false_discovery_rate(p), false_discovery_control(p), rtol=1e-12)
    holes = p.copy()
    holes[::7] = np.nan
    got = false_discovery_rate(holes)
    assert np.isnan(got[::7]).all()
    np.testing.assert_allclose(got[np.isfinite(holes)], false_discovery_control(holes[np.isfinite(holes)]), rtol=1e-12)
    with pytest.raises(ValueError, match="between 0 and 1"):
        false_discovery_rate([0.5, 1.1])


def test_bad_arguments_are_named() -> None:
    y = np.zeros((30, 4))
    with pytest.raises(ValueError, match="predicted must have"):
        correlation_test(y, y[:-1])
    with pytest.raises(ValueError, match="second must have"):
        compare_models(y, y, y[:, :2])
    with pytest.raises(ValueError, match="block must leave two blocks or more of the 30 TRs, got 30"):
        correlation_test(y, y, block=30)
    with pytest.raises(ValueError, match="block must be 1 TR or more, or None, got 0"):
        correlation_test(y, y, block=0)
    with pytest.raises(ValueError, match="alternative"):
        correlation_test(y, y, alternative="less")
    for onsets in ([], [1], [0, 29], [0, 40], [0, 10, 5]):
        with pytest.raises(ValueError, match="run_onsets must begin with 0"):
            correlation_test(y, y, run_onsets=onsets)


def planted(n_voxels, n_trs=291, n_signal=0):
    rng = np.random.default_rng(0)
    measured, predicted = (rng.standard_normal((n_trs, n_voxels), dtype=np.float32) for _ in range(2))
    predicted[:, :n_signal] = measured[:, :n_signal] + 0.48 * predicted[:, :n_signal]  # r = .9
    return measured, predicted


def test_few_of_many_voxels_are_found():
    """200 of 20,000: of 10,000 permutations 190 had to be at the smallest p."""
    found = correlation_test(*planted(20_000, n_signal=200))
    assert found.least_found(0.05) == 1
    assert (found.q[:200] <= 0.05).all()
    assert (found.q[200:] <= 0.05).sum() < 25  # 5 % of those found, and chance


def test_a_story_too_short_to_find_anything():
    measured, first = planted(50, n_trs=40, n_signal=50)
    second = np.random.default_rng(1).standard_normal(first.shape)
    short = compare_models(measured, first, second, block=20)  # both signs turned: the same size
    assert short.least_p == 0.5
    assert short.p.min() >= 0.49
    assert short.least_found(0.05) is None
    assert compare_models(measured, first, second, alternative="greater", block=20).least_p == 0.25
    assert correlation_test(measured, first).least_found(0.05) == 1
    assert correlation_test(measured[:5], first[:5]).least_p == 2.0**-4
    assert correlation_test(measured[:5], first[:5]).least_found(0.05) is None


def test_q_within_a_set_is_of_its_voxels_alone():
    """Thirty voxels among 20,000 that would not be found over the cortex."""
    measured, predicted = planted(20_000)
    predicted[:, :30] += 0.25 * measured[:, :30]
    test, ac = correlation_test(measured, predicted), np.arange(20_000) < 40
    within = test.among(ac)
    np.testing.assert_array_equal(within.q, false_discovery_rate(test.p[:40]))
    assert (within.q <= 0.05).sum() > 25 > 2 * (test.q[:40] <= 0.05).sum()
