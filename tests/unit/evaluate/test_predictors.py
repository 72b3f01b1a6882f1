"""What comes with an answer: overlap of its looks, probability of its tokens, and how well these tell right from wrong."""

import json
import math

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Crop, Frame, Look, LookStep, Tokens, Trace
from unireason.evaluate.scoring import answer_probability, box_overlap, calibration
from unireason.evaluate.suites.base import Entry

END, IMAGE = 7, Frame(100, 100, 1, "image")


def trace(*boxes, tokens=None, frame=IMAGE):
    crop = Crop((0, 0, 1, 1), 0, np.zeros((1, 1), np.uint8))
    steps = tuple(LookStep("", box, crops=(crop,), executed=True) for box in boxes)
    return Trace("q", (), steps, frame, "end_of_turn", tokens=tokens)


def entry(*looks):
    return Entry("q", "c", "p", "?", (), ("x",), looks=looks)


def test_box_overlap_by_hand():
    volume = Frame(100, 100, 4, "volume")
    true = entry(Look("a", Box2D(0, 0, 10, 10)), Look("b", Box2D(50, 50, 60, 60)))
    assert box_overlap(true, trace((0, 0, 10, 20), (50, 50, 60, 60))) == pytest.approx((0.5 + 1) / 2)
    assert box_overlap(true, trace((0, 0, 10, 20))) == pytest.approx(0.25)  # a missing look counts 0
    assert box_overlap(true, trace()) == 0
    assert box_overlap(entry(), trace((0, 0, 1, 1))) is None
    assert box_overlap(entry(Look("gone", Box2D(0, 0, 1, 1), seen=False)), trace((0, 0, 1, 1))) is None
    assert box_overlap(entry(Look("a", Box3D(0, 0, 0, 2, 2, 2))), trace((0, 0, 0, 2, 2, 1), frame=volume)) == 0.5


def test_boxes_go_to_the_looks_that_they_fit_best():
    """One to one: the second box may not serve both, and an order is not asked for."""
    true = entry(Look("a", Box2D(0, 0, 10, 10)), Look("b", Box2D(0, 0, 10, 8)))
    assert box_overlap(true, trace((0, 0, 10, 8), (0, 0, 10, 10))) == 1
    assert box_overlap(true, trace((90, 90, 99, 99), (0, 0, 10, 8))) == pytest.approx(0.5)


def test_answer_probability_by_hand():
    logs = (math.log(0.9), 0.0, math.log(0.1), math.log(0.5), math.log(0.8))
    tokens = Tokens((1,), (2, 3, END, 4, 5), (True, False, True, True, True), logs)
    assert answer_probability(trace(tokens=tokens), END) == pytest.approx(0.5 * 0.8)


def test_only_what_stands_behind_the_last_think_end_and_was_sampled_counts():
    logs = (0.0, math.log(0.3), 0.0, math.log(0.5), math.log(0.6))
    tokens = Tokens((1,), (END, 4, END, 4, 5), (True, True, True, False, True), logs)
    assert answer_probability(trace(tokens=tokens), END) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("tokens", "end"),
    [
        (None, END),
        (Tokens((1,), (END, 4), (True, True)), END),  # no log-probabilities
        (Tokens((1,), (3, 4), (True, True), (0.0, 0.0)), END),  # never closed
        (Tokens((1,), (3, END), (True, True), (0.0, 0.0)), END),  # nothing behind it
        (Tokens((1,), (END, 4), (True, True), (0.0, 0.0)), None),  # no such token
        (Tokens((1,), (END, 4, 5), (True,) * 3, (0.0, math.nan, -1.0)), END),  # the network overflowed
    ],
)
def test_an_unknown_probability_is_none(tokens, end):
    assert answer_probability(trace(tokens=tokens), end) is None


def test_calibration_is_plain_json():
    found = calibration([0.2, None, 0.2, 0.8, 0.8], [False, True, True, True, True])
    assert json.loads(json.dumps(found)) == found
    assert (found["n"], found["missing"]) == (4, 1)
    assert found["auroc"] == pytest.approx((2 + 0.5) / 3)  # wrong: 0.2; right: 0.2, 0.8, 0.8
    assert found["ece"] == pytest.approx((2 * 0.3 + 2 * 0.2) / 4)
    assert [(own["n"], own["accuracy"]) for own in found["bins"]] == [(2, 0.5), (2, 1.0)]
    assert calibration([None], [True]) == {"n": 0, "missing": 1, "auroc": None, "ece": None, "bins": []}


def test_calibration_refuses_other_lengths():
    with pytest.raises(FormatError):
        calibration([0.5], [True, False])
