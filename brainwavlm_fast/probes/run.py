"""Probes of runs: which models, stories and targets are probed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import ModelConfig, Places, RunConfig
from ..data import Dataset, StorySplit, find_dataset, make_split
from ..errors import ConfigError
from ..features.sources import Source, pretrained_source, run_source
from ..progress import Progress
from ..results.folders import read_run_config
from .fit import ProbeSettings, probe_sources
from .targets import Target, file_target, mel_target, word_target


@dataclass(frozen=True)
class ProbeOptions:
    """What is probed, and on what.

    Attributes
    ----------
    layers, settings : as in :func:`probe_sources`.
    epoch : of the runs, as in :func:`run_source`.
    embeddings : word vectors in GloVe's text format; None: those of a planted brain, else no words are probed.
    files : HDF5 files of further targets, see :func:`file_target`.
    n_stories : train on the first so many stories only.
    """

    layers: Sequence[int] | None = None
    epoch: int | None = None
    embeddings: Path | str | None = None
    files: Sequence[Path | str] = ()
    n_stories: int | None = None
    settings: ProbeSettings = field(default_factory=ProbeSettings)


def probe_runs(
    runs: Sequence[Path | str],
    *,
    places: Places | None = None,
    out: Path | str | None = None,
    options: ProbeOptions | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Probe the layers of runs, or of a pre-trained model; with neither, of the newest run in ``runs/``, if any.

    Parameters
    ----------
    runs : run folders; their held-out stories must be the same.
    places : where the data set (by default the first run's) and the base model are, if they have moved; without a
        run, the data set and the model that is probed, by default the paper's.
    out : folder of the results; by default ``RUN/probes`` for one run and ``probes`` otherwise.
    options : layers, epoch, targets and how probes are fitted.

    Returns
    -------
    The summary of :func:`probe_sources`, and the folder.
    """
    progress, options, places = progress or Progress(), options or ProbeOptions(), places or Places()
    folders = [Path(run) for run in runs]
    if not folders and places.model is None and (newest := _newest(Path("runs"))) is not None:
        folders = [newest]
        progress.say(f"probing the newest run, {newest}.")
    sources: list[Source]
    if folders:
        configs = [read_run_config(folder, places) for folder in folders]
        dataset = find_dataset(configs[0].data)
        if len({(config.train.validation, config.train.test) for config in configs}) > 1:
            raise ConfigError(
                "the runs hold out different stories; a story that one of them trained on cannot test it."
            )
        split = _common([_split(config, dataset) for config in configs])
        sources = [run_source(f, options.epoch, config) for f, config in zip(folders, configs, strict=True)]
    else:
        dataset, model = find_dataset(places.data), ModelConfig().with_base(places.model, places.revision)
        progress.say(f"no run was given: probing the pre-trained {model.model}.")
        split = make_split(dataset.stories(dataset.subjects()[0]))
        sources = [pretrained_source(model)]
    split = replace(split, train=split.train[: options.n_stories])
    stories = [*split.train, *split.test]
    targets = make_targets(dataset, stories, sources[0].config, options.embeddings, options.files)
    folder = Path(out) if out is not None else (folders[0] / "probes" if len(folders) == 1 else Path("probes"))
    settings: Any = {"layers": options.layers, "settings": options.settings, "progress": progress}
    return probe_sources(sources, targets, split, dataset, folder, **settings), folder


def _newest(folder: Path) -> Path | None:
    runs = [path.parent for path in folder.glob("*/config.json")]
    return max(runs, key=lambda path: (path / "config.json").stat().st_mtime_ns, default=None)


def _split(config: RunConfig, dataset: Dataset) -> StorySplit:
    stories = {story for subject in config.train.subjects for story in dataset.stories(dataset.subject(subject))}
    return make_split(stories, validation=config.train.validation, test=config.train.test)


def _common(splits: Sequence[StorySplit]) -> StorySplit:
    """Training and test stories that every subject heard."""
    train = tuple(name for name in splits[0].train if all(name in split.train for split in splits))
    test = tuple(name for name in splits[0].test if all(name in split.test for split in splits))
    if not train or not test:
        raise ConfigError("the subjects of the runs share no training story, or no test story; probe them separately.")
    return StorySplit(train, (), test)


def make_targets(
    dataset: Dataset,
    stories: Sequence[str],
    config: ModelConfig,
    embeddings: Path | str | None,
    files: Sequence[Path | str],
) -> list[Target]:
    """Filterbank, words (with ``embeddings``, or those of a planted brain), and the user's files."""
    targets = [mel_target(dataset, stories, clock=config.clock)]
    planted = dataset.root / "derivative" / "embeddings.txt"
    if embeddings is None and planted.is_file():
        embeddings = planted
    if embeddings is not None:
        targets.append(word_target(dataset, stories, embeddings, clock=config.clock))
    targets += [file_target(path, dataset, stories) for path in files]
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        raise ConfigError(f"--target: two targets share a name ({', '.join(names)}); rename a file.")
    return targets
