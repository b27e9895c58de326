"""What others build on: the public names, and kernels that need no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import brainwavlm_fast


def test_the_public_names():
    assert sorted(brainwavlm_fast.__all__) == [
        "BrainWavLM",
        "RidgeCV",
        "__version__",
        "correlation",
        "correlation_loss",
        "delay_stack",
    ]
    for name in brainwavlm_fast.__all__:
        value = getattr(brainwavlm_fast, name)
        assert isinstance(value, str) or value.__doc__
    assert set(brainwavlm_fast.__all__) <= set(dir(brainwavlm_fast))
    unknown = "ridge"
    with pytest.raises(AttributeError, match="no attribute 'ridge'"):
        getattr(brainwavlm_fast, unknown)


def test_kernels_are_used_without_torch():
    code = """
import sys, numpy as np, brainwavlm_fast as bw
x = np.random.default_rng(0).standard_normal((20, 5), dtype=np.float32)
assert bw.correlation(x, x, axis=0).shape == (5,)
assert bw.delay_stack(x, [1, 2]).shape == (20, 10)
assert abs(float(bw.correlation_loss(x, x, axis=1)) + 1) < 1e-6
heavy = {"torch", "transformers", "peft", "h5py", "sklearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_starts_without_torch():
    code = "import sys, brainwavlm_fast.cli.main; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
