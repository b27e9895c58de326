"""Shapes, arcs, skews and clip paths of a drawing, against geometry that is worked out another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.path import Path as PlotPath
from matplotlib.transforms import Affine2D

from brainwavlm_fast.anatomy.outlines import Outline
from brainwavlm_fast.anatomy.svg_paths import path_lines
from tests.anatomy.test_overlays import HEAD, layer, left_out, read, shape

GRID = np.stack(np.meshgrid(np.linspace(-1.03, 101, 143), np.linspace(-0.97, 51, 97)), axis=-1).reshape(-1, 2)
FINE = 0.05  # of the page's 100 by 50: nearer to an outline than this, its straight pieces may decide


def inside(tmp_path, inner, points=GRID, name="AC"):
    drawing = read(tmp_path, HEAD + layer(f'<g inkscape:label="{name}">{inner}</g>') + "</svg>")
    assert drawing.left_out == {}
    return np.any([Outline(tuple(s.lines), s.clips).inside(points) for s in drawing.shapes[name]], axis=0)


def level(points, center, radii, degrees=0.0):
    """Below 1 inside of an ellipse, 1 on it."""
    turn = math.radians(degrees)
    x, y = (points - center).T
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return np.hypot(along / radii[0], across / radii[1])


def assert_inside(found, level_of_points, radii):
    """Inside where the level is below 1, but for points too near to tell."""
    clear = np.abs(level_of_points - 1) * min(radii) > FINE
    assert clear.mean() > 0.95
    assert (level_of_points < 1).sum() > 20
    np.testing.assert_array_equal(found[clear], level_of_points[clear] < 1)


def test_ellipses_and_circles(tmp_path):
    found = inside(tmp_path, '<ellipse cx="40" cy="20" rx="30" ry="12"/>')
    assert_inside(found, level(GRID, (40, 20), (30, 12)), (30, 12))
    found = inside(tmp_path, '<circle cx="40" cy="20" r="15"/>')
    assert_inside(found, level(GRID, (40, 20), (15, 15)), (15, 15))
    found = inside(tmp_path, '<ellipse cx="0" cy="0" rx="30" ry="12" transform="translate(45 24) rotate(25)"/>')
    assert_inside(found, level(GRID, (45, 24), (30, 12), 25), (30, 12))


def test_one_radius_of_an_ellipse_stands_for_both(tmp_path):
    np.testing.assert_array_equal(
        inside(tmp_path, '<ellipse cx="40" cy="20" rx="15"/>'), inside(tmp_path, '<circle cx="40" cy="20" r="15"/>')
    )


@pytest.mark.parametrize("turned", [0, 30, -70])
@pytest.mark.parametrize("angles", [(0.3, 2.0), (0.3, 5.5), (2.0, 0.3), (5.5, 0.3), (1.0, 1.0 + math.pi * 0.999)])
def test_arcs_are_the_ellipse_between_two_angles(turned, angles):
    """From center and angles to end points, written as a path, and back: all four pairs of flags."""
    center, radii, turn = np.array([40.0, 20.0]), np.array([9.0, 4.0]), math.radians(turned)
    t = np.linspace(*angles, 500)
    along, across = radii[0] * np.cos(t), radii[1] * np.sin(t)
    true = center + np.stack(
        [along * math.cos(turn) - across * math.sin(turn), along * math.sin(turn) + across * math.cos(turn)], axis=1
    )
    large, sweep = int(abs(angles[1] - angles[0]) > math.pi), int(angles[1] > angles[0])
    x0, y0, x1, y1 = true[[0, -1]].ravel().tolist()
    (line,) = path_lines(f"M {x0!r} {y0!r} A 9 4 {turned} {large}{sweep}{x1!r},{y1!r}")
    np.testing.assert_allclose(level(line, center, radii, turned), 1, atol=1e-9)
    np.testing.assert_allclose(line[[0, -1]], true[[0, -1]], atol=1e-12)
    nearest = np.linalg.norm(line[:, None] - true[None], axis=2)
    assert nearest.min(axis=1).max() < 0.1  # no point elsewhere on the ellipse
    assert nearest.min(axis=0).max() < 0.4  # and none of the arc left out
    steps = np.diff(np.argmin(nearest, axis=1))
    assert (steps > 0).all()  # the way it is run


def test_an_arc_too_small_to_reach_grows_and_one_of_no_radius_is_a_line():
    (line,) = path_lines("M 0,0 A 1 1 0 0 1 10,0")
    np.testing.assert_allclose(np.linalg.norm(line - [5, 0], axis=1), 5, atol=1e-12)
    assert line[:, 1].min() < -4.99  # y runs downwards: a growing angle goes over the top
    (line,) = path_lines("M 0,0 a 0 1 0 0 1 10,0 3 3 0 0 0 0 0")
    np.testing.assert_array_equal(line, [[0, 0], [10, 0]])


def test_arcs_as_inkscape_writes_a_circle(tmp_path):
    d = "m 70,20 a 30,12 0 0 1 -30,12 30,12 0 0 1 -30,-12 30,12 0 0 1 30,-12 30,12 0 0 1 30,12 z"
    assert_inside(inside(tmp_path, f'<path d="{d}"/>'), level(GRID, (40, 20), (30, 12)), (30, 12))
    two = "M70 20A30 12 0 1110 20 30 12 0 1170 20z"
    assert_inside(inside(tmp_path, f'<path d="{two}"/>'), level(GRID, (40, 20), (30, 12)), (30, 12))


def test_rectangles_and_their_round_corners(tmp_path):
    found = inside(tmp_path, '<rect x="10" y="8" width="60" height="30"/>')
    x, y = GRID.T
    np.testing.assert_array_equal(found, (x > 10) & (x < 70) & (y > 8) & (y < 38))
    for radii, given in [
        ((12, 5), 'rx="12" ry="5"'),
        ((8, 8), 'ry="8"'),
        ((30, 15), 'rx="99" ry="99"'),
        ((99 * 0 + 30, 6), 'rx="99" ry="6"'),
    ]:
        found = inside(tmp_path, f'<rect x="10" y="8" width="60" height="30" {given}/>')
        nearest = np.clip(GRID, np.array([10, 8]) + radii, np.array([70, 38]) - radii)
        assert_inside(found, level(GRID, nearest, radii), radii)


def test_units_of_lengths(tmp_path):
    np.testing.assert_array_equal(
        inside(tmp_path, '<rect x="1pc" y="12pt" width="0.5in" height="24px"/>'),
        inside(tmp_path, '<rect x="16" y="16" width="48" height="24"/>'),
    )


STAR = np.array([[10, 40], [45, 3], [60, 45], [5, 15], [70, 12]], dtype=float)  # crosses itself: even-odd


@pytest.mark.parametrize(
    ("transform", "oracle"),
    [
        ("skewX(20)", Affine2D().skew_deg(20, 0)),
        ("skewY(-15)", Affine2D().skew_deg(0, -15)),
        ("matrix(0.8 0.3 -0.4 1.1 9 -5)", Affine2D.from_values(0.8, 0.3, -0.4, 1.1, 9, -5)),
        ("translate(3,4) skewX(10) scale(.5 .9)", Affine2D().scale(0.5, 0.9).skew_deg(10, 0).translate(3, 4)),
    ],
)
def test_skewed_polygons(tmp_path, transform, oracle):
    points = " ".join(f"{x},{y}" for x, y in STAR)
    found = inside(tmp_path, f'<polygon points="{points}" transform="{transform}"/>')
    expected = PlotPath(oracle.transform(STAR)).contains_points(GRID)
    assert expected.sum() > 100
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        found, inside(tmp_path, f'<g transform="{transform}"><polyline points="{points}"/></g>')
    )
    outer, _, last = transform.rpartition(" ")
    nested = f'<g transform="{outer}"><a transform="{last}"><g><polygon points="{points}"/></g></a></g>'
    if outer.endswith(")"):
        np.testing.assert_array_equal(found, inside(tmp_path, nested))


def test_links_and_clones(tmp_path):
    found = inside(
        tmp_path,
        '<a><ellipse id="e" cx="10" cy="10" rx="8" ry="5"/></a>'
        '<use xlink:href="#e" x="30" y="5" transform="scale(2)" xmlns:xlink="http://www.w3.org/1999/xlink"/>',
    )
    either = np.minimum(level(GRID, (10, 10), (8, 5)), level(GRID, (80, 30), (16, 10)))
    assert_inside(found, either, (8, 5))


def test_a_named_region_in_a_link(tmp_path):
    drawing = read(
        tmp_path, HEAD + layer(f'<a transform="translate(1)">{shape("M 0,0 1,0 1,1 Z", name="V1")}</a>') + "</svg>"
    )
    np.testing.assert_array_equal(drawing.shapes["V1"][0].lines[0][0], [1, 0])


def test_lines(tmp_path):
    drawing = read(tmp_path, HEAD + layer('<g inkscape:label="STS"><line x1="1" y1="2" x2="3" y2="4"/></g>') + "</svg>")
    np.testing.assert_array_equal(drawing.shapes["STS"][0].lines, [[[1, 2], [3, 4]]])


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        (shape("M 0,0 B 1,1"), "command 'B'"),
        (shape("M 0,0 L 1"), "lacks numbers"),
        (shape("M 0,0 A 1 1 0 0 1 2"), "lacks numbers"),
        (shape("M 0,0 A 1 1 0 2 1 2 2"), "cannot be read at ' 2 1 2 2'"),
        (shape("M 0,0 L 1,1 z 3"), "numbers where a command"),
        (shape("M 0,0 # 1"), "cannot be read at ' # 1'"),
        (shape("L 0,0 1,1"), "begins with 'L'"),
        (shape("M 0,0 1e999,1"), "too large"),
        (shape("M 0,0 1,1", transform="rotate(1,2)"), "the transform rotate"),
        (shape("M 0,0 1,1", transform="skewX(3"), "cannot be read"),
        (shape("M 0,0 1,1", transform="scale(a)"), "numbers cannot be read"),
        (shape("M 0,0 1,1", style="transform:rotate(3deg)"), "transform in its style"),
        (shape("M 0,0 1,1", mask="url(#m)"), "has a mask"),
        (shape("M 0,0 1,1", style="clip-path:circle(3px)"), "clip path 'circle(3px)'"),
        ('<g inkscape:label="AC"><rect width="50%" height="3"/></g>', "the length '50%'"),
        ('<g inkscape:label="AC"><ellipse rx="-1" ry="3"/></g>', "negative radius"),
        ('<g inkscape:label="AC"><polygon points="1 2 3"/></g>', "lacks a number"),
        ('<g inkscape:label="AC"><polygon points="1 2 x 3"/></g>', "cannot be read: '1 2 x 3'"),
        ('<g inkscape:label="AC"><use href="#gone"/></g>', "clone of '#gone'"),
        ('<g inkscape:label="AC" id="g"><use href="#g"/></g>', "clones of itself"),
        ('<g inkscape:label="AC"><switch/></g>', "holds a <switch>"),
        ('<g inkscape:label="AC"><text>AC</text><circle r="0"/></g>', "holds no outline"),
        ('<g id="g7"><circle r="1"/></g>', "a group without a label"),
        ('<path inkscape:label="AC" d="M 0,0 1,1"/>', "lies in no group"),
        (shape("M 0,0 1,0 1,1 Z") + shape("M 0,0 B 1,1"), "command 'B'"),  # half a region is another region
    ],
)
def test_one_shape_is_left_out_by_name_and_the_others_stay(tmp_path, inner, says):
    assert says in left_out(tmp_path, inner)


def test_clones_of_clones_end(tmp_path):
    twice = "".join(f'<g id="c{k}"><use href="#c{k + 1}"/><use href="#c{k + 1}"/></g>' for k in range(40))
    assert "too deeply" in left_out(tmp_path, f'<g inkscape:label="AC">{twice}<circle id="c40" r="1"/></g>')


CLIP = '<defs><clipPath id="edge"><rect x="10" y="0" width="30" height="50"/></clipPath></defs>'


def test_a_region_holds_what_its_clip_path_leaves(tmp_path):
    ellipse = '<ellipse cx="40" cy="20" rx="30" ry="12" {}/>'
    for clipped in ('clip-path="url(#edge)"', "style=\"fill:none;clip-path:url('#edge')\""):
        found = inside(tmp_path, CLIP + ellipse.format(clipped))
        np.testing.assert_array_equal(
            found, inside(tmp_path, ellipse.format("")) & (GRID[:, 0] > 10) & (GRID[:, 0] < 40)
        )
    moved = inside(tmp_path, f'{CLIP}<g clip-path="url(#edge)" transform="translate(7)">{ellipse.format("")}</g>')
    x = GRID[:, 0] - 7  # the clip path is placed by the element that it is on
    np.testing.assert_array_equal(
        moved, inside(tmp_path, ellipse.format('transform="translate(7)"')) & (x > 10) & (x < 40)
    )


def test_a_layer_clip_trims_what_is_drawn_and_no_region(tmp_path):
    inner = '<g inkscape:label="AC"><rect x="20" y="10" width="60" height="20"/></g>'
    text = layer(inner).replace('label="shapes"', 'label="shapes" clip-path="url(#edge)"')
    (found,) = read(tmp_path, HEAD + CLIP + text + "</svg>").shapes["AC"]
    outline = Outline(tuple(found.lines), found.clips, found.frame)
    assert outline.inside(np.array([[50.0, 20.0]])).all()
    pieces = outline.visible_lines(closed=True)
    assert np.concatenate(pieces)[:, 0].max() == 40
    length = sum(np.linalg.norm(np.diff(piece, axis=0), axis=1).sum() for piece in pieces)
    assert length == pytest.approx(20 + 20 + 20)  # above, left and below; nothing along the clip path itself


def test_a_clip_path_with_a_hole_and_one_that_is_not_there():
    square = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    line = np.array([[-5.0, 5], [15, 5]])
    frame = (((square, 2 + 0.6 * square),),)
    pieces = Outline((line,), frame=frame).visible_lines(closed=False)
    np.testing.assert_allclose(pieces, [[[0, 5], [2, 5]], [[8, 5], [10, 5]]])
    assert Outline((line,), frame=((),)).visible_lines(closed=False) == []
    (whole,) = Outline((line,)).visible_lines(closed=False)
    np.testing.assert_array_equal(whole, line)


def test_a_clip_path_that_names_nothing_clips_nothing(tmp_path):
    (found,) = read(tmp_path, HEAD + layer(shape("M 0,0 1,1", **{"clip-path": "url(#gone)"})) + "</svg>").shapes["AC"]
    assert found.clips == ()
