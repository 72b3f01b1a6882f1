import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Box2D
from unireason.grounding import answer as umrg
from unireason.rewards.spatial import MAXIMUM, Gold, read_gold, umrg_reward

GOLD = Gold(Box2D(0, 0, 100, 100), ((20, 20), (80, 80)))
number = st.integers(-300, 300).map(float)
point = st.tuples(number, number)


def score(box, points, mode):
    return umrg_reward(umrg.write("x", Box2D(*box), points), GOLD, mode=mode)


def test_the_truth_itself_scores_full():
    soft, hard = (score(GOLD.box.coords, GOLD.points, mode) for mode in ("soft", "hard"))
    assert soft["score"] == pytest.approx(4)
    assert hard["score"] == pytest.approx(8, abs=1e-3)
    assert score(GOLD.box.coords, GOLD.points, "base")["score"] == 5
    assert MAXIMUM == {"soft": 4, "hard": 8, "base": 5}


def test_soft_by_hand():
    # Box 0..50 x 0..100: IoU 1/2, one gold point inside, area ratio exactly 1/2 (not inside the open interval).
    found = score((0, 0, 50, 100), ((0, 50), (5, 50)), "soft")
    smooth = 0.9 * math.log(2.5) / math.log(4) + 0.1
    assert found["bbox_position_valid"] == 0.5
    assert found["bbox_area_valid"] == 0.5
    assert found["bbox_iou"] == pytest.approx(0.7 * smooth + 0.3 * smooth * 0.5, abs=1e-4)
    assert found["points_position_valid"] == 1
    assert found["points_spread_valid"] == 0.5
    assert found["points_dice"] == pytest.approx(0.1 * (0.7 + 0.3 * 0.75), abs=1e-4)  # circles apart: 0.1 before the penalty
    assert found["bbox_align"] == found["bbox_scale"] == found["points_align"] == found["points_angle"] == 0
    assert found["score"] == pytest.approx(2 + found["bbox_iou"] + found["points_dice"])


def test_hard_by_hand():
    found = score((0, 0, 50, 100), ((80, 80), (20, 20)), "hard")

    def curve(x, middle):
        return 1 / (1 + math.exp(3 * (x - middle)))

    def smooth(x, middle):
        return 0.9 * (curve(x, middle) - curve(2, middle)) / (curve(0, middle) - curve(2, middle)) + 0.1

    align = smooth(12.5 / (100 * math.sqrt(2)), 1)
    scale = smooth(math.hypot(math.log(0.5), math.log(0.5)), 0.5)
    assert found["bbox_align"] == pytest.approx(align * 0.85, abs=1e-4)
    assert found["bbox_scale"] == pytest.approx(scale * 0.85, abs=1e-4)
    assert found["points_align"] == pytest.approx(1, abs=1e-4)  # the crossed pairing fits exactly
    assert found["points_angle"] == 1  # direction does not count


def test_points_across_the_gold_line_have_no_angle():
    assert score(GOLD.box.coords, ((20, 80), (80, 20)), "hard")["points_angle"] == pytest.approx(0.1)
    assert score(GOLD.box.coords, ((50, 50), (50, 50)), "hard")["points_angle"] == pytest.approx(0.1 * 0.925, abs=1e-4)


def test_an_inverted_box_loses_its_whole_group_in_hard_mode_only():
    soft, hard = (score((60, 0, 50, 100), GOLD.points, mode) for mode in ("soft", "hard"))
    assert soft["bbox_iou"] == pytest.approx(0.1 * (0.7 + 0.3 * 0.375), abs=1e-4)
    assert [hard[n] for n in hard if n.startswith("bbox")] == [0] * 5
    assert hard["points_dice"] == soft["points_dice"] == 1


@pytest.mark.parametrize("mode", ["soft", "hard"])
@pytest.mark.parametrize("box", [(100, 100, 0, 0), (100, 0, 0, 100), (0, 100, 100, 0), (99, 90, -1, -5)])
def test_a_box_inverted_on_one_side_or_both_holds_nothing(box, mode):
    found = score(box, GOLD.points, mode)
    assert (found["bbox_area_valid"], found["bbox_align"], found["bbox_scale"]) == (0.5 if mode == "soft" else 0, 0, 0)
    assert found["bbox_iou"] < 0.1


def test_the_published_reward_keeps_its_faults():
    answer = umrg.write("x", Box2D(100, 100, 0, 0), GOLD.points)
    assert umrg_reward(answer, GOLD, mode="hard", published=True)["bbox_scale"] > 0.5  # two negative sides multiplied
    assert umrg_reward(answer, GOLD, mode="hard")["bbox_scale"] == 0
    flat = umrg.write("x", Box2D(0, 50, 100, 50), GOLD.points)
    assert umrg_reward(flat, GOLD, mode="hard", published=True)["bbox_iou"] == 0  # divided by its height
    odd = '<answer>{"bbox": [NaN, 0, 100, 100], "points_1": [true, 2], "points_2": [20, 1e12]}</answer>'
    found = umrg_reward(odd, GOLD, published=True)
    assert (found["format_seg"], found["points_spread_valid"]) == (1, 1)
    assert umrg_reward(odd, GOLD)["format_seg"] == 0.4
    draft = umrg.write("x", GOLD.box, GOLD.points).replace("</think>", "") + "</think>"
    assert umrg_reward(draft, GOLD, published=True)["score"] > 3.9
    assert umrg_reward(draft, GOLD)["score"] == 1  # the reasoning alone


@pytest.mark.parametrize("box", [(50, 0, 50, 100), (0, 50, 100, 50), (50, 50, 50, 50)])
def test_a_box_without_width_or_height_is_scored(box):
    found = umrg_reward(umrg.write("x", Box2D(*box), GOLD.points), GOLD, mode="hard")
    assert found["bbox_area_valid"] == 0.5
    assert found["bbox_iou"] > 0.05
    assert found["bbox_align"] > 0.3
    # The distance of scales counts at most 1, so a side of a millionth of a pixel scores like one of 0.
    thin = umrg_reward(umrg.write("x", Box2D(box[0], box[1], box[2] + 1e-6, box[3] + 1e-6), GOLD.points), GOLD, mode="hard")
    assert found["bbox_scale"] == pytest.approx(thin["bbox_scale"], abs=2e-4)
    assert found["bbox_scale"] > 0.1


@pytest.mark.parametrize(
    ("box", "points", "iou", "near", "close"),
    [
        ((0, 0, 51, 100), ((20, 20), (50, 80)), 1, 0, 1),  # IoU 0.51; mean distance 49 / 4 px; points 0 and 30 px away
        ((0, 0, 50, 100), ((20, 20), (50, 80)), 0, 0, 1),  # IoU 0.5 is not above 0.5
        ((0, 0, 100, 60.1), ((20, 20), (80, 60)), 1, 1, 1),  # mean distance 39.9 / 4 px, though the sum is far above 10
        ((0, 0, 100, 60), ((20, 20), (80, 60)), 1, 0, 1),  # exactly 10 px is not below
        ((0, 0, 100, 100), ((80, 80), (20, 20)), 1, 1, 1),  # the other pairing
        ((0, 0, 100, 79), ((20, 20), (80, 80)), 1, 1, 0),  # the second point lies outside the box of the response
        ((0, 0, 100, 80), ((20, 20), (80, 80)), 1, 1, 1),  # on its border it is inside
        ((-20, 0, 150, 200), ((20, 20), (80, 179)), 0, 0, 1),  # 99 px
        ((-20, 0, 150, 200), ((20, 20), (80, 180)), 0, 0, 0),  # exactly 100 px
        ((-20, 0, 150, 200), ((20, 120), (80, 80)), 0, 0, 1),  # straight 100 px, crossed 85 px
        ((100, 100, 0, 0), ((20, 20), (80, 80)), 0, 0, 0),  # an inverted box holds nothing
    ],
)
def test_base_asks_three_questions(box, points, iou, near, close):
    found = score(box, points, "base")
    assert (found["bbox_iou"], found["bbox_align"], found["points_align"]) == (iou, near, close)
    assert found["score"] == 2 + iou + near + close
    assert set(found) == set(score(box, points, "soft"))


def test_base_answers_no_to_what_is_missing():
    only_points = umrg_reward(
        "<think>x</think><answer>{'bbox': 1, 'points_1': [20,20], 'points_2': [80,80]}</answer>", GOLD, mode="base"
    )
    assert only_points["score"] == 1 + 0.6
    only_box = umrg_reward("<answer>{'bbox': [0,0,100,100], 'points_1': [20,20], 'points_2': 1}</answer>", GOLD, mode="base")
    assert only_box["score"] == 0.6 + 2


@pytest.mark.parametrize(
    ("solution", "think", "seg"),
    [
        ("", 0, 0),
        ("<think></think>", 0.2, 0),
        ("<think>x</think><answer></answer>", 1, 0.2),
        ("<think>x</think><answer>[]</answer>", 1, 0.2),
        ("<answer>{}</answer>", 0, 0.4),
        ("<answer>{'bbox': [1,2,3], 'points_1': [1], 'points_2': [1,2]}</answer>", 0, 0.4),
        ("<answer>{'bbox': [1,2,3,4], 'points_1': [1], 'points_2': [1,2]}</answer>", 0, 0.6),
        ("<answer>{'bbox': 'x', 'points_1': [1,2], 'points_2': [1,2]}</answer>", 0, 0.6),
        ("<answer>{'bbox': [1,2,3,4], 'points_1': [1,2]}</answer>", 0, 0.4),
        ("<answer>{'bbox': [1,2,3,4], 'points_1': [1,2], 'points_2': [1,2]}</answer>", 0, 1),
    ],
)
def test_format(solution, think, seg):
    found = umrg_reward(solution, GOLD)
    assert (found["format_think"], found["format_seg"]) == (think, seg)


@given(st.tuples(*[number] * 4), st.tuples(point, point), st.sampled_from(["soft", "hard", "base"]))
def test_bounds(box, points, mode):
    found = score(box, points, mode)
    assert 0 <= found["score"] <= MAXIMUM[mode]
    assert all(0 <= value <= 1 for name, value in found.items() if name != "score")


@given(
    st.text(max_size=30)
    | st.lists(st.sampled_from(["<answer>", "</answer>", "{'bbox': [1e-300,0,1e9,1]}", "<think>", "</think>"])).map("".join)
)
def test_any_text_has_a_score(text):
    assert umrg_reward(text, GOLD, mode="hard")["score"] >= 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"bbox_2d": [1,2,3], "point_2d": [[1,2],[3,4]]}',
        '{"bbox_2d": [1,2,3,4], "point_2d": [[1,2]]}',
        '{"bbox_2d": [3,2,1,4], "point_2d": [[1,2],[3,4]]}',
        '{"bbox_2d": [1,2,1,4], "point_2d": [[1,2],[3,4]]}',
        '{"bbox_2d": [1,2,NaN,4], "point_2d": [[1,2],[3,4]]}',
        '{"bbox_2d": [1,2,3,1e300], "point_2d": [[1,2],[3,4]]}',
        '{"bbox_2d": [1,2,3,4], "point_2d": [[1,2],[3,NaN]]}',
        '{"bbox_2d": [1,2,3,4], "point_2d": 5}',
    ],
)
def test_bad_gold_is_an_error(text):
    with pytest.raises(FormatError):
        read_gold(text)


def test_gold_is_read():
    assert read_gold(json.dumps({"bbox_2d": [0, 0, 100, 100], "point_2d": [[20, 20], [80, 80]]})) == GOLD


def test_unknown_mode():
    with pytest.raises(FormatError):
        umrg_reward("", GOLD, mode="strict")
