import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D
from unireason.metrics.boxes import PUBLISHED_EPS, box_iou, mask_dice, mask_iou

number = st.floats(-1e3, 1e3)


def test_rectangles():
    assert box_iou(Box2D(0, 0, 4, 4), Box2D(2, 2, 6, 6)) == pytest.approx(4 / 28)
    assert box_iou(Box2D(0, 0, 4, 4), Box2D(4, 0, 8, 4)) == 0  # half-open: touching is not overlap
    assert box_iou(Box2D(1, 2, 3, 4), Box2D(1, 2, 3, 4)) == 1


def test_cuboids():
    assert box_iou(Box3D(0, 0, 0, 4, 4, 2), Box3D(2, 2, 1, 6, 6, 3)) == pytest.approx(4 / 60)
    assert box_iou(Box3D(0, 0, 0, 4, 4, 2), Box3D(0, 0, 2, 4, 4, 4)) == 0


def test_published_form_adds_eps_to_the_union():
    assert box_iou(Box2D(0, 0, 1e-3, 1e-3), Box2D(0, 0, 1e-3, 1e-3), eps=PUBLISHED_EPS) == pytest.approx(0.5)


@pytest.mark.parametrize("odd", [Box2D(4, 0, 0, 4), Box2D(2, 2, 2, 2), Box2D(4, 4, 0, 0)])
def test_empty_and_inverted_boxes_have_no_overlap(odd):
    assert box_iou(odd, Box2D(0, 0, 4, 4)) == 0
    assert box_iou(odd, odd) == 0


def test_kinds_do_not_mix():
    with pytest.raises(FormatError):
        box_iou(Box2D(0, 0, 1, 1), Box3D(0, 0, 0, 1, 1, 1))


@given(st.builds(Box3D, *[number] * 6), st.builds(Box3D, *[number] * 6))
def test_iou_is_symmetric_and_bounded(a, b):
    assert 0 <= box_iou(a, b) <= 1 + 1e-9
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))


def test_masks():
    a, b = np.zeros((2, 4), bool), np.zeros((2, 4), np.uint8)
    a[0, :3] = True
    b[0, 1:] = 255
    assert mask_dice(a, b) == pytest.approx(4 / 6)
    assert mask_iou(a, b) == pytest.approx(2 / 4)


def test_empty_masks():
    empty, full = np.zeros((3, 3)), np.ones((3, 3))
    assert (mask_dice(empty, empty), mask_iou(empty, empty)) == (1, 1)
    assert (mask_dice(empty, full), mask_iou(full, empty)) == (0, 0)


def test_mask_shapes_must_agree():
    for measure in (mask_dice, mask_iou):
        with pytest.raises(FormatError):
            measure(np.ones((2, 3)), np.ones((3, 2)))
