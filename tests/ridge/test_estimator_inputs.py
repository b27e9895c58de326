"""RidgeCV among scikit-learn's tools: runs that are sliced, weights, routing; and one sentence for each bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainwavlm_fast.ridge.estimator import RidgeCV
from brainwavlm_fast.ridge.row_splits import ChunkBootstrap

LABELS = np.repeat(["story b", "story a", "story d", "story c"], [90, 60, 80, 70])
ONSETS = [0, 90, 150, 230]
DELAYS = (1, 2)
MODEL = RidgeCV(cv=ChunkBootstrap(chunk_length=10), delays=DELAYS)


def smooth(n: int = 300, p: int = 6, t: int = 5, *, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Features, and targets that follow them one row later, with noise."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n, p))
    Y = np.roll(X, 1, axis=0) @ generator.standard_normal((p, t)) + 2 * generator.standard_normal((n, t))
    return X, Y


def test_labels_of_rows_are_the_onsets_they_stand_for() -> None:
    X, Y = smooth()
    by_onsets, by_labels = RidgeCV(delays=DELAYS, cv="runs"), RidgeCV(delays=DELAYS, cv="runs")
    by_onsets.fit(X, Y, run_onsets=ONSETS)
    by_labels.fit(X, Y, runs=LABELS)
    assert np.array_equal(by_labels.coef_, by_onsets.coef_)
    assert np.array_equal(by_labels.predict(X, runs=LABELS), by_onsets.predict(X, run_onsets=ONSETS))
    assert by_labels.score(X, Y, runs=LABELS) == by_onsets.score(X, Y, run_onsets=ONSETS)
    assert not np.array_equal(by_labels.predict(X), by_labels.predict(X, runs=LABELS))
    with pytest.raises(ValueError, match="give one of them"):
        MODEL.fit(X, Y, run_onsets=ONSETS, runs=LABELS)
    with pytest.raises(ValueError, match="runs: each run must be one contiguous stretch"):
        MODEL.fit(X, Y, runs=np.arange(300) % 2)


def by_hand(X: NDArray, Y: NDArray) -> list[float]:
    scores = []
    for train, held in GroupKFold(4).split(X, Y, LABELS):
        model = RidgeCV(**MODEL.get_params()).fit(X[train], Y[train], runs=LABELS[train])
        scores.append(model.score(X[held], Y[held], runs=LABELS[held]))
    return scores


def test_cross_validation_slices_the_runs() -> None:
    X, Y = smooth()
    with config_context(enable_metadata_routing=True):
        routed = RidgeCV(**MODEL.get_params()).set_fit_request(runs=True).set_score_request(runs=True)
        found = cross_validate(routed, X, Y, cv=GroupKFold(4), params={"runs": LABELS, "groups": LABELS})
    np.testing.assert_allclose(found["test_score"], by_hand(X, Y), rtol=0, atol=1e-12)
    # without routing fit's parameters alone are sliced; each held-out fold here is one run
    plain = cross_validate(MODEL, X, Y, cv=GroupKFold(4), groups=LABELS, params={"runs": LABELS})
    np.testing.assert_allclose(plain["test_score"], by_hand(X, Y), rtol=0, atol=1e-12)


def test_runs_reach_the_last_step_of_a_pipeline() -> None:
    X, Y = smooth()
    pipeline = make_pipeline(StandardScaler(), RidgeCV(**MODEL.get_params()))
    pipeline.fit(X, Y, ridgecv__runs=LABELS)
    alone = RidgeCV(**MODEL.get_params()).fit(StandardScaler().fit_transform(X), Y, runs=LABELS)
    assert np.array_equal(pipeline[-1].coef_, alone.coef_)


@pytest.mark.parametrize("scoring", ["correlation", "r2"])
def test_weights_of_rows_count_in_the_score(scoring: Any) -> None:
    X, Y = smooth()
    Y[:, 2] = 1.5
    with pytest.warns(UserWarning, match="1 of 5 targets score the same"):
        model = RidgeCV(scoring=scoring, fit_intercept=True).fit(X, Y)
    weights = np.random.default_rng(1).integers(0, 4, 300)
    got = model.score(X, Y, sample_weight=weights, per_target=True)
    repeated = np.repeat(np.arange(300), weights)
    expected = model.score(X[repeated], Y[repeated], per_target=True)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)
    assert got[2] == 0
    if scoring == "r2":
        oracle = r2_score(Y, model.predict(X), sample_weight=weights, multioutput="raw_values")
        np.testing.assert_allclose(np.delete(got, 2), np.delete(oracle, 2), rtol=0, atol=1e-12)
    equal = model.score(X, Y, sample_weight=np.full(300, 0.3), per_target=True)
    np.testing.assert_allclose(equal, model.score(X, Y, per_target=True), rtol=0, atol=1e-12)
    for bad, message in ((weights[:-1], "one per row"), (weights - 1, "at least 0"), (0 * weights, "not 0 in every")):
        with pytest.raises(ValueError, match=message):
            model.score(X, Y, sample_weight=bad)


def test_weights_of_rows_are_routed() -> None:
    X, Y = smooth()
    weights = np.random.default_rng(1).uniform(0, 1, 300)
    with config_context(enable_metadata_routing=True):
        model = RidgeCV(cv=3, delays=None).set_score_request(sample_weight=True)
        found = cross_validate(model, X, Y, cv=3, params={"sample_weight": weights})["test_score"]
    fitted = RidgeCV(cv=3).fit(X[100:], Y[100:])
    assert found[0] == pytest.approx(fitted.score(X[:100], Y[:100], sample_weight=weights[:100]), abs=1e-12)
    assert found[0] != pytest.approx(fitted.score(X[:100], Y[:100]), abs=1e-4)


def fitted_with(**changed: Any) -> Any:
    """Fit with changed parameters or arguments."""
    X, Y = smooth(60)
    arguments = {"X": X, "y": Y} | {key: value for key, value in changed.items() if key in ARGUMENTS}
    return RidgeCV(**{key: value for key, value in changed.items() if key not in ARGUMENTS}).fit(**arguments)


ARGUMENTS = {"X", "y", "runs", "run_onsets", "target_groups"}
BFLOAT = torch.zeros((60, 3), dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": BFLOAT}, r"X is torch.bfloat16, of too few digits for ridge; give X.float\(\)"),
        ({"y": BFLOAT}, r"y is torch.bfloat16.*give y.float\(\)"),
        ({"n_targets_batch": 0}, "n_targets_batch must be a whole number of at least 1, or None, got 0"),
        ({"n_targets_batch": -3}, "at least 1, or None, got -3"),
        ({"n_targets_batch": 2.5}, "at least 1, or None, got 2.5"),
        ({"target_groups": ["ac", None, "ac", "rest", None]}, "target_groups: 2 of 5 labels are None or NaN.*target 1"),
        ({"target_groups": [0, np.nan, 1, 1, 1]}, "target_groups: 1 of 5 labels are None or NaN.*target 1"),
        (
            {"target_groups": np.array(["ac", 1, "ac", 2, 3], dtype=object)},
            "target_groups: labels must be of one kind.*got int, str",
        ),
        ({"runs": [None] * 60}, "runs: 60 of 60 labels are None or NaN, the first of row 0"),
        ({"runs": [0] * 59}, r"runs must have shape \(60,\), one label per row, got \(59,\)"),
        ({"y": np.empty((60, 0))}, r"y has no target: its shape is \(60, 0\)"),
        ({"device": "gpu0"}, "device must be 'cpu', 'cuda' or such as 'cuda:1', got 'gpu0'"),
        ({"device": "mps"}, "device must be 'cpu', 'cuda'"),
        ({"device": "cuda:99"}, "device 'cuda:99': torch finds . CUDA GPU"),
        ({"X": np.full((60, 2), 1e200)}, r"X reaches 1e\+200, beyond the 4.2e\+76 whose products float64 holds"),
        ({"X": np.full((60, 2), -1e200)}, r"X reaches 1e\+200"),
        ({"y": np.r_[np.full(59, np.nan), -1e200][:, None] * [1, 0]}, r"y reaches 1e\+200"),
        (
            {"X": np.full((60, 2), 1e20, np.float32), "y": np.zeros((60, 1), np.float32)},
            r"X reaches 1e\+20, beyond the 2.4e\+18 whose products float32 holds",
        ),
        ({"delays": [1, 60]}, r"delays reach 60 rows, but run 0 \(from row 0\) has 60.*nothing to fit"),
    ],
)
def test_bad_input_has_a_sentence_of_its_own(changed: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        fitted_with(**changed)


def test_large_but_possible_numbers_are_fitted() -> None:
    X, Y = smooth(60)
    expected = Ridge(1.0, fit_intercept=False).fit(X, Y)
    got = RidgeCV([1e60], penalty="alpha_squared").fit(X * 1e60, Y)
    np.testing.assert_allclose(got.coef_ * 1e60, expected.coef_, rtol=1e-8)


def test_delays_that_are_longer_than_one_of_the_runs_are_said() -> None:
    X, Y = smooth(60)
    with pytest.warns(UserWarning, match=r"delays reach 4 rows, but run 1 \(from row 30\) has 3 and 1 of 3"):
        RidgeCV(delays=[-4]).fit(X, Y, run_onsets=[0, 30, 33])


def test_predictions_of_too_short_a_run_are_refused() -> None:
    X, Y = smooth()
    model = RidgeCV(delays=DELAYS).fit(X, Y)
    with pytest.raises(ValueError, match="delays reach 2 rows, but run 0"):
        model.predict(X[:2])
    assert model.predict(X[:3]).shape == (3, 5)
