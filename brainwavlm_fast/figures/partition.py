"""Explained variance of a speech model beside other features, drawn from a partition's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .style import COLORS, SETS, legend_below, new_figure, on_paper, save_png, sets_in_order, tidy

_MODEL = "model"
_WIDTH = 0.38


@on_paper
def draw_partition(summary: Mapping[str, Any], path: Path | str) -> Path:
    """Draw each voxel set's parts of explained variance, pre-trained and tuned, and below them what tuning moved.

    Parameters
    ----------
    summary : Mapping[str, Any]
        Of :func:`brainwavlm_fast.partition.run.partition_run`.
    path : Path | str
        The PNG to write, atomically.
    """
    names = sets_in_order(summary["sets"])
    parts = _drawn(summary)
    figure = new_figure(0.6 + 0.34 * len(parts) * max(len(names), 1), 4.8)
    panels = figure.subplots(2, max(len(names), 1), squeeze=False, sharex=True, sharey="row")
    for column, name in enumerate(names):
        numbers, at = summary["sets"][name], np.arange(len(parts))
        top, bottom = panels[:, column]
        said = f", {SETS[name]}" if name in SETS else ""
        top.set_title(f"{name}{said}\n{numbers['n_voxels']:,} voxels", loc="left")
        for k, (state, label) in enumerate((("pretrained", "pre-trained"), ("tuned", "tuned"))):
            _bars(top, at + (k - 0.5) * _WIDTH, [numbers[state][part] for part in parts], COLORS[k], label)
        _bars(bottom, at, [numbers["gain"][part] for part in parts], COLORS[2], "tuned minus pre-trained")
        bottom.set_xticks(at, [_label(part) for part in parts], rotation=60, ha="right", rotation_mode="anchor")
    panels[0][0].set_ylabel("Explained variance\n(mean R2 over voxels)")
    panels[1][0].set_ylabel("Moved by tuning")
    legend_below(figure, *panels[:, 0], columns=3)
    return save_png(figure, path)


def _drawn(summary: Mapping[str, Any]) -> list[str]:
    """The model's parts first: its own, and what it shares with each other space; then what it lacks."""
    others = [name for name in summary["spaces"] if name != _MODEL]
    return [f"unique {_MODEL}", *(f"with {name}" for name in others), *(f"unique {name}" for name in others)]


def _label(part: str) -> str:
    kind, _, name = part.partition(" ")
    return f"model and {name}" if kind == "with" else f"{name} alone"


def _bars(axes: Any, at: Any, numbers: Sequence[Mapping[str, Any]], color: str, label: str) -> None:
    values = np.array([number["value"] for number in numbers])
    axes.bar(at, values, _WIDTH, color=color, label=label)
    ends = np.array([number["interval"] or [np.nan, np.nan] for number in numbers])
    axes.vlines(at, ends[:, 0], ends[:, 1], color="black", linewidth=0.8)
    axes.axhline(0, color="0.3", linewidth=0.7)
    tidy(axes)
