"""``bwlm rois``: the voxel sets of a subject, or the size of an expression over them."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DataOption, JsonOption
from .output import command, finish_with_json, print_table


@command
def rois(
    subject: Annotated[str, typer.Option("--subject", help="Subject, as S02.")],
    roi: Annotated[
        str | None, typer.Option("--roi", help="Count this expression only, such as 'lh & (ac | svg:V1)'.")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every voxel set that `--roi` knows by name, with its size.

    lh and rh are the sides of the surface, ac is auditory cortex (Heschl's gyrus, the sulcus behind it, planum
    temporale), a2009s: and aparc: are FreeSurfer's parcels (Destrieux, Desikan), svg: the regions drawn on the flat
    map. Combine them: `'all - ac'`, `'lh & (ac | a2009s:S_temporal_sup)'`; add your own with file:PATH, a NIfTI mask or
    numbers of voxels counted from 0.

    Example: `bwlm rois --subject S02`
    """
    from brainwavlm_fast.anatomy import all_sets, voxel_set
    from brainwavlm_fast.anatomy.atlas import THICK_MM
    from brainwavlm_fast.data import find_dataset

    dataset = find_dataset(data)
    subject = dataset.subject(subject)
    if roi is not None:
        chosen = voxel_set(dataset, subject, roi)
        found = {"subject": subject, "roi": roi, "n_voxels": int(chosen.sum()), "n_all": len(chosen)}
        if as_json:
            finish_with_json(found)
        typer.echo(f"{roi}: {found['n_voxels']:,} of {found['n_all']:,} voxels of {subject}")
        return
    sets, atlas = all_sets(dataset, subject)
    sizes = {name: int(voxels.sum()) for name, voxels in sets.items()}
    if as_json:
        finish_with_json({"subject": subject, "sets": sizes, **atlas.counts, "missing": dict(atlas.missing)})
    print_table(f"Voxel sets of {subject}", ["name", "voxels"], [[name, f"{n:,}"] for name, n in sizes.items()])
    counts = atlas.counts
    typer.echo(
        f"Each voxel belongs to the mid-thickness vertex nearest to it, at most {counts['farthest_mm']:.1f} mm away: "
        f"{counts['neither']:,} voxels hold no vertex (of neither side), {counts['both']:,} hold vertices of both."
    )
    if counts["farthest_mm"] > THICK_MM:
        typer.echo(
            f"warning: mask_thick reaches {THICK_MM:g} mm from the surface it was made from; these surfaces, or the "
            "transform, may not be the ones."
        )
    for name, reason in atlas.missing.items():
        typer.echo(f"no {name}: {reason}" if ":" in name else f"no {name} sets: {reason}")
