"""What each operation takes beyond its inputs and outputs, and matrices of more than 2^31 elements."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from brainwavlm_fast import kernels
from brainwavlm_fast.ridge.backend_numpy import NumpyBackend

MIB = 1 << 20
THREADS = 2
# A fresh process: everything given is touched, then the call may raise the process's highest memory by what it takes.
PROGRAM = """
import sys
import numpy as np
from brainwavlm_fast import RidgeCV, kernels
core = kernels._C
def highest():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10
rng = np.random.default_rng(0)
x, y, gx = (rng.standard_normal((400, 20_000), dtype=np.float32) for _ in range(3))
tall, wide = rng.standard_normal((8000, 500), dtype=np.float32), np.ones((8000, 2000), np.float32)
moments = np.ones((4, 500), np.float32)
back = np.ones_like(tall)
r0, r1, w = np.ones((1, 20_000), np.float32), np.ones((1, 400), np.float32), np.ones((1, 20_000), np.float32)
d, shift, diagonal = np.ones((10, 400)), np.ones((1, 10)), np.ones((1, 400))
no_sums, sums = np.ones((0, 6)), [np.ones((10, 20_000)) for _ in range(3)]
X, some = rng.standard_normal((1500, 300), dtype=np.float32), rng.standard_normal((1500, 400), dtype=np.float32)
Y = np.tile(some, (1, 100))
calls = {
    "over time": lambda: core.correlation(x, y, 0, None, r0, None, 0.0, None, no_sums, 1, 0),
    "loss": lambda: core.correlation(x, y, 1, None, r1, None, -1.0, gx, no_sums, 1, 0),
    "weighted": lambda: core.correlation(x, y, 1, w, r1, None, -1.0, gx, no_sums, 1, 0),
    "delays": lambda: core.delay_stack(tall, [1, 2, 3, 4], [0, 4000], 0, wide, moments, 1e-5, 1, 0),
    "delays backward": lambda: core.delay_stack_backward(wide, [1, 2, 3, 4], [0, 4000], 0, back, tall, moments, 1, 0),
    "ridge moments": lambda: core.ridge_moments(x, y, gx, gx, d, shift, diagonal, *sums, 1, 0),
    "transposed": lambda: kernels.correlation(x.T, y.T, axis=0),
    "broadcast": lambda: kernels.correlation(np.broadcast_to(x[:1], x.shape), y, axis=0),
    "ridge": lambda: RidgeCV(cv=3).fit(X, Y),
    "control": lambda: np.ones(4 << 20, np.float32),
}
small = np.ones((40, 8), np.float32)
RidgeCV(cv=3).fit(small, small)  # libraries load and threads start before anything is measured
kernels.correlation(small, small, axis=0)
before = highest()
calls[sys.argv[1]]()
print(highest() - before)
"""


def beyond(call: str) -> float:
    """MiB that a call takes beyond what it is given."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, call],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=os.environ | {"OPENBLAS_NUM_THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)},
    )
    return int(done.stdout) / MIB


@pytest.mark.parametrize(
    "call", ["over time", "loss", "weighted", "delays", "delays backward", "ridge moments", "transposed", "broadcast"]
)
def test_an_operation_takes_no_memory_of_the_matrices_size(call):
    assert beyond(call) < 2  # the smallest of the matrices has 15 MiB


def test_ridge_takes_its_tiles_and_its_results():
    results = 4 * 300 * 40_000 * 2 + 8 * 10 * 40_000 * 2  # weights and scores, and their parts before they are joined
    tiles = NumpyBackend.tile_bytes * THREADS / MIB
    assert tiles < 0.4 * 40_000 * 4 * (2 * 1500 + 14 * 300) / MIB  # all at once would be seen
    assert beyond("ridge") < tiles + results / MIB


def test_what_is_taken_is_seen():
    assert 15 < beyond("control") < 18


def test_one_row_of_more_than_two_to_the_31_elements():
    """Zeros that were never written take no memory; 32-bit counts would miss the end."""
    n, rng = 2**31 + 5000, np.random.default_rng(0)
    x, y = (np.zeros((1, n), np.float32) for _ in range(2))
    x[0, -1000:], noise = rng.standard_normal((2, 1000))
    y[0, -1000:] = x[0, -1000:] + noise
    u, v = x[0, -1000:].astype(float), y[0, -1000:].astype(float)
    mean_x, mean_y = u.sum() / n, v.sum() / n
    expected = (u @ v - n * mean_x * mean_y) / np.sqrt((u @ u - n * mean_x**2) * (v @ v - n * mean_y**2))
    assert kernels.correlation(x, y, axis=1)[0] == pytest.approx(expected, abs=1e-6)


def test_rows_that_lie_more_than_two_to_the_31_elements_apart():
    x = np.zeros((4, 2**30), np.float32)[:, -100:]
    x[:] = np.random.default_rng(0).standard_normal(x.shape)
    for axis in (0, 1):
        assert np.array_equal(kernels.correlation(x, x, axis=axis), kernels.correlation(x.copy(), x.copy(), axis=axis))
    out = np.zeros((4, 2**30), np.float32)[:, -200:]
    kernels._C.delay_stack(x, [0, 1], [0], 0, out, None, 1e-5, 0, 0)
    assert np.array_equal(out, kernels.delay_stack(x.copy(), [0, 1]))
    gx = np.zeros((4, 2**30), np.float32)[:, -100:]
    kernels._C.delay_stack_backward(out, [0, 1], [0], 0, gx, None, None, 0, 0)
    assert np.array_equal(gx[:3], 2 * x[:3])
    assert np.array_equal(gx[3], x[3])


def test_broadcast_rows_are_read_where_they_lie():
    row = np.random.default_rng(0).standard_normal((1, 60), dtype=np.float32)
    x, y = np.broadcast_to(row, (400, 60)), np.broadcast_to(row[:, ::-1].copy(), (400, 60))
    for axis in (0, 1):
        assert np.array_equal(kernels.correlation(x, y, axis=axis), kernels.correlation(x.copy(), y.copy(), axis=axis))
