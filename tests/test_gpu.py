"""The CUDA twins: the definition in float64, the CPU's numbers, streams, autograd, and a whole training step.

Skipped without an NVIDIA GPU; ``BWLM_REQUIRE_GPU=1`` makes that a failure. ``benchmarks/gpu.sh`` runs them under
compute-sanitizer too.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainwavlm_fast import RidgeCV, kernels, ops, reference
from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.model import BrainWavLM, Story, cache_front_end
from brainwavlm_fast.model.activations import frame_bytes
from brainwavlm_fast.model.encoder import GPU_GROUP
from brainwavlm_fast.model.transformer_layer import gated_bias, mix
from brainwavlm_fast.training.losses import training_loss
from brainwavlm_fast.training.randomness import keyed
from tests.helpers.tiny import randomise_lora, save_tiny

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float64]


def pair(n_trs, n_voxels, dtype, *, mean=0.0):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_trs, n_voxels))
    y = 0.5 * x + rng.standard_normal((n_trs, n_voxels))
    return tuple(torch.from_numpy(a).to("cuda", dtype) for a in (x + mean, y - mean))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "shape", [(0, 3), (3, 0), (1, 1), (10, 1), (2, 33), (10, 511), (17, 1025), (291, 2000), (3, 140_000)]
)
def test_correlation_and_its_gradient_are_their_definition(shape, axis, dtype):
    x, y = pair(*shape, dtype, mean=3.0)
    eps = torch.finfo(dtype).eps
    n_x, n_y = x.double().cpu().numpy(), y.double().cpu().numpy()
    r = ops.correlation(x, y, axis=axis)
    np.testing.assert_allclose(r.cpu(), reference.correlation(n_x, n_y, axis=axis, eps=eps), atol=30 * eps)
    x.requires_grad_()
    loss = ops.correlation_loss(x, y, axis=axis)
    loss.backward()
    expected = reference.correlation_loss_backward(n_x, n_y, axis=axis, eps=eps)
    assert abs(loss.item() - reference.correlation_loss(n_x, n_y, axis=axis, eps=eps)) <= 30 * eps
    error = np.abs(x.grad.cpu().numpy() - expected).max(initial=0)
    # Of two values r is 1 or -1, and its gradient what is left of terms of the size of its share in the loss.
    assert error <= 1e3 * eps * max(np.abs(expected).max(initial=0), 1 / max(shape[1 - axis], 1))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_large_mean_does_not_cancel(axis):
    x, y = pair(300, 300, torch.float32, mean=1000.0)
    expected = reference.correlation(x.double().cpu().numpy(), y.double().cpu().numpy(), axis=axis)
    np.testing.assert_allclose(ops.correlation(x, y, axis=axis).cpu(), expected, atol=2e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_constant_and_nan_stay_where_they_are(axis):
    x, y = pair(40, 40, torch.float32)
    lines = x if axis == 1 else x.T
    lines[3], lines[5, 7] = 2.5, float("nan")
    x.requires_grad_()
    r = ops.correlation(x, y, axis=axis)
    r.sum().backward()
    gradient = x.grad if axis == 1 else x.grad.T
    assert r[3] == 0
    assert (gradient[3] == 0).all()
    assert r[5].isnan()
    others = [k for k in range(40) if k not in (3, 5)]
    assert r[others].isfinite().all()
    assert gradient[others].isfinite().all()


def test_a_row_of_many_parts_counts_only_what_counts():
    """Parts of a row without a single voxel that counts, and a constant row as wide as several parts."""
    x, y = pair(3, 30_000, torch.float64, mean=50.0)
    weights = torch.zeros(30_000, device="cuda", dtype=torch.float64)
    weights[9_000:9_100] = 2.0
    x[1] = 0.1
    r = ops.correlation_loss(x, y, axis=1, weights=weights)
    expected = reference.correlation_loss(*(a.cpu().numpy() for a in (x, y)), axis=1, weights=weights.cpu().numpy())
    assert abs(r.item() - expected) < 1e-14
    assert ops.correlation(x, y, axis=1)[1] == 0


@pytest.mark.parametrize("context", [0, 3])
def test_more_runs_than_a_launch_takes(context):
    onsets = [0, *range(5, 1800, 3)]
    x = torch.randn(1803, 7, device="cuda", dtype=torch.float64, requires_grad=True)
    found = ops.delay_stack(x, [2, -1], run_onsets=onsets, zscore=True, context=context)
    wide, g = x.detach().cpu().numpy(), torch.randn_like(found)
    z = reference.zscore(wide, run_onsets=onsets)
    wanted = reference.delay_stack(z, [2, -1], run_onsets=onsets, context=context)
    np.testing.assert_allclose(found.detach().cpu(), wanted, atol=1e-10)
    found.backward(g)
    gz = reference.delay_stack_backward(g.cpu().numpy(), [2, -1], run_onsets=onsets, context=context, n_rows=1803)
    np.testing.assert_allclose(x.grad.cpu(), reference.zscore_backward(gz, wide, run_onsets=onsets), atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("onsets", [None, [0, 4, 5, 20]])
@pytest.mark.parametrize("delays", [[1, 2, 3, 4], [0], [-2, 3], [100]])
def test_delay_stack_is_its_definition(dtype, onsets, delays):
    x = torch.randn(31, 70, device="cuda", dtype=dtype)
    expected = reference.delay_stack(x.cpu().numpy(), delays, run_onsets=onsets)
    np.testing.assert_array_equal(ops.delay_stack(x, delays, run_onsets=onsets).cpu(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("onsets", [None, [0, 4, 5, 20]])
def test_z_scored_delays_are_their_definition(dtype, onsets):
    x = (torch.randn(31, 300, device="cuda", dtype=dtype) + 5).requires_grad_()
    g = torch.randn(31, 600, device="cuda", dtype=dtype)
    found = ops.delay_stack(x, [1, 3], run_onsets=onsets, zscore=True)
    found.backward(g)
    wide = x.detach().double().cpu().numpy()
    expected = reference.delay_stack(reference.zscore(wide, run_onsets=onsets), [1, 3], run_onsets=onsets)
    gz = reference.delay_stack_backward(g.double().cpu().numpy(), [1, 3], run_onsets=onsets)
    gx = reference.zscore_backward(gz, wide, run_onsets=onsets)
    eps = torch.finfo(dtype).eps
    # A run of one row has no spread: its scale is 1 / sqrt(1e-5), which multiplies every rounding.
    np.testing.assert_allclose(found.detach().cpu(), expected, atol=4e3 * eps * (1 + np.abs(wide).max()), rtol=0)
    np.testing.assert_allclose(x.grad.cpu(), gx, atol=1e5 * eps, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_weighted_loss_is_its_definition(axis, dtype):
    x, y = pair(7, 1025, dtype)
    weights = torch.rand(1025, device="cuda", dtype=dtype)
    weights[::3], x[:, ::3] = 0, float("nan")
    x.requires_grad_()
    loss = ops.correlation_loss(x, y, axis=axis, weights=weights)
    loss.backward()
    n_x, n_y, w = (a.detach().double().cpu().numpy() for a in (x, y, weights))
    eps = torch.finfo(dtype).eps
    assert abs(loss.item() - reference.correlation_loss(n_x, n_y, axis=axis, weights=w, eps=eps)) <= 30 * eps
    expected = reference.correlation_loss_backward(n_x, n_y, axis=axis, weights=w, eps=eps)
    np.testing.assert_allclose(x.grad.cpu(), expected, atol=1e3 * eps * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("onsets", [None, [0, 6, 9]])
@pytest.mark.parametrize(("context", "n_trs"), [(4, None), (4, 12), (4, 3), (0, 25)])
def test_history_is_seen_and_not_returned(context, n_trs, onsets):
    x = torch.randn(15, 4, device="cuda", dtype=torch.float64, requires_grad=True)

    def stack(a):
        return ops.delay_stack(a, [1, 4, -2], run_onsets=onsets, context=context, n_trs=n_trs, zscore=True)

    z = reference.zscore(x.detach().cpu().numpy(), run_onsets=onsets)
    expected = reference.delay_stack(z, [1, 4, -2], run_onsets=onsets, context=context, n_trs=n_trs)
    np.testing.assert_allclose(stack(x).detach().cpu(), expected, atol=1e-10)
    assert torch.autograd.gradcheck(stack, (x,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rank", "n_targets", "n_penalties"), [(1, 1, 1), (127, 129, 8), (300, 1000, 17)])
def test_ridge_moments_are_their_definition(rank, n_targets, n_penalties, dtype):
    matrices = [torch.randn(rank, n_targets, device="cuda", dtype=dtype) for _ in range(4)]
    shrink = torch.rand(n_penalties, rank, device="cuda", dtype=torch.float64)
    shift, diagonal = shrink.mean(dim=1), shrink[0]
    found = ops.ridge_moments(*matrices, shrink, shift, diagonal)
    wanted = reference.ridge_moments(*(a.cpu().numpy() for a in (*matrices, shrink, shift, diagonal)))
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f.cpu(), w, rtol=0, atol=1e-10 * rank)


@pytest.mark.filterwarnings("ignore:1 of 3000 targets hold a NaN:UserWarning")
@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2e-6), (np.float64, 1e-10)])
def test_ridge_is_the_hosts(dtype, bound):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 80)).astype(dtype)
    Y = (X @ rng.standard_normal((80, 3000)) * 0.1 + rng.standard_normal((600, 3000))).astype(dtype)
    Y[:, 7] = np.nan
    host = RidgeCV(cv=3).fit(X, Y)
    for there in (RidgeCV(cv=3, device="cuda").fit(X, Y), RidgeCV(cv=3).fit(X, torch.from_numpy(Y).cuda())):
        np.testing.assert_allclose(there.cv_scores_, host.cv_scores_, rtol=0, atol=bound)
        same = there.alphas_ == host.alphas_
        assert same.mean() > 0.99
        np.testing.assert_allclose(there.coef_[same], host.coef_[same], rtol=0, atol=1e2 * bound)


@pytest.mark.parametrize("axis", [0, 1])
def test_cupy_arrays_need_no_torch(axis):
    cupy = pytest.importorskip("cupy")
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((50, 300), dtype=np.float32) for _ in range(2))
    there = [cupy.asarray(a) for a in (x, y)]
    found = kernels.correlation(*there, axis=axis)
    assert isinstance(found, cupy.ndarray)
    np.testing.assert_allclose(found.get(), kernels.correlation(x, y, axis=axis), atol=2e-6)
    weights = rng.random(300)
    weights[::4] = 0
    for w in (None, weights):
        loss, gradient = kernels.correlation_loss_grad(*there, axis=axis, weights=w)
        expected, wanted = kernels.correlation_loss_grad(x, y, axis=axis, weights=w)
        assert loss == pytest.approx(expected, abs=1e-6)
        np.testing.assert_allclose(gradient.get(), wanted, atol=1e-6)
    stacked = kernels.delay_stack(there[0].T, [1, -2], run_onsets=[0, 100], zscore=True)
    np.testing.assert_allclose(
        stacked.get(), kernels.delay_stack(x.T, [1, -2], run_onsets=[0, 100], zscore=True), atol=1e-5
    )
    with pytest.raises(ValueError, match="y: lies in host memory"):
        kernels.correlation(there[0], y, axis=axis)
    shrink = rng.random((10, 50))
    inputs = [x, y, y, x, shrink, shrink.mean(axis=1), shrink[0]]
    moments = kernels.ridge_moments(*map(cupy.asarray, inputs))
    for value, wanted in zip(moments, kernels.ridge_moments(*inputs), strict=True):
        np.testing.assert_allclose(value.get(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_gradcheck(axis):
    x, y = (a.requires_grad_() for a in pair(5, 7, torch.float64))
    assert torch.autograd.gradcheck(lambda a, b: ops.correlation(a, b, axis=axis), (x, y))
    assert torch.autograd.gradcheck(lambda a: ops.delay_stack(a, [1, 2], run_onsets=[0, 2]), (x,))


def test_opcheck():
    x, y = (a.requires_grad_() for a in pair(6, 9, torch.float32))
    y = y.detach()
    torch.library.opcheck(torch.ops.brainwavlm_fast.correlation, (x, y, 1, 0))
    for axis in (0, 1):
        for weights in (None, torch.rand(9, device="cuda")):
            torch.library.opcheck(torch.ops.brainwavlm_fast.correlation_loss, (x, y, weights, axis, True, 0))
    torch.library.opcheck(torch.ops.brainwavlm_fast.delay_stack, (x, [1, 2], [0], 2, 5, True, 1e-5, 0))
    shrink = torch.rand(3, 6, device="cuda", dtype=torch.float64)
    torch.library.opcheck(torch.ops.brainwavlm_fast.ridge_moments, (*[y] * 4, shrink, shrink.mean(dim=1), shrink[0], 0))


def test_the_callers_stream_is_used_and_nothing_waits():
    x, y = pair(291, 20_000, torch.float32)
    expected = ops.correlation(x, y, axis=0)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(x)
        torch.cuda._sleep(20_000_000)
        late.copy_(x)
        found = ops.correlation(late, y, axis=0)
        assert not stream.query(), "the call waited for the GPU"
    stream.synchronize()
    assert torch.equal(found, expected)


def test_the_same_numbers_every_time():
    x, y = pair(10, 90_000, torch.float32)
    first = ops.correlation(x, y, axis=1)
    assert all(torch.equal(ops.correlation(x, y, axis=1), first) for _ in range(5))


def test_mixed_devices_are_refused():
    x, y = pair(4, 5, torch.float32)
    with pytest.raises(ValueError, match="y: expected"):
        ops.correlation(x, y.cpu(), axis=0)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_training_step_is_the_cpus(tmp_path, recompute):
    config = ModelConfig(model=str(save_tiny(tmp_path / "wavlm")), layer=3, stride=0.5, bottleneck=5)
    torch.manual_seed(0)
    model = BrainWavLM(config, 23).eval().double()
    randomise_lora(model)
    model.encoder.recompute = recompute
    audio = np.random.default_rng(0).standard_normal(45 * 16_000).astype(np.float32)
    measured = torch.from_numpy(np.random.default_rng(1).standard_normal((10, 23)))
    results = []
    for device in ("cpu", "cuda"):
        model = model.to(device)
        story = Story(audio, 14, config, for_training=True)
        story.audio = story.audio.double()
        model.zero_grad()
        loss = training_loss("voxels", model(story, 2, 12), measured.to(device))
        loss.backward()
        # Copies: moving the model moves its gradients, too.
        gradients = {n: p.grad.cpu().clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((loss.item(), gradients))
    (cpu_loss, cpu), (gpu_loss, gpu) = results
    # torch's weight norm, of the positional convolution, takes its square root in float32 on a GPU, also in float64.
    assert abs(cpu_loss - gpu_loss) <= 1e-7
    assert cpu.keys() == gpu.keys()
    for name, gradient in cpu.items():
        assert (gpu[name] - gradient).abs().max() <= 1e-6 * gradient.abs().max(), name


def a_story(tmp_path, **changes):
    """A model of heads as wide as Base's, so that the fused kernels take it, and a story."""
    folder = save_tiny(tmp_path / "wavlm", hidden_size=128, num_attention_heads=2, layerdrop=0.0)
    config = ModelConfig(model=str(folder), layer=3, stride=0.5, bottleneck=5)
    torch.manual_seed(0)
    model = BrainWavLM(config, 23).to("cuda")
    randomise_lora(model, std=0.05)
    audio = np.random.default_rng(0).standard_normal(45 * 16_000).astype(np.float32)
    return model, Story(audio, 14, config, for_training=True)


def gradient_of(model, story):
    measured = torch.from_numpy(np.random.default_rng(1).standard_normal((10, 23), dtype=np.float32)).to("cuda")
    model.zero_grad()
    loss = training_loss("voxels", model(story, 2, 12), measured)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for n, p in model.named_parameters() if "lora_" in n])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_frames", [199, 200, 49])
def test_the_memory_efficient_kernel_takes_the_gated_mask_as_it_lies(dtype, n_frames):
    q, k, v = (torch.randn(3, 2, n_frames, 64, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3))
    gate = torch.rand(3, 2, n_frames, 1, device="cuda", requires_grad=True)
    bias = torch.randn(2, n_frames, n_frames, device="cuda")
    mask = gated_bias(gate, bias, dtype)
    assert mask.stride(-2) % 8 == 0
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.EFFICIENT_ATTENTION):
        found = mix(q, k, v, mask, 0.0)
    wide = [x.detach().double().requires_grad_() for x in (q, k, v, gate)]
    scores = wide[0] @ wide[1].transpose(-1, -2) / 8 + wide[3] * bias.double()
    expected = scores.softmax(-1) @ wide[2]
    weights = torch.randn_like(expected)
    bound = 1e-5 if dtype == torch.float32 else 2e-2
    assert (found.double() - expected).norm() <= bound * expected.norm()
    gradients = torch.autograd.grad((found * weights.to(dtype)).sum(), [q, k, v, gate])
    wanted = torch.autograd.grad((expected * weights).sum(), wide)
    for g, w in zip(gradients, wanted, strict=True):
        assert (g.double() - w).norm() <= bound * w.norm()


def test_bfloat16_points_where_float32_does(tmp_path):
    model, story = a_story(tmp_path)
    model.eval()
    loss, exact = gradient_of(model, story)
    model.encoder.use_precision("bf16")
    rounded_loss, rounded = gradient_of(model, story)
    assert abs(rounded_loss - loss) < 5e-3  # of a mean correlation
    assert torch.nn.functional.cosine_similarity(rounded, exact, dim=0) > 0.99


def test_computed_again_draws_the_same_dropout_for_less_memory(tmp_path):
    model, story = a_story(tmp_path)
    model.train()
    cache_front_end(model.encoder, story)
    results, peaks = [], []
    # Windows of one group, so that dropout is drawn in the same order either way.
    for recompute in (False, True):
        model.encoder.recompute = recompute
        torch.cuda.reset_peak_memory_stats()
        with keyed(0, 1):
            windows = np.arange(20, 20 + GPU_GROUP)
            model.encoder.encode(story, windows).square().sum().backward()
        peaks.append(torch.cuda.max_memory_allocated())
        results.append(torch.cat([p.grad.flatten() for n, p in model.named_parameters() if "lora_" in n]))
        model.zero_grad()
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)
    with keyed(0, 1):
        model.encoder.encode(story, np.arange(20, 20 + 3 * GPU_GROUP)).square().sum().backward()
    assert torch.cuda.max_memory_allocated() < 2 * peaks[1]  # three groups kept would be three times as much


def test_a_batch_without_a_gradient_takes_no_more_than_was_estimated(tmp_path):
    model, story = a_story(tmp_path)
    encoder, windows = model.eval().encoder, np.arange(20, 52)
    front = torch.cat([front for _, front in encoder.front_ends(story, windows)])
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        encoder.transformer(front)
    taken = torch.cuda.max_memory_allocated() - before
    assert taken < frame_bytes(encoder, front.shape[1]) * front.shape[0] * front.shape[1]


def test_convolutions_are_not_rounded_to_tf32(tmp_path):
    model, _ = a_story(tmp_path)
    waves = torch.randn(2, 16_000)
    with torch.no_grad():
        there = model.encoder.front_end(waves.cuda()).cpu()
        here = model.cpu().encoder.front_end(waves)
    assert (there - here).norm() < 1e-5 * here.norm()
    assert torch.backends.cudnn.allow_tf32  # and the setting is the caller's again
