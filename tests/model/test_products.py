"""Products of frozen weights: oneDNN gives the numbers of torch's own, both ways and in every layout, and is used."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import GELUActivation

from brainwavlm_fast.model import products

LAYOUTS = {
    "rows": lambda: torch.randn(300, 96),
    "windows": lambda: torch.randn(3, 100, 96),
    "transposed": lambda: torch.randn(96, 300).T,
    "every other": lambda: torch.randn(600, 96)[::2],
    "one window": lambda: torch.randn(1, 1, 5000, 96),
}


def frozen(n_inputs: int = 96, n_outputs: int = 130) -> nn.Linear:
    return nn.Linear(n_inputs, n_outputs).requires_grad_(False)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Shapes that oneDNN was given."""
    if not products.ONEDNN_AVAILABLE:
        pytest.skip("this torch has no oneDNN operator: MKL makes all products")
    seen, linear = [], products.onednn_linear

    def watched(x, weight, bias, *then):
        seen.append(x.shape)
        return linear(x, weight, bias, *then)

    monkeypatch.setattr(products, "onednn_linear", watched)
    monkeypatch.setattr(products, "ONEDNN_IS_FASTER", True)
    return seen


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_dnn_s_numbers_are_those_of_float64(layout, calls):
    torch.manual_seed(0)
    linear, x = frozen(), LAYOUTS[layout]().requires_grad_()
    out = products.product(linear, x, torch.float32)
    wanted = F.linear(x.double(), linear.weight.double(), linear.bias.double())
    assert out.shape == wanted.shape
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), wanted, rtol=0, atol=3e-6)
    weights = torch.randn_like(out)
    (grad,) = torch.autograd.grad(out, x, weights)
    torch.testing.assert_close(grad.double(), weights.double() @ linear.weight.double(), rtol=0, atol=5e-6)
    assert len(calls) == 2


@pytest.mark.parametrize("then", [None, GELUActivation(), torch.relu])
@torch.no_grad()
def test_without_a_gradient_what_follows_may_be_part_of_it(then, calls):
    torch.manual_seed(0)
    block, x = nn.Sequential(frozen(), nn.Linear(96, 4)), torch.randn(3, 100, 96)
    linear, trained = block
    wanted = F.linear(x.double(), linear.weight.double(), linear.bias.double())
    wanted = wanted if then is None else then(wanted)
    plain = products.product(linear, x, torch.float32, then)
    with products.packed_weights(block):
        assert hasattr(linear, products.PACKED_WEIGHT)
        assert not hasattr(trained, products.PACKED_WEIGHT)
        packed = products.product(linear, x, torch.float32, then)
    for out in (plain, packed):
        torch.testing.assert_close(out.double(), wanted, rtol=0, atol=3e-6)
    assert len(calls) == 2


def test_packed_weights_are_gone_afterwards_even_if_it_fails(calls):
    linear, x = frozen(), torch.randn(300, 96)
    with torch.no_grad(), pytest.raises(KeyError), products.packed_weights(linear):
        raise KeyError
    with torch.no_grad():
        linear.weight.zero_()
        assert torch.equal(products.product(linear, x, torch.float32), linear.bias.expand(300, -1))


def test_with_a_gradient_weights_are_not_packed_and_what_follows_is_differentiated(calls):
    linear, x = frozen(), torch.randn(300, 96, requires_grad=True)
    with products.packed_weights(linear):
        assert not hasattr(linear, products.PACKED_WEIGHT)
        (grad,) = torch.autograd.grad(products.product(linear, x, torch.float32, torch.relu).sum(), x)
    wanted = torch.autograd.grad(F.linear(x, linear.weight, linear.bias).relu().sum(), x)[0]
    torch.testing.assert_close(grad, wanted)


@pytest.mark.parametrize("case", ["few", "float64", "bfloat16", "trained"])
def test_elsewhere_the_product_is_torch_s_own(case, calls):
    linear, x = frozen(), torch.randn(4 if case == "few" else 300, 96)
    dtype = {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(case, torch.float32)
    if case == "trained":
        linear.requires_grad_(True)
    out = products.product(linear, x, dtype)
    assert torch.equal(out, F.linear(x.to(dtype), linear.weight.to(dtype), linear.bias.to(dtype)))
    assert out.dtype == dtype
    assert not calls
    if case == "trained":
        out.sum().backward()
        assert linear.weight.grad is not None


def test_where_mkl_is_faster_no_product_is_one_dnn_s(calls, monkeypatch):
    monkeypatch.setattr(products, "ONEDNN_IS_FASTER", False)
    linear, x = frozen(), torch.randn(300, 96)
    with torch.no_grad(), products.packed_weights(linear):
        assert torch.equal(products.product(linear, x, torch.float32), F.linear(x, linear.weight, linear.bias))
    assert not calls


def test_under_torch_s_compiler_the_product_is_its_own(calls):
    linear, x = frozen(), torch.randn(300, 96)
    compiled = torch.compile(lambda x: products.product(linear, x, torch.float32), backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), F.linear(x, linear.weight, linear.bias))
    assert not calls


def test_a_torch_without_the_operator_uses_its_own(monkeypatch):
    def missing(*_):
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(products, "onednn_linear", missing)
    assert not products.onednn_is_available()


def test_the_same_product_twice_is_the_same_to_the_last_bit():
    linear, x = frozen(256, 256), torch.randn(400, 256)
    assert torch.equal(products.product(linear, x, torch.float32), products.product(linear, x, torch.float32))


@pytest.mark.parametrize("supported", [False, True])
def test_bfloat16_without_instructions_is_said_to_be_slow(supported, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        products.warn_if_bfloat16_is_slow(torch.device("cpu"))
        products.warn_if_bfloat16_is_slow(torch.device("cuda"))
    assert len(said) == (not supported)
