"""Every hidden state is transformers' own, tuned or not, and nothing above the last one asked for is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WavLMModel

from brainwavlm_fast.config import ModelConfig
from brainwavlm_fast.model import Encoder, Story, story_features
from tests.helpers.tiny import large_layout, open_encoder, randomise_lora, save_tiny

WAVES = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 16_000))).float()
FRAMES = {"first": slice(0, 1), "last": slice(-1, None), "mean": slice(None)}


@pytest.mark.parametrize("token", ["first", "last", "mean"])
@pytest.mark.parametrize("layout", [{}, large_layout()])
def test_hidden_states_are_transformers(tmp_path, token, layout):
    folder = save_tiny(tmp_path / "wavlm", **layout)
    encoder = open_encoder(folder, layer=0, token=token, all_layers=True).eval()
    plain = WavLMModel.from_pretrained(folder).eval()
    assert encoder.n_layers == 4
    with torch.no_grad():
        expected = plain(WAVES, output_hidden_states=True).hidden_states
        front = encoder.front_end(WAVES)
        for layers in ([0], [0, 2, 3], [1, 3]):
            found = encoder.layer_features(front, layers)
            assert found.shape == (3, len(layers), 32)
            for k, layer in enumerate(layers):
                wanted = expected[layer][:, FRAMES[token]].mean(dim=1)
                torch.testing.assert_close(found[:, k], wanted, atol=2e-5, rtol=1e-4)


def test_layers_below_and_above_the_tuned_one_feel_the_adapter(tmp_path):
    folder = save_tiny(tmp_path / "wavlm")
    tuned = open_encoder(folder, layer=2, finetune="lora", all_layers=True).eval()
    randomise_lora(tuned)
    plain = open_encoder(folder, layer=0, all_layers=True).eval()
    front = tuned.front_end(WAVES)
    after, before = (encoder.layer_features(front, [0, 1, 2, 3, 4]) for encoder in (tuned, plain))
    assert torch.equal(after[:, 0], before[:, 0])
    assert all((after[:, k] - before[:, k]).abs().max() > 1e-3 for k in (1, 2, 3, 4))
    torch.testing.assert_close(after[:, 2], tuned(WAVES), atol=1e-5, rtol=1e-4)  # the layer that is read in training


@pytest.mark.parametrize("layers", [[5], [-1], [2, 1], [1, 1]])
def test_layers_that_do_not_exist_are_refused(tmp_path, layers):
    encoder = open_encoder(save_tiny(tmp_path / "wavlm"), layer=0, all_layers=True).eval()
    with pytest.raises(ValueError, match="layers: expected rising numbers from 0 to 4"):
        encoder.layer_features(encoder.front_end(WAVES), layers)


def test_a_story_has_the_features_of_its_encoder(tmp_path):
    config = ModelConfig(model=str(save_tiny(tmp_path / "wavlm")), layer=2, stride=0.5, finetune="frozen")
    encoder = Encoder(config, all_layers=True).eval()
    story = Story(
        0.1 * np.random.default_rng(0).standard_normal(40 * 16_000).astype(np.float32), 10, config, for_training=False
    )
    features = story_features(encoder, story, layers=[0, 2])
    assert features.shape == (14, 2, 32)
    torch.testing.assert_close(features[:, 1], story_features(encoder, story), atol=1e-5, rtol=1e-4)
