"""Held-out questions: which are chosen, about whom, and how answers and looks are scored."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import AnswerStep, Box2D, Box3D, Case, Crop, Frame, Geometry, Look, LookStep, Source, Trace
from unireason.data.item import Item, Loaded
from unireason.data.reader import DatasetReader
from unireason.data.records import SampleRecord
from unireason.data.scene import FAMILIES, IMPLICIT, DataQuestion
from unireason.data.sources.phantom import EXAM_STREAM, TRAINING_STREAM, generate
from unireason.evaluate.examination import examine
from unireason.evaluate.heldout import held_out, make_exam

IMAGE, VOLUME = Frame(112, 112, 1, "image"), Frame(56, 56, 16, "volume")
CROP = Crop((0, 0, 4, 4), 0, np.zeros((4, 4), np.uint8))
NUMBERS = itertools.count()
GREY, PLAIN = np.zeros((4, 4), np.uint8), Geometry((4, 4), (4, 4), (0, 1), (False, False))


def sample(family, looks=(), answer=0, options=("yes", "no"), kind="image", name=""):
    question = DataQuestion(family, "present", ("x",), "Is it?", options, answer, (), ("liver", "heart", "spleen"))
    name = name or f"{next(NUMBERS):04d}"
    return SampleRecord(name, f"case of {name}", "p", "train", kind, question, (*looks, "It is."), "template/2")


def trace(choice, boxes, frame=IMAGE):
    looks = tuple(LookStep("", b, slices=(0,) if done else (), crops=(CROP,) if done else (), executed=done) for b, done in boxes)
    return Trace("Is it?", ("yes", "no"), (*looks, AnswerStep(choice or "", choice)), frame, "end_of_turn")


def stored(samples):
    """A data set that holds these samples."""
    return SimpleNamespace(samples=lambda split: iter(samples), folder=SimpleNamespace(name="stored"))


class Knowing:
    """Answers everything right and looks where the truth is; or always says A and looks nowhere."""

    def __init__(self, dataset, *, stubborn=False, frame=None):
        self.known = {(s.patient, s.kind, s.question.text, s.question.options): s for s in dataset.samples()}
        self.stubborn, self.frame, self.calls = stubborn, frame, []
        profile, ids = SimpleNamespace(name="w", sha256="0"), SimpleNamespace(think_end=0)
        named = {"name": "m", "sha256": "abc", "hashed": "all", "dtype": "f", "versions": {}, "scope": None}
        self.checkpoint = SimpleNamespace(profile=profile, grounding=profile, ids=ids, **named)

    def encode(self, case):
        frame = self.frame or (VOLUME if case.kind == "volume" else IMAGE)
        grid, native = SimpleNamespace(grid_thw=()), np.zeros(1)
        return SimpleNamespace(frame=frame, prepared=grid, stack=SimpleNamespace(native=native))

    def ask_cases(self, asked, **how):
        return [[[replace(self._asked(case, q), options=q.options)] for q in questions] for case, _, questions in asked]

    def _asked(self, case, question):
        self.calls.append(case)
        patient = case.source.name[: len("phantom-exam-3-00000")]  # a slice's name goes on with its number
        return self._answer(self.known[patient, case.kind, question.text, question.options])

    def _answer(self, record):
        if self.stubborn:
            return trace("A", [])
        boxes = [(p.box.coords, True) for p in record.reasoning if isinstance(p, Look)]
        return trace(record.question.letter, boxes, VOLUME if record.kind == "volume" else IMAGE)


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return make_exam(3, 12, tmp_path_factory.mktemp("exam") / "a")


class Four:
    """A data set of four questions, and a model with an answer to each."""

    liver, heart = Look("liver", Box2D(0, 0, 10, 10)), Look("heart", Box2D(20, 20, 30, 30))
    unseen, lead = Look("spleen", Box2D(0, 0, 5, 5), seen=False), Look("stomach", Box2D(40, 40, 50, 50))
    asked = (
        # right, both looks there in another order, after a false lead that nobody must follow: IoU 1 and 0.5
        (sample(FAMILIES[0], [lead, liver, heart]), trace("A", [((20, 20, 30, 25), True), ((0, 0, 10, 10), True)])),
        # wrong, second look missing: IoU 1 and 0
        (sample(FAMILIES[0], [liver, heart]), trace("B", [((0, 0, 10, 10), True)])),
        # right, the place of a missing structure is no truth
        (sample(FAMILIES[2], [unseen]), trace("A", [((0, 0, 5, 5), True)])),
        # no answer, nothing shown for the box: IoU 0.5, no crop; a box outside of the frame cannot be cut
        (sample(FAMILIES[2], [liver], options=("a", "b", "c", "d")), trace(None, [((0, 0, 10, 5), False), ((500, 0, 510, 10), False)])),
        # a flat box on a volume scores nothing
        (sample(FAMILIES[0], [Look("liver", Box3D(0, 0, 0, 4, 4, 2))], kind="volume"), trace("A", [((0, 0, 4, 4), True)])),
    )  # fmt: skip

    folder, manifest = SimpleNamespace(name="four"), {}

    def samples(self, split=None):
        return iter([own for own, _ in self.asked])

    def cases(self, split=None):
        for own, said in self.asked:
            scene = SimpleNamespace(case=own.case, structures={}, absent=(), modality="CT", frame=said.frame, described=False)
            yield SimpleNamespace(scene=scene, item=own.case, slice=-1, sha256="")

    def source(self, root=None):
        return SimpleNamespace(
            items=lambda: [Item(own.case, "p", "image", "", (), (), "CT") for own, _ in self.asked],
            load=lambda item: Loaded(item, Case(GREY, "image", PLAIN, "CT", Source(item.id, "npy", "0")), ()),
        )


class Says(Knowing):
    """Gives the answers of ``Four``."""

    def _asked(self, case, question):
        return next(said for own, said in Four.asked if own.case == case.source.name)


def test_hand_computed_scores(tmp_path):
    found = examine(Says(Four()), Four(), tmp_path, kind="image", count=9).scores
    assert found["n"] == 4
    assert found["accuracy"] == 0.5
    assert found["mean_box_iou"] == pytest.approx((1 + 0.5 + 1 + 0 + 0.5) / 5)
    assert found["crop_rate"] == 0.75
    assert found["chance"] == pytest.approx(0.4375)
    assert found["by_family"][FAMILIES[0]]["mean_box_iou"] == pytest.approx(2.5 / 4)
    low, high = found["accuracy_ci95"]
    assert low == pytest.approx(0.1500, abs=1e-3)
    assert high == pytest.approx(0.8500, abs=1e-3)


def test_a_flat_box_on_a_volume_scores_nothing(tmp_path):
    assert examine(Says(Four(), frame=IMAGE), Four(), tmp_path, kind="volume", count=9).scores["mean_box_iou"] == 0


def test_families_have_equal_shares_and_the_first_get_the_remainder():
    data = [sample(family) for family in FAMILIES for _ in range(9)]
    shares = Counter(s.question.family for s in held_out(stored(data), "image", 20))
    assert [shares[f] for f in FAMILIES] == [4, 4, 3, 3, 3, 3]


def test_what_a_rare_family_lacks_goes_to_the_others():
    counts = dict(zip(FAMILIES, (9, 1, 9, 0, 3, 9), strict=True))
    data = [sample(family) for family, count in counts.items() for _ in range(count)]
    shares = Counter(s.question.family for s in held_out(stored(data), "image", 20))
    assert [shares[f] for f in FAMILIES] == [6, 1, 5, 0, 3, 5]
    assert len(held_out(stored(data), "image", 1000)) == 31


def test_only_questions_with_options_of_the_kind_are_asked_whatever_their_order():
    data = [sample(family, kind=kind) for family in FAMILIES for kind in ("image", "volume") for _ in range(3)]
    data += [sample(IMPLICIT, options=(), answer=-1) for _ in range(3)]
    chosen = held_out(stored(data), "volume", 12)
    assert {s.kind for s in chosen} == {"volume"}
    assert [data.index(s) for s in chosen] == sorted(data.index(s) for s in chosen)
    assert {s.id for s in held_out(stored(data[::-1]), "volume", 12)} == {s.id for s in chosen}
    assert len(held_out(stored(data), "image", 100)) == 18


def test_few_cases_are_asked_many_questions(exam):
    chosen = held_out(exam, "volume", 12)
    assert len({s.case for s in chosen}) <= 7
    assert max(Counter(s.question.family for s in chosen).values()) == 2


def test_bad_requests(tmp_path):
    data = stored([sample(FAMILIES[0])])
    with pytest.raises(FormatError):
        held_out(data, "image", 0)
    with pytest.raises(UniReasonError, match="no question"):
        held_out(data, "volume", 1)
    for seed, questions in ((-1, 6), (0, 0)):
        with pytest.raises(FormatError):
            make_exam(seed, questions, tmp_path / "exam")


def test_patients_of_an_examination_are_in_no_training_set(exam):
    patients = {record.scene.patient for record in exam.cases()}
    assert len(patients) == 16
    assert all(name.startswith("phantom-exam-3-") for name in patients)
    source = exam.source()
    item = next(iter(source.items()))
    own = source.load(item).case.pixels
    assert np.array_equal(own, generate(3, 0, stream=EXAM_STREAM).voxels)
    for stream in (0, TRAINING_STREAM):
        theirs = generate(3, 0, stream=stream).voxels
        assert theirs.shape != own.shape or not np.array_equal(theirs, own)


def test_an_examination_is_the_same_each_time_and_another_for_another_seed(exam, tmp_path):
    again, other = make_exam(3, 12, tmp_path / "b"), make_exam(4, 12, tmp_path / "c")
    assert again.manifest["content_sha256"] == exam.manifest["content_sha256"]
    assert {r.scene.patient for r in other.cases()}.isdisjoint(r.scene.patient for r in exam.cases())


def test_cases_are_those_that_the_records_describe(exam):
    records = {r.scene.case: r for r in exam.cases() if r.scene.patient.endswith(("00000", "00007"))}
    assert sorted(r.slice >= 0 for r in records.values()) == [False, False, True, True]
    reader = DatasetReader(exam)
    for name in (*records, next(iter(records))):  # also out of order
        record, case = records[name], reader.load(name).case
        voxels = generate(3, int(record.scene.patient[-5:]), stream=EXAM_STREAM).voxels
        assert case.kind == record.scene.kind
        assert np.array_equal(case.pixels, voxels if record.slice < 0 else voxels[record.slice])
    with pytest.raises(UniReasonError, match="no case"):
        reader.load("another")


def test_a_case_whose_file_has_changed_is_refused(exam):
    records = [replace(record, sha256="0" * 64) for record in exam.cases()]
    changed = SimpleNamespace(cases=lambda: iter(records), source=exam.source, folder=exam.folder)
    with pytest.raises(UniReasonError, match="changed"):
        DatasetReader(changed).load(records[0].scene.case)


@pytest.mark.parametrize("kind", ["image", "volume"])
def test_one_that_knows_the_truth_scores_everything(exam, kind, tmp_path):
    reasoner, done = Knowing(exam), []
    found = examine(reasoner, exam, tmp_path, kind=kind, count=12, progress=lambda *told: done.append(told))
    assert done[-1] == (12, 12)
    assert (found.scores["n"], found.scores["accuracy"], found.scores["mean_box_iou"], found.scores["crop_rate"]) == (12, 1, 1, 1)
    assert [one.case for one in found.answers] == reasoner.calls
    assert all(one.trace.answer.choice == one.row["letter"] for one in found.answers)


def test_one_that_always_says_a_scores_the_share_of_a(exam, tmp_path):
    found = examine(Knowing(exam, stubborn=True), exam, tmp_path, kind="volume", count=30)
    right = [one.row["letter"] == "A" for one in found.answers]
    assert 0 < np.mean(right) < 1
    assert found.scores["accuracy"] == pytest.approx(np.mean(right))
    assert found.scores["mean_box_iou"] == 0.0


def test_a_model_that_sees_another_frame_is_refused(exam, tmp_path):
    with pytest.raises(FormatError, match="frame"):
        examine(Knowing(exam, frame=Frame(56, 56, 8, "volume")), exam, tmp_path, kind="volume", count=6)


def test_questions_of_a_family_that_nobody_knows_are_no_endless_search():
    data = [sample(FAMILIES[3]), sample("made_up")]
    assert held_out(stored(data), "image", 2) == data[:1]
