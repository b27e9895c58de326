"""The teacher: the student plus a LoRA fitted to the meaning of what was said, which is what most of the brain follows.

Its update is exactly of the kind that fine-tuning may learn (LoRA on q, k and v), and it changes what the features
mean rather than how loud they are, so there is something for the brain to teach. (A random LoRA on a random WavLM
plants nothing that can be learned.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import ModelConfig
from ..model import Encoder, Story
from ..model.identity import TUNED_FILES
from ..model.lora import load_adapter, save_adapter
from ..model.transformer_layer import gate, position_bias
from ..model.weights import load_tensors, save_tensors, take_tensors
from ..progress import Progress
from .optimize import minimize

BATCH = 64
LEARNING_RATE = 5e-3


@dataclass(frozen=True)
class Teacher:
    """A fitted teacher: its encoder, and the linear head from features to meaning."""

    encoder: Encoder
    head: nn.Linear

    def latents(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the brain follows: meaning as the teacher hears it, (n_trs, 12), linear in its TR features."""
        return features.astype(np.float64) @ self.head.weight.detach().double().numpy().T


def fit_teacher(
    config: ModelConfig, lessons: Sequence[tuple[Story, NDArray]], steps: int, seed: int, progress: Progress
) -> Teacher:
    """Fit LoRA (or, with ``config.finetune`` frozen, the head alone: the null) and a head to windows' mean embeddings.

    Parameters
    ----------
    config : ModelConfig
        The student, and how the teacher is tuned.
    lessons : Sequence[tuple[Story, NDArray]]
        For each lesson its story and the meaning of each of its windows, (n_windows, 12).
    steps : int
        Optimizer steps of 64 windows each.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoder = Encoder(config).eval()
    head = nn.Linear(encoder.width, lessons[0][1].shape[1])
    trained = [*head.parameters(), *(p for p in encoder.parameters() if p.requires_grad)]
    wanted = np.concatenate([meaning for _, meaning in lessons])
    scale = wanted.std(axis=0)

    def loss_and_note() -> tuple[Tensor, str]:
        story, meaning = lessons[int(rng.integers(len(lessons)))]
        windows = rng.choice(whole_windows(story), BATCH, replace=False)
        target = torch.from_numpy(meaning[windows] / scale).float()
        loss = (head(encoder.encode(story, windows)) - target).square().mean()
        return loss, f"error {float(loss.detach()):.2f}"

    with progress.task("fitting a teacher", steps) as advance:
        minimize(loss_and_note, trained, learning_rate=LEARNING_RATE, steps=steps, advance=advance)
    encoder.requires_grad_(False)
    return Teacher(encoder, head)


def save_teacher(folder: Path, teacher: Teacher) -> None:
    """The teacher's adapter, as PEFT writes it (none for the null), and its head."""
    folder.mkdir(parents=True)
    if teacher.encoder.finetune == "lora":
        teacher.encoder.wavlm.peft_config["default"].base_model_name_or_path = "../../../student"
        save_adapter(teacher.encoder.wavlm, folder / "adapter")
    save_tensors(folder / "head.safetensors", teacher.head.state_dict())


def load_teacher(folder: Path, config: ModelConfig) -> Teacher:
    """A teacher that :func:`save_teacher` wrote, on its student."""
    encoder = Encoder(config).eval()
    if encoder.finetune == "lora":
        load_adapter(encoder.wavlm, folder / TUNED_FILES["lora"])
    tensors = load_tensors(folder / "head.safetensors")
    head = nn.Linear(encoder.width, len(tensors["bias"]))
    take_tensors(head, tensors, where=folder / "head.safetensors")
    encoder.requires_grad_(False)
    return Teacher(encoder, head)


def whole_windows(story: Story) -> NDArray[np.int64]:
    """The windows of a story that are of full length."""
    lengths = story.plan.ends - story.plan.starts
    return np.flatnonzero(lengths == lengths.max())


@torch.no_grad()
def attention_entropy(encoder: Encoder, fronts: Tensor) -> float:
    """Mean entropy of the first layer's attention over log(n_frames): near 1 means uniform, nothing to tune."""
    base = encoder.base
    hidden = encoder.first_hidden(fronts)
    attention = base.encoder.layers[0].attention
    n, t, width = hidden.shape
    heads = attention.num_heads

    def split(x: Tensor) -> Tensor:
        return x.reshape(n, t, heads, width // heads).transpose(1, 2)

    scores = split(attention.q_proj(hidden)) @ split(attention.k_proj(hidden)).transpose(-1, -2)
    scores = scores / (width // heads) ** 0.5 + gate(attention, hidden) * position_bias(base.encoder.layers[0], t)
    p = scores.softmax(-1)
    return float(-(p * p.clamp_min(1e-12).log()).sum(-1).mean() / np.log(t))
