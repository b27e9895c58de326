"""Validation: whole stories predicted block by block, as in training, and scored per subject."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import TrainConfig
from ..distributed import Ranks
from ..model import BrainWavLM, Story
from ..ops import correlation
from .losses import training_loss
from .response_loader import ResponseLoader
from .training_data import TrainingData

Scores = dict[str, float]
"""``loss`` and ``correlation``."""


@torch.no_grad()
def validate(
    model: BrainWavLM, config: TrainConfig, training_data: TrainingData, loader: ResponseLoader, ranks: Ranks
) -> dict[str, dict[str, Scores]]:
    """Scores of every validation story: subject -> story -> scores. Leaves the model in evaluation mode."""
    model.eval()
    scores: dict[str, dict[str, Scores]] = {}
    for name in training_data.split.validation:
        responses, story = loader.story(name), training_data.stories[name]
        predicted = predict_story(model, story, config, list(responses), ranks=ranks)
        for subject, measured in responses.items():
            scores.setdefault(subject, {})[name] = {
                "loss": float(training_loss(config.loss, predicted[subject], measured)),
                "correlation": float(correlation(predicted[subject], measured, axis=0).mean()),
            }
    return scores


def mean_over_subjects(scores: dict[str, dict[str, Scores]]) -> dict[str, Scores]:
    """Story -> mean scores of the subjects who heard it."""
    stories = dict.fromkeys(name for of_subject in scores.values() for name in of_subject)
    return {name: mean_scores([s[name] for s in scores.values() if name in s]) for name in stories}


def mean_scores(scores: list[Scores]) -> Scores:
    """The mean of each score."""
    return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}


@torch.no_grad()
def predict_story(
    model: BrainWavLM, story: Story, config: TrainConfig, subjects: Sequence[str], *, ranks: Ranks
) -> dict[str, Tensor]:
    """Predicted responses of a story, without gradient: subject -> (n_trs, n_voxels).

    Features are computed once for the story in evaluation mode and normalized per block, exactly as a training
    step normalizes them.
    """
    features = model.encode_story(story, ranks=ranks, label="validation features")
    predicted: dict[str, list[Tensor]] = {subject: [] for subject in subjects}
    for start in range(0, story.n_trs, config.block_size):
        stop = min(start + config.block_size, story.n_trs)
        first, last, context = model.block_span(story, start, stop, with_context=config.block_context)
        for subject, parts in predicted.items():
            parts.append(model.readout_of(subject)(features[first:last], context, stop - start))
    return {subject: torch.cat(parts) for subject, parts in predicted.items()}
