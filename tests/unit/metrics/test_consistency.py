import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D
from unireason.metrics.boxes import Consistency, projection, slice_volume

TRUTH = {"true_rectangle": Box2D(2, 2, 8, 8), "true_cuboid": Box3D(0, 0, 3, 10, 10, 9), "slice_index": 4}


def test_projection_drops_z():
    assert projection(Box3D(1, 2, 3, 4, 5, 6)) == Box2D(1, 2, 4, 5)


def test_all_measures_by_hand():
    # Rectangle 2..8 x 2..6 = 24, cuboid 0..8 x 0..10 x 5..9 with the shadow 80: all of the rectangle lies in it.
    found = slice_volume(Box2D(2, 2, 8, 6), Box3D(0, 0, 5, 8, 10, 9), **TRUTH)
    assert found.agreement == pytest.approx(24 / 80)
    assert not found.crossed  # it begins one slice above
    assert found.slice_iou == pytest.approx(24 / 36)
    assert found.projection_iou == pytest.approx(80 / 100)
    assert found.volume_iou == pytest.approx(80 * 4 / (100 * 6))
    assert found.ceiling == pytest.approx(36 / 100)


def test_perfect_looks_agree_up_to_the_ceiling():
    found = slice_volume(TRUTH["true_rectangle"], TRUTH["true_cuboid"], **TRUTH)
    assert found == Consistency(found.ceiling, True, 1.0, 1.0, 1.0, pytest.approx(0.36))


@pytest.mark.parametrize(("z1", "z2", "crossed"), [(4, 5, True), (5, 9, False), (3, 4, False), (4.9, 9, True), (0, 4.1, True)])
def test_a_slice_covers_one_unit(z1, z2, crossed):
    assert slice_volume(None, Box3D(0, 0, z1, 5, 5, z2), **TRUTH).crossed is crossed


def test_missing_looks_count_as_misses():
    nothing = slice_volume(None, None, **TRUTH)
    assert dataclasses.astuple(nothing) == (0, False, 0, 0, 0, pytest.approx(0.36))
    alone = slice_volume(TRUTH["true_rectangle"], None, **TRUTH)
    assert (alone.agreement, alone.slice_iou, alone.volume_iou) == (0, 1, 0)
    other = slice_volume(None, TRUTH["true_cuboid"], **TRUTH)
    assert (other.agreement, other.slice_iou, other.projection_iou, other.volume_iou) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    "change",
    [{"slice_index": 9}, {"slice_index": 2}, {"true_rectangle": Box2D(2, 2, 11, 8)}, {"true_rectangle": Box2D(50, 50, 60, 60)}],
)
def test_truth_of_two_spaces_is_refused(change):
    with pytest.raises(FormatError, match="canonical"):
        slice_volume(None, None, **{**TRUTH, **change})


def test_rounding_of_mapped_boxes_is_forgiven():
    assert slice_volume(None, None, **{**TRUTH, "true_rectangle": Box2D(0, 0, 10 + 1e-9, 10)}).ceiling == pytest.approx(1)
    rough = {**TRUTH, "true_rectangle": Box2D(-1, 0, 10, 10)}
    assert slice_volume(None, None, **rough, tolerance=1.5).ceiling == pytest.approx(10 / 11)
    with pytest.raises(FormatError):
        slice_volume(None, None, **rough, tolerance=0.5)


side = st.integers(0, 20)


@given(side, side, st.integers(1, 9), st.integers(1, 9), st.floats(0.25, 4))
def test_one_scale_for_all_changes_nothing(x, y, width, height, factor):
    boxes = [Box2D(x, y, x + width, y + height), Box3D(x, 0, 3, x + 6, y + 5, 7), Box2D(2, 2, 8, 8), Box3D(0, 0, 3, 10, 10, 9)]
    large = [
        Box2D(*(c * factor for c in b.coords))
        if isinstance(b, Box2D)
        else Box3D(b.x1 * factor, b.y1 * factor, b.z1, b.x2 * factor, b.y2 * factor, b.z2)
        for b in boxes
    ]
    found = [
        dataclasses.astuple(slice_volume(a, b, slice_index=4, true_rectangle=c, true_cuboid=d)) for a, b, c, d in (boxes, large)
    ]
    assert found[0] == pytest.approx(found[1])
