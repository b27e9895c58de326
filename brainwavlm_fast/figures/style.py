"""What all figures share: colors, names of voxel sets, sizes on paper, and saving."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BwlmError
from ..files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
Result = TypeVar("Result")

# Okabe and Ito's colors, which stay apart for color-blind readers; markers repeat the distinction
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "s^Dv<>"
SETS = {  # voxel sets have one name everywhere, the one that --roi takes; this is what a caption says of it
    "all": "whole cortex",
    "ac": "auditory cortex",
    "nonac": "all but auditory cortex",
    "lh": "left hemisphere",
    "rh": "right hemisphere",
}
COLUMN, PAGE = 3.5, 7.2  # inches: one column of a journal's page, and its width
DPI = 200
FORMATS = ("png", "pdf")
_PAPER: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 8,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "bwlm",  # the same figure twice is the same file
}


class NothingToDraw(BwlmError):
    """Saved results do not hold what a figure needs; the message says which command makes it."""


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption and alt text."""

    figure: Figure
    caption: str
    alt: str


def on_paper(function: Callable[P, Result]) -> Callable[P, Result]:
    """Draw with the sizes of a printed page, whatever the user's matplotlib settings are."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Result:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_PAPER)  # type: ignore[arg-type]
            return function(*args, **kwargs)

    return wrapped


def new_figure(width: float, height: float, *, dpi: int = DPI) -> Figure:
    """An empty figure in inches that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any, *, grid: str = "y") -> None:
    """Two spines, and a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def legend_below(figure: Figure, *panels: Any, columns: int) -> None:
    """One legend of all panels below the figure, each label once."""
    entries = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if entries:
        n = min(columns, len(entries))
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=n, frameon=False, fontsize=7)


def save_png(figure: Figure, path: Path | str) -> Path:
    """Write one PNG, atomically."""
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


@on_paper
def save(figure: Figure, stem: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write ``STEM.png`` and ``STEM.pdf``, each atomically; returns their paths."""
    paths = []
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=_undated(kind))
        paths.append(path)
    return paths


@on_paper
def encoded(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a ``png`` or ``svg`` file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=_undated(kind))
    return buffer.getvalue()


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 3 or 4) as the bytes of a PNG of the same size."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    return buffer.getvalue()


def sets_in_order(names: Iterable[str]) -> list[str]:
    """Voxel sets as tables list them: the main ones first."""
    given = list(names)
    return [*(name for name in SETS if name in given), *(name for name in given if name not in SETS)]


def explain_sets(names: Iterable[str]) -> str:
    """What the main voxel sets among some are, in a sentence; empty if there are none."""
    present = set(names)
    known = [f"{name}: {SETS[name]}" for name in SETS if name in present]
    return f"Voxels of {', '.join(known)}." if known else ""


def _undated(kind: str) -> dict[str, None]:
    """No date in the file, so that the same results give the same bytes."""
    return {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
