"""The key points: inside, apart, on different parts, the same on every run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unireason.core.errors import GeometryError
from unireason.core.types import Box2D
from unireason.data.measure import APART, key_points
from unireason.grounding import answer
from unireason.rewards.spatial import Gold, umrg_reward


def test_halves_of_a_bar():
    mask = np.zeros((9, 60), bool)
    mask[:, 2:58] = True
    # Each half is 28 wide and 9 high; its ridge lies four rows below the top, and its middle 14 columns from its end.
    first, second = key_points(mask, (100, 50), (1.0, 1.0))
    assert first[1] == second[1] == 54
    assert abs(first[0] - (100 + 2 + 13.5)) <= 0.5
    assert abs(second[0] - (100 + 30 + 13.5)) <= 0.5


def test_the_main_axis_is_that_of_the_body():
    mask = np.ones((30, 40), bool)
    tall = key_points(mask, (0, 0), (1.0, 2.0))  # 40 mm wide, 60 mm high
    assert abs(tall[0][1] - tall[1][1]) == 15
    wide = key_points(mask, (0, 0), (1.0, 1.0))
    assert abs(wide[0][0] - wide[1][0]) >= 14


def test_two_pieces_get_a_point_each():
    mask = np.zeros((20, 50), bool)
    mask[2:17, 0:15] = True
    mask[5:14, 35:44] = True  # 81 of 225 pixels
    assert key_points(mask, (0, 0), (1.0, 1.0)) == ((7, 9), (39, 9))
    mask[5:9] = False  # now 45 of 165
    mask[2:17, 0:15] = True
    assert all(x < 15 for x, _ in key_points(mask, (0, 0), (1.0, 1.0)))


def test_a_ring_keeps_its_points_out_of_the_hole():
    y, x = np.ogrid[:61, :61]
    radius = np.hypot(x - 30, y - 30)
    mask = (radius < 29) & (radius > 20)
    first, second = key_points(mask, (0, 0), (1.0, 1.0))
    assert mask[first[::-1]]
    assert mask[second[::-1]]
    assert math.dist(first, second) > 40


def test_small_structures_use_their_ends():
    first, second = key_points(np.ones((3, 14), bool), (0, 0), (1.0, 1.0))
    assert math.dist(first, second) > APART
    square = key_points(np.ones((9, 9), bool), (5, 5), (1.0, 1.0))
    assert math.dist(*square) == pytest.approx(8 * math.sqrt(2))  # corner to corner: the only pairs more than ten apart
    assert key_points(np.ones((1, 2), bool), (3, 4), (1.0, 1.0)) == ((3, 4), (4, 4))
    assert key_points(np.ones((1, 1), bool), (3, 4), (1.0, 1.0)) == ((3, 4), (3, 4))


def test_empty_is_an_error():
    with pytest.raises(GeometryError, match="empty"):
        key_points(np.zeros((3, 3), bool), (0, 0), (1.0, 1.0))


def test_a_volume():
    mask = np.zeros((30, 10, 10), bool)
    mask[1:29, 2:9, 2:9] = True
    # Halves of 14 slices; of the equally deep voxels on the middle line the one before the middle comes first.
    assert key_points(mask, (10, 20, 2), (1.0, 1.0, 4.0)) == ((15, 25, 2 + 7), (15, 25, 2 + 21))
    short = key_points(mask[:13], (10, 20, 2), (1.0, 1.0, 4.0))
    assert short == ((15, 25, 3), (15, 25, 14))  # six slices apart are too few: the ends


def blob(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """A few random boxes and a few random holes; at least one pixel."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for _ in range(int(rng.integers(1, 5))):
        low = [int(rng.integers(0, n)) for n in shape]
        mask[tuple(slice(a, a + int(rng.integers(1, n))) for a, n in zip(low, shape, strict=True))] = True
    holes = mask & (rng.random(shape) < 0.1)
    return mask & ~holes if (mask & ~holes).any() else mask


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(40, 30), (6, 90), (150, 120), (5, 20, 24), (12, 40, 40)]))
def test_always_inside_and_distinct(seed: int, shape: tuple[int, ...]):
    mask = blob(seed, shape)
    steps = (1.0, 1.3, 5.0)[: len(shape)]
    points = key_points(mask, (0,) * len(shape), steps)
    assert all(mask[p[::-1]] for p in points)
    assert (points[0] != points[1]) == (np.count_nonzero(mask) > 1)
    assert points == tuple(sorted(points))
    assert key_points(mask.copy(order="F"), (0,) * len(shape), steps) == points


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_mirrored_masks_give_mirrored_points(seed: int, across: bool):
    """Up to ties where the halves share a line: of 6,000 ellipses 98% agree to the pixel, and none is farther off than 2.9."""
    rng = np.random.default_rng(seed)
    angle, a, b = rng.uniform(0.2, 1.3), rng.uniform(22, 30), rng.uniform(8, 14)
    y, x = np.ogrid[:63, :63]
    u, v = (x - 31.3) * np.cos(angle) + (y - 30.8) * np.sin(angle), (y - 30.8) * np.cos(angle) - (x - 31.3) * np.sin(angle)
    mask = (u / a) ** 2 + (v / b) ** 2 <= 1
    axis = 1 if across else 0
    points = key_points(mask, (0, 0), (1.0, 1.0))
    flipped = key_points(np.flip(mask, axis), (0, 0), (1.0, 1.0))
    back = sorted((62 - px, py) if across else (px, 62 - py) for px, py in flipped)
    assert all(math.dist(p, q) <= 3 for p, q in zip(points, back, strict=True))


@pytest.mark.parametrize("size", [(12, 12), (30, 8), (200, 100), (11, 3)])
def test_they_earn_the_full_reward_as_an_answer(size: tuple[int, int]):
    w, h = size
    y, x = np.ogrid[:h, :w]
    mask = ((x + 0.5 - w / 2) / (w / 2)) ** 2 + ((y + 0.5 - h / 2) / (h / 2)) ** 2 <= 1
    points = key_points(mask, (20, 30), (1.0, 1.0))
    box = Box2D(20, 30, 20 + w, 30 + h)
    reward = umrg_reward(answer.write("It lies there.", box, points), Gold(box, points), mode="hard")
    assert reward["points_position_valid"] == 1.0
    apart = max(w, h) > 11  # eleven pixels are ten from end to end
    assert reward["points_spread_valid"] == (1.0 if apart else 0.5)
    assert reward["score"] == (8.0 if apart else pytest.approx(7.775, abs=0.3))
