"""The student: a tiny WavLM, briefly pre-trained on the simulated language by masked prediction of log-mel clusters.

An untrained network's attention is uniform and its features know no word: a brain planted on it would either be
predicted by everything or learned by nothing. Steps are counted, so that the same seed makes the same student.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn
from transformers import WavLMConfig, WavLMModel

from ..data import SAMPLE_RATE
from ..data.mel import log_mel
from ..progress import Progress
from .optimize import minimize

N_CLUSTERS = 40
CROP = 2 * SAMPLE_RATE
BATCH = 16
LEARNING_RATE = 2e-3
_HOP = 320  # samples per frame of WavLM
_SPANS, _SPAN = 5, 10  # masked spans of a 2 s crop, frames each: half of it, as in HuBERT and WavLM


def student_config() -> WavLMConfig:
    """Two layers of width 64: small enough to fine-tune on two cores in a minute, large enough to learn words."""
    return WavLMConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        layerdrop=0.0,
    )


def pretrain_student(sound: NDArray[np.float32], steps: int, seed: int, progress: Progress) -> WavLMModel:
    """Pre-train on ``sound`` (16 kHz): predict the cluster of masked frames from their surroundings."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = WavLMModel(student_config())
    for parameter in model.encoder.layers.parameters():
        if parameter.ndim == 2:  # transformers' std of 0.02 leaves attention uniform at this width
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    mel = log_mel(sound, hop=_HOP)
    kmeans = KMeans(N_CLUSTERS, n_init=1, max_iter=50, random_state=seed).fit(mel[::3])
    clusters = torch.from_numpy(kmeans.predict(mel).astype(np.int64))
    audio = torch.from_numpy(sound)
    head = nn.Linear(model.config.hidden_size, N_CLUSTERS)
    n_frames = int(model._get_feat_extract_output_lengths(CROP))
    model.train()

    def loss_and_note() -> tuple[Tensor, str]:
        starts = _HOP * rng.integers(0, len(clusters) - n_frames - 1, BATCH)
        crops = torch.stack([audio[start : start + CROP] for start in starts])
        wanted = torch.stack([clusters[start // _HOP : start // _HOP + n_frames] for start in starts])
        masked = _masks(n_frames, rng)
        logits = head(model(crops, mask_time_indices=masked).last_hidden_state)
        of_masked, of_others = (F.cross_entropy(logits[rows], wanted[rows]) for rows in (masked, ~masked))
        hits = float((logits.argmax(-1) == wanted)[masked].float().mean())
        return of_masked + 0.2 * of_others, f"masked accuracy {hits:.2f}"

    parameters = [*model.parameters(), *head.parameters()]
    with progress.task("pre-training the student", steps) as advance:
        minimize(loss_and_note, parameters, learning_rate=LEARNING_RATE, steps=steps, advance=advance)
    return model.eval()


def _masks(n_frames: int, rng: np.random.Generator) -> Tensor:
    masked = torch.zeros(BATCH, n_frames, dtype=torch.bool)
    for row in masked:
        for start in rng.choice(n_frames - _SPAN, _SPANS, replace=False):
            row[start : start + _SPAN] = True
    return masked
