"""Questions kept at such a rate that every option is right equally often."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ask_scenes import scene, structure

from unireason.data.questions.distractors import Dice, Peers, Places, alike, evened, tally
from unireason.data.questions.families import which_absent

KNOWN = Peers([scene(structure("liver", (10, 20, 40, 60)))])


def kept(right, wrong, count):
    """How many of 2,000 draws keep a question."""
    places, dice = Places(scene(structure("liver", (10, 20, 40, 60))), KNOWN), Dice(np.random.default_rng(0))
    return Counter(tuple(evened(places, dice, right, wrong, lambda options: count)) for _ in range(2000))


def test_the_rarest_is_always_kept_and_the_commonest_in_proportion():
    count = {"a": 29.0, "b": 9.0}
    assert kept("b", ["a"], count) == {("a",): 2000}
    found = kept("a", ["b"], count)
    assert found[("b",)] == pytest.approx(2000 * 10 / 30, abs=75)
    assert found[()] == 2000 - found[("b",)]


def test_an_option_that_is_hardly_ever_right_ends_a_question_whichever_is_right():
    count = {"a": 30.0, "b": 1.0}
    assert kept("a", ["b"], count) == kept("b", ["a"], count) == {(): 2000}
    assert kept("a", ["b"], {}) == {(): 2000}


def options(found):
    """The sets of wrong options that were kept."""
    return {frozenset(wrong) for wrong in found if wrong}


def test_what_is_never_right_is_left_out_and_another_takes_its_place():
    count = {"a": 10.0, "b": 10.0, "c": 10.0}
    assert options(kept("a", ["b", "c", "d"], count)) == {frozenset("bc")}
    assert options(kept("a", ["b", "c", "d", "e"], {**count, "e": 10.0})) == {frozenset("bce")}
    assert options(kept("a", ["b", "c", "d"], {**count, "d": 10.0})) == {frozenset("bcd")}


def test_what_is_right_too_often_is_left_out_too():
    assert options(kept("a", ["b", "c", "d"], {"a": 5.0, "b": 5.0, "c": 100.0, "d": 6.0})) == {frozenset("bd")}


def test_without_peers_all_is_offered():
    places = Places(scene(structure("liver", (10, 20, 40, 60))))
    assert set(evened(places, Dice(np.random.default_rng(0)), "a", ["b", "c", "d"], lambda options: {})) == {"b", "c", "d"}


def test_tally_and_alike():
    assert tally(["a", "", "b", "a"]) == {"a": 2.0, "b": 1.0}
    assert alike((0, 0, 10, 10), (0, 0, 10, 10), (100, 100, 1)) == 1
    assert alike((0, 0, 10, 10), (4, 0, 14, 10), (100, 100, 1)) == pytest.approx(np.exp(-0.5))
    assert alike((0, 0, 10, 10), (0, 0, 40, 40), (100, 100, 1)) < 1e-6


def test_the_odd_one_out_is_not_asked_for():
    """Slices show heart and lung, or two kidneys and a spleen: beside the latter, the heart is always what is missing."""
    boxes = {name: (10 * i, 20, 10 * i + 8, 60) for i, name in enumerate(("heart", "left kidney", "right kidney", "spleen"))}
    low = ("left kidney", "right kidney", "spleen")

    def shows(names, number):
        drawn = scene(*(structure(n, boxes[n]) for n in names), absent=tuple(n for n in boxes if n not in names))
        return replace(drawn, patient=f"p{number}", case=f"c{number}")

    fixed = [shows(low if n % 2 else ("heart",), n) for n in range(12)]
    mixed = [shows(tuple(b for b in boxes if b != gone), n) for n, gone in enumerate((*boxes, *boxes, *boxes))]
    own = shows(low, 99)
    assert list(which_absent(Places(own, Peers(fixed)), Dice(np.random.default_rng(0)))) == []
    (question,) = which_absent(Places(own, Peers(mixed)), Dice(np.random.default_rng(0)))
    assert question.right == "heart"
