"""Randomness that is keyed, not consumed: each step draws from generators seeded by (seed, step).

A run that is stopped and resumed therefore needs no generator state to give the uninterrupted run's numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def keyed(seed: int, *key: int) -> Iterator[None]:
    """Seed torch's and NumPy's global generators from ``(seed, *key)``, and put both back afterwards.

    ``transformers`` draws SpecAugment masks from NumPy's global generator and layer drop from torch's.
    """
    words = np.random.SeedSequence([seed, *key]).generate_state(2)
    before = np.random.get_state()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(words[0]))
        np.random.seed(int(words[1]))
        try:
            yield
        finally:
            np.random.set_state(before)
