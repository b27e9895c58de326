"""BandedRidgeCV: equality with himalaya and with ridge solved candidate by candidate, nested models, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from brainwavlm_fast import BandedRidgeCV, RidgeCV
from brainwavlm_fast.kernels import delay_stack
from brainwavlm_fast.ridge import band_search
from brainwavlm_fast.ridge.bands import nested_candidates, resolve_bands, resolve_candidates

GROUPS = {"sound": slice(0, 12), "words": np.arange(12, 30)}
CANDIDATES = [[1.0, 1.0], [0.2, 1.8], [1.9, 0.1], [0.0, 2.0], [1.0, 0.0]]
ALPHAS = np.array([30.0, 1.0, 10.0, 3.0, 100.0])


def data(n=240, n_targets=14, seed=0, n_test=0):
    """Targets of the first space, of the second, of both, and of neither."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + n_test, 30)) @ (np.eye(30) + 0.2 * rng.standard_normal((30, 30)))
    weights = rng.standard_normal((30, n_targets)) / 5
    weights[12:, ::3] = 0
    weights[:12, 1::3] = 0
    Y = X @ weights + rng.standard_normal((n + n_test, n_targets)) * np.linspace(0.5, 3, n_targets)
    splits = [(np.r_[0:80, 160:240], np.arange(80, 160)), (np.arange(160), np.arange(160, 240))]
    return X, Y, splits


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_equals_himalaya_on_the_same_candidates(scoring):
    himalaya = pytest.importorskip("himalaya.ridge")
    scores = pytest.importorskip("himalaya.scoring")
    X, Y, splits = data()
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    candidates = np.maximum(CANDIDATES, 1e-3) / 2  # it fails where a space weighs nothing
    score_func = {"correlation": scores.correlation_score, "r2": scores.r2_score}[scoring]
    with np.errstate(all="ignore"):  # logarithms of weights of 0
        deltas, weights, best = himalaya.solve_group_ridge_random_search(
            [X[:, :12], X[:, 12:]], Y, n_iter=candidates, alphas=np.sort(ALPHAS), cv=splits, return_weights=True,
            score_func=score_func, progress_bar=False, local_alpha=True, fit_intercept=False, warn=False,
        )[:3]  # fmt: skip
    model = BandedRidgeCV(GROUPS, candidates=candidates, alphas=ALPHAS, penalty="alpha", cv=splits, scoring=scoring)
    model.fit(X, Y)
    assert len(np.unique(model.alphas_)) > 2
    assert len(np.unique(model.weights_[0])) > 2
    np.testing.assert_allclose(model.coef_.T, weights, atol=1e-8)
    np.testing.assert_allclose(model.cv_scores_.max(axis=0), best.max(axis=0), atol=1e-8)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.log(model.weights_ / model.alphas_), deltas, atol=1e-8)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("scoring", ["correlation", "r2"])
@pytest.mark.parametrize("delays", [None, [1, 2, 4]])
def test_equals_ridge_of_scaled_features(fit_intercept, scoring, delays, monkeypatch):
    """Candidate by candidate; several chunks of targets, tiles and runs."""
    monkeypatch.setattr(band_search, "_CHUNK_BYTES", 20_000)
    X, Y, _ = data()
    Y = Y + 3.0
    options = {"alphas": ALPHAS, "fit_intercept": fit_intercept, "scoring": scoring, "delays": delays}
    model = BandedRidgeCV(GROUPS, candidates=CANDIDATES, **options, n_targets_batch=3).fit(X, Y, run_onsets=[0, 100])
    member, each = np.repeat([0, 1], [12, 18]), []
    for candidate in CANDIDATES:
        scale = np.sqrt(np.array(candidate))[member]
        stacked = X * scale if delays is None else delay_stack(X * scale, delays, run_onsets=[0, 100])
        options["delays"] = None
        each.append((RidgeCV(**options).fit(stacked, Y, run_onsets=[0, 100]), np.tile(scale, len(delays or [0]))))
    scores = np.stack([one.cv_scores_.max(axis=0) for one, _ in each])
    np.testing.assert_allclose(model.cv_scores_, scores, atol=1e-8)
    for target, best in enumerate(scores.argmax(axis=0)):
        one, scale = each[best]
        np.testing.assert_allclose(model.coef_[target], one.coef_[target] * scale, atol=1e-8)
        np.testing.assert_allclose(model.intercept_[target], one.intercept_[target], atol=1e-8)
        assert model.alphas_[target] == one.alphas_[target]
        assert list(model.weights_[:, target]) == CANDIDATES[best]
    assert model.predict(X).shape == Y.shape


def test_one_space_is_ridge():
    X, Y, splits = data()
    banded, plain = BandedRidgeCV(cv=splits).fit(X, Y), RidgeCV(cv=splits).fit(X, Y)
    np.testing.assert_allclose(banded.coef_, plain.coef_, atol=1e-10)
    assert np.array_equal(banded.alphas_, plain.alphas_)
    np.testing.assert_allclose(BandedRidgeCV(cv=splits).fit(X, Y[:, 0]).coef_, plain.coef_[0], atol=1e-10)


def test_a_space_of_noise_gets_no_weight_and_predictions_improve():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((700, 210))
    Y = X[:, :10] @ rng.standard_normal((10, 30)) + 4 * rng.standard_normal((700, 30))
    groups = np.repeat(["good", "noise"], [10, 200])
    banded = BandedRidgeCV(groups, candidates="grid").fit(X[:400], Y[:400])
    assert banded.groups_ == ["good", "noise"]
    assert np.median(banded.weights_[0] / banded.weights_[1]) >= 10
    assert banded.score(X[400:], Y[400:]) > RidgeCV().fit(X[:400], Y[:400]).score(X[400:], Y[400:]) + 0.05


def test_planted_unique_and_shared_parts_are_found():
    """Two spaces that share a latent; shares of the variance known in closed form, within .02 as means over targets."""
    rng = np.random.default_rng(2)
    n, n_targets, k = 24_000, 40, 4
    shared, a, b = (rng.standard_normal((n, k)) for _ in range(3))
    X = np.concatenate([shared, a, shared, b], axis=1)
    parts = {"both": 0.2, "sound": 0.15, "words": 0.1}
    Y = np.sqrt(0.55) * rng.standard_normal((n, n_targets))
    for latent, share in zip((shared, a, b), parts.values(), strict=True):
        direction = rng.standard_normal((k, n_targets))
        Y += latent @ (direction * np.sqrt(share) / np.linalg.norm(direction, axis=0))
    model = BandedRidgeCV({"sound": slice(0, 8), "words": slice(8, 16)}, candidates=6, nested=True, scoring="r2")
    found = model.fit(X[: n // 2], Y[: n // 2]).partition(X[n // 2 :], Y[n // 2 :])
    assert found.full.mean() == pytest.approx(0.45, abs=0.02)
    assert found.shared.mean() == pytest.approx(0.2, abs=0.02)
    assert found.unique["sound"].mean() == pytest.approx(0.15, abs=0.02)
    assert found.unique["words"].mean() == pytest.approx(0.1, abs=0.02)
    assert found.only["sound"].mean() == pytest.approx(0.35, abs=0.02)
    assert found.only["words"].mean() == pytest.approx(0.3, abs=0.02)


def test_nested_models_are_ridge_without_the_space():
    X, Y, splits = data(n_test=60)
    groups = {"a": slice(0, 10), "b": slice(10, 20), "c": slice(20, 30)}
    model = BandedRidgeCV(groups, candidates=[[1.0, 1.0, 1.0]], nested=True, scoring="r2", cv=splits).fit(
        X[:240], Y[:240]
    )
    assert model.candidates_[0].tolist() == [1, 1, 1]
    found = model.partition(X[240:], Y[240:])
    alone = RidgeCV(cv=splits, scoring="r2", alphas=np.array(model.alphas) / np.sqrt(3)).fit(
        X[:240, :10], Y[:240]
    )  # weight 3
    np.testing.assert_allclose(found.only["a"], alone.score(X[240:, :10], Y[240:], per_target=True), atol=1e-10)
    np.testing.assert_allclose(found.full, found.shared + sum(found.unique.values()), atol=1e-12)
    with pytest.raises(ValueError, match="fit with nested=True"):
        clone(model).set_params(nested=False, scoring="correlation").fit(X[:240], Y[:240]).partition(X, Y)
    one = BandedRidgeCV(nested=True, scoring="r2", cv=splits).fit(X[:240], Y[:240]).partition(X[240:], Y[240:])
    np.testing.assert_array_equal(one.unique["features"], one.full)


def test_candidates_of_nested_models():
    subsets = [(0, 1, 2), (0,), (0, 2)]
    weights, models = nested_candidates(np.array([[1.0, 1.0, 1.0], [0.5, 2.5, 0.0]]), subsets)
    assert weights.tolist() == [[1, 1, 1], [0.5, 2.5, 0], [3, 0, 0], [1.5, 0, 1.5]]
    assert [model.tolist() for model in models] == [[0, 1, 2, 3], [2], [2, 3]]


def test_random_and_gridded_candidates():
    drawn = resolve_candidates(20, 3, 0)
    assert drawn.shape == (20, 3)
    assert drawn[0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(drawn.mean(axis=1), 1)
    assert not np.array_equal(drawn, resolve_candidates(20, 3, 1))
    grid = resolve_candidates("grid", 2, 0)
    np.testing.assert_allclose(grid[:, 0] / grid[:, 1], [0.01, 0.1, 1, 10, 100])
    names, member = resolve_bands(["b", "b", "a", "b"], 4)
    assert (names, member.tolist()) == (["b", "a"], [0, 0, 1, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": {"a": slice(0, 20)}}, "10 features are in none, the first is column 20"),
        ({"groups": {"a": slice(0, 30), "b": [3]}}, "'b' has a column that another one has"),
        ({"groups": {"a": slice(0, 30), "b": []}}, "'b' has no column"),
        ({"groups": ["a", "b"]}, "groups must have shape"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"candidates": "all"}, "candidates must be a number, 'grid'"),
        ({"candidates": [[1.0, 2.0, 3.0]]}, r"shape \(n_candidates, 2\)"),
        ({"candidates": [[0.0, 0.0]]}, "one space or more above 0"),
        ({"candidates": [[-1.0, 2.0]]}, "at least 0"),
        ({"cv": "gcv"}, "holds nothing out"),
        ({"alphas": [0.0]}, "alphas must be"),
        ({"scoring": "r"}, "scoring must be"),
        ({"nested": True}, "choose by it, with scoring='r2'"),
    ],
)
def test_bad_parameters_are_named(change, message):
    X, Y, _ = data()
    with pytest.raises(ValueError, match=message):
        BandedRidgeCV(**({"groups": GROUPS} | change)).fit(X, Y)


def test_targets_with_a_nan_are_left_out():
    X, Y, splits = data()
    clean = BandedRidgeCV(GROUPS, cv=splits, nested=True, scoring="r2").fit(X, Y)
    Y[3, 4] = np.nan
    with pytest.warns(UserWarning, match="1 of 14 targets hold a NaN"):
        model = BandedRidgeCV(GROUPS, cv=splits, nested=True, scoring="r2").fit(X, Y)
    others = np.delete(np.arange(14), 4)
    np.testing.assert_allclose(model.coef_[others], clean.coef_[others], atol=1e-10)
    assert np.isnan(model.coef_[4]).all()
    assert np.isnan(model.partition(X, Y).full[4])
    assert np.isnan(model.weights_[:, 4]).all()


@parametrize_with_checks([BandedRidgeCV(cv=2, candidates=2)])
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)
