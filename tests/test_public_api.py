"""What others build on: the public names, and kernels that need no torch."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from importlib import resources
from typing import Any, get_type_hints

import pytest

import brainwavlm_fast


def test_the_public_names():
    assert sorted(brainwavlm_fast.__all__) == [
        "BandedRidgeCV",
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
    unknown = "ridge_regression"
    with pytest.raises(AttributeError, match="no attribute 'ridge_regression'"):
        getattr(brainwavlm_fast, unknown)


CALLABLES = sorted(set(brainwavlm_fast.__all__) - {"__version__"})


@pytest.mark.parametrize("name", CALLABLES)
def test_each_has_a_doctest_that_passes(name):
    value = getattr(brainwavlm_fast, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(
        value, name, globs=vars(sys.modules[value.__module__]).copy()
    )
    assert example.examples
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert result.failed == 0


def public_functions(name):
    value = getattr(brainwavlm_fast, name)
    if inspect.isclass(value):
        return [f for key, f in vars(value).items() if inspect.isfunction(f) and (key == "__init__" or key[0] != "_")]
    return [value]


@pytest.mark.parametrize("name", CALLABLES)
def test_each_is_typed(name):
    for function in public_functions(name):
        hints = get_type_hints(function)
        parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
        assert parameters <= hints.keys(), function
        assert "return" in hints, function
        assert hints["return"] is not Any, function


@pytest.mark.parametrize("name", CALLABLES)
def test_documented_parameters_are_those_of_the_signature(name):
    value = getattr(brainwavlm_fast, name)
    for function in public_functions(name):
        whole = function.__name__ == "__init__" or not inspect.isclass(value)
        described = value.__doc__ if whole else function.__doc__
        parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
        if whole or "Parameters\n" in described:  # methods of one line say it in a sentence
            assert documented(described) == parameters, function


def documented(docstring):
    """Names under numpydoc's heading "Parameters", in order."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{4,}$|\Z)", inspect.cleandoc(docstring), re.M | re.S)
    lines = re.findall(r"^(\S[^:\n]*) : ", section[1], re.M) if section else []
    return [name.strip(" *") for line in lines for name in line.split(",")]


def test_type_checkers_see_the_package_as_typed():
    assert (resources.files("brainwavlm_fast") / "py.typed").is_file()


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
