"""Measurements of regions, worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Case, Geometry, Source
from unireason.metrics.regions import region_statistics

SOURCE = Source("a", "test", "")


def volume(pixels, spacing_mm=(0.5, 2.0, 3.0)):
    shape = pixels.shape
    geometry = Geometry(shape, shape[::-1], (0, 1, 2), (False,) * 3, None, spacing_mm)
    return Case(pixels, "volume", geometry, "CT", SOURCE)


def image(pixels, spacing_mm=None):
    shape = pixels.shape[:2]
    return Case(pixels, "image", Geometry(shape, shape[::-1], (0, 1), (False, False), None, spacing_mm), "", SOURCE)


def test_cuboid_of_a_volume():
    pixels = np.zeros((6, 7, 8), np.int16)
    pixels[2:4, 1:4, 3:7] = 100
    pixels[2, 1, 3] = 124
    mask = pixels > 0
    found = region_statistics(mask, volume(pixels))
    assert found["voxels"] == 24
    assert found["volume_ml"] == pytest.approx(24 * 3.0 / 1000)
    assert found["area_mm2"] is None
    # Farthest border points: mid-edges of opposite rows, 4 px wide and 2 rows apart, or 3 px wide and 3 rows apart.
    assert found["diameter_mm"] == pytest.approx(max(math.hypot(4 * 0.5, 2 * 2.0), math.hypot(3 * 0.5, 3 * 2.0)))
    assert found["diameter_voxels"] == pytest.approx(max(math.hypot(4, 2), math.hypot(3, 3)))
    assert found["diameter_slice"] == 2
    assert found["extent_mm"] == [2.0, 6.0, 6.0]
    assert found["extent_voxels"] == [4, 3, 2]
    assert found["centroid"] == [5.0, 2.5, 3.0]
    assert found["mean"] == pytest.approx(101.0)
    assert found["sd"] == pytest.approx(math.sqrt((23 * 1 + 23**2) / 24))
    assert (found["min"], found["max"]) == (100.0, 124.0)
    json.dumps(found, allow_nan=False)


def test_one_pixel_is_one_pixel_wide():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    found = region_statistics(mask, image(np.full((3, 4), 7, np.uint8), (0.25, 0.25)))
    assert found["diameter_mm"] == pytest.approx(0.25)
    assert found["area_mm2"] == pytest.approx(0.0625)
    assert found["volume_ml"] is None
    assert found["centroid"] == [2.5, 1.5]
    assert found["diameter_slice"] is None
    assert found["sd"] == 0.0


def test_diameter_may_leave_the_region():
    mask = np.zeros((5, 30), bool)
    mask[2, 0] = mask[2, 29] = True
    assert region_statistics(mask, image(np.zeros((5, 30))))["diameter_voxels"] == 30.0


def test_disc_is_as_wide_as_drawn():
    y, x = np.mgrid[:101, :101]
    mask = (x - 50) ** 2 + (y - 50) ** 2 <= 40**2
    assert region_statistics(mask, image(np.zeros((101, 101))))["diameter_voxels"] == pytest.approx(81.0, abs=0.5)


def test_largest_slice_is_found_behind_an_offset():
    mask = np.zeros((9, 5, 5), bool)
    mask[4, 2, 2:4] = mask[6, 2, 1:5] = True
    found = region_statistics(mask, volume(np.zeros((9, 5, 5)), (0.5, 0.5, 3.0)))
    assert found["diameter_slice"] == 6
    assert found["diameter_mm"] == pytest.approx(2.0)


def test_unknown_spacing_counts_voxels_only():
    mask = np.ones((2, 3), bool)
    found = region_statistics(mask, image(np.zeros((2, 3))))
    assert found["voxels"] == 6
    assert found["diameter_voxels"] == pytest.approx(math.hypot(3, 1))
    assert found["area_mm2"] is found["diameter_mm"] is found["extent_mm"] is None


@pytest.mark.parametrize("case", [volume(np.zeros((2, 3, 4))), image(np.zeros((3, 4)), (1.0, 1.0)), image(np.zeros((3, 4)))])
def test_empty_mask(case):
    found = region_statistics(np.zeros(case.geometry.shape, bool), case)
    assert (found["voxels"], found["diameter_voxels"]) == (0, 0.0)
    assert set(found["extent_voxels"]) == {0}
    if case.geometry.spacing_mm:
        assert found["volume_ml" if case.kind == "volume" else "area_mm2"] == found["diameter_mm"] == 0.0
    assert all(found[key] is None for key in ("centroid", "diameter_slice", "mean", "sd", "min", "max"))


def test_sheared_axes():
    affine = np.eye(4)
    affine[:3, 1] = [1.0, 2.0, 0.0]  # y leans over by half its height
    case = volume(np.zeros((1, 4, 4)))
    case = replace(case, geometry=replace(case.geometry, affine_lps=affine))
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :, 0] = True
    found = region_statistics(mask, case)
    assert found["volume_ml"] == pytest.approx(4 * 2.0 / 1000)
    assert found["diameter_mm"] == pytest.approx(4 * math.sqrt(5))


def test_mirrored_axis_of_a_sheared_volume_changes_nothing():
    affine = np.eye(4)
    affine[:3, 1] = [1.0, 2.0, 0.0]
    mask = np.zeros((1, 4, 4), bool)
    mask[0, [0, 1, 2, 3], [0, 1, 2, 3]] = True
    case = volume(np.zeros((1, 4, 4)))
    plain = replace(case, geometry=replace(case.geometry, affine_lps=affine))
    turned = np.array(affine)
    turned[:3, 0] *= -1
    turned[:3, 3] += 3 * affine[:3, 0]
    mirrored = replace(case, geometry=replace(case.geometry, affine_lps=turned, flips=(True, False, False)))
    first, second = region_statistics(mask, plain), region_statistics(mask, mirrored)
    # From the upper edge of the first pixel to the lower edge of the last: 3 steps of (1, 0) and 4 of (1, 2).
    assert first["diameter_mm"] == second["diameter_mm"] == pytest.approx(math.hypot(7, 8))


def test_colour_is_averaged_and_holes_in_the_values_are_left_out():
    colour = np.zeros((1, 2, 3), np.uint8)
    colour[0, 0] = (10, 20, 60)
    assert region_statistics(np.array([[True, False]]), image(colour))["mean"] == 30.0
    real = np.array([[1.0, np.nan, 3.0, np.inf]])
    found = region_statistics(np.ones((1, 4), bool), image(real))
    assert (found["mean"], found["min"], found["max"]) == (2.0, 1.0, 3.0)
    assert region_statistics(np.array([[False, True, False, False]]), image(real))["mean"] is None


@pytest.mark.parametrize("mask", [np.zeros((3, 4), np.uint8), np.zeros((4, 3), bool), np.zeros((1, 3, 4), bool)])
def test_a_mask_that_does_not_fit(mask):
    with pytest.raises(FormatError, match="Expected bool"):
        region_statistics(mask, image(np.zeros((3, 4))))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
def test_diameter_is_the_longest_of_all_pairs(seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 9), rng.integers(1, 9))) < share
    spacing = tuple(rng.uniform(0.2, 3.0, 2))
    y, x = np.nonzero(mask)
    points = np.concatenate([np.stack([x + dx, y + dy], 1) for dx, dy in ((0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1))]) * spacing
    longest = max((math.dist(a, b) for a in points for b in points), default=0.0)
    found = region_statistics(mask, image(np.zeros(mask.shape), spacing))
    assert found["diameter_mm"] == pytest.approx(longest)
