"""The sets of the planted anatomy, and that they are kept, and made anew when their files change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from brainwavlm_fast.anatomy import annotation, available_sets, read_atlas, voxel_set
from brainwavlm_fast.anatomy.atlas import AC_PARCELS
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.errors import ConfigError, DataError


@pytest.fixture
def copy(planted_tree, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Dataset(shutil.copytree(planted_tree[0], tmp_path / "tree"))


def overlays(dataset):
    return dataset.root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg"


@pytest.mark.parametrize("subject", ["S01", "S02"])
def test_the_planted_sets_are_found(planted_tree, subject):
    root, anatomy = planted_tree
    dataset = Dataset(root)
    for name in ("lh", "rh", "ac"):
        np.testing.assert_array_equal(voxel_set(dataset, subject, name), getattr(anatomy, name))
    np.testing.assert_array_equal(voxel_set(dataset, subject, "nonac"), ~anatomy.ac)
    np.testing.assert_array_equal(voxel_set(dataset, subject, "svg:AC"), anatomy.ac)
    np.testing.assert_array_equal(voxel_set(dataset, subject, "all - ac & rh"), ~anatomy.ac & anatomy.rh)
    three = " | ".join(f"a2009s:{name}" for name in AC_PARCELS)
    np.testing.assert_array_equal(voxel_set(dataset, subject, f"lh & ({three})"), anatomy.lh & anatomy.ac)


def test_parcels_of_an_atlas_share_the_voxels_out(planted_tree):
    dataset = Dataset(planted_tree[0])
    for name in ("a2009s", "aparc"):
        sets = [voxels for known, voxels in read_atlas(dataset, "S01").sets.items() if known.startswith(f"{name}:")]
        np.testing.assert_array_equal(np.sum(sets, axis=0), 1)
        assert len(sets) == len(annotation(dataset, "S01", "lh", name)[1])


def test_voxels_without_a_vertex_and_with_vertices_of_both_sides_are_counted(planted_tree, copy):
    whole = read_atlas(Dataset(planted_tree[0]), "S01")
    assert whole.counts["neither"] == whole.counts["both"] == 0
    assert whole.counts["farthest_mm"] < 1.3
    for kind in ("wm", "pia"):  # the left surfaces are laid half over the right ones' voxels
        path = copy.root / "derivative" / "pycortex-db" / "UTS02" / "surfaces" / f"{kind}_lh.npz"
        with np.load(path) as arrays:
            np.savez(path, pts=arrays["pts"] + np.float32(7.0), polys=arrays["polys"])
    moved = read_atlas(copy, "S02")
    assert moved.counts["neither"] > 0
    assert moved.counts["both"] > 0
    assert moved.counts["neither"] == 800 - moved.sets["surface"].sum()
    assert moved.counts["farthest_mm"] > 1.3
    np.testing.assert_array_equal(moved.sets["lh"], ~moved.sets["rh"])


def test_sets_are_kept_outside_the_data_set_and_made_anew_when_a_file_changes(copy, monkeypatch, tmp_path):
    from brainwavlm_fast.anatomy import atlas

    before = {path: path.stat().st_mtime_ns for path in copy.root.rglob("*")}
    first = read_atlas(copy, "S01")
    assert {path: path.stat().st_mtime_ns for path in copy.root.rglob("*")} == before
    (kept,) = (tmp_path / "cache").rglob("UTS01-*.hf5")
    with h5py.File(kept) as file:
        head = json.loads(file.attrs["head"])
        assert head["subject"] == "UTS01"
        assert any("matrices.xfm" in name for name in head["sources"])
        assert file["members"].shape == (len(first.sets), 800)
        assert "h5py" in json.loads(file.attrs["provenance"])["versions"]

    made = []
    make = atlas.region_vertices
    monkeypatch.setattr(atlas, "region_vertices", lambda *a: made.append(1) or make(*a))
    again = read_atlas(copy, "S01")
    assert made == []
    assert list(again.sets) == list(first.sets)
    for name, voxels in first.sets.items():
        np.testing.assert_array_equal(again.sets[name], voxels)
    assert (again.counts, again.missing) == (first.counts, first.missing)
    overlays(copy).write_text(overlays(copy).read_text().replace('"AC"', '"A1"'))
    read_atlas(copy, "S01")
    assert made == [1]
    kept.write_bytes(b"damaged")
    read_atlas(copy, "S01")
    assert made == [1, 1]


def test_a_drawing_without_the_region(copy):
    overlays(copy).write_text(overlays(copy).read_text().replace('"AC"', '"V1"'))
    with pytest.raises(ConfigError, match=r"unknown voxel set 'svg:AC' of UTS01: did you mean svg:V1.*bwlm rois"):
        voxel_set(copy, "S01", "svg:AC")
    assert voxel_set(copy, "S01", "V1").sum() == 200


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lhs", "did you mean lh"),
        ("S_temporal_sup", "did you mean a2009s:S_temporal_sup"),
        ("a2009s:S_temporal_sub", "did you mean a2009s:S_temporal_sup"),
        ("G_Precentral", "did you mean a2009s:G_precentral"),
        ("NONAC", "did you mean nonac"),
        ("all-ac", "stands between blanks: 'all - ac'"),
        ("xyzzy", r"unknown voxel set 'xyzzy' of UTS01\. All sets: bwlm rois --subject UTS01"),
        ("AC", "could be ac or the region svg:AC"),
    ],
)
def test_names_that_are_not_known(planted_tree, name, says):
    with pytest.raises(ConfigError, match=says):
        voxel_set(Dataset(planted_tree[0]), "S01", name)


def test_what_is_not_downloaded_is_named_when_it_is_asked_for(copy):
    label = copy.root / "derivative" / "freesurfer_subjdir" / "UTS01" / "label" / "rh.aparc.a2009s.annot"
    label.unlink()
    label.symlink_to("../.git/annex/objects/x/MD5E-s5--0")
    with pytest.raises(DataError, match=r"'ac' of UTS01 cannot be made: .*datalad get .*rh\.aparc\.a2009s\.annot"):
        voxel_set(copy, "S01", "all - ac")
    names, problems = available_sets(copy, "S01")
    assert names == ["all", "lh", "rh"]
    assert len(problems) == 1
    assert voxel_set(copy, "S01", "aparc:transversetemporal").any()


@pytest.mark.parametrize("name", ["lh", "ac", "svg:AC", "aparc:precentral"])
def test_without_folded_surfaces_there_is_only_all(copy, name):
    for path in (copy.root / "derivative" / "pycortex-db" / "UTS01" / "surfaces").glob("pia_*"):
        path.unlink()
    with pytest.raises(DataError, match="no pia surface of lh"):
        voxel_set(copy, "S01", name)
    names, problems = available_sets(copy, "S01")
    assert (names, len(problems)) == (["all"], 1)
    assert voxel_set(copy, "S01", "all").all()


def test_without_flat_maps_only_drawn_regions_are_lost(copy):
    for path in (copy.root / "derivative" / "pycortex-db" / "UTS01" / "surfaces").glob("flat_*"):
        path.unlink()
    assert available_sets(copy, "S01") == (["all", "lh", "rh", "ac", "nonac"], [])
    with pytest.raises(DataError, match="'svg:AC' of UTS01 cannot be made: UTS01 has no flat surface"):
        voxel_set(copy, "S01", "svg:AC")
    with pytest.raises(ConfigError, match="No drawn regions are known: UTS01 has no flat surface"):
        voxel_set(copy, "S01", "V1")


def test_annotations_of_another_reconstruction(copy):
    path = copy.root / "derivative" / "freesurfer_subjdir" / "UTS01" / "label" / "lh.aparc.annot"
    nibabel.freesurfer.write_annot(path, np.zeros(7, int), np.array([[1, 2, 3, 0, 0]]), ["x"], fill_ctab=True)
    with pytest.raises(DataError, match=r"lh\.aparc\.annot is of 7 vertices, the surfaces of lh have 2286"):
        voxel_set(copy, "S01", "aparc:precentral")


def test_expressions_that_select_nothing(planted_tree):
    with pytest.raises(DataError, match="'lh & rh' of UTS01 holds no voxel of the 800"):
        voxel_set(Dataset(planted_tree[0]), "S01", "lh & rh")


def test_the_mask_is_held_against_the_columns_every_time(copy):
    voxel_set(copy, "S01", "lh")
    for story in copy.stories("S01"):
        with h5py.File(copy.response_path("S01", story), "w") as file:
            file["data"] = np.zeros((copy.n_trs(story), 7))
    with pytest.raises(DataError, match=r"mask_thick\.nii\.gz selects 800 voxels, but responses of UTS01 have 7"):
        voxel_set(copy, "S01", "lh")
    assert voxel_set(copy, "S01", "all").shape == (7,)
    available, problems = available_sets(copy, "S01")
    assert (available, len(problems)) == (["all"], 1)


def save_mask(dataset, path, mask, affine=None):
    reference = nibabel.load(dataset.mask_path("S01").parent / "reference.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, reference.affine if affine is None else affine), path)


def test_a_mask_of_ones_own(copy, tmp_path):
    thick = np.asarray(nibabel.load(copy.mask_path("S01")).dataobj)
    mask = np.zeros(thick.shape, np.float32)
    mask[:, :, :5] = 0.5
    save_mask(copy, tmp_path / "mine.nii.gz", mask)
    z = np.nonzero(thick.T)[0]
    np.testing.assert_array_equal(voxel_set(copy, "S01", f"file:{tmp_path}/mine.nii.gz"), z < 5)


def test_masks_that_do_not_fit(copy, tmp_path):
    thick = np.asarray(nibabel.load(copy.mask_path("S01")).dataobj)
    save_mask(copy, tmp_path / "small.nii", np.ones((2, 3, 4), np.uint8))
    with pytest.raises(DataError, match=r"small\.nii has \(2, 3, 4\) voxels along x, y, z; UTS01's volume has"):
        voxel_set(copy, "S01", f"file:{tmp_path}/small.nii")
    save_mask(copy, tmp_path / "moved.nii", thick, np.eye(4))
    with pytest.raises(DataError, match="their affines differ"):
        voxel_set(copy, "S01", f"file:{tmp_path}/moved.nii")
    save_mask(copy, tmp_path / "flat.nii", thick[..., 0])
    with pytest.raises(DataError, match="a mask has 3"):
        voxel_set(copy, "S01", f"file:{tmp_path}/flat.nii")
    save_mask(copy, tmp_path / "none.nii", 0 * thick)
    with pytest.raises(DataError, match="holds no voxel"):
        voxel_set(copy, "S01", f"file:{tmp_path}/none.nii")


def test_a_list_of_voxels(copy, tmp_path):
    path: Path = tmp_path / "mine.txt"
    path.write_text("3, 5\n799\n5")
    assert np.flatnonzero(voxel_set(copy, "S01", f"file:{path}")).tolist() == [3, 5, 799]
    np.save(tmp_path / "mine.npy", np.array([1, 2]))
    assert np.flatnonzero(voxel_set(copy, "S01", f"file:{tmp_path}/mine.npy | file:{path}")).tolist()[:3] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "says"),
    [("800", "numbers from 0 to 799"), ("-1", "numbers from 0 to 799"), ("1.5", "cannot be read"), ("", "no voxel")],
)
def test_lists_that_are_refused(copy, tmp_path, content, says):
    (tmp_path / "mine.txt").write_text(content)
    with pytest.raises(DataError, match=says):
        voxel_set(copy, "S01", f"file:{tmp_path}/mine.txt")
    with pytest.raises(DataError, match="no such file of voxels"):
        voxel_set(copy, "S01", f"file:{tmp_path}/yours.txt")


def test_arrays_that_are_refused(copy, tmp_path):
    for name, values in {"real": np.array([1.0]), "square": np.eye(2, dtype=int), "objects": np.array([{}])}.items():
        np.save(tmp_path / f"{name}.npy", values)
        with pytest.raises(DataError, match=r"\.npy"):
            voxel_set(copy, "S01", f"file:{tmp_path}/{name}.npy")
