"""One story, ready to be encoded: its audio, its windows, and (if there is room) the frozen front end's output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import CacheType, ModelConfig
from ..data import response_times
from ..errors import DataError
from ..progress import Progress
from .activations import frames_at_once
from .encoder import Encoder
from .front_cache import FrontCache, describe, keep_in_memory, keep_on_disk
from .windows import WindowPlan, plan_windows

_FRONT_FRAMES = 6400  # of the front end's output together, when nothing is differentiated: 32 windows of 4 s, 13 MB


class Story:
    """A story's windows and the TR rows that they feed.

    Rows are TRs: row 0 is the first of the ``context`` rows before the first response, row ``context`` the first
    response. ``rows(first, last)`` gives what a block of rows needs.
    """

    def __init__(self, audio: NDArray[np.float32], n_trs: int, config: ModelConfig, *, for_training: bool) -> None:
        """Plan a story.

        Parameters
        ----------
        audio : (n_samples,) float32 at 16 kHz, mono.
        n_trs : responses of the story.
        config : the model.
        for_training : the filter as trained (``config.negative_lobes``); evaluation always uses the full one.
        """
        if n_trs < 1:
            raise DataError(f"a story needs at least 1 response, got {n_trs}.")
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
        self._audio = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
        self._front: FrontCache | None = None

    def rows(self, first: int, last: int) -> tuple[NDArray[np.int64], Tensor]:
        """Windows that rows ``first`` to ``last - 1`` need, and float64 weights (last - first, n_windows_used)."""
        windows, weights = self.plan.rows(first, last)
        return windows, torch.from_numpy(weights)

    def keep_front_end(
        self,
        encoder: Encoder,
        *,
        dtype: CacheType = "fp32",
        folder: Path | None = None,
        advance: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Compute the frozen front end once for every window, and keep it in memory, or in a file in ``folder``.

        ``advance`` is told of windows as they are done.
        """
        self._front = None

        def batches() -> Iterator[tuple[NDArray[np.int64], Tensor]]:
            return self.front_ends(encoder, np.arange(self.plan.n_windows))

        n_frames = self.n_frames(encoder)
        if folder is None:
            self._front = keep_in_memory(batches(), n_frames, encoder, dtype, advance)
        else:
            key = self.front_key(encoder, dtype)
            self._front = keep_on_disk(batches, n_frames, encoder, dtype, key, folder, advance)

    def front_key(self, encoder: Encoder, dtype: CacheType) -> dict[str, str]:
        """Everything that a kept front end depends on."""
        return describe(encoder.front_digest(), self._audio, self.plan.starts, self.plan.ends, dtype)

    def n_frames(self, encoder: Encoder) -> NDArray[np.int64]:
        """Frames of each window."""
        lengths = self.plan.ends - self.plan.starts
        of_length = {int(n): encoder.n_frames(int(n)) for n in np.unique(lengths)}
        return np.array([of_length[int(n)] for n in lengths], dtype=np.int64)

    @torch.no_grad()
    def features(
        self,
        encoder: Encoder,
        *,
        layers: Sequence[int] | None = None,
        progress: Progress | None = None,
        label: str = "features",
    ) -> Tensor:
        """TR features of every row, from an encoder in evaluation mode: (context + n_trs, width).

        With ``layers`` those hidden states: (context + n_trs, len(layers), width).
        """
        windows, weights = self.rows(0, self.context + self.n_trs)
        parts = np.array_split(windows, max(1, len(windows) // 256))
        at_once = frames_at_once(encoder, int(self.n_frames(encoder)[windows].max()))
        features = []
        with (progress or Progress()).task(label, len(parts)) as advance:
            for part in parts:
                features.append(self.encode(encoder, part, batch_frames=at_once, layers=layers))
                advance()
        return torch.tensordot(weights.to(features[0]), torch.cat(features), dims=1)

    def encode(
        self,
        encoder: Encoder,
        windows: NDArray[np.int64],
        *,
        batch_frames: int | None = None,
        layers: Sequence[int] | None = None,
    ) -> Tensor:
        """Features of some windows: (len(windows), width), in their order; (.., len(layers), width) with ``layers``.

        Windows of one length go through the encoder together (shorter ones exist at a story's start);
        ``batch_frames`` bounds how much at once, for when no gradient is kept. The windows are dealt over the encoder's
        ranks, and every rank has all features.
        """
        own = encoder.ranks.shard(windows)
        features: list[Tensor] = []
        order: list[NDArray[np.int64]] = []
        for group, front in self.front_ends(encoder, own, batch_frames=batch_frames):
            features.append(encoder.transformer(front) if layers is None else encoder.layer_features(front, layers))
            order.append(group)
        position = {int(window): k for k, window in enumerate(np.concatenate(order))}
        return encoder.ranks.gather(torch.cat(features)[[position[int(window)] for window in own]], windows)

    def front_ends(
        self, encoder: Encoder, windows: NDArray[np.int64], *, batch_frames: int | None = _FRONT_FRAMES
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Batches of windows of one length, and the front end's output for them: kept, or computed now."""
        anchor = encoder.base.feature_projection.layer_norm.weight
        lengths = (self.plan.ends - self.plan.starts)[windows]
        for length in np.unique(lengths):
            group = windows[lengths == length]
            n_batch = len(group)
            if batch_frames is not None:
                n_batch = max(1, batch_frames // encoder.n_frames(int(length)))
            for start in range(0, len(group), n_batch):
                batch = group[start : start + n_batch]
                if self._front is not None:
                    yield batch, self._front.take(batch, anchor)
                else:
                    yield batch, encoder.front_end(self.waveforms(batch, anchor.device))

    def waveforms(self, windows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Samples of windows of one length: (len(windows), n_samples).

        Windows overlap, so the stretch of audio that holds them all is what goes to the device, and they are cut there.
        """
        starts, first, last = self.plan.starts[windows], self.plan.starts[windows].min(), self.plan.ends[windows].max()
        stretch = self._audio[first:last]
        if device.type == "cuda":  # the host goes on while it is copied
            stretch = stretch.pin_memory()
        length = int(self.plan.ends[windows[0]] - starts[0])
        return stretch.to(device, non_blocking=True).unfold(0, length, 1)[torch.from_numpy(starts - first).to(device)]
