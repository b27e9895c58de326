"""FIR shapes are recovered from weights that are a product of one response and one number per feature."""

from __future__ import annotations

import numpy as np

from brainwavlm_fast.stats.fir import fir_shape


def test_a_planted_shape_is_found_and_its_share() -> None:
    generator = np.random.default_rng(0)
    response = np.array([0.1, 0.9, 0.6, -0.2])
    weights = -response[:, None] * generator.standard_normal((50, 1, 30))
    shape, share = fir_shape(weights.astype(np.float32))
    np.testing.assert_allclose(shape, np.tile(response / np.linalg.norm(response), (50, 1)), atol=1e-6)
    np.testing.assert_allclose(share, 1, atol=1e-6)
    noise = generator.standard_normal((50, 4, 3000))
    assert fir_shape(noise)[1].max() < 0.3
    singular = np.linalg.svd(noise, compute_uv=False)
    np.testing.assert_allclose(fir_shape(noise)[1], singular[:, 0] ** 2 / (singular**2).sum(axis=1))


def test_voxels_without_weights_have_none() -> None:
    weights = np.ones((3, 2, 4))
    weights[1], weights[2, 0, 0] = 0, np.nan
    shape, share = fir_shape(weights)
    np.testing.assert_allclose(shape[0], np.sqrt(0.5))
    assert np.isnan(shape[1:]).all()
    assert np.isnan(share[1:]).all()
