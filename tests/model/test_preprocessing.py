"""Sound as the base model expects it, against transformers' own feature extractor."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WavLMModel

from brainwavlm_fast.errors import CheckpointError
from brainwavlm_fast.model.preprocessing import FILE
from tests.helpers.tiny import large_layout, open_encoder, save_tiny


@pytest.fixture
def sound():
    """Three windows, one far from zero, one soft."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 8000)) * [[0.1], [3.0], [1e-3]] + [[0.0], [0.5], [0.0]]


def stock(folder, sound):
    """The first frame of layer 4 by transformers alone, each window through its feature extractor; float64."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    windows = list(sound)
    if extractor.do_normalize:
        windows = extractor.zero_mean_unit_var_norm(windows, attention_mask=None)
    model = WavLMModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    with torch.no_grad():
        return model(torch.from_numpy(np.stack(windows)), output_hidden_states=True).hidden_states[4][:, 0]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("layout", [{}, large_layout()], ids=["base", "large"])
def test_features_are_transformers(tmp_path, sound, layout, normalize):
    folder = save_tiny(tmp_path, normalize=normalize, **layout)
    encoder = open_encoder(folder, layer=4).double().eval()
    with torch.no_grad():
        found = encoder(torch.from_numpy(sound))
    expected = stock(folder, sound)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    if normalize and layout:  # the layout with a group norm hardly sees it
        (folder / FILE).write_text('{"do_normalize": false}')
        assert (stock(folder, sound) - expected).abs().mean() > 0.1


@pytest.mark.parametrize(("layout", "expected"), [({}, False), (large_layout(), True)], ids=["base", "large"])
def test_without_the_file_the_layout_decides_and_it_is_said(tmp_path, layout, expected):
    folder = save_tiny(tmp_path, normalize=None, **layout)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        encoder = open_encoder(folder, layer=2)
    assert encoder.base.config.do_normalize is expected
    assert any("zero mean and unit variance" in str(warning.message) for warning in said) == expected


def test_normalized_sound_is_part_of_the_base_and_its_absence_changes_no_digest(tmp_path):
    plain, none, norm = (
        open_encoder(save_tiny(tmp_path / str(choice), normalize=choice), layer=2).pretrained.digest
        for choice in (False, None, True)
    )
    assert plain == none != norm


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"do_normalize": "yes"}', '{"do_normalize": null}'])
def test_a_file_that_does_not_say_it(tmp_path, content):
    folder = save_tiny(tmp_path)
    (folder / FILE).write_text(content)
    with pytest.raises(CheckpointError, match="do_normalize"):
        open_encoder(folder, layer=2)
