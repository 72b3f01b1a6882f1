from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Frame
from unireason.grounding import crop
from unireason.metrics.boxes import box_iou
from unireason.rewards.outcome import contrast, elsewhere

IMAGE, VOLUME = Frame(252, 252, 1, "image"), Frame(252, 252, 32, "volume")
end = st.integers(-20, 140)


def rng(seed=0):
    return np.random.default_rng(seed)


def cut_box(box, frame):
    """What a box really cuts, as a box."""
    plan = crop.plan(box, frame)
    x1, y1, x2, y2 = plan[0][1]
    return Box2D(x1, y1, x2, y2) if frame.kind == "image" else Box3D(x1, y1, plan[0][0], x2, y2, plan[-1][0] + 1)


def sides(box):
    half = len(box.coords) // 2
    return tuple(b - a for a, b in zip(box.coords[:half], box.coords[half:], strict=True))


def least_iou(box, frame):
    """By brute force over every place of the frame, one axis after the other (the overlap is a product over axes)."""
    half, shared = len(box.coords) // 2, 1.0
    for axis, bound in zip(range(half), (frame.width, frame.height, frame.depth), strict=False):
        low, size = box.coords[axis], box.coords[axis + half] - box.coords[axis]
        shared *= min(max(0.0, size - abs(low - p)) for p in range(int(bound - size) + 1))
    return shared / (2 * np.prod(sides(box)) - shared)


def check(box, frame, seed):
    true, found = cut_box(box, frame), elsewhere(box, frame, rng(seed))
    if least_iou(true, frame) > 0.1:
        assert found is None
        return
    assert found is not None
    assert sides(found) == sides(true)
    assert box_iou(found, true) <= 0.1
    assert cut_box(found, frame) == found  # inside the frame, and the crop rule leaves it as it is
    assert elsewhere(box, frame, rng(seed)) == found
    assert elsewhere(crop.plan(box, frame), frame, rng(seed)) == found


@given(st.builds(Box2D, end, end, end, end), st.integers(1, 120), st.integers(1, 120), st.integers(0, 9))
def test_rectangles(box, width, height, seed):
    check(box, Frame(width, height, 1, "image"), seed)


@given(st.builds(Box3D, *[end] * 6), st.integers(1, 120), st.integers(1, 120), st.integers(1, 40), st.integers(0, 9))
def test_cuboids(box, width, height, depth, seed):
    check(box, Frame(width, height, depth, "volume"), seed)


def test_a_cuboid_moves_along_all_three_axes():
    found = [elsewhere(Box3D(100, 100, 10, 140, 140, 16), VOLUME, rng(s)) for s in range(40)]
    assert all(len({getattr(box, name) for box in found}) > 10 for name in ("x1", "y1", "z1"))
    assert {box.z2 - box.z1 for box in found} == {6}


def test_a_cuboid_through_all_slices_moves_in_the_plane():
    found = elsewhere(Box3D(0, 0, 0, 60, 60, 32), VOLUME, rng())
    assert (found.z1, found.z2) == (0, 32)
    assert box_iou(found, Box3D(0, 0, 0, 60, 60, 32)) <= 0.1


def test_a_cuboid_over_the_whole_plane_moves_through_the_slices():
    found = {elsewhere(Box3D(0, 0, 0, 252, 252, 8), VOLUME, rng(s)).z1 for s in range(60)}
    # 8 slices from 0: two shared slices would be an IoU of 2/14, one is 1/15
    assert found <= set(range(7, 25))
    assert len(found) > 10


@pytest.mark.parametrize(
    ("box", "frame"),
    [
        (Box2D(0, 0, 252, 252), IMAGE),
        (Box2D(60, 60, 200, 200), IMAGE),
        (Box2D(0, 0, 252, 206), IMAGE),  # 46 px of 206 can move: IoU 160 / 252
        (Box3D(0, 0, 0, 252, 252, 32), VOLUME),
        (Box3D(0, 0, 0, 2, 2, 1), Frame(3, 3, 1, "volume")),  # widened to the whole picture
    ],
)
def test_none_when_nothing_else_is_left(box, frame):
    assert elsewhere(box, frame, rng()) is None


def test_only_one_place_left_is_found():
    # 70 of 130 px a side: IoU (10 x 10) / (2 x 4900 - 100) at the far corner; 64 px sideways alone would be far above 0.1.
    assert elsewhere(Box2D(0, 0, 70, 70), Frame(130, 130, 1, "image"), rng(), max_iou=0.0104) == Box2D(60, 60, 130, 130)


def test_both_far_ends_are_taken():
    # The middle third leaves two places of 2,001 without overlap, too few to be hit by chance: far left and far right.
    frame = Frame(3000, 10, 1, "image")
    places = Counter(elsewhere(Box2D(1000, 0, 2000, 10), frame, rng(s), max_iou=0).x1 for s in range(40))
    assert set(places) == {0, 2000}
    assert min(places.values()) > 8


def test_places_are_drawn_evenly():
    # 10 of 40 px: starts 10 .. 30 are free of overlap, 21 places.
    places = Counter(elsewhere(Box2D(0, 0, 10, 10), Frame(40, 10, 1, "image"), rng(s), max_iou=0).x1 for s in range(2100))
    assert set(places) == set(range(10, 31))
    assert max(places.values()) < 150  # 100 expected, standard deviation 10
    assert min(places.values()) > 55


@pytest.mark.parametrize(
    ("region", "frame", "max_iou"),
    [
        (Box3D(0, 0, 0, 9, 9, 1), IMAGE, 0.1),
        (Box2D(0, 0, 9, 9), VOLUME, 0.1),
        (Box2D(0, 0, float("nan"), 9), IMAGE, 0.1),
        ((), IMAGE, 0.1),
        (((0, (0, 0, 300, 9)),), IMAGE, 0.1),
        (((3, (0, 0, 9, 9)),), IMAGE, 0.1),
        (((0, (0, 0, 9, 9)), (2, (0, 0, 9, 9))), VOLUME, 0.1),
        (((0, (0, 0, 9, 9)), (1, (0, 0, 9, 8))), VOLUME, 0.1),
        (Box2D(0, 0, 9, 9), IMAGE, 1.0),
        (Box2D(0, 0, 9, 9), IMAGE, float("nan")),
    ],
)
def test_what_does_not_fit_is_an_error(region, frame, max_iou):
    with pytest.raises(FormatError):
        elsewhere(region, frame, rng(), max_iou=max_iou)


@pytest.mark.parametrize(
    ("true", "other", "value"), [(1, 0, 1), (1, 1, 0), (0, 0, 0), (0, 1, 0), (1, 0.25, 0.75), (0.5, 0.75, 0)]
)
def test_contrast(true, other, value):
    assert contrast(true, other) == value


@pytest.mark.parametrize("scores", [(1.1, 0), (0, -0.1), (float("nan"), 0), (1, float("inf"))])
def test_contrast_of_impossible_scores(scores):
    with pytest.raises(FormatError):
        contrast(*scores)
