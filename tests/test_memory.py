from __future__ import annotations

import subprocess
import sys

import numpy as np

MIB = 1 << 20


def test_the_peak_stays_after_memory_is_freed():
    code = """
import numpy as np
from brainwavlm_fast.memory import peak_memory
before = peak_memory()
block = np.ones(64 << 20, np.uint8)
during = peak_memory()
del block
print(before, during, peak_memory())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, during, after = map(int, done.stdout.split())
    assert during >= before + 50 * MIB
    assert after >= during - 5 * MIB  # the kernel counts approximately


def test_a_large_parents_memory_is_not_the_childs():
    block = np.ones(600 * MIB, np.uint8)
    code = "from brainwavlm_fast.memory import peak_memory; print(peak_memory())"
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert child < 300 * MIB < block.nbytes
