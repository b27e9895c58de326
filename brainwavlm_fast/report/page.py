"""The page as a whole: sections into a template, one file, never over another's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from ..errors import BwlmError
from ..figures.brains import Brains
from ..figures.catalogue import default_folder
from ..files import atomic_path
from ..progress import Progress
from ..results.saved import Saved, digest, open_saved
from .brainmap import WIDTH
from .explorer import map_section
from .markup import text
from .sections import (
    cite_section,
    figure_section,
    finding_section,
    number_section,
    repeat_section,
    run_section,
    summary_section,
)

_MARK = re.compile(r'<meta name="bwlm-results" content="(\w+)">')
_HEAD = 2000  # bytes that the mark is looked for in


def write_report(
    paths: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    data: Path | str | None = None,
    evaluation: str = "evaluation",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write one HTML page about saved results: no file beside it, nothing from the network.

    Parameters
    ----------
    paths : run folders, and folders that ``bwlm transfer`` or ``bwlm probe`` made.
    out : the page; by default ``RUN/report.html`` for one run, ``report.html`` otherwise. A page of the same results
        is kept, any other file never overwritten.
    data : the data set, for maps, if it is no longer where the runs' configurations say.

    Returns
    -------
    ``file``, ``bytes``, and ``written``: False if the page was there already.

    Raises
    ------
    BwlmError : a folder holds no results, or another file has the page's name.
    """
    progress = progress or Progress()
    saved = open_saved(paths, evaluation=evaluation)
    path = Path(out) if out is not None else default_folder(saved) / "report.html"
    folders = [folder for run in saved.runs for folder in run.folders]
    folders += [folder for folder, _ in (*saved.transfers, *saved.probes)]
    brains = Brains(data, WIDTH)
    mark = digest(folders, [(run.label, brains.fingerprint(run)) for run in saved.runs])
    if path.exists():
        if _mark_of(path) != mark:
            other = path.with_name(f"{path.stem}-2{path.suffix}")
            raise BwlmError(
                f"{path} is there already and is not the report of these results; it was not overwritten. Give this "
                f"one a name of its own, such as --out {other}."
            )
        progress.say(f"{path} is the report of these results already; nothing to do.")
        return {"file": str(path), "bytes": path.stat().st_size, "written": False}
    with progress.task("report", 3) as advance:
        brain, notes = map_section(saved, brains)
        advance(note="maps")
        figures = figure_section(saved, brains)
        advance(note="figures")
        here, version = files(__package__), metadata.version("brainwavlm-fast")
        page = Template((here / "page.html").read_text(encoding="utf-8")).substitute(
            title=text(f"BrainWavLM: {_whose(saved)}"),
            mark=mark,
            style=(here / "page.css").read_text(encoding="utf-8"),
            script=(here / "page.js").read_text(encoding="utf-8"),
            version=text(version),
            short=summary_section(saved),
            quality=finding_section(saved, notes),
            runs=run_section(saved),
            numbers=number_section(saved),
            brain=brain,
            figures=figures,
            repeat=repeat_section(saved),
            cite=cite_section(version),
        )
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
        advance(note="page")
    return {"file": str(path), "bytes": path.stat().st_size, "written": True}


def _whose(saved: Saved) -> str:
    """What the page is about, in a few words."""
    labels = [run.label for run in saved.runs]
    if len(labels) > 3:
        return f"{len(labels)} runs of {', '.join(dict.fromkeys(run.subject for run in saved.runs))}"
    return ", ".join(labels) or "results"


def _mark_of(path: Path) -> str | None:
    """Which results a page is about; None if it is no report."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        found = _MARK.search(file.read(_HEAD).decode("utf-8", "replace"))
    return found[1] if found else None
