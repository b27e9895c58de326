from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import WavLMModel

from benchmarks.published_step import PublishedStep
from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.data import SAMPLE_RATE
from brainwavlm_fast.errors import CheckpointError, ConfigError
from brainwavlm_fast.model import BrainWavLM, Story, cache_front_end
from brainwavlm_fast.training.losses import training_loss
from tests.helpers.tiny import randomise_lora, save_tiny

N_TRS, N_VOXELS = 14, 23


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("wavlm"))
    return ModelConfig(model=str(folder), layer=3, stride=0.5, bottleneck=5)


@pytest.fixture(scope="module")
def audio():
    rng = np.random.default_rng(0)
    return rng.standard_normal(45 * SAMPLE_RATE).astype(np.float32)


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    model = BrainWavLM(config, N_VOXELS).eval()
    randomise_lora(model)
    return model


@pytest.mark.parametrize(
    ("start", "stop", "recompute", "with_context"), [(0, 10, True, True), (10, 14, False, True), (2, 12, True, False)]
)
def test_the_step_is_the_published_one(model, audio, start, stop, recompute, with_context):
    """Every shortcut together, in float64: the fold, the transform, the kept front end, groups, layers made again."""
    model = model.double()
    model.encoder.recompute = recompute
    measured = torch.from_numpy(np.random.default_rng(1).standard_normal((stop - start, N_VOXELS)))
    story = Story(audio, N_TRS, model.config, for_training=True)
    story.audio = story.audio.double()
    if recompute:
        cache_front_end(model.encoder, story)
    loss = training_loss("voxels", model(story, start, stop, with_context=with_context), measured)
    loss.backward()
    wavlm = WavLMModel.from_pretrained(model.config.model, dtype=torch.float64).eval()
    published = PublishedStep(model, wavlm, audio, N_TRS)
    expected = published.loss(measured, start, stop, with_context=with_context)
    expected.backward()
    assert abs(loss.item() - expected.item()) <= 1e-12 * abs(expected.item())
    ours = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert ours.keys() == published.trained.keys()
    for name, tensor in published.trained.items():
        scale = tensor.grad.abs().max()
        assert scale > 0, name
        assert (ours[name] - tensor.grad).abs().max() <= 1e-10 * scale, name


def test_a_block_sees_its_true_context(model, audio):
    """Trap 7: a block alone and the same rows inside the story's features agree."""
    story = Story(audio, N_TRS, model.config, for_training=True)
    full = model.encode_story(story)
    with torch.no_grad():
        first, last, context = model.block_span(story, 5, 9, with_context=True)
        windows, weights = story.rows(first, last)
        alone = weights.float() @ model.encoder.encode(story, windows)
    assert (first, last, context) == (5, 12, 4)
    torch.testing.assert_close(alone, full[first:last], rtol=1e-4, atol=1e-5)


def test_without_history_a_block_starts_from_zeros(model, audio):
    story = Story(audio, N_TRS, model.config, for_training=True)
    with torch.no_grad():
        predicted = model(story, 4, 8, with_context=False)
        bias_alone = model.readout.layers[1](model.readout.layers[0].bias)
    torch.testing.assert_close(predicted[0], bias_alone)


def test_story_features_are_the_rows_of_the_full_filter(model, audio):
    features = model.story_features(audio, N_TRS)
    assert features.shape == (model.config.context + N_TRS, 32)
    assert features.dtype == np.float32
    training = replace(model.config, negative_lobes=False)
    truncated = Story(audio, N_TRS, training, for_training=True)
    full = Story(audio, N_TRS, training, for_training=False)
    assert np.allclose(model.encode_story(full).numpy(), features)
    assert not np.allclose(model.encode_story(truncated).numpy(), features, atol=1e-2)


def test_windows_come_back_in_their_order(model, audio):
    story = Story(audio, N_TRS, model.config, for_training=True)
    windows = np.array([9, 0, 30, 3])
    with torch.no_grad():
        together = model.encoder.encode(story, windows)
        alone = torch.cat([model.encoder.encode(story, windows[k : k + 1]) for k in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_train_without_regularizers_keeps_lora_s_dropout(config, audio):
    model = BrainWavLM(replace(config, regularizers=False), N_VOXELS).train()
    randomise_lora(model)
    on = [name for name, module in model.encoder.named_modules() if module.training]
    assert on
    assert all("lora_dropout" in name for name in on)
    story = Story(audio, N_TRS, model.config, for_training=True)
    with torch.no_grad():
        assert not torch.equal(model(story, 0, 4), model(story, 0, 4))
        model.eval()
        assert torch.equal(model(story, 0, 4), model(story, 0, 4))


@pytest.mark.parametrize("finetune", ["lora", "full", "frozen"])
def test_saved_and_opened_it_is_the_same(config, audio, tmp_path, finetune):
    model = BrainWavLM(replace(config, finetune=finetune), N_VOXELS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "saved")
    opened = BrainWavLM.from_pretrained(tmp_path / "saved")
    story = Story(audio, N_TRS, model.config, for_training=True)
    with torch.no_grad():
        assert torch.equal(opened(story, 2, 6), model(story, 2, 6))


def test_the_adapter_opens_with_plain_peft_on_plain_transformers(model, audio, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    plain = WavLMModel.from_pretrained(model.config.model)
    tuned = PeftModel.from_pretrained(plain, tmp_path / "saved" / "adapter").merge_and_unload().eval()
    waveforms = torch.from_numpy(audio[: 2 * SAMPLE_RATE]).reshape(2, -1)
    with torch.no_grad():
        theirs = tuned(waveforms, output_hidden_states=True).hidden_states[3][:, 0]
        torch.testing.assert_close(model.encoder(waveforms), theirs, rtol=1e-4, atol=1e-4)


def edit(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def first_key(tensors):
    return sorted(tensors)[0]


@pytest.mark.parametrize("file", ["readout.safetensors", "adapter/adapter_model.safetensors"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(first_key(t)), "missing"),
        (lambda t: t.update(extra=torch.ones(1)), "extra extra"),
        (lambda t: t.update({first_key(t): torch.ones(2, 2)}), "shape"),
        (lambda t: t[first_key(t)].fill_(float("nan")), "NaN"),
    ],
)
def test_a_checkpoint_with_wrong_keys_is_refused(model, tmp_path, file, change, message):
    """Trap 14: strict=False with a wrong prefix silently evaluates the pre-trained model."""
    model.save_pretrained(tmp_path / "saved")
    edit(tmp_path / "saved" / file, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        BrainWavLM.from_pretrained(tmp_path / "saved")
    assert file.split("/")[-1] in str(caught.value)


def test_damaged_and_absent_files_are_named(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "readout.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=r"readout\.safetensors is damaged"):
        BrainWavLM.from_pretrained(tmp_path / "saved")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"readout\.safetensors is missing"):
        BrainWavLM.from_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="no such model folder"):
        BrainWavLM.from_pretrained(tmp_path / "elsewhere")


def test_the_base_model_may_have_moved(model, audio, tmp_path, config):
    model.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "brainwavlm.json"
    saved = json.loads(path.read_text())
    saved["model"]["model"] = "./moved-away"
    path.write_text(json.dumps(saved))
    with pytest.raises(CheckpointError, match="moved-away"):
        BrainWavLM.from_pretrained(tmp_path / "saved")
    opened = BrainWavLM.from_pretrained(tmp_path / "saved", base=config.model)
    assert np.array_equal(opened.story_features(audio, N_TRS), model.story_features(audio, N_TRS))


def test_an_interrupted_save_leaves_the_old_one(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "saved")
    before = sorted(p.name for p in (tmp_path / "saved").rglob("*"))

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("brainwavlm_fast.model.brainwavlm.save_tensors", full_disk)
    with pytest.raises(OSError, match="No space"):
        model.save_pretrained(tmp_path / "saved")
    assert sorted(p.name for p in (tmp_path / "saved").rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]
    BrainWavLM.from_pretrained(tmp_path / "saved")


def test_in_double_the_features_are_more_exact(model, audio):
    single = model.story_features(audio, N_TRS)
    double = model.double().story_features(audio, N_TRS)
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_as_a_whole_is_refused(model, audio, dtype):
    with pytest.raises(ConfigError, match=r"weights are b?float16: .*call encoder.use_precision"):
        model.to(dtype).story_features(audio, N_TRS)


def test_of_two_adapters_the_active_one_is_read(model, audio, tmp_path):
    first, peft = model.story_features(audio, N_TRS), model.encoder.wavlm
    peft.add_adapter("other", LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj", "k_proj", "v_proj"]))
    for name, parameter in peft.named_parameters():
        if "lora_B.other" in name:
            torch.nn.init.normal_(parameter)
    assert np.array_equal(model.story_features(audio, N_TRS), first)
    peft.set_adapter("other")
    assert np.abs(model.story_features(audio, N_TRS) - first).max() > 0.1
    with pytest.raises(ConfigError, match="the active adapter is 'other'"):
        model.save_pretrained(tmp_path / "saved")
    peft.base_model.set_adapter(["default", "other"])
    with pytest.raises(ConfigError, match=r"2 adapters are active \(default, other\)"):
        model.story_features(audio, N_TRS)
