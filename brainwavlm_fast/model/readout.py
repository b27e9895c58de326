"""From TR features to predicted responses: z-score, FIR delays, and the linear readout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ..config import ReadoutBias
from ..ops import delay_stack


class Readout(nn.Module):
    """Linear(n_delays * width -> bottleneck), Linear(bottleneck -> n_voxels); no non-linearity between.

    Weights start Xavier-uniform, biases at zero or, with ``bias`` uniform, as torch draws them. ``bottleneck`` 0 is a
    single linear map.
    """

    def __init__(
        self, width: int, n_voxels: int, *, delays: Sequence[int], bottleneck: int, bias: ReadoutBias = "zeros"
    ) -> None:
        super().__init__()
        self.delays = tuple(delays)
        n_inputs = width * len(self.delays)
        sizes = [n_inputs, bottleneck, n_voxels] if bottleneck else [n_inputs, n_voxels]
        self.n_voxels = n_voxels
        maps = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        for linear in maps:
            nn.init.xavier_uniform_(linear.weight)
            if bias == "zeros":
                nn.init.zeros_(linear.bias)
        self.layers = nn.Sequential(*maps)

    def forward(self, features: Tensor, context: int, n_trs: int) -> Tensor:
        """Predict ``n_trs`` responses from the TR features around them.

        Parameters
        ----------
        features : Tensor
            (n_rows, width), the first of ``context`` rows before the first response. Rows after the last that a delay
            needs may be left out.
        context : int
            Rows before the first response; delays that reach further back see zeros.
        n_trs : int
            Responses to predict.

        Returns
        -------
        Tensor
            (n_trs, n_voxels).
        """
        return self.layers(delay_stack(features, self.delays, context=context, n_trs=n_trs, zscore=True))
