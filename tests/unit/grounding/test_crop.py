import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Frame, Problem
from unireason.grounding import crop

side = st.integers(1, 3000)
number = st.floats(-5000, 5000) | st.floats(-1e300, 1e300)


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((10, 20, 30, 40), (100, 100), (10, 20, 30, 40)),
        ((10.9, 20.9, 30.9, 40.9), (100, 100), (10, 20, 30, 40)),  # truncated, not rounded
        ((-0.9, -5, 30, 40), (100, 100), (0, 0, 30, 40)),  # towards zero, then clamped
        ((50, 50, 51, 51), (100, 100), (49, 49, 53, 53)),  # three missing: one in front, two behind
        ((50, 50, 52, 53), (100, 100), (49, 50, 53, 54)),
        ((60, 60, 50, 50), (100, 100), (59, 59, 63, 63)),  # inverted: widened around its first corner
        ((500, 500, 600, 600), (100, 100), (96, 96, 100, 100)),  # outside: the nearest corner
        ((0, 0, 1, 1), (3, 2), (0, 0, 3, 2)),  # the whole of a tiny picture
        ((0, 10, 1000, 14), (1000, 40), (0, 9, 1000, 15)),  # 1000 / 180 needs six rows
        ((10, 0, 12, 900), (40, 900), (9, 0, 14, 900)),  # 9 to 13 by the first rule, one more by the second
    ],
)
def test_crop_rule(box, size, expected):
    assert crop.crop_rect(Box2D(*box), *size) == expected


@given(number, number, number, number, side, side)
def test_crop_is_inside_big_enough_and_not_too_thin(x1, y1, x2, y2, width, height):
    left, top, right, bottom = crop.crop_rect(Box2D(x1, y1, x2, y2), width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    across, down = right - left, bottom - top
    assert across >= min(4, width)
    assert down >= min(4, height)
    assert across <= 180 * down or down == height
    assert down <= 180 * across or across == width


@given(st.integers(0, 200), st.integers(0, 200), st.integers(4, 100), st.integers(4, 100))
def test_a_proper_box_is_cut_as_it_is(x, y, across, down):
    assert crop.crop_rect(Box2D(x, y, x + across, y + down), 300, 300) == (x, y, x + across, y + down)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_empty_pictures_are_refused(size):
    with pytest.raises(FormatError):
        crop.crop_rect(Box2D(0, 0, 1, 1), *size)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(FormatError):
        crop.crop_rect(Box2D(0, 0, value, 1), 10, 10)
    with pytest.raises(FormatError):
        crop.slice_range(value, 1, 10)


@pytest.mark.parametrize(
    ("z1", "z2", "expected"),
    [(2, 5, (2, 5)), (-3, 4, (0, 4)), (5, 99, (5, 8)), (5, 3, (5, 6)), (20, 30, (7, 8)), (2.9, 4.9, (2, 4))],
)
def test_slice_range(z1, z2, expected):
    assert crop.slice_range(z1, z2, 8) == expected


def test_slice_range_needs_slices():
    with pytest.raises(FormatError):
        crop.slice_range(0, 1, 0)


@given(number, number, st.integers(1, 100))
def test_slice_range_is_inside_and_not_empty(z1, z2, depth):
    first, stop = crop.slice_range(z1, z2, depth)
    assert 0 <= first < stop <= depth


def test_plan_of_a_rectangle_on_an_image():
    assert crop.plan(Box2D(10, 20, 30, 40), Frame(100, 80, 1, "image")) == ((0, (10, 20, 30, 40)),)


def test_the_published_plan_executes_the_other_kind_of_box():
    rect = (10, 20, 30, 40)
    assert crop.plan(Box3D(10, 20, 7, 30, 40, 9), Frame(100, 80, 1, "image"), released=True) == ((0, rect),)
    assert crop.plan(Box2D(*rect), Frame(100, 80, 32, "volume"), released=True) == ((0, rect),)


def test_plan_of_a_cuboid_cuts_every_slice():
    rect = (10, 20, 30, 40)
    assert crop.plan(Box3D(10, 20, 3, 30, 40, 5), Frame(100, 80, 32, "volume")) == ((3, rect), (4, rect))
    assert crop.plan(Box3D(10, 20, 31, 30, 40, 32), Frame(100, 80, 32, "volume")) == ((31, rect),)


@pytest.mark.parametrize(
    ("box", "kind", "code"),
    [(Box2D(1, 2, 3, 4), "volume", "box_2d_on_volume"), (Box3D(1, 2, 3, 4, 5, 6), "image", "box_3d_on_image")],
)
def test_plan_refuses_the_wrong_kind_of_box(box, kind, code):
    found = crop.plan(box, Frame(100, 80, 1, kind))
    assert isinstance(found, Problem)
    assert found.code == code


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3)])
def test_cut_copies_rows_by_y_and_columns_by_x(shape):
    picture = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    found = crop.cut(picture, (1, 2, 5, 4))
    assert found.shape == (2, 4, *shape[2:])
    assert np.array_equal(found, picture[2:4, 1:5])
    assert not np.shares_memory(found, picture)


@pytest.mark.parametrize("rect", [(0, 0, 9, 6), (0, 0, 8, 7), (-1, 0, 4, 4), (2, 2, 2, 4)])
def test_cut_refuses_rectangles_outside(rect):
    with pytest.raises(FormatError):
        crop.cut(np.zeros((6, 8), np.uint8), rect)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), (252, 252)),
        ((512, 512), (504, 504)),
        ((31, 48), (56, 84)),  # 28 x 56 would be under 3136 px: grown by sqrt(3136 / 1488) and rounded up
        ((23, 46), (28, 56)),  # a side below 28: both raised, and no growing to 3136 px
        ((7570, 8349), (3388, 3752)),  # over 12845056 px: shrunk and rounded down
        ((70, 70), (56, 56)),  # 2.5 patches round to the even number
        ((14, 40), (28, 56)),  # raised, not rounded: 40 / 28 would round to one patch
        ((1, 29), (28, 56)),
        ((57, 27), (84, 28)),
    ],
)
def test_smart_resize(size, expected):
    assert crop.smart_resize(*size) == expected


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((130, 130), (3136, 112 * 112), (112, 112)),  # 130 / (130 / 112) is a hair below 112 as a float
        ((1863, 1863), (65536, 448 * 448), (448, 448)),
        ((1360, 2754), (78400, 784000), (616, 1260)),
        ((30, 30), (112 * 112, 12845056), (112, 112)),  # grown: a hair above must not add a patch
    ],
)
def test_smart_resize_is_exact(size, limits, expected):
    assert crop.smart_resize(*size, min_pixels=limits[0], max_pixels=limits[1]) == expected


@given(st.integers(28, 6000), st.integers(28, 6000), st.sampled_from([(3136, 12845056), (78400, 784000), (65536, 200704)]))
def test_smart_resize_is_the_exact_rule(height, width, limits):
    """The rule in fractions: whole patches n with n^2 at most (or at least) the square of the scaled side."""
    if max(height, width) > 200 * min(height, width):
        return
    found = crop.smart_resize(height, width, min_pixels=limits[0], max_pixels=limits[1])
    rounded = tuple(round(side / 28) * 28 for side in (height, width))
    area = rounded[0] * rounded[1]
    if limits[0] <= area <= limits[1]:
        assert found == rounded
        return
    bound = limits[0] if area < limits[0] else limits[1]
    for side, sides in zip((height, width), found, strict=True):
        n, square = sides // 28, Fraction(side * side * bound, height * width * 28 * 28)
        assert (n - 1) ** 2 < square <= n**2 if area < limits[0] else n == 1 or n**2 <= square < (n + 1) ** 2


@given(st.integers(28, 6000), st.integers(28, 6000))
def test_smart_resize_keeps_multiples_and_bounds(height, width):
    if max(height, width) > 200 * min(height, width):
        return
    rows, columns = crop.smart_resize(height, width)
    assert rows % 28 == columns % 28 == 0
    assert 3136 <= rows * columns <= 12845056


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (1, 201)])
def test_smart_resize_refuses(size):
    with pytest.raises(FormatError):
        crop.smart_resize(*size)


@pytest.mark.parametrize(("least", "most"), [(784, 12544), (3136, 12845056), (784, 1568), (3136, 50176)])
def test_a_fitted_size_stays_as_it_is_and_within_the_limits(least: int, most: int) -> None:
    for height in (1, 5, 13, 14, 27, 28, 41, 112, 528, 1000, 2400):
        for width in (1, 6, 20, 27, 28, 51, 60, 130, 1000, 3000):
            if max(height, width) > 200 * min(height, width):
                continue
            found = crop.fitted_size(height, width, factor=28, limits=(least, most))
            assert crop.fitted_size(*found, factor=28, limits=(least, most)) == found, (height, width)
            assert least <= found[0] * found[1] <= most, (height, width)
            assert found[0] % 28 == found[1] % 28 == 0


def test_limits_between_which_no_size_lies_are_told() -> None:
    with pytest.raises(FormatError, match=r"100 x 100 pixels.*between 800 and 1,500"):
        crop.fitted_size(100, 100, factor=28, limits=(800, 1500))
