"""Delayed designs give the numbers of the stack that they never make."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast import RidgeCV, delay_stack, reference
from brainwavlm_fast.ridge.backend_numpy import NumpyBackend
from brainwavlm_fast.ridge.backend_torch import TorchBackend
from brainwavlm_fast.ridge.designs import DelayedDesign, DenseDesign, standardize
from brainwavlm_fast.ridge.row_splits import ChunkBootstrap

ONSETS = [0, 90, 91, 200]
DELAYS = [(1, 2, 3, 4), (4, 1), (0,), (-2, 3, 0), (5, 9, 14), (120,)]


def features(n=260, width=7, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((n, width)).astype(dtype)


def some_rows(n):
    chunks = np.random.default_rng(1).choice(n // 10, n // 30, replace=False)
    return np.flatnonzero(np.isin(np.arange(n) // 10, chunks))


@pytest.mark.parametrize("backend", [NumpyBackend(), TorchBackend("cpu")])
@pytest.mark.parametrize("onsets", [None, ONSETS])
@pytest.mark.parametrize("delays", DELAYS)
def test_products_are_those_of_the_stack(delays, onsets, backend):
    x, targets = features(), np.random.default_rng(2).standard_normal((260, 5))
    stack = reference.delay_stack(x, delays, run_onsets=onsets)
    design = DelayedDesign(x, delays, run_onsets=onsets)
    design.to_device(backend)
    assert design.shape == stack.shape
    for which in (None, some_rows(260), np.arange(259), np.array([89, 90, 91]), np.array([], dtype=np.intp)):
        rows, y = (stack, targets) if which is None else (stack[which], targets[which])
        np.testing.assert_allclose(design.gram(which), rows.T @ rows, rtol=0, atol=1e-11)
        found = design.cross(which, backend.asarray(y, np.float64))
        np.testing.assert_allclose(backend.to_host(found), rows.T @ y, rtol=0, atol=1e-11)
        if which is not None:
            assert np.array_equal(design.rows(which), rows)


def test_history_rows_are_seen_and_are_no_rows():
    x = features()
    design = DelayedDesign(x, [1, 4], run_onsets=[0, 100], context=4)
    stack = np.concatenate([delay_stack(part, [1, 4], context=4) for part in (x[:100], x[100:])])
    assert np.array_equal(design.rows(np.arange(design.shape[0])), stack)
    np.testing.assert_allclose(design.gram(), stack.T @ stack, rtol=0, atol=1e-11)


@pytest.mark.filterwarnings("ignore:delays reach 4 rows, but run 1")
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("width", [7, 80])  # 80: more columns than rows
def test_ridge_with_delays_is_ridge_on_the_stack(width, fit_intercept):
    x = features(width=width)
    stack = delay_stack(x, [1, 2, 4], run_onsets=ONSETS)
    y = stack @ np.random.default_rng(3).standard_normal((stack.shape[1], 9)) * 0.1
    y += np.random.default_rng(4).standard_normal(y.shape)
    splits = list(ChunkBootstrap(3, chunk_length=10).split(stack))
    whole = RidgeCV(cv=splits, fit_intercept=fit_intercept).fit(stack, y)
    inside = RidgeCV(cv=splits, fit_intercept=fit_intercept, delays=[1, 2, 4]).fit(x, y, run_onsets=ONSETS)
    np.testing.assert_allclose(inside.cv_scores_, whole.cv_scores_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(inside.coef_, whole.coef_, rtol=0, atol=1e-10)
    assert np.array_equal(inside.alphas_, whole.alphas_)
    np.testing.assert_allclose(inside.predict(x, run_onsets=ONSETS), whole.predict(stack), rtol=0, atol=1e-10)
    assert inside.score(x, y, run_onsets=ONSETS) == pytest.approx(whole.score(stack, y), abs=1e-12)


def test_bad_delays_are_named():
    with pytest.raises(ValueError, match="delays: must be distinct"):
        RidgeCV(delays=[1, 1]).fit(features(), features()[:, 0])
    with pytest.raises(ValueError, match="run_onsets: must rise"):
        RidgeCV(delays=[1]).fit(features(), features()[:, 0], run_onsets=[3, 9])


def test_dense_is_the_matrix():
    x = features()
    design = DenseDesign(x)
    assert np.array_equal(design.rows(np.array([3, 1])), x[[3, 1]])


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2e-5), (np.float64, 1e-5)])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e6])
def test_z_scores_have_no_unit(unit, dtype, bound):
    x = (features(337, dtype=np.float64) * unit + 3 * unit).astype(dtype)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    np.testing.assert_allclose(standardize(x), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e-20, 12345.678, 1e10])
def test_a_constant_has_zeros_for_z_scores(value, dtype):
    assert not standardize(np.full((337, 5), value, dtype=dtype)).any()
