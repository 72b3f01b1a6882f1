"""Typed places in every space become the same canonical prompt."""

from __future__ import annotations

import numpy as np
import pytest

from unireason.cli.ask import Typed, numbers, prompt_of
from unireason.core.errors import FormatError, GeometryError
from unireason.core.types import Box2D, Box3D, Case, Frame, Geometry, Source
from unireason.imaging.geometry import volume_geometry, voxel_to_world

# Axis i runs to the right, j to the front, k to the feet: everything mirrored. 1, 2 and 3 mm; 20 x 30 x 12 voxels.
MIRRORED = np.array([[-1.0, 0, 0, 50], [0, -2, 0, 60], [0, 0, -3, 70], [0, 0, 0, 1]])
FRAME = Frame(40, 90, 6, "volume")


def case_of(affine=MIRRORED, shape=(20, 30, 12)) -> Case:
    geometry = volume_geometry(shape, affine)
    return Case(np.zeros(geometry.shape, np.int16), "volume", geometry, "CT", Source("v", "array", ""))


def picture() -> Case:
    geometry = Geometry((30, 20), (20, 30), (0, 1), (False, False))
    return Case(np.zeros((30, 20), np.uint8), "image", geometry, "", Source("p", "png", ""))


def prompt(case, box=None, points=(), **how):
    return prompt_of(case, Typed(box, points, how.pop("space", "voxel"), **how), frame=FRAME)


def test_voxels_of_a_mirrored_file():
    found = prompt(case_of(), (2, 3, 4, 5, 8, 10), ((3.5, 4.5, 5.5),))
    assert found.box == Box3D(20 - 5, 30 - 8, 12 - 10, 20 - 2, 30 - 3, 12 - 4)
    assert found.points == ((16.5, 25.5, 6.5),)
    assert found.slice is None


def test_a_rectangle_on_a_voxel_slice_of_a_mirrored_file():
    found = prompt(case_of(), (2, 3, 5, 8), ((3.5, 4.5),), slice=4, propagate=True)
    # Voxel slice 4 of 12 is the canonical slice 7.
    assert (found.box, found.points, found.slice) == (Box2D(15, 22, 18, 27), ((16.5, 25.5),), 7)
    assert found.propagate


def test_the_model_frame():
    # 40 x 90 x 6 stand for 20 x 30 x 12: factors 1/2, 1/3 and 2.
    found = prompt(case_of(), (10, 30, 1, 20, 60, 3), ((16, 33, 2),), space="model")
    assert found.box == Box3D(5, 10, 2, 10, 20, 6)
    assert found.points == ((8, 11, 4),)


def test_a_rectangle_on_a_model_slice():
    found = prompt(case_of(), (10, 30, 20, 60), ((16, 33),), space="model", slice=2)
    # Model slice 2 covers the canonical slices 4 and 5, whose middle is the lower end of 5.
    assert (found.box, found.points, found.slice) == (Box2D(5, 10, 10, 20), ((8, 11),), 5)


def test_millimetres():
    # World = affine . (voxel - 0.5): the voxel corners (2, 3, 4) and (5, 8, 10).
    ends = [50 - 1.5, 60 - 5, 70 - 10.5], [50 - 4.5, 60 - 15, 70 - 28.5]
    low, high = np.minimum(*ends), np.maximum(*ends)
    middle = voxel_to_world((3.5, 4.5, 5.5), case_of().geometry)
    found = prompt(case_of(), (*low, *high), (middle,), space="world")
    assert found.box.coords == pytest.approx((15, 22, 2, 18, 27, 8))
    assert found.points[0] == pytest.approx((16.5, 25.5, 6.5))


def test_an_oblique_box_in_millimetres_is_held_whole():
    turned = MIRRORED.copy()
    c, s = np.cos(0.3), np.sin(0.3)
    turned[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ turned[:3, :3]
    case = case_of(turned)
    x, y, z = voxel_to_world((10, 15, 6), case.geometry)
    found = prompt(case, (x - 2, y - 4, z - 3, x + 2, y + 4, z + 3), space="world")
    # Turned by 0.3, half sides of 2 and 4 mm reach 2 cos + 4 sin and 2 sin + 4 cos, of voxels of 1 and 2 mm.
    half = (2 * c + 4 * s, (2 * s + 4 * c) / 2, 1.0)
    assert found.box.coords == pytest.approx((*(np.array([10, 15, 6]) - half), *(np.array([10, 15, 6]) + half)))


def test_a_picture():
    found = prompt(picture(), (2, 3, 5, 8), ((3, 4),))
    assert (found.box, found.points, found.slice) == (Box2D(2, 3, 5, 8), ((3, 4),), None)


SAGITTAL = np.array([[0.0, 0, 2, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def test_slices_of_a_sagittal_file_are_not_those_of_the_patient():
    with pytest.raises(GeometryError, match="feet to the head"):
        prompt(case_of(SAGITTAL), (2, 3, 5, 8), slice=4)
    # A cuboid is fine: i runs to the back, j to the feet, k to the left.
    assert prompt(case_of(SAGITTAL), (2, 3, 4, 5, 8, 10)).box == Box3D(4, 2, 30 - 8, 10, 5, 30 - 3)


@pytest.mark.parametrize(
    ("box", "points", "how", "message"),
    [
        ((1, 2, 3, 4), (), {}, "6.*--slice"),
        ((1, 2, 3, 4, 5, 6), (), {"slice": 1}, "expected 4"),
        (None, ((1, 2),), {}, "expected 3"),
        (None, ((1, 2, 3),), {"slice": 1}, "expected 2"),
        ((1, 2, 3, 4), (), {"slice": 1, "space": "world"}, "millimetres with --slice"),
        ((4, 2, 3, 4, 5, 6), (), {}, "lower corner first"),
        ((1, 2, 3, 4, 5, 6), (), {"propagate": True}, "without --slice"),
        ((1, 2, 3, 4), (), {"slice": 12}, "0 to 11"),
        ((1, 2, 3, 4), (), {"slice": -1}, "0 to 11"),
        ((1, 2, 3, 4), (), {"slice": 6, "space": "model"}, "0 to 5"),
    ],
)
def test_what_does_not_fit_a_volume_is_said(box, points, how, message):
    with pytest.raises(FormatError, match=f"(?i){message}"):
        prompt(case_of(), box, points, **how)


def test_what_does_not_fit_a_picture_is_said():
    with pytest.raises(FormatError, match="an image with --slice"):
        prompt(picture(), (1, 2, 3, 4), slice=0)
    with pytest.raises(GeometryError, match="no patient coordinates"):
        prompt(picture(), (1, 2, 0, 3, 4, 1), space="world")


@pytest.mark.parametrize("text", ["", "1,b", "1;2", "1,nan", "1,inf", "1,,2"])
def test_numbers_are_numbers(text):
    with pytest.raises(FormatError, match="commas"):
        numbers(text, "box")


def test_numbers_may_be_negative_and_broken():
    assert numbers(" -1.5, 2,3e1", "box") == (-1.5, 2.0, 30.0)
