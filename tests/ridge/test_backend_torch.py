"""The GPU's backend, on torch's CPU device."""

from __future__ import annotations

import threading

import numpy as np
import torch

from brainwavlm_fast.ridge.backend_torch import TorchBackend
from brainwavlm_fast.ridge.parallel import run_parallel


def test_decompositions_of_several_threads_come_one_after_another(monkeypatch):
    """torch loads its CUDA solver at the first call, and raised "lazy wrapper should be called at most once"."""
    running, together, real = [], [], torch.linalg.eigh

    def watched(gram):
        running.append(threading.get_ident())
        together.append(len(running))
        found = real(gram)
        threading.Event().wait(0.01)
        running.remove(threading.get_ident())
        return found

    monkeypatch.setattr(torch.linalg, "eigh", watched)
    backend, grams = TorchBackend("cpu"), [np.diag(np.arange(1.0, n)) for n in range(3, 9)]
    barrier = threading.Barrier(2)

    def of_half(half):
        barrier.wait()
        return [backend.eigh(gram)[0] for gram in half]

    threads = [threading.Thread(target=of_half, args=(grams[k::2],)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1] * len(grams)
    for gram, (values, vectors) in zip(grams, run_parallel([lambda g=g: backend.eigh(g) for g in grams]), strict=True):
        np.testing.assert_allclose(vectors * values @ vectors.T, gram, atol=1e-12)
