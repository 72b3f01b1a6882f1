"""What must hold of every spatial reward, whatever the numbers: it never falls when the box comes nearer, and points have no order."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unireason.core.types import Box2D, Box3D
from unireason.grounding import answer
from unireason.metrics.boxes import box_iou
from unireason.rewards.spatial import MAXIMUM, Gold, Gold3D, umrg_reward, umrg_reward_3d

number = st.floats(-300, 300).filter(lambda v: v == 0 or abs(v) > 1e-6)
flat, solid = st.tuples(number, number), st.tuples(number, number, number)
length = st.floats(1, 200)
modes = st.sampled_from(["soft", "hard", "base"])
share = st.floats(0, 1)


@st.composite
def golds(draw, axes):
    low = draw(st.tuples(*[st.floats(-100, 100).filter(lambda v: v == 0 or abs(v) > 1e-6)] * axes))
    high = tuple(v + draw(length) for v in low)
    points = tuple(tuple(a + draw(share) * (b - a) for a, b in zip(low, high, strict=True)) for _ in range(2))
    return Gold(Box2D(*low, *high), points) if axes == 2 else Gold3D(Box3D(*low, *high), points)


def rounded(values):
    return tuple(round(v, 6) + 0.0 for v in values)


def reward(box, points, gold, mode):
    text = answer.write("x", type(gold.box)(*rounded(box)), tuple(rounded(p) for p in points))
    return umrg_reward(text, gold, mode=mode) if isinstance(gold, Gold) else umrg_reward_3d(text, gold)


VALID = ("bbox_position_valid", "bbox_area_valid", "bbox_volume_valid")


def check_nearer_is_no_worse(box, gold, share, mode):
    """A box that has gone part of the way to the gold one overlaps it no less, and its IoU term says so."""
    nearer = tuple(a + share * (b - a) for a, b in zip(box, gold.box.coords, strict=True))
    assume(
        all(
            high > low
            for values in (box, nearer)
            for low, high in zip(values[: len(values) // 2], values[len(values) // 2 :], strict=True)
        )
    )
    one, other = (reward(b, gold.points, gold, mode) for b in (box, nearer))
    assert box_iou(type(gold.box)(*nearer), gold.box) >= box_iou(type(gold.box)(*box), gold.box) - 1e-9
    if all(one.get(name) == other.get(name) for name in VALID):
        assert other["bbox_iou"] >= one["bbox_iou"] - 1e-4  # terms are rounded to four decimals


@given(golds(2), flat, st.tuples(length, length), share, modes)
def test_a_rectangle_that_comes_nearer_is_no_worse(gold, low, sides, share, mode):
    check_nearer_is_no_worse((*low, *(a + b for a, b in zip(low, sides, strict=True))), gold, share, mode)


@given(golds(3), solid, st.tuples(length, length, length), share)
def test_a_cuboid_that_comes_nearer_is_no_worse(gold, low, sides, share):
    check_nearer_is_no_worse((*low, *(a + b for a, b in zip(low, sides, strict=True))), gold, share, "soft")


@given(golds(2), flat, flat, st.tuples(length, length), st.tuples(length, length), st.sampled_from(["soft", "hard"]))
def test_more_iou_is_no_worse(gold, low, other_low, sides, other_sides, mode):
    boxes = [(*p, *(a + b for a, b in zip(p, s, strict=True))) for p, s in ((low, sides), (other_low, other_sides))]
    boxes.sort(key=lambda b: box_iou(Box2D(*rounded(b)), gold.box))
    worse, better = (reward(b, gold.points, gold, mode) for b in boxes)
    assume(all(worse[name] == better[name] for name in VALID[:2]))
    assert better["bbox_iou"] >= worse["bbox_iou"]


@given(golds(2), st.tuples(*[number] * 4), st.tuples(flat, flat), modes)
def test_points_have_no_order(gold, box, points, mode):
    found = reward(box, points, gold, mode)
    swapped = Gold(gold.box, gold.points[::-1])
    assert reward(box, points[::-1], gold, mode) == pytest.approx(found, abs=1e-4)
    assert reward(box, points, swapped, mode) == pytest.approx(found, abs=1e-4)


@given(golds(2), st.tuples(*[number] * 4), st.tuples(flat, flat), modes)
def test_the_truth_is_never_beaten(gold, box, points, mode):
    assert 0 <= reward(box, points, gold, mode)["score"] <= MAXIMUM[mode]


WILD = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1e308",
    "-1e308",
    "1e9",
    "9" * 400,
    "0",
    "-0.0",
    "1e-320",
    "true",
    "null",
    "'x'",
    "[]",
    "{}",
)


@given(st.lists(st.sampled_from(WILD), min_size=8, max_size=12), modes)
def test_wild_numbers_have_a_score(values, mode):
    for axes in (2, 3):
        box, first, second = values[: 2 * axes], values[:axes], values[-axes:]
        fields = ", ".join(f"'{k}': [{','.join(v)}]" for k, v in zip(answer.KEYS, (box, first, second), strict=True))
        text = f"<think>x</think><answer>{{{fields}}}</answer>"
        if axes == 2:
            found = umrg_reward(text, Gold(Box2D(0, 0, 9, 9), ((1, 1), (8, 8))), mode=mode)
        else:
            found = umrg_reward_3d(text, Gold3D(Box3D(0, 0, 0, 9, 9, 9), ((1, 1, 1), (8, 8, 8)), (1e-6, 1e6, 1)))
        assert all(0 <= value <= 8 for value in found.values())
