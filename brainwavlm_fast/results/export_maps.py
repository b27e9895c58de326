"""An evaluation's voxelwise numbers as maps for other programs: NIfTI volumes, or gifti on a surface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from ..anatomy import SIDES, load_surface, vertex_voxels, voxel_space
from ..anatomy.image_files import vertex_values, write_surface, write_vertices, write_volume
from ..anatomy.surfaces import Kind
from ..data import Dataset, find_dataset, open_hdf5
from ..errors import BwlmError, CheckpointError, ConfigError, suggest
from ..files import provenance, read_json, write_json
from .folders import SUMMARY, read_run_config

Form = Literal["nifti", "gifti"]
GAIN = "gain"  # tuned minus pre-trained
DEFAULT = (GAIN, "encoding/pretrained", "encoding/tuned")


def export_maps(
    run: Path | str,
    *,
    what: Sequence[str] = DEFAULT,
    form: Form = "nifti",
    surface: Kind = "inflated",
    evaluation: str = "evaluation",
    out: Path | str | None = None,
    data: Path | str | None = None,
) -> list[Path]:
    """Write maps of a run that was evaluated; returns the files.

    Parameters
    ----------
    run : Path | str
        The run folder.
    what : Sequence[str], default DEFAULT
        ``gain`` (tuned minus pre-trained), or names of datasets with one number per voxel in ``voxels.hf5``.
    form : Form, default 'nifti'
        ``nifti``: volumes in the reference image's space; ``gifti``: one file per hemisphere, and a surface.
    surface : Kind, default 'inflated'
        Which surface, for gifti.
    evaluation : str, default 'evaluation'
        Folder of the results inside the run.
    out : Path | str, optional
        Folder of the maps; by default ``maps`` beside the results. Files there are never overwritten.
    data : Path | str, optional
        The data set, if it has moved since the run was configured.

    Raises
    ------
    BwlmError
        The run was not evaluated, a name is unknown, the anatomy is missing, or a file exists already.
    """
    run = Path(run)
    if form not in get_args(Form):
        raise ConfigError(f"--as is '{form}': {suggest(form, get_args(Form))}")
    config = read_run_config(run)
    dataset = find_dataset(data if data is not None else config.data)
    source = run / evaluation / "voxels.hf5"
    if not source.is_file():
        raise CheckpointError(f"{source} is missing; run `bwlm evaluate {run}` first.")
    subject = dataset.subject(_evaluated_subject(run / evaluation) or config.train.subject)
    values = {name: read_voxels(source, name) for name in what}
    folder = Path(out) if out is not None else run / evaluation / "maps"
    stems = {name: f"{subject}-{name.replace('/', '-')}" for name in what}
    endings = [".nii.gz"] if form == "nifti" else [f".{side}.func.gii" for side in SIDES]
    paths = {name: [folder / f"{stem}{ending}" for ending in endings] for name, stem in stems.items()}
    written = [path for several in paths.values() for path in several]
    if existing := [path for path in written if path.exists()]:
        raise BwlmError(f"{existing[0]} exists; nothing was written. Choose another --out.")
    space = voxel_space(dataset, subject)
    if form == "nifti":
        for name, (path,) in paths.items():
            write_volume(path, space, values[name], name=name)
    else:
        _write_on_surface(dataset, subject, surface, values, paths, folder)
    for name, stem in stems.items():
        _describe(folder / f"{stem}.json", run, subject, name, dataset)
    return written


def read_voxels(source: Path, name: str) -> NDArray[Any]:
    """A map (n_voxels,) of ``voxels.hf5`` by its name, or the gain.

    Raises
    ------
    ConfigError
        The name is unknown; says which are known.
    """
    with open_hdf5(source) as file:
        n_voxels = file["encoding/pretrained"].shape[0]
        known = [GAIN]

        def remember(path: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.shape == (n_voxels,):
                known.append(path)

        file.visititems(remember)
        if name == GAIN:
            return np.asarray(file["encoding/tuned"][:] - file["encoding/pretrained"][:])
        if name not in known:
            raise ConfigError(f"{source} has no map '{name}': {suggest(name, known)}")
        return np.asarray(file[name][:])


def _evaluated_subject(folder: Path) -> str | None:
    """The subject that was evaluated, one of the run's; None if the summary is missing."""
    path = folder / SUMMARY
    return read_json(path).get("subject") if path.is_file() else None


def _write_on_surface(
    dataset: Dataset,
    subject: str,
    surface: Kind,
    values: dict[str, NDArray[Any]],
    paths: dict[str, list[Path]],
    folder: Path,
) -> None:
    for k, side in enumerate(SIDES):
        shape = folder / f"{subject}-{surface}.{side}.surf.gii"
        drawn_on, columns = load_surface(dataset, subject, surface, side), vertex_voxels(dataset, subject, side)
        if not shape.exists():
            write_surface(shape, drawn_on, side, surface)
        for name, voxel_values in values.items():
            write_vertices(paths[name][k], vertex_values(voxel_values, columns), side, name=name)


def _describe(path: Path, run: Path, subject: str, name: str, dataset: Dataset) -> None:
    about = {
        "map": name,
        "run": str(run),
        "subject": subject,
        "data": {"root": str(dataset.root), "version": dataset.version},
        "provenance": provenance(),
    }
    write_json(path, about)
