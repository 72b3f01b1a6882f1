"""What boxes say: the reader of boxes on hand-made responses, gap, following and ceiling by hand-computed numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unireason.core.types import AnswerStep, Box2D, Frame, LookStep, Trace
from unireason.data.scene import DataQuestion, Part, Scene, Structure
from unireason.evaluate.box_reader import BoxReader, own_boxes
from unireason.evaluate.scoring import ScoredRow, breakdown, explained

FRAME = Frame(100, 100, 1, "image")
TRUE = {
    "liver": (10, 20, 50, 60),  # right of the picture's middle, in front of it
    "spleen": (70, 60, 90, 80),
    "left kidney": (60, 40, 72, 56),
    "liver tumour": (20, 30, 30, 40),
}


def structure(name, box):
    part = Part(box, Box2D(*box), 1.0, 400)
    middle = tuple((box[i] + box[2 + i]) / 2 - 50 for i in (0, 1))
    none = {"neighbours": (), "slices": (0, 1), "borders": (), "contrast": 0.0, "elongation": 1.0, "points": ((0, 0), (1, 1))}
    return Structure(name, box, box, Box2D(*box), 400, 400.0, middle, "", (part,), 1, **none)


SCENE = Scene(
    *("c", "p", "image", "CT", FRAME, (100, 100), (1.0, 1.0), (100.0, 100.0), "patient", "mm2"),
    {name: structure(name, box) for name, box in TRUE.items()},
    absent=("stomach",),
)


def question(ask, about, options, right=0, family="size_comparison"):
    return DataQuestion(family, ask, about, "?", options, right, (), ("liver",))


def response(choice, *boxes):
    """A response that wrote boxes behind names, and chose an option."""
    looks = [LookStep("", box, label=name) for name, box in boxes]
    return Trace("?", ("a", "b"), (*looks, AnswerStep(choice, choice)), FRAME, "end_of_turn")


ALL = [(name, tuple(map(float, box))) for name, box in TRUE.items()]

KINDS = {
    "largest": ((), ("spleen", "liver"), 1),
    "smallest": ((), ("spleen", "liver"), 0),
    "quadrant": (("liver", "xy"), ("left anterior", "right anterior", "left posterior"), 1),
    "lesion_side": (("liver tumour",), ("left", "right"), 1),
    "which_in_quadrant": (("left posterior",), ("liver", "Spleen"), 1),
    "box": (("spleen",), ("[10,20,50,60]", "[70,61,90,80]"), 1),
    "which_at_box": (("[61,40,72,56]",), ("liver", "left kidney"), 1),
    "how_large": (("liver",), ("300 to 900 mm2", "10 to 20 cm2"), 1),  # 1600 x pi / 4 = 1257 mm2
    "lesion_extent": (("liver tumour",), ("70 to 90 pixels", "200 to 300 pixels"), 0),
    "burden": (("liver tumour", "liver"), ("1 to 2 %", "6 to 7 %"), 1),
    "direction": (("spleen", "liver"), ("right", "left", "anterior"), 1),
    "which_direction": (("left", "left kidney"), ("liver", "spleen"), 1),
    "nearest": (("left kidney",), ("liver", "spleen"), 1),
    "host": (("liver tumour",), ("spleen", "liver"), 1),
    "count": (("liver tumour",), ("1", "2", "3"), 0),
    "pair": (("liver", "spleen"), ("liver", "spleen", "about equal"), 0),
    "pair_share": (("spleen", "liver"), ("80 to 160 %", "160 to 320 %", "320 to 640 %"), 1),
    "largest_place": (("liver tumour",), ("left posterior", "right anterior"), 1),
    "count_side": (("liver tumour", "right"), ("0", "1"), 1),
}


@pytest.mark.parametrize("ask", KINDS)
def test_a_kind_is_decided_by_boxes(ask):
    about, options, right = KINDS[ask]
    reader = BoxReader.of(question(ask, about, options, right), SCENE)
    assert reader.true == reader.own(response("A", *ALL)) == "ABC"[right]


def test_slices_are_read_off_cuboids():
    scene = replace(
        SCENE,
        kind="volume",
        frame=Frame(56, 56, 16, "volume"),
        extent=(100.0, 100.0, 100.0),
        structures={},
        absent=("liver", "spleen"),
    )
    reader = BoxReader.of(question("slices", ("liver",), ("1 to 3", "4 to 8")), scene)
    trace = Trace("?", (), (LookStep("", (1, 1, 4, 9, 9, 8), label="liver"),), scene.frame, "end_of_turn")
    assert (reader.true, reader.own(trace)) == ("", "B")
    both = replace(trace, steps=(*trace.steps, LookStep("", (1, 1, 8, 9, 9, 12), label="spleen")))
    for ask, about, right in (("which_on_slice", "slice 7", "A"), ("which_on_slice", "slice 8", "B"), ("level", "liver", "A")):
        assert BoxReader.of(question(ask, (about,), ("liver", "spleen")), scene).own(both) == right


def test_right_boxes_beside_a_wrong_letter():
    reader = BoxReader.of(question("largest", (), ("spleen", "liver"), 1), SCENE)
    assert reader.own(response("A", *ALL)) == "B"


def test_wrong_boxes_give_a_wrong_letter():
    reader = BoxReader.of(question("largest", (), ("spleen", "liver"), 1), SCENE)
    swapped = [("liver", TRUE["spleen"]), ("spleen", TRUE["liver"])]
    assert (reader.own(response("B", *swapped)), reader.true) == ("A", "B")


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [("liver", TRUE["liver"])],  # one of two
        [("", TRUE["liver"]), ("candidate", TRUE["spleen"])],  # no name
        [("liver", TRUE["liver"]), ("spleen", (80, 60, 70, 80))],  # inverted
        [("liver", TRUE["liver"]), ("spleen", (70, 60, 1, 90, 80, 3))],  # a cuboid in a picture
        [("liver", TRUE["liver"]), ("spleen", TRUE["liver"])],  # neither is the larger one
    ],
)
def test_too_few_boxes_decide_nothing(boxes):
    assert BoxReader.of(question("largest", (), ("spleen", "liver")), SCENE).own(response("A", *boxes)) == ""


@pytest.mark.parametrize(
    ("ask", "about", "options"),
    [
        ("present", ("liver",), ("yes", "no")),
        ("brightness", ("liver tumour",), ("brighter", "darker")),
        ("a kind of tomorrow", ("liver",), ("liver", "spleen")),
        ("quadrant", ("liver",), ()),  # an open question
        ("quadrant", (), ("left", "right")),
        ("direction", ("liver", "spleen"), ("north", "south")),
        ("box", ("liver",), ("[1,2,3,4,5,6]", "[1,2,3]")),
        ("how_large", ("liver",), ("small", "large")),
    ],
)
def test_what_boxes_do_not_decide(ask, about, options):
    reader = BoxReader.of(question(ask, about, options), SCENE)
    assert (reader.true, reader.own(response("A", *ALL))) == ("", "")


def test_without_a_kind_or_a_described_scene_there_is_no_reader():
    assert BoxReader.of(question("", (), ("a", "b")), SCENE) is None
    assert BoxReader.of(question("largest", (), ("a", "b")), replace(SCENE, described=False)) is None


def test_a_place_looked_at_twice_is_one_and_two_places_are_two():
    trace = response("A", ("first lesion", (0, 0, 10, 10)), ("lesion", (0, 0, 10, 11)), ("second lesion", (40, 40, 50, 50)))
    assert [box.coords for box in own_boxes(trace, ("lesion",))["lesion"]] == [(0, 0, 10, 10), (40, 40, 50, 50)]


def test_the_middle_of_the_body_parts_left_from_right():
    aside = replace(SCENE, midline=replace(SCENE.midline, found="spine", offset=20.0))
    asked = question("lesion_side", ("left kidney",), ("right", "left"))
    assert BoxReader.of(asked, SCENE).true == "B"  # its middle is at 66
    assert BoxReader.of(asked, aside).true == "A"  # right of 70


# --- Rates over questions.


def row(number, said, own, true, *, ask="largest", letter="A", options=2, mismatch=False):
    tags = {"family": "size_comparison", **({"ask": ask} if ask else {})}
    return ScoredRow(f"q{number}", f"p{number}", tags, options, said, said == letter, {}, mismatch, letter, own, true)


ROWS = [
    row(0, "A", "A", "A"),  # right, and follows
    row(1, "B", "A", "A"),  # wrong beside right boxes
    row(2, "B", "B", "A"),  # wrong boxes, and follows them
    row(3, "", "A", "A", mismatch=True),  # right boxes, unread
    row(4, "A", "", "", ask="present"),
    row(5, "B", "", "", ask="present", options=4),
]


def test_gap_and_following():
    found = explained(ROWS, seed=0)["own_boxes"]
    assert (found["n"], found["asked"]) == (4, 6)
    assert (found["accuracy"], found["model_accuracy"], found["gap"], found["follows"]) == (0.75, 0.25, 0.5, 0.5)
    low, high = found["accuracy_ci95_patients"]
    assert low < 0.75 < high
    assert found["gap_ci95_patients"] == [-1, 1]  # four patients tell nothing of a difference


def test_ceiling():
    """Of six questions four are decided by true boxes, two have to be guessed: at 1/2 and 1/4."""
    every = explained(ROWS, seed=0)["ceiling"]
    without, chance = (4 + 1 / 2 + 1 / 4) / 6, (5 * 1 / 2 + 1 / 4) / 6
    assert every["value"] == pytest.approx((1 - without) / (1 - chance))
    assert every["n"] == 6
    kinds = breakdown(ROWS, seed=0, resamples=50)["by"]["ask"]
    assert (kinds["largest"]["ceiling"]["value"], kinds["present"]["ceiling"]["value"]) == (0, 1)
    assert kinds["present"]["own_boxes"] is None
    # True boxes that mislead are wrong without a look: one of four.
    misled = explained([*ROWS[:3], row(3, "A", "A", "B")], seed=0)["ceiling"]
    assert misled["value"] == pytest.approx((1 - 3 / 4) / (1 - 1 / 2))


def test_no_kind_and_no_options_have_no_rate():
    assert explained([row(0, "A", "", "", ask="")], seed=0) == {"own_boxes": None, "ceiling": None}
    found = breakdown([row(0, "yes", "", "", letter="", options=0), ROWS[3]], seed=0, resamples=50)
    assert found["all"]["mismatch_rate"] == 1  # of the one answer that has a letter
    assert breakdown([row(0, "yes", "", "", letter="", options=0)], seed=0)["all"]["mismatch_rate"] is None
