"""Voxel values leave as NIfTI and gifti, and nibabel and nilearn read back what was written."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from brainwavlm_fast.anatomy import SIDES, load_surface, vertex_voxels, voxel_space
from brainwavlm_fast.anatomy.image_files import vertex_values, write_surface, write_vertices, write_volume
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.errors import DataError
from tests.helpers.volume import read_volume


@pytest.fixture
def dataset(planted_tree):
    return Dataset(planted_tree[0])


def values(dtype):
    drawn = np.random.default_rng(0).standard_normal(800)
    drawn[3] = np.nan if np.issubdtype(dtype, np.floating) else 1
    return drawn.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.int64, bool])
def test_voxels_to_nifti_and_back_are_exactly_the_same(dataset, tmp_path, dtype):
    space = voxel_space(dataset, "S01")
    given = values(dtype)
    write_volume(tmp_path / "map.nii.gz", space, given, name="encoding/tuned")
    back = read_volume(tmp_path / "map.nii.gz", space)
    np.testing.assert_array_equal(back, given)
    assert back.dtype == (np.uint8 if dtype is bool else dtype)


def test_the_volume_lies_over_the_reference(dataset, tmp_path):
    space = voxel_space(dataset, "S01")
    write_volume(tmp_path / "map.nii.gz", space, np.arange(800.0))
    image = nibabel.load(tmp_path / "map.nii.gz")
    folder = dataset.mask_path("S01").parent
    reference, mask = (nibabel.load(folder / f"{name}.nii.gz") for name in ("reference", "mask_thick"))
    np.testing.assert_array_equal(image.affine, reference.affine)
    assert image.header.get_xyzt_units()[0] == "mm"
    filled = np.asarray(image.dataobj)
    np.testing.assert_array_equal(np.isfinite(filled), np.asarray(mask.dataobj) > 0)
    x, y, z = np.argwhere(np.asarray(mask.dataobj).T)[17][::-1]
    assert filled[x, y, z] == 17


def test_what_does_not_fit_is_refused(dataset, tmp_path):
    space = voxel_space(dataset, "S01")
    with pytest.raises(DataError, match=r"values of shape \(799,\) were given for a volume of 800 voxels"):
        write_volume(tmp_path / "map.nii.gz", space, np.zeros(799))
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="vertices lie in voxels up to number 799"):
        vertex_values(np.zeros(700), np.array([-1, 799]))


@pytest.mark.parametrize("side", SIDES)
def test_gifti_holds_each_vertexs_voxel(dataset, tmp_path, side):
    columns = vertex_voxels(dataset, "S02", side)
    given = values(np.float64)
    write_vertices(tmp_path / "map.func.gii", vertex_values(given, columns), side, name="gain")
    image = nibabel.load(tmp_path / "map.func.gii")
    assert image.meta["AnatomicalStructurePrimary"] == {"lh": "CortexLeft", "rh": "CortexRight"}[side]
    assert image.darrays[0].meta["Name"] == "gain"
    shown = image.agg_data()
    assert shown.shape == columns.shape
    assert (columns == -1).any()
    assert np.isnan(shown[columns == -1]).all()
    np.testing.assert_array_equal(shown[columns >= 0], given.astype(np.float32)[columns[columns >= 0]])


@pytest.mark.parametrize("kind", ["flat", "inflated", "wm", "pia"])
def test_surfaces_are_written_as_they_were(dataset, tmp_path, kind):
    surface = load_surface(dataset, "S02", kind, "lh")
    write_surface(tmp_path / "it.surf.gii", surface, "lh", kind)
    image = nibabel.load(tmp_path / "it.surf.gii")
    np.testing.assert_array_equal(image.agg_data("pointset"), surface.points)
    np.testing.assert_array_equal(image.agg_data("triangle"), surface.polys)
    assert image.darrays[0].meta["AnatomicalStructurePrimary"] == "CortexLeft"


def test_nilearn_opens_both(dataset, tmp_path):
    nilearn_image = pytest.importorskip("nilearn.image", reason="nilearn is not installed: maps are not opened with it")
    from nilearn.surface import SurfaceImage, load_surf_data, load_surf_mesh

    space, columns = voxel_space(dataset, "S01"), vertex_voxels(dataset, "S01", "rh")
    write_volume(tmp_path / "map.nii.gz", space, np.arange(800.0))
    assert nilearn_image.load_img(tmp_path / "map.nii.gz").shape == space.shape
    write_vertices(tmp_path / "map.func.gii", vertex_values(np.arange(800.0), columns), "rh")
    surface = load_surface(dataset, "S01", "inflated", "rh")
    write_surface(tmp_path / "it.surf.gii", surface, "rh", "inflated")
    shown = load_surf_data(str(tmp_path / "map.func.gii"))
    np.testing.assert_array_equal(shown[columns >= 0], columns[columns >= 0])
    mesh = load_surf_mesh(str(tmp_path / "it.surf.gii"))
    np.testing.assert_array_equal(mesh.coordinates, surface.points)
    np.testing.assert_array_equal(mesh.faces, surface.polys)
    image = SurfaceImage({"right": str(tmp_path / "it.surf.gii")}, {"right": str(tmp_path / "map.func.gii")})
    assert image.shape[0] == len(columns)
