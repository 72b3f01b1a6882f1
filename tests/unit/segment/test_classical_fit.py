"""Terms of the likelihood: where a voxel lies, what its neighbours say, what its grey level says."""

from __future__ import annotations

import numpy as np
import pytest
from segment_cases import ellipse, painted

from unireason.segment.classical import ClassicalSettings, Ellipse, component, cut, expected_dice, judge, learn, neighbours

NONE = np.zeros((0, 2), np.intp)


def disc_region():
    mask = ellipse((40, 40), (20, 20), (9, 9))
    low, high = np.array([11.0, 11.0]), np.array([29.0, 29.0])
    return mask, cut(painted(mask), low, high, spacing=np.ones(2), margin=0.5, most=1 << 20)


def test_distance_is_one_where_the_ellipse_touches_the_box():
    found = Ellipse.within(np.array([2.0, 0.0]), np.array([6.0, 20.0])).distance((8, 20))
    # Centre (4, 10), semi-axes 2 and 10; voxel (5, 9) has its middle at (5.5, 9.5).
    assert found[5, 9] == pytest.approx(np.hypot(1.5 / 2, 0.5 / 10))
    assert found[4, 19] == pytest.approx(np.hypot(0.5 / 2, 9.5 / 10))


def test_neighbours_count_by_their_distance():
    one = np.zeros((3, 3, 3), np.float32)
    one[1, 1, 1] = 1
    found = neighbours(one, np.array([4.0, 1.0, 2.0]))  # z, y, x
    # Along an axis a neighbour weighs 0.5 * 1 / spacing, and the three weights add up to 1.
    z, y, x = 0.125 / 1.25, 0.5 / 2.0, 0.25 / 1.5
    own = (1 / 1.25) * (1 / 2.0) * (1 / 1.5)
    assert found[1, 1, 1] == pytest.approx(own)
    assert found[0, 1, 1] == pytest.approx(own * 1.25 * z)
    assert found[1, 2, 1] == pytest.approx(own * 2.0 * y)
    assert found[1, 1, 0] == pytest.approx(own * 1.5 * x)
    assert found.sum() == pytest.approx(1.0)


def test_borders_count_as_continued():
    assert neighbours(np.full((4, 5), 0.7, np.float32), np.array([1.0, 3.0])) == pytest.approx(0.7)


def test_grey_levels_of_the_inside_get_positive_logits():
    mask, region = disc_region()
    learned = learn(region, NONE, ClassicalSettings())
    table, levels = learned.model.tables[0], region.levels[0]
    block = mask[region.block]
    assert table[levels[block]].mean() > 2
    assert table[levels[~block]].mean() < -2
    assert learned.evidence > 2


def test_the_ellipse_moves_towards_the_structure():
    mask = ellipse((40, 40), (20, 20), (9, 9))
    low, high = np.array([13.0, 11.0]), np.array([31.0, 29.0])  # two rows too low
    region = cut(painted(mask), low, high, spacing=np.ones(2), margin=0.5, most=1 << 20)
    centre = learn(region, NONE, ClassicalSettings(follow=1.0)).model.ellipse.centre[0] + region.block[0].start
    assert 20.0 <= centre < 20.6


def test_nothing_lies_beyond_the_reach_or_where_nothing_is_known():
    _, region = disc_region()
    region.known[18, 18] = False
    found = learn(region, NONE, ClassicalSettings())
    far = found.model.ellipse.distance(region.shape) > ClassicalSettings().reach
    assert far.any()
    assert not found.inside[far].any()
    assert found.inside[18, 18] == 0


def test_seeds_are_inside_whatever_else_is_said():
    _, region = disc_region()
    corner = np.array([[1, 1]])
    found = learn(region, corner, ClassicalSettings())
    assert found.inside[1, 1] == 1
    assert judge(region, found.model, corner, ClassicalSettings())[1, 1] == 1
    assert judge(region, found.model, NONE, ClassicalSettings())[1, 1] == 0


def parts() -> np.ndarray:
    """A part of 16 with a hole of 1, a part of 4."""
    likely = np.zeros((10, 12), np.float32)
    likely[1:6, 1:6] = 0.9
    likely[2, 2] = 0.1
    likely[8, 8:12] = 0.8
    return likely


def test_the_largest_part_is_kept_and_its_small_hole_filled():
    mask, left_out = component(parts(), NONE)
    assert (np.count_nonzero(mask), left_out) == (25, 1)
    assert mask[2, 2]


def test_a_hole_larger_than_a_twentieth_stays():
    likely = parts()
    likely[2, 2:4] = 0.1
    mask, _ = component(likely, NONE)
    assert np.count_nonzero(mask) == 23


def test_what_touches_the_border_is_no_hole():
    likely = np.full((30, 30), 0.9, np.float32)
    likely[0, 7] = 0.0
    mask, _ = component(likely, NONE)
    assert not mask[0, 7]


def test_the_parts_that_hold_seeds_are_kept():
    mask, left_out = component(parts(), np.array([[8, 9]]))
    assert (np.count_nonzero(mask), left_out) == (4, 1)
    mask, left_out = component(parts(), np.array([[8, 9], [3, 3]]))
    assert (np.count_nonzero(mask), left_out) == (29, 0)


def test_nothing_likely_gives_an_empty_mask():
    mask, left_out = component(np.zeros((4, 4), np.float32), NONE)
    assert (mask.any(), left_out) == (False, 0)
    assert expected_dice(np.zeros((4, 4), np.float32), mask) == 0


def test_expected_dice_by_hand():
    inside = np.array([[1.0, 0.6, 0.4]], np.float32)
    # 2 * 1.6 / (2 + 2.0)
    assert expected_dice(inside, inside > 0.5) == pytest.approx(0.8)


def test_what_touches_at_corners_is_one_part():
    for axes in (2, 3):
        thin = np.zeros((9,) * axes, np.float32)
        thin[(np.arange(1, 8),) * axes] = 0.9
        mask, others = component(thin, NONE)
        assert np.array_equal(mask, thin > 0.5)
        assert others == 0
