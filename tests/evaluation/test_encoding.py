"""The encoding model: equality with a plain transcription, planted truth, traps 8 and 10, leaks, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import r2_score

from brainwavlm_fast.data import StorySplit
from brainwavlm_fast.errors import ConfigError, DataError
from brainwavlm_fast.evaluation.encoding import EncodingSettings, RidgeSettings, encode
from brainwavlm_fast.evaluation.story_ridge import standardize_story
from brainwavlm_fast.ridge.alphas import FIELD_ALPHAS
from brainwavlm_fast.ridge.designs import DelayedDesign
from tests.helpers.field_ridge import bootstrap_ridge, zscored
from tests.helpers.story_arrays import DELAYS, LENGTHS, SPLIT, Arrays, plain_design, planted

RIDGE = RidgeSettings(chunk_length=20, gap=2, seed=5)
SETTINGS = EncodingSettings(SPLIT, DELAYS, RIDGE)
DEFAULTS = EncodingSettings(SPLIT)


def test_equals_a_plain_transcription() -> None:
    features, responses = planted()
    result = encode(features, responses, SETTINGS)
    X = np.concatenate([plain_design(features[s], LENGTHS[s]) for s in SPLIT.train])
    Y = np.concatenate([zscored(responses.stories[s]) for s in SPLIT.train])
    runs = np.repeat(np.arange(4), [LENGTHS[s] for s in SPLIT.train])
    splits = list(RIDGE.splitter().split(X, groups=runs))
    scores, best, weights = bootstrap_ridge(X, Y, np.array(FIELD_ALPHAS), splits)
    assert np.array_equal(result.alphas, best)
    np.testing.assert_allclose(result.cv_scores, scores.max(axis=0), rtol=0, atol=1e-8)
    for story, got in (("t", result.test["t"]), ("v", result.validation["v"])):
        predicted = plain_design(features[story], LENGTHS[story]) @ weights
        expected = (zscored(predicted) * zscored(responses.stories[story])).mean(axis=0)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8)
    assert not result.excluded.any()


def test_planted_weights_are_found_and_noise_is_not() -> None:
    features, responses = planted(noise=1.0)
    signal = encode(features, responses, SETTINGS).mean_test.mean()
    assert 0.55 < signal < 0.72  # the truth explains half of the variance: r = 0.71 at best
    noise = planted(200, seed=9)[1]
    assert abs(encode(features, noise, SETTINGS).mean_test.mean()) < 0.03


def test_shifting_the_held_out_responses_loses_the_score() -> None:
    features, responses = planted(100)
    responses.stories["t"] = np.roll(responses.stories["t"], 20, axis=0)
    assert abs(encode(features, responses, SETTINGS).mean_test.mean()) < 0.05


def test_trap_8_delays_see_true_history_and_no_other_story() -> None:
    features, responses = planted()
    normal = standardize_story(features["a"], 4)
    design = DelayedDesign(normal, DELAYS, context=4).rows(np.arange(130))
    np.testing.assert_allclose(design, plain_design(features["a"], 130), atol=1e-12)
    first = design[0].reshape(4, 6)
    z = zscored(features["a"])
    np.testing.assert_allclose(first, z[[3, 2, 1, 0]], atol=1e-9)  # delay 1 is the last row of context
    before = encode(features, responses, SETTINGS)
    ordered = StorySplit(("d", "c", "b", "a"), ("v",), ("t",))
    given = encode(features, responses, EncodingSettings(ordered), alphas=before.alphas)
    np.testing.assert_allclose(given.mean_test, before.mean_test, rtol=0, atol=1e-10)


def test_trap_10_unusable_voxels_are_excluded_and_do_not_spread() -> None:
    features, responses = planted()
    clean = encode(features, responses, SETTINGS)
    responses.stories["b"][7, 3] = np.nan
    responses.stories["t"][0, 8] = np.inf
    responses.stories["v"][:, 12] = 0.1
    dirty = encode(features, responses, SETTINGS)
    bad = [3, 8, 12]
    assert np.array_equal(np.flatnonzero(dirty.excluded), bad)
    for name in ("alphas", "cv_scores", "mean_test", "mean_validation"):
        values = getattr(dirty, name)
        assert np.isnan(values[bad]).all()
        np.testing.assert_allclose(np.delete(values, bad), np.delete(getattr(clean, name), bad), rtol=0, atol=1e-12)
    again = encode(features, responses, DEFAULTS, alphas=dirty.alphas)
    assert np.array_equal(again.excluded, dirty.excluded)


def test_identical_features_give_identical_results() -> None:
    features, responses = planted(dtype=np.float32)
    first = encode(features, responses, SETTINGS)
    again = encode({k: v.copy() for k, v in features.items()}, responses, SETTINGS)
    reused = encode(features, responses, SETTINGS, alphas=first.alphas)
    for other in (again, reused):
        assert np.array_equal(other.test["t"], first.test["t"])
        assert np.array_equal(other.validation["v"], first.validation["v"])
    assert reused.cv_scores is None


def test_reading_voxels_in_stretches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, responses = planted()
    whole = encode(features, responses, SETTINGS)
    stretches = []
    read = responses.read
    monkeypatch.setattr(responses, "read", lambda story, voxels: stretches.append(voxels) or read(story, voxels))
    monkeypatch.setattr("brainwavlm_fast.ridge.spectral.SpectralSolver.tile_width", lambda solver: 4)
    tiled = encode(features, responses, SETTINGS, memory_gb=8 * 661 * 9 / 2**30)
    # whole tiles, so that processes that share the voxels have the same ones
    assert {(s.start, s.stop) for s in stretches} == {(0, 8), (8, 16), (16, 24), (24, 30)}
    np.testing.assert_allclose(tiled.mean_test, whole.mean_test, rtol=0, atol=1e-12)
    assert np.array_equal(tiled.alphas, whole.alphas)


def test_float32_agrees_with_float64() -> None:
    features, responses = planted()
    exact = encode(features, responses, SETTINGS)
    single = {k: v.astype(np.float32) for k, v in features.items()}
    got = encode(single, responses, DEFAULTS, alphas=exact.alphas)
    assert np.abs(got.mean_test - exact.mean_test).max() < 2e-6


def test_several_stories_average_story_by_story() -> None:
    features, responses = planted()
    result = encode(
        features, responses, EncodingSettings(StorySplit(("a", "b", "c"), (), ("t", "v", "d")), ridge=RIDGE)
    )
    np.testing.assert_allclose(result.mean_test, (result.test["t"] + result.test["v"] + result.test["d"]) / 3)
    assert result.mean_validation is None


def field_scores(features: dict, responses: Arrays, *, use_corr: bool) -> tuple:
    X = np.concatenate([plain_design(features[s], LENGTHS[s]) for s in SPLIT.train])
    Y = np.concatenate([zscored(responses.stories[s]) for s in SPLIT.train])
    runs = np.repeat(np.arange(4), [LENGTHS[s] for s in SPLIT.train])
    splits = list(RIDGE.splitter().split(X, groups=runs))
    return X, Y, bootstrap_ridge(X, Y, np.array(FIELD_ALPHAS), splits, use_corr=use_corr)[0]


def test_r2_chooses_alphas_and_scores_stories() -> None:
    features, responses = planted(noise=0.5)
    got = encode(features, responses, replace(SETTINGS, scoring="r2"), keep_predictions=True)
    _, _, scores = field_scores(features, responses, use_corr=False)
    assert np.array_equal(got.alphas, np.array(FIELD_ALPHAS)[np.argmax(scores, axis=0)])
    np.testing.assert_allclose(got.cv_scores, scores.max(axis=0), rtol=0, atol=1e-8)
    assert got.predictions is not None
    expected = r2_score(zscored(responses.stories["t"]), got.predictions["t"], multioutput="raw_values")
    np.testing.assert_allclose(got.test["t"], expected, rtol=0, atol=1e-10)
    with pytest.raises(ConfigError, match="'correlation' or 'r2'"):
        encode(features, responses, replace(SETTINGS, scoring="mse"))  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [4, 1000])
def test_voxels_of_a_group_share_the_alpha_that_is_best_for_their_mean(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, responses = planted()
    responses.stories["b"][7, 3] = np.nan
    groups = np.where(np.arange(30) % 3 == 0, "ac", "rest")
    monkeypatch.setattr("brainwavlm_fast.ridge.spectral.SpectralSolver.tile_width", lambda solver: width)
    got = encode(features, responses, replace(SETTINGS, target_groups=groups), memory_gb=8 * 661 * 9 / 2**30)
    _, _, scores = field_scores(features, responses, use_corr=True)
    assert np.array_equal(np.flatnonzero(got.excluded), [3])
    for name in ("ac", "rest"):
        members = (groups == name) & ~got.excluded
        best = int(np.argmax(scores[:, members].mean(axis=1)))
        assert (got.alphas[members] == FIELD_ALPHAS[best]).all()
        np.testing.assert_allclose(got.cv_scores[members], scores[best, members], rtol=0, atol=1e-8)
    given = encode(features, responses, SETTINGS, alphas=got.alphas)
    assert np.array_equal(given.mean_test, got.mean_test, equal_nan=True)
    with pytest.raises(ValueError, match="target_groups must have shape"):
        encode(features, responses, replace(SETTINGS, target_groups=["ac"]))


def test_a_story_in_two_parts_of_the_split_is_refused() -> None:
    features, responses = planted()
    with pytest.raises(ConfigError, match="story t is in two parts"):
        encode(features, responses, EncodingSettings(StorySplit(("a", "t"), (), ("t",))))


def test_bad_features_and_responses_name_the_story() -> None:
    features, responses = planted()
    with pytest.raises(DataError, match="no features of story c, v"):
        encode({k: v for k, v in features.items() if k not in "cv"}, responses, DEFAULTS)
    with pytest.raises(DataError, match=r"story 'b' have shape \(3, 6\)"):
        encode({**features, "b": features["b"][:3]}, responses, DEFAULTS)
    with pytest.raises(DataError, match="'b': features give 89 TRs, but its responses have 90"):
        encode({**features, "b": features["b"][1:]}, responses, SETTINGS)
    with pytest.raises(DataError, match="'b' hold NaN"):
        encode({**features, "b": features["b"] * np.nan}, responses, DEFAULTS)
    responses.stories["a"][:] = np.nan
    with pytest.raises(DataError, match="every one of the 30 voxels"):
        encode(features, responses, SETTINGS)
