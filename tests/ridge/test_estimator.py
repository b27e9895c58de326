"""RidgeCV: equality with the field's ridge, himalaya and scikit-learn; conventions; awkward targets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from brainwavlm_fast.ridge.alphas import FIELD_ALPHAS
from brainwavlm_fast.ridge.estimator import RidgeCV
from brainwavlm_fast.ridge.row_splits import ChunkBootstrap, run_labels
from tests.helpers.field_ridge import bootstrap_ridge, svd_ridge, zscored

ALPHAS = np.array(FIELD_ALPHAS)
ONSETS = [0, 130, 290]


def problem(
    n: int = 400, p: int = 30, t: int = 25, *, seed: int = 0, noise: float = 4.0
) -> tuple[NDArray, NDArray, list]:
    """Correlated features, smooth in time; targets of differing signal; the bootstrap's splits."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n, p)) @ np.diag(np.linspace(3, 0.1, p)) @ generator.standard_normal((p, p))
    X = zscored(X + 0.5 * np.roll(X, 1, axis=0))
    Y = X @ (generator.standard_normal((p, t)) * np.linspace(0, 0.6, t)) / np.sqrt(p)
    Y = zscored(Y + noise / 4 * generator.standard_normal((n, t)))
    splits = list(ChunkBootstrap(chunk_length=20, seed=3).split(X, groups=run_labels(n, [0, n // 3, n // 2])))
    return X, Y, splits


# more rows than features, and fewer; few targets, and more than features
@pytest.mark.parametrize(("n", "p", "t"), [(400, 30, 25), (400, 30, 80), (200, 320, 25)])
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_equals_the_fields_bootstrap_ridge(n: int, p: int, t: int, scoring: str) -> None:
    X, Y, splits = problem(n, p, t)
    scores, best, weights = bootstrap_ridge(X, Y, ALPHAS, splits, use_corr=scoring == "correlation")
    model = RidgeCV(cv=splits, scoring=scoring).fit(X, Y)
    np.testing.assert_allclose(model.cv_scores_, scores, rtol=0, atol=1e-8)
    assert np.array_equal(model.alphas_, best)
    assert len(np.unique(best)) > 2
    np.testing.assert_allclose(model.coef_.T, weights, rtol=0, atol=1e-8 * np.abs(weights).max())
    assert np.array_equal(model.predict(X), X @ model.coef_.T)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_equals_himalaya_with_the_same_splits(fit_intercept: bool) -> None:
    himalaya = pytest.importorskip("himalaya.ridge")
    scoring = pytest.importorskip("himalaya.scoring")
    X, Y, splits = problem()
    if fit_intercept:
        X, Y = X + 3.0, Y - 2.0
    solved = himalaya.solve_ridge_cv_svd(
        X, Y, alphas=ALPHAS**2, cv=splits, score_func=scoring.correlation_score, fit_intercept=fit_intercept, warn=False
    )
    model = RidgeCV(cv=splits, fit_intercept=fit_intercept).fit(X, Y)
    np.testing.assert_allclose(model.alphas_**2, solved[0], rtol=1e-12)
    np.testing.assert_allclose(model.coef_.T, solved[1], rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.cv_scores_.max(axis=0), np.ravel(solved[2]), rtol=0, atol=1e-8)
    if fit_intercept:
        np.testing.assert_allclose(model.intercept_, solved[3], rtol=0, atol=1e-8)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("n", "p"), [(400, 30), (60, 90)])
def test_weights_and_choice_equal_scikit_learns_ridge(n: int, p: int, fit_intercept: bool) -> None:
    X, Y, splits = problem(n, p, 6)
    X, Y = X + 5.0, Y + np.arange(6)
    grid = np.array([0.5, 3.0, 100.0, 2000.0])
    scores = np.zeros((len(grid), 6))
    for train, held in splits:
        for k, alpha in enumerate(grid):
            predicted = (
                Ridge(alpha, fit_intercept=fit_intercept, solver="cholesky").fit(X[train], Y[train]).predict(X[held])
            )
            scores[k] += (zscored(predicted) * zscored(Y[held])).mean(axis=0) / len(splits)
    model = RidgeCV(grid, penalty="alpha", cv=splits, fit_intercept=fit_intercept).fit(X, Y)
    np.testing.assert_allclose(model.cv_scores_, scores, rtol=0, atol=1e-8)
    assert np.array_equal(model.alphas_, grid[np.argmax(scores, axis=0)])
    oracle = Ridge(model.alphas_, fit_intercept=fit_intercept, solver="cholesky").fit(X, Y)
    np.testing.assert_allclose(model.coef_, oracle.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, oracle.intercept_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(model.predict(X), oracle.predict(X), rtol=0, atol=1e-8)


def test_trap_13_the_penalty_convention_is_named() -> None:
    X, Y, splits = problem()
    squared = RidgeCV(ALPHAS, cv=splits).fit(X, Y)
    plain = RidgeCV(ALPHAS**2, penalty="alpha", cv=splits).fit(X, Y)
    np.testing.assert_allclose(squared.cv_scores_, plain.cv_scores_, rtol=1e-12)
    np.testing.assert_allclose(squared.alphas_**2, plain.alphas_, rtol=1e-12)
    np.testing.assert_allclose(squared.coef_, plain.coef_, rtol=1e-10)
    np.testing.assert_allclose(RidgeCV([7.0]).fit(X, Y).coef_.T, svd_ridge(X, Y, 7.0), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="alpha_squared"):
        RidgeCV(penalty="lambda").fit(X, Y)


def test_float32_stays_within_the_stated_bounds() -> None:
    X, Y, splits = problem(900, 120, 60)
    exact = RidgeCV(cv=splits).fit(X, Y)
    single = RidgeCV(cv=splits).fit(X.astype(np.float32), Y.astype(np.float32))
    assert single.coef_.dtype == np.float32
    assert np.abs(single.cv_scores_ - exact.cv_scores_).max() < 2e-6
    columns = np.arange(60)
    chosen = np.searchsorted(ALPHAS, single.alphas_)
    regret = exact.cv_scores_.max(axis=0) - exact.cv_scores_[chosen, columns]
    assert regret.max() < 1e-6
    same = single.alphas_ == exact.alphas_
    assert same.mean() > 0.9
    difference = np.linalg.norm(single.coef_ - exact.coef_, axis=1)[same]
    assert np.all(difference < 1e-4 * np.linalg.norm(exact.coef_, axis=1)[same])


@pytest.mark.parametrize("batch", [1, 7, 25, 1000])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_tiles_of_targets_change_nothing(batch: int, fit_intercept: bool) -> None:
    X, Y, splits = problem()
    whole = RidgeCV(cv=splits, fit_intercept=fit_intercept).fit(X, Y)
    tiled = RidgeCV(cv=splits, fit_intercept=fit_intercept, n_targets_batch=batch).fit(X, Y)
    np.testing.assert_allclose(tiled.cv_scores_, whole.cv_scores_, rtol=0, atol=1e-11)
    np.testing.assert_allclose(tiled.coef_, whole.coef_, rtol=0, atol=1e-12)


def test_targets_with_nan_are_excluded_counted_and_never_spread() -> None:
    X, Y, splits = problem()
    clean = RidgeCV(cv=splits).fit(X, np.delete(Y, [3, 11], axis=1))
    Y[5, 3] = Y[:, 11] = np.nan
    with pytest.warns(UserWarning, match="2 of 25 targets hold a NaN"):
        model = RidgeCV(cv=splits).fit(X, Y)
    assert np.array_equal(np.flatnonzero(model.excluded_), [3, 11])
    for name in ("alphas_", "coef_", "intercept_"):
        values = getattr(model, name)
        assert np.isnan(values[[3, 11]]).all()
        np.testing.assert_allclose(np.delete(values, [3, 11], axis=0), getattr(clean, name), rtol=0, atol=1e-12)
    scores = model.score(X, Y, per_target=True)
    assert np.isnan(scores[[3, 11]]).all()
    assert model.score(X, Y) == pytest.approx(np.nanmean(scores))
    np.testing.assert_allclose(np.delete(scores, [3, 11]), clean.score(X, np.delete(Y, [3, 11], 1), per_target=True))
    with pytest.raises(ValueError, match="every one of the 25"):
        RidgeCV(cv=splits).fit(X, np.full_like(Y, np.nan))


@pytest.mark.filterwarnings("ignore:1 of 25 targets score the same")
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_a_constant_target_scores_zero_and_takes_the_smallest_alpha(value: float, scoring: str) -> None:
    X, Y, splits = problem()
    Y[:, 4] = value
    model = RidgeCV(ALPHAS[::-1], cv=splits, scoring=scoring, fit_intercept=True).fit(X, Y)
    assert np.array_equal(model.cv_scores_[:, 4], np.zeros(10))
    assert model.alphas_[4] == ALPHAS.min()
    assert model.score(X, Y, per_target=True)[4] == 0
    assert np.isfinite(model.coef_).all()


def test_ties_go_to_the_smallest_alpha() -> None:
    X, Y, splits = problem(t=3)
    X[:, :] = 0
    with pytest.warns(UserWarning, match="3 of 3 targets score the same at every alpha"):
        assert np.array_equal(RidgeCV([30.0, 10.0, 20.0], cv=splits).fit(X, Y).alphas_, [10.0] * 3)


def test_one_alpha_for_all_is_the_best_on_average() -> None:
    X, Y, splits = problem()
    scores, _, _ = bootstrap_ridge(X, Y, ALPHAS, splits)
    model = RidgeCV(cv=splits, alpha_per_target=False).fit(X, Y)
    assert np.array_equal(model.alphas_, np.full(25, ALPHAS[np.argmax(scores.mean(axis=1))]))
    np.testing.assert_allclose(model.coef_.T, svd_ridge(X, Y, model.alphas_[0]), rtol=0, atol=1e-10)


def test_one_alpha_a_group_is_the_best_on_the_groups_average() -> None:
    X, Y, splits = problem()
    Y[3, 7] = np.nan
    groups = np.array(["ac", "rest"])[(np.arange(25) % 3 > 0).astype(int)]
    with pytest.warns(UserWarning, match="1 of 25 targets"):
        model = RidgeCV(cv=splits).fit(X, Y, target_groups=groups)
    for name in ("ac", "rest"):
        members = (groups == name) & ~model.excluded_
        alone = RidgeCV(cv=splits, alpha_per_target=False).fit(X, Y[:, members])
        assert np.array_equal(model.alphas_[members], alone.alphas_)
        np.testing.assert_allclose(model.coef_[members], alone.coef_, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"target_groups must have shape \(25,\), one label per target, got \(2,\)"):
        RidgeCV(cv=splits).fit(X, np.nan_to_num(Y), target_groups=[0, 1])


@pytest.mark.parametrize("cv", ["gcv", 5])
def test_groups_of_one_are_targets_of_their_own(cv: object) -> None:
    X, Y, _ = problem()
    each = RidgeCV(cv=cv).fit(X, Y)
    assert np.array_equal(RidgeCV(cv=cv).fit(X, Y, target_groups=np.arange(25)).alphas_, each.alphas_)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    X, Y, splits = problem(n=300, p=60, t=400)
    found = []
    for n in (1, 2, 3):
        with threadpool_limits(n):
            found.append(RidgeCV(cv=splits, n_targets_batch=64).fit(X.astype(np.float32), Y.astype(np.float32)))
    for other in found[1:]:
        assert np.array_equal(other.coef_, found[0].coef_)
        assert np.array_equal(other.cv_scores_, found[0].cv_scores_)


def test_given_alphas_are_used_without_cross_validation() -> None:
    X, Y, splits = problem()
    chosen = RidgeCV(cv=splits).fit(X, Y)
    again = RidgeCV(cv=splits).fit(X, Y, target_alphas=chosen.alphas_)
    assert again.cv_scores_ is None
    np.testing.assert_allclose(again.coef_, chosen.coef_, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match=r"shape \(25,\)"):
        RidgeCV().fit(X, Y, target_alphas=[1.0])
    with pytest.raises(ValueError, match="positive and finite"):
        RidgeCV().fit(X, Y, target_alphas=np.r_[np.nan, np.ones(24)])


def test_run_onsets_reach_the_splitter() -> None:
    X, Y, _ = problem()
    splits = list(ChunkBootstrap().split(X, groups=run_labels(400, ONSETS)))
    expected = RidgeCV(cv=splits).fit(X, Y)
    got = RidgeCV().fit(X, Y, run_onsets=ONSETS)
    assert np.array_equal(got.cv_scores_, expected.cv_scores_)
    assert not np.array_equal(got.cv_scores_, RidgeCV().fit(X, Y).cv_scores_)


def test_one_dimensional_targets_keep_their_shape() -> None:
    X, Y, splits = problem()
    flat = RidgeCV(cv=splits, fit_intercept=True).fit(X, Y[:, 9])
    column = RidgeCV(cv=splits, fit_intercept=True).fit(X, Y[:, [9]])
    assert flat.coef_.shape == (30,)
    assert np.ndim(flat.intercept_) == 0
    assert np.array_equal(flat.predict(X), column.predict(X)[:, 0])


def test_inputs_are_not_changed() -> None:
    X, Y, splits = problem()
    Y[0, 0] = np.nan
    before = X.copy(), Y.copy()
    X.flags.writeable = Y.flags.writeable = False
    with pytest.warns(UserWarning, match="1 of 25"):
        RidgeCV(cv=splits, fit_intercept=True).fit(np.asfortranarray(X)[::1], Y)
    assert np.array_equal(X, before[0])
    assert np.array_equal(Y, before[1], equal_nan=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alphas": []}, "alphas"),
        ({"alphas": [1.0, -1.0]}, "alphas"),
        ({"alphas": [0.0]}, "alphas"),
        ({"alphas": [np.nan]}, "alphas"),
        ({"scoring": "mse"}, "scoring"),
        ({"cv": [(np.r_[0, 0, 1], [2, 3])]}, "twice"),
    ],
)
def test_bad_parameters_are_named(arguments: dict, message: str) -> None:
    X, Y, _ = problem(60, 5, 2)
    with pytest.raises(ValueError, match=message):
        RidgeCV(**arguments).fit(X, Y)


def test_bad_arrays_are_named() -> None:
    X, Y, _ = problem(60, 5, 2)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        RidgeCV().fit(X, Y[:-1])
    with pytest.raises(ValueError, match="dim <= 2"):
        RidgeCV().fit(X, Y[:, :, None])
    with pytest.raises(ValueError, match="y contains infinity"):
        RidgeCV().fit(X, np.where(Y > 2, np.inf, Y))
    with pytest.raises(ValueError, match="fitted"):
        RidgeCV().fit(X, Y).score(X, Y[:, :1])


def test_a_penalty_below_the_precision_warns() -> None:
    X, Y, splits = problem()
    with pytest.warns(RuntimeWarning, match="float32 resolves"):
        RidgeCV([1e-4], cv=splits).fit(X.astype(np.float32), Y.astype(np.float32))


def test_clone_keeps_parameters() -> None:
    model = RidgeCV([1.0, 2.0], penalty="alpha", cv=ChunkBootstrap(5, gap=4), scoring="r2")
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.set_params(cv=4).cv == 4


@pytest.mark.filterwarnings("ignore:1 of 1 targets score the same")  # some of its targets are constants
@parametrize_with_checks([RidgeCV(), RidgeCV(penalty="alpha", cv=3, scoring="r2", fit_intercept=True)])
def test_scikit_learns_own_checks(estimator: RidgeCV, check: Callable[[RidgeCV], None]) -> None:
    check(estimator)


@pytest.mark.filterwarnings("ignore:1 of 6 targets score the same")
@pytest.mark.parametrize("per_target", [True, False])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("n", "p"), [(120, 30), (60, 90)])
def test_generalised_cross_validation_is_its_definition(n: int, p: int, fit_intercept: bool, per_target: bool) -> None:
    X, Y, _ = problem(n, p, 6)
    X, Y = X + 1.0, Y + np.arange(6)
    Y[:, 5] = 2.0 if fit_intercept else 0.0  # nothing to explain
    grid = np.array([1.0, 30.0, 1000.0])
    a, b = (X - X.mean(0), Y - Y.mean(0)) if fit_intercept else (X, Y)
    expected = np.zeros((3, 6))
    for k, penalty in enumerate(grid):
        hat = a @ np.linalg.solve(a.T @ a + penalty * np.eye(p), a.T)
        freedom = n - int(fit_intercept) - np.trace(hat)
        error = n * ((b - hat @ b) ** 2).sum(0) / freedom**2
        variance = (b**2).mean(0)
        expected[k] = np.where(variance > 0, 1 - error / np.where(variance > 0, variance, 1), 0)
    model = RidgeCV(grid, penalty="alpha", cv="gcv", fit_intercept=fit_intercept, alpha_per_target=per_target).fit(X, Y)
    np.testing.assert_allclose(model.cv_scores_, expected, rtol=0, atol=1e-9)
    best = np.argmax(expected, axis=0) if per_target else np.full(6, np.argmax(expected.mean(axis=1)))
    assert np.array_equal(model.alphas_, grid[best])
    oracle = Ridge(model.alphas_, fit_intercept=fit_intercept, solver="cholesky").fit(X, Y)
    np.testing.assert_allclose(model.coef_, oracle.coef_, rtol=0, atol=1e-8)


HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is hidden")
sys.meta_path.insert(0, Hidden())
import numpy as np
from brainwavlm_fast import RidgeCV
X = np.random.default_rng(0).standard_normal((200, 10))
for options in ({}, {"delays": [1, 2]}, {"cv": "gcv", "fit_intercept": True}):
    for n_targets in (2, 100):
        model = RidgeCV(**options).fit(X, X @ np.ones((10, n_targets)))
        assert model.predict(X).shape == (200, n_targets)
assert "torch" not in sys.modules
"""


def test_numpy_users_need_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
