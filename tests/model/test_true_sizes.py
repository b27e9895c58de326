"""Base+ and Large as they are on the hub, with random weights: hidden states are stock ``transformers``'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WavLMModel

from tests.helpers.tiny import open_encoder, save_tiny

BASE_PLUS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": (512,) * 7,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "num_buckets": 320,
    "max_bucket_distance": 800,
}
LARGE = BASE_PLUS | {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "normalize", "layers"),
    [(BASE_PLUS, False, [0, 9, 12]), (LARGE, True, [0, 12, 24])],
    ids=["base", "large"],
)
def test_hidden_states_are_those_of_transformers(tmp_path, sizes, normalize, layers):
    folder = save_tiny(tmp_path / "wavlm", normalize=normalize, **sizes)
    sound = 0.05 * np.random.default_rng(0).standard_normal((2, 8_000)) + 0.02  # quiet, with an offset
    encoder = open_encoder(folder, layer=layers[-1]).double().eval()
    with torch.no_grad():
        found = encoder.layer_features(encoder.front_end(torch.from_numpy(sound)), layers)
    del encoder
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    prepared = list(sound)
    if extractor.do_normalize:  # by its own function: called as a whole it rounds to float32
        prepared = extractor.zero_mean_unit_var_norm(prepared, attention_mask=None)
    stock = WavLMModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    with torch.no_grad():
        states = stock(torch.from_numpy(np.stack(prepared)), output_hidden_states=True).hidden_states
    for k, layer in enumerate(layers):
        wanted = states[layer][:, 0]
        assert (found[:, k] - wanted).abs().max() <= 1e-10 * wanted.abs().max(), layer
