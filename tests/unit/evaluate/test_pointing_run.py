"""Implicit questions of a suite asked by a scripted model: scores by hand, going on after a kill, what cannot be read, groups."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.types import Box2D, Case, Frame, Geometry, Source, Tokens, Trace
from unireason.engine.sampling import Sampling
from unireason.evaluate.pointing import SCORES, GroundingSettings, evaluate, examples
from unireason.evaluate.suites.base import Entry
from unireason.evaluate.suites.grounding import RULE, Truth
from unireason.grounding import answer as umrg
from unireason.metrics.statistics import bootstrap_mean
from unireason.segment.expert import checked, finished

FRAME = Frame(20, 10, 1, "image")
SHAPE = (20, 40)  # two canonical pixels for each of the model
BOX, POINTS = Box2D(8, 4, 16, 12), ((10, 6), (10, 10))  # pixels of the picture
END = 7  # </think>


class Suite:
    """Pictures a, b, ... of patients, two questions each; some cannot be read."""

    name, rule = "small", RULE

    def __init__(self, cases=3, *, broken=(), blind=()):
        self.cases, self.broken, self.blind = cases, broken, blind
        self.left_out = {}

    def entries(self):
        for n in range(2 * self.cases):
            case = "abcdefgh"[n // 2]
            tags = {"category": ("liver", "lesion")[n % 2], "supercategory": "organ", "frame": "20x10x1"}
            yield Entry(f"q{n}", case, f"p{case}", f"Which, {n}?", (), (tags["category"],), tags=tags)
        self.left_out = {"it has no text": 2}

    def read(self, case):
        if case in self.broken:
            raise ImageReadError(f"'{case}' is damaged")
        geometry = Geometry(SHAPE, SHAPE[::-1], (0, 1), (False, False))
        return Case(np.zeros(SHAPE, np.uint8), "image", geometry, "", Source(case, "png", ""))

    def truth(self, entry):
        if entry.id in self.blind:
            raise ImageReadError("its mask is empty")
        mask = np.zeros(SHAPE, bool)
        mask[4:12, 8:16] = True
        return Truth(BOX, POINTS, mask, (40, 20))


class Boxes:
    """Returns the box as mask; of points their pixels."""

    name = "boxes"

    def segment(self, case, prompts):
        return [finished(self._mask(case, checked(case, prompt)), 1.0) for prompt in prompts]

    def _mask(self, case, prompt):
        mask = np.zeros(case.geometry.shape, bool)
        for x, y in () if prompt.box else prompt.points:
            mask[int(y), int(x)] = True
        if prompt.box:
            x1, y1, x2, y2 = (round(v) for v in prompt.box.coords)
            mask[y1:y2, x1:x2] = True
        return mask


class Model:
    """Says what it was told to; dies after so many pictures if told so."""

    def __init__(self, answers, *, dies_after=None, frame=FRAME):
        self.answers, self.left, self.frame, self.asked, self.seeds = answers, dies_after, frame, [], []
        profile = SimpleNamespace(name="w", sha256="0")
        ids = SimpleNamespace(think_end=END)
        self.checkpoint = SimpleNamespace(
            scope=None, name="m", sha256="1", hashed="all", dtype="f", profile=profile, grounding=profile, versions={}, ids=ids
        )

    def ground_many(self, case, questions, *, samples, sampling):
        if self.left is not None:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
        self.asked.append((case.source.name, [q.text for q in questions], samples, sampling))
        self.seeds += [q.seed_of(n, sampling) for q in questions for n in range(samples)]
        return [[self._trace(q.text, n) for n in range(samples)] for q in questions]

    def _trace(self, question, n):
        text = self.answers(question, n)
        tokens = Tokens((1,), (5, END, 6, 6), (True, True, True, True), (-9.0, -9.0, math.log(0.5), math.log(0.5)))
        problems = umrg.read(text).problems
        return Trace(question, (), (), self.frame, "end_of_turn", problems, raw_text=text, tokens=tokens)


def right(question="", n=0):
    return umrg.write("Here.", Box2D(4, 2, 8, 6), ((4.75, 2.75), (4.75, 4.75)))


def half(question="", n=0):
    """Moved by half its width."""
    return umrg.write("Here.", Box2D(6, 2, 10, 6), ((12, 2), (12, 4)))


def mixed(question, n=0):
    """Right on even questions; on odd ones a lone box, then nothing at all, then right."""
    number = int(question.split()[1][:-1])
    return (right(), half(), right(), "I do not know.", right(), right())[number]


def rows_of(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_scores_by_hand(tmp_path):
    model = Model(mixed)
    seen = []
    found = evaluate(model, Suite(), Boxes(), tmp_path, progress=seen.append)
    results = found.results.to_json()
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert (results["kind"], results["suite"], results["rule"], results["n"], results["patients"]) == (
        "grounding",
        "small",
        RULE,
        6,
        3,
    )
    ious = [1, 8 / 24, 1, 0, 1, 1]
    dices = [1, 0.5, 1, 0, 1, 1]
    assert [row["scores"]["iou"] for row in rows_of(tmp_path)] == pytest.approx(ious)
    assert [row["scores"]["dice_both"] for row in rows_of(tmp_path)] == pytest.approx(dices)
    scores = results["scores"]
    assert tuple(scores) == SCORES
    assert scores["iou"]["mean"] == pytest.approx(np.mean(ious))
    patients = ["a", "a", "b", "b", "c", "c"]
    assert scores["iou"]["ci95_patients"] == pytest.approx(bootstrap_mean(ious, seed=0, clusters=patients))
    assert scores["pdice"]["mean"] == pytest.approx(4 / 6)  # the circles of the moved answer are elsewhere
    headline = {"iou": np.mean(ious), "pdice_released": 8 / 6, "dice_both": np.mean(dices)}
    assert results["headline"] == pytest.approx(headline, abs=1e-4)
    assert (results["found"], results["malformed"], results["answers"]) == (pytest.approx(5 / 6), pytest.approx(1 / 6), 6)
    assert results["problems"] == {"no_answer": 1, "no_think": 1}
    assert results["left_out"] == {"it has no text": 2}
    assert results["unreadable"] == {"n": 0, "questions": {}}
    groups = {name: (part["n"], part["scores"]["iou"]["mean"]) for name, part in results["by_category"].items()}
    assert groups == {"lesion": (3, pytest.approx(4 / 9)), "liver": (3, 1)}
    assert results["by_supercategory"]["organ"]["scores"] == scores
    # All pictures are of one case each, asked together and greedily.
    assert [(case, len(texts), samples) for case, texts, samples, _ in model.asked] == [(c, 2, 1) for c in "abc"]
    assert all(how == Sampling(temperature=0.0, seed=0) for *_, how in model.asked)
    assert seen == [0, 2, 4, 6]


def test_a_row_says_what_was_meant_and_what_was_answered(tmp_path):
    evaluate(Model(mixed), Suite(), Boxes(), tmp_path)
    rows = rows_of(tmp_path)
    assert {key: rows[1][key] for key in ("id", "case", "patient", "category", "supercategory", "question", "unreadable")} == {
        "id": "q1",
        "case": "a",
        "patient": "pa",
        "category": "lesion",
        "supercategory": "organ",
        "question": "Which, 1?",
        "unreadable": None,
    }
    assert rows[1]["target"] == {"box": [4, 2, 8, 6], "points": [[4.75, 2.75], [4.75, 4.75]]}
    (answer,) = rows[1]["answers"]
    assert (answer["box"], answer["points"]) == ([6, 2, 10, 6], [[12, 2], [12, 4]])
    assert (answer["malformed"], answer["problems"], answer["probability"]) == (False, [], pytest.approx(0.25))
    assert answer["trace"]["raw_text"] == half()
    assert answer["trace"]["tokens"] is None
    (nothing,) = rows[3]["answers"]
    assert (nothing["box"], nothing["points"], nothing["malformed"]) == (None, [], True)


@pytest.mark.parametrize("torn", [b"", b'{"id": "q2", "case'])
def test_going_on_after_a_kill(tmp_path, torn):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    evaluate(Model(mixed), Suite(), Boxes(), whole)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Model(mixed, dies_after=1), Suite(), Boxes(), killed)
    assert len(rows_of(killed)) == 2
    kept = (killed / "rows.jsonl").read_bytes()
    # One of the two answers of a picture may be all that was written; the other is asked again, alone.
    first = kept.splitlines(keepends=True)[0]
    (killed / "rows.jsonl").write_bytes(first + torn)
    model = Model(mixed)
    found = evaluate(model, Suite(), Boxes(), killed)
    assert [(case, texts) for case, texts, *_ in model.asked] == [
        ("a", ["Which, 1?"]),
        ("b", ["Which, 2?", "Which, 3?"]),
        ("c", ["Which, 4?", "Which, 5?"]),
    ]
    for name in ("rows.jsonl", "results.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    again = Model(mixed)
    assert evaluate(again, Suite(), Boxes(), killed).results == found.results
    assert again.asked == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    evaluate(Model(mixed), Suite(), Boxes(), tmp_path)
    before = (tmp_path / "rows.jsonl").read_bytes()
    for how in (
        GroundingSettings(seed=1),
        GroundingSettings(weights="f" * 64),
        GroundingSettings(temperature=0.5),
        GroundingSettings(count=2),
    ):
        with pytest.raises(FormatError, match="another"):
            evaluate(Model(mixed), Suite(), Boxes(), tmp_path, settings=how)
    other = Boxes()
    other.name = "other"
    with pytest.raises(FormatError, match="expert"):
        evaluate(Model(mixed), Suite(), other, tmp_path)
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    (tmp_path / "rows.jsonl").write_text('{"id": "q0"}\n')
    with pytest.raises(FormatError, match="broken"):
        evaluate(Model(mixed), Suite(), Boxes(), tmp_path)


def test_what_cannot_be_read_is_counted_and_scored_by_nobody(tmp_path):
    model = Model(right)
    found = evaluate(model, Suite(broken=("a",), blind=("q2",)), Boxes(), tmp_path)
    results = found.results.to_json()
    assert (results["n"], results["patients"], results["scores"]["iou"]["mean"]) == (3, 2, 1)
    assert results["unreadable"] == {
        "n": 3,
        "questions": {"q0": "'a' is damaged.", "q1": "'a' is damaged.", "q2": "its mask is empty."},
    }
    assert [(case, texts) for case, texts, *_ in model.asked] == [("b", ["Which, 3?"]), ("c", ["Which, 4?", "Which, 5?"])]
    assert [row["id"] for row in rows_of(tmp_path)] == [f"q{n}" for n in range(6)]
    assert rows_of(tmp_path)[2] | {"question": ""} == {
        **{"id": "q2", "case": "b", "patient": "pb", "category": "liver", "supercategory": "organ", "question": ""},
        **{"unreadable": "its mask is empty.", "target": None, "scores": None, "answers": []},
    }
    again = Model(right)
    assert evaluate(again, Suite(broken=("a",), blind=("q2",)), Boxes(), tmp_path).results.to_json() == results
    assert again.asked == []
    mended = GroundingSettings(again=True)
    whole = evaluate(again, Suite(), Boxes(), tmp_path, settings=mended).results
    assert [(case, texts) for case, texts, *_ in again.asked] == [("a", ["Which, 0?", "Which, 1?"]), ("b", ["Which, 2?"])]
    assert whole == evaluate(Model(right), Suite(), Boxes(), tmp_path / "whole").results
    again.asked.clear()
    assert evaluate(again, Suite(), Boxes(), tmp_path, settings=mended).results == whole
    assert again.asked == []
    with pytest.raises(UniReasonError, match="none could be asked"):
        evaluate(Model(right), Suite(broken=tuple("abc")), Boxes(), tmp_path / "none")


def test_several_answers_are_means_and_tell_how_they_agree(tmp_path):
    def drawn(question, n):
        return right() if n < 2 else half() if question == "Which, 0?" else right()

    model = Model(drawn)
    how = GroundingSettings(samples=3, temperature=0.7, seed=5)
    results = evaluate(model, Suite(cases=1), Boxes(), tmp_path, settings=how).results.to_json()
    assert (model.asked[0][2], model.asked[0][3]) == (3, Sampling(temperature=0.7))
    first, _ = rows_of(tmp_path)
    assert first["scores"]["iou"] == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert [a["scores"]["iou"] for a in first["answers"]] == pytest.approx([1, 1, 1 / 3])
    assert results["scores"]["iou"] == {"mean": pytest.approx((7 / 9 + 1) / 2), "ci95_patients": None}  # one patient
    assert results["answers"] == 6
    agreement = results["calibration"]["agreement"]
    assert agreement["n"] == 2
    assert [own["mean"] for own in agreement["bins"]] == pytest.approx([(1 + 1 / 3 + 1 / 3) / 3, 1])
    assert [own["accuracy"] for own in agreement["bins"]] == [1, 1]
    probability = results["calibration"]["answer_probability"]
    assert (probability["n"], probability["auroc"]) == (6, 0.5)
    assert probability["bins"][0]["accuracy"] == pytest.approx(5 / 6)
    for samples, temperature in ((2, 0.0), (0, 0.0)):
        with pytest.raises(FormatError):
            GroundingSettings(samples=samples, temperature=temperature)


def test_every_sample_has_random_numbers_of_its_own_whatever_else_is_asked(tmp_path):
    def seeds(name, cases, seed):
        model = Model(right)
        evaluate(model, Suite(cases), Boxes(), tmp_path / name, settings=GroundingSettings(samples=2, temperature=1.0, seed=seed))
        return model.seeds

    many = seeds("many", 3, 5)
    assert len(set(many)) == len(many) == 12
    assert seeds("few", 1, 5) == many[:4]
    assert not set(seeds("other", 3, 6)) & set(many)


def test_a_missing_box_agrees_with_none(tmp_path):
    results = evaluate(
        Model(lambda question, n: "No." if n else right()),
        Suite(1),
        Boxes(),
        tmp_path,
        settings=GroundingSettings(samples=2, temperature=1.0),
    ).results.to_json()
    assert [own["mean"] for own in results["calibration"]["agreement"]["bins"]] == [0]
    assert (results["malformed"], results["found"]) == (0.5, 0.5)
    assert results["problems"] == {"no_answer": 2, "no_think": 2}


def test_fewer_questions(tmp_path):
    model = Model(right)
    found = evaluate(model, Suite(8), Boxes(), tmp_path, settings=GroundingSettings(count=4, seed=3))
    assert found.results.to_json()["n"] == len(found.entries) == found.results.to_json()["manifest"]["questions"] == 4
    assert [len(texts) for _, texts, *_ in model.asked] == [2, 2]  # whole pictures


def test_a_model_of_another_frame_is_refused(tmp_path):
    with pytest.raises(FormatError, match="frame"):
        evaluate(Model(right, frame=Frame(40, 20, 1, "image")), Suite(), Boxes(), tmp_path)


def test_places_of_the_picture_fit_any_frame(tmp_path):
    class Free(Suite):
        def entries(self):
            for entry in super().entries():
                yield replace(entry, tags={})

    wide = umrg.write("Here.", Box2D(16, 2, 32, 6), ((20.5, 2.75), (20.5, 4.75)))
    found = evaluate(Model(lambda *_: wide, frame=Frame(80, 10, 1, "image")), Free(1), Boxes(), tmp_path)
    assert found.results.to_json()["scores"]["iou"]["mean"] == found.results.to_json()["scores"]["dice_both"]["mean"] == 1
    assert found.results.to_json()["scores"]["pdice"]["mean"] == pytest.approx(1)
    assert found.results.to_json()["by_category"] == {}


def test_examples_are_the_worst_and_the_best_with_their_masks(tmp_path):
    suite = Suite()
    found = evaluate(Model(mixed), suite, Boxes(), tmp_path)
    worst, best = examples(found, suite, Boxes(), SimpleNamespace(stack=lambda case: case.source.name))
    # q3 said nothing and q1 was moved; at most two of one category.
    assert [(one.row["id"], one.stack) for one in worst][:2] == [("q3", "b"), ("q1", "a")]
    assert not {one.row["id"] for one in worst} & {one.row["id"] for one in best}
    assert worst[0].mask is None
    assert (worst[1].truth.mask & worst[1].mask).sum() == 32
    assert worst[1].row is found.rows["q1"]
    assert np.array_equal(best[0].mask, best[0].truth.mask)
    taken = Counter(one.row["category"] for one in (*worst, *best))
    assert max(taken.values()) <= 4  # two of a category among the worst, two among the best


def test_the_tokens_of_an_answer_are_passed_on_and_kept_in_mind():
    assert GroundingSettings(max_new_tokens=700).asking["max_new_tokens"] == 700
    assert "max_new_tokens" not in GroundingSettings().asking  # the profile's own
    with pytest.raises(FormatError, match="tokens"):
        GroundingSettings(max_new_tokens=0)
