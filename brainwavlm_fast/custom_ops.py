"""The core's operations registered with torch: schema, fake implementation and gradient of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .kernels import _C


@torch.library.custom_op("brainwavlm_fast::correlation", mutates_args=())
def correlation(x: Tensor, y: Tensor, weights: Tensor | None, axis: int, num_threads: int) -> Tensor:
    x, y, w = _rows(x), _rows(y), _row(weights) if axis == 1 else None
    r = x.new_empty((1, x.shape[1 - axis]))
    _launch(_C.correlation, x, y, axis, w, r, None, 0.0, None, _workspace(x, axis), num_threads)
    return r[0].clone() if x.is_cuda else r[0]


@correlation.register_fake
def _(x: Tensor, y: Tensor, weights: Tensor | None, axis: int, num_threads: int) -> Tensor:
    return x.new_empty((x.shape[1 - axis],))


@torch.library.custom_op("brainwavlm_fast::correlation_backward", mutates_args=())
def _correlation_backward(
    x: Tensor, y: Tensor, weights: Tensor | None, g: Tensor, axis: int, num_threads: int
) -> Tensor:
    x, y, w, g = _rows(x), _rows(y), _row(weights) if axis == 1 else None, g.contiguous()[None]
    r, gx = torch.empty_like(g), x.new_empty(x.shape)
    _launch(_C.correlation, x, y, axis, w, r, g, 0.0, gx, _workspace(x, axis), num_threads)
    if axis == 0 and weights is not None:
        gx.masked_fill_(weights == 0, 0)  # nothing comes of a voxel that does not count, NaN or not
    return gx


@_correlation_backward.register_fake
def _(x: Tensor, y: Tensor, weights: Tensor | None, g: Tensor, axis: int, num_threads: int) -> Tensor:
    return x.new_empty(x.shape)


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
    out = (x.new_empty if len(x) else x.new_zeros)((n_trs, len(delays) * x.shape[1]))
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
    gx = g.new_empty((n_rows, g.shape[1] // len(delays)))
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
    x, y, weights, ctx.axis, ctx.num_threads = inputs
    ctx.save_for_backward(x, y, weights)


def _correlation_gradient(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, y, w = ctx.saved_tensors
    gx = _correlation_backward(x, y, w, g, ctx.axis, ctx.num_threads) if ctx.needs_input_grad[0] else None
    gy = _correlation_backward(y, x, w, g, ctx.axis, ctx.num_threads) if ctx.needs_input_grad[1] else None
    return gx, gy, None, None, None


def _save_delays(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.delays, ctx.run_onsets, ctx.context, _, zscore, _, ctx.num_threads = inputs
    ctx.n_rows = x.shape[0]
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x if zscore else x.new_empty((0, 0)), output[1])


def _delay_gradient(ctx: Any, g: Tensor, _: Any) -> tuple[Any, ...]:
    x, moments = ctx.saved_tensors
    gx = _delay_stack_backward(g, x, moments, ctx.delays, ctx.run_onsets, ctx.context, ctx.n_rows, ctx.num_threads)
    return gx, None, None, None, None, None, None, None


correlation.register_autograd(_correlation_gradient, setup_context=_save_pair)
delay_stack.register_autograd(_delay_gradient, setup_context=_save_delays)


def _launch(operation: Callable[..., None], x: Tensor, *others: Any) -> None:
    """Run an operation of the core on tensors and numbers, on the current stream of the first tensor's device."""
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    operation(*(_as_buffer(a) if isinstance(a, Tensor) else a for a in (x, *others)), stream)


def _workspace(x: Tensor, axis: int) -> Tensor:
    """What a correlation's rows are summed in, in parts; on the host nothing."""
    return x.new_empty((_C.correlation_workspace(_as_buffer(x), axis), 6), dtype=torch.float64)


def _as_buffer(x: Tensor) -> Any:
    """What the core reads: NumPy's view of a CPU tensor, the CUDA array interface of a GPU one."""
    return x.detach() if x.is_cuda else x.detach().numpy()


def _row(vector: Tensor | None) -> Tensor | None:
    """A vector as the (1, n) matrix that the core reads."""
    return None if vector is None else vector.contiguous()[None]


def _rows(x: Tensor) -> Tensor:
    """Contiguous columns, rows that do not overlap."""
    fits = (x.shape[1] <= 1 or x.stride(1) == 1) and (x.shape[0] <= 1 or x.stride(0) >= x.shape[1])
    return x if fits else x.contiguous()
