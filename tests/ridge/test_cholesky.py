"""Ridge by one factorisation per penalty: chosen for few targets alone, and equal to ridge by eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.ridge.backend_torch import TorchBackend
from brainwavlm_fast.ridge.cholesky import CholeskySolver
from brainwavlm_fast.ridge.designs import DenseDesign
from brainwavlm_fast.ridge.problem import RidgeProblem
from brainwavlm_fast.ridge.solver import choose_solver
from brainwavlm_fast.ridge.spectral import SpectralSolver
from tests.ridge.test_sweep import PENALTIES, problem


def chosen(X, splits, penalties=PENALTIES, **options):
    return type(choose_solver(RidgeProblem(DenseDesign(X), splits, **({"n_targets": 5} | options)), penalties))


def test_few_targets_few_penalties_and_well_resolved_penalties_are_factored():
    X, _, splits = problem("power law", np.float32)
    assert chosen(X, splits) is CholeskySolver
    assert chosen(X, splits, n_targets=5 * X.shape[1]) is SpectralSolver
    assert chosen(X, splits, np.tile(PENALTIES, 20)) is SpectralSolver
    assert chosen(X, splits, PENALTIES * 1e-9) is SpectralSolver
    assert chosen(X, ()) is SpectralSolver
    assert chosen(X, splits, backend=TorchBackend("cpu")) is SpectralSolver
    assert chosen(np.zeros_like(X), splits) is CholeskySolver


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", ["power law", "rank deficient", "wide", "steep"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 6e-6)])
def test_factors_give_what_eigenvectors_give(kind, fit_intercept, scoring, dtype, tolerance):
    X, Y, splits = problem(kind, dtype)
    exact = problem(kind, np.float64)[:2]
    settings = {"n_targets": Y.shape[1], "scoring": scoring, "fit_intercept": fit_intercept}
    for some in (splits, [*splits, splits[0]]):  # grouped cross products, and too many splits for that
        factors = CholeskySolver(RidgeProblem(DenseDesign(X), some, **settings), PENALTIES)
        eigen = SpectralSolver(RidgeProblem(DenseDesign(exact[0]), some, **settings), PENALTIES)
        mine, theirs = factors.problem.prepare(Y), eigen.problem.prepare(exact[1])
        found, wanted = factors.score(mine), eigen.score(theirs)
        assert found.std() > 0.01
        np.testing.assert_allclose(found, wanted, rtol=0, atol=(5 if kind == "steep" else 1) * tolerance)
        penalties = np.resize(PENALTIES[3:6], Y.shape[1])
        for a, b in zip(factors.weights(mine, penalties), eigen.weights(theirs, penalties), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e3 * tolerance * max(np.abs(b).max(), 1e-3))


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_penalty_that_single_precision_does_not_resolve_is_factored_in_double(fit_intercept):
    X, Y, splits = problem("power law", np.float32)
    exact = problem("power law", np.float64)[:2]
    settings = {"n_targets": Y.shape[1], "fit_intercept": fit_intercept}
    single = RidgeProblem(DenseDesign(X), splits, **settings)
    double = RidgeProblem(DenseDesign(exact[0]), splits, **settings)
    largest = float(np.linalg.eigvalsh(single.gram)[-1])
    assert single.largest_eigenvalue == pytest.approx(largest, rel=0.05)
    small = np.array([3e-5, 3e-6]) * largest  # of which single precision keeps three digits, and two
    assert CholeskySolver.resolves(single, small.min())
    assert not CholeskySolver.resolves(single, 3e-7 * largest)
    found = CholeskySolver(single, small).score(single.prepare(Y))
    wanted = SpectralSolver(double, small).score(double.prepare(exact[1]))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_row_that_trains_twice_is_refused():
    X, Y, splits = problem("power law", np.float64)
    train, held = splits[0]
    ours = RidgeProblem(DenseDesign(X), [(np.append(train, train[0]), held)], n_targets=Y.shape[1])
    with pytest.raises(ValueError, match="split 0 names a training row twice"):
        CholeskySolver(ours, PENALTIES).score(ours.prepare(Y))
