"""Responses where the loop needs them, when it needs them: kept while they fit, else read ahead of their turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ..memory import GIB
from .training_data import TrainingData

Responses = dict[str, Tensor]


class ResponseLoader:
    """Measured responses of story after story, on the device.

    A thread reads the story that comes next while the loop trains on this one. What has been read stays on the device
    as long as the limit allows; at UTS02's full width a story of ten minutes takes 0.1 GiB, everything 10 GiB.

    Attributes
    ----------
    waited : seconds that :meth:`story` has waited for the disk.
    """

    def __init__(self, material: TrainingData, order: Sequence[str], device: torch.device, *, limit_gb: float) -> None:
        """Feed stories in ``order``, over and over; on a GPU the limit is half of the memory that is free there."""
        self._material, self._device = material, device
        self._next = {name: order[(k + 1) % len(order)] for k, name in enumerate(order)}
        on_gpu = device.type == "cuda"
        self._free = torch.cuda.mem_get_info(device)[0] // 2 if on_gpu else int(limit_gb * GIB)
        self._kept: dict[str, Responses] = {}
        self._coming: dict[str, Future[Responses]] = {}
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
        if name in self._kept:
            found = self._kept[name]
        else:
            read = self._coming.pop(name).result()
            found = {subject: values.to(self._device, non_blocking=True) for subject, values in read.items()}
            self._keep(name, found)
        self._now = name, found
        self.ahead(self._next[name])
        self.waited += time.perf_counter() - started
        return found

    def close(self) -> None:
        """Stop reading."""
        self._reader.shutdown(cancel_futures=True)

    def ahead(self, name: str) -> None:
        """Start to read a story, if it is not here or on its way."""
        if name not in self._kept and name not in self._coming:
            self._coming[name] = self._reader.submit(self._read, name)

    def _read(self, name: str) -> Responses:
        read = {subject: self._material.responses(subject, name) for subject in self._material.heard_by(name)}
        if self._device.type == "cuda":  # only from pinned memory does a copy run beside the kernels
            read = {subject: values.pin_memory() for subject, values in read.items()}
        return read

    def _keep(self, name: str, responses: Responses) -> None:
        size = sum(values.nbytes for values in responses.values())
        if size <= self._free:
            self._kept[name] = responses
            self._free -= size
