import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D
from unireason.grounding import answer as umrg
from unireason.rewards.spatial import MAXIMUM_3D, Gold3D, umrg_reward_3d

GOLD = Gold3D(Box3D(0, 0, 0, 100, 100, 20), ((20, 20, 5), (80, 80, 15)))
number = st.integers(-200, 200).map(float)
point = st.tuples(number, number, number)


def score(box, points, gold=GOLD):
    return umrg_reward_3d(umrg.write("x", Box3D(*box), points), gold)


def smooth(value):
    return 0.9 * math.log(3 * value + 1) / math.log(4) + 0.1


def test_the_truth_itself_scores_full():
    assert score(GOLD.box.coords, GOLD.points)["score"] == MAXIMUM_3D == 4


def test_cuboid_by_hand():
    # Half the slices: IoU 1/2, one gold point inside, volume ratio exactly 1/2 (not inside the open interval).
    found = score((0, 0, 0, 100, 100, 10), GOLD.points)
    assert (found["bbox_position_valid"], found["bbox_volume_valid"]) == (0.5, 0.5)
    assert found["bbox_iou"] == pytest.approx(smooth(0.5) * 0.85, abs=1e-4)
    assert found["points_dice"] == 1
    assert found["score"] == pytest.approx(3 + found["bbox_iou"])


def test_volume_ratio_counts_all_three_axes():
    assert score((0, 0, 0, 100, 70, 13), GOLD.points)["bbox_volume_valid"] == 0.5  # 0.7 x 0.65 < 1/2
    assert score((0, 0, 0, 100, 75, 14), GOLD.points)["bbox_volume_valid"] == 1  # 0.75 x 0.7
    assert score((-50, 0, 0, 150, 99, 20), GOLD.points)["bbox_volume_valid"] == 1
    assert score((-50, 0, 0, 150, 100, 20), GOLD.points)["bbox_volume_valid"] == 0.5


def test_points_by_hand():
    # One radius along x between two equal spheres of radius 10: Dice 5/16, the true one.
    gold = Gold3D(Box3D(0, 0, 0, 100, 100, 20), ((40, 50, 10), (60, 50, 10)))
    found = score(gold.box.coords, ((50, 50, 10), (70, 50, 10)), gold)
    assert found["points_dice"] == pytest.approx(smooth(5 / 16), abs=1e-4)
    outside = score(gold.box.coords, ((95, 50, 10), (115, 50, 21)), gold)
    assert outside["points_position_valid"] == 0.5
    assert outside["points_dice"] == pytest.approx(0.1 * (0.7 + 0.3 * 0.75), abs=1e-4)


def test_a_slice_counts_as_many_pixels_as_it_is_thick():
    flat = ((40, 50, 10), (60, 50, 10))
    gold = Gold3D(Box3D(0, 0, 0, 100, 100, 20), flat)
    # Two slices up: 2 pixels without a scale, 10 with slices five times as thick as a pixel.
    shifted = ((40, 50, 12), (60, 50, 12))
    near, far = score(gold.box.coords, shifted, gold), score(gold.box.coords, shifted, replace(gold, scale=(0.8, 0.8, 4.0)))
    lens = (20 - 2) ** 2 * (2**2 + 2 * 2 * 20) / (12 * 2) / (4 / 3 * 10**3)
    assert near["points_dice"] == pytest.approx(smooth(lens), abs=1e-4)
    assert far["points_dice"] == pytest.approx(smooth(5 / 16), abs=1e-4)


def test_spread_is_ten_in_plane_pixels():
    for scale, points, spread in (
        ((1, 1, 1), ((50, 50, 5), (60, 50, 5)), 0.5),
        ((1, 1, 1), ((50, 50, 5), (60, 50, 6)), 1),
        ((1, 1, 1), ((50, 50, 5), (50, 50, 8)), 0.5),
        ((0.5, 0.5, 5), ((50, 50, 5), (50, 50, 6)), 0.5),
        ((0.5, 0.5, 5), ((50, 50, 5), (50, 50, 7)), 1),
    ):
        assert score(GOLD.box.coords, points, replace(GOLD, scale=scale))["points_spread_valid"] == spread


@pytest.mark.parametrize(
    ("answer", "seg", "total"),
    [
        ("{'bbox': [0,0,100,100], 'points_1': [20,20], 'points_2': [80,80]}", 0.4, 1.4),  # a rectangle says no slice
        ("{'bbox': [0,0,0,100,100,20], 'points_1': [20,20], 'points_2': [80,80]}", 0.6, 2.6),
        ("{'bbox': [0,0,0,100,100,NaN], 'points_1': [20,20,5], 'points_2': [80,80,15]}", 0.6, 2.6),
        ("{'bbox': [0,0,0,100,100,1e300], 'points_1': [20,20,5], 'points_2': [80,80,Infinity]}", 0.4, 1.4),
        ("[]", 0.2, 1.2),
    ],
)
def test_what_cannot_be_read_earns_nothing(answer, seg, total):
    found = umrg_reward_3d(f"<think>x</think><answer>{answer}</answer>", GOLD)
    assert (found["format_think"], found["format_seg"]) == (1, seg)
    assert found["score"] == pytest.approx(total)


def test_an_inverted_cuboid_overlaps_nothing():
    found = score((100, 100, 0, 0, 0, 20), GOLD.points)  # two inverted sides must not multiply to a proper volume
    assert (found["bbox_position_valid"], found["bbox_volume_valid"]) == (0.25, 0.5)
    assert found["bbox_iou"] == pytest.approx(0.1 * (0.7 + 0.3 * 0.375), abs=1e-4)


@given(st.tuples(*[number] * 6), st.tuples(point, point))
def test_bounds_and_order_of_points(box, points):
    found = score(box, points)
    assert 0 <= found["score"] <= MAXIMUM_3D
    assert all(0 <= value <= 1 for name, value in found.items() if name != "score")
    assert score(box, points[::-1]) == found
    assert score(box, points, replace(GOLD, points=GOLD.points[::-1])) == found


@given(st.tuples(*[number] * 6), st.tuples(point, point), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_the_unit_of_the_scale_does_not_matter(box, points, factor):
    scales = (1.0, 1.0, 4.0), (factor, factor, 4 * factor)
    one, other = (score(box, points, replace(GOLD, scale=scale)) for scale in scales)
    assert one == pytest.approx(other, abs=2e-4)


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["<answer>", "</answer>", "{'bbox': [0,0,0,9,9,9]}", "<think>"])).map("".join)
)
def test_any_text_has_a_score(text):
    assert 0 <= umrg_reward_3d(text, GOLD)["score"] <= MAXIMUM_3D


@pytest.mark.parametrize(
    "change",
    [
        {"box": Box3D(0, 0, 5, 100, 100, 5)},
        {"box": Box3D(0, 0, 0, 100, 100, float("nan"))},
        {"box": Box3D(0, 0, 0, 100, 100, 1e10)},
        {"points": ((1, 2), (3, 4))},
        {"points": ((1, 2, 3), (3, 4, float("inf")))},
        {"scale": (1, 1, 0)},
        {"scale": (1, 1, float("nan"))},
        {"scale": (1, 1)},
    ],
)
def test_bad_gold_is_an_error(change):
    with pytest.raises(FormatError):
        replace(GOLD, **change)


def test_points_must_have_the_axes_of_their_box():
    with pytest.raises(FormatError):
        umrg.write("x", Box3D(0, 0, 0, 1, 1, 1), ((1, 2), (3, 4)))
    with pytest.raises(FormatError):
        umrg.write("x", Box2D(0, 0, 1, 1), ((1, 2, 3), (3, 4, 5)))
