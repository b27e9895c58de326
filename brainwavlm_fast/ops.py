"""The native core's operations on torch tensors: custom operators with gradients, safe under ``torch.compile``.

CPU tensors go to the CPU twin, CUDA tensors to the CUDA twin on the current stream. Nothing synchronizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import custom_ops
from .arguments import check_axis, check_context, check_delays

_FLOATS = (torch.float32, torch.float64)
_HALVES = (torch.float16, torch.bfloat16)


def correlation(x: Tensor, y: Tensor, *, axis: int, num_threads: int = 0) -> Tensor:
    """Pearson correlation along ``axis`` of two (n_trs, n_voxels) tensors, with gradients for both.

    ``axis`` 0: over time, (n_voxels,). ``axis`` 1: across voxels, (n_trs,). 0 where a row (column) is constant.
    Half precision (float16, bfloat16) is widened first: sums, result and what is kept for the backward are float32.
    """
    x, y = _pair(x=_wide(x), y=_wide(y))
    check_axis(axis)
    r: Tensor = custom_ops.correlation(x, y, axis, num_threads)
    return r


def correlation_loss(
    pred: Tensor, target: Tensor, *, axis: int, weights: Tensor | None = None, num_threads: int = 0
) -> Tensor:
    """Minus the mean correlation along ``axis``, a scalar; ``axis`` 1 is BrainWavLM's loss (paper, equation 1).

    On the host the gradient is made on the way forward, from matrices read once, and is the one thing kept for the
    backward. On a GPU forward and backward read both, and the sums of the rows are kept. There is no second derivative.
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
    with_gradient = pred.requires_grad and torch.is_grad_enabled()
    loss: Tensor = custom_ops.correlation_loss(pred, target, weights, axis, with_gradient, num_threads)[0]
    return loss


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
    out: Tensor = custom_ops.delay_stack(wide, chosen, onsets, context, rows, zscore, eps, num_threads)[0]
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
    covariance, variance, scale = custom_ops.ridge_moments(*crosses, shrink, shift, diagonal, num_threads)
    return covariance, variance, scale


def _pair(**tensors: Tensor) -> tuple[Tensor, ...]:
    """Check the arguments: matrices of one shape, type and device."""
    first, expected = next(iter(tensors)), None
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a torch tensor, got {type(tensor).__name__}.")
        if tensor.ndim != 2:
            raise ValueError(f"{name}: expected a matrix (n_trs, n_columns), got shape {tuple(tensor.shape)}.")
        if tensor.dtype not in _FLOATS:
            raise TypeError(f"{name}: expected a floating type, got {tensor.dtype}.")
        given = tuple(tensor.shape), tensor.dtype, tensor.device
        expected = expected or given
        if given != expected:
            wanted, got = (f"{shape} {dtype} on {device}" for shape, dtype, device in (expected, given))
            raise ValueError(f"{name}: expected {wanted} like {first}, got {got}.")
    return tuple(tensors.values())


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32; anything else as it is."""
    return x.float() if isinstance(x, Tensor) and x.dtype in _HALVES else x
