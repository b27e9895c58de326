"""Significance of a run's scores: within voxel sets, and where the test says that it does not hold."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.evaluation.run_statistics import significance_of, summarise_significance
from brainwavlm_fast.progress import Progress
from brainwavlm_fast.results.folders import significance_cells, significance_words
from brainwavlm_fast.stats.significance import correlation_test


class Listener(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


class Encoded:
    """Predictions of two test stories, as an encoding holds them."""

    test = ("one", "two")

    def __init__(self, predictions: dict) -> None:
        self.predictions = predictions


class Measured:
    n_voxels = 600

    def __init__(self, stories: dict) -> None:
        self.stories = stories

    def read(self, story: str, voxels: slice) -> np.ndarray:
        return self.stories[story][:, voxels]


def story(rng: np.random.Generator, n_trs: int = 120) -> np.ndarray:
    return rng.standard_normal((n_trs, Measured.n_voxels)).astype(np.float32)


@pytest.mark.parametrize(("block", "said"), [(None, 1), (20, 0)])
def test_variance_that_changes_together_is_said(block, said):
    rng = np.random.default_rng(0)
    size = np.where(np.arange(120) < 24, 4.0, 1.0)[:, None]
    steady = {name: story(rng) for name in Encoded.test}
    wild = {name: size * story(rng) for name in Encoded.test}
    predictions = [Encoded({name: size * story(rng) for name in Encoded.test}) for _ in range(2)]
    for responses, expected in ((steady, 0), (wild, said)):
        listener = Listener()
        significance_of(*predictions, Measured(responses), block=block, progress=listener)
        assert len(listener.said) == expected
        assert all("--block 20" in sentence for sentence in listener.said)


def test_stories_are_transformed_one_by_one_and_sets_are_corrected_by_themselves():
    rng = np.random.default_rng(1)
    measured = {name: story(rng) for name in Encoded.test}
    before = {name: story(rng) for name in Encoded.test}
    after = {name: story(rng) for name in Encoded.test}
    for name in Encoded.test:
        after[name][:, :40] += 0.3 * measured[name][:, :40]
    tests = significance_of(Encoded(before), Encoded(after), Measured(measured))
    joined = [
        np.concatenate([(v - v.mean(axis=0)) / v.std(axis=0) for v in part.values()]) for part in (measured, after)
    ]
    alone = correlation_test(*joined, run_onsets=[0, 120])
    np.testing.assert_allclose(tests["tuned"].p, alone.p, rtol=1e-3)
    everywhere = np.ones(600, dtype=bool)
    summary = {"significance": summarise_significance(tests, {"all": everywhere, "ac": np.arange(600) < 40})}
    ac, cortex = summary["significance"]["ac"], summary["significance"]["all"]
    assert ac["within"]["tuned"] > ac["tuned"] > 0
    assert cortex["within"]["tuned"] == cortex["tuned"] >= ac["tuned"]
    assert significance_cells(summary, "ac")[1] == f"{ac['within']['tuned']} ({ac['tuned']})"
    assert significance_cells(summary, "all")[1] == str(cortex["tuned"])
    assert significance_words(summary) == ""


def test_what_could_not_have_been_found_is_said():
    rng = np.random.default_rng(2)
    parts = [{name: story(rng, 30) for name in Encoded.test} for _ in range(3)]
    tests = significance_of(Encoded(parts[0]), Encoded(parts[1]), Measured(parts[2]), block=30)
    summary = {"significance": summarise_significance(tests, {"all": np.ones(600, dtype=bool)})}
    assert significance_cells(summary, "all") == ["-"] * 4
    words = significance_words(summary)
    assert "Whether voxels are above chance cannot be told from so short a test story" in words
    assert "0.25" in words
    assert "0.5" in words
