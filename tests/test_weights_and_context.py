"""Voxels that count more, less or not at all in the loss; rows before the first one; half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainwavlm_fast import kernels, ops, reference

NAN = float("nan")


def pair(n_trs, n_voxels, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_trs, n_voxels))
    return (x + 2).astype(dtype), (0.5 * x + rng.standard_normal(x.shape)).astype(dtype)


def some_weights(n_voxels):
    weights = np.random.default_rng(1).gamma(1.0, size=n_voxels)
    weights[1::3] = 0
    return weights


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n_voxels", [1, 2, 31, 33, 129, 4097, 20_000])
def test_weighted_loss_is_its_definition(n_voxels, axis, dtype):
    x, y = pair(7, n_voxels, dtype)
    weights, eps = some_weights(n_voxels).astype(dtype), np.finfo(dtype).eps
    loss, gradient = kernels.correlation_loss_grad(x, y, axis=axis, weights=weights)
    assert loss == kernels.correlation_loss(x, y, axis=axis, weights=weights)
    assert abs(loss - reference.correlation_loss(x, y, axis=axis, weights=weights, eps=eps)) <= 30 * eps
    if n_voxels < 3 and axis == 1:  # one voxel counts: constant, no correlation
        assert loss == 0
        assert not gradient.any()
        return
    expected = reference.correlation_loss_backward(x, y, axis=axis, weights=weights, eps=eps)
    np.testing.assert_allclose(gradient, expected, atol=60 * eps * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mask_is_the_loss_of_the_voxels_it_keeps(axis):
    x, y = pair(9, 50)
    mask = np.random.default_rng(2).random(50) < 0.5
    x[:, ~mask], y[:, ~mask] = NAN, np.inf  # what does not count may be anything
    loss, gradient = kernels.correlation_loss_grad(x, y, axis=axis, weights=mask)
    alone, of_kept = kernels.correlation_loss_grad(x[:, mask], y[:, mask], axis=axis)
    assert loss == pytest.approx(alone, abs=1e-14)
    np.testing.assert_allclose(gradient[:, mask], of_kept, atol=1e-15)
    assert not gradient[:, ~mask].any()
    leaf = torch.from_numpy(x).requires_grad_()
    found = ops.correlation_loss(leaf, torch.from_numpy(y), axis=axis, weights=torch.from_numpy(mask))
    found.backward()
    assert found.item() == pytest.approx(alone, abs=1e-14)
    np.testing.assert_allclose(leaf.grad[:, mask], of_kept, atol=1e-15)
    assert not leaf.grad[:, ~mask].any()


@pytest.mark.parametrize("axis", [0, 1])
def test_no_voxel_counts(axis):
    x, y = pair(4, 6)
    loss, gradient = kernels.correlation_loss_grad(x, y, axis=axis, weights=np.zeros(6))
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("axis", [0, 1])
def test_weighted_gradients(axis):
    x, y = (torch.from_numpy(a) for a in pair(5, 9))
    weights = torch.from_numpy(some_weights(9))
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: ops.correlation_loss(a, y, axis=axis, weights=weights), (x,))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"weights: expected a mask or numbers \(3,\)"),
        (np.array(["a", "b", "c"]), "weights: expected a mask"),
        (np.array([1, -1, 1]), "weights: must be finite"),
        (np.array([1, NAN, 1]), "weights: must be finite"),
    ],
)
def test_bad_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        kernels.correlation_loss(np.zeros((4, 3)), np.zeros((4, 3)), axis=1, weights=weights)


def test_bad_torch_weights_are_named():
    with pytest.raises(ValueError, match=r"weights: expected \(3,\) on cpu"):
        ops.correlation_loss(torch.zeros(4, 3), torch.zeros(4, 3), axis=1, weights=torch.ones(4))


@pytest.mark.parametrize("zscore", [False, True])
@pytest.mark.parametrize("onsets", [None, [0, 6, 9]])
@pytest.mark.parametrize(("context", "n_trs"), [(0, None), (4, None), (4, 12), (4, 3), (0, 25), (6, 0)])
def test_history_is_seen_and_not_returned(context, n_trs, onsets, zscore):
    x = np.random.default_rng(0).standard_normal((15, 4))
    delays, wide = [1, 4, -2], reference.zscore(x, run_onsets=onsets) if zscore else x
    found = kernels.delay_stack(x, delays, run_onsets=onsets, context=context, n_trs=n_trs, zscore=zscore)
    expected = reference.delay_stack(wide, delays, run_onsets=onsets, context=context, n_trs=n_trs)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-12)
    leaf = torch.from_numpy(x).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a: ops.delay_stack(a, delays, run_onsets=onsets, context=context, n_trs=n_trs, zscore=zscore), (leaf,)
    )


def test_a_story_in_blocks_with_context_is_the_story_whole():
    x = np.random.default_rng(0).standard_normal((40, 3))
    whole = kernels.delay_stack(x, [1, 2, 3, 4])
    blocks = [kernels.delay_stack(x[max(0, t - 4) : t + 10], [1, 2, 3, 4], context=min(t, 4)) for t in range(0, 40, 10)]
    assert np.array_equal(np.concatenate(blocks), whole)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"context": -1}, ValueError, "context: expected 0 or more"),
        ({"context": 5, "run_onsets": [0, 3]}, ValueError, "context: expected 0 or more rows, all of the first run"),
        ({"context": 1.5}, TypeError, "context: expected whole"),
        ({"n_trs": -2}, ValueError, "n_trs: expected 0 or more"),
    ],
)
def test_bad_history_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        kernels.delay_stack(np.zeros((9, 2)), [1], **arguments)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("axis", [0, 1])
def test_half_precision_is_summed_in_single(axis, dtype):
    """A mean of 2 over 3000 voxels would be lost by sums in half precision."""
    x, y = (torch.from_numpy(a).to(dtype) for a in pair(40, 3000, np.float32))
    leaf = x.clone().requires_grad_()
    loss = ops.correlation_loss(leaf, y.float(), axis=axis)
    loss.backward()
    assert loss.dtype == torch.float32
    assert leaf.grad.dtype == dtype
    expected, gradient = kernels.correlation_loss_grad(x.float().numpy(), y.float().numpy(), axis=axis)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(leaf.grad.float(), gradient, rtol=2 * torch.finfo(dtype).eps, atol=1e-7)
    assert torch.equal(ops.delay_stack(x, [1, 2]), ops.delay_stack(x.float(), [1, 2]).to(dtype))


def test_a_step_after_the_first_rows_does_not_cancel():
    """Moments over time are taken around the mean of the first 32 rows; here that is far from the mean of all."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((400, 40)) * 1e-2 for _ in range(2))
    x[32:] += 1000
    y[40:] -= 300
    for dtype, bound in ((np.float32, 2e-6), (np.float64, 1e-14)):
        a, b = x.astype(dtype), y.astype(dtype)
        found = kernels.correlation(a, b, axis=0)
        np.testing.assert_allclose(found, reference.correlation(a, b, axis=0), atol=bound, rtol=0)
        z = kernels.delay_stack(a, [0], zscore=True)
        np.testing.assert_allclose(z, reference.zscore(a), atol=20 * bound, rtol=0)
