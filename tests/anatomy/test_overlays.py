from __future__ import annotations

import shutil

import numpy as np
import pytest

from brainwavlm_fast.anatomy import (
    SIDES,
    Drawn,
    load_surface,
    overlay_regions,
    region_vertices,
    vertex_voxels,
    voxel_set,
)
from brainwavlm_fast.anatomy.svg import read_layer
from brainwavlm_fast.data import Dataset
from brainwavlm_fast.errors import DataError

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" '
    'width="100" height="50">'
)


def layer(inner, name="rois", **attributes):
    more = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f'<g inkscape:label="{name}" {more}><g inkscape:label="shapes">{inner}</g></g>'


def shape(d, name="AC", **attributes):
    more = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f'<g inkscape:label="{name}"><path d="{d}" {more}/></g>'


def read(tmp_path, text, wanted="rois"):
    path = tmp_path / "overlays.svg"
    path.write_text(text)
    return read_layer(path, wanted)


def lines(tmp_path, d, **attributes):
    drawing = read(tmp_path, HEAD + layer(shape(d, **attributes)) + "</svg>")
    assert drawing.left_out == {}
    (shapes,) = drawing.shapes.values()
    (found,) = shapes
    return found.lines


def vertices_of(dataset, subject):
    return region_vertices(dataset, subject, overlay_regions(dataset, subject).regions)


def left_out(tmp_path, inner):
    """Why the one shape is left out; another beside it is read."""
    drawing = read(tmp_path, HEAD + layer(inner + shape("M 0,0 1,0 1,1 Z", name="sound")) + "</svg>")
    assert list(drawing.shapes) == ["sound"]
    (reason,) = drawing.left_out.values()
    return reason


BLOBS = (  # of curves, on both hemispheres, one with relative and one with absolute commands
    '<path d="m 700,200 c 100,-150 300,50 250,200 -40,120 -150,300 -300,250 -120,-40 -50,-300 50,-450 z"/>',
    '<path d="M 2900,300 C 3100,100 3300,300 3250,500 3200,700 3000,900 2900,700 2800,600 2850,400 2900,300 Z"/>',
)


@pytest.fixture
def copy(planted_tree, tmp_path):
    return Dataset(shutil.copytree(planted_tree[0], tmp_path / "tree"))


@pytest.mark.parametrize("subject", ["S01", "S02"])
def test_the_drawn_region_is_the_planted_one(planted_tree, subject):
    root, anatomy = planted_tree
    for side in SIDES:
        voxels = vertex_voxels(Dataset(root), subject, side)
        inside = vertices_of(Dataset(root), subject)["AC"][side]
        planted = np.where(voxels >= 0, anatomy.ac[voxels], inside)
        np.testing.assert_array_equal(inside, planted)
        assert 0.1 < inside.mean() < 0.9


def test_sulci_are_lines_on_the_map(planted_tree):
    dataset = Dataset(planted_tree[0])
    sulci = overlay_regions(dataset, "S01", layer="sulci").regions
    assert next(iter(sulci)) == "STS"
    for side in SIDES:
        flat = load_surface(dataset, "S01", "flat", side)
        low, high = flat.points[flat.used(), :2].min(axis=0), flat.points[flat.used(), :2].max(axis=0)
        (line,) = sulci["STS"].visible_lines(side, closed=False)
        assert ((line > low) & (line < high)).all()
        np.testing.assert_allclose(line[:, 0], line[0, 0], atol=1e-3)


def test_vertices_that_a_cut_took_off_join_their_neighbors(planted_tree, copy):
    path = copy.root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg"
    text = path.read_text()
    width = float(text.split('width="')[1].split('"')[0])
    left_half = f"M -9,-9 H {width / 2 - 0.1} V 1033 H -9 Z"
    old = text.split('<path d="')[1].split('"')[0]
    path.write_text(text.replace(old, left_half))
    flat = load_surface(copy, "S01", "flat", "lh")
    inside = vertices_of(copy, "S01")["AC"]["lh"]
    assert inside[flat.used()].mean() > 0.95
    off_map = ~flat.used()
    assert 0 < inside[off_map].sum() < off_map.sum()  # along the cut, not all the medial wall


@pytest.mark.parametrize(
    ("d", "expected"),
    [
        ("M 1,2 L 3,4 5,6", [[1, 2], [3, 4], [5, 6]]),
        ("m1 2 3-4.5.5", [[1, 2], [4, -2.5]]),
        ("m 1,2 l 1,0 h 2 v3 H 0 V 0 z", [[1, 2], [2, 2], [4, 2], [4, 5], [0, 5], [0, 0], [1, 2]]),
        ("M1e1,2 l1,1", [[10, 2], [11, 3]]),
    ],
)
def test_straight_paths(tmp_path, d, expected):
    if d.startswith("m1 2 3-4.5.5"):
        assert "lacks numbers" in left_out(tmp_path, shape(d))
        d = d.removesuffix(".5")
    (line,) = lines(tmp_path, d)
    np.testing.assert_allclose(line, expected)


def test_after_a_ring_the_pen_is_at_its_start(tmp_path):
    rings = lines(tmp_path, "m 1,1 4,0 0,4 z m 10,0 1,0 0,1 z")
    np.testing.assert_allclose(rings[1][0], [11, 1])


def test_curves_are_bezier_curves(tmp_path):
    (cubic,) = lines(tmp_path, "M 0,0 C 0,1 1,1 1,0")
    t = np.linspace(0, 1, 17)
    np.testing.assert_allclose(cubic[:, 0], 3 * (1 - t) * t**2 + t**3, atol=1e-12)
    np.testing.assert_allclose(cubic[:, 1], 3 * (1 - t) ** 2 * t + 3 * (1 - t) * t**2, atol=1e-12)
    (smooth,) = lines(tmp_path, "M 0,0 c 0,1 1,1 1,0 s 1,-1 1,0")
    (spelled,) = lines(tmp_path, "M 0,0 C 0,1 1,1 1,0 C 1,-1 2,-1 2,0")
    np.testing.assert_allclose(smooth, spelled)
    (quadratic,) = lines(tmp_path, "M 0,0 q 1,2 2,0 t 2,0")
    np.testing.assert_allclose(quadratic[8], [1, 1])
    np.testing.assert_allclose(quadratic[24], [3, -1])


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("translate(10)", [11, 2]),
        ("translate(10,-1)", [11, 1]),
        ("scale(2)", [2, 4]),
        ("scale(2,3)", [2, 6]),
        ("rotate(90)", [-2, 1]),
        ("rotate(180, 1, 0)", [1, -2]),
        ("matrix(1,0,0,-1,0,50)", [1, 48]),
        ("translate(10,0) scale(2)", [12, 4]),
        ("skewX(45)", [3, 2]),
        ("skewY(45)", [1, 3]),
        ("matrix(1 .5 -.25 1 0 0)", [0.5, 2.5]),
    ],
)
def test_transforms_of_paths_and_groups(tmp_path, transform, expected):
    (line,) = lines(tmp_path, "M 1,2 3,4", transform=transform)
    np.testing.assert_allclose(line[0], expected, atol=1e-12)
    outer = read(tmp_path, HEAD + layer(shape("M 1,2 3,4"), transform=transform) + "</svg>")
    np.testing.assert_allclose(outer.shapes["AC"][0].lines[0][0], expected, atol=1e-12)


def test_a_view_box_gives_the_units(tmp_path):
    drawing = read(tmp_path, HEAD.replace('width="100"', 'viewBox="5 6 200 100" width="100"') + "</svg>")
    np.testing.assert_array_equal(drawing.origin, [5, 6])
    np.testing.assert_array_equal(drawing.size, [200, 100])
    assert drawing.shapes == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('<!DOCTYPE svg [<!ENTITY a "b">]>' + HEAD + "</svg>", "has a document type"),
        ('<!DOCTYPE svg SYSTEM "file:///etc/passwd">' + HEAD + "</svg>", "has a document type"),
        (HEAD, "cannot be read as SVG"),
        ("<html/>", "is not an SVG drawing"),
        (HEAD.replace('"100"', '"0"') + "</svg>", "page of 0"),
        (HEAD.replace('"100"', '"wide"') + "</svg>", "the length 'wide'"),
    ],
)
def test_drawings_that_are_refused(tmp_path, text, says):
    with pytest.raises(DataError, match=rf"overlays\.svg.*{says}"):
        read(tmp_path, text)


def test_a_ring_inside_a_ring_is_a_hole_and_paths_add_up(copy):
    path = copy.root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg"
    text = path.read_text()
    width = float(text.split('width="')[1].split('"')[0])
    w, h = width / 2, 1024
    box = [f"M {a * w},{a * h} H {(1 - a) * w} V {(1 - a) * h} H {a * w} Z" for a in (0.1, 0.2, 0.4)]
    inner = shape(box[0] + " " + box[1]) + shape(box[2])
    path.write_text(HEAD.replace('width="100" height="50"', f'width="{width}" height="{h}"') + layer(inner) + "</svg>")
    region = overlay_regions(copy, "S01").regions["AC"]
    assert region.rh == ()
    assert [len(outline.lines) for outline in region.lh] == [2, 1]
    flat = load_surface(copy, "S01", "flat", "lh")
    low, high = flat.points[:, :2].min(axis=0), flat.points[:, :2].max(axis=0)
    share = np.array([[0.05, 0.5], [0.15, 0.5], [0.3, 0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(region.inside("lh", low + share * (high - low)), [False, True, False, True])


def test_a_line_that_strays_over_the_middle_takes_nothing_from_the_other_side(copy):
    path = copy.root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg"
    text = path.read_text()
    width = float(text.split('width="')[1].split('"')[0])
    old = text.split('<path d="')[1].split('"')[0]
    path.write_text(text.replace(old, f"M {0.3 * width},300 H {0.6 * width} V 700 H {0.3 * width} Z"))
    for outlines in (overlay_regions(copy, "S01").regions["AC"].lh, overlay_regions(copy, "S01").regions["AC"].rh):
        assert len(outlines) == 1  # the other path is the right hemisphere's own
    ours = vertices_of(copy, "S01")["AC"]
    planted = vertices_of(Dataset(copy.root), "S02")["AC"]
    assert ours["lh"].sum() > 100
    np.testing.assert_array_equal(ours["rh"], planted["rh"])


def test_shapes_that_are_no_path_hold_the_vertices_inside_of_them(copy):
    """An ellipse and a skewed polygon on the left map, worked out in the map's own millimeters."""
    path = copy.root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg"
    text = path.read_text()
    width, height = (float(text.split(f'{name}="')[1].split('"')[0]) for name in ("width", "height"))
    ellipse = f'<ellipse cx="{width / 4}" cy="{height / 2}" rx="{width / 6}" ry="{height / 5}"/>'
    square = f'<polygon points="0 0 {width / 8} 0 {width / 8} {height / 3} 0 {height / 3}" transform="{{}}"/>'
    skewed = square.format(f"translate({width / 8} {height / 4}) skewX(20)")
    added = "".join(
        f'<g inkscape:label="{name}">{inner}</g>' for name, inner in {"ellipse": ellipse, "skewed": skewed}.items()
    )
    path.write_text(text.replace('<g id="rois_AC"', added + '<g id="rois_AC"'))
    flats = [load_surface(copy, "S01", "flat", side) for side in SIDES]
    left = flats[0].points[:, :2].astype(float)
    high, low = left.max(axis=0), left.min(axis=0)
    x = (left[:, 0] - low[0]) / (high[0] - low[0]) / 2 * width  # both maps are equally wide
    y = (high[1] - left[:, 1]) / (high[1] - low[1]) * height
    inside = {
        "ellipse": np.hypot((x - width / 4) / (width / 6), (y - height / 2) / (height / 5)) < 1,
        "skewed": (np.abs((x - width / 8 - np.tan(np.radians(20)) * (y - height / 4)) * 16 / width - 1) < 1)
        & (np.abs((y - height / 4) * 6 / height - 1) < 1),
    }
    found = vertices_of(copy, "S01")
    on_map = flats[0].used()
    for name, expected in inside.items():
        assert 100 < expected[on_map].sum() < 0.9 * on_map.sum()
        np.testing.assert_array_equal(found[name]["lh"][on_map], expected[on_map])
        assert not found[name]["rh"].any()


def test_a_drawing_without_the_layer(copy):
    path = copy.root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg"
    path.write_text(HEAD + "</svg>")
    for name in ("rois", "sulci"):
        assert overlay_regions(copy, "S01", layer=name) == Drawn({}, {})


def test_pycortex_finds_the_same_vertices(copy, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # pycortex writes its options there
    cortex = pytest.importorskip("cortex", reason="pycortex is not installed: our reading of the SVG is not compared")
    path = copy.root / "derivative" / "pycortex-db" / "UTS01" / "overlays.svg"
    blob = f'<g inkscape:label="blob">{"".join(BLOBS)}</g>'
    path.write_text(path.read_text().replace('<g id="rois_AC"', blob + '<g id="rois_AC"'))
    monkeypatch.setattr(cortex.db, "filestore", str(copy.root / "derivative" / "pycortex-db"))
    cortex.db.reload_subjects()
    ours = {name: np.concatenate(list(both.values())) for name, both in vertices_of(copy, "UTS01").items()}
    theirs = cortex.utils.get_roi_verts("UTS01", mask=True)
    assert ours.keys() == theirs.keys() == {"AC", "blob"}
    on_a_curve = {"AC": 0, "blob": 2}  # vertices so near to a curve that its straight pieces matter
    for name, vertices in ours.items():
        assert (vertices != theirs[name]).sum() <= on_a_curve[name]
        assert 50 < vertices.sum() < 3000
    masks = cortex.utils.get_roi_masks("UTS01", "UTS01_auto", gm_sampler="thick", allow_overlap=True)
    thick = cortex.db.get_mask("UTS01", "UTS01_auto", "thick")
    for name, mask in masks.items():
        assert (mask[thick] != voxel_set(copy, "UTS01", f"svg:{name}")).sum() <= on_a_curve[name]
