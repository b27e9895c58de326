"""How work is sharded across the processes of a job, on one node or many: ``torchrun`` and ``torch.distributed``.

Every process (a *rank*) runs the same program. Windows are sharded over ranks and their features all-gathered; voxels
are sharded over ranks and their results all-gathered. Only the main rank (0) writes files, logs and shows progress.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from .errors import BwlmError, PeerError, RankLostError

Result = TypeVar("Result")
_PATIENCE = timedelta(hours=4)  # one rank may check 70 GB of responses while the others wait for it


@dataclass(frozen=True)
class Ranks:
    """The processes of a job, seen from one of them.

    Attributes
    ----------
    rank, size : int
        This process's number, from 0, and how many there are.
    local_rank, local_size : int
        The same among the processes of this node.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this rank writes and reports."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this rank computes: one GPU per rank where there are GPUs."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.local_rank % torch.cuda.device_count())

    def shard(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers that are this rank's: number modulo size, so that a number always has the same owner."""
        return numbers if self.size == 1 else numbers[numbers % self.size == self.rank]

    def all_gather(self, local: Tensor, numbers: NDArray[np.int64]) -> Tensor:
        """The rows of all ranks, (len(numbers), ...), from each one's ``local``, the rows of ``shard(numbers)``.

        A gradient of the result flows back into this rank's rows: where every rank computes the same loss from it, each
        has the gradient of its part of the work, and parameters' gradients are to be summed over ranks.
        """
        if self.size == 1:
            return local
        owners = numbers % self.size
        counts = np.bincount(owners, minlength=self.size)
        positions = np.zeros(len(numbers), dtype=np.int64)
        for rank in range(self.size):
            positions[owners == rank] = rank * counts.max() + np.arange(counts[rank])
        with translate_comm_errors():
            gathered = _AllGather.apply(local, int(counts.max()), self.size, self.rank)
        return gathered[torch.from_numpy(positions).to(local.device)]

    def all_reduce(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor summed over ranks, in one message; all of one type."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with translate_comm_errors():
            dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def local_slice(self, n: int, *, multiple: int = 1) -> slice:
        """This rank's slice of ``n`` voxels; every slice but the last starts and ends at a multiple."""
        return self._slices(n, multiple)[self.rank]

    def all_gather_slices(self, array: NDArray[Any], *, multiple: int = 1) -> None:
        """Fill the last axis in place, each rank's :meth:`local_slice` of it from that rank."""
        if self.size == 1:
            return
        for rank, part_slice in enumerate(self._slices(array.shape[-1], multiple)):
            part = np.ascontiguousarray(array[..., part_slice])
            if part.size:
                with translate_comm_errors():
                    dist.broadcast(torch.from_numpy(part.view(np.uint8)), src=rank)
                array[..., part_slice] = part

    def _slices(self, n: int, multiple: int) -> list[slice]:
        n_tiles = -(-n // multiple)
        edges = [min(n, multiple * (n_tiles * rank // self.size)) for rank in range(self.size + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def broadcast_from_main(self, work: Callable[[], Result]) -> Result:
        """Call ``work`` on the main rank and return its result on every rank; its error ends the job everywhere.

        Raises
        ------
        PeerError
            On the other ranks, with the message of the main one's error.
        """
        if self.size == 1:
            return work()
        message: list[Any] = [None, None]
        if self.is_main:
            try:
                message[0] = work()
            except BwlmError as error:
                message[1] = str(error)
                self._broadcast(message)
                raise
        self._broadcast(message)
        if message[1] is not None:
            raise PeerError(message[1])
        return message[0]

    def _broadcast(self, message: list[Any]) -> None:
        with translate_comm_errors():
            dist.broadcast_object_list(message, src=0)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            with translate_comm_errors():
                dist.all_reduce(torch.zeros(1))

    def report_once(self, error: BwlmError) -> BwlmError:
        """What each rank is to raise for an error that all meet at the same point: the main rank alone reports it."""
        return error if self.is_main else PeerError(str(error))


SINGLE_PROCESS = Ranks()


@contextmanager
def opened_ranks() -> Iterator[Ranks]:
    """The ranks of the job that ``torchrun`` started, connected; a single one where there is no ``torchrun``.

    Raises
    ------
    RankLostError
        The other processes cannot be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ or dist.is_initialized():
        yield _connected() if dist.is_initialized() else SINGLE_PROCESS
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    with translate_comm_errors():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)
    yield _connected()
    dist.destroy_process_group()  # after an error the process ends anyway, and waiting here could keep it from that


def _connected() -> Ranks:
    local = (int(os.environ.get(name, default)) for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1")))
    return Ranks(dist.get_rank(), dist.get_world_size(), *local)


@contextmanager
def translate_comm_errors() -> Iterator[None]:
    """Around communication between ranks, whose failure means that a peer process exited."""
    try:
        yield
    except RuntimeError as error:
        detail = re.sub(r"^\[[^]]*\] *", "", str(error).splitlines()[0]).partition(". ")[0].rstrip(".")
        raise RankLostError(f"another process of this job has ended or cannot be reached ({detail}).") from error


class _AllGather(torch.autograd.Function):
    """Concatenate every rank's rows, padded to equal lengths; backward keeps the gradient of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, n_padded: int, size: int, rank: int) -> Tensor:
        ctx.n_local, ctx.start = len(local), rank * n_padded
        padded = local.new_zeros(n_padded, *local.shape[1:])
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in range(size)]
        dist.all_gather(parts, padded)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0][ctx.start : ctx.start + ctx.n_local], None, None, None
