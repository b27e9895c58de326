"""Transfer between subjects as matrices (figure 3 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .style import Drawing, NothingToDraw, explain_sets, new_figure, on_paper

_CELL = 0.62  # inches


@on_paper
def draw_transfer(summary: Mapping[str, Any]) -> Drawing:
    """Change in percent over pre-trained: one row per run, one column per subject, one matrix per voxel set.

    Parameters
    ----------
    summary : Mapping[str, Any]
        Of :func:`brainwavlm_fast.evaluation.transfer.transfer`.
    """
    rows, columns = summary["rows"], summary["columns"]
    matrices = {
        name: np.array(matrix["percent"], dtype=np.float64)
        for name, matrix in summary["matrices"].items()
        if any(value is not None for line in matrix["percent"] for value in line)
    }
    if not matrices:
        raise NothingToDraw("the transfer has no change in percent: no pre-trained score is positive.")
    top = max(float(np.nanmax(np.abs(values))) for values in matrices.values()) or 1.0
    across = min(len(matrices), 3)
    down = -(-len(matrices) // across)
    width = across * (len(columns) * _CELL + 0.25) + 1.6
    figure = new_figure(max(3.5, width), down * (len(rows) * 0.42 + 0.85) + 0.4)
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, (name, values) in zip(panels.flat, matrices.items(), strict=False):
        axes.set_facecolor("0.75")  # of cells without a value, beside the white of no change
        axes.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
        axes.set_title(name, loc="left")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (i, j), value in np.ndenumerate(values):
            dark = np.isfinite(value) and abs(value) > 0.6 * top
            text = f"{value:+.1f}" if np.isfinite(value) else "none"
            axes.text(j, i, text, ha="center", va="center", color="white" if dark else "black", fontsize=7)
    for axes in panels.flat[len(matrices) :]:
        axes.set_visible(False)
    figure.supxlabel("Subject predicted", fontsize=8)
    figure.supylabel("Tuned on", fontsize=8)
    figure.colorbar(panels.flat[0].images[0], ax=panels, label="Change over pre-trained (%)", shrink=0.8)
    numbers = "; ".join(
        f"{name}: "
        + ", ".join(f"{rows[i]} on {columns[j]} {v:+.1f} %" for (i, j), v in np.ndenumerate(values) if np.isfinite(v))
        for name, values in matrices.items()
    )
    return Drawing(
        figure,
        "Transfer: change of encoding performance over the pre-trained model on the test story, by the subject tuned "
        "on (rows) and the subject predicted (columns). Gray: the subject has no such voxel set. "
        f"{explain_sets(matrices)}",
        f"Matrices of transfer between subjects. {numbers}.",
    )
