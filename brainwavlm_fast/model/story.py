"""One story as data: its audio, its windows, and (once computed) the frozen feature encoder's output for them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import ModelConfig
from ..data import require_audio, response_times
from ..errors import DataError
from .front_cache import FrontCache
from .windows import WindowPlan, plan_windows


class Story:
    """A story's windows and the TR rows that they feed.

    Rows are TRs: row 0 is the first of the ``context`` rows before the first response, row ``context`` the first
    response. ``rows(first, last)`` gives what a block of rows needs.

    Attributes
    ----------
    audio : Tensor
        (n_samples,) at 16 kHz.
    plan : WindowPlan
        Where its windows lie, and their weights in each row.
    front_cache : FrontCache or None
        The feature encoder's output for every window, where it has been computed (``cache_front_end``).
    """

    def __init__(self, audio: NDArray[np.float32], n_trs: int, config: ModelConfig, *, for_training: bool) -> None:
        """Plan a story.

        Parameters
        ----------
        audio : NDArray
            (n_samples,) float32 at 16 kHz, mono.
        n_trs : int
            Responses of the story.
        config : ModelConfig
            The model.
        for_training : bool
            The filter as trained (``config.negative_lobes``); evaluation always uses the full one.
        """
        if n_trs < 1:
            raise DataError(f"a story needs at least 1 response, got {n_trs}.")
        audio = require_audio(audio)
        self.n_trs = n_trs
        self.context = config.context
        self.plan: WindowPlan = plan_windows(
            len(audio),
            response_times(n_trs, context=config.context, clock=config.clock),
            window=config.window,
            stride=config.stride,
            lobes=config.lanczos_lobes,
            negative_lobes=config.negative_lobes or not for_training,
        )
        self.audio = torch.from_numpy(np.ascontiguousarray(audio))
        self.front_cache: FrontCache | None = None

    def rows(self, first: int, last: int) -> tuple[NDArray[np.int64], Tensor]:
        """Windows that rows ``first`` to ``last - 1`` need, and float64 weights (last - first, n_windows_used)."""
        windows, weights = self.plan.rows(first, last)
        return windows, torch.from_numpy(weights)

    def waveforms(self, windows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Samples of windows of one length: (len(windows), n_samples).

        Windows overlap, so the span of audio that holds them all is what goes to the device, and they are cut there.
        """
        starts, first, last = self.plan.starts[windows], self.plan.starts[windows].min(), self.plan.ends[windows].max()
        span = self.audio[first:last]
        if device.type == "cuda":  # the host goes on while it is copied
            span = span.pin_memory()
        length = int(self.plan.ends[windows[0]] - starts[0])
        return span.to(device, non_blocking=True).unfold(0, length, 1)[torch.from_numpy(starts - first).to(device)]
