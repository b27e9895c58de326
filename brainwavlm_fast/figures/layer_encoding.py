"""Encoding by layer, drawn from an evaluation's ``layers.json`` and ``layers.hf5``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..data import Dataset
from .brain_maps import draw_map
from .style import COLORS, PAGE, SETS, legend_below, new_figure, on_paper, save_png, sets_in_order, tidy
from .views import best_view

PREFERRED = "preferred.png"
_STATES = (("pretrained", "pre-trained", "o"), ("tuned", "tuned", "s"))


@on_paper
def draw_layer_encoding(summary: Mapping[str, Any], path: Path | str) -> Path:
    """Draw each voxel set's mean correlation against the layer, pre-trained and tuned, with intervals.

    Parameters
    ----------
    summary : Mapping[str, Any]
        Of :func:`brainwavlm_fast.evaluation.layers.evaluate_layers`.
    path : Path | str
        The PNG to write, atomically.
    """
    from matplotlib.ticker import MaxNLocator

    names = sets_in_order(summary["sets"])
    figure = new_figure(max(PAGE / 3 * len(names), PAGE / 2), 2.6)
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    layers = np.asarray(summary["layers"])
    for axes, name in zip(panels, names, strict=True):
        numbers = summary["sets"][name]
        said = f", {SETS[name]}" if name in SETS else ""
        axes.set_title(f"{name}{said}\n{numbers['n_voxels']:,} voxels", loc="left")
        for k, (state, label, marker) in enumerate(_STATES):
            means = np.array([np.nan if mean is None else mean for mean in numbers[state]])
            axes.plot(layers, means, color=COLORS[k], marker=marker, label=label)
            ends = np.array([end or [np.nan, np.nan] for end in numbers["intervals"][state]])
            axes.fill_between(layers, ends[:, 0], ends[:, 1], color=COLORS[k], alpha=0.2, linewidth=0)
        axes.set_xlabel("Layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    panels[0].set_ylabel("Encoding performance\n(mean Pearson r over voxels)")
    legend_below(figure, *panels, columns=2)
    return save_png(figure, path)


def draw_preferred_layer(dataset: Dataset, subject: str, folder: Path) -> Path:
    """Draw the tuned model's best layer of each voxel that it predicts above chance, on the subject's brain.

    Parameters
    ----------
    folder : Path
        Of an evaluation with ``layers.hf5`` and ``voxels.hf5``; the map is written there.

    Raises
    ------
    DataError
        The subject's surfaces or transform are missing.
    """
    view, _ = best_view(dataset, subject)
    with h5py.File(folder / "layers.hf5") as file:
        layer = file["preferred/tuned"][:]
    with h5py.File(folder / "voxels.hf5") as file:
        above = np.nan_to_num(file["significance/tuned/q"][:], nan=1.0) <= 0.05
    drawing = draw_map(
        view, layer, title=f"{subject}: the layer that predicts best", unit="Layer", shown=above,
        condition="prediction above chance",
    )  # fmt: skip
    return save_png(drawing.figure, folder / PREFERRED)
