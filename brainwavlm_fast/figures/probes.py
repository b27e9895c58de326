"""Probes of every layer, drawn from their summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .style import COLORS, MARKERS, PAGE, Drawing, NothingToDraw, legend_below, new_figure, on_paper, save_png, tidy


def draw_layers(summary: Mapping[str, Any], path: Path | str) -> Path:
    """Draw each target's score against the layer, pre-trained and tuned, and below it what tuning changed.

    Parameters
    ----------
    summary : Mapping[str, Any]
        Of :func:`brainwavlm_fast.probes.fit.probe_sources`.
    path : Path | str
        The PNG to write, atomically.
    """
    from matplotlib.ticker import MaxNLocator

    targets, layers = summary["targets"], summary["layers"]
    tuned = any(target["tuned"] for target in targets.values())
    figure = new_figure(4.2 * len(targets), 6.0 if tuned else 3.4, dpi=150)
    panels = figure.subplots(2 if tuned else 1, len(targets), squeeze=False, sharex=True, sharey="row")
    for column, target in enumerate(targets.values()):
        top = panels[0][column]
        top.set_title(target["title"], loc="left", fontsize=10)
        top.plot(layers, target["pretrained"], color="black", marker="o", markersize=4, label="pre-trained")
        for k, (label, scores) in enumerate(target["tuned"].items()):
            style = {"color": COLORS[k % 6], "marker": MARKERS[k % 6], "markersize": 4}
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
        tidy(axes)
    legend_below(figure, panels[0][0], columns=4)
    return save_png(figure, path)


@on_paper
def draw_probe_improvement(
    summaries: Sequence[Mapping[str, Any]], trained_on: Mapping[str, str] | None = None
) -> Drawing:
    """How tuning changed how well each layer predicts the targets, averaged over subjects (figure 4 of the paper).

    Parameters
    ----------
    summaries : Sequence[Mapping[str, Any]]
        Of one or more ``bwlm probe``; runs of the same voxel set are averaged, their SEM over subjects drawn.
    trained_on : Mapping[str, str], optional
        Voxel sets as they were asked for, by their name in a run's label.
    """
    from matplotlib.ticker import MaxNLocator

    targets: dict[str, str] = {}
    changes: dict[str, dict[str, dict[str, dict[int, float]]]] = {}  # target -> trained on -> run -> layer -> change
    for summary in summaries:
        for name, target in summary["targets"].items():
            for label, scores in target["tuned"].items():
                targets.setdefault(name, target["title"])
                kind = label.partition("-")[2] or label
                gains = {
                    layer: after - before
                    for layer, after, before in zip(summary["layers"], scores, target["pretrained"], strict=True)
                }
                changes.setdefault(name, {}).setdefault((trained_on or {}).get(kind, kind), {})[label] = gains
    if not changes:
        raise NothingToDraw("no probes of a tuned model were given; run `bwlm probe RUN` first.")
    kinds = list(dict.fromkeys(kind for target in changes.values() for kind in target))
    figure = new_figure(min(PAGE, 3.5 * len(targets)), 2.8)
    panels = figure.subplots(1, len(targets), squeeze=False)[0]
    words = []
    for axes, (name, title) in zip(panels, targets.items(), strict=True):
        tidy(axes)
        axes.axhline(0, color="0.3", linewidth=0.7)
        axes.set_title(title, loc="left")
        for kind, runs in changes[name].items():
            layers, values = _common_layers(list(runs.values()))
            k = kinds.index(kind)
            mean = values.mean(axis=0)
            sem = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
            style = {"color": COLORS[k % 6], "marker": MARKERS[k % 6], "capsize": 2}
            axes.errorbar(layers, mean, sem, label=f"tuned on {kind} ({len(values)})", **style)
            best = int(np.abs(mean).argmax())
            words.append(f"{title}, tuned on {kind}: largest change {mean[best]:+.3f} at layer {layers[best]}")
        axes.set_xlabel("Layer (0 = input of the first)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("Change over pre-trained\n(mean Pearson r on held-out stories)")
    legend_below(figure, panels[0], columns=2)
    return Drawing(
        figure,
        "Probes: what the states of every layer predict linearly, tuned minus pre-trained. In brackets: runs averaged; "
        "error bars: SEM over them, where there are several.",
        f"Lines over layers. {'; '.join(words)}.",
    )


def _common_layers(runs: Sequence[Mapping[int, float]]) -> tuple[list[int], NDArray[np.float64]]:
    """Layers that all runs have, and their values (n_runs, n_layers)."""
    layers = sorted(set.intersection(*(set(run) for run in runs)))
    return layers, np.array([[run[layer] for layer in layers] for run in runs], dtype=np.float64)
