"""Tails of sums with random signs: counted, drawn, and at their ends."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.stats import sign_flips
from brainwavlm_fast.stats.sign_flips import sign_flip_tail


def counted(terms):
    """The definition, one sum after another."""
    n, total = len(terms), terms.sum()
    sums = [sum(t if k >> i & 1 else -t for i, t in enumerate(terms)) for k in range(2**n)]
    return np.mean([value >= total - 1e-9 for value in sums])


@pytest.mark.parametrize("n", [2, 5, 9])
def test_few_terms_are_counted(n):
    terms = np.random.default_rng(n).standard_normal((n, 20))
    terms[:, 0] = 1  # ties
    terms[1:, 1] = 0
    np.testing.assert_allclose(sign_flip_tail(terms), [counted(column) for column in terms.T], atol=1e-12)


@pytest.mark.parametrize("spread", ["normal", "products", "peaked"])
def test_many_terms_agree_with_counting_all_signs(spread, monkeypatch):
    """17 terms, 131,072 sums."""
    rng = np.random.default_rng(1)
    size = {"normal": np.abs(rng.standard_normal((17, 200)))}
    size["products"] = size["normal"] * np.abs(rng.standard_normal((17, 200)))
    size["peaked"] = size["products"] / np.arange(1, 18)[:, None] ** 0.5
    terms = size[spread] * rng.choice([-1, 1, 1], (17, 200))
    approximated = sign_flip_tail(terms)
    monkeypatch.setattr(sign_flips, "COUNTED", 17)
    exact = sign_flip_tail(terms)
    error = np.abs(approximated / exact - 1)
    assert np.median(error) < 0.025
    assert error[exact >= 0.002].max() < 1 / 3
    assert np.abs(approximated - exact)[exact <= 0.1].max() < 0.02


def test_a_story_s_terms_agree_with_a_million_signs():
    rng = np.random.default_rng(2)
    terms = rng.standard_normal((290, 8)) * rng.standard_normal((290, 8)) / np.arange(1, 291)[:, None] ** 0.5
    terms += 0.3 * np.abs(terms) * np.linspace(0, 1, 8)
    total, above = terms.sum(axis=0), np.zeros(8)
    for _ in range(50):
        signs = rng.choice(np.array([-1, 1], np.float32), (20_000, 290))
        above += (signs @ terms.astype(np.float32) >= total).sum(axis=0)
    share = above / 1e6
    standard_error = np.sqrt(share * (1 - share) / 1e6)
    assert share.min() < 1e-3
    np.testing.assert_array_less(np.abs(sign_flip_tail(terms) - share), 4 * standard_error + 0.1 * share)


def test_ends_and_the_middle():
    ones = np.ones((200, 1))
    assert sign_flip_tail(ones)[0] == pytest.approx(2.0**-200)  # only these signs do as well
    assert sign_flip_tail(-ones)[0] == 1
    assert sign_flip_tail(0 * ones)[0] == 1
    balanced = np.concatenate([ones, -ones])
    assert sign_flip_tail(balanced)[0] == pytest.approx(0.5)
    shift = np.linspace(-1e-3, 1e-3, 41) * np.ones((400, 1))
    p = sign_flip_tail(balanced + shift)
    assert (np.diff(p) < 0).all()  # where the normal distribution takes over nothing jumps
    scaled = np.random.default_rng(0).standard_normal((50, 9))
    np.testing.assert_allclose(sign_flip_tail(1e-100 * scaled), sign_flip_tail(scaled), rtol=1e-9)
