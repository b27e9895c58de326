"""Matrix multiplications with a network's weights: LoRA's update beside them, frozen weights through oneDNN.

torch gives float32 on a CPU to MKL, which leaves AVX-512 unused on processors that are not Intel's; oneDNN, which
torch includes for its convolutions and its bfloat16, uses it: twice the rate there. Without AVX-512 MKL is the faster
one (a training step takes two thirds of the time), and makes all products. In float32 torch reaches oneDNN only through
operators that its own compiler emits; where those are missing, MKL computes all.

``transformers`` passes the projections' weights to a fused function, so that a LoRA adapter wrapped around
``q_proj.forward`` is never called and never trains. Here base product and low-rank update stand side by side, each
adapter with its own dropout; merged weights work, too. In bfloat16 an update is added before the sum is rounded: a
small one is not lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import GELUActivation

from .lora import adapted, dropped, low_rank

Then = Callable[[Tensor], Tensor] | None
FEW_MULTIPLICATIONS = 200_000  # multiplications of a product below which oneDNN's preparation costs more than it gains
PACKED_WEIGHT = "_packed_weight"
_PITCH = 8  # elements to which the inner size of a bfloat16 product is padded, for the tensor cores


def product(
    linear: Any, x: Tensor, dtype: torch.dtype, then: Then = None, *, unrounded: Tensor | None = None
) -> Tensor:
    """``then(x W^T + b)`` with LoRA's update, computed and returned in ``dtype``: (..., n_inputs) -> (..., n_outputs).

    ``linear`` is an ``nn.Linear`` or PEFT's wrapper of one. Where ``x`` is rounded already, the update's low-rank
    factors are multiplied with ``unrounded``.
    """
    base, update = getattr(linear, "base_layer", linear), None
    if adapted(linear):
        down, up, scale = low_rank(linear)
        update = F.linear(dropped(linear, x if unrounded is None else unrounded), down)
    x, weight, bias = x.to(dtype), base.weight, base.bias
    if update is not None and update.dtype != dtype:
        out = _RoundedOnce.apply(x, update, up * scale, weight.detach(), bias.detach())
        return out if then is None else then(out)
    if weight.requires_grad or bias.requires_grad or not onednn_is_faster(x, len(weight)):
        out = F.linear(x, weight.to(dtype), bias.to(dtype))
    elif torch.is_grad_enabled():
        out = _OneDnn.apply(x, weight.to(dtype), bias.to(dtype))
    elif update is None:
        return frozen_product(x, getattr(base, PACKED_WEIGHT, weight.to(dtype)), bias.to(dtype), then)
    else:
        out = frozen_product(x, getattr(base, PACKED_WEIGHT, weight.to(dtype)), bias.to(dtype))
    if update is not None:
        out = out + F.linear(update, up * scale)
    return out if then is None else then(out)


def frozen_product(x: Tensor, weight: Tensor, bias: Tensor | None, then: Then = None) -> Tensor:
    """``then(x W^T + b)`` without a gradient, where :func:`onednn_is_faster` says so; W plain or packed."""
    if isinstance(then, GELUActivation):
        return onednn_linear(x, weight, bias, "gelu")
    out = onednn_linear(x, weight, bias)
    return out if then is None else then(out)


def pack_weight(weight: Tensor) -> Tensor:
    """A weight (n_outputs, n_inputs) in oneDNN's own memory layout, which it otherwise makes for each product."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
    return packed


@contextmanager
def packed_weights(module: nn.Module) -> Iterator[None]:
    """Inside, a module's frozen weights are packed once for all products; they must not change meanwhile."""
    linears = [m for m in module.modules() if isinstance(m, nn.Linear) and not m.weight.requires_grad]
    try:
        for linear in linears:
            if _reachable(linear.weight) and not torch.is_grad_enabled():
                setattr(linear, PACKED_WEIGHT, pack_weight(linear.weight))
        yield
    finally:
        for linear in linears:
            vars(linear).pop(PACKED_WEIGHT, None)


def onednn_is_faster(x: Tensor, n_outputs: int) -> bool:
    """Whether oneDNN can multiply ``x`` with a weight of ``n_outputs``, and is the faster."""
    return _reachable(x) and x.numel() * n_outputs >= FEW_MULTIPLICATIONS


def _reachable(x: Tensor) -> bool:
    if torch.compiler.is_compiling():  # torch's compiler emits the operator for constant weights alone
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and ONEDNN_IS_FASTER


class _OneDnn(torch.autograd.Function):
    """``x W^T + b`` of frozen W and b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return onednn_linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return onednn_linear(grad, weight.T, None), None, None


class _RoundedOnce(torch.autograd.Function):
    """``x W^T + low up^T + b`` of a frozen W in x's low precision, summed inside one product and rounded once.

    The sum of two rounded terms would lose the update, whatever the type of the sum: the first lies on bfloat16's grid
    already, and an update of less than half a step leaves it there. ``low`` and ``up`` get gradients in their own type.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, up: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(low, up, weight)
        spare = x.new_zeros(-(low.shape[-1] + 1) % _PITCH)
        inputs = [x, low.to(x.dtype), x.new_ones(*x.shape[:-1], 1), spare.expand(*x.shape[:-1], -1)]
        weights = [weight.to(x.dtype), up.to(x.dtype), bias.to(x.dtype)[:, None], spare.expand(len(weight), -1)]
        return F.linear(torch.cat(inputs, dim=-1), torch.cat(weights, dim=1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        low, up, weight = ctx.saved_tensors
        for_x = grad @ weight.to(grad.dtype) if ctx.needs_input_grad[0] else None
        wide = grad.to(low.dtype)
        return for_x, wide @ up, wide.flatten(0, -2).T @ low.flatten(0, -2), None, None


def bfloat16_is_slow(device: torch.device) -> bool:
    """Whether products in bfloat16 take several times as long as in float32: on CPUs without instructions for it."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    return device.type == "cpu" and not supported()


def warn_if_bfloat16_is_slow(device: torch.device) -> None:
    """Say that ``--precision bf16`` costs time where it is to save it."""
    if bfloat16_is_slow(device):
        warnings.warn(
            "--precision bf16: this processor has no instructions for bfloat16; a step takes several times as long as "
            "in fp32.",
            stacklevel=2,
        )


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
    return out


def onednn_is_available() -> bool:
    try:
        one = torch.ones(1, 1)
        return bool(torch.equal(onednn_linear(one, pack_weight(one), one[0]), one + one))
    except (AttributeError, RuntimeError):
        return False


ONEDNN_AVAILABLE = onednn_is_available()
ONEDNN_IS_FASTER = ONEDNN_AVAILABLE and torch.backends.cpu.get_cpu_capability() == "AVX512"
