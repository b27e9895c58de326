"""Word-level states of a language model: the right token, in one view or many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainwavlm_fast.errors import CheckpointError, ConfigError
from brainwavlm_fast.model import TextModel
from tests.helpers.tiny import save_tiny_gpt

WORDS = ["the", "old", "house", "on", "the", "hill", "had", "a", "door", "that", "nobody", "ever", "opened", "again"]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return save_tiny_gpt(tmp_path_factory.mktemp("gpt"), " ".join(WORDS))


def test_the_state_at_each_words_last_token(language_model):
    from transformers import AutoModel, AutoTokenizer

    found = TextModel(language_model, context=128).word_states(WORDS, 2)
    assert found.shape == (len(WORDS), 16)
    tokenizer, model = AutoTokenizer.from_pretrained(language_model), AutoModel.from_pretrained(language_model).eval()
    for k in range(len(WORDS)):  # a causal model sees nothing of what follows
        tokens = tokenizer(" ".join(WORDS[: k + 1]), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = model(tokens, output_hidden_states=True).hidden_states[2][0, -1].numpy()
        np.testing.assert_allclose(found[k], expected, atol=1e-5)


@pytest.mark.parametrize("context", [2, 7, 16, 40])
def test_every_word_has_a_state_whatever_the_context(language_model, context):
    whole, short = (TextModel(language_model, context=c).word_states(WORDS, 3) for c in (128, context))
    assert short.shape == whole.shape
    assert np.isfinite(short).all()
    if context >= 16:
        np.testing.assert_allclose(short[0], whole[0], atol=1e-5)
    else:
        assert not np.allclose(short[-1], whole[-1], atol=1e-3)  # it sees less


def test_bad_input_is_named(language_model, tmp_path):
    with pytest.raises(CheckpointError, match="no language model could be opened"):
        TextModel(tmp_path)
    with pytest.raises(ConfigError, match="--context is 1"):
        TextModel(language_model, context=1)
    with pytest.raises(ConfigError, match="sees 128 tokens at most"):
        TextModel(language_model, context=500)
