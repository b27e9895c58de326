"""Validation: whole stories predicted block by block, as in training, and scored per subject."""

from __future__ import annotations

import math

import torch

from ..errors import BwlmError
from ..ops import correlation
from .gradient import BlockGradient
from .losses import training_loss
from .response_loader import ResponseLoader
from .training_data import story_blocks

Scores = dict[str, float]
"""``loss`` and ``correlation``."""


@torch.no_grad()
def validate(gradient: BlockGradient, loader: ResponseLoader) -> dict[str, dict[str, Scores]]:
    """Scores of every validation story: subject -> story -> scores. Leaves the model in evaluation mode.

    Features are computed once for a story in evaluation mode and normalized per block, exactly as a training step
    normalizes them.

    Raises
    ------
    BwlmError
        A score is not finite.
    """
    model, config = gradient.model.eval(), gradient.config
    scores: dict[str, dict[str, Scores]] = {}
    for name in gradient.training_data.split.validation:
        responses, story = loader.story(name), gradient.training_data.stories[name]
        features = model.encode_story(story, ranks=gradient.ranks, label="validation features")
        spans = [(*gradient.rows(block), block.n_trs) for block in story_blocks(name, story.n_trs, config.block_size)]
        for subject, measured in responses.items():
            readout = model.readout_of(subject)
            predicted = torch.cat([readout(features[a:b], context, n_trs) for a, b, context, n_trs in spans])
            found = {
                "loss": float(training_loss(config.loss, predicted, measured)),
                "correlation": float(correlation(predicted, measured, axis=0).mean()),
            }
            if not all(map(math.isfinite, found.values())):
                said = " and its ".join(f"{score} is {value}" for score, value in found.items())
                raise BwlmError(
                    f"validation on {name} ({subject}): its {said}. The weights are not finite, or overflow; the last "
                    "checkpoint stands. Lower the learning rates."
                )
            scores.setdefault(subject, {})[name] = found
    return scores


def mean_over_subjects(scores: dict[str, dict[str, Scores]]) -> dict[str, Scores]:
    """Story -> mean scores of the subjects who heard it."""
    stories = dict.fromkeys(name for of_subject in scores.values() for name in of_subject)
    return {name: mean_scores([s[name] for s in scores.values() if name in s]) for name in stories}


def mean_scores(scores: list[Scores]) -> Scores:
    """The mean of each score."""
    return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
