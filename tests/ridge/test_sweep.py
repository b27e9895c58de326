"""Every penalty from one product equals one solve per penalty, over hard spectra, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainwavlm_fast import kernels, reference
from brainwavlm_fast.ridge.backend_torch import TorchBackend
from brainwavlm_fast.ridge.designs import DenseDesign
from brainwavlm_fast.ridge.problem import RidgeProblem
from brainwavlm_fast.ridge.spectral import SpectralSolver

SPECTRA = ["flat", "power law", "steep", "repeated", "rank deficient", "wide"]
PENALTIES = np.logspace(1, 4, 10) ** 2


def design(kind, n=360, p=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 500 if kind == "wide" else p))
    p = X.shape[1]
    if kind in ("power law", "wide"):
        X *= np.arange(1, p + 1) ** -1.0 * 8
    elif kind == "steep":
        X *= np.logspace(2, -4, p)
        X = X @ np.linalg.qr(rng.standard_normal((p, p)))[0]
    elif kind == "repeated":
        X = np.linalg.qr(X)[0] * 30
    elif kind == "rank deficient":
        X[:, p // 2 :] = X[:, : p - p // 2] @ rng.standard_normal((p - p // 2, p - p // 2)) / 5
    X[1:] += 0.7 * X[:-1]  # autocorrelated, as features are
    return X


def problem(kind, dtype, n_targets=33):
    rng = np.random.default_rng(1)
    X = design(kind)
    Y = X @ rng.standard_normal((X.shape[1], n_targets)) * 0.2
    Y = Y / Y.std(axis=0) + rng.standard_normal(Y.shape) * rng.uniform(0.5, 20, n_targets)
    Y -= Y.mean(axis=0)
    held = [np.arange(k, k + 90) for k in (0, 120, 270)]
    splits = [(np.setdiff1d(np.arange(len(X)), rows), rows) for rows in held]
    return X.astype(dtype), Y.astype(dtype), splits


def solver_of(X, splits, n_targets=10**6, **settings):
    return SpectralSolver(RidgeProblem(DenseDesign(X), splits, n_targets=n_targets, **settings), PENALTIES)


def ridge_scores(X, Y, X_held, Y_held, penalties, *, scoring):
    """Held-out score of each penalty and target, (n_penalties, n_targets), from its predictions, one solve each.

    weights = (X'X + penalty I)^-1 X'Y. A constant prediction or target has correlation 0.
    """
    scores = []
    for penalty in penalties:
        predicted = X_held @ np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), X.T @ Y)
        if scoring == "correlation":
            scores.append(reference.correlation(predicted, Y_held, axis=0))
        else:
            scores.append(1 - ((Y_held - predicted) ** 2).sum(0) / ((Y_held - Y_held.mean(0)) ** 2).sum(0))
    return np.array(scores)


def expected(X, Y, splits, penalties, scoring, centred=False):
    total = 0
    for train, held in splits:
        mx, my = (X[train].mean(0), Y[train].mean(0)) if centred else (0, 0)
        total = total + ridge_scores(
            X[train] - mx, Y[train] - my, X[held] - mx, Y[held] - my, penalties, scoring=scoring
        )
    return total


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-8), (np.float32, 6e-6)])
def test_scores_are_those_of_one_solve_a_penalty(kind, dtype, tolerance, scoring):
    X, Y, splits = problem(kind, dtype)
    if kind == "steep":  # the smallest penalty is 1e-5 of the largest eigenvalue: float32 resolves less there
        tolerance *= 5
    solver = solver_of(X, splits, scoring=scoring)
    train, held = splits[0]
    assert solver.sweep_pays(len(held), min(len(train), X.shape[1])) or kind == "wide"
    solver.sweep_pays = lambda *_: True
    found = solver.score(solver.problem.prepare(Y))
    wanted = expected(X.astype(np.float64), Y.astype(np.float64), splits, PENALTIES, scoring)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3 * tolerance)
    best = np.argmax(found, axis=0)
    regret = wanted.max(axis=0) - wanted[best, np.arange(Y.shape[1])]
    assert regret.max() <= 6 * tolerance


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_with_an_intercept_the_means_are_the_training_rows(scoring):
    X, Y, splits = problem("power law", np.float64)
    X, Y = X + 5, Y - 3
    solver = solver_of(X, splits, scoring=scoring, fit_intercept=True)
    solver.sweep_pays = lambda *_: True
    found = solver.score(solver.problem.prepare(Y))
    np.testing.assert_allclose(found, expected(X, Y, splits, PENALTIES, scoring, centred=True), atol=1e-8)


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("kind", ["power law", "rank deficient", "wide"])
def test_torch_gives_numpys_numbers(kind, fit_intercept, scoring):
    """The backend of a GPU, on the host: the same code but for the device."""
    X, Y, splits = problem(kind, np.float64)
    settings = {"scoring": scoring, "fit_intercept": fit_intercept}
    Y[:, 3] = 1.5
    for some in (splits, [*splits, splits[0]]):  # grouped cross products, and too many splits for that
        in_numpy = solver_of(X, some, **settings)
        in_torch = solver_of(X, some, **settings, backend=TorchBackend("cpu"))
        mine, theirs = in_numpy.problem.prepare(Y), in_torch.problem.prepare(torch.from_numpy(Y))
        np.testing.assert_allclose(in_torch.score(theirs), in_numpy.score(mine), rtol=0, atol=1e-9)
        chosen = np.full(Y.shape[1], 300.0)
        for a, b in zip(in_numpy.weights(mine, chosen), in_torch.weights(theirs, chosen), strict=True):
            np.testing.assert_allclose(np.asarray(b), a, rtol=0, atol=1e-10)


def test_sweep_and_predictions_are_chosen_by_size_and_agree():
    X, Y, splits = problem("power law", np.float64)
    few, many = (solver_of(X, splits, n) for n in (1, 10**6))
    assert not few.sweep_pays(len(splits[0][1]), X.shape[1])
    assert many.sweep_pays(len(splits[0][1]), X.shape[1])
    np.testing.assert_allclose(
        few.score(few.problem.prepare(Y)), many.score(many.problem.prepare(Y)), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_target_scores_zero_and_disturbs_no_other(value):
    X, Y, splits = problem("power law", np.float32)
    solver = solver_of(X, splits)
    clean = solver.score(solver.problem.prepare(Y))
    Y[:, 4] = value
    found = solver.score(solver.problem.prepare(Y))
    assert (found[:, 4] == 0).all()
    others = np.arange(Y.shape[1]) != 4
    np.testing.assert_array_equal(found[:, others], clean[:, others])


def test_a_prediction_that_barely_varies_is_scored_from_itself():
    """Held-out rows that nearly repeat one another leave no variance: what cancels must not become a score."""
    X, Y, splits = problem("power law", np.float32)
    held = splits[0][1]
    X[held] = X[held[0]] + 1e-5 * np.random.default_rng(2).standard_normal((len(held), X.shape[1]))
    solver = solver_of(X, splits[:1])
    found = solver.score(solver.problem.prepare(Y))
    assert np.abs(found).max() <= 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_targets", [0, 1, 63, 64, 65, 129])
@pytest.mark.parametrize(("rank", "n_penalties"), [(1, 1), (127, 16), (128, 17), (129, 40), (300, 3)])
def test_the_core_is_its_definition(rank, n_targets, n_penalties, dtype):
    rng = np.random.default_rng(0)
    matrices = [rng.standard_normal((rank, n_targets)).astype(dtype) for _ in range(4)]
    shrink, diagonal = rng.uniform(0.1, 1, (n_penalties, rank)), rng.uniform(0, 2, rank)
    shift = shrink.mean(axis=1)
    found = kernels.ridge_moments(*matrices, shrink, shift, diagonal)
    wanted = reference.ridge_moments(*matrices, shrink, shift, diagonal)
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype == np.float64
        np.testing.assert_allclose(f, w, rtol=0, atol=200 * np.finfo(dtype).eps * rank**0.5)


def test_threads_change_no_bit():
    rng = np.random.default_rng(0)
    matrices = [rng.standard_normal((200, 1000)).astype(np.float32) for _ in range(4)]
    shrink = rng.uniform(0.1, 1, (10, 200))
    one, two = (
        kernels.ridge_moments(*matrices, shrink, shrink[:, 0], shrink[0], num_threads=threads) for threads in (1, 2)
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"held_cross": np.zeros((5, 4))}, "train_cross: expected the shape of held_cross"),
        ({"shrink": np.zeros((2, 9))}, r"shrink: expected shape"),
        ({"shrink": np.zeros(4)}, "shrink: expected a matrix"),
        ({"shift": np.zeros(3)}, r"shift: expected shape"),
        ({"diagonal": np.zeros(3)}, r"diagonal: expected shape"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {name: np.zeros((5, 3)) for name in ("held_cross", "train_cross", "divided_cross", "close_cross")}
    arguments |= {"shrink": np.zeros((2, 5)), "shift": np.zeros(2), "diagonal": np.zeros(5)}
    with pytest.raises(ValueError, match=message):
        kernels.ridge_moments(**(arguments | change))
