"""Predictions straight from cross products are those of the weights, wherever targets lie."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.ridge.backend_numpy import NumpyBackend
from brainwavlm_fast.ridge.backend_torch import TorchBackend
from brainwavlm_fast.ridge.designs import DenseDesign
from brainwavlm_fast.ridge.predictor import Predictor
from brainwavlm_fast.ridge.problem import RidgeProblem
from brainwavlm_fast.ridge.spectral import SpectralSolver
from tests.ridge.test_sweep import PENALTIES, problem


@pytest.mark.parametrize("backend", [NumpyBackend(), TorchBackend("cpu")])
@pytest.mark.parametrize("kind", ["power law", "rank deficient", "wide", "steep"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 5e-4)])
def test_they_are_those_of_the_weights(kind, dtype, tolerance, backend):
    X, Y, splits = problem(kind, np.float64)
    new = np.random.default_rng(3).standard_normal((17, X.shape[1]))
    chosen = np.random.default_rng(4).choice(PENALTIES, Y.shape[1])
    exact = RidgeProblem(DenseDesign(X), splits, n_targets=Y.shape[1])
    wanted = new @ SpectralSolver(exact, PENALTIES).weights(exact.prepare(Y), chosen)[0]
    ours = RidgeProblem(DenseDesign(X.astype(dtype)), splits, n_targets=Y.shape[1], backend=backend)
    predictor = Predictor(ours, new.astype(dtype), PENALTIES)
    found = backend.to_host(predictor(ours.prepare(Y.astype(dtype)).cross(), chosen))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_it_needs_no_decomposition(monkeypatch):
    X, Y, splits = problem("power law", np.float64)
    ours = RidgeProblem(DenseDesign(X), splits, n_targets=Y.shape[1])
    monkeypatch.setattr(np.linalg, "eigh", None)
    chosen = np.full(Y.shape[1], PENALTIES[2])
    found = Predictor(ours, X[:5], chosen)(ours.prepare(Y).cross(), chosen)
    wanted = X[:5] @ np.linalg.solve(X.T @ X + PENALTIES[2] * np.eye(X.shape[1]), X.T @ Y)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_a_penalty_below_the_rounding_of_a_singular_matrix_leaves_the_null_space_out():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 20))
    Y, tiny = rng.standard_normal((60, 3)), np.array([1e-30])
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(X.T @ X + tiny * np.eye(20))
    ours = RidgeProblem(DenseDesign(X), n_targets=3)
    found = Predictor(ours, X[:7], tiny)(ours.prepare(Y).cross(), np.full(3, tiny))
    np.testing.assert_allclose(found, X[:7] @ np.linalg.lstsq(X, Y)[0], rtol=0, atol=1e-9)


def test_an_intercept_is_refused():
    X, Y, splits = problem("power law", np.float64)
    ours = RidgeProblem(DenseDesign(X), splits, n_targets=Y.shape[1], fit_intercept=True)
    with pytest.raises(ValueError, match="knows no intercept"):
        Predictor(ours, X[:5], PENALTIES)
