"""Where features come from: a pre-trained WavLM, or an epoch of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..config import ModelConfig, RunConfig
from ..errors import CheckpointError
from ..files import read_json
from ..results.folders import SUMMARY, read_run_config


@dataclass(frozen=True)
class Source:
    """An encoder: a pre-trained WavLM, or one that a run tuned.

    Attributes
    ----------
    label : human-readable name.
    config : model, windows and times.
    checkpoint : the run's checkpoint folder; None for the pre-trained model.
    epoch : its epoch; None for the pre-trained model.
    """

    label: str
    config: ModelConfig
    checkpoint: Path | None = None
    epoch: int | None = None

    @property
    def pretrained(self) -> Source:
        """The pre-trained model that the run started from, with the run's windows and times."""
        return pretrained_source(self.config)


def pretrained_source(config: ModelConfig) -> Source:
    """The pre-trained model that a configuration names."""
    return Source("pre-trained", replace(config, finetune="frozen", layer=0))


def run_sources(run: Path, config: RunConfig | None = None) -> dict[int, Source]:
    """Every saved epoch of a run, in order: epoch -> source; by the configuration in its folder, or by another.

    Raises
    ------
    CheckpointError : the run has no checkpoint of its start (epoch 0), which every comparison needs.
    """
    config = config or read_run_config(run)
    folders = {int(path.name[6:]): path for path in (run / "checkpoints").glob("epoch-[0-9]*") if path.is_dir()}
    if 0 not in folders:
        raise CheckpointError(
            f"{run / 'checkpoints'} holds no epoch-000, the pre-trained start that every epoch is compared with; "
            f"continue the run with `bwlm train --resume {run}`."
        )
    return {epoch: Source(config.train.label, config.model, folders[epoch], epoch) for epoch in sorted(folders)}


def run_source(run: Path, epoch: int | None = None, config: RunConfig | None = None) -> Source:
    """An epoch of a run: the one given, else the best of its evaluation, else the last that was saved."""
    saved = run_sources(run, config)
    if epoch is None:
        evaluated = run / "evaluation" / SUMMARY
        epoch = read_json(evaluated).get("best_epoch") if evaluated.is_file() else max(saved)
    if epoch not in saved:
        raise CheckpointError(f"{run} has no checkpoint of epoch {epoch}; saved: {', '.join(map(str, saved))}.")
    return saved[epoch]
