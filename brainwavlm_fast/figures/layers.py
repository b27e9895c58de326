"""Probes of every layer, drawn from their summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import atomic_path

# Okabe and Ito's colours, which stay apart for colour-blind readers; markers repeat the distinction
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "s^Dv<>"


def draw_layers(summary: Mapping[str, Any], path: Path | str) -> Path:
    """Draw each target's score against the layer, pre-trained and tuned, and below it what tuning changed.

    Parameters
    ----------
    summary : of :func:`brainwavlm_fast.evaluation.probes.probe_sources`.
    path : the PNG to write; replaced whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    targets, layers = summary["targets"], summary["layers"]
    tuned = any(target["tuned"] for target in targets.values())
    figure = Figure(figsize=(4.2 * len(targets), 6.0 if tuned else 3.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 if tuned else 1, len(targets), squeeze=False, sharex=True, sharey="row")
    for column, target in enumerate(targets.values()):
        top = panels[0][column]
        top.set_title(target["title"], loc="left", fontsize=10)
        top.plot(layers, target["pretrained"], color="black", marker="o", markersize=4, label="pre-trained")
        for k, (label, scores) in enumerate(target["tuned"].items()):
            style = {"color": _COLOURS[k % 6], "marker": _MARKERS[k % 6], "markersize": 4}
            top.plot(layers, scores, linewidth=1.5, label=f"tuned on {label}", **style)
            change = [after - before for after, before in zip(scores, target["pretrained"], strict=True)]
            panels[1][column].plot(layers, change, linewidth=1.0, **style)
        if target["sem"] is not None:
            panels[1][column].errorbar(
                layers, target["improvement"], target["sem"], color="black", linewidth=1.8, capsize=3, label="mean, SEM"
            )
            panels[1][column].legend(frameon=False, fontsize=8)
        if tuned:
            panels[1][column].axhline(0, color="0.6", linewidth=0.8)
    panels[0][0].set_ylabel("Probe score\n(mean Pearson r on held-out stories)")
    if tuned:
        panels[1][0].set_ylabel("Tuned minus pre-trained")
    for axes in panels[-1]:
        axes.set_xlabel("Layer (0 = input of the first)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=8)
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
