"""Responses on the device when the loop needs them: kept there while they fit, else read ahead by a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ..memory import GIB
from .training_data import Block, TrainingData

Responses = dict[str, Tensor]


class ResponseLoader:
    """Measured responses of story after story, on the device.

    A thread reads the story that comes next while the loop trains on this one. What has been read stays on the device
    as long as the limit allows; at UTS02's full width a story of ten minutes takes 0.1 GiB, everything 10 GiB.

    Attributes
    ----------
    waited : float
        Seconds that :meth:`story` has waited for the disk.
    """

    def __init__(
        self, training_data: TrainingData, order: Sequence[str], device: torch.device, *, limit_gb: float
    ) -> None:
        """Load stories in ``order``, over and over; on a GPU the limit is half of the memory that is free there."""
        self._training_data, self._device = training_data, device
        self._next = {name: order[(k + 1) % len(order)] for k, name in enumerate(order)}
        on_gpu = device.type == "cuda"
        self._free = torch.cuda.mem_get_info(device)[0] // 2 if on_gpu else int(limit_gb * GIB)
        self._loaded: dict[str, Responses] = {}
        self._pending: dict[str, Future[Responses]] = {}
        self._now: tuple[str, Responses] = "", {}
        # pinning memory belongs to the thread's current GPU
        settings: Any = {"initializer": torch.cuda.set_device, "initargs": (device,)} if on_gpu else {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="responses", **settings)
        self.waited = 0.0

    def story(self, name: str) -> Responses:
        """Responses to a story of every subject who heard it: subject -> float32 (n_trs, n_voxels)."""
        if name == self._now[0]:
            return self._now[1]
        started = time.perf_counter()
        self.ahead(name)
        if name in self._loaded:
            responses = self._loaded[name]
        else:
            read = self._pending.pop(name).result()
            responses = {subject: values.to(self._device, non_blocking=True) for subject, values in read.items()}
            self._store(name, responses)
        self._now = name, responses
        self.ahead(self._next[name])
        self.waited += time.perf_counter() - started
        return responses

    def block(self, block: Block) -> Responses:
        """Responses to a block: subject -> float32 (n_trs, n_voxels)."""
        return {subject: values[block.start : block.stop] for subject, values in self.story(block.story).items()}

    def close(self) -> None:
        """Stop reading."""
        self._reader.shutdown(cancel_futures=True)

    def ahead(self, name: str) -> None:
        """Start to read a story, if it is not here or on its way."""
        if name not in self._loaded and name not in self._pending:
            self._pending[name] = self._reader.submit(self._read, name)

    def _read(self, name: str) -> Responses:
        read = {subject: self._training_data.responses(subject, name) for subject in self._training_data.heard_by(name)}
        if self._device.type == "cuda":  # only from pinned memory does a copy run beside the kernels
            read = {subject: values.pin_memory() for subject, values in read.items()}
        return read

    def _store(self, name: str, responses: Responses) -> None:
        size = sum(values.nbytes for values in responses.values())
        if size <= self._free:
            self._loaded[name] = responses
            self._free -= size
