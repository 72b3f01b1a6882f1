import numpy as np
import pytest

from unireason.errors import FormatError
from unireason.grounding.trace import Execution, steps_from_text
from unireason.metrics.answers import answer_choice
from unireason.rewards.outcome import outcome, published_outcome
from unireason.types import Crop, Frame, Problem, Trace

SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"
BOX = "<|box_start|>[1,2,30,40]<|box_end|>"


def trace(text, *extra, opened=False):
    executions = [Execution((Crop((1, 2, 30, 40), 0, np.zeros((38, 29), np.uint8)),))] * text.count(SHOWN)
    steps, problems = steps_from_text(text, executions=executions, choose=lambda a: answer_choice(a, "ABCD"), opened=opened)
    return Trace("q", tuple("abcd"), steps, Frame(252, 252, 1, "image"), "end_of_turn", (*problems, *extra), raw_text=text)


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


def test_a_block_opened_by_the_prompt_counts_as_one():
    assert outcome(trace("it is big</think>B", opened=True), "B")["think"] == 1


@pytest.mark.parametrize("gold", ["", "AB", "1"])
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
