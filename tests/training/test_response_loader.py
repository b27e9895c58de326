"""Responses are read ahead of their turn, once if they fit, and an error is raised where they are asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
import torch

from brainwavlm_fast.errors import DataError
from brainwavlm_fast.training.response_loader import ResponseLoader

CPU, ORDER = torch.device("cpu"), ["a", "b", "c"]


@dataclass
class Disk:
    """Training data of one subject whose reads are noted, and wait for ``gate``."""

    read: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def heard_by(self, story):
        return ["UTS01"]

    def responses(self, subject, story):
        self.started.release()
        assert self.gate.wait(10)
        if story == "damaged":
            raise DataError("damaged.hf5 is not a whole HDF5 file")
        self.read.append(story)
        return torch.full((4, 8), float(ord(story)))


def test_the_next_story_is_read_before_it_is_asked_for():
    disk = Disk()
    disk.gate.set()
    loader = ResponseLoader(disk, ORDER, CPU, limit_gb=0)
    assert loader.story("a")["UTS01"][0, 0] == ord("a")
    assert all(disk.started.acquire(timeout=10) for _ in range(2))  # a, and b of its own accord
    loader.close()
    assert disk.read == ["a", "b"]


def test_waiting_is_counted():
    disk = Disk()
    loader = ResponseLoader(disk, ORDER, CPU, limit_gb=0)
    threading.Timer(0.2, disk.gate.set).start()
    loader.story("a")
    loader.close()
    assert loader.waited > 0.1


@pytest.mark.parametrize(("limit", "times"), [(0, 2), (1.5 * 128 / 2**30, 2), (1, 1)])
def test_what_fits_is_read_once(limit, times):
    disk = Disk()
    disk.gate.set()
    loader = ResponseLoader(disk, ORDER, CPU, limit_gb=limit)
    for _ in range(2):
        for name in ORDER:
            for _ in range(3):  # blocks of a story
                assert loader.story(name)["UTS01"][0, 0] == ord(name)
    loader.close()
    assert disk.read.count("c") == times
    assert disk.read.count("a") == 1 if limit else disk.read.count("a") >= times


def test_a_damaged_file_is_an_error_where_it_is_needed():
    disk = Disk()
    disk.gate.set()
    loader = ResponseLoader(disk, ["a", "damaged"], CPU, limit_gb=0)
    loader.story("a")
    with pytest.raises(DataError, match="not a whole HDF5"):
        loader.story("damaged")
    loader.close()
