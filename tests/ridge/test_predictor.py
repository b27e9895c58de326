"""Predictions straight from cross products are those of the weights, wherever targets lie."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.ridge.backend_numpy import HostArrays, TorchArrays
from brainwavlm_fast.ridge.cholesky import FactorPlan
from brainwavlm_fast.ridge.designs import DenseDesign
from brainwavlm_fast.ridge.spectral import RidgePlan
from tests.ridge.test_sweep import PENALTIES, problem


@pytest.mark.parametrize("arrays", [HostArrays(), TorchArrays("cpu")])
@pytest.mark.parametrize("kind", ["power law", "rank deficient", "wide", "steep"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 5e-4)])
def test_they_are_those_of_the_weights(kind, dtype, tolerance, arrays):
    X, Y, splits = problem(kind, np.float64)
    new = np.random.default_rng(3).standard_normal((17, X.shape[1]))
    chosen = np.random.default_rng(4).choice(PENALTIES, Y.shape[1])
    exact = RidgePlan(DenseDesign(X), splits, n_targets=Y.shape[1])
    wanted = new @ exact.weights(exact.prepare(Y), chosen)[0]
    plan = RidgePlan(DenseDesign(X.astype(dtype)), splits, n_targets=Y.shape[1], arrays=arrays)
    predictor = plan.predictor(new.astype(dtype), PENALTIES)
    found = arrays.to_host(predictor(plan.prepare(Y.astype(dtype)).cross(), chosen))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_it_is_the_same_for_few_targets_and_needs_no_decomposition():
    X, Y, splits = problem("power law", np.float64)
    plans = [kind(DenseDesign(X), splits, n_targets=Y.shape[1]) for kind in (RidgePlan, FactorPlan)]
    chosen = np.full(Y.shape[1], PENALTIES[2])
    found = [plan.predictor(X[:5], chosen)(plan.prepare(Y).cross(), chosen) for plan in plans]
    assert np.array_equal(*found)
    assert plans[0]._whole is None


def test_a_penalty_below_the_rounding_of_a_singular_matrix_leaves_the_null_space_out():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 20))
    Y, tiny = rng.standard_normal((60, 3)), np.array([1e-30])
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(X.T @ X + tiny * np.eye(20))
    plan = RidgePlan(DenseDesign(X), n_targets=3)
    found = plan.predictor(X[:7], tiny)(plan.prepare(Y).cross(), np.full(3, tiny))
    np.testing.assert_allclose(found, X[:7] @ np.linalg.lstsq(X, Y)[0], rtol=0, atol=1e-9)


def test_an_intercept_is_refused():
    X, Y, splits = problem("power law", np.float64)
    plan = RidgePlan(DenseDesign(X), splits, n_targets=Y.shape[1], fit_intercept=True)
    with pytest.raises(ValueError, match="knows no intercept"):
        plan.predictor(X[:5], PENALTIES)
