import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.metrics.boxes import circle_overlap, pdice, pdice_released

number = st.integers(-500, 500).map(float)
pair = st.tuples(st.tuples(number, number), st.tuples(number, number))
UNIT = ((-1, 0), (1, 0))


def test_identical_circles():
    assert pdice(UNIT, UNIT) == 1
    assert pdice_released(UNIT, UNIT) == pytest.approx(2, abs=1e-5)
    assert pdice(UNIT, ((0, -1), (0, 1))) == 1  # the same circle by another diameter


def test_half_shifted_unit_circles():
    # Two unit circles one radius apart share 2 pi / 3 - sqrt(3) / 2.
    shared = 2 * math.pi / 3 - math.sqrt(3) / 2
    other = ((0, 0), (2, 0))
    assert circle_overlap(UNIT, other)[0] == pytest.approx(shared)
    assert pdice(UNIT, other) == pytest.approx(shared / math.pi)
    assert pdice_released(UNIT, other) == pytest.approx(2 * shared / (2 * math.pi - shared), abs=1e-5)


def test_circle_inside_another():
    big = ((-2, 0), (2, 0))
    assert circle_overlap(UNIT, big) == pytest.approx((math.pi, math.pi, 4 * math.pi))
    assert pdice(UNIT, big) == pytest.approx(2 / 5)
    assert pdice_released(UNIT, big) == pytest.approx(2 / 4, abs=1e-5)


def test_far_and_touching_circles():
    assert pdice(UNIT, ((5, 0), (7, 0))) == 0
    assert pdice(UNIT, ((1, 0), (3, 0))) == 0


def test_pairs_that_shrink_to_a_point():
    here, there = ((3, 3), (3, 3)), ((4, 4), (4, 4))
    assert pdice(here, here) == 1
    assert pdice(here, there) == 0
    assert pdice_released(here, here) == 0
    assert pdice(UNIT, here) == 0


def test_radius_eps_widens_both():
    assert circle_overlap(UNIT, UNIT, radius_eps=1)[1] == pytest.approx(4 * math.pi)


@given(pair, pair)
def test_bounds_and_symmetry(a, b):
    assert 0 <= pdice(a, b) <= 1 + 1e-9
    assert 0 <= pdice_released(a, b) <= 2
    assert pdice(a, b) == pytest.approx(pdice(b, a))
