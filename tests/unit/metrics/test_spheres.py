import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.metrics.boxes import sphere_dice, sphere_overlap

number = st.integers(-300, 300).map(float)
point = st.tuples(number, number, number)
pair = st.tuples(point, point)
UNIT = ((-1, 0, 0), (1, 0, 0))


def test_identical_spheres():
    assert sphere_dice(UNIT, UNIT) == 1
    assert sphere_dice(UNIT, ((0, 0, -1), (0, 0, 1))) == 1  # the same sphere by another diameter


def test_unit_spheres_one_radius_apart():
    # Two caps of height 1/2: 2 x pi (1/2)^2 (3 - 1/2) / 3 = 5 pi / 12, of 4 pi / 3 each.
    other = ((0, 0, 0), (2, 0, 0))
    assert sphere_overlap(UNIT, other) == pytest.approx((5 * math.pi / 12, 4 * math.pi / 3, 4 * math.pi / 3))
    assert sphere_dice(UNIT, other) == pytest.approx(5 / 16)


def test_sphere_inside_another():
    assert sphere_overlap(UNIT, ((-2, 0, 0), (2, 0, 0)))[0] == pytest.approx(4 * math.pi / 3)
    assert sphere_dice(UNIT, ((-2, 0, 0), (2, 0, 0))) == pytest.approx(2 / 9)
    assert sphere_dice(UNIT, ((0, 0, 0), (4, 0, 0))) < 2 / 9  # centre of one on the surface of the other


def test_far_and_touching_spheres():
    assert sphere_dice(UNIT, ((5, 0, 0), (7, 0, 0))) == 0
    assert sphere_dice(UNIT, ((1, 0, 0), (3, 0, 0))) == 0


def test_points_for_spheres():
    one, other = ((1, 2, 3), (1, 2, 3)), ((1, 2, 4), (1, 2, 4))
    assert sphere_dice(one, one) == 1
    assert sphere_dice(one, other) == 0
    assert sphere_dice(one, other, radius_eps=1) == pytest.approx(5 / 16)


def test_lens_of_unequal_spheres_against_counted_points():
    a, b = ((-3, 0, 0), (3, 0, 0)), ((1, 2, 0), (3, 2, 4))
    rng = np.random.default_rng(0)
    points = rng.uniform(-4, 6, (400_000, 3))
    near_a = np.linalg.norm(points, axis=1) < 3
    near_b = np.linalg.norm(points - (2, 2, 2), axis=1) < math.sqrt(5)
    assert sphere_overlap(a, b)[0] == pytest.approx(1000 * np.mean(near_a & near_b), rel=0.02)


@given(pair, pair)
def test_bounds_symmetry_and_order(a, b):
    value = sphere_dice(a, b)
    assert 0 <= value <= 1
    assert value == pytest.approx(sphere_dice(b, a), abs=1e-9)
    assert value == sphere_dice(a[::-1], b)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9))
def test_sizes_of_any_magnitude(radius, other, distance):
    a, b = ((-radius, 0, 0), (radius, 0, 0)), ((distance - other, 0, 0), (distance + other, 0, 0))
    assert 0 <= sphere_dice(a, b, radius_eps=1e-5) <= 1
