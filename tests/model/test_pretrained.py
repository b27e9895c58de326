"""Files that people have: models for a task, clones without their weights, masks that nothing uses, NaN."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WavLMForCTC, WavLMForSequenceClassification, WavLMForXVector

from brainwavlm_fast.errors import CheckpointError
from brainwavlm_fast.model.pretrained import load_wavlm
from tests.helpers.tiny import save_tiny, tiny_config


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (WavLMForCTC, "lm_head"),
        (WavLMForSequenceClassification, "classifier, projector"),
        (WavLMForXVector, "classifier, feature_extractor, objective, projector, tdnn"),
    ],
)
def test_the_encoder_of_a_model_for_a_task(tmp_path, kind, head):
    torch.manual_seed(0)
    model = kind(tiny_config(vocab_size=32, tdnn_dim=(8, 8, 8, 8, 24), xvector_output_dim=8))
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=re.escape(f"the task's head ({head}) is dropped")):
        found = load_wavlm(tmp_path)
    for key, weight in model.wavlm.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], weight, rtol=0, atol=0)


def rewrite(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_a_missing_mask_matters_where_frames_are_masked_only(tmp_path):
    masks, none = save_tiny(tmp_path / "masks"), save_tiny(tmp_path / "none", apply_spec_augment=False)
    for folder in (masks, none):
        rewrite(folder, lambda weights: weights.pop("masked_spec_embed"))
    with pytest.raises(CheckpointError, match="missing keys: masked_spec_embed"):
        load_wavlm(masks)
    assert not load_wavlm(none).masked_spec_embed.any()  # the same each time: it is part of the digest


def test_a_mask_that_the_architecture_lacks(tmp_path):
    save_tiny(tmp_path, mask_time_prob=0.0)
    rewrite(tmp_path, lambda weights: weights.update(masked_spec_embed=torch.zeros(32)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_wavlm(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path, value):
    save_tiny(tmp_path)
    key = "encoder.layers.2.feed_forward.output_dense.bias"
    rewrite(tmp_path, lambda weights: weights[key].__setitem__(3, value))
    with pytest.raises(CheckpointError, match=rf"{key} holds NaN or infinity"):
        load_wavlm(tmp_path)


def test_a_pointer_of_git_lfs(tmp_path):
    save_tiny(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 377\n")
    with pytest.raises(CheckpointError, match=r"model\.safetensors was not fetched; run in its folder: git lfs pull"):
        load_wavlm(tmp_path)


class Unwelcome:
    """Pickled beside the tensors."""


def test_nobody_is_told_to_open_pickles(tmp_path):
    save_tiny(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"masked_spec_embed": Unwelcome()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickles more than tensors") as refused:
        load_wavlm(tmp_path)
    assert "weights_only" not in str(refused.value)
