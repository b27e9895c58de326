"""The native core's operations on torch tensors: custom operators with gradients, safe under ``torch.compile``.

CPU tensors go to the CPU twin, CUDA tensors to the CUDA twin on the current stream. Nothing synchronises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .kernels import _C, _check_axis, check_delays

_FLOATS = (torch.float32, torch.float64)


def correlation(x: Tensor, y: Tensor, *, axis: int, num_threads: int = 0) -> Tensor:
    """Pearson correlation along ``axis`` of two (n_trs, n_voxels) tensors, with gradients for both.

    ``axis`` 0: over time, (n_voxels,). ``axis`` 1: across voxels, (n_trs,). 0 where a row (column) is constant.
    """
    x, y = _pair(x=x, y=y)
    _check_axis(axis)
    return _correlation(x, y, axis, num_threads)


def correlation_loss(pred: Tensor, target: Tensor, *, axis: int, num_threads: int = 0) -> Tensor:
    """Minus the mean correlation along ``axis``, a scalar; ``axis`` 1 is BrainWavLM's loss (paper, equation 1).

    Forward and backward each read both matrices from memory once, and nothing of their size is kept between.
    ``target`` is data: it must not require a gradient.
    """
    pred, target = _pair(pred=pred, target=target)
    _check_axis(axis)
    if target.requires_grad:
        raise ValueError("target: requires a gradient, which this loss does not give; detach it.")
    r = _correlation(pred, target, axis, num_threads)
    return (-r.mean(dtype=torch.float64) if r.numel() else r.sum(dtype=torch.float64)).to(pred.dtype)


def delay_stack(
    x: Tensor,
    delays: Sequence[int],
    *,
    run_onsets: Sequence[int] | None = None,
    zscore: bool = False,
    eps: float = 1e-5,
    num_threads: int = 0,
) -> Tensor:
    """Delayed copies of features, (n_trs, n_features) -> (n_trs, n_delays * n_features); see :mod:`.kernels`."""
    (x,) = _pair(x=x)
    chosen, onsets = check_delays(delays, run_onsets, x.shape[0])
    return _delay_stack(x, chosen, onsets, zscore, eps, num_threads)[0]


@torch.library.custom_op("brainwavlm_fast::correlation", mutates_args=())
def _correlation(x: Tensor, y: Tensor, axis: int, num_threads: int) -> Tensor:
    x, y = _rows(x), _rows(y)
    r = x.new_empty((1, x.shape[1 - axis]))
    _C.correlation(_face(x), _face(y), axis, _face(r), None, 0.0, None, num_threads, _stream(x))
    return r[0].clone() if x.is_cuda else r[0]


@_correlation.register_fake
def _(x: Tensor, y: Tensor, axis: int, num_threads: int) -> Tensor:
    return x.new_empty((x.shape[1 - axis],))


@torch.library.custom_op("brainwavlm_fast::correlation_backward", mutates_args=())
def _correlation_backward(x: Tensor, y: Tensor, g: Tensor, axis: int, num_threads: int) -> Tensor:
    x, y, g = _rows(x), _rows(y), g.contiguous()[None]
    r, gx = torch.empty_like(g), x.new_empty(x.shape)
    _C.correlation(_face(x), _face(y), axis, _face(r), _face(g), 0.0, _face(gx), num_threads, _stream(x))
    return gx


@_correlation_backward.register_fake
def _(x: Tensor, y: Tensor, g: Tensor, axis: int, num_threads: int) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("brainwavlm_fast::delay_stack", mutates_args=())
def _delay_stack(
    x: Tensor, delays: Sequence[int], run_onsets: Sequence[int], zscore: bool, eps: float, num_threads: int
) -> tuple[Tensor, Tensor]:
    x = _rows(x)
    out = x.new_empty((x.shape[0], len(delays) * x.shape[1]))
    moments = x.new_zeros((2 * len(run_onsets) if zscore else 0, x.shape[1]))
    _C.delay_stack(
        _face(x),
        list(delays),
        list(run_onsets),
        _face(out),
        _face(moments) if zscore else None,
        eps,
        num_threads,
        _stream(x),
    )
    return out, moments


@_delay_stack.register_fake
def _(
    x: Tensor, delays: Sequence[int], run_onsets: Sequence[int], zscore: bool, eps: float, num_threads: int
) -> tuple[Tensor, Tensor]:
    return (
        x.new_empty((x.shape[0], len(delays) * x.shape[1])),
        x.new_empty((2 * len(run_onsets) if zscore else 0, x.shape[1])),
    )


@torch.library.custom_op("brainwavlm_fast::delay_stack_backward", mutates_args=())
def _delay_stack_backward(
    g: Tensor, x: Tensor, moments: Tensor, delays: Sequence[int], run_onsets: Sequence[int], num_threads: int
) -> Tensor:
    g, x = _rows(g), _rows(x)
    gx = g.new_empty((g.shape[0], g.shape[1] // len(delays)))
    scored = moments.shape[0] > 0
    _C.delay_stack_backward(
        _face(g),
        list(delays),
        list(run_onsets),
        _face(gx),
        _face(x) if scored else None,
        _face(moments) if scored else None,
        num_threads,
        _stream(g),
    )
    return gx


@_delay_stack_backward.register_fake
def _(
    g: Tensor, x: Tensor, moments: Tensor, delays: Sequence[int], run_onsets: Sequence[int], num_threads: int
) -> Tensor:
    return g.new_empty((g.shape[0], g.shape[1] // len(delays)))


def _save_pair(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, y, ctx.axis, ctx.num_threads = inputs
    ctx.save_for_backward(x, y)


def _correlation_gradient(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, y = ctx.saved_tensors
    gx = _correlation_backward(x, y, g, ctx.axis, ctx.num_threads) if ctx.needs_input_grad[0] else None
    gy = _correlation_backward(y, x, g, ctx.axis, ctx.num_threads) if ctx.needs_input_grad[1] else None
    return gx, gy, None, None


def _save_delays(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.delays, ctx.run_onsets, zscore, _, ctx.num_threads = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x if zscore else x.new_empty((0, 0)), output[1])


def _delay_gradient(ctx: Any, g: Tensor, _: Any) -> tuple[Any, ...]:
    x, moments = ctx.saved_tensors
    gx = _delay_stack_backward(g, x, moments, ctx.delays, ctx.run_onsets, ctx.num_threads)
    return gx, None, None, None, None, None


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
            raise TypeError(f"{name}: expected float32 or float64, got {tensor.dtype}.")
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


def _rows(x: Tensor) -> Tensor:
    """Contiguous columns, rows that do not overlap."""
    fits = (x.shape[1] <= 1 or x.stride(1) == 1) and (x.shape[0] <= 1 or x.stride(0) >= x.shape[1])
    return x if fits else x.contiguous()


def _face(x: Tensor) -> Any:
    """What the core reads: NumPy's view of a CPU tensor, the CUDA array interface of a GPU one."""
    return x.detach() if x.is_cuda else x.detach().numpy()


def _stream(x: Tensor) -> int:
    return int(torch.cuda.current_stream(x.device).cuda_stream) if x.is_cuda else 0
