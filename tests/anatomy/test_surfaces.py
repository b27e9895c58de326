from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest

from brainwavlm_fast.anatomy import SIDES, annotation, load_surface, mid_thickness, vertex_voxels, voxel_space
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.errors import ConfigError, DataError


@pytest.fixture
def copy(planted_tree, tmp_path):
    return Dataset(shutil.copytree(planted_tree[0], tmp_path / "tree"))


def surfaces(dataset, subject="UTS01"):
    return dataset.root / "derivative" / "pycortex-db" / subject / "surfaces"


@pytest.mark.parametrize("kind", ["flat", "inflated", "wm", "pia"])
def test_gifti_and_npz_hold_the_same(planted_tree, kind):
    dataset = Dataset(planted_tree[0])
    assert (surfaces(dataset, "UTS01") / f"{kind}_lh.gii").is_file()
    assert (surfaces(dataset, "UTS02") / f"{kind}_lh.npz").is_file()
    one, two = (load_surface(dataset, subject, kind, "lh") for subject in ("S01", "S02"))
    assert one.points.dtype == np.float32
    assert one.polys.dtype == np.int32
    np.testing.assert_array_equal(one.polys, two.polys)
    if kind in ("flat", "inflated"):  # the others are turned differently against the volume
        np.testing.assert_array_equal(one.points, two.points)


def test_a_flat_surface_lacks_cuts_and_medial_wall(planted_tree):
    dataset = Dataset(planted_tree[0])
    flat, folded = load_surface(dataset, "S01", "flat", "lh"), mid_thickness(dataset, "S01", "lh")
    assert folded.used().all()
    assert 0 < (~flat.used()).sum() < 0.1 * len(flat.points)


@pytest.mark.parametrize("subject", ["S01", "S02"])
def test_every_voxel_is_met_by_its_own_hemisphere_only(planted_tree, subject):
    root, anatomy = planted_tree
    for side in SIDES:
        voxels = vertex_voxels(Dataset(root), subject, side)
        assert voxels.dtype == np.int64
        assert (voxels == -1).any()
        np.testing.assert_array_equal(np.unique(voxels[voxels >= 0]), np.flatnonzero(getattr(anatomy, side)))


def test_a_vertex_lies_in_its_voxel_by_nibabels_reckoning(planted_tree):
    dataset = Dataset(planted_tree[0])
    folder = dataset.mask_path("S01").parent
    mask, reference = (nibabel.load(folder / f"{name}.nii.gz") for name in ("mask_thick", "reference"))
    magnet = np.array(json.loads((folder / "matrices.xfm").read_text())["magnet"])
    points = mid_thickness(dataset, "S01", "rh").points
    scanner = nibabel.affines.apply_affine(magnet, points)
    ijk = np.rint(nibabel.affines.apply_affine(np.linalg.inv(reference.affine), scanner)).astype(int)
    number = np.full(mask.shape, -1)
    z, y, x = np.nonzero(np.asarray(mask.dataobj).T)
    number[x, y, z] = np.arange(len(x))
    expected = [number[i, j, k] if min(i, j, k) >= 0 and (i, j, k) < mask.shape else -1 for i, j, k in ijk]
    np.testing.assert_array_equal(vertex_voxels(dataset, "S01", "rh"), expected)


def test_centers_and_columns_are_inverse(planted_tree):
    space = voxel_space(Dataset(planted_tree[0]), "S02")
    assert space.n_voxels == 800
    np.testing.assert_array_equal(space.columns(space.centers()), np.arange(800))
    assert (space.columns(space.centers() + 1000) == -1).all()


@pytest.mark.parametrize(("atlas", "name"), [("a2009s", "S_temporal_sup"), ("aparc", "transversetemporal")])
def test_annotations_are_of_the_surfaces_vertices(planted_tree, atlas, name):
    dataset = Dataset(planted_tree[0])
    labels, names = annotation(dataset, "S01", "rh", atlas)
    assert labels.shape == (len(load_surface(dataset, "S01", "wm", "rh").points),)
    assert (labels == names.index(name)).any()
    with pytest.raises(ConfigError, match="unknown atlas 'a2009': did you mean a2009s"):
        annotation(dataset, "S01", "rh", "a2009")


def test_an_unknown_kind_of_surface(planted_tree):
    with pytest.raises(ConfigError, match="unknown surface 'white' of 'lh'"):
        load_surface(Dataset(planted_tree[0]), "S01", "white", "lh")


def test_surfaces_without_flat_maps_say_what_to_get(copy):
    (surfaces(copy) / "flat_lh.gii").unlink()
    with pytest.raises(DataError, match=r"no flat surface of lh.*datalad get derivative/pycortex-db/UTS01/surfaces"):
        load_surface(copy, "S01", "flat", "lh")
    (surfaces(copy) / "flat_lh.npz").symlink_to("../../.git/annex/objects/x/MD5E-s5--0.npz")
    with pytest.raises(DataError, match=r"datalad get derivative/pycortex-db/UTS01/surfaces/flat_lh\.npz"):
        load_surface(copy, "S01", "flat", "lh")


def test_a_transform_that_is_missing(copy):
    path = copy.mask_path("S01").parent / "matrices.xfm"
    path.unlink()
    with pytest.raises(DataError, match=r"matrices\.xfm is missing"):
        vertex_voxels(copy, "S01", "lh")
    path.symlink_to("../.git/annex/objects/x/MD5E-s5--0.xfm")
    with pytest.raises(DataError, match=r"datalad get .*UTS01_auto/matrices\.xfm"):
        vertex_voxels(copy, "S01", "lh")


@pytest.mark.parametrize("content", ["{}", "[]", '{"coord": [[1, 0], [0, 1]]}', '{"coord": "x"}', "not json"])
def test_a_transform_of_another_kind(copy, content):
    (copy.mask_path("S01").parent / "matrices.xfm").write_text(content)
    with pytest.raises(DataError, match=r"matrices\.xfm"):
        voxel_space(copy, "S01")


def test_a_mask_of_another_size_than_the_reference(copy):
    folder = copy.mask_path("S01").parent
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4)), folder / "mask_thick.nii.gz")
    with pytest.raises(DataError, match=r"has \(4, 5, 6\) voxels.*reference\.nii\.gz beside it"):
        voxel_space(copy, "S01")


@pytest.mark.parametrize("subject", ["UTS01", "UTS02"])
def test_a_damaged_surface(copy, subject):
    path = next(surfaces(copy, subject).glob("wm_lh.*"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"wm_lh\.\w+ cannot be read"):
        load_surface(copy, subject, "wm", "lh")


def test_a_pickle_in_an_npz_is_refused(copy):
    path = surfaces(copy, "UTS02") / "wm_lh.npz"
    np.savez(path, pts=np.array([{}], dtype=object), polys=np.zeros((1, 3), int))
    with pytest.raises(DataError, match="cannot be read"):
        load_surface(copy, "S02", "wm", "lh")


def test_faces_of_vertices_that_do_not_exist(copy):
    np.savez(surfaces(copy, "UTS02") / "wm_lh.npz", pts=np.zeros((3, 3)), polys=np.array([[0, 1, 3]]))
    with pytest.raises(DataError, match="vertices that do not exist"):
        load_surface(copy, "S02", "wm", "lh")


def test_a_damaged_annotation(copy):
    path = copy.root / "derivative" / "freesurfer_subjdir" / "UTS01" / "label" / "lh.aparc.annot"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"lh\.aparc\.annot cannot be read"):
        annotation(copy, "S01", "lh", "aparc")
