"""Nested models of stories: equality with ridge by hand, planted shares, voxels that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast import BandedRidgeCV, delay_stack
from brainwavlm_fast.data import StorySplit
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.evaluation.encoding import RidgeSettings, bootstrap_rows
from brainwavlm_fast.partition.fit import PartitionSettings, fit_nested, nested_subsets
from brainwavlm_fast.partition.shares import parts_of, summarise_parts, voxel_parts
from brainwavlm_fast.progress import Progress
from tests.helpers.story_arrays import Arrays

RIDGE = RidgeSettings(chunk_length=10)
MODEL, SOUND, WORDS = "speech model", "mel", "words"


def brain(n_trs: int, n_stories: int, n_voxels: int = 12, seed: int = 0) -> tuple[dict, Arrays, StorySplit]:
    """A model that knows the sound and half of the words; voxels of sound (first half) and of words.

    Of a sound voxel's variance .3 is sound; of a word voxel's .4 is words, half of which the model knows.
    """
    rng = np.random.default_rng(seed)
    names = [f"s{k}" for k in range(n_stories)]
    spaces: dict = {MODEL: {}, SOUND: {}, WORDS: {}}
    weights = {}
    for key in (SOUND, "known", "unknown"):
        weights[key] = rng.standard_normal((3, n_voxels))
        weights[key] /= np.linalg.norm(weights[key], axis=0)
    responses = {}
    for name in names:
        sound, known, unknown, own = (rng.standard_normal((n_trs + 4, 3)) for _ in range(4))
        spaces[MODEL][name] = np.concatenate([sound, known, own], axis=1)
        spaces[SOUND][name] = sound[4:]
        spaces[WORDS][name] = np.concatenate([known, unknown], axis=1)[4:]
        at = slice(3, 3 + n_trs)  # one TR before
        y = np.zeros((n_trs, n_voxels))
        half = n_voxels // 2
        y[:, :half] = np.sqrt(0.3) * (sound[at] @ weights[SOUND])[:, :half]
        words = known[at] @ weights["known"] + unknown[at] @ weights["unknown"]
        y[:, half:] = np.sqrt(0.2) * words[:, half:]
        spread = np.where(np.arange(n_voxels) < half, 0.7, 0.6)
        responses[name] = y + np.sqrt(spread) * rng.standard_normal(y.shape)
    return spaces, Arrays(responses), StorySplit(tuple(names[:-2]), (), tuple(names[-2:]))


def fitted(spaces, responses, split, **changes):
    settings = PartitionSettings(split, ridge=RIDGE, **{"candidates": 4, **changes})
    return fit_nested(spaces, responses, settings, memory_gb=1.0, progress=Progress())


def test_subsets_are_all_that_the_parts_need():
    assert nested_subsets(["m", "a", "b"]) == [
        ("m", "a", "b"), ("m",), ("a",), ("b",), ("m", "a"), ("m", "b"), ("a", "b"),
    ]  # fmt: skip
    assert nested_subsets(["m", "a"]) == [("m", "a"), ("m",), ("a",)]


def test_planted_shares_are_found_and_intervals_hold_them():
    spaces, responses, split = brain(1500, 8, n_voxels=40)
    scores = fitted(spaces, responses, split)
    names = list(spaces)
    sound_voxels, word_voxels = np.arange(40) < 20, np.arange(40) >= 20
    both = {"pretrained": scores, "tuned": scores}
    sound = summarise_parts(both, names, sound_voxels)
    words = summarise_parts(both, names, word_voxels)
    expected = {
        "full": (0.3, 0.4), f"unique {MODEL}": (0, 0), f"unique {SOUND}": (0, 0), f"unique {WORDS}": (0, 0.2),
        f"with {SOUND}": (0.3, 0), f"with {WORDS}": (0, 0.2), f"only {MODEL}": (0.3, 0.2), "shared": (0.3, 0.2),
        f"beyond {SOUND}": (0, 0.2), f"beyond {WORDS}": (0.3, 0),
    }  # fmt: skip
    for part, truths in expected.items():
        for numbers, truth in zip((sound, words), truths, strict=True):
            found = numbers["tuned"][part]
            assert found["value"] == pytest.approx(truth, abs=0.02), part
            assert found["interval"][0] - 0.01 <= truth <= found["interval"][1] + 0.01, part
            assert numbers["gain"][part]["value"] == 0
    assert scores.weights[1, :20].mean() > scores.weights[2, :20].mean()  # sound, in voxels of sound


def test_equals_banded_ridge_by_hand():
    spaces, responses, split = brain(90, 5)
    scores = fitted(spaces, responses, split)

    def stacked(stories):
        z = {name: [(v[s] - v[s].mean(axis=0)) / v[s].std(axis=0) for s in stories] for name, v in spaces.items()}
        padded = {
            n: rows if n == MODEL else [np.r_[np.zeros((4, r.shape[1])), r] for r in rows] for n, rows in z.items()
        }
        joined = [
            np.concatenate([padded[n][k] for n in spaces], axis=1).astype(np.float32) for k in range(len(stories))
        ]
        return [delay_stack(rows, (1, 2, 3, 4), context=4) for rows in joined]

    def zscored(story):
        y = responses.stories[story]
        return (y - y.mean(axis=0)) / y.std(axis=0)

    groups = np.tile(np.repeat(list(spaces), [9, 3, 6]), 4)
    splits = bootstrap_rows(RIDGE, [90] * len(split.train))
    model = BandedRidgeCV(groups, candidates=4, nested=True, scoring="r2", cv=splits)
    X = np.concatenate(stacked(split.train))
    model.fit(X, np.concatenate([zscored(story) for story in split.train]).astype(np.float32))
    test = split.test[0]
    by_hand = model.partition(stacked([test])[0], zscored(test))
    pairs = scores.r2[tuple(spaces)][test]
    full = np.abs(by_hand.full - pairs)
    assert np.median(full) < 1e-4  # candidates of pairs are tried here, too
    np.testing.assert_allclose(by_hand.only[SOUND], scores.r2[(SOUND,)][test], atol=1e-4)


def test_parts_add_up():
    spaces, responses, split = brain(60, 4)
    parts = voxel_parts(fitted(spaces, responses, split), list(spaces))
    for other in (SOUND, WORDS):
        np.testing.assert_allclose(
            parts[f"with {other}"] + parts[f"beyond {other}"], parts[f"only {MODEL}"], atol=1e-12
        )
    unique = sum(parts[f"unique {name}"] for name in spaces)
    np.testing.assert_allclose(unique + parts["shared"], parts["full"], atol=1e-12)
    assert set(parts) == set(parts_of(dict.fromkeys(nested_subsets(list(spaces)), 0.0), list(spaces)))


def test_unusable_voxels_are_nan_and_chunks_change_nothing():
    spaces, responses, split = brain(60, 4)
    responses.stories["s1"][5, 3] = np.nan
    responses.stories["s3"][:, 7] = 2.0
    whole = fitted(spaces, responses, split)
    settings = PartitionSettings(split, ridge=RIDGE, candidates=4)
    small = fit_nested(spaces, responses, settings, memory_gb=1e-5, progress=Progress())
    for subset, stories in whole.r2.items():
        for story, r2 in stories.items():
            assert np.isnan(r2[[3, 7]]).all()
            assert np.isnan(whole.left_out[subset][story][:, [3, 7]]).all()
            np.testing.assert_allclose(r2, small.r2[subset][story], atol=1e-5)
    assert summarise_parts({"pretrained": whole, "tuned": whole}, list(spaces), np.arange(12) == 3) is None


def test_what_disagrees_is_refused():
    spaces, responses, split = brain(60, 4)
    short = spaces | {SOUND: {story: rows[1:] for story, rows in spaces[SOUND].items()}}
    with pytest.raises(DataError, match="mel: story 's0' has 59 rows, but 60 responses"):
        fitted(short, responses, split)
    for values in responses.stories.values():
        values[0] = np.nan
    with pytest.raises(DataError, match="every voxel holds NaN"):
        fitted(spaces, responses, split)
