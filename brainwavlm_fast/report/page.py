"""The page as a whole: results into the template, one self-contained file, never over another's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ..errors import BwlmError
from ..figures.brains import Brains
from ..figures.catalogue import default_folder
from ..files import atomic_path
from ..progress import Advance, Progress
from ..results.saved import Saved, digest, open_saved
from .brainmap import WIDTH
from .commands import repeat_commands
from .explorer import subject_maps
from .findings import merged_findings
from .sections import configurations, drawn_figures, number_tables, run_table, story_splits, summaries, version_table

_HERE = Path(__file__).parent
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
    paths : Sequence[Path | str]
        Run folders, and folders that ``bwlm transfer`` or ``bwlm probe`` made.
    out : Path | str, optional
        The page; by default ``RUN/report.html`` for one run, ``report.html`` otherwise. A page of the same results is
        left as it is, any other file never overwritten.
    data : Path | str, optional
        The data set, for maps, if it has moved since the runs were configured.

    Returns
    -------
    dict[str, Any]
        ``file``, ``bytes``, and ``written``: False if the page existed already.

    Raises
    ------
    BwlmError
        A folder holds no results, or another file has the page's name.
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
                f"{path} exists and is not the report of these results; it was not overwritten. Choose another "
                f"name, such as --out {other}."
            )
        progress.say(f"{path} is the report of these results already; nothing to do.")
        return {"file": str(path), "bytes": path.stat().st_size, "written": False}
    with progress.task("report", 3) as advance:
        page = page_template().render(_contents(saved, brains, advance), mark=mark)
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
        advance(note="page")
    return {"file": str(path), "bytes": path.stat().st_size, "written": True}


def page_template() -> Template:
    """The page's template: everything put into it is escaped, and an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template("page.html")


def _contents(saved: Saved, brains: Brains, advance: Advance) -> dict[str, Any]:
    """What the template shows."""
    maps, notes = subject_maps(saved, brains)
    advance(note="maps")
    together, folded = drawn_figures(saved, brains)
    advance(note="figures")
    return {
        "title": _title(saved),
        "version": metadata.version("brainwavlm-fast"),
        "style": Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup((_HERE / "page.js").read_text(encoding="utf-8")),
        "summaries": summaries(saved),
        "findings": merged_findings(saved, notes),
        "maps": maps,
        "together": together,
        "folded": folded,
        "numbers": number_tables(saved),
        "runs": run_table(saved),
        "splits": story_splits(saved),
        "commands": repeat_commands(saved),
        "configurations": configurations(saved),
        "versions": version_table(saved),
    }


def _title(saved: Saved) -> str:
    """The runs that the page is about, in a few words."""
    labels = [run.label for run in saved.runs]
    if len(labels) > 3:
        return f"{len(labels)} runs of {', '.join(dict.fromkeys(run.subject for run in saved.runs))}"
    return ", ".join(labels) or "results"


def _mark_of(path: Path) -> str | None:
    """The digest of the results that a page is about; None if it is no report."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        match = _MARK.search(file.read(_HEAD).decode("utf-8", "replace"))
    return match[1] if match else None
