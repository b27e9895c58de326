"""The objectives of training, on the native core."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..config import Loss
from ..ops import correlation_loss


def training_loss(kind: Loss, predicted: Tensor, measured: Tensor) -> Tensor:
    """The loss of a block, both arguments (n_trs, n_voxels).

    ``voxels``: minus the mean over TRs of the Pearson correlation across voxels (the paper's equation 1).
    ``time``: minus the mean over voxels of the correlation over the block's TRs. ``mse``: mean squared error.
    """
    if kind == "mse":
        return F.mse_loss(predicted, measured)
    return correlation_loss(predicted, measured, axis=1 if kind == "voxels" else 0)
