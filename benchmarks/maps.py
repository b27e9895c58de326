"""A map of full width: 95,556 voxels on two hemispheres of 150,156 vertices, and the report's page about it.

The surfaces are folded sheets of FreeSurfer's size, the mask the voxels nearest to them. First some pixels are compared
with a search through all triangles; then the view is made, opened from its cache, and drawn. One core, one thread.

    python -m benchmarks.maps                       (a minute; writes benchmarks/results/maps.json)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
from scipy.spatial import cKDTree

from brainwavlm_fast.anatomy.surfaces import SIDES, Surface, load_surface
from brainwavlm_fast.data import find_dataset
from brainwavlm_fast.files import provenance, write_json
from brainwavlm_fast.memory import peak_memory
from tests.helpers.saved_runs import make_saved_run

RESULTS = Path(__file__).parent / "results" / "maps.json"
N_VOXELS, N_U, N_V = 95_556, 388, 387
VOXEL_MM, SUBJECT, STORY = 2.24, "UTS03", "wheretheressmoke"
REPEATS = 5


def make_tree(root: Path) -> None:
    """A data set of one subject whose surfaces have FreeSurfer's size."""
    database = root / "derivative/pycortex-db" / SUBJECT
    responses = root / "derivative/preprocessed_data" / SUBJECT
    transform = database / "transforms" / f"{SUBJECT}_auto"
    for folder in (database / "surfaces", responses, transform):
        folder.mkdir(parents=True)
    u, v = (a.ravel() for a in np.meshgrid(np.arange(N_U), np.arange(N_V), indexing="ij"))
    corner = np.arange(N_U * N_V).reshape(N_U, N_V)[:-1, :-1].ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + N_V, corner + 1], 1), np.stack([corner + 1, corner + N_V, corner + N_V + 1], 1)]
    )
    middles = []
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        depth = 35 + 6 * np.sin(u / 5) + 4 * np.sin(v / 7)
        folded = np.stack([sign * depth, 0.45 * u - 87, 0.35 * v - 68], axis=1)
        thick = np.array([sign * 1.2, 0, 0])
        theta, phi = np.pi * (0.05 + 0.9 * u / N_U), np.pi * (0.05 + 0.9 * v / N_V)
        ball = np.stack(
            [sign * (10 + 45 * np.sin(theta) * np.sin(phi)), -90 * np.cos(theta), -60 * np.cos(phi)], axis=1
        )
        flat = np.stack([0.65 * u + sign * 150, 0.55 * v, 0 * u], axis=1)
        for kind, points in {"wm": folded - thick, "pia": folded + thick, "inflated": ball, "flat": flat}.items():
            arrays = [
                nibabel.gifti.GiftiDataArray(points.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
                nibabel.gifti.GiftiDataArray(faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
            ]
            nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), database / "surfaces" / f"{kind}_{side}.gii")
        middles.append(folded)
    points = np.concatenate(middles)
    low = points.min(axis=0) - 12
    shape = np.ceil((points.max(axis=0) + 12 - low) / VOXEL_MM).astype(int)
    centers = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3) * VOXEL_MM + low
    distance, _ = cKDTree(points).query(centers)
    mask = np.zeros(len(centers), np.uint8)
    mask[np.argsort(distance, kind="stable")[:N_VOXELS]] = 1
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = low
    for name, values in {"mask_thick": mask, "reference": mask.astype(np.float32)}.items():
        nibabel.save(nibabel.Nifti1Image(values.reshape(shape), affine), transform / f"{name}.nii.gz")
    write_json(transform / "matrices.xfm", {"coord": np.linalg.inv(affine).tolist()})
    with h5py.File(responses / f"{STORY}.hf5", "w") as file:
        file["data"] = np.zeros((1, N_VOXELS))
    write_json(root / "derivative/respdict.json", {STORY: 21})


def wrong_pixels(view: Any, surfaces: dict[str, Surface], n: int = 400) -> int:
    """Of some pixels, how many do not show a corner of the triangle that a search through all of them finds."""
    rng, wrong = np.random.default_rng(0), 0
    rows, columns = np.nonzero(view.vertices >= 0)
    for k in rng.choice(len(rows), n, replace=False):
        vertex = int(view.vertices[rows[k], columns[k]])
        side = "lh" if vertex < view.n_left else "rh"
        placed = view.to_pixels(side, surfaces[side].points[:, :2])[surfaces[side].polys]
        a, b, c = (placed[:, j] - [columns[k] + 0.5, rows[k] + 0.5] for j in range(3))
        turns = np.stack([p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((a, b), (b, c), (c, a))])
        holding = ((turns >= -1e-3).all(axis=0)) | ((turns <= 1e-3).all(axis=0))
        wrong += vertex - (view.n_left if side == "rh" else 0) not in surfaces[side].polys[holding]
    return wrong


def draw(folder: Path) -> dict[str, Any]:
    """Everything that is measured, in a separate process, so that its memory is measured alone."""
    from brainwavlm_fast.figures.brains import Brains, draw_voxel_map, run_maps
    from brainwavlm_fast.figures.style import save
    from brainwavlm_fast.figures.views import WIDTH, open_view
    from brainwavlm_fast.report import write_report
    from brainwavlm_fast.results.saved import open_saved

    (run,) = open_saved([folder / "run"]).runs
    gain = run_maps(run)[0]
    dataset = find_dataset(folder / "tree")

    def picture(kind: Any, formats: tuple[str, ...] = ("png",)) -> None:
        save(draw_voxel_map(Brains(None, WIDTH), run, gain, kind=kind, threshold=0.15).figure, folder / kind, formats)

    found: dict[str, Any] = {"imports_gib": _gib(peak_memory())}
    made = {kind: _seconds(lambda kind=kind: open_view(dataset, SUBJECT, kind), 1) for kind in ("flat", "inflated")}
    found["peak_making_views_gib"] = _gib(peak_memory())
    view = open_view(dataset, SUBJECT)
    wrong = wrong_pixels(view, {side: load_surface(dataset, SUBJECT, "flat", side) for side in SIDES})
    assert wrong == 0, f"{wrong} pixels show a vertex of another triangle"
    found["pixels"] = {kind: list(open_view(dataset, SUBJECT, kind).vertices.shape) for kind in made}
    found["vertices_per_hemisphere"] = view.n_left
    found["voxels_shown_flat"] = view.n_voxels_shown
    found["seconds"] = {
        f"{kind}, {what}": seconds
        for kind in made
        for what, seconds in (
            ("view made once", made[kind]),
            ("map from the cached view to PNG", _seconds(lambda kind=kind: picture(kind), REPEATS)),
            ("map from the cached view to PDF", _seconds(lambda kind=kind: picture(kind, ("pdf",)), REPEATS)),
        )
    }
    found["seconds"]["report"] = _seconds(lambda: write_report([folder / "run"], out=folder / "page.html"), 1)
    found["report_mb"] = round((folder / "page.html").stat().st_size / 1e6, 2)
    return found


def draw_once(folder: Path) -> dict[str, Any]:
    """Memory of drawing one flat map from the cache, and nothing else."""
    from brainwavlm_fast.figures.brains import Brains, draw_voxel_map, run_maps
    from brainwavlm_fast.figures.style import save
    from brainwavlm_fast.figures.views import WIDTH
    from brainwavlm_fast.results.saved import open_saved

    (run,) = open_saved([folder / "run"]).runs
    drawing = draw_voxel_map(Brains(None, WIDTH), run, run_maps(run)[0], kind="flat", threshold=0.15)
    save(drawing.figure, folder / "once", ["png"])
    return {"peak_drawing_a_flat_map_gib": _gib(peak_memory())}


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(statistics.median(times), 3)


def _gib(n_bytes: float) -> float:
    return round(n_bytes / (1 << 30), 3)


def _in_its_own_process(what: str, folder: Path) -> dict[str, Any]:
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, what, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=("all", "draw", "once"), default="all")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.part != "all":
        print(json.dumps((draw if options.part == "draw" else draw_once)(options.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_tree(folder / "tree")
        make_saved_run(folder / "run", subject=SUBJECT, roi="all", data=folder / "tree", n_voxels=N_VOXELS)
        found = _in_its_own_process("draw", folder) | _in_its_own_process("once", folder)
    result = {"n_voxels": N_VOXELS, **found, "provenance": provenance()}
    print(json.dumps(result, indent=2))
    write_json(options.out, result)


if __name__ == "__main__":
    main()
