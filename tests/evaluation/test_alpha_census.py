"""Alphas at the ends of the grid are counted over the voxels that are predicted, and over no others."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.evaluation.alpha_census import alpha_census
from brainwavlm_fast.evaluation.encoding import EncodingSettings, RidgeSettings, encode
from brainwavlm_fast.evaluation.epoch_selection import EpochSelection
from brainwavlm_fast.evaluation.run_statistics import significance_of
from brainwavlm_fast.progress import Progress
from tests.helpers.story_arrays import DELAYS, SPLIT, Arrays, planted

N_SIGNAL, N_NOISE = 12, 60


class Listener(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def brain() -> tuple[dict, Arrays]:
    """A few voxels that follow the features, one that cannot be used, and many of pure noise."""
    features, responses = planted(N_SIGNAL, noise=1.0)
    generator = np.random.default_rng(1)
    for story, values in responses.stories.items():
        noise = generator.standard_normal((len(values), N_NOISE))
        responses.stories[story] = np.hstack([values, noise, np.zeros((len(values), 1))])
    return features, responses


def test_noise_at_an_end_is_not_counted(brain: tuple[dict, Arrays]) -> None:
    features, responses = brain
    ridge, listener = RidgeSettings(alphas=(0.1, 1.0, 3.0, 10.0, 30.0), chunk_length=10), Listener()
    encoding = encode(features, responses, EncodingSettings(SPLIT, DELAYS, ridge), keep_predictions=True)
    at_largest = encoding.alphas[N_SIGNAL:-1] == max(ridge.alphas)
    assert at_largest.mean() > 1 / 3  # this alone gave a warning
    tests = significance_of(encoding, encoding, responses)
    selection = EpochSelection({0: encoding}, 0, "by hand", encoding)
    census = alpha_census(selection, ridge, tests, listener)
    for name in ("pretrained", "tuned"):
        assert N_SIGNAL <= census[name]["n_predicted"] <= N_SIGNAL + 5
        assert census[name]["largest"] <= 2
    assert listener.said == []


def test_predicted_voxels_at_an_end_are_said(brain: tuple[dict, Arrays]) -> None:
    features, responses = brain
    ridge, listener = RidgeSettings(alphas=(1e4, 2e4), chunk_length=10), Listener()
    encoding = encode(features, responses, EncodingSettings(SPLIT, DELAYS, ridge), keep_predictions=True)
    tests = significance_of(encoding, encoding, responses)
    alpha_census(EpochSelection({0: encoding}, 0, "by hand", encoding), ridge, tests, listener)
    assert len(listener.said) == 2
    assert "chose the smallest alpha, 10000; a wider grid" in listener.said[0]
    one = RidgeSettings(alphas=(1e4,), chunk_length=10)
    alpha_census(EpochSelection({0: encoding}, 0, "by hand", encoding), one, tests, listener)
    assert len(listener.said) == 2  # there was no choice
