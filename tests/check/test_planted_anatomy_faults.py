"""Files of a subject's anatomy that disagree, one at a time: `check` names each alone, `--roi` refuses it."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from brainwavlm_fast.anatomy import annotation_path, overlays_path, read_atlas, voxel_set
from brainwavlm_fast.check import check_dataset
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.errors import DataError
from brainwavlm_fast.figures.drawn import load_overlay
from cli.main import app

HESCHL = "G_temp_sup-G_T_transv"


@pytest.fixture
def copy(planted_tree, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Dataset(shutil.copytree(planted_tree[0], tmp_path / "tree"))


def volume(dataset, name):
    return dataset.mask_path("S01").parent / f"{name}.nii.gz"


def surface_problems(dataset):
    report = check_dataset(dataset, ["S01"])
    return [problem for part in report.parts if "surfaces" in part.name for problem in part.problems]


def reoriented(dataset, *names):
    """Turned left to right as `fslswapdim` or `as_closest_canonical` would: same shape, same count, same places."""
    for name in names:
        image = nibabel.load(volume(dataset, name))
        flip = nibabel.orientations.axcodes2ornt(nibabel.aff2axcodes(image.affine))
        flip[0, 1] *= -1
        nibabel.save(image.as_reoriented(flip), volume(dataset, name))


def moved(dataset):
    image = nibabel.load(volume(dataset, "mask_thick"))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 0]  # one voxel
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), volume(dataset, "mask_thick"))


def without_a_place(dataset):
    image = nibabel.load(volume(dataset, "reference"))
    affine = image.affine.copy()
    affine[0, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), volume(dataset, "reference"))


def other_magnet(dataset):
    path = dataset.mask_path("S01").parent / "matrices.xfm"
    found = json.loads(path.read_text())
    found["magnet"] = (np.array(found["magnet"]) + 5 * np.eye(4, k=3)).tolist()
    path.write_text(json.dumps(found))


FAULTS = {
    "mask_reoriented": (lambda d: reoriented(d, "mask_thick"), "place their voxels differently, up to"),
    "reference_reoriented": (lambda d: reoriented(d, "reference"), "place their voxels differently, up to"),
    "both_reoriented": (
        lambda d: reoriented(d, "mask_thick", "reference"),
        "'coord' is not 'magnet' seen in voxels of",
    ),
    "mask_moved_by_a_voxel": (moved, "up to 1.0 voxels apart"),
    "reference_without_a_place": (without_a_place, "its affine must be of finite numbers"),
    "another_magnet": (other_magnet, "'coord' is not 'magnet'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_volumes_that_disagree_are_found_alone_and_refused(copy, fault):
    before = surface_problems(copy)
    assert before == []
    plant, words = FAULTS[fault]
    plant(copy)
    (problem,) = surface_problems(copy)
    assert words in problem
    for expression in ("lh", "ac", "all - ac"):
        with pytest.raises(DataError) as refused:
            voxel_set(copy, "S01", expression)
        assert str(refused.value) == problem
    assert voxel_set(copy, "S01", "all").all()  # needs none of these files


def test_affines_that_differ_by_what_nifti_rounds_agree(copy):
    image = nibabel.load(volume(copy, "mask_thick"))
    affine = image.affine + np.random.default_rng(0).uniform(-1e-4, 1e-4, (4, 4)) * [[1], [1], [1], [0]]
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), volume(copy, "mask_thick"))
    assert surface_problems(copy) == []


def rewrite(dataset, side, change):
    path = annotation_path(dataset, "S01", side, "a2009s")
    labels, table, names = nibabel.freesurfer.read_annot(path)
    labels, names = change(labels, [str(name, "utf-8") for name in names])
    nibabel.freesurfer.write_annot(path, labels, table, names, fill_ctab=True)


def respelled(labels, names):
    return labels, [name.replace("G_temp_sup-G_T_transv", "G_temp_sup_G_T_transv") for name in names]


def emptied(labels, names):
    return np.where(labels == names.index(HESCHL), names.index("S_temporal_sup"), labels), names


@pytest.mark.parametrize(
    ("change", "words"),
    [(respelled, "which has G_temp_sup_G_T_transv: spell them alike"), (emptied, "annotations must be of one atlas")],
)
def test_an_auditory_cortex_of_one_hemisphere_is_refused(copy, change, words):
    whole = read_atlas(copy, "S01").sets
    rewrite(copy, "rh", change)
    problems = surface_problems(copy)
    assert words in problems[0]
    assert problems[0].startswith(f"parcel {HESCHL} has vertices in lh, but none in rh")
    for name in ("ac", "nonac", f"a2009s:{HESCHL}"):
        with pytest.raises(DataError, match="has vertices in lh, but none in rh"):
            voxel_set(copy, "S01", name)
    left = read_atlas(copy, "S01").sets  # only what is made of it is left out
    gone = set(whole) - set(left)
    assert gone == {"ac", f"a2009s:{HESCHL}"}
    np.testing.assert_array_equal(left["aparc:transversetemporal"], whole["aparc:transversetemporal"])


BAD_REGIONS = {
    "V4": '<g inkscape:label="V4"><path d="M 0,0 B 1,1"/></g>',
    "OFA": '<g inkscape:label="OFA"><rect width="50%" height="9"/></g>',
}


def test_a_region_that_cannot_be_read_is_named_and_takes_no_other_with_it(copy):
    path = overlays_path(copy, "S01")
    whole = read_atlas(copy, "S01").sets
    path.write_text(path.read_text().replace('<g id="rois_AC"', "".join(BAD_REGIONS.values()) + '<g id="rois_AC"'))
    assert surface_problems(copy) == [
        "region V4 of overlays.svg is left out: it has a path with the command 'B', which SVG does not know.",
        "region OFA of overlays.svg is left out: it has the length '50%', which is not read here.",
    ]
    sets = read_atlas(copy, "S01").sets
    assert sets.keys() == whole.keys()
    np.testing.assert_array_equal(sets["svg:AC"], whole["svg:AC"])
    for name in ("V4", "svg:V4", "lh & V4"):
        with pytest.raises(DataError, match="region V4 of overlays.svg is left out: it has a path"):
            voxel_set(copy, "S01", name)
    listed = CliRunner().invoke(app, ["rois", "--subject", "S01", "--data", str(copy.root)])
    assert "svg:AC" in listed.stdout
    assert "no svg:V4: region V4 of overlays.svg is left out" in " ".join(listed.stdout.split())
    overlay, notes = load_overlay(copy, "S01")
    assert list(overlay.rois) == ["AC"]
    assert notes == surface_problems(copy)
