"""Pooled effects: a published example, and intervals that hold the truth with few subjects."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.stats.pooled import pool, pool_known, within_subject_sem


def test_what_paule_and_mandel_ask_for_is_solved() -> None:
    y, se = np.array([0.10, 0.30, 0.35, 0.65, 0.45]), np.array([0.03, 0.05, 0.08, 0.10, 0.04])
    got = pool(y, se)
    w = 1 / (se**2 + got["tau"] ** 2)
    center = (w * y).sum() / w.sum()
    assert (w * (y - center) ** 2).sum() == pytest.approx(4)
    assert got["estimate"] == pytest.approx(center)
    error = np.sqrt((w * (y - center) ** 2).sum() / (4 * w.sum()))  # Hartung and Knapp
    assert got["interval"] == pytest.approx([center - 2.776445 * error, center + 2.776445 * error], rel=1e-6)
    fixed = 1 / se**2
    assert got["q"] == pytest.approx((fixed * (y - (fixed * y).sum() / fixed.sum()) ** 2).sum())
    assert 0.8 < got["i2"] < 1
    assert got["p"] < 1e-5


def test_equal_errors_give_the_plain_mean_with_students_interval() -> None:
    y = np.array([0.1, 0.2, 0.6, 0.5])
    got = pool(y, np.full(4, 1e-3))
    assert got["estimate"] == pytest.approx(y.mean())
    half = 3.182446 * y.std(ddof=1) / 2
    assert got["interval"] == pytest.approx([y.mean() - half, y.mean() + half], rel=1e-4)
    assert got["tau"] == pytest.approx(y.std(ddof=1), rel=1e-4)


def test_subjects_that_agree_too_well_are_not_pooled_to_less_than_their_errors() -> None:
    got = pool([0.2, 0.2, 0.2], [0.1, 0.1, 0.1])
    assert got["tau"] == got["i2"] == 0
    assert got["q"] == pytest.approx(0, abs=1e-12)
    half = 1.959964 * 0.1 / np.sqrt(3)
    assert got["interval"] == pytest.approx([0.2 - half, 0.2 + half], rel=1e-6)


@pytest.mark.parametrize("n", [3, 8])
@pytest.mark.parametrize("tau", [0.0, 1.0, 3.0])
def test_intervals_hold_the_truth(n: int, tau: float) -> None:
    rng = np.random.default_rng(2)
    held = []
    for _ in range(800):
        se = rng.uniform(0.5, 2.0, n)
        low, high = pool(0.3 + tau * rng.standard_normal(n) + se * rng.standard_normal(n), se)["interval"]
        held.append(low <= 0.3 <= high)
    assert 0.93 < np.mean(held) < (0.97 if tau > 1 else 0.99)  # with little heterogeneity it is a little careful


def test_differences_between_subjects_are_no_error() -> None:
    shared = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])
    np.testing.assert_allclose(within_subject_sem(shared), 0, atol=1e-15)
    # by hand: own means taken away, (-0.5, 0.5) and (-1, 1): deviations 0.25 from their mean, over sqrt(2 - 1)
    np.testing.assert_allclose(within_subject_sem([[1.0, 2.0], [4.0, 6.0]]), [0.25, 0.25])
    assert np.isnan(within_subject_sem([[1.0, 2.0]])).all()


def test_moreys_factor() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((500, 1)) * 10 + rng.standard_normal((500, 3))
    plain, corrected = within_subject_sem(scores), within_subject_sem(scores, morey=True)
    np.testing.assert_allclose(corrected, plain * np.sqrt(3 / 2))
    np.testing.assert_allclose(corrected, 1 / np.sqrt(500), rtol=0.1)  # each model's own error
    assert np.isnan(within_subject_sem(scores[:, :1])).all()


def test_what_cannot_be_pooled() -> None:
    with pytest.raises(ValueError, match="two subjects or more"):
        pool([0.1], [0.1])
    with pytest.raises(ValueError, match="finite and positive"):
        pool([0.1, 0.2], [0.1, 0.0])
    assert pool_known([0.1, None, 0.2], [0.1, 0.1, None]) is None
    known = pool_known([0.1, None, 0.2], [0.1, None, 0.2])
    assert known is not None
    assert known["n"] == 2
