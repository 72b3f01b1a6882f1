"""Surface scores: hand-computed pieces and distances, empty masks, and what must hold for any masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unireason.core.errors import FormatError
from unireason.metrics.surface import SurfaceDistances, hd95, nsd, surface_distances

MASKS = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
STEPS = (0.7, 1.3, 2.9)


def box(shape, *spans):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def spacing(mask):
    return STEPS[: mask.ndim]


def test_contour_of_a_rectangle_is_its_sides_with_cut_corners():
    # 3 rows x 4 columns of 1 mm: sides of 3 and 2 between the outer centres, and four corners of sqrt(1/2).
    found = surface_distances(box((9, 9), (2, 5), (2, 6)), np.zeros((9, 9)), spacing_mm=(1, 1))
    assert found.sizes_a.sum() == pytest.approx(2 * 3 + 2 * 2 + 4 * math.sqrt(0.5))
    assert len(found.sizes_a) == 2 * 3 + 2 * 2 + 4


def test_surface_of_a_cuboid_with_uneven_voxels():
    # 2 x 3 x 4 voxels (z, y, x) of 1 x 2 x 3 mm (x, y, z): flat sides, bevelled edges, cut corners.
    found = surface_distances(box((5, 6, 7), (1, 3), (1, 4), (1, 5)), np.zeros((5, 6, 7)), spacing_mm=(1, 2, 3))
    x, y, z = 1, 2, 3
    flat = 2 * (3 * x * 2 * y + 3 * x * 1 * z + 2 * y * 1 * z)
    edges = 4 * (3 * x * math.hypot(y, z) / 2 + 2 * y * math.hypot(x, z) / 2 + 1 * z * math.hypot(x, y) / 2)
    corners = 8 * math.sqrt((y * z) ** 2 + (x * z) ** 2 + (x * y) ** 2) / 8
    assert found.sizes_a.sum() == pytest.approx(flat + edges + corners)


@pytest.mark.parametrize(
    ("pixels", "length"),
    [
        ([(1, 1)], 4 * math.sqrt(0.5)),
        ([(1, 1), (2, 2)], 8 * math.sqrt(0.5)),  # touching at a corner: two contours
        ([(1, 1), (1, 2)], 2 * 1 + 4 * math.sqrt(0.5)),
    ],
)
def test_contours_of_a_few_pixels(pixels, length):
    mask = np.zeros((4, 4))
    mask[tuple(zip(*pixels, strict=True))] = 255
    assert surface_distances(mask, mask, spacing_mm=(1, 1)).sizes_a.sum() == pytest.approx(length)


@pytest.mark.parametrize(
    ("voxels", "area"),
    [
        ([(1, 1, 1)], 8 * math.sqrt(3) / 8),
        ([(1, 1, 1), (2, 2, 2)], 16 * math.sqrt(3) / 8),  # touching at a corner: two surfaces
        ([(1, 1, 1), (1, 2, 2)], 16 * math.sqrt(3) / 8),  # at an edge
        ([(1, 1, 1), (1, 1, 2)], 4 * math.sqrt(0.5) + 8 * math.sqrt(3) / 8),  # at a face
    ],
)
def test_surfaces_of_a_few_voxels(voxels, area):
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[tuple(zip(*voxels, strict=True))] = 1
    assert surface_distances(mask, mask, spacing_mm=(1, 1, 1)).sizes_a.sum() == pytest.approx(area)


@pytest.mark.parametrize("voxels", [[(2, 2, 2)], [(2, 2, 2), (3, 3, 3)], [(2, 2, 2), (2, 3, 3)], [(2, 2, 2), (2, 2, 3)]])
def test_a_hollow_has_the_surface_of_what_was_taken_out(voxels):
    full, taken = np.ones((6, 6, 6), bool), np.zeros((6, 6, 6), bool)
    taken[tuple(zip(*voxels, strict=True))] = True
    hollow, outer, alone = (surface_distances(m, m, spacing_mm=STEPS).sizes_a.sum() for m in (full & ~taken, full, taken))
    assert hollow == pytest.approx(outer + alone)


def test_shift_of_a_square_by_hand():
    # 10 x 10 pixels of 1 mm, moved by 3 to the right. Farther than 2 mm: the left side with its two corners (3 mm), and of the right
    # side, inside the other square, the five middle pieces (3 mm; the others are nearer to the other's top or bottom).
    a, b = box((20, 20), (5, 15), (4, 14)), box((20, 20), (5, 15), (7, 17))
    found = surface_distances(a, b, spacing_mm=(1, 1))
    total = 4 * 9 + 4 * math.sqrt(0.5)
    assert found.sizes_a.sum() == pytest.approx(total)
    assert found.nsd(2.0) == pytest.approx(1 - (9 + 2 * math.sqrt(0.5) + 5) / total)
    assert found.nsd(3.0) == 1
    assert found.hausdorff_mm(100) == pytest.approx(3)


def test_distances_are_millimetres_along_their_axis():
    flat = box((12, 12), (2, 10), (5, 6))
    assert hd95(flat, np.roll(flat, 2, axis=1), spacing_mm=(2.5, 1)) == pytest.approx(5)
    tall = box((12, 12, 12), (5, 6), (2, 10), (2, 10))
    assert hd95(tall, np.roll(tall, 1, axis=0), spacing_mm=(1, 1, 4)) == pytest.approx(4)
    assert nsd(tall, np.roll(tall, 1, axis=0), spacing_mm=(1, 1, 4), tolerance_mm=4) == 1
    assert nsd(tall, np.roll(tall, 1, axis=0), spacing_mm=(1, 1, 4), tolerance_mm=0.5) == pytest.approx(0.5)


def test_a_spur_shorter_than_a_twentieth_does_not_count():
    plain = box((60, 60), (10, 50), (10, 50))
    spur = plain.copy()
    spur[30, 50:53] = True
    found = surface_distances(plain, spur, spacing_mm=(1, 1))
    assert found.hausdorff_mm(95) == 0
    assert found.hausdorff_mm(100) == pytest.approx(3)


def test_empty_masks():
    none, some = np.zeros((4, 5)), box((4, 5), (1, 2), (1, 3))
    assert nsd(none, none, spacing_mm=(1, 1), tolerance_mm=1) == 1
    assert hd95(none, none, spacing_mm=(1, 1)) == 0
    for pair in ((none, some), (some, none)):
        assert nsd(*pair, spacing_mm=(1, 1), tolerance_mm=1e9) == 0
        assert hd95(*pair, spacing_mm=(1, 1)) == math.inf


def test_a_mask_that_fills_everything_has_a_surface():
    full = np.ones((3, 3, 3))
    assert hd95(full, full, spacing_mm=(1, 1, 1)) == 0
    assert surface_distances(full, full, spacing_mm=(1, 1, 1)).sizes_a.sum() > 0


def test_what_cannot_be_used_is_refused():
    mask = np.ones((3, 3))
    for a, b, steps in (
        (mask, np.ones((3, 4)), (1, 1)),
        (np.ones(3), np.ones(3), (1,)),
        (mask, mask, (1, 1, 1)),
        (mask, mask, (1, 0)),
        (mask, mask, (1, math.nan)),
    ):
        with pytest.raises(FormatError):
            surface_distances(a, b, spacing_mm=steps)
    for tolerance in (-1, math.nan):
        with pytest.raises(FormatError):
            nsd(mask, mask, spacing_mm=(1, 1), tolerance_mm=tolerance)
    for percent in (0, 101):
        with pytest.raises(FormatError):
            surface_distances(mask, mask, spacing_mm=(1, 1)).hausdorff_mm(percent)


@settings(deadline=None)
@given(MASKS)
def test_symmetric_and_bounded(masks):
    a, b = masks
    there = surface_distances(a, b, spacing_mm=spacing(a))
    back = surface_distances(b, a, spacing_mm=spacing(a))
    assert 0 <= there.nsd(1.0) <= 1
    assert there.nsd(1.0) == pytest.approx(back.nsd(1.0))
    assert there.hausdorff_mm() == back.hausdorff_mm() >= 0
    assert there.nsd(1.0) <= there.nsd(2.0) + 1e-12
    assert there.hausdorff_mm(50) <= there.hausdorff_mm(95) <= there.hausdorff_mm(100)


@settings(deadline=None)
@given(MASKS)
def test_a_mask_agrees_with_itself(masks):
    a = masks[0]
    assert nsd(a, a, spacing_mm=spacing(a), tolerance_mm=0) == 1
    assert hd95(a, a, spacing_mm=spacing(a)) == 0


@settings(deadline=None)
@given(MASKS, st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_moving_and_mirroring_both_masks_changes_nothing(masks, shift):
    a, b = masks
    room = [(s, 3 - s) for s in shift[: a.ndim]]
    flipped = tuple(slice(None, None, -1) for _ in a.shape)
    there = surface_distances(a, b, spacing_mm=spacing(a))
    for other_a, other_b in ((np.pad(a, room), np.pad(b, room)), (a[flipped], b[flipped])):
        other = surface_distances(other_a, other_b, spacing_mm=spacing(a))
        assert other.nsd(1.0) == pytest.approx(there.nsd(1.0))
        assert other.hausdorff_mm() == pytest.approx(there.hausdorff_mm())


@settings(deadline=None)
@given(MASKS, st.floats(0.25, 4))
def test_scores_scale_with_the_voxels(masks, factor):
    a, b = masks
    steps = spacing(a)
    there = surface_distances(a, b, spacing_mm=steps)
    larger = surface_distances(a, b, spacing_mm=[s * factor for s in steps])
    assert larger.hausdorff_mm() == pytest.approx(there.hausdorff_mm() * factor)
    assert larger.sizes_a.sum() == pytest.approx(there.sizes_a.sum() * factor ** (a.ndim - 1))


@given(MASKS, st.integers(1, 3))
def test_one_shifted_alone_lies_no_farther_than_the_shift(masks, shift):
    a = np.pad(masks[0], shift)
    if a.any():
        assert hd95(a, np.roll(a, shift, axis=a.ndim - 1), spacing_mm=spacing(a)) <= shift * STEPS[0] + 1e-9


def test_percentiles_count_length_and_not_pieces():
    short_and_far = SurfaceDistances(np.array([5.0, 0.0]), np.array([4.0, 96.0]), np.zeros(1), np.ones(1))
    assert short_and_far.hausdorff_mm(95) == 0
    assert short_and_far.hausdorff_mm(97) == 5
    long_and_far = SurfaceDistances(np.array([0.0, 5.0, 0.0]), np.array([1.0, 9.0, 1.0]), np.zeros(1), np.ones(1))
    assert long_and_far.hausdorff_mm(50) == 5
