"""Small random WavLMs in Hugging Face format, with gates, biases and weights that are far from trivial."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WavLMConfig, WavLMModel

from brainwavlm_fast.config import Finetune, ModelConfig
from brainwavlm_fast.model import Encoder


def tiny_config(**changes: object) -> WavLMConfig:
    """A WavLM of width 32, 4 layers, 4 heads; Base's layout unless changed."""
    values: dict[str, object] = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "num_buckets": 40,
        "max_bucket_distance": 100,
        "layerdrop": 0.05,
        "mask_time_prob": 0.05,
    }
    return WavLMConfig(**(values | changes))


def large_layout() -> dict[str, object]:
    """WavLM Large's layout: layer norms before the blocks, in the convolutions too, and convolution biases."""
    return {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}


def save_tiny(folder: Path, *, seed: int = 0, normalize: bool | None = False, **changes: object) -> Path:
    """Make and save one, which says whether its sound is normalized unless that is None; returns the folder."""
    torch.manual_seed(seed)
    model = WavLMModel(tiny_config(**changes))
    for name, parameter in model.named_parameters():
        if "rel_attn_embed" in name or "gru_rel_pos" in name:
            torch.nn.init.normal_(parameter)
        elif parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)
    if normalize is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalize}))
    return folder


def open_encoder(
    folder: Path | str, *, finetune: Finetune = "frozen", all_layers: bool = False, **settings: Any
) -> Encoder:
    """The encoder of a folder, with the other settings of a model as they are by default."""
    return Encoder(ModelConfig(model=str(folder), finetune=finetune, **settings), all_layers=all_layers)


def change_weight(folder: Path, name: str = "encoder.layers.0.attention.q_proj.weight") -> None:
    """Change the first number of a saved model's weight in place; the file's size and time of change stay."""
    path = folder / "model.safetensors"
    before, contents = path.stat(), bytearray(path.read_bytes())
    n_header = int.from_bytes(contents[:8], "little")
    first = 8 + n_header + json.loads(contents[8 : 8 + n_header])[name]["data_offsets"][0]
    number = np.frombuffer(contents, "<f4", 1, first) + np.float32(0.5)
    contents[first : first + 4] = number.astype("<f4").tobytes()
    path.write_bytes(contents)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def save_tiny_gpt(folder: Path, text: str) -> Path:
    """A random GPT-2 of three layers whose tokenizer splits the words of a text into pieces; returns the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=40, show_progress=False))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    GPT2Model(GPT2Config(vocab_size=64, n_positions=128, n_embd=16, n_layer=3, n_head=2)).save_pretrained(folder)
    return folder


def randomise_lora(module: torch.nn.Module, *, seed: int = 0, std: float = 0.3) -> None:
    """LoRA's B starts at zero; give it values so that the adapter does something."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            with torch.no_grad():
                parameter.copy_(std * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
