"""Products with a network's weights, by the library that multiplies fastest where they are.

torch gives float32 on a CPU to MKL, which leaves AVX-512 unused on processors that are not Intel's; oneDNN, which comes
with torch as well and takes its convolutions and its bfloat16, uses it: twice the rate there, and the same elsewhere.
torch's only plain door to it in float32 are the operators that its own compiler emits; without those, all is MKL's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import GELUActivation

Then = Callable[[Tensor], Tensor] | None
_FEW = 200_000  # multiplications of a product below which oneDNN's preparation costs more than it onednn_is_faster
_PREPARED = "_prepared_weight"


def product(linear: Any, x: Tensor, dtype: torch.dtype, then: Then = None) -> Tensor:
    """``then(x W^T + b)`` computed, and returned, in ``dtype``; (..., n_inputs) -> (..., n_outputs)."""
    x, weight, bias = x.to(dtype), linear.weight, linear.bias
    if weight.requires_grad or bias.requires_grad or not onednn_is_faster(x, len(weight)):
        out = F.linear(x, weight.to(dtype), bias.to(dtype))
    elif torch.is_grad_enabled():
        out = _OneDnn.apply(x, weight.to(dtype), bias.to(dtype))
    else:
        return frozen_product(x, getattr(linear, _PREPARED, weight.to(dtype)), bias.to(dtype), then)
    return out if then is None else then(out)


def frozen_product(x: Tensor, weight: Tensor, bias: Tensor | None, then: Then = None) -> Tensor:
    """``then(x W^T + b)`` without a gradient, where :func:`onednn_is_faster` says so; W plain or :func:`prepared`."""
    if isinstance(then, GELUActivation):
        return _linear(x, weight, bias, "gelu")
    out = _linear(x, weight, bias)
    return out if then is None else then(out)


def prepared(weight: Tensor) -> Tensor:
    """A weight (n_outputs, n_inputs) in oneDNN's own order, which it otherwise makes for each product."""
    own: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
    return own


@contextmanager
def packed_weights(module: nn.Module) -> Iterator[None]:
    """Inside, a module's frozen weights are :func:`prepared` as well; its weights must not change meanwhile."""
    linears = [m for m in module.modules() if isinstance(m, nn.Linear) and not m.weight.requires_grad]
    try:
        for linear in linears:
            if _reachable(linear.weight) and not torch.is_grad_enabled():
                setattr(linear, _PREPARED, prepared(linear.weight))
        yield
    finally:
        for linear in linears:
            vars(linear).pop(_PREPARED, None)


def onednn_is_faster(x: Tensor, n_outputs: int) -> bool:
    """Whether oneDNN can multiply ``x`` with a weight of ``n_outputs``, and is the faster."""
    return _reachable(x) and x.numel() * n_outputs >= _FEW


def _reachable(x: Tensor) -> bool:
    if torch.compiler.is_compiling():  # torch's compiler emits the operator for constant weights alone
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and _ONE_DNN


class _OneDnn(torch.autograd.Function):
    """``x W^T + b`` of frozen W and b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return _linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _linear(grad, weight.T, None), None, None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
    return out


def _is_there() -> bool:
    try:
        one = torch.ones(1, 1)
        return bool(torch.equal(_linear(one, prepared(one), one[0]), one + one))
    except (AttributeError, RuntimeError):
        return False


_ONE_DNN = _is_there()
