"""The CPU core against its float64 definition, over awkward sizes, layouts, types and conditioning."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwavlm_fast import kernels, ops, reference

SIZES = [0, 1, 2, 3, 15, 16, 17, 31, 33, 129, 257, 1025]


def tolerance(dtype):
    """Absolute error of a correlation: a few roundings of its own type."""
    return 30 * np.finfo(dtype).eps


def pair(n_trs, n_voxels, dtype, *, mean=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_trs, n_voxels))
    y = 0.5 * x + rng.standard_normal((n_trs, n_voxels))
    return (x + mean).astype(dtype), (y - mean).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("other", [1, 3, 260])
def test_correlation_and_loss_gradient_are_their_definition(n, other, axis, dtype):
    shape = (n, other) if axis == 0 else (other, n)
    x, y = pair(*shape, dtype)
    eps = np.finfo(dtype).eps
    r = kernels.correlation(x, y, axis=axis)
    assert r.dtype == dtype
    np.testing.assert_allclose(r, reference.correlation(x, y, axis=axis, eps=eps), atol=tolerance(dtype), rtol=0)
    loss, gradient = kernels.correlation_loss_grad(x, y, axis=axis)
    expected = reference.correlation_loss_backward(x, y, axis=axis, eps=eps)
    assert abs(loss - reference.correlation_loss(x, y, axis=axis, eps=eps)) <= tolerance(dtype)
    # The gradient is a difference of two terms of this size (it is exactly 0 for two points, where r is 1 or -1).
    u, v = (a - a.sum(axis, keepdims=True) / max(n, 1) for a in (x.astype(np.float64), y.astype(np.float64)))
    norm = np.sqrt((u**2).sum(axis, keepdims=True) * (v**2).sum(axis, keepdims=True))
    terms = np.abs(v) / np.where(norm == 0, np.inf, norm) / max(r.size, 1)
    np.testing.assert_allclose(gradient, expected, atol=30 * eps * terms.max(initial=0), rtol=0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("mean", [30.0, 1000.0])
def test_a_large_mean_does_not_cancel(axis, mean):
    """Trap 11: raw sums of squares would lose everything in float32; two centred passes lose nothing."""
    x, y = pair(300, 300, np.float32, mean=mean)
    expected = reference.correlation(x, y, axis=axis)
    np.testing.assert_allclose(kernels.correlation(x, y, axis=axis), expected, atol=2e-6, rtol=0)
    _, gradient = kernels.correlation_loss_grad(x, y, axis=axis)
    exact = reference.correlation_loss_backward(x, y, axis=axis)
    assert np.linalg.norm(gradient - exact) <= 2e-4 * np.linalg.norm(exact)


def test_population_and_sample_variance_are_not_mixed():
    """Trap 11: N against N - 1 in one formula would give 0.9 on a block of 10."""
    x = np.arange(10.0)[:, None]
    assert kernels.correlation(x, 3 * x + 1, axis=0)[0] == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 3e-20])
def test_constant_rows_have_no_correlation_and_no_gradient(axis, value, dtype):
    x, y = pair(40, 40, dtype)
    index = (slice(None), 7) if axis == 0 else (7, slice(None))
    x[index] = value
    r = kernels.correlation(x, y, axis=axis)
    _, gradient = kernels.correlation_loss_grad(x, y, axis=axis)
    assert r[7] == 0
    assert np.all(gradient[index] == 0)
    assert np.isfinite(r).all()
    assert (np.delete(r, 7) != 0).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_nan_stays_where_it_is(axis):
    """Trap 10: it never spreads to another voxel or TR."""
    x, y = pair(40, 600, np.float32)
    clean = kernels.correlation(x, y, axis=axis)
    _, clean_gradient = kernels.correlation_loss_grad(x, y, axis=axis)
    x[5, 11] = np.nan
    r = kernels.correlation(x, y, axis=axis)
    _, gradient = kernels.correlation_loss_grad(x, y, axis=axis)
    hit = 11 if axis == 0 else 5
    assert np.isnan(r[hit])
    assert np.array_equal(np.delete(r, hit), np.delete(clean, hit))
    where = 1 if axis == 0 else 0
    assert np.array_equal(np.delete(gradient, hit, axis=where), np.delete(clean_gradient, hit, axis=where))


def layouts(x):
    wide = np.zeros((x.shape[0], 2 * x.shape[1] + 3), x.dtype)
    wide[:, : x.shape[1]] = x
    sparse = np.zeros((x.shape[0], 2 * x.shape[1]), x.dtype)
    sparse[:, ::2] = x
    locked = x.copy()
    locked.flags.writeable = False
    return {
        "padded rows": wide[:, : x.shape[1]],
        "every other column": sparse[:, ::2],
        "column major": np.asfortranarray(x),
        "reversed rows": x[::-1].copy()[::-1],
        "read-only": locked,
    }


@pytest.mark.parametrize("layout", list(layouts(np.zeros((1, 1)))))
@pytest.mark.parametrize("axis", [0, 1])
def test_layouts_do_not_matter(axis, layout):
    x, y = pair(33, 70, np.float32)
    x_laid, y_laid = layouts(x)[layout], layouts(y)[layout]
    before = x_laid.copy()
    np.testing.assert_allclose(
        kernels.correlation(x_laid, y_laid, axis=axis), kernels.correlation(x, y, axis=axis), atol=1e-6
    )
    assert np.array_equal(kernels.delay_stack(x_laid, [1, 2]), kernels.delay_stack(x, [1, 2]))
    np.testing.assert_allclose(
        kernels.correlation_loss_grad(x_laid, y_laid, axis=axis)[1],
        kernels.correlation_loss_grad(x, y, axis=axis)[1],
        atol=1e-9,
    )
    assert np.array_equal(x_laid, before)


@pytest.mark.parametrize("axis", [0, 1])
def test_threads_do_not_change_a_bit(axis):
    x, y = pair(70, 3000, np.float32)
    runs = [kernels.correlation_loss_grad(x, y, axis=axis, num_threads=n) for n in (1, 2, 3, 2)]
    for loss, gradient in runs[1:]:
        assert loss == runs[0][0]
        assert np.array_equal(gradient, runs[0][1])


def test_half_and_whole_numbers_are_accepted():
    x, y = pair(20, 9, np.float32)
    half = kernels.correlation(x.astype(np.float16), y.astype(np.float16), axis=0)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, kernels.correlation(x, y, axis=0), atol=5e-3)
    counts = np.arange(20).reshape(10, 2)
    assert kernels.correlation(counts, counts, axis=0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 2, 17, 130])
@pytest.mark.parametrize("n_trs", [0, 1, 2, 31, 33, 70])
@pytest.mark.parametrize("delays", [(1, 2, 3, 4), (0,), (4, -1, 0), (40,)])
def test_delay_stack_is_its_definition(n_trs, n_features, delays, dtype):
    x = np.random.default_rng(0).standard_normal((n_trs, n_features)).astype(dtype)
    got = kernels.delay_stack(x, delays)
    assert got.dtype == dtype
    assert np.array_equal(got, reference.delay_stack(x, delays).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("n_features", [0, 1, 127, 129, 1025])
@pytest.mark.parametrize("onsets", [None, [0, 7, 40]])
def test_z_scored_delays_are_their_definition(n_features, mean, onsets, dtype):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((100, n_features)) + mean).astype(dtype)
    delays = [1, 2, -3]
    found = kernels.delay_stack(x, delays, run_onsets=onsets, zscore=True)
    expected = reference.delay_stack(reference.zscore(x, run_onsets=onsets), delays, run_onsets=onsets)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=np.finfo(dtype).eps * (100 + 8 * mean), rtol=0)
    g = rng.standard_normal(found.shape).astype(dtype)
    leaf = torch.from_numpy(x).requires_grad_()
    ops.delay_stack(leaf, delays, run_onsets=onsets, zscore=True).backward(torch.from_numpy(g))
    gz = reference.delay_stack_backward(g, delays, run_onsets=onsets)
    wanted = reference.zscore_backward(gz, x, run_onsets=onsets)
    np.testing.assert_allclose(leaf.grad, wanted, atol=np.finfo(dtype).eps * (200 + 40 * mean), rtol=0)


def test_z_scored_delays_large_enough_to_pass_the_cache_are_the_same():
    x = np.random.default_rng(0).standard_normal((3000, 701)).astype(np.float32)
    whole = kernels.delay_stack(x, [1, 2, 3], zscore=True)  # 25 MB
    z = kernels.delay_stack(x, [0], zscore=True)
    np.testing.assert_array_equal(whole[3:], np.concatenate([z[3 - d : len(z) - d] for d in (1, 2, 3)], axis=1))
    one = kernels.delay_stack(x, [1, 2, 3], zscore=True, num_threads=1)
    np.testing.assert_array_equal(whole, one)


@settings(max_examples=60, deadline=None)
@given(
    n_trs=st.integers(1, 40),
    delays=st.lists(st.integers(-6, 9), min_size=1, max_size=5, unique=True),
    cuts=st.sets(st.integers(1, 39), max_size=4),
)
def test_nothing_crosses_from_run_to_run(n_trs, delays, cuts):
    """Trap 8: stacking runs together is stacking each alone."""
    onsets = [0, *sorted(c for c in cuts if c < n_trs)]
    x = np.random.default_rng(0).standard_normal((n_trs, 3))
    got = kernels.delay_stack(x, delays, run_onsets=onsets)
    alone = [kernels.delay_stack(part, delays) for part in np.split(x, onsets[1:])]
    assert np.array_equal(got, np.concatenate(alone))
    assert np.array_equal(got, reference.delay_stack(x, delays, run_onsets=onsets))


@settings(max_examples=40, deadline=None)
@given(n_trs=st.integers(2, 40), n_voxels=st.integers(2, 40), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_correlation_ignores_scale_and_shift(n_trs, n_voxels, scale, shift):
    x, y = pair(n_trs, n_voxels, np.float64)
    for axis in (0, 1):
        r = kernels.correlation(x, y, axis=axis)
        np.testing.assert_allclose(kernels.correlation(scale * x + shift, y, axis=axis), r, atol=1e-9)
        np.testing.assert_allclose(kernels.correlation(y, x, axis=axis), r, atol=1e-14)
        assert np.all(np.abs(r) <= 1 + 1e-12)


GOOD = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.correlation(GOOD[0], GOOD, axis=0), ValueError, "x: expected a matrix"),
        (lambda: kernels.correlation(GOOD, GOOD[:2], axis=0), ValueError, "y: expected the shape of x"),
        (lambda: kernels.correlation(GOOD, GOOD, axis=2), ValueError, "axis: expected 0"),
        (lambda: kernels.correlation(GOOD.astype(complex), GOOD, axis=0), TypeError, "x: expected real"),
        (lambda: kernels.correlation_loss_grad(GOOD, GOOD[:, :2], axis=1), ValueError, "target: expected the shape"),
        (lambda: kernels.delay_stack(GOOD, []), ValueError, "delays: at least one"),
        (lambda: kernels.delay_stack(GOOD, [1, 1]), ValueError, "delays: must be distinct"),
        (lambda: kernels.delay_stack(GOOD, [1.5]), TypeError, "delays: expected whole"),
        (lambda: kernels.delay_stack(GOOD, [1], run_onsets=[1]), ValueError, "run_onsets: must rise from 0"),
        (lambda: kernels.delay_stack(GOOD, [1], run_onsets=[0, 9]), ValueError, "run_onsets: must rise"),
        (lambda: kernels.delay_stack(GOOD, [1], run_onsets=[0, 2, 2]), ValueError, "run_onsets: must rise"),
        (lambda: kernels.delay_stack(np.zeros(3), [1]), ValueError, "x: expected a matrix"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_build_info_says_what_was_built():
    info = kernels.build_info()
    assert info["simd"] in ("baseline", "avx2", "avx512")
    assert info["threads"] >= 1
    assert isinstance(info["cuda_built"], bool)


class OnAGpu:
    """What tells a GPU's array from others."""

    @property
    def __cuda_array_interface__(self):
        return {"shape": (4, 3), "typestr": "<f4", "data": (0, False), "version": 3}


def test_arrays_on_different_sides_are_refused():
    with pytest.raises(ValueError, match="y: lies in host memory, but others on a GPU"):
        kernels.correlation(OnAGpu(), GOOD, axis=0)


def test_a_gpus_arrays_need_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    with pytest.raises(TypeError, match="x: lies on a GPU; install CuPy"):
        kernels.delay_stack(OnAGpu(), [1])


class InHostMemory(np.ndarray):
    """A stand-in for a GPU's array: memory of the host behind the CUDA array interface."""

    @property
    def __cuda_array_interface__(self):
        data, _ = self.__array_interface__["data"]
        return {"shape": self.shape, "typestr": self.dtype.str, "strides": self.strides, "data": (data, False)}


def as_stand_in(array, **kwargs):
    return np.ascontiguousarray(array, **kwargs).view(InHostMemory)


@pytest.mark.skipif(kernels.build_info()["cuda_built"], reason="the core would read host memory on a GPU")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: kernels.correlation(x, x, axis=0),
        lambda x: kernels.correlation_loss_grad(x, x, axis=1, weights=np.ones(4)),
        lambda x: kernels.delay_stack(x, [1, 2], zscore=True),
        lambda x: kernels.ridge_moments(x, x, x, x, x, x[0], x[0]),
    ],
)
def test_a_gpus_arrays_reach_the_cuda_twin(call, monkeypatch):
    stream = SimpleNamespace(ptr=0)
    cupy = SimpleNamespace(
        asarray=as_stand_in,
        ascontiguousarray=as_stand_in,
        empty=lambda shape, dtype=float: as_stand_in(np.empty(shape, dtype)),
        cuda=SimpleNamespace(get_current_stream=lambda: stream),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(ValueError, match="this build of brainwavlm_fast has no CUDA kernels"):
        call(as_stand_in(np.eye(4)))


def test_ridge_moments_on_different_sides_are_refused():
    with pytest.raises(ValueError, match="shrink: lies in host memory, but others on a GPU"):
        kernels.ridge_moments(*[OnAGpu()] * 4, GOOD, OnAGpu(), OnAGpu())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("dtype", "of_x", "of_y"),
    [
        *[(np.float32, a, b) for a, b in [(1e-25, 1), (1, 1e30), (1e-25, 1e30), (1e-30, 1e-30), (1e36, 1e-12)]],
        *[(np.float64, a, b) for a, b in [(1e-200, 1e-200), (1e200, 1)]],
    ],
)
def test_correlations_do_not_depend_on_the_unit(dtype, of_x, of_y, weighted, axis):
    """Squares of 1e-25 and 1e30 leave float32: r was 0, or above 1, and gradients infinite."""
    x, y = pair(40, 70, np.float64)
    weights = np.arange(70) % 3 if weighted else None
    x, y = (x * of_x).astype(dtype), (y * of_y).astype(dtype)
    plain = [a.astype(np.float64) / unit for a, unit in ((x, of_x), (y, of_y))]
    with np.errstate(all="raise"):
        loss, gradient = kernels.correlation_loss_grad(x, y, axis=axis, weights=weights)
        r = kernels.correlation(x, y, axis=axis)
    np.testing.assert_allclose(r, reference.correlation(*plain, axis=axis), atol=tolerance(dtype), rtol=0)
    expected = reference.correlation_loss_backward(*plain, axis=axis, weights=weights)
    bound = 30 * np.finfo(dtype).eps
    assert abs(loss - reference.correlation_loss(*plain, axis=axis, weights=weights)) <= bound
    np.testing.assert_allclose(gradient.astype(np.float64) * of_x, expected, atol=bound * np.abs(expected).max())


def test_one_column_of_another_unit_leaves_the_others_as_they_are():
    x, y = pair(300, 1100, np.float32)
    expected = kernels.correlation(x, y, axis=0)
    x[:, 7] *= np.float32(1e-25)
    x[:, 1050] = np.nan
    y[:, 9], y[:, 11] = 0, 0.1
    found = kernels.correlation(x, y, axis=0)
    assert np.isnan(found[1050])
    assert found[9] == found[11] == 0
    others = np.delete(np.arange(1100), [7, 9, 11, 1050])
    np.testing.assert_array_equal(found[others], expected[others])
    assert abs(found[7] - expected[7]) < 1e-6
