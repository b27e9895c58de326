from __future__ import annotations

import pytest
import torch

from brainwavlm_fast import reference
from brainwavlm_fast.model.readout import Readout


@pytest.mark.parametrize("delays", [(1, 2, 3, 4), (0,), (2, 5), (4, 1)])
@pytest.mark.parametrize("bottleneck", [0, 3])
def test_each_response_is_read_from_its_delayed_rows(delays, bottleneck):
    torch.manual_seed(0)
    context, n_trs, width = max(delays), 6, 5
    readout = Readout(width, 8, delays=delays, bottleneck=bottleneck).double()
    rows = torch.randn(context + n_trs - min(delays), width, dtype=torch.float64)
    predicted = readout(rows, context, n_trs)
    assert predicted.shape == (n_trs, 8)
    normal = torch.from_numpy(reference.zscore(rows))
    for t in range(n_trs):
        x = torch.cat([normal[context + t - d] for d in delays])
        torch.testing.assert_close(predicted[t], readout.layers(x))


def test_two_linear_maps_and_nothing_between():
    readout = Readout(6, 9, delays=(1, 2), bottleneck=4)
    assert [tuple(layer.weight.shape) for layer in readout.layers] == [(4, 12), (9, 4)]
    assert all(isinstance(layer, torch.nn.Linear) for layer in readout.layers)
    bound = (6 / (12 + 4)) ** 0.5
    assert readout.layers[0].weight.abs().max() <= bound
    assert all(torch.equal(layer.bias, torch.zeros_like(layer.bias)) for layer in readout.layers)
    assert readout.n_voxels == 9


def test_biases_as_torch_draws_them():
    """The authors' release never sets them: uniform within 1 / sqrt(inputs)."""
    readout = Readout(50, 400, delays=(1, 2), bottleneck=25, bias="uniform")
    for layer, n_inputs in zip(readout.layers, (100, 25), strict=True):
        largest = layer.bias.abs().max()
        assert 0.8 * n_inputs**-0.5 < largest <= n_inputs**-0.5
