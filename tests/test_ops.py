"""The torch face: gradients, opcheck, compile, and the same numbers as the NumPy face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainwavlm_fast import kernels, ops, reference


def pair(n_trs=9, n_voxels=13, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(n_trs, n_voxels, generator=generator, dtype=dtype),
        torch.randn(n_trs, n_voxels, generator=generator, dtype=dtype),
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients(axis):
    x, y = (t.requires_grad_() for t in pair())
    assert torch.autograd.gradcheck(lambda a, b: ops.correlation(a, b, axis=axis), (x, y))
    assert torch.autograd.gradcheck(lambda a: ops.correlation_loss(a, y.detach(), axis=axis), (x,))


@pytest.mark.parametrize("onsets", [None, [0, 4]])
def test_delay_gradients(onsets):
    x, _ = pair()
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: ops.delay_stack(a, [1, 2, -1], run_onsets=onsets), (x,))
    g = torch.randn(9, 39, dtype=torch.float64)
    ops.delay_stack(x, [1, 2, -1], run_onsets=onsets).backward(g)
    np.testing.assert_allclose(
        x.grad, reference.delay_stack_backward(g.numpy(), [1, 2, -1], run_onsets=onsets), atol=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(dtype):
    x, y = pair(dtype=dtype)
    x.requires_grad_()
    for axis in (0, 1):
        torch.library.opcheck(torch.ops.brainwavlm_fast.correlation, (x, y, axis, 1))
        torch.library.opcheck(
            torch.ops.brainwavlm_fast.correlation_backward,
            (x.detach(), y, torch.randn(x.shape[1 - axis], dtype=dtype), axis, 1),
        )
        for weights in (None, torch.rand(x.shape[1], dtype=dtype)):
            torch.library.opcheck(torch.ops.brainwavlm_fast.correlation_loss, (x, y, weights, axis, True, 1))
            torch.library.opcheck(torch.ops.brainwavlm_fast.correlation_loss, (x.detach(), y, weights, axis, False, 1))
    for zscore in (False, True):
        torch.library.opcheck(torch.ops.brainwavlm_fast.delay_stack, (x, [1, 2], [0, 4], 2, 8, zscore, 1e-5, 1))
    g, moments = torch.randn(8, 2 * x.shape[1], dtype=dtype), torch.rand(4, x.shape[1], dtype=dtype)
    for given in (moments, moments[:0]):
        torch.library.opcheck(
            torch.ops.brainwavlm_fast.delay_stack_backward, (g, x.detach(), given, [1, 2], [0, 4], 2, len(x), 1)
        )
    torch.library.opcheck(torch.ops.brainwavlm_fast.ridge_moments, (*ridge_inputs(dtype), 1))


def ridge_inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    crosses = [torch.randn(6, 5, generator=generator, dtype=dtype) for _ in range(4)]
    shrink = torch.rand(3, 6, generator=generator, dtype=torch.float64)
    return (*crosses, shrink, shrink.mean(dim=1), shrink[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ridge_moments_of_the_numpy_face(dtype):
    inputs = ridge_inputs(dtype)
    expected = kernels.ridge_moments(*(a.numpy() for a in inputs))
    compiled = torch.compile(ops.ridge_moments, fullgraph=True, backend="aot_eager")
    for moments in (ops.ridge_moments(*inputs), compiled(*inputs)):
        for value, wanted in zip(moments, expected, strict=True):
            assert np.array_equal(value.numpy(), wanted)
    with pytest.raises(ValueError, match="close_cross: expected"):
        ops.ridge_moments(*inputs[:3], inputs[3][:2], *inputs[4:])


def test_the_numbers_of_the_numpy_face():
    x, y = pair(30, 50, torch.float32)
    for axis in (0, 1):
        assert np.array_equal(
            ops.correlation(x, y, axis=axis).numpy(), kernels.correlation(x.numpy(), y.numpy(), axis=axis)
        )
        leaf = x.clone().requires_grad_()
        loss = ops.correlation_loss(leaf, y, axis=axis)
        loss.backward()
        expected, gradient = kernels.correlation_loss_grad(x.numpy(), y.numpy(), axis=axis)
        assert loss.item() == pytest.approx(expected, abs=1e-7)
        np.testing.assert_allclose(leaf.grad.numpy(), gradient, rtol=1e-6, atol=1e-9)
    assert np.array_equal(ops.delay_stack(x, [1, 2]).numpy(), kernels.delay_stack(x.numpy(), [1, 2]))


def test_layouts():
    x, y = pair(12, 8)
    for view in (x.T.contiguous().T, torch.cat([x, x], 1)[:, :8], x.expand(12, 8), x[:1].expand(12, 8)):
        torch.testing.assert_close(ops.correlation(view, y, axis=1), ops.correlation(view.contiguous(), y, axis=1))
        torch.testing.assert_close(ops.delay_stack(view, [1]), ops.delay_stack(view.contiguous(), [1]))


def test_compiled_without_a_graph_break():
    x, y = pair(dtype=torch.float32)

    def loss(a):
        return ops.correlation_loss(ops.delay_stack(a, (1, 2)), torch.cat([y, y], 1), axis=1)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss(a).backward()
    compiled(b).backward()
    assert torch.equal(a.grad, b.grad)


def test_the_loss_scaled_has_its_gradient_scaled():
    x, y = pair()
    x.requires_grad_()
    (once,) = torch.autograd.grad(ops.correlation_loss(x, y, axis=1), x)
    loss = ops.correlation_loss(x, y, axis=1)
    (scaled,) = torch.autograd.grad(3 * loss, x, retain_graph=True)
    (again,) = torch.autograd.grad(loss, x)  # the kept gradient was not scaled in place
    torch.testing.assert_close(scaled, 3 * once)
    assert torch.equal(again, once)


def test_gradients_of_two_losses_add_up():
    """A gradient that is handed on as it was kept is nobody else's to add to."""
    x, y = pair()
    x.requires_grad_()
    loss = ops.correlation_loss(x, y, axis=1)
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward(retain_graph=True)
    (again,) = torch.autograd.grad(loss, x)
    assert torch.equal(x.grad, 2 * once)
    assert torch.equal(again, once)


def test_a_second_derivative_is_refused():
    x, y = pair()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(ops.correlation_loss(x.requires_grad_(), y, axis=1), x, create_graph=True)


def test_no_gradient_is_made_when_none_is_wanted():
    x, y = pair()
    with torch.no_grad():
        assert not ops.correlation_loss(x.requires_grad_(), y, axis=1).requires_grad


GOOD = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.correlation(GOOD, GOOD[:2], axis=0), ValueError, "y: expected"),
        (lambda: ops.correlation(GOOD, GOOD.double(), axis=0), ValueError, "y: expected"),
        (lambda: ops.correlation(GOOD.int(), GOOD.int(), axis=0), TypeError, "x: expected a floating type"),
        (lambda: ops.correlation(GOOD.numpy(), GOOD, axis=0), TypeError, "x: expected a torch tensor"),
        (lambda: ops.correlation(GOOD, GOOD.to("meta"), axis=0), ValueError, "on meta"),
        (lambda: ops.correlation_loss(GOOD, GOOD.clone().requires_grad_(), axis=1), ValueError, "target: requires"),
        (lambda: ops.correlation_loss(GOOD, GOOD, axis=-1), ValueError, "axis"),
        (lambda: ops.delay_stack(GOOD[0], [1]), ValueError, "x: expected a matrix"),
        (lambda: ops.delay_stack(GOOD, [2, 2]), ValueError, "delays"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("onsets", [None, [0, 4]])
def test_z_scored_delays_have_their_gradient(onsets):
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: ops.delay_stack(a, [1, -2], run_onsets=onsets, zscore=True), (x,))


def test_z_scored_delays_compile_without_a_graph_break():
    def step(a):
        return ops.delay_stack(a, [1, 2], zscore=True).square().sum()

    x = torch.randn(20, 6, requires_grad=True)
    (expected,) = torch.autograd.grad(step(x), x)
    (gradient,) = torch.autograd.grad(torch.compile(step, fullgraph=True, backend="aot_eager")(x), x)
    torch.testing.assert_close(gradient, expected)
