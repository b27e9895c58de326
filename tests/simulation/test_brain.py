"""The planted cortex: ceilings, hemodynamics and noise are what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from brainwavlm_fast.simulation.brain import (
    AUTOCORRELATION,
    DELAYS,
    ceiling_quantiles,
    hemodynamics,
    make_anatomy,
    make_cortex,
)


def test_ceilings_have_the_real_quantiles():
    ceilings = ceiling_quantiles(20_000, np.random.default_rng(0))
    quantiles = np.quantile(ceilings, [0.10, 0.25, 0.50, 0.75, 0.90, 0.95])
    np.testing.assert_allclose(quantiles, [0, 0.20, 0.38, 0.55, 0.70, 0.76], atol=1e-3)
    assert (ceilings == 0).mean() == pytest.approx(0.15, abs=1e-3)


def test_responses_rise_and_fall():
    weights = hemodynamics(np.array([4.0, 4.5, 6.0]))
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights > 0).all()
    assert [DELAYS[k] * 2 for k in weights.argmax(axis=1)] == [4, 4, 6]


def test_anatomy_has_mirrored_halves_and_an_auditory_patch_in_each():
    anatomy = make_anatomy(800, 200)
    assert anatomy.n_voxels == anatomy.thick.sum() == 800
    assert anatomy.lh.sum() == anatomy.rh.sum() == 400
    assert (anatomy.ac & anatomy.lh).sum() == (anatomy.ac & anatomy.rh).sum() == 100
    np.testing.assert_array_equal(anatomy.thick, anatomy.thick[..., ::-1])
    np.testing.assert_array_equal(anatomy.volume(anatomy.ac)[anatomy.thick], anatomy.ac)


@pytest.fixture(scope="module")
def cortex():
    return make_cortex(make_anatomy(400, 100), 12, 24, np.random.default_rng(1))


@pytest.fixture(scope="module")
def signals(cortex):
    rng = np.random.default_rng(2)
    latents = {"a": rng.standard_normal((3004, 12)), "b": rng.standard_normal((504, 12))}
    mel = {"a": rng.standard_normal((3004, 24)), "b": rng.standard_normal((504, 24))}
    return cortex.signals(latents, mel, ["a"]), latents, mel


def test_signals_use_their_history_and_only_their_own_source(cortex, signals):
    made, latents, mel = signals
    assert {story: signal.shape for story, signal in made.items()} == {"a": (3000, 400), "b": (500, 400)}
    np.testing.assert_allclose(made["a"].std(axis=0), 1)
    other = {story: value[:, ::-1] for story, value in mel.items()}
    changed = cortex.signals(latents, other, ["a"])
    same = np.isclose(changed["b"], made["b"]).all(axis=0)
    np.testing.assert_array_equal(same, ~cortex.anatomy.ac)


def test_a_measurement_reaches_its_ceiling_and_no_more(cortex, signals):
    made, *_ = signals
    measured = cortex.measure(made["a"], np.random.default_rng(3))
    r = (measured * made["a"]).mean(axis=0)
    np.testing.assert_allclose(r, cortex.ceilings, atol=0.12)
    assert abs((r - cortex.ceilings).mean()) < 0.01


def test_noise_is_autocorrelated_and_the_right_is_noisier(cortex, signals):
    made, *_ = signals
    rng = np.random.default_rng(4)
    noise = cortex.measure(np.zeros_like(made["a"]), rng)
    lag = (noise[1:] * noise[:-1]).mean(axis=0)
    for side in ("lh", "rh"):
        assert lag[getattr(cortex.anatomy, side)].mean() == pytest.approx(AUTOCORRELATION[side], abs=0.02)
    outside = ~cortex.anatomy.ac
    left, right = (cortex.ceilings[outside & getattr(cortex.anatomy, side)].mean() for side in ("lh", "rh"))
    assert right < left


def test_the_mean_of_ten_repeats_reaches_the_ceiling_and_one_does_not(cortex, signals):
    made, *_ = signals
    repeats = cortex.measure_repeats(made["b"], np.random.default_rng(5))
    assert repeats.shape == (10, 500, 400)
    mean = repeats.mean(axis=0)
    r = [np.corrcoef(mean[:, v], made["b"][:, v])[0, 1] for v in range(400)]
    assert abs(np.mean(r) - cortex.ceilings.mean()) < 0.03
    single = [np.corrcoef(repeats[0, :, v], made["b"][:, v])[0, 1] for v in range(400)]
    assert np.mean(single) < 0.6 * np.mean(r)
