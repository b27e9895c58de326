from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WavLMModel

from brainwavlm_fast.errors import CheckpointError, ConfigError
from tests.helpers.tiny import large_layout, open_encoder, randomise_lora, save_tiny

READ = {"first": lambda h: h[:, 0], "last": lambda h: h[:, -1], "mean": lambda h: h.mean(1)}


@pytest.fixture(scope="module", params=["base", "large"])
def folder(request, tmp_path_factory):
    changes = large_layout() if request.param == "large" else {}
    return save_tiny(tmp_path_factory.mktemp(request.param), **changes)


@pytest.fixture(scope="module")
def audio():
    return torch.randn(3, 8000, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("token", sorted(READ))
@pytest.mark.parametrize("layer", [0, 1, 3, 4])
def test_reads_the_hidden_state_of_transformers(folder, audio, layer, token):
    plain = WavLMModel.from_pretrained(folder, dtype=torch.float64).eval()
    expected = READ[token](plain(audio.double(), output_hidden_states=True).hidden_states[layer])
    encoder = open_encoder(folder, layer=layer, token=token).double().eval()
    torch.testing.assert_close(encoder(audio.double()), expected, rtol=1e-12, atol=1e-12)


def test_only_the_layers_below_the_readout_are_there(folder):
    encoder = open_encoder(folder, layer=2, finetune="lora")
    assert len(encoder.base.encoder.layers) == 2
    assert sum("lora_" in name for name, _ in encoder.named_parameters()) == 2 * 3 * 2


@pytest.mark.parametrize("training", [True, False])
def test_every_lora_tensor_gets_a_gradient_after_a_step(folder, audio, training):
    """Trap 1: PEFT on plain transformers gives none at all."""
    encoder = open_encoder(folder, layer=3, finetune="lora").train(training)
    encoder.base.config.layerdrop = 0.0  # a dropped layer has no gradient, rightly
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - transformers' SpecAugment draws from it
    for _ in range(2):  # B starts at zero, so A's gradient is zero in the first step
        optimizer.zero_grad()
        encoder(audio).square().sum().backward()
        optimizer.step()
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert len(trained) == 18
    for name, parameter in trained.items():
        assert "lora_" in name
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_audio_and_the_front_end_get_no_gradient(folder, audio):
    encoder = open_encoder(folder, layer=3, finetune="lora").train()
    waveforms = audio.clone().requires_grad_()
    encoder(waveforms).sum().backward()
    assert waveforms.grad is None
    assert all(p.grad is None for p in encoder.base.feature_extractor.parameters())


@pytest.mark.parametrize("token", sorted(READ))
def test_merging_the_adapter_changes_nothing(folder, audio, token):
    encoder = open_encoder(folder, layer=3, token=token, finetune="lora").double().eval()
    plain = encoder(audio.double())
    randomise_lora(encoder)
    tuned = encoder(audio.double())
    encoder.wavlm.merge_adapter()
    merged = encoder(audio.double())
    assert (tuned - plain).abs().max() > 1e-3
    torch.testing.assert_close(merged, tuned, rtol=1e-11, atol=1e-11)


def test_merged_weights_do_the_same_in_plain_transformers(folder, audio):
    encoder = open_encoder(folder, layer=4, finetune="lora").double().eval()
    randomise_lora(encoder)
    ours = encoder(audio.double())
    merged = encoder.wavlm.merge_and_unload()
    theirs = merged(audio.double(), output_hidden_states=True).hidden_states[4][:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_full_tuning_reaches_every_weight(folder, audio):
    encoder = open_encoder(folder, layer=2, finetune="full").eval()
    encoder(audio).square().sum().backward()
    silent = {name for name, p in encoder.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    # The mask embedding only acts in training; with one frame read, nothing else is out of reach in Base. The stable
    # layout's final norm comes after the layers that are read.
    assert silent <= {"wavlm.masked_spec_embed", "wavlm.encoder.layer_norm.weight", "wavlm.encoder.layer_norm.bias"}


def test_train_mode_has_wavlm_s_regularizers(folder, audio):
    """Trap 9: SpecAugment and dropout act in train mode, and only there."""
    encoder = open_encoder(folder, layer=3, finetune="lora")
    assert torch.equal(encoder.eval()(audio), encoder(audio))
    assert not torch.equal(encoder.train()(audio), encoder(audio))


def test_windows_shorter_than_a_mask_do_not_fail(folder):
    encoder = open_encoder(folder, layer=2, finetune="lora").train()
    assert encoder(torch.randn(2, 800)).shape == (2, 32)


def test_bfloat16_is_for_the_transformer_alone(folder, audio):
    encoder = open_encoder(folder, layer=3, finetune="lora").eval()
    exact = encoder(audio)
    encoder.use_precision("bf16")
    front = encoder.front_end(audio)
    rounded = encoder.transformer(front)
    assert front.dtype == rounded.dtype == torch.float32
    difference = (rounded - exact).norm() / exact.norm()
    assert 1e-5 < difference < 5e-2


def test_a_layer_that_is_not_there(folder):
    with pytest.raises(ConfigError, match="has 4 layers"):
        open_encoder(folder, layer=5)


def test_not_a_model_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_encoder(tmp_path, layer=1)


def test_a_folder_that_is_not_there():
    with pytest.raises(CheckpointError, match="no such folder"):
        open_encoder("./nowhere", layer=1)


def test_another_kind_of_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    with pytest.raises(CheckpointError, match="hubert"):
        open_encoder(tmp_path, layer=1)


@pytest.fixture
def changed(tmp_path):
    def change(edit):
        folder = save_tiny(tmp_path / "model")
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return change


def test_missing_keys_are_refused(changed):
    """Trap 15: a missing key would silently start from random numbers."""
    folder = changed(lambda tensors: tensors.pop("encoder.layers.1.attention.q_proj.weight"))
    with pytest.raises(CheckpointError, match=r"missing keys: encoder\.layers\.1\.attention\.q_proj\.weight"):
        open_encoder(folder, layer=1)


def test_unexpected_keys_are_refused(changed):
    folder = changed(lambda tensors: tensors.update({"encoder.layers.0.surprise": torch.ones(2)}))
    with pytest.raises(CheckpointError, match="surprise"):
        open_encoder(folder, layer=1)


def test_old_names_of_the_weight_norm_load(changed, tmp_path, audio):
    """Trap 15: weight_g/weight_v against parametrizations must never mean a silent re-initialisation."""
    reference = open_encoder(save_tiny(tmp_path / "reference"), layer=2).eval()(audio)

    def rename(tensors):
        stem = "encoder.pos_conv_embed.conv"
        tensors[f"{stem}.weight_g"] = tensors.pop(f"{stem}.parametrizations.weight.original0")
        tensors[f"{stem}.weight_v"] = tensors.pop(f"{stem}.parametrizations.weight.original1")

    loaded = open_encoder(changed(rename), layer=2).eval()(audio)
    torch.testing.assert_close(loaded, reference)


def test_truncated_weights_are_refused(changed):
    folder = changed(lambda tensors: None)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_encoder(folder, layer=1)
