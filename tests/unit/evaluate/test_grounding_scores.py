"""Scores of answers to implicit questions: hand-computed, with an expert that returns the box; examinations; means and intervals."""

from __future__ import annotations

import json
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.grounding import compare, summary, table, table_by
from benchmarks.paired import gains

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box2D, Case, Frame, Geometry, Source, Trace
from unireason.data.frames import rule
from unireason.data.item import Item, Layer, Loaded
from unireason.data.scene import IMPLICIT
from unireason.evaluate.heldout import held_out_implicit, make_grounding_exam
from unireason.evaluate.pointing import SCORES, evaluate, measure
from unireason.evaluate.suites.grounding import BuiltImplicitSuite, Truth
from unireason.grounding import answer as umrg
from unireason.segment.expert import checked, finished

FRAME = Frame(20, 10, 1, "image")
SHAPE = (20, 40)  # two canonical pixels for each of the model
STEPS = (1.0, 2.0)
TRUE = Box2D(4, 2, 8, 6)  # columns 8 to 16, rows 4 to 12 of the array
POINTS = ((5, 3), (5, 5))


class Literal:
    """Returns the box itself; without one, the canonical pixels in which the points lie; nothing if it is to be blind."""

    name = "literal"

    def __init__(self, *, blind=False):
        self.blind, self.calls = blind, []

    def segment(self, case, prompts):
        self.calls.append(list(prompts))
        return [finished(self._mask(case, checked(case, prompt)), 1.0) for prompt in prompts]

    def _mask(self, case, prompt):
        mask = np.zeros(case.geometry.shape, bool)
        if self.blind:
            return mask
        if prompt.box is None:
            for x, y in prompt.points:
                mask[min(int(y), mask.shape[0] - 1), min(int(x), mask.shape[1] - 1)] = True
        else:
            x1, y1, x2, y2 = (round(v) for v in prompt.box.coords)
            mask[y1:y2, x1:x2] = True
        return mask


def loaded(*, spacing=STEPS):
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:12, 8:16] = 3
    labels[14:18, 30:40] = 5
    geometry = Geometry(SHAPE, SHAPE[::-1], (0, 1), (False, False), spacing_mm=spacing)
    case = Case(np.zeros(SHAPE, np.uint8), "image", geometry, "CT", Source("a", "png", ""))
    item = Item("a", "p", "image", "a.png", (), ("liver", "spine"))
    return Loaded(item, case, (Layer(labels, {3: "Liver", 5: "spine"}),))


def trace(text, frame=FRAME):
    return Trace("Which?", (), (), frame, "end_of_turn", raw_text=text)


def answer(box=TRUE, points=POINTS):
    return trace(umrg.write("Here.", box, points))


def scored(*traces, expert=None, **how):
    return [g.scores for g in measured(traces, expert or Literal(), loaded(**how))]


def measured(traces, expert, item, **how):
    meant = Truth(TRUE, POINTS, item.layers[0].labels == 3, (FRAME.width, FRAME.height))
    return measure(item.case, [(meant, one) for one in traces], expert, **how)


def test_the_truth_scores_everything():
    (found,) = scored(answer())
    assert tuple(found) == SCORES
    # Of the points the expert makes one pixel each: 2 * 2 / (2 + 64).
    expected = {"iou": 1, "pdice": 1, "dice_points": 4 / 66, "dice_box": 1, "dice_both": 1, "nsd": 1, "hd95_mm": 0, "found": 1}
    assert found == pytest.approx(expected | {"pdice_released": 2}, abs=1e-5)


def test_an_answer_moved_by_half_its_width_by_hand():
    (found,) = scored(answer(Box2D(6, 2, 10, 6), ((7, 3), (7, 5))), expert=Literal())
    assert found["iou"] == pytest.approx(8 / 24)
    assert found["dice_box"] == found["dice_both"] == pytest.approx(0.5)
    # The circles of radius 1 with centres 2 apart touch.
    assert found["pdice"] == found["pdice_released"] == 0
    assert found["dice_points"] == pytest.approx(2 * 2 / (2 + 64))
    # Four columns of 1 mm: the left contour of the truth lies 4 mm away, the right one inside the other mask up to 4 mm.
    assert found["hd95_mm"] == pytest.approx(4)
    assert 0 < found["nsd"] < 1


def test_spacing_and_tolerance_are_millimetres():
    moved = answer(Box2D(4, 3, 8, 7))  # two rows of 2 mm
    assert scored(moved)[0]["hd95_mm"] == pytest.approx(4)
    assert scored(moved, spacing=None)[0]["hd95_mm"] == pytest.approx(2)
    strict, wide = (measured([moved], Literal(), loaded(), tolerance_mm=tolerance)[0].scores["nsd"] for tolerance in (0.5, 4.0))
    assert strict < 0.7 < wide == 1


NOTHING = {"iou": 0, "pdice": 0, "pdice_released": 0, "dice_points": 0, "dice_box": 0, "dice_both": 0, "nsd": 0, "found": 0}
FAR = math.hypot(40 * 1.0, 20 * 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I do not know.",
        "<think>a</think><answer>not JSON</answer>",
        '<think>a</think><answer>{"bbox": [1, 2, 3]}</answer>',
        '<think>a</think><answer>{"bbox": [100, 100, 200, 200], "points_1": [50, 50], "points_2": [-3, 2]}</answer>',
        '<think>a</think><answer>{"bbox": [8, 6, 4, 2], "points_1": [50, 50], "points_2": [60, 50]}</answer>',
    ],
)
def test_an_answer_that_points_nowhere_counts_as_nothing(text):
    expert = Literal()
    (found,) = scored(trace(text), expert=expert)
    assert found == NOTHING | {"hd95_mm": FAR}
    assert expert.calls == []


def test_what_is_there_of_an_answer_counts():
    box_alone, points_alone, one_point = (
        '<answer>{"bbox": [4,2,8,6]}</answer>',
        '<answer>{"points_1": [5,3], "points_2": [5,5]}</answer>',
        '<answer>{"bbox": [4,2,8,6], "points_1": [5,3], "points_2": [25,5]}</answer>',
    )
    a, b, c = scored(trace(box_alone), trace(points_alone), trace(one_point))
    assert (a["iou"], a["dice_box"], a["dice_both"], a["found"]) == (1, 1, 1, 1)
    assert (a["pdice"], a["dice_points"]) == (0, 0)
    assert (b["pdice"], b["dice_points"]) == (1, pytest.approx(4 / 66))
    assert (b["iou"], b["dice_box"], b["dice_both"], b["nsd"], b["found"], b["hd95_mm"]) == (0, 0, 0, 0, 0, FAR)
    assert (c["pdice"], c["dice_points"], c["dice_both"]) == (0, pytest.approx(2 / 65), 1)


def test_an_expert_that_finds_nothing():
    (found,) = scored(answer(), expert=Literal(blind=True))
    assert (found["iou"], found["pdice"]) == (1, 1)
    assert (found["dice_points"], found["dice_box"], found["dice_both"], found["nsd"], found["found"]) == (0, 0, 0, 0, 0)
    assert found["hd95_mm"] == FAR


def test_the_expert_sees_all_prompts_of_a_case_at_once_in_canonical_places():
    expert = Literal()
    scored(answer(), trace(""), answer(Box2D(0, 0, 1, 1), ((0, 0), (19, 9))), expert=expert)
    (prompts,) = expert.calls
    assert [p.box.coords if p.box else None for p in prompts] == [
        None,
        (8, 4, 16, 12),
        (8, 4, 16, 12),
        None,
        (0, 0, 2, 2),
        (0, 0, 2, 2),
    ]
    assert [p.points != () for p in prompts] == [True, False, True] * 2
    assert prompts[0].points == prompts[2].points
    for (x, y), (mx, my) in zip(prompts[0].points, POINTS, strict=True):
        assert 2 * mx <= x <= 2 * mx + 2
        assert 2 * my <= y <= 2 * my + 2


def test_no_answers_need_no_expert():
    assert measured([], None, loaded()) == []


def graded(values):
    """Rows of four questions: (patient, category, super-category, IoU)."""
    same = dict.fromkeys(SCORES, 0.5)
    return [
        {"id": str(n), "patient": p, "category": c, "supercategory": s, **same, "iou": iou}
        for n, (p, c, s, iou) in enumerate(values)
    ]


FOUR = [
    ("p", "liver", "abdomen", 1.0),
    ("p", "spleen", "abdomen", 1.0),
    ("q", "liver", "abdomen", 0.0),
    ("r", "spine", "skeleton", 0.4),
]


def test_means_by_category_and_super_category():
    found = summary(graded(FOUR))
    assert (found["questions"], found["patients"]) == (4, 3)
    assert found["iou"]["mean"] == pytest.approx(0.6)
    assert list(found["by_supercategory"]) == ["abdomen", "skeleton"]
    assert found["by_supercategory"]["abdomen"]["iou"]["mean"] == pytest.approx(2 / 3)
    assert {name: (of["questions"], of["iou"]["mean"]) for name, of in found["by_category"].items()} == {
        "liver": (2, 0.5),
        "spine": (1, 0.4),
        "spleen": (1, 1.0),
    }
    assert found["dice_both"]["mean"] == 0.5
    assert found["dice_both"]["ci95"][0] < 0.5 < found["dice_both"]["ci95"][1]
    json.dumps(found, allow_nan=False)


def test_intervals_resample_patients_and_hold_the_mean():
    values = [(f"p{n // 4}", "liver", "abdomen", float(n // 4 % 2)) for n in range(80)]
    by_patient = summary(graded(values))["iou"]
    single = summary(graded([(str(n), *v[1:]) for n, v in enumerate(values)]))["iou"]
    for found in (by_patient, single):
        assert found["ci95"][0] < found["mean"] == 0.5 < found["ci95"][1]
    # Four like answers a patient tell no more than one: the interval is about twice as wide.
    ratio = np.diff(by_patient["ci95"])[0] / np.diff(single["ci95"])[0]
    assert 1.6 < ratio < 2.5


def test_nothing_asked_is_an_error():
    with pytest.raises(UniReasonError):
        summary([])


def test_tables():
    models = {"ours | new": summary(graded(FOUR)), "start": summary(graded(FOUR[:1]))}
    lines = table(models).splitlines()
    assert lines[0].startswith("| Model | Questions | IoU | pDice |")
    assert lines[2].startswith("| ours \\| new | 4 | 60.00 (")
    assert lines[3].startswith("| start | 1 | 100.00 | 50.00 |")
    assert "| 0.50 | 50.00 |" in lines[3]  # millimetres, then the share of masks found
    groups = table_by(models, "supercategory").splitlines()
    assert groups[0].startswith("| Super-category | Model | Questions | IoU |")
    assert groups[2].startswith("| abdomen | ours \\| new | 3 | 66.67 | 50.00 |")
    assert groups[5].startswith("| skeleton | start | 0 | - | - |")
    assert len({line.count(" | ") for line in groups}) == 1
    assert table_by(models, "category").splitlines()[0].startswith("| Category | Model |")
    with pytest.raises(UniReasonError):
        table({})


def test_runs_are_compared_pairwise(tmp_path):
    better = [row | {"iou": row["iou"] / 2 + 0.5} for row in graded(FOUR)]
    for name, rows in (("start", graded(FOUR)), ("run", better), ("other", graded(FOUR[:2]))):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    found = compare(tmp_path / "start.json", [tmp_path / "run.json"])
    assert found["gain"]["iou"]["runs"][0]["difference"] == pytest.approx(0.2)
    low, high = found["gain"]["iou"]["mean"]["ci95"]
    assert low < 0.2 < high
    assert found["gain"]["dice_both"]["mean"] == {"difference": 0, "ci95": [-1, 1]}
    assert list(found["models"]) == ["start", "run"]
    assert found["tables"]["all"].count("\n") == 4
    assert compare(tmp_path / "start.json", [])["gain"] == {}
    for runs in (["other"], ["start"]):
        with pytest.raises(SystemExit):
            compare(tmp_path / "start.json", [tmp_path / f"{name}.json" for name in runs])


def test_gains_resample_patients():
    base = [{"iou": 0.0, "patient": f"p{n // 4}"} for n in range(80)]
    run = [{"iou": float(n // 4 % 2)} for n in range(80)]
    (by_patient,), (single,) = (
        gains(rows, [run], "iou")["runs"] for rows in (base, [row | {"patient": n} for n, row in enumerate(base)])
    )
    assert by_patient["difference"] == single["difference"] == 0.5
    assert 1.6 < np.diff(by_patient["ci95"])[0] / np.diff(single["ci95"])[0] < 2.5


# --- an examination


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return make_grounding_exam(3, 20, tmp_path_factory.mktemp("exam") / "a")


class Knowing:
    """Answers with the true box and points, or says nothing."""

    def __init__(self, dataset, *, silent=False, frame=None):
        self.known = {(s.patient, s.question.text): s for s in dataset.samples()}
        self.silent, self.frame, self.calls = silent, frame, []
        profile, ids = SimpleNamespace(name="w", sha256="0"), SimpleNamespace(think_end=0)
        named = {"name": "m", "sha256": "abc", "hashed": "all", "dtype": "f", "versions": {}, "scope": None}
        self.checkpoint = SimpleNamespace(profile=profile, grounding=profile, ids=ids, **named)

    def ground_many(self, case, questions, *, samples=1, sampling=None):
        self.calls.append(case)
        patient = case.source.name.rsplit("-", 1)[0]  # behind it stands the number of the slice
        frame = self.frame or rule("phantom").frame(case.geometry.shape)
        return [[self._answer(self.known[patient, q.text], frame)] * samples for q in questions]

    def _answer(self, record, frame):
        return trace("" if self.silent else record.response, frame)


def test_an_examination_of_implicit_questions(exam):
    samples = list(exam.samples())
    assert len(samples) >= 60
    assert {s.question.family for s in samples} == {IMPLICIT}
    assert all(s.patient.startswith("phantom-exam-3-") for s in samples)
    chosen = held_out_implicit(exam, 20)
    shares = Counter(s.category for s in chosen)
    offered = Counter(s.category for s in samples)
    assert len(chosen) == 20
    assert all(n in (max(shares.values()), max(shares.values()) - 1) or n == offered[name] for name, n in shares.items())
    assert set(shares) == set(offered)
    assert len(held_out_implicit(exam, 10_000)) == len(samples)
    for count in (0, -1):
        with pytest.raises(FormatError):
            held_out_implicit(exam, count)


def test_the_suite_brings_the_mask_of_the_slice(exam):
    suite, records = BuiltImplicitSuite(exam, split=None, count=10), {record.scene.case: record for record in exam.cases()}
    for entry in suite.entries():
        truth, scene = suite.truth(entry), records[entry.case].scene
        assert truth.mask.shape == suite.read(entry.case).pixels.shape == scene.shape
        assert np.count_nonzero(truth.mask) == scene.structures[entry.tags["category"]].voxels


def asked(exam, folder, expert=None, **how):
    model = Knowing(exam, **how)
    done = []
    found = evaluate(model, BuiltImplicitSuite(exam, split=None, count=20), expert or Literal(), folder, progress=done.append)
    return found.results, done, model


def test_one_that_knows_the_truth(exam, tmp_path):
    found, done, model = asked(exam, tmp_path)
    means = {name: own.mean for name, own in found.scores.items()}
    assert found.n == 20 == done[-1]
    assert len(model.calls) == len(done) - 1  # a call a picture, and what was there before
    assert (means["iou"], means["pdice"], means["found"]) == (1, pytest.approx(1), 1)
    assert 0.5 < means["dice_both"] < 0.95  # the box is not the mask
    assert 0 < means["hd95_mm"] < 60


def test_one_that_says_nothing(exam, tmp_path):
    found, _, _ = asked(exam, tmp_path, silent=True)
    assert [found.scores[name].mean for name in SCORES if name != "hd95_mm"] == [0] * 8
    assert found.scores["hd95_mm"].mean > 300


def test_a_model_of_another_frame_is_refused(exam, tmp_path):
    with pytest.raises(FormatError, match="frame"):
        asked(exam, tmp_path, frame=Frame(56, 56, 1, "image"))
