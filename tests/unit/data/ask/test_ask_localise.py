import itertools
import re

import pytest
from ask_scenes import asked, rights, scene, structure

from unireason.core.types import Box2D, Box3D
from unireason.data.questions.places import _box_fact
from unireason.metrics.boxes import box_iou

# Centres (mm from the middle): liver (-60, -50), left kidney (50, 50), bladder (2, -50).
LIVER = structure("liver", (20, 30, 60, 70))
KIDNEY = structure("left kidney", (140, 140, 160, 160))
BLADDER = structure("bladder", (92, 40, 112, 60))


def test_quadrant_in_patient_terms():
    found = rights(scene(LIVER, KIDNEY, BLADDER), "quadrant")
    # The kidney's name tells its side; the bladder lies within 5% of the middle.
    assert found == {("liver", "xy"): {"right anterior"}}
    questions = asked(scene(LIVER), "quadrant")
    assert {frozenset(q.options) for q in questions} == {
        frozenset(("right anterior", "left anterior", "right posterior", "left posterior"))
    }
    assert all(q.needs == ("liver",) for q in questions)


def test_quadrant_in_picture_terms():
    assert rights(scene(LIVER, space="picture"), "quadrant") == {("liver", "xy"): {"upper left"}}
    options = {o for q in asked(scene(LIVER, space="picture"), "quadrant") for o in q.options}
    assert options == {"upper left", "upper right", "lower left", "lower right"}


def test_quadrant_of_a_volume_has_three_pairs_of_axes():
    liver = structure("liver", (20, 30, 130, 60, 70, 150))  # centre (-60, -50, 40)
    kidney = structure("left kidney", (140, 140, 20, 160, 160, 40))  # centre (50, 50, -70)
    assert rights(scene(liver, kidney, kind="volume"), "quadrant") == {
        ("liver", "xy"): {"right anterior"},
        ("liver", "xz"): {"right superior"},
        ("liver", "yz"): {"anterior superior"},
        ("left kidney", "yz"): {"posterior inferior"},
    }


def test_no_place_for_scattered_positioned_or_lesions():
    scattered = structure("bowel", (20, 30, 60, 70), parts=[900, 700])
    told = structure("upper pole", (20, 30, 60, 70))
    lesion = structure("cyst", (20, 30, 60, 70))
    assert asked(scene(scattered, told, lesion), "quadrant") == []


def test_a_speck_beside_does_not_scatter():
    assert asked(scene(structure("bowel", (20, 30, 60, 70), parts=[1500, 100])), "quadrant")


def test_box_is_one_of_four_equal_ones():
    questions = asked(scene(LIVER), "box", seeds=60)
    assert {q.right for q in questions} == {"[20,30,60,70]"}
    for question in questions:
        boxes = [Box2D(*map(int, re.findall(r"\d+", o))) for o in question.options]
        true = boxes[question.answer]
        assert all(b.x2 - b.x1 == 40 and b.y2 - b.y1 == 40 for b in boxes)
        assert all(b.x1 >= 0 and b.x2 <= 200 and b.y1 >= 0 and b.y2 <= 200 for b in boxes)
        assert all(box_iou(b, true) < 0.3 for i, b in enumerate(boxes) if i != question.answer)
        # Corners of a lattice, or a line at equal steps: as many distinct x times distinct y as boxes.
        assert len({b.x1 for b in boxes}) * len({b.y1 for b in boxes}) == 4
    assert not any("<|" in q.text for q in questions)


def test_every_place_among_the_boxes_is_taken():
    places = set()
    small = structure("liver", (95, 95, 107, 107))
    for question in asked(scene(small), "box", seeds=80):
        boxes = [tuple(map(int, re.findall(r"\d+", o))) for o in question.options]
        shape = (len({b[0] for b in boxes}), len({b[1] for b in boxes}))
        places.add((shape, sorted(boxes).index(boxes[question.answer])))
    assert places == {(shape, rank) for shape in ((1, 4), (2, 2), (4, 1)) for rank in range(4)}


def test_no_box_for_what_fills_the_picture():
    assert asked(scene(structure("body", (5, 5, 195, 195))), "box") == []


def test_box_of_a_volume():
    liver = structure("liver", (80, 80, 90, 110, 120, 110))
    questions = asked(scene(liver, kind="volume"), "box")
    assert {q.right for q in questions} == {"[80,80,90,110,120,110]"}
    for question in questions:
        boxes = [Box3D(*map(int, re.findall(r"\d+", o))) for o in question.options]
        assert all(box_iou(b, boxes[question.answer]) < 0.3 for i, b in enumerate(boxes) if i != question.answer)


def test_slices_are_counted_from_zero_with_both_ends():
    liver = structure("liver", (80, 80, 90, 110, 120, 110))
    questions = asked(scene(liver, kind="volume"), "slices", seeds=60)
    assert {q.right for q in questions} == {"90 to 109"}
    ranks = set()
    for question in questions:
        ranges = [tuple(map(int, o.split(" to "))) for o in question.options]
        assert all(b - a == 19 and a >= 0 and b <= 199 for a, b in ranges)
        begins = sorted(a for a, _ in ranges)
        steps = {b - a for a, b in itertools.pairwise(begins)}
        assert len(steps) == 1
        assert min(steps) >= 12
        ranks.add(begins.index(90))
    assert ranks == {0, 1, 2, 3}
    assert asked(scene(LIVER), "slices") == []


@pytest.mark.parametrize(
    ("other", "fact"),
    [
        ((100, 30, 140, 70), "it lies 80 pixels too far to the right"),
        ((80, 100, 120, 140), "it lies 60 pixels too far to the right and 70 pixels too far down"),
        ((11, 30, 60, 92), "it reaches 22 pixels too far down and nine pixels too far to the left"),
        ((30, 30, 55, 70), "it falls ten pixels short on the left and five pixels short on the right"),
        ((20, 35, 90, 70), "it reaches 30 pixels too far to the right and falls five pixels short at the top"),
    ],
)
def test_what_is_wrong_with_a_box(other, fact):
    assert _box_fact((20, 30, 60, 70), other) == fact


def test_slices_weigh_by_the_depth_of_the_box():
    # Two of four slices are more than ten of forty pixels.
    assert _box_fact((20, 30, 4, 60, 70, 8), (20, 30, 2, 70, 70, 8)) == (
        "it reaches two slices too far towards the first slice and ten pixels too far to the right"
    )
