"""A ds003020 tree, small enough to make in a blink."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import soundfile

N_VOXELS = 40
STORIES = {"alternateithicatom": 25, "avatar": 23, "fromboyhoodtofatherhood": 22, "wheretheressmoke": 24}

PARCELS = {  # the second of each is auditory cortex
    "aparc.a2009s": ["G_precentral", "G_temp_sup-G_T_transv", "S_temporal_transverse", "G_temp_sup-Plan_tempo"],
    "aparc": ["precentral", "transversetemporal"],
}
LONG_GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = {end}
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phone"
        xmin = 0
        xmax = {end}
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = {end}
            text = "AH0"
    item [2]:
        class = "IntervalTier"
        name = "word"
        xmin = 0
        xmax = {end}
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = {end}
            text = "A"
"""


def add_subject(root: Path, subject: str, *, n_voxels: int, stories: tuple[str, ...] = tuple(STORIES)) -> None:
    """Another subject's responses to some of the stories; no masks."""
    rng, folder = np.random.default_rng(n_voxels), root / "derivative" / "preprocessed_data" / subject
    folder.mkdir()
    for story in stories:
        with h5py.File(folder / f"{story}.hf5", "w") as file:
            file["data"] = rng.standard_normal((STORIES[story], n_voxels))


def make_tree(root: Path, *, subject: str = "UTS01", n_voxels: int = N_VOXELS) -> Path:
    """One subject, four stories of some 25 TRs of noise, surfaces; voxel 3 holds a NaN in ``avatar``."""
    rng = np.random.default_rng(0)
    folder = root / "derivative" / "preprocessed_data" / subject
    for path in (folder, root / "stimuli", root / "derivative" / "TextGrids"):
        path.mkdir(parents=True)
    for story, n_trs in STORIES.items():
        responses = rng.standard_normal((n_trs, n_voxels))
        if story == "avatar":
            responses[5, 3] = np.nan
        with h5py.File(folder / f"{story}.hf5", "w") as file:
            file["data"] = responses
        seconds = 11 + 2 * n_trs
        soundfile.write(root / "stimuli" / f"{story}.wav", 0.1 * rng.standard_normal(16_000 * seconds), 16_000)
        (root / "derivative" / "TextGrids" / f"{story}.TextGrid").write_text(LONG_GRID.format(end=seconds))
    (root / "derivative" / "respdict.json").write_text(json.dumps({s: n + 20 for s, n in STORIES.items()}))
    (root / "derivative" / "subject_xfms.json").write_text(json.dumps({subject: f"{subject}_auto"}))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "DatasetDOI": "none"}))
    thick = np.zeros((4, 5, 6 + n_voxels // 20), np.uint8)
    thick.reshape(-1)[10 : 10 + n_voxels] = 1
    z, _, x = np.nonzero(thick.T)  # the columns' order
    add_anatomy(root, subject, thick, left=z < 4, ac=((z < 3) | (z == 7)) & (x < 2))
    return root


def add_anatomy(root: Path, subject: str, thick: np.ndarray, *, left: np.ndarray, ac: np.ndarray) -> None:
    """Volume and surfaces with a vertex in the middle of every voxel; nothing is drawn.

    ``thick`` is the mask (n_x, n_y, n_z); ``left`` and ``ac`` are bool (n_voxels,), in the columns' order.
    """
    database = root / "derivative" / "pycortex-db" / subject
    masks, surfaces = database / "transforms" / f"{subject}_auto", database / "surfaces"
    labels = root / "derivative" / "freesurfer_subjdir" / subject / "label"
    for folder in (masks, surfaces, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("mask_thick", "reference"):
        nibabel.save(nibabel.Nifti1Image(thick, np.eye(4)), masks / f"{name}.nii.gz")
    (masks / "matrices.xfm").write_text(json.dumps({"coord": np.eye(4).tolist()}))
    (database / "overlays.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"/>')
    voxels = np.argwhere(thick.T)[:, ::-1]
    for side, own in {"lh": left, "rh": ~left}.items():
        points, n = voxels[own], int(own.sum())
        faces = np.stack([np.arange(n - 2), np.arange(1, n - 1), np.arange(2, n)], axis=1)
        zigzag = np.stack([np.arange(n), np.arange(n) % 2, np.zeros(n)], axis=1)
        kinds = {"wm": points - 0.1, "pia": points + 0.1, "inflated": points, "flat": zigzag}
        for kind, where in kinds.items():
            arrays = [
                nibabel.gifti.GiftiDataArray(where.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
                nibabel.gifti.GiftiDataArray(faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
            ]
            nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), surfaces / f"{kind}_{side}.gii")
        for atlas, names in PARCELS.items():
            table = np.array([[30 * k + 20, 40, 60, 0, 0] for k in range(len(names))])
            path = labels / f"{side}.{atlas}.annot"
            nibabel.freesurfer.write_annot(path, ac[own].astype(int), table, names, fill_ctab=True)
