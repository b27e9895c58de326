from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwavlm_fast.data import SAMPLE_RATE, response_times
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.model import lanczos_weights, plan_windows


def naive_lanczos(samples, times, lobes):
    cutoff = 1 / np.mean(np.diff(times))
    out = np.zeros((len(times), len(samples)))
    for i, t in enumerate(times):
        for j, s in enumerate(samples):
            x = cutoff * (t - s)
            if abs(x) < lobes:
                out[i, j] = 1.0 if x == 0 else lobes * np.sin(np.pi * x) * np.sin(np.pi * x / lobes) / (np.pi * x) ** 2
    return out


def test_lanczos_is_its_definition():
    samples, times = np.arange(0.25, 60, 0.25), np.arange(3.0, 50, 2.0)
    got = lanczos_weights(samples, times).toarray()
    np.testing.assert_allclose(got, naive_lanczos(samples, times, 3), atol=2e-8)


def test_negative_lobes_stay():
    """Trap 4: cutting at a positive threshold would lose 13 % of the filter's L1 mass."""
    times = response_times(50, context=4)
    plan = plan_windows(120 * SAMPLE_RATE, times)
    mass = np.abs(plan.weights).sum()
    negative = -plan.weights.minimum(0).sum()
    assert 0.12 < negative / mass < 0.14
    positive = plan_windows(120 * SAMPLE_RATE, times, negative_lobes=False).weights
    assert positive.min() >= 0
    assert np.isclose(positive.sum(), plan.weights.maximum(0).sum())


def test_windows_of_a_block_are_the_paper_s():
    """10 TRs of 2 s with 3 lobes to each side: (18 + 12) / 0.25 + 1 = 121, less the 6 on zeros of the sinc."""
    plan = plan_windows(300 * SAMPLE_RATE, response_times(100, context=4))
    used, weights = plan.rows(40, 50)
    assert len(used) == 115
    assert weights.shape == (10, 115)
    assert np.all(np.abs(weights).max(axis=0) > 0)
    lengths = (plan.ends - plan.starts)[used]
    assert set(lengths) == {4 * SAMPLE_RATE}


def test_windows_at_the_start_are_shorter():
    plan = plan_windows(100 * SAMPLE_RATE, response_times(20, context=4))
    lengths = plan.ends - plan.starts
    assert plan.ends[0] == SAMPLE_RATE // 4
    assert lengths[0] == SAMPLE_RATE // 4
    assert np.all(plan.starts >= 0)
    assert np.array_equal(lengths, np.minimum(plan.ends, 4 * SAMPLE_RATE))


@settings(max_examples=30, deadline=None)
@given(n_trs=st.integers(2, 60), stride=st.sampled_from([0.1, 0.25, 0.5, 1.0]), lobes=st.integers(1, 4))
def test_no_window_looks_ahead_of_its_time_by_more_than_the_filter(n_trs, stride, lobes):
    times = response_times(n_trs, context=2)
    n_samples = int((times[-1] + 1) * SAMPLE_RATE)
    plan = plan_windows(n_samples, times, stride=stride, lobes=lobes)
    assert np.all(plan.ends <= n_samples)
    assert np.all(np.diff(plan.ends) > 0)
    rows, columns = plan.weights.nonzero()
    assert np.all(np.abs(plan.ends[columns] / SAMPLE_RATE - times[rows]) < 2.0 * lobes + 1e-9)


def test_rows_are_a_cut_of_the_whole_plan():
    plan = plan_windows(200 * SAMPLE_RATE, response_times(60, context=4))
    rng = np.random.default_rng(0)
    features = rng.standard_normal((plan.n_windows, 3))
    used, weights = plan.rows(7, 20)
    np.testing.assert_allclose(weights @ features[used], (plan.weights @ features)[7:20], atol=1e-12)


def test_audio_that_ends_too_soon_is_refused():
    with pytest.raises(DataError, match="truncated"):
        plan_windows(40 * SAMPLE_RATE, response_times(60))


def test_windows_too_far_apart_for_the_filter_are_no_fault_of_the_sound():
    with pytest.raises(DataError, match="windows every 8 s are too few for a filter of 1 lobes"):
        plan_windows(200 * SAMPLE_RATE, response_times(60), window=8.0, stride=8.0, lobes=1)


def test_audio_shorter_than_a_window_step_is_refused():
    with pytest.raises(DataError, match="one window needs"):
        plan_windows(100, response_times(3))


def test_one_time_has_no_cutoff():
    with pytest.raises(ValueError, match="times"):
        lanczos_weights(np.arange(5.0), np.array([1.0]))
