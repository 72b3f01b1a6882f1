from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from unireason.data.question import FAMILIES
from unireason.errors import FormatError, UniReasonError
from unireason.evaluate.card import guesser
from unireason.evaluate.heldout import Asked, evaluate, held_out, summary
from unireason.types import AnswerStep, Box2D, Box3D, Crop, Frame, Look, LookStep, Sample, Trace

IMAGE, VOLUME = Frame(112, 112, 1, "image"), Frame(56, 56, 16, "volume")
CROP = Crop((0, 0, 4, 4), 0, np.zeros((4, 4), np.uint8))


def sample(family, looks, answer=0, options=("yes", "no"), question="Is it?"):
    return Sample("p", "image", family, question, options, answer, ("<think>", *looks, "</think>A. yes"))


def trace(choice, boxes):
    looks = tuple(LookStep("", b, slices=(0,) if done else (), crops=(CROP,) if done else (), executed=done) for b, done in boxes)
    return Trace("Is it?", ("yes", "no"), (*looks, AnswerStep("", choice)), IMAGE, "end_of_turn")


def test_hand_computed_scores():
    liver, heart = Look("liver", Box2D(0, 0, 10, 10)), Look("heart", Box2D(20, 20, 30, 30))
    unseen = Look("spleen", Box2D(0, 0, 5, 5), seen=False)
    asked = [
        # right, both looks there: IoU 1 and 0.5
        Asked(None, sample(FAMILIES[0], [liver, heart]), trace("A", [((0, 0, 10, 10), True), ((20, 20, 30, 25), True)])),
        # wrong, second look missing: IoU 1 and 0
        Asked(None, sample(FAMILIES[0], [liver, heart]), trace("B", [((0, 0, 10, 10), True)])),
        # right, the place of a missing structure is no truth
        Asked(None, sample(FAMILIES[2], [unseen]), trace("A", [((0, 0, 5, 5), True)])),
        # no answer, box not executed: IoU 0, no crop
        Asked(None, sample(FAMILIES[2], [liver]), trace(None, [((0, 0, 10, 10), False)])),
    ]
    found = summary(asked)
    assert found["n"] == 4
    assert found["accuracy"] == 0.5
    assert found["mean_box_iou"] == pytest.approx((1 + 0.5 + 1 + 0 + 0) / 5)
    assert found["crop_rate"] == 0.75
    assert found["chance"] == 0.5
    assert found["by_family"][FAMILIES[0]]["mean_box_iou"] == pytest.approx(2.5 / 4)
    low, high = found["accuracy_ci95"]
    assert low == pytest.approx(0.1500, abs=1e-3)
    assert high == pytest.approx(0.8500, abs=1e-3)


def test_a_flat_box_on_a_volume_scores_nothing():
    asked = Asked(None, sample(FAMILIES[0], [Look("liver", Box3D(0, 0, 0, 4, 4, 2))]), trace("A", [((0, 0, 4, 4), True)]))
    assert asked.ious() == [0.0]


@pytest.mark.parametrize(("kind", "frame"), [("image", IMAGE), ("volume", VOLUME)])
def test_equal_shares_of_the_families(kind, frame):
    found = [s for _, samples in held_out(123, 62, kind, lambda _: frame) for s in samples]
    shares = Counter(s.family for s in found)
    assert [shares[f] for f in FAMILIES] == [11, 11, 10, 10, 10, 10]
    again = [s for _, samples in held_out(123, 62, kind, lambda _: frame) for s in samples]
    assert found == again
    other = [s for _, samples in held_out(124, 62, kind, lambda _: frame) for s in samples]
    assert found != other


def test_a_case_has_at_most_three_questions_of_different_families():
    for _, samples in held_out(5, 60, "volume", lambda _: VOLUME):
        assert 1 <= len(samples) <= 3
        assert len({s.family for s in samples}) == len(samples)


def test_one_that_always_says_a_scores_the_share_of_a():
    class Stubborn:
        def encode(self, case):
            return SimpleNamespace(frame=VOLUME)

        def ask_many(self, case, questions):
            return [[trace("A", [])] for _ in questions]

    asked = evaluate(Stubborn(), seed=3, count=36, kind="volume")
    right = [a.sample.letter == "A" for a in asked]
    assert 0 < np.mean(right) < 1
    assert summary(asked)["accuracy"] == pytest.approx(np.mean(right))
    assert summary(asked)["mean_box_iou"] == 0.0


def test_bad_requests():
    with pytest.raises(FormatError):
        next(held_out(-1, 6, "image", lambda _: IMAGE))
    with pytest.raises(FormatError):
        next(held_out(1, 0, "image", lambda _: IMAGE))
    with pytest.raises(UniReasonError):
        summary([])


def test_guesser_hand_computed():
    def one(text, right):
        return sample(FAMILIES[0], [], answer=("x", "y").index(right), options=("x", "y"), question=text)

    seen = [one("q", "x"), one("q", "x"), one("q", "y")]
    found = guesser(seen, [one("q", "x"), one("q", "y"), one("new", "x")])
    assert found == {FAMILIES[0]: pytest.approx((1 + 0 + 0.5) / 3), "all": pytest.approx(0.5)}
