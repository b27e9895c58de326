"""The native core's operations on torch tensors: custom operators with gradients, safe under ``torch.compile``.

CPU tensors go to the CPU twin, CUDA tensors to the CUDA twin on the current stream. Nothing synchronizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .kernels import _C, check_axis, check_context, check_delays

_FLOATS = (torch.float32, torch.float64)
_HALVES = (torch.float16, torch.bfloat16)


def correlation(x: Tensor, y: Tensor, *, axis: int, num_threads: int = 0) -> Tensor:
    """Pearson correlation along ``axis`` of two (n_trs, n_voxels) tensors, with gradients for both.

    ``axis`` 0: over time, (n_voxels,). ``axis`` 1: across voxels, (n_trs,). 0 where a row (column) is constant.
    Half precision (float16, bfloat16) is widened first: sums, result and what is kept for the backward are float32.
    """
    x, y = _pair(x=_wide(x), y=_wide(y))
    check_axis(axis)
    r: Tensor = _correlation(x, y, None, axis, num_threads)
    return r


def correlation_loss(
    pred: Tensor, target: Tensor, *, axis: int, weights: Tensor | None = None, num_threads: int = 0
) -> Tensor:
    """Minus the mean correlation along ``axis``, a scalar; ``axis`` 1 is BrainWavLM's loss (paper, equation 1).

    Forward and backward each read both matrices from memory once, and nothing of their size is kept between.
    ``target`` is data: it must not require a gradient. Either may be in half precision; the loss is then float32.

    ``weights`` (n_voxels,): what each voxel counts, a boolean mask or numbers of at least 0, in the correlations
    (``axis`` 1) or in their mean (``axis`` 0). A voxel of weight 0 does not count even where it holds a NaN. The
    values are the caller's to keep finite: looking at them would wait for the GPU.
    """
    pred, target = _pair(pred=_wide(pred), target=_wide(target))
    check_axis(axis)
    if target.requires_grad:
        raise ValueError("target: requires a gradient, which this loss does not give; detach it.")
    if weights is not None:
        if weights.shape != pred.shape[1:] or weights.device != pred.device:
            given = f"{tuple(weights.shape)} on {weights.device}"
            raise ValueError(f"weights: expected ({pred.shape[1]},) on {pred.device}, got {given}.")
        weights = weights.detach().to(pred.dtype)
    r: Tensor = _correlation(pred, target, weights, axis, num_threads)
    if weights is None or axis == 1:
        return (-r.mean(dtype=torch.float64) if r.numel() else r.sum(dtype=torch.float64)).to(pred.dtype)
    total = torch.where(weights > 0, weights * r, 0).sum(dtype=torch.float64)
    return (-total / weights.sum(dtype=torch.float64).clamp_min(torch.finfo(torch.float64).tiny)).to(pred.dtype)


def delay_stack(
    x: Tensor,
    delays: Sequence[int],
    *,
    run_onsets: Sequence[int] | None = None,
    context: int = 0,
    n_trs: int | None = None,
    zscore: bool = False,
    eps: float = 1e-5,
    num_threads: int = 0,
) -> Tensor:
    """Delayed copies of features, (n_rows, n_features) -> (n_trs, n_delays * n_features); see :mod:`.kernels`.

    Half precision is widened for the way and narrowed again at its end.
    """
    (wide,) = _pair(x=_wide(x))
    chosen, onsets = check_delays(delays, run_onsets, x.shape[0])
    rows = check_context(context, n_trs, onsets, x.shape[0])
    out: Tensor = _delay_stack(wide, chosen, onsets, context, rows, zscore, eps, num_threads)[0]
    return out.to(x.dtype)


def ridge_moments(
    held_cross: Tensor,
    train_cross: Tensor,
    divided_cross: Tensor,
    close_cross: Tensor,
    shrink: Tensor,
    shift: Tensor,
    diagonal: Tensor,
    *,
    num_threads: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of held-out ridge predictions, float64 (n_penalties, n_targets) each; see :mod:`.kernels`. No gradient.

    ``shrink``, ``shift`` and ``diagonal`` are float64, on the device of the others.
    """
    crosses = _pair(
        held_cross=held_cross, train_cross=train_cross, divided_cross=divided_cross, close_cross=close_cross
    )
    covariance, variance, scale = _ridge_moments(*crosses, shrink, shift, diagonal, num_threads)
    return covariance, variance, scale


@torch.library.custom_op("brainwavlm_fast::correlation", mutates_args=())
def _correlation(x: Tensor, y: Tensor, weights: Tensor | None, axis: int, num_threads: int) -> Tensor:
    x, y, w = _rows(x), _rows(y), _row(weights) if axis == 1 else None
    r = x.new_empty((1, x.shape[1 - axis]))
    _C.correlation(_as_buffer(x), _as_buffer(y), axis, w, _as_buffer(r), None, 0.0, None, num_threads, _stream(x))
    return r[0].clone() if x.is_cuda else r[0]


@_correlation.register_fake
def _(x: Tensor, y: Tensor, weights: Tensor | None, axis: int, num_threads: int) -> Tensor:
    return x.new_empty((x.shape[1 - axis],))


@torch.library.custom_op("brainwavlm_fast::correlation_backward", mutates_args=())
def _correlation_backward(
    x: Tensor, y: Tensor, weights: Tensor | None, g: Tensor, axis: int, num_threads: int
) -> Tensor:
    x, y, w, g = _rows(x), _rows(y), _row(weights) if axis == 1 else None, g.contiguous()[None]
    r, gx = torch.empty_like(g), x.new_empty(x.shape)
    _C.correlation(
        _as_buffer(x),
        _as_buffer(y),
        axis,
        w,
        _as_buffer(r),
        _as_buffer(g),
        0.0,
        _as_buffer(gx),
        num_threads,
        _stream(x),
    )
    if axis == 0 and weights is not None:
        gx.masked_fill_(weights == 0, 0)  # nothing comes of a voxel that does not count, NaN or not
    return gx


@_correlation_backward.register_fake
def _(x: Tensor, y: Tensor, weights: Tensor | None, g: Tensor, axis: int, num_threads: int) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("brainwavlm_fast::delay_stack", mutates_args=())
def _delay_stack(
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
    _C.delay_stack(
        _as_buffer(x),
        list(delays),
        list(run_onsets),
        context,
        _as_buffer(out),
        _as_buffer(moments) if zscore else None,
        eps,
        num_threads,
        _stream(x),
    )
    return out, moments


@_delay_stack.register_fake
def _(
    x: Tensor,
    delays: Sequence[int],
    run_onsets: Sequence[int],
    context: int,
    n_trs: int,
    zscore: bool,
    eps: float,
    num_threads: int,
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
    scored = moments.shape[0] > 0
    _C.delay_stack_backward(
        _as_buffer(g),
        list(delays),
        list(run_onsets),
        context,
        _as_buffer(gx),
        _as_buffer(x) if scored else None,
        _as_buffer(moments) if scored else None,
        num_threads,
        _stream(g),
    )
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
def _ridge_moments(
    held_cross: Tensor,
    train_cross: Tensor,
    divided_cross: Tensor,
    close_cross: Tensor,
    shrink: Tensor,
    shift: Tensor,
    diagonal: Tensor,
    num_threads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    covariance, variance, scale = (shrink.new_empty((len(shrink), train_cross.shape[1])) for _ in range(3))
    _C.ridge_moments(
        _as_buffer(_rows(held_cross)),
        _as_buffer(_rows(train_cross)),
        _as_buffer(_rows(divided_cross)),
        _as_buffer(_rows(close_cross)),
        _as_buffer(shrink.contiguous()),
        _row(shift),
        _row(diagonal),
        _as_buffer(covariance),
        _as_buffer(variance),
        _as_buffer(scale),
        num_threads,
        _stream(train_cross),
    )
    return covariance, variance, scale


@_ridge_moments.register_fake
def _(
    held_cross: Tensor,
    train_cross: Tensor,
    divided_cross: Tensor,
    close_cross: Tensor,
    shrink: Tensor,
    shift: Tensor,
    diagonal: Tensor,
    num_threads: int,
) -> tuple[Tensor, Tensor, Tensor]:
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


_correlation.register_autograd(_correlation_gradient, setup_context=_save_pair)
_delay_stack.register_autograd(_delay_gradient, setup_context=_save_delays)


def _pair(**tensors: Tensor) -> tuple[Tensor, ...]:
    """Check the arguments: matrices of one shape, type and device."""
    first = next(iter(tensors))
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a torch tensor, got {type(tensor).__name__}.")
        if tensor.ndim != 2:
            raise ValueError(f"{name}: expected a matrix (n_trs, n_columns), got shape {tuple(tensor.shape)}.")
        if tensor.dtype not in _FLOATS:
            raise TypeError(f"{name}: expected a floating type, got {tensor.dtype}.")
        if (tensor.shape, tensor.dtype, tensor.device) != (
            tensors[first].shape,
            tensors[first].dtype,
            tensors[first].device,
        ):
            raise ValueError(
                f"{name}: expected {tuple(tensors[first].shape)} {tensors[first].dtype} on {tensors[first].device} "
                f"like {first}, got {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}."
            )
    return tuple(tensors.values())


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32; anything else as it is."""
    return x.float() if isinstance(x, Tensor) and x.dtype in _HALVES else x


def _row(vector: Tensor | None) -> Any:
    """A vector as the (1, n) matrix that the core reads."""
    return None if vector is None else _as_buffer(vector.contiguous()[None])


def _rows(x: Tensor) -> Tensor:
    """Contiguous columns, rows that do not overlap."""
    fits = (x.shape[1] <= 1 or x.stride(1) == 1) and (x.shape[0] <= 1 or x.stride(0) >= x.shape[1])
    return x if fits else x.contiguous()


def _as_buffer(x: Tensor) -> Any:
    """What the core reads: NumPy's view of a CPU tensor, the CUDA array interface of a GPU one."""
    return x.detach() if x.is_cuda else x.detach().numpy()


def _stream(x: Tensor) -> int:
    return int(torch.cuda.current_stream(x.device).cuda_stream) if x.is_cuda else 0
