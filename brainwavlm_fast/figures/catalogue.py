"""Every figure that saved results can give, and the folder they are written to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BwlmError, ConfigError, suggest
from ..files import provenance, read_json, write_json
from ..progress import Progress
from ..results.folders import SUMMARY
from ..results.saved import Saved, digest, open_saved, tuned_pair
from .bars import ErrorBars, draw_improvement, draw_performance, known_error_bars
from .brains import THRESHOLD, Brains, all_maps, draw_voxel_map
from .curves import draw_epoch_changes
from .group import group_effects
from .matrices import draw_transfer
from .probes import draw_probe_improvement
from .style import FORMATS, Drawing, NothingToDraw, save
from .views import WIDTH, Kind
from .voxelwise import draw_ceiling, draw_scatter

FIGURES = {
    "performance": "encoding performance by voxel set and model",
    "improvement": "change over pre-trained by voxel set and model",
    "epochs": "change of validation performance over epochs",
    "transfer": "change for other subjects, as a matrix",
    "probes": "change of how well each layer predicts sound and words",
    "scatter": "two models, voxel by voxel",
    "ceiling": "noise ceilings, and what is reached of them",
    "flatmap": "values and changes on the flat map",
    "inflated": "the same on inflated surfaces",
}


@dataclass(frozen=True)
class Planned:
    """A figure that could be drawn: a name for its files, what it depends on, and how to draw it."""

    name: str
    kind: str
    digest: str
    draw: Callable[[], Drawing]


def plan(
    saved: Saved, brains: Brains, kinds: Sequence[str], *, threshold: float = THRESHOLD, errors: ErrorBars = "interval"
) -> Iterator[Planned]:
    """The figures of some kinds, in their order; drawing one may end in :class:`NothingToDraw`."""
    everything = digest([folder for run in saved.runs for folder in run.folders])
    with_errors = digest([folder for run in saved.runs for folder in run.folders], errors)
    bars: dict[str, Callable[..., Drawing]] = {"performance": draw_performance, "improvement": draw_improvement}
    for kind in kinds:
        if kind in bars:
            yield Planned(kind, kind, with_errors, partial(bars[kind], saved, errors=errors))
        elif kind == "epochs":
            yield Planned(kind, kind, everything, partial(draw_epoch_changes, saved))
        elif kind == "probes":
            inputs = digest(folder for folder, _ in saved.probes)
            written = {run.config.train.roi_name: run.config.train.roi for run in saved.runs}
            probes = [summary for _, summary in saved.probes]
            yield Planned(kind, kind, inputs, partial(draw_probe_improvement, probes, written))
        elif kind == "transfer":
            for folder, summary in saved.transfers:
                name = "transfer" if len(saved.transfers) == 1 else f"transfer-{folder.resolve().name}"
                yield Planned(name, kind, digest([folder]), partial(draw_transfer, summary))
        elif kind == "ceiling":
            for run in saved.evaluated:
                yield Planned(f"{run.label}_ceiling", kind, digest(run.folders), partial(draw_ceiling, run))
        elif kind == "scatter":
            yield from _scatters(saved)
        else:
            yield from _maps(saved, brains, kind, threshold)


def make_figures(
    paths: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    kinds: Sequence[str] = (),
    data: Path | str | None = None,
    evaluation: str = "evaluation",
    threshold: float = THRESHOLD,
    errors: str = "interval",
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Draw figures of saved results as PNG and PDF.

    Parameters
    ----------
    paths : Sequence[Path | str]
        Run folders, and folders that ``bwlm transfer`` or ``bwlm probe`` made.
    out : Path | str, optional
        Folder of figures and ``summary.json``, by default ``RUN/figures`` or ``figures``; nothing else is overwritten.
    kinds : Sequence[str], default ()
        Some of :data:`FIGURES`; all but ``inflated`` by default.
    data : Path | str, optional
        The data set, for maps, if it has moved.
    threshold : float, default THRESHOLD
        Maps color voxels whose pre-trained correlation exceeds it.
    errors : {"interval", "sem", "sem-morey"}, default "interval"
        Error bars over subjects: 95 % intervals, or the within-subject SEM, without or with Morey's factor.

    Returns
    -------
    tuple[dict[str, Any], Path]
        The summary, and the folder. ``figures``: name -> files, caption and ``alt`` text; ``skipped``: kind -> why it
        cannot be drawn, and which command makes what is missing; ``group``: see :func:`.group.group_effects`.

    Raises
    ------
    BwlmError
        A folder holds no results, a figure is unknown, or the folder holds figures of other results.
    """
    chosen = _known_kinds(kinds) or [kind for kind in FIGURES if kind != "inflated"]
    saved = open_saved(paths, evaluation=evaluation)
    folder = Path(out) if out is not None else default_folder(saved) / "figures"
    figures = _recorded(folder)
    planned = list(plan(saved, Brains(data, WIDTH), chosen, threshold=threshold, errors=known_error_bars(errors)))
    _refuse_to_overwrite(folder, planned, figures)
    skipped = _nothing_planned(saved, chosen, planned)
    skipped |= _draw_all(planned, folder, figures, progress or Progress())
    summary = {
        "runs": {run.label: str(run.folder) for run in saved.runs},
        "drawn": [figure.name for figure in planned if figure.name in figures],
        "figures": figures,
        "skipped": skipped,
        "group": group_effects(saved),
        "threshold": threshold,
        "provenance": provenance(),
    }
    write_json(folder / SUMMARY, summary)
    return summary, folder


def default_folder(saved: Saved) -> Path:
    """Where results of several folders go: the run, if there is one alone; else the working directory."""
    folders = {run.folder for run in saved.runs}
    return folders.pop() if len(folders) == 1 else Path()


def _known_kinds(kinds: Sequence[str]) -> list[str]:
    """The kinds, each once."""
    for kind in kinds:
        if kind not in FIGURES:
            raise ConfigError(f"unknown figure '{kind}': {suggest(kind, FIGURES)}")
    return list(dict.fromkeys(kinds))


def _draw_all(planned: Sequence[Planned], folder: Path, figures: dict[str, Any], progress: Progress) -> dict[str, str]:
    """Draw what can be drawn; kind -> why the last of it could not be."""
    skipped = {}
    with progress.task("figures", len(planned)) as advance:
        for figure in planned:
            try:
                _draw(figure, folder, figures)
            except NothingToDraw as reason:
                skipped[figure.kind] = str(reason)
            advance(note=figure.name)
    return skipped


def _draw(figure: Planned, folder: Path, figures: dict[str, Any]) -> None:
    """Draw a figure and add it to ``figures``, unless it is in the folder already."""
    if _is_current(folder, figure, figures):
        return
    drawing = figure.draw()
    about = {"caption": drawing.caption, "alt": drawing.alt, "digest": figure.digest}
    figures[figure.name] = {"kind": figure.kind, "files": _files(figure), **about}
    write_json(folder / SUMMARY, {"figures": figures})  # first: a figure that is interrupted here is drawn again
    save(drawing.figure, folder / figure.name)


def _scatters(saved: Saved) -> Iterator[Planned]:
    for run in saved.evaluated:
        arrays = run.voxels("encoding/pretrained", "encoding/tuned")
        x, y = arrays["encoding/pretrained"], arrays["encoding/tuned"]
        draw = partial(draw_scatter, x, y, labels=("pre-trained", run.model), title=run.subject)
        yield Planned(f"{run.label}_scatter", "scatter", digest(run.folders), draw)
    for first, second in saved.pairs():
        x, y = tuned_pair(first, second)
        draw = partial(draw_scatter, x, y, labels=(first.model, second.model), title=first.subject)
        inputs = digest([*first.folders, *second.folders])
        yield Planned(f"{second.label}_scatter-{first.label}", "scatter", inputs, draw)


def _maps(saved: Saved, brains: Brains, kind: str, threshold: float) -> Iterator[Planned]:
    view: Kind = "flat" if kind == "flatmap" else "inflated"
    for run, shown_map, made_of in all_maps(saved):
        folders = [folder for each in made_of for folder in each.folders]
        inputs = digest(folders, threshold, brains.fingerprint(run, view))
        draw = partial(draw_voxel_map, brains, run, shown_map, kind=view, threshold=threshold)
        yield Planned(f"{run.label}_{kind}-{shown_map.name}", kind, inputs, draw)


def _nothing_planned(saved: Saved, kinds: Sequence[str], planned: Sequence[Planned]) -> dict[str, str]:
    """Why a kind has no figure at all."""
    reasons = {}
    for kind in kinds:
        if any(figure.kind == kind for figure in planned):
            continue
        if kind == "transfer":
            names = " ".join(dict.fromkeys(str(run.folder) for run in saved.runs))
            reasons[kind] = (
                f"no transfer was given; run `bwlm transfer {names} --subjects S01,S02,S03 --out transfer` and give "
                "that folder, too."
            )
        else:
            reasons[kind] = saved.needs_evaluation()
    return reasons


def _recorded(folder: Path) -> dict[str, Any]:
    """The figures that a folder holds already."""
    path = folder / SUMMARY
    if not path.is_file():
        return {}
    summary = read_json(path)
    if not isinstance(summary, dict) or not isinstance(summary.get("figures"), dict):
        raise BwlmError(f"{path} is of other results; nothing was written. Give another --out.")
    return dict(summary["figures"])


def _files(figure: Planned) -> list[str]:
    return [f"{figure.name}.{kind}" for kind in FORMATS]


def _is_current(folder: Path, figure: Planned, known: dict[str, Any]) -> bool:
    recorded = known.get(figure.name, {})
    same = recorded.get("digest") == figure.digest
    return same and all((folder / name).is_file() for name in recorded.get("files", ()))


def _refuse_to_overwrite(folder: Path, planned: Sequence[Planned], known: dict[str, Any]) -> None:
    others = [
        figure.name
        for figure in planned
        if any((folder / name).exists() for name in _files(figure))
        and known.get(figure.name, {}).get("digest") != figure.digest
    ]
    if others:
        raise BwlmError(
            f"{folder} holds figures of other results or options ({', '.join(others)}); nothing was overwritten. "
            f"Choose another folder, such as --out {folder.name}-2."
        )
