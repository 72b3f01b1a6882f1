"""Paths along the edges of masks, counted by hand and by their area."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unireason.core.types import Frame, Stack
from unireason.report.pictures import outlines


def stack(shape, coverage=((0, 1),)):
    kind = "volume" if len(coverage) > 1 else "image"
    return Stack(np.zeros((len(coverage), *shape), np.uint8), kind, "", tuple(coverage), np.zeros(shape, np.uint8))


def flat(mask, size=None):
    height, width = mask.shape
    frame = Frame(*(size or (width, height)), 1, "image")
    return outlines(mask, frame, stack(mask.shape))


def loops(path):
    return [[tuple(float(v) for v in corner.split(",")) for corner in loop.split()] for loop in re.findall(r"M([^Z]+)Z", path)]


def area(path):
    """Signed area, holes counted off: the shoelace formula over all loops."""
    total = 0.0
    for loop in loops(path):
        for (x1, y1), (x2, y2) in zip(loop, [*loop[1:], loop[0]], strict=True):
            total += (x1 * y2 - x2 * y1) / 2
    return total


def mask_of(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["#"], ["M0,0 1,0 1,1 0,1Z"]),
        (["...", ".##"], ["M1,1 3,1 3,2 1,2Z"]),
        (["#.", "##"], ["M0,0 1,0 1,1 2,1 2,2 0,2Z"]),
        (["#.", ".#"], ["M0,0 1,0 1,1 0,1Z", "M1,1 2,1 2,2 1,2Z"]),
        (["###", "#.#", "###"], ["M0,0 3,0 3,3 0,3Z", "M1,2 2,2 2,1 1,1Z"]),
    ],
)
def test_paths_by_hand(rows, expected):
    found = flat(mask_of(*rows))[0]
    parts = [part + "Z" for part in found.split("Z") if part]
    assert sorted(sorted(re.findall(r"[\d,]+", p)) for p in parts) == sorted(sorted(re.findall(r"[\d,]+", p)) for p in expected)
    assert area(found) == np.count_nonzero(mask_of(*rows))


@given(arrays.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_the_area_inside_is_the_count_of_pixels(mask):
    found = flat(mask)
    assert (0 in found) is bool(mask.any())
    assert area(found.get(0, "")) == pytest.approx(mask.sum())
    for loop in loops(found.get(0, "")):
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(loop, [*loop[1:], loop[0]], strict=True)]
        assert all((dx == 0) != (dy == 0) for dx, dy in steps)


def test_units_are_model_pixels():
    assert flat(mask_of("..", ".#"), (20, 6))[0] == "M10,3 20,3 20,6 10,6Z"


def test_a_model_slice_shows_all_its_source_slices():
    mask = np.zeros((6, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[5, 0, 1] = True
    frame = Frame(2, 2, 3, "volume")
    found = outlines(mask, frame, stack((2, 2), [(0, 2), (2, 4), (4, 6)]))
    assert sorted(found) == [0, 2]
    assert area(found[0]) == 2
    assert found[2] == "M1,0 2,0 2,1 1,1Z"


def test_fine_masks_stay_bounded():
    mask = np.zeros((2304, 1152), bool)
    mask[300:1800, 300:900] = True
    found = flat(mask)[0]
    assert len(found) < 200
    assert area(found) == pytest.approx(1500 * 600, rel=0.01)
