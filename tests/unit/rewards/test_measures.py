import pytest
from reward_traces import SHOWN, make_trace

from unireason.rewards.compose import Letter, Weights, score
from unireason.rewards.outcome import Measures, empty_looks, measure

SMALL, HALF = "<|box_start|>[0,0,20,50]<|box_end|>", "<|box_start|>[0,0,100,100]<|box_end|>"
CUBOID = "<|box_start|>[0,0,2,100,50,5]<|box_end|>"


def test_by_hand():
    found = measure(make_trace(f"<think>{SMALL}{SHOWN} {HALF}{SHOWN} {SMALL} <|box_start|>[1]<|box_end|></think>B", sampled=30))
    assert found == Measures(
        looked=True, looks=2, empty_looks=2, crops=2, invalid_boxes=1, box_area=pytest.approx((0.05 + 0.5) / 2), slices=1.0,
        sampled_tokens=30, truncated=False, answered=True,
    )  # fmt: skip


def test_a_cuboid():
    found = measure(make_trace(f"<think>{CUBOID}{SHOWN}{SHOWN}{SHOWN}</think>B", kind="volume"))
    assert (found.looks, found.crops, found.box_area, found.slices) == (1, 3, 0.25, pytest.approx(0.3))


def test_a_look_behind_the_reasoning_is_counted_but_is_no_look_of_the_reasoning():
    found = measure(make_trace(f"<think>x</think>B{SMALL}{SHOWN}"))
    assert (found.looked, found.looks) == (False, 1)


def test_nothing():
    assert measure(make_trace("")) == Measures(False, 0, 0, 0, 0, None, None, 0, False, False)


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


def look(*coords):
    """A box with its pictures behind it."""
    text = ",".join(str(c) for c in coords)
    return f"<|box_start|>[{text}]<|box_end|>" + SHOWN * (coords[5] - coords[2] if len(coords) == 6 else 1)


@pytest.mark.parametrize(
    ("reasoning", "kind", "reasons"),
    [
        (f"the liver {look(0, 0, 100, 100)} and the lesion {look(60, 20, 80, 40)}", "image", ()),
        (f"all of it {look(0, 0, 200, 100)}", "image", ("whole",)),
        (f"nearly all {look(0, 0, 180, 100)}", "image", ("whole",)),  # 0.9 of it
        (f"less {look(0, 0, 179, 100)}", "image", ()),
        (f"a pixel {look(60, 20, 61, 21)}", "image", ("tiny",)),
        (f"a line {look(60, 20, 61, 80)}", "image", ("tiny",)),
        (f"small {look(60, 20, 62, 22)}", "image", ()),
        (look(60, 20, 80, 40), "image", ("wordless",)),
        (f"... {look(60, 20, 80, 40)}", "image", ("wordless",)),
        (f"the lesion {look(60, 20, 80, 40)}{look(0, 20, 20, 40)}", "image", ("wordless",)),
        (f"see {look(60, 20, 80, 40)}" + f" again {look(60, 20, 80, 40)}" * 7, "image", ("repeated",) * 7),
        (f"see {look(60, 20, 80, 40)} again {look(61, 20, 80, 40)}", "image", ("repeated",)),  # 19 of 20 columns
        (f"see {look(60, 20, 80, 40)} beside {look(63, 20, 83, 40)}", "image", ()),  # 17 of 23
        (f"all of it {look(0, 0, 0, 200, 100, 9)}", "volume", ("whole",)),
        (f"a slice {look(0, 0, 4, 200, 100, 5)}", "volume", ()),  # it narrows down the slices
        (f"here {look(60, 20, 2, 80, 40, 4)} and above {look(60, 20, 4, 80, 40, 6)}", "volume", ()),
        (f"here {look(60, 20, 2, 80, 40, 4)} again {look(60, 20, 2, 80, 40, 4)}", "volume", ("repeated",)),
        (f"a column {look(60, 20, 2, 61, 21, 9)}", "volume", ("tiny",)),
    ],
)
def test_looks_that_show_nothing_do_not_pay(reasoning, kind, reasons):
    trace = make_trace(f"<think>{reasoning}</think>B", kind=kind)
    assert empty_looks(trace) == reasons
    assert measure(trace).empty_looks == len(reasons)
    found, paid = (score(trace, Letter("B"), Weights(looks=0.5, must_show=must)) for must in (True, False))
    assert paid.reward == pytest.approx(1.5)
    told = measure(trace).looks > len(reasons)
    assert found.terms == pytest.approx(
        {"answer": 0.8, "format": 0.1 if reasons else 0.2, "looks": 0.5 * told, "length": 0, "evidence": 0}
    )


def test_a_look_behind_the_reasoning_is_not_asked_what_it_shows():
    assert empty_looks(make_trace(f"<think>x</think>B{look(0, 0, 200, 100)}")) == ()
