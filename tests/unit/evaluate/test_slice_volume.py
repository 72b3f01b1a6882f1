"""Slice-volume consistency: scripted looks with known overlaps on volumes of awkward geometry, missing looks, going on after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.types import Box2D, Box3D, Case, Frame, Geometry, Look, LookStep, Source, Trace
from unireason.data.frames import FrameRule
from unireason.data.item import Item, Layer, Loaded
from unireason.engine.case import prepare_case, start_session
from unireason.engine.reasoner import Reasoner
from unireason.evaluate.consistency import OTHERS, ConsistencyRow, Volumes, evaluate, pairs, place, structures, summary, targets
from unireason.evaluate.store import AskSettings
from unireason.evaluate.suites.base import Entry
from unireason.evaluate.suites.built import BuiltSuite
from unireason.imaging.geometry import volume_geometry

KIDNEY, SPECK = "left kidney", "lesion"
RULE = FrameRule(volume_shape=(4, 56, 56))
SIXTH = 1 / 6


def volume(patient, *, width=112):
    """8 x 56 x ``width``: the file runs k, i, j against or along other axes, and voxels are 0.5 x 2 x 3 mm.

    The kidney is largest on slice 3, and smaller than its cuboid there. The lesion is too small to be asked about in an image.
    """
    steps = np.diag([0.0, 0.0, 0.0, 1.0])
    steps[2, 0], steps[0, 1], steps[1, 2] = -3.0, -0.5, 2.0  # i runs to the feet, j to the right, k to the back
    labels = np.zeros((8, 56, width), np.uint8)
    s = width // 56
    labels[2, 10:20, 10 * s : 20 * s] = 1
    labels[3, 10:30, 10 * s : 18 * s] = 1
    labels[4:6, 10:15, 10 * s : 12 * s] = 1
    labels[6, 40:43, 5 * s : 5 * s + 3] = 2
    geometry = volume_geometry((8, width, 56), steps)
    assert geometry.shape == labels.shape
    assert geometry.flips == (True, False, True)
    assert geometry.spacing_mm == (0.5, 2.0, 3.0)
    pixels = labels.astype(np.int16) * 100
    case = Case(pixels, "volume", geometry, "CT", Source(patient, "npy", patient))
    item = Item(patient, patient, "volume", "", (), (KIDNEY, SPECK), "CT")
    return Loaded(item, case, (Layer(labels, {1: KIDNEY, 2: SPECK}),))


def entry(patient, name=KIDNEY, part=""):
    look = Look(name, Box3D(10, 10, 1, 20, 30, 3))
    question = f"On which side is the {name} of {patient}?"
    return Entry(f"q-{patient}{part}", patient, patient, question, ("left", "right"), ("left",), "A", {}, (look,))


class Suite:
    """Three patients, one question each, and for the first one a second question."""

    name, rule, frame = "scripted", "the letter", RULE

    def __init__(self, broken=(), without=()):
        self.loads, self.broken, self.without = [], broken, without

    def entries(self):
        every = [entry("p0"), entry("p0", SPECK, "b"), entry("p1"), entry("p2")]
        return (one for one in every if one.case not in self.without)

    def read(self, case):
        raise AssertionError("volumes come with their masks")

    def load(self, cases):
        for name in cases:
            self.loads.append(name)
            yield (
                name,
                ImageReadError(f"{name} is broken") if name in self.broken else volume(name, width=56 if name == "p1" else 112),
            )


def said(name, box):
    return f"<think>The {name} lies at <|box_start|>{box}<|box_end|> so</think>A. left<|im_end|>"


ANSWERS = {
    # The volume is seen as 56 x 56 x 4, the slice as 112 x 56 (of p1: 56 x 56).
    ("p0", "volume"): said(KIDNEY, "[12,10,1,20,30,3]"),
    ("p0", "image"): said(KIDNEY, "[20,14,36,30]"),
    ("p1", "volume"): said(KIDNEY, "[6,10,1,14,30,3]"),
    ("p1", "image"): said("right kidney", "[10,10,18,30]"),
    ("p2", "volume"): "<think>I know</think>A. left<|im_end|>",
    ("p2", "image"): said(KIDNEY, "[20,10,36,30]"),
}


class HaltError(Exception):
    pass


class Engine:
    """Says what is written for a patient, through real sessions. A slice is that of the volume asked about before."""

    def __init__(self, halt=""):
        self.checkpoint = tiny.checkpoint(max_pixels=112 * 56)
        self.patient, self.halt, self.asked = "", halt, []

    def encode(self, stack):
        return prepare_case(self.checkpoint, stack)

    def generate(self, requests, sampling=None, *, on_token=None):
        return [self.one(request) for request in requests]

    def one(self, request):
        prompt = self.checkpoint.tokenizer.decode([t for t in request.prompt if t < 256])
        kind = request.case.stack.kind
        if kind == "volume":
            self.patient = prompt.split("?")[0].split()[-1]
        else:
            assert KIDNEY in prompt
            assert any(word in prompt for word in ("image", "picture"))
        if self.halt == self.patient:
            raise HaltError
        self.asked.append((self.patient, kind))
        session = start_session(self.checkpoint, request)
        for token in tiny.spell(ANSWERS[self.patient, kind]):
            if session.finish is None:
                session.feed(token)
        return session


def run(folder, suite=None, *, halt="", progress=None, **how):
    engine, suite = Engine(halt), suite or Suite()
    found = evaluate(Reasoner(engine.checkpoint, engine=engine), suite, folder, settings=AskSettings(**how), progress=progress)
    return found, engine, suite


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run(tmp_path_factory.mktemp("consistency"))[0]


def test_looks_are_compared_in_canonical_voxels(found):
    """Slice look 16 x 16, cuboid's projection 16 x 20, 12 x 16 in common: 192 of 384."""
    pair = found.pairs[0]
    row = pair.row
    assert row.slice == 3
    assert row.true_rectangle == (20, 10, 36, 30)
    assert row.true_cuboid == (20, 10, 2, 40, 30, 6)
    assert row.rectangle == (20, 14, 36, 30)
    assert row.cuboid == (24, 10, 2, 40, 30, 6)
    assert pair.agreement == pytest.approx(0.5)
    assert pair.slice_to_truth == pytest.approx(256 / 320)
    assert pair.volume_to_truth == pytest.approx(320 / 400)
    assert pair.cuboid_to_truth == pytest.approx(320 / 400)
    assert pair.ceiling == pytest.approx(320 / 400)
    assert pair.crossed


def test_a_cuboid_of_another_patient_is_brought_to_the_own_picture(found):
    """p1 is half as wide: its 6..14 of 56 voxels are 12..28 of 112; 8 x 16 of 448 in common with the look at p0's slice."""
    assert found.pairs[0].other_patient == pytest.approx(128 / 448)
    assert [pair.other_patient for pair in found.pairs[1:]] == [0.0, 0.0]


def test_missing_looks_count_as_zero_and_are_told(found):
    """p1 names another structure on its slice, p2 does not look at its volume; the lesion is too small on its slice."""
    results = found.results.to_json()
    assert [pair.row.both for pair in found.pairs] == [True, False, False]
    assert (results["n"], results["patients"], results["left_out"]) == (3, 3, 1)
    assert results["agreement"]["mean_iou"] == pytest.approx(SIXTH)
    assert results["agreement"]["at_50"] == pytest.approx(1 / 3)
    assert results["looked"] == {"slice": pytest.approx(2 / 3), "volume": pytest.approx(2 / 3), "both": pytest.approx(1 / 3)}
    assert results["slice_to_truth"]["mean_iou"] == pytest.approx((0.8 + 0 + 1) / 3)
    # p1's 6..14 against 10..20: 4 of 14 columns, the same rows and slices.
    assert results["volume_to_truth"]["mean_iou"] == pytest.approx((0.8 + 4 / 14 + 0) / 3)
    assert results["crossed"] == 1.0
    whole = results["conditional"]
    assert (whole["n"], whole["patients"]) == (1, 1)
    assert whole["agreement"] == {"mean_iou": pytest.approx(0.5), "ci95_patients": None, "at_50": 1.0, "n": 1}
    assert results["above_other_patient"]["difference"] == pytest.approx(SIXTH - 128 / 448 / 3)
    assert list(results["by_structure"]) == [KIDNEY]
    assert results["manifest"]["kind"] == "consistency"


def test_a_killed_measurement_goes_on(found, tmp_path):
    with pytest.raises(HaltError):
        run(tmp_path, halt="p2")
    with (tmp_path / "rows.jsonl").open("ab") as stream:
        stream.write(b'{"id": "torn')
    again, engine, suite = run(tmp_path)
    assert engine.asked == [("p2", "volume"), ("p2", "image")]
    assert suite.loads == ["p2"]
    assert again.results == found.results
    assert [pair.row for pair in again.pairs] == [pair.row for pair in found.pairs]
    assert json.loads((tmp_path / "results.json").read_text()) == again.results.to_json()
    _, engine, suite = run(tmp_path)
    assert (engine.asked, suite.loads) == ([], [])


def test_a_volume_that_cannot_be_read_is_left_out_and_asked_again(found, tmp_path):
    told = []
    part, _, _ = run(tmp_path / "part", Suite(broken=["p1"]), skip=0.25, progress=lambda *done: told.append(done))
    without, _, _ = run(tmp_path / "without", Suite(without=["p1"]))
    assert part.results.to_json()["unreadable"] == {"n": 1, "questions": {"q-p1": "p1 is broken."}}
    assert part.results.to_json() | {"unreadable": 0, "manifest": 0} == without.results.to_json() | {
        "unreadable": 0,
        "manifest": 0,
    }
    assert (told[0], told[-1]) == ((0, 4), (4, 4))
    _, engine, suite = run(tmp_path / "part")
    assert (engine.asked, suite.loads) == ([], [])  # not by itself
    again, engine, suite = run(tmp_path / "part", again=True)
    assert suite.loads == ["p1"]
    assert engine.asked == [("p1", "volume"), ("p1", "image")]
    assert again.results == found.results


def test_too_many_volumes_that_cannot_be_read_stop_the_measurement(found, tmp_path):
    with pytest.raises(UniReasonError, match="1 of 4 questions cannot be asked; of 'p1': p1 is broken"):
        run(tmp_path, Suite(broken=["p1"]))
    again, _, suite = run(tmp_path)
    assert suite.loads == ["p1", "p2"]
    assert again.results == found.results


def test_reading_goes_on_behind_a_volume_that_cannot_be_read():
    class Phantoms:
        """Items of one volume each; the one in the middle is broken."""

        def items(self):
            return [volume(name).item for name in ("p0", "p1", "p2")]

        def load(self, item):
            if item.id == "p1":
                raise ImageReadError("p1 is broken")
            return volume(item.id)

    records = [SimpleNamespace(scene=SimpleNamespace(case=n), item=n, slice=-1, sha256="") for n in ("p0", "p1", "p2")]
    dataset = SimpleNamespace(cases=lambda: iter(records), source=lambda root: Phantoms())
    loaded = dict(Volumes(BuiltSuite(dataset, split=None)).load(["p2", "p0", "p1"]))
    assert list(loaded) == ["p2", "p0", "p1"]
    assert str(loaded["p1"]) == "p1 is broken."
    assert loaded["p2"].item.id == "p2"


def test_the_slice_is_chosen_by_the_mask_and_asked_about_by_name():
    loaded = volume("p")
    aims = targets(loaded, [KIDNEY, SPECK], RULE, case="p", seed=0)
    kidney, speck = aims[KIDNEY], aims[SPECK]
    assert (kidney.slice, kidney.rectangle, kidney.cuboid) == (3, Box2D(20, 10, 36, 30), Box3D(20, 10, 2, 40, 30, 6))
    assert KIDNEY in kidney.question.text
    assert sorted(kidney.question.options) == ["no", "yes"]
    assert (speck.slice, speck.question) == (6, None)
    assert targets(loaded, [], RULE, case="p", seed=0) == {}
    assert targets(loaded, [KIDNEY], RULE, case="p", seed=0) == {KIDNEY: kidney}
    with pytest.raises(FormatError, match="no mask of spleen"):
        targets(loaded, ["spleen"], RULE, case="p", seed=0)


def test_structures_that_are_compared():
    one = entry("p")
    assert structures(one) == (KIDNEY,)
    landmark = Look("spleen", Box3D(0, 0, 0, 4, 4, 2))
    absent = Look("right kidney", Box3D(0, 0, 0, 4, 4, 2), seen=False)
    more = replace(one, looks=(landmark, *one.looks, *one.looks, absent), options=("right kidney", "liver"))
    assert structures(more) == (KIDNEY,)
    assert structures(replace(more, options=("spleen", "liver"))) == ("spleen", KIDNEY)
    assert structures(replace(one, options=("[1,2,3,4,5,6]", "[2,2,3,4,5,6]"))) == ()
    assert structures(replace(one, question="What is at 1, 2, 30, 40? The left kidney?")) == ()
    assert structures(replace(one, looks=(Look(KIDNEY, Box2D(0, 0, 4, 4)),))) == ()
    assert structures(replace(one, question="Is the upper left kidneys' pole there?")) == ()


def trace(*looks, kind="image"):
    frame = Frame(28, 56, 1 if kind == "image" else 4, kind)
    return Trace("", (), tuple(LookStep("", box, label=label, executed=done) for label, box, done in looks), frame, "end_of_turn")


def test_the_look_of_a_structure():
    geometry = Geometry((112, 112), (112, 112), (0, 1), (False, False))
    loose, exact = ("swollen left kidney", (0, 0, 7, 14), True), ("Left Kidney", (7, 7, 14, 28), True)
    other = ("kidney", (1, 1, 9, 9), True)
    assert place(trace(other, loose, exact), KIDNEY, geometry) == (28, 14, 56, 56)
    assert place(trace(other, loose), KIDNEY, geometry) == (0, 0, 28, 28)
    assert place(trace(other), KIDNEY, geometry) is None
    assert place(trace((KIDNEY, (7, 7, 14, 28), False)), KIDNEY, geometry) is None
    assert place(trace((KIDNEY, (7, 7, 1, 14, 28, 2), True)), KIDNEY, geometry) is None
    blind = replace(trace((KIDNEY, (7, 7, 14, 28), False)), provenance={"crop_source": "none"})
    assert place(blind, KIDNEY, geometry) == (28, 14, 56, 56)
    late = replace(trace(exact), raw_text="<think>no</think>left kidney <|box_start|>[7,7,14,28]<|box_end|>")
    assert place(late, KIDNEY, geometry) is None


def row(patient, **more):
    values = {
        "id": f"q{patient}", "structure": KIDNEY, "case": patient, "patient": patient, "question": "?", "slice_question": "?", "slice": 1,
        "size": (10, 10), "true_rectangle": (0, 0, 4, 4), "true_cuboid": (0, 0, 0, 4, 4, 4), "rectangle": (0, 0, 4, 4),
        "cuboid": (0, 0, 0, 4, 4, 4), "said": "", "slice_said": "",
    }  # fmt: skip
    return ConsistencyRow(**{**values, **more})


def test_an_atlas_agrees_with_itself_and_has_nothing_beyond_other_patients():
    results = summary([row(f"p{n}") for n in range(20)], seed=0)
    assert results["agreement"]["mean_iou"] == results["other_patient"]["mean_iou"] == 1.0
    above, unseen = results["above_other_patient"], 1 - 0.025 ** (1 / 20)
    assert (above["difference"], above["n"]) == (0.0, 20)
    assert above["ci95_patients"] == pytest.approx([-unseen, unseen])


def test_other_patients_are_others_and_few():
    rows = [row("a", id="1"), row("a", id="2"), row("b", cuboid=None)]
    assert [pair.other_patient for pair in pairs(rows, seed=0)] == [None, None, 0.0]
    assert summary(rows, seed=0)["above_other_patient"]["n"] == 1
    # One of twenty is elsewhere: those for whom it is among the eight have 7/8.
    rows = [row(f"p{n}", cuboid=(5, 5, 0, 9, 9, 4) if n == 3 else (0, 0, 0, 4, 4, 4)) for n in range(20)]
    values = [pair.other_patient for pair in pairs(rows, seed=0)]
    assert sorted(values) == [1 - 1 / OTHERS] * OTHERS + [1.0] * (20 - OTHERS)


def test_one_patient_has_no_interval():
    """Resampled, it is always the same; two patients have one."""
    one = summary([row("a", id="1"), row("a", id="2", rectangle=None)], seed=0)
    assert (one["agreement"]["mean_iou"], one["agreement"]["ci95_patients"]) == (0.5, None)
    two = summary([row("a"), row("b", rectangle=None)], seed=0)
    assert two["agreement"]["ci95_patients"] == pytest.approx([0.0126, 0.9874], abs=1e-4)
    # Only b has a cuboid in another patient, so that one patient is compared.
    assert summary([row("a"), row("b", cuboid=None)], seed=0)["above_other_patient"]["ci95_patients"] is None


def test_nothing_to_sum_up():
    results = summary([row("a", slice_question="", rectangle=None)], seed=0)
    assert (results["n"], results["left_out"], results["by_structure"]) == (0, 1, {})
    assert results["agreement"] == {"mean_iou": None, "ci95_patients": None, "at_50": None, "n": 0}
    assert results["looked"] == {"slice": None, "volume": None, "both": None}
    json.dumps(results)


def test_a_suite_without_masks_is_refused():
    with pytest.raises(FormatError, match="has no masks"):
        Volumes(Suite())
