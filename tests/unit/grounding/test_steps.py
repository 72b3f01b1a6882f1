import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import AnswerStep, Crop, LookStep, TextStep
from unireason.grounding.trace import Execution, steps_from_text

SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"
PIECES = ["<|box_start|>[1,2,3,4]<|box_end|>", "<|box_start|>[1,2,3,4]<|box_end|>" + SHOWN, "<|box_start|>[1,2]<|box_end|>"]
PIECES += ["<think>", "</think>", "the liver ", ". ", "B", "<|im_end|>", "<|box_end|>"]


def execution(*slices):
    crops = tuple(Crop((0, 0, 4, 4), z, np.zeros((4, 4), np.uint8)) for z in slices)
    return Execution(crops, box_voxel=(1.0, 2.0, 3.0, 4.0), box_world_mm=(0.0,) * 6)


def first_letter(text):
    return text[:1] or None


def test_text_looks_and_answer_in_order():
    text = (
        f"<think>I look at the left kidney <|box_start|>[1,2,3,4]<|box_end|>{SHOWN} and the "
        f"liver: <|box_start|>[5,6,7,8]<|box_end|>. Fine.</think>B. Left kidney<|im_end|>"
    )
    steps, problems = steps_from_text(text, executions=[execution(0)], choose=first_letter)
    assert [s.type for s in steps] == ["text", "look", "text", "look", "text", "answer"]
    assert [s.text for s in steps if isinstance(s, TextStep)] == ["I look at the left kidney", "and the liver:", ". Fine."]
    first, second = (s for s in steps if isinstance(s, LookStep))
    assert (first.label, first.box_model, first.executed, first.slices) == ("left kidney", (1, 2, 3, 4), True, (0,))
    assert (first.box_voxel, first.text) == ((1, 2, 3, 4), "<|box_start|>[1,2,3,4]<|box_end|>")
    assert (second.label, second.box_model, second.executed, second.crops, second.box_voxel) == (
        "liver",
        (5, 6, 7, 8),
        False,
        (),
        None,
    )
    assert steps[-1] == AnswerStep("B. Left kidney", "B")
    assert problems == ()


def test_a_cuboid_keeps_its_slices():
    text = f"<think>mass <|box_start|>[1,2,3,4,5,6]<|box_end|>{SHOWN}{SHOWN}{SHOWN}</think>A"
    steps, _ = steps_from_text(text, executions=[execution(3, 4, 5)], choose=first_letter)
    look = steps[1]
    assert isinstance(look, LookStep)
    assert (look.slices, len(look.crops), look.box_model) == ((3, 4, 5), 3, (1, 2, 3, 4, 5, 6))


def test_executions_follow_the_boxes_with_pictures_behind_them():
    text = f"<think><|box_start|>[9,9,9,9]<|box_end|> no <|box_start|>[1,2,3,4]<|box_end|>{SHOWN}</think>A"
    steps, problems = steps_from_text(text, executions=[execution(7)], choose=first_letter)
    assert [(s.executed, s.slices) for s in steps if isinstance(s, LookStep)] == [(False, ()), (True, (7,))]
    assert [p.code for p in problems] == ["empty_box"]


def test_more_executions_than_shown_boxes_are_refused():
    with pytest.raises(FormatError):
        steps_from_text(f"<|box_start|>[1,2,3,4]<|box_end|>{SHOWN}", executions=[execution(0)] * 2, choose=first_letter)


def test_a_spelled_out_picture_tag_is_a_problem_not_an_error():
    box = f"<|box_start|>[1,2,3,4]<|box_end|>{SHOWN}"
    steps, problems = steps_from_text(box + box, executions=[execution(0)], choose=first_letter)
    assert [s.executed for s in steps if isinstance(s, LookStep)] == [True, False]
    assert [(p.code, p.start) for p in problems] == [("spelled_tag", len(box) + 33)]


def test_an_unclosed_block_has_no_answer():
    steps, problems = steps_from_text("<think>B is likely", choose=first_letter)
    assert steps == (TextStep("B is likely"),)
    assert [p.code for p in problems] == ["unclosed_think"]


def test_a_block_opened_by_the_prompt():
    steps, problems = steps_from_text("it is big</think>B", choose=first_letter, opened=True)
    assert steps == (TextStep("it is big"), AnswerStep("B", "B"))
    assert problems == ()


def test_looks_in_the_answer_come_before_it():
    text = f"<think>hm</think><|box_start|>[1,2,3,4]<|box_end|>{SHOWN}B. The kidney"
    steps, _ = steps_from_text(text, executions=[execution(0)], choose=first_letter)
    assert [s.type for s in steps] == ["text", "look", "answer"]
    assert steps[0] == TextStep("hm")
    assert isinstance(steps[1], LookStep)
    assert steps[1].label == ""  # the words of the reasoning do not name a box of the answer
    assert steps[-1] == AnswerStep("B. The kidney", "B")


def test_without_think_tags_everything_is_the_answer():
    assert steps_from_text("B. Left", choose=first_letter) == ((AnswerStep("B. Left", "B"),), ())
    assert steps_from_text("", choose=first_letter) == ((), ())


@pytest.mark.parametrize(
    ("before", "label"),
    [
        ("I see a large mass in the right lung is at ", "right lung"),
        ("Spleen: ", "Spleen"),
        ("First, left kidney (", "left kidney"),
        ("It is big. ", ""),
        ("", ""),
        ("one two three four five six seven eight", "three four five six seven eight"),
        ("the lesion is here ", "lesion"),
    ],
)
def test_labels(before, label):
    steps, _ = steps_from_text(f"<think>{before}<|box_start|>[1,2,3,4]<|box_end|></think>", choose=first_letter)
    assert [s.label for s in steps if isinstance(s, LookStep)] == [label]


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.booleans())
def test_no_text_breaks_it_and_no_tag_survives(text, opened):
    shown = text.count("[1,2,3,4]<|box_end|>" + SHOWN)
    steps, _ = steps_from_text(text, executions=[execution(0)] * shown, choose=first_letter, opened=opened)
    assert sum(isinstance(s, LookStep) and s.executed for s in steps) == shown
    assert all("<|" not in s.text and "think>" not in s.text for s in steps if not isinstance(s, LookStep))
    assert sum(isinstance(s, AnswerStep) for s in steps) <= 1
