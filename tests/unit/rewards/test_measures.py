import pytest
from reward_traces import SHOWN, make_trace

from unireason.rewards.outcome import Measures, measure

SMALL, HALF = "<|box_start|>[0,0,20,50]<|box_end|>", "<|box_start|>[0,0,100,100]<|box_end|>"
CUBOID = "<|box_start|>[0,0,2,100,50,5]<|box_end|>"


def test_by_hand():
    found = measure(make_trace(f"<think>{SMALL}{SHOWN} {HALF}{SHOWN} {SMALL} <|box_start|>[1]<|box_end|></think>B", sampled=30))
    assert found == Measures(
        looked=True, looks=2, crops=2, invalid_boxes=1, box_area=pytest.approx((0.05 + 0.5) / 2), slices=1.0, sampled_tokens=30,
        truncated=False, answered=True,
    )  # fmt: skip


def test_a_cuboid():
    found = measure(make_trace(f"<think>{CUBOID}{SHOWN}{SHOWN}{SHOWN}</think>B", kind="volume"))
    assert (found.looks, found.crops, found.box_area, found.slices) == (1, 3, 0.25, pytest.approx(0.3))


def test_a_look_behind_the_reasoning_is_counted_but_is_no_look_of_the_reasoning():
    found = measure(make_trace(f"<think>x</think>B{SMALL}{SHOWN}"))
    assert (found.looked, found.looks) == (False, 1)


def test_nothing():
    assert measure(make_trace("")) == Measures(False, 0, 0, 0, None, None, 0, False, False)


@pytest.mark.parametrize(
    ("finish", "truncated"), [("token_budget", True), ("context", True), ("round_budget", True), ("invalid_box", False)]
)
def test_truncated(finish, truncated):
    assert measure(make_trace("<think>x", finish=finish)).truncated is truncated


@pytest.mark.parametrize(
    ("text", "options", "answered"),
    [
        ("<think>x</think>B", "abcd", True),
        ("<think>x</think>maybe", "abcd", False),
        ("<think>x</think>maybe", "", True),
        ("<think>x</think> ", "", False),
        ("<think>B", "abcd", False),
    ],
)
def test_answered(text, options, answered):
    assert measure(make_trace(text, options=tuple(options))).answered is answered
