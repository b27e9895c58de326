"""Intervals hold the truth as often as they say, over data sets whose correlations are known in closed form."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from brainwavlm_fast.stats.intervals import (
    N_BLOCKS,
    N_STORIES,
    LeftOut,
    combined,
    correlation_without_blocks,
    mean_over,
    percent_change,
)

N_TRS, N_VOXELS, N_FEATURES = 291, 20, 8


def smooth(rho: float, shape: tuple[int, int], rng: np.random.Generator) -> NDArray:
    """Columns of lag-1 correlation rho and variance 1."""
    white = rng.standard_normal((shape[0] + 60, shape[1])) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], white, axis=0)[60:]


def correlation(x: NDArray, y: NDArray) -> NDArray:
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))


def planted(rng: np.random.Generator, n_stories: int = 1) -> tuple[list[LeftOut], list[float]]:
    """Mean correlations of two models, unequal over voxels, which share the stimulus and half of their noise."""
    weights = rng.standard_normal((N_FEATURES, N_VOXELS)) / np.sqrt(N_FEATURES)
    spread = rng.standard_normal((3, N_VOXELS)) / np.sqrt(3)
    gain = rng.uniform(0.2, 0.7, N_VOXELS)
    variance = gain**2 * (weights**2).sum(axis=0) + 0.5 * (spread**2).sum(axis=0) + 0.5
    models = [weights * (np.arange(N_FEATURES) < n)[:, None] for n in (4, 7)]
    truths = [float((gain * (m * weights).sum(0) / np.sqrt((m**2).sum(0) * variance)).mean()) for m in models]
    scores: list[dict] = [{}, {}]
    left_out: list[dict] = [{}, {}]
    for story in range(n_stories):
        x = smooth(0.7, (N_TRS, N_FEATURES), rng)
        noise = smooth(0.5, (N_TRS, 3), rng) @ spread + smooth(0.4, (N_TRS, N_VOXELS), rng)
        y = gain * (x @ weights) + np.sqrt(0.5) * noise
        for k, model in enumerate(models):
            scores[k][story] = correlation(x @ model, y)
            left_out[k][story] = correlation_without_blocks(x @ model, y)
    every = np.ones(N_VOXELS, dtype=bool)
    return [mean_over(s, left, every) for s, left in zip(scores, left_out, strict=True)], truths


@pytest.mark.parametrize("n_stories", [1, 2, 6])
def test_400_planted_data_sets(n_stories: int) -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(400):
        (first, second), truths = planted(rng, n_stories)
        change = combined(percent_change, first, second)
        numbers = [first, second, combined(np.subtract, second, first), change]
        wanted = [*truths, truths[1] - truths[0], 100 * (truths[1] / truths[0] - 1)]
        ends = [number.interval() for number in numbers]
        held.append([low <= truth <= high for (low, high), truth in zip(ends, wanted, strict=True)])
    coverage = np.mean(held, axis=0)
    assert (np.abs(coverage - 0.95) <= 0.02).all(), coverage


def test_a_story_without_each_block_is_its_definition() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((2, 100, 5))
    x[:, 2], y[:, 3] = 0.1, 7e8
    y[:, 4] += 1e4
    got = correlation_without_blocks(x.astype(np.float32), y)
    edges = np.linspace(0, 100, N_BLOCKS + 1).astype(int)
    for k, (first, last) in enumerate(pairwise(edges)):
        left = np.delete(np.arange(100), np.arange(first, last))
        expected = correlation(x[left][:, [0, 1, 4]].astype(np.float32).astype(float), y[left][:, [0, 1, 4]])
        np.testing.assert_allclose(got[k, [0, 1, 4]], expected, rtol=0, atol=1e-10)
    assert not got[:, [2, 3]].any()
    assert np.isnan(correlation_without_blocks(x[:20], y[:20])).all()


def test_a_number_that_is_a_mean_has_students_interval() -> None:
    values = np.random.default_rng(0).standard_normal(9)
    without = ((values.sum() - values) / 8)[None, :]
    number = LeftOut(values.mean(), without)
    assert number.standard_error == pytest.approx(values.std(ddof=1) / 3)
    half = 2.306004 * values.std(ddof=1) / 3  # t of 8 degrees of freedom
    assert number.interval() == pytest.approx([values.mean() - half, values.mean() + half], rel=1e-6)


def test_many_stories_are_left_out_as_wholes() -> None:
    rng = np.random.default_rng(8)
    scores = {k: rng.uniform(0, 1, 4) for k in range(N_STORIES)}
    left_out = {k: np.tile(score, (N_BLOCKS, 1)) for k, score in scores.items()}
    voxels = np.array([True, True, False, True])
    scores[2][1] = np.nan
    left_out[4] = left_out[4] - 0.01  # a story's own bias, of its blocks
    mean = mean_over(scores, left_out, voxels)
    table = np.array([score[[0, 3]].mean() for score in scores.values()])
    assert mean is not None
    assert mean.value == pytest.approx(table.mean())
    corrected = table + (N_BLOCKS - 1) * 0.01 * (np.arange(N_STORIES) == 4)
    half = 2.570582 * corrected.std(ddof=1) / np.sqrt(N_STORIES)  # t of 5 degrees of freedom
    expected = [corrected.mean() - half, corrected.mean() + half]
    assert mean.interval() == pytest.approx(expected, rel=1e-6)


def test_what_is_not_known_is_none() -> None:
    every = np.ones(3, dtype=bool)
    short = mean_over({"t": np.ones(3)}, {"t": np.full((N_BLOCKS, 3), np.nan)}, every)
    assert short is not None
    assert short.value == 1
    assert short.interval() is short.standard_error is None
    assert mean_over({"t": np.full(3, np.nan)}, {"t": np.ones((N_BLOCKS, 3))}, every) is None
    assert mean_over({}, {}, every) is mean_over({"t": np.ones(3)}, {}, every) is None
    start = LeftOut(-0.1, np.full((1, 7), -0.1))
    assert combined(percent_change, start, start).interval() is None
