"""``bwlm export``: an evaluation's maps as NIfTI or gifti."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from . import options
from .output import command, finish_with_json


@command
def export(
    run: Annotated[Path, typer.Argument(help="Run folder that `bwlm evaluate` has been through.")],
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            help="Maps: gain, or names in voxels.hf5, by commas.",
            show_default="gain,encoding/pretrained,encoding/tuned",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--as", help="nifti, or gifti.")] = "nifti",
    surface: Annotated[str, typer.Option("--surface", help="For gifti: flat, inflated, wm or pia.")] = "inflated",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the maps.", show_default="RUN/evaluation/maps")
    ] = None,
    evaluation: options.EvaluationOption = "evaluation",
    data: options.DataOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Write voxel values as maps that nilearn, pycortex, FreeSurfer and Connectome Workbench open.

    NIfTI lies in the space of the subject's reference.nii.gz. Gifti is a .func.gii a hemisphere, with the surface to
    show it on beside it: a vertex shows the voxel that it lies in.

    Example: `bwlm export runs/s02 --as gifti --surface inflated`
    """
    from brainwavlm_fast.anatomy.surfaces import Kind
    from brainwavlm_fast.results.export_maps import DEFAULT, Form, export_maps

    names = DEFAULT if what is None else tuple(options.names(what))
    paths = export_maps(
        run, what=names, form=cast(Form, form), surface=cast(Kind, surface), evaluation=evaluation, out=out, data=data
    )
    if as_json:
        finish_with_json({"files": [str(path) for path in paths]})
    for path in paths:
        typer.echo(str(path))
