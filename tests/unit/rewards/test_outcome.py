import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.core.types import Crop, Frame, Problem, Trace
from unireason.grounding.trace import Execution, steps_from_text
from unireason.metrics.answers import answer_choice
from unireason.rewards.outcome import form, looks_in_reasoning, open_outcome, outcome, published_outcome

SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"
BOX = "<|box_start|>[1,2,30,40]<|box_end|>"


def trace(text, *extra, opened=False, options=tuple("abcd")):
    executions = [Execution((Crop((1, 2, 30, 40), 0, np.zeros((38, 29), np.uint8)),))] * text.count(SHOWN)
    letters = "ABCD"[: len(options)]
    steps, problems = steps_from_text(text, executions=executions, choose=lambda a: answer_choice(a, letters), opened=opened)
    return Trace("q", options, steps, Frame(252, 252, 1, "image"), "end_of_turn", (*problems, *extra), raw_text=text)


@pytest.mark.parametrize(
    ("text", "think", "boxes", "answer", "score"),
    [
        (f"<think>see {BOX}{SHOWN} ok</think>B. x", 1, 1, 1, 1.0),
        (f"<think>see {BOX}{SHOWN} ok</think>C. x", 1, 1, 0, 0.2),
        ("<think>no look</think>B", 1, 0, 1, 0.9),
        (f"<think>see {BOX} not shown</think>B", 1, 0, 1, 0.9),
        (f"<think>{BOX}{SHOWN} <|box_start|>[1,2]<|box_end|></think>B", 1, 0, 1, 0.9),
        (f"<think>{BOX}{SHOWN} <|box_start|>[9,9,1,1]<|box_end|></think>B", 1, 0, 1, 0.9),
        (f"{BOX}{SHOWN} B", 0, 1, 1, 0.9),  # no think block: the answer is what stands around the look
        (f"<think>{BOX}{SHOWN} B", 0, 1, 0, 0.1),
        (f"<think>{BOX}{SHOWN}</think></think>B", 0, 1, 1, 0.9),
        (f"hm <think>{BOX}{SHOWN}</think>B", 0, 1, 1, 0.9),
        ("", 0, 0, 0, 0.0),
    ],
)
def test_parts_and_score(text, think, boxes, answer, score):
    found = outcome(trace(text), "B", must_look=True)
    assert (found["think"], found["boxes"], found["answer"]) == (think, boxes, answer)
    assert found["format"] == (think + boxes) / 2
    assert found["score"] == pytest.approx(score)


def test_a_look_is_asked_for_only_on_demand():
    assert outcome(trace("<think>no look</think>B"), "b")["score"] == pytest.approx(1)
    assert outcome(trace("<think>no look</think>B"), "b", must_look=True)["looked"] == 0


def test_a_box_that_does_not_fit_the_frame_costs_the_box_half():
    found = outcome(trace(f"<think>{BOX}</think>B", Problem("box_2d_on_volume")), "B")
    assert (found["boxes"], found["score"]) == (0, pytest.approx(0.9))


@pytest.mark.parametrize("code", ["box_3d_on_image", "uncut_region", "spelled_tag", "inverted_box"])
def test_every_kind_of_broken_box_costs_the_same(code):
    assert form(trace(f"<think>{BOX}{SHOWN}</think>B", Problem(code)))["boxes"] == 0


@pytest.mark.parametrize(
    ("text", "think", "boxes", "looked"),
    [
        (f"<think>x</think>{BOX}{SHOWN}B", 1, 0, 0),  # a look behind the reasoning
        (f"<think>x</think>B{BOX}{SHOWN}", 1, 0, 0),
        (f"<think>{BOX}{SHOWN}</think>B{BOX}{SHOWN}", 1, 0, 1),
        (f"<think>{BOX}{SHOWN}</think>B{BOX}", 1, 0, 1),  # not executed, but a box all the same
        (f"{BOX}{SHOWN}<think>x</think>B", 0, 1, 1),  # in front of the block: the think half goes
        (f"<think>x</think><think>{BOX}{SHOWN}</think>B", 0, 0, 0),  # a second block
        (f"<think>{BOX}{SHOWN}</think><think></think>B", 0, 1, 1),
        ("<think></think>B", 0, 0, 0),  # a block without reasoning
        ("<think> \n</think>B", 0, 0, 0),
        (f"<think>{BOX}{SHOWN}</think>B", 1, 1, 1),  # a look alone is reasoning
        ("<think>the answer is B</think>", 1, 0, 0),
        ("<think>x< |box_start|>[1,2,30,40]< |box_end|>< |vision_start|></think>B", 1, 0, 0),  # spelled letter by letter
        ("<think>x<|box_start|>[1,2,</think>30,40]<|box_end|>B", 1, 0, 0),  # a box across the end of the block
        ("<THINK>x</THINK>B", 0, 0, 0),
        ("<|im_end|>", 0, 0, 0),
        (" <|im_end|>", 0, 0, 0),
    ],
)
def test_cheats_on_the_form_do_not_pay(text, think, boxes, looked):
    found = form(trace(text), must_look=True)
    assert (found["think"], found["boxes"], found["looked"]) == (think, boxes, looked)
    assert found["format"] == (think + boxes) / 2


@pytest.mark.parametrize("text", ["", " ", "<|im_end|>", "\n<|im_end|>", "<think></think>", "<think>  </think><|im_end|>"])
def test_saying_nothing_earns_nothing(text):
    assert outcome(trace(text), "B")["score"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "<think>the answer is B</think>",  # inside the reasoning
        "<think>x the answer is B",
        "<think>x</think>C<think>B",
        "<think>x</think>A B C D",
        "<think>x</think>A. B. C. D.",
        "<think>x</think>A or B",
        "<think>x</think>a bone",
        "<think>x</think>option B, option C",
        "<think>x</think>not B",
        "<think>x</think>E",
    ],
)
def test_cheats_on_the_answer_do_not_pay(text):
    assert outcome(trace(text), "B")["answer"] == 0


def test_only_looks_before_the_end_of_the_block_belong_to_the_reasoning():
    found = trace(f"<think>{BOX}{SHOWN} and {BOX}</think>B{BOX}{SHOWN}")
    assert [look.executed for look in looks_in_reasoning(found)] == [True, False]
    assert len(found.looks) == 3
    assert len(looks_in_reasoning(trace(f"<think>{BOX}{SHOWN}{BOX}"))) == 2  # cut off inside the block


def test_weights_are_parameters():
    found = outcome(trace("<think>x</think>B"), "B", answer_weight=0.5, format_weight=0.3)
    assert found["score"] == pytest.approx(0.8)
    assert outcome(trace("<think>x</think>C"), "B", answer_weight=0.5, format_weight=0.3)["score"] == pytest.approx(0.3)


def test_open_answers_are_compared_as_texts():
    found = open_outcome(trace("<think>a cyst</think>The left Kidney.", options=()), ["spleen", "left kidney"])
    assert (found["answer"], found["score"]) == (1, pytest.approx(1))
    wrong = open_outcome(
        trace("<think>left kidney</think>right kidney", options=()), ["left kidney"], answer_weight=2, format_weight=1
    )
    assert (wrong["answer"], wrong["score"]) == (0, 1)
    assert open_outcome(trace("<think>left kidney", options=()), ["left kidney"])["answer"] == 0
    assert set(found) == set(outcome(trace("B"), "B"))


@pytest.mark.parametrize("gold", [[], "kidney", [""], ["kidney", "..."]])
def test_open_gold_must_have_words(gold):
    with pytest.raises(FormatError):
        open_outcome(trace("<think>x</think>spleen", options=()), gold)


PIECES = (
    *("<think>", "</think>", BOX + SHOWN, BOX, "<|box_start|>", "<|box_end|>", "< |box_start|>", "[1,2,3,4]", "[9,9,1,1]"),
    *("A", "B", "the answer is B", " ", "x", "<answer>", "<|im_end|>", "1e999", "nan", "\u0663"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=40), st.booleans(), st.booleans())
def test_any_text_has_a_score_that_the_structure_bears_out(text, must_look, opened):
    if text.count(SHOWN) != text.count(BOX + SHOWN) or "<|vision" in text.replace(SHOWN, ""):
        return
    try:
        made = trace(text, opened=opened)
    except FormatError:  # a picture behind a box that a loose tag swallowed: no engine makes that
        return
    found = outcome(made, "B", must_look=must_look)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["score"] == pytest.approx(0.8 * found["answer"] + 0.1 * (found["think"] + found["boxes"]))
    head, closed, tail = text.partition("</think>")
    if found["think"]:
        assert closed
        assert "</think>" not in tail
        assert text.count("<think>") == (0 if opened else 1)
        assert head.removeprefix("<think>").strip()
    if found["boxes"]:
        assert text.count("<|box_start|>") == text.count("<|box_end|>")
        assert not closed or "<|box_start|>" not in tail
        assert not must_look or SHOWN in head
    if found["answer"]:
        assert "B" in (text.rpartition("</think>")[2] if closed else text).upper()


def test_a_block_opened_by_the_prompt_counts_as_one():
    assert outcome(trace("it is big</think>B", opened=True), "B")["think"] == 1


@pytest.mark.parametrize("gold", ["", "AB", "1", "E", "\u00e9"])
def test_gold_must_be_a_letter(gold):
    with pytest.raises(FormatError):
        outcome(trace("<think>x</think>B"), gold)


@pytest.mark.parametrize(
    ("solution", "gold", "score", "chosen"),
    [
        ("<think>x</think>B", "B. Left", 1.0, "B"),
        ("<think>x</think>B", "c", 0.2, "B"),
        ("<think>x B", "B", 0.9, "B"),
        ("<think>x <|box_end|> B", "B", 0.8, "B"),
        ("none", "E", 0.2, ""),
        ("", "B", 0.0, ""),
    ],
)
def test_published_outcome(solution, gold, score, chosen):
    found = published_outcome(solution, gold)
    assert found["score"] == pytest.approx(score)
    assert found["pred_choice"] == chosen
    assert found["crop_area_ratio"] == 0
