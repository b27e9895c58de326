"""The core's operations registered with torch: schema, fake implementation and gradient of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .kernels import _C, loss_and_gradient


@torch.library.custom_op("brainwavlm_fast::correlation", mutates_args=())
def correlation(x: Tensor, y: Tensor, axis: int, num_threads: int) -> Tensor:
    x, y = _rows(x), _rows(y)
    r = x.new_empty((1, x.shape[1 - axis]))
    _launch(_C.correlation, x, y, axis, None, r, None, 0.0, None, _workspace(x, axis), num_threads)
    return r[0].clone() if x.is_cuda else r[0]


@correlation.register_fake
def _(x: Tensor, y: Tensor, axis: int, num_threads: int) -> Tensor:
    return x.new_empty((x.shape[1 - axis],))


@torch.library.custom_op("brainwavlm_fast::correlation_backward", mutates_args=())
def _correlation_backward(x: Tensor, y: Tensor, g: Tensor, axis: int, num_threads: int) -> Tensor:
    x, y, g = _rows(x), _rows(y), g.contiguous()[None]
    r, gx = torch.empty_like(g), _new(x, *x.shape)
    _launch(_C.correlation, x, y, axis, None, r, g, 0.0, gx, _workspace(x, axis), num_threads)
    return gx


@_correlation_backward.register_fake
def _(x: Tensor, y: Tensor, g: Tensor, axis: int, num_threads: int) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("brainwavlm_fast::correlation_loss", mutates_args=())
def correlation_loss(
    x: Tensor, y: Tensor, weights: Tensor | None, axis: int, with_gradient: bool, num_threads: int
) -> tuple[Tensor, Tensor]:
    """The loss, and what its backward is made of: on the host the gradient itself, on a GPU the sums of its rows."""
    if not x.is_cuda:
        arrays = x.detach().numpy(), y.numpy(), axis, None if weights is None else weights.numpy()
        loss, gx = loss_and_gradient(*arrays, num_threads, with_gradient=with_gradient)
        return x.new_tensor(loss), x.new_empty((0, 0)) if gx is None else torch.from_numpy(gx)
    x, y, across = _rows(x), _rows(y), _row(weights) if axis == 1 else None
    r, sums = x.new_empty((1, x.shape[1 - axis])), _workspace(x, axis)
    _launch(_C.correlation, x, y, axis, across, r, None, 0.0, None, sums, num_threads)
    if axis == 1 or weights is None:
        total = r.sum(dtype=torch.float64) / max(r.numel(), 1)
    else:
        total = torch.where(weights > 0, _shares(weights) * r[0], 0).sum()
    return (-total).to(x.dtype), sums


@correlation_loss.register_fake
def _(
    x: Tensor, y: Tensor, weights: Tensor | None, axis: int, with_gradient: bool, num_threads: int
) -> tuple[Tensor, Tensor]:
    on_gpu = x.device.type == "cuda"
    kept = _workspace(x, axis) if on_gpu else x.new_empty(x.shape if with_gradient else (0, 0))
    return x.new_empty(()), kept


@torch.library.custom_op("brainwavlm_fast::correlation_loss_backward", mutates_args=())
def _correlation_loss_backward(
    x: Tensor, y: Tensor, weights: Tensor | None, sums: Tensor, g: Tensor, axis: int, num_threads: int
) -> Tensor:
    x, y, across = _rows(x), _rows(y), _row(weights) if axis == 1 else None
    n, gx = x.shape[1 - axis], x.new_empty(x.shape)
    of_each = (-g / max(n, 1)).repeat(n) if axis == 1 or weights is None else (-g * _shares(weights)).to(x.dtype)
    r = x.new_empty((1, n))
    _launch(_C.correlation, x, y, axis, across, r, of_each[None], 0.0, gx, sums, num_threads, summed=axis == 1)
    return gx if axis == 1 or weights is None else gx.masked_fill_(weights == 0, 0)


@_correlation_loss_backward.register_fake
def _(x: Tensor, y: Tensor, weights: Tensor | None, sums: Tensor, g: Tensor, axis: int, num_threads: int) -> Tensor:
    return x.new_empty(x.shape)


def _shares(weights: Tensor) -> Tensor:
    """What each voxel counts in the mean over voxels, in float64."""
    w = weights.double()
    return w / w.sum().clamp_min(torch.finfo(torch.float64).tiny)


@torch.library.custom_op("brainwavlm_fast::delay_stack", mutates_args=())
def delay_stack(
    x: Tensor,
    delays: Sequence[int],
    run_onsets: Sequence[int],
    context: int,
    n_trs: int,
    zscore: bool,
    eps: float,
    num_threads: int,
) -> tuple[Tensor, Tensor]:
    x = _rows(x)
    width = len(delays) * x.shape[1]
    out = _new(x, n_trs, width) if len(x) else x.new_zeros((n_trs, width))
    moments = x.new_zeros((2 * len(run_onsets) if zscore else 0, x.shape[1]))
    _launch(_C.delay_stack, x, delays, run_onsets, context, out, moments if zscore else None, eps, num_threads)
    return out, moments


@delay_stack.register_fake
def _(
    x: Tensor, delays: Sequence[int], run_onsets: Sequence[int], context: int, n_trs: int, zscore: bool, *rest: Any
) -> tuple[Tensor, Tensor]:
    return (
        x.new_empty((n_trs, len(delays) * x.shape[1])),
        x.new_empty((2 * len(run_onsets) if zscore else 0, x.shape[1])),
    )


@torch.library.custom_op("brainwavlm_fast::delay_stack_backward", mutates_args=())
def _delay_stack_backward(
    g: Tensor,
    x: Tensor,
    moments: Tensor,
    delays: Sequence[int],
    run_onsets: Sequence[int],
    context: int,
    n_rows: int,
    num_threads: int,
) -> Tensor:
    g, x = _rows(g), _rows(x)
    gx = _new(g, n_rows, g.shape[1] // len(delays))
    of_zscore = (x, moments) if len(moments) else (None, None)
    _launch(_C.delay_stack_backward, g, delays, run_onsets, context, gx, *of_zscore, num_threads)
    return gx


@_delay_stack_backward.register_fake
def _(
    g: Tensor,
    x: Tensor,
    moments: Tensor,
    delays: Sequence[int],
    run_onsets: Sequence[int],
    context: int,
    n_rows: int,
    num_threads: int,
) -> Tensor:
    return g.new_empty((n_rows, g.shape[1] // len(delays)))


@torch.library.custom_op("brainwavlm_fast::ridge_moments", mutates_args=())
def ridge_moments(
    held_cross: Tensor,
    train_cross: Tensor,
    divided_cross: Tensor,
    close_cross: Tensor,
    shrink: Tensor,
    shift: Tensor,
    diagonal: Tensor,
    num_threads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    crosses = (_rows(cross) for cross in (held_cross, train_cross, divided_cross, close_cross))
    outputs = _new_moments(shrink, train_cross)
    _launch(_C.ridge_moments, *crosses, shrink.contiguous(), _row(shift), _row(diagonal), *outputs, num_threads)
    return outputs


@ridge_moments.register_fake
def _(
    held_cross: Tensor, train_cross: Tensor, divided_cross: Tensor, close_cross: Tensor, shrink: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _new_moments(shrink, train_cross)


def _new_moments(shrink: Tensor, train_cross: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    covariance, variance, scale = (shrink.new_empty((len(shrink), train_cross.shape[1])) for _ in range(3))
    return covariance, variance, scale


def _save_pair(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, y, ctx.axis, ctx.num_threads = inputs
    ctx.save_for_backward(x, y)


def _correlation_gradient(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, y = ctx.saved_tensors
    gx = _correlation_backward(x, y, g, ctx.axis, ctx.num_threads) if ctx.needs_input_grad[0] else None
    gy = _correlation_backward(y, x, g, ctx.axis, ctx.num_threads) if ctx.needs_input_grad[1] else None
    return gx, gy, None, None


def _save_loss(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, y, weights, ctx.axis, ctx.with_gradient, ctx.num_threads = inputs
    _, kept = output
    ctx.mark_non_differentiable(kept)
    ctx.set_materialize_grads(False)  # or torch fills a gradient of zeros for what is kept
    ctx.on_gpu = x.is_cuda
    ctx.save_for_backward(*((x, y, weights, kept) if ctx.on_gpu else (kept,)))


def _loss_gradient(ctx: Any, g: Tensor | None, _: Any) -> tuple[Any, ...]:
    if g is None:
        return (None,) * 6
    if torch.is_grad_enabled():
        raise NotImplementedError("correlation_loss: has no second derivative (create_graph=True).")
    if not ctx.with_gradient:
        raise ValueError("with_gradient: expected True where x requires a gradient.")
    if ctx.on_gpu:
        gx = _correlation_loss_backward(*ctx.saved_tensors, g, ctx.axis, ctx.num_threads)
    else:
        (gx,) = ctx.saved_tensors
        if type(g) is not Tensor or g.item() != 1:  # while torch.compile traces, g has no value
            gx = gx * g
        elif not _graph_is_kept():
            gx = gx.detach()  # a tensor that nobody else has: it becomes a leaf's gradient without a copy
    return gx, *(None,) * 5


def _graph_is_kept() -> bool:
    """Whether this backward pass may come again (``retain_graph``), as far as torch says."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)
    return bool(asked())


def _save_delays(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.delays, ctx.run_onsets, ctx.context, _, zscore, _, ctx.num_threads = inputs
    ctx.n_rows = x.shape[0]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x if zscore else x.new_empty((0, 0)), output[1])


def _delay_gradient(ctx: Any, g: Tensor | None, _: Any) -> tuple[Any, ...]:
    if g is None:
        return (None,) * 8
    x, moments = ctx.saved_tensors
    gx = _delay_stack_backward(g, x, moments, ctx.delays, ctx.run_onsets, ctx.context, ctx.n_rows, ctx.num_threads)
    return gx, *(None,) * 7


correlation.register_autograd(_correlation_gradient, setup_context=_save_pair)
correlation_loss.register_autograd(_loss_gradient, setup_context=_save_loss)
delay_stack.register_autograd(_delay_gradient, setup_context=_save_delays)


def _launch(operation: Callable[..., None], x: Tensor, *others: Any, **options: Any) -> None:
    """Run an operation of the core on tensors and numbers, on the current stream of the first tensor's device."""
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    operation(*(_as_buffer(a) if isinstance(a, Tensor) else a for a in (x, *others)), stream, **options)


def _workspace(x: Tensor, axis: int) -> Tensor:
    """What a correlation's rows are summed in, in parts; on the host nothing."""
    rows, cols = x.shape
    n_sums = _C.correlation_workspace(rows, cols, axis) if x.device.type == "cuda" else 0
    return x.new_empty((n_sums, 6), dtype=torch.float64)


def _new(like: Tensor, rows: int, cols: int) -> Tensor:
    """A new matrix in a tensor's type on its device: on the host NumPy's, which asks for huge pages where it is large.

    To take memory from the system page by page, as torch does, costs more than any operation here.
    """
    if like.is_cuda:
        return like.new_empty((rows, cols))
    return torch.from_numpy(np.empty((rows, cols), np.float32 if like.dtype == torch.float32 else np.float64))


def _as_buffer(x: Tensor) -> Any:
    """What the core reads: NumPy's view of a CPU tensor, the CUDA array interface of a GPU matrix."""
    if not x.is_cuda:
        return x.detach().numpy()
    size = x.element_size()
    strides = x.stride(0) * size, x.stride(1) * size
    return {"shape": tuple(x.shape), "typestr": f"<f{size}", "strides": strides, "data": (x.data_ptr(), False)}


def _row(vector: Tensor | None) -> Tensor | None:
    """A vector as the (1, n) matrix that the core reads."""
    return None if vector is None else vector.contiguous()[None]


def _rows(x: Tensor) -> Tensor:
    """Contiguous columns, rows that do not overlap."""
    fits = (x.shape[1] <= 1 or x.stride(1) == 1) and (x.shape[0] <= 1 or x.stride(0) >= x.shape[1])
    return x if fits else x.contiguous()
