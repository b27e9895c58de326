"""Permutation tests, and the false discovery rate: definitions, calibration, awkward input."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import false_discovery_control

from brainwavlm_fast.stats.significance import compare_models, false_discovery_rate, permutation_test


def autocorrelated(n_trs: int, n_voxels: int, coefficient: float, seed: int) -> NDArray:
    noise = np.random.default_rng(seed).standard_normal((n_trs + 50, n_voxels))
    return lfilter([1], [1, -coefficient], noise, axis=0)[50:]


def correlations(x: NDArray, y: NDArray) -> NDArray:
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)])


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_permutations_equal_moving_the_blocks_one_by_one(alternative: str) -> None:
    y, x = autocorrelated(47, 12, 0.4, 1), autocorrelated(47, 12, 0.6, 2)
    x[:, :4] += y[:, :4]
    got = permutation_test(y, x, n_permutations=99, block=5, seed=3, alternative=alternative)
    generator = np.random.default_rng(3)
    values = []
    for _ in range(99):
        order = generator.permutation(9)
        rows = np.r_[(order[:, None] * 5 + np.arange(5)).ravel(), 45, 46]
        values.append(correlations(x, y[rows]))
    observed = correlations(x, y)
    np.testing.assert_allclose(got.statistic, observed, atol=1e-6)
    size = np.abs if alternative == "two-sided" else np.asarray
    expected = (1 + (size(values) >= size(observed)).sum(axis=0)) / 100
    np.testing.assert_allclose(got.p, expected, atol=1e-12)


def test_swapping_blocks_equals_the_definition() -> None:
    y, a, b = (autocorrelated(43, 7, 0.5, seed) for seed in (1, 2, 3))
    a += y
    got = compare_models(y, a, b, n_permutations=99, block=10, seed=4)
    signs = np.random.default_rng(4).choice(np.array([-1, 1], np.float32), (5, 99))
    unit = [(z - z.mean(axis=0)) / np.linalg.norm(z - z.mean(axis=0), axis=0) for z in (y, a, b)]
    ra, rb = correlations(a, y), correlations(b, y)
    share = (unit[1] - unit[2]) * (unit[0] - (ra + rb) / 4 * (unit[1] + unit[2]))
    blocks = np.stack([part.sum(axis=0) for part in np.split(share, [10, 20, 30, 40])])
    np.testing.assert_allclose(got.statistic, ra - rb, atol=1e-6)
    np.testing.assert_allclose(blocks.sum(axis=0), ra - rb, atol=1e-12)
    as_large = np.abs(blocks.T @ signs) >= np.abs(ra - rb)[:, None] - 1e-6  # 32 swaps: some are drawn again
    expected = (1 + as_large.sum(axis=1)) / 100
    np.testing.assert_allclose(got.p, expected, atol=1e-12)


def test_trap_17_no_p_is_zero_and_signal_is_found() -> None:
    y = autocorrelated(291, 50, 0.4, 1)
    got = permutation_test(y, y + 0.1 * autocorrelated(291, 50, 0.4, 2), n_permutations=200)
    assert np.array_equal(got.p, np.full(50, 1 / 201))
    assert np.all(got.q <= 1 / 201 + 1e-15)


def test_without_an_effect_five_percent_are_called_at_five_percent() -> None:
    y, a, b = (
        autocorrelated(291, 20_000, 0.4, 1),
        autocorrelated(291, 20_000, 0.6, 2),
        autocorrelated(291, 20_000, 0.6, 3),
    )
    chance = permutation_test(y, a)
    assert 0.04 < (chance.p <= 0.05).mean() < 0.06
    assert (chance.q <= 0.05).mean() < 0.001
    signal = autocorrelated(291, 20_000, 0.6, 4)
    for strength in (0.0, 1.0, 3.0):
        both = compare_models(y + strength * signal, strength * signal + a, strength * signal + b)
        assert 0.04 < (both.p <= 0.05).mean() < 0.06


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
    clean = permutation_test(y, x, n_permutations=50)
    y[3, 5], x[8, 1500] = np.nan, np.nan
    y[:, 7] = 0.1
    got = permutation_test(y, x, n_permutations=50)
    bad = [5, 1500]
    for values in (got.statistic, got.p, got.q):
        assert np.isnan(values[bad]).all()
    assert got.statistic[7] == 0
    assert got.p[7] == 1
    others = np.delete(np.arange(2000), [5, 7, 1500])
    assert np.array_equal(got.p[others], clean.p[others])
    assert np.isnan(compare_models(y, x, x, n_permutations=50).p[bad]).all()


def test_two_equal_models_do_not_differ() -> None:
    y, x = autocorrelated(60, 10, 0.4, 1), autocorrelated(60, 10, 0.4, 2)
    got = compare_models(y, x, x, n_permutations=50)
    assert np.array_equal(got.statistic, np.zeros(10))
    assert np.array_equal(got.p, np.ones(10))


def test_seed_decides_the_permutations() -> None:
    y, x = autocorrelated(60, 30, 0.4, 1), autocorrelated(60, 30, 0.4, 2)
    assert np.array_equal(permutation_test(y, x, seed=1).p, permutation_test(y, x, seed=1).p)
    assert not np.array_equal(permutation_test(y, x, seed=1).p, permutation_test(y, x, seed=2).p)


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
        permutation_test(y, y[:-1])
    with pytest.raises(ValueError, match="second must have"):
        compare_models(y, y, y[:, :2])
    with pytest.raises(ValueError, match="block"):
        permutation_test(y, y, block=16)
    with pytest.raises(ValueError, match="alternative"):
        permutation_test(y, y, alternative="less")


def planted(n_voxels, n_trs=291, n_signal=0):
    rng = np.random.default_rng(0)
    measured, predicted = (rng.standard_normal((n_trs, n_voxels), dtype=np.float32) for _ in range(2))
    predicted[:, :n_signal] = measured[:, :n_signal] + 0.48 * predicted[:, :n_signal]  # r = .9
    return measured, predicted


def test_few_of_many_voxels_are_found():
    """200 of 20,000: a hundredth of them, at the smallest p of 10,000 permutations."""
    found = permutation_test(*planted(20_000, n_signal=200))
    assert found.least_found(0.05) == 40
    assert (found.q[:200] <= 0.05).all()
    assert (found.q[200:] <= 0.05).sum() < 25  # 5 % of those found, and chance
    few = permutation_test(*planted(20_000, n_signal=200), n_permutations=999)
    assert few.least_found(0.05) == 400
    assert not (few.q <= 0.05).any()


def test_a_story_too_short_to_find_anything():
    measured, first = planted(50, n_trs=40, n_signal=50)
    second = np.random.default_rng(1).standard_normal(first.shape)
    short = compare_models(measured, first, second)  # two blocks: their signs turned together are the same size
    assert short.least_p == 0.5
    assert short.p.min() >= 0.49
    assert short.least_found(0.05) is None
    assert compare_models(measured, first, second, alternative="greater").least_p == 0.25
    assert permutation_test(measured, first).least_p == 1 / 24  # four blocks
    assert permutation_test(*planted(50, n_trs=80)).least_found(0.05) == 1


@pytest.mark.parametrize("test", [permutation_test, lambda *a, **o: compare_models(*a, a[1], **o)])
def test_no_permutations_are_no_test(test):
    with pytest.raises(ValueError, match="n_permutations must be 1 or more, got 0"):
        test(*planted(3), n_permutations=0)
