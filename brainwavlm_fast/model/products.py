"""Products with a network's weights, by the library that multiplies fastest where they are.

torch gives float32 on a CPU to MKL, which leaves AVX-512 unused on processors that are not Intel's; oneDNN, which comes
with torch as well and takes its convolutions and its bfloat16, uses it: twice the rate there, and the same elsewhere.
torch's only plain door to it in float32 is the operator that its own compiler emits; without that, all is MKL's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_FEW = 200_000  # multiplications of a product below which oneDNN's preparation costs more than it gains


def product(linear: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x W^T + b`` computed, and returned, in ``dtype``; (..., n_inputs) -> (..., n_outputs)."""
    x, weight, bias = x.to(dtype), linear.weight, linear.bias
    if not weight.requires_grad and not bias.requires_grad and _gains(x, len(weight)):
        return _OneDnn.apply(x, weight.to(dtype), bias.to(dtype))
    return F.linear(x, weight.to(dtype), bias.to(dtype))


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


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def _gains(x: Tensor, n_outputs: int) -> bool:
    if torch.compiler.is_compiling():  # torch's compiler emits the operator for constant weights alone
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() * n_outputs >= _FEW and _ONE_DNN


def _is_there() -> bool:
    try:
        one = torch.ones(1, 1)
        return bool(torch.equal(_linear(one, one, one[0]), one + one))
    except (AttributeError, RuntimeError):
        return False


_ONE_DNN = _is_there()
