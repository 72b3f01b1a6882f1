"""Evidence checks: scripted models with known reliance, what is really fed under each condition, and going on after a kill."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import tiny
from spots import OPTIONS, SPOT, Engine, Spots, box_of, letter_of, picture, place, reads_region, run
from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Frame, Look, Stack
from unireason.engine.reasoner import Reasoner
from unireason.evaluate import evidence as conditions
from unireason.evaluate.box_reader import BoxReader
from unireason.evaluate.evidence import EvidenceRow, EvidenceRows, reliance, summary
from unireason.evaluate.store import choose
from unireason.evaluate.suites.base import Entry
from unireason.grounding import crop
from unireason.report.document import as_html, as_terminal
from unireason.report.evidence import evidence_document
from unireason.report.plots import write_evidence_figure

FRAME = Frame(56, 56, 1, "image")


def ignores(stack):
    yield f"<think>see {box_of(stack)}"
    yield "it is</think>B.<|im_end|>"


def reads_picture(stack):
    yield f"<think>see {box_of(stack)}"
    yield f"it is</think>{letter_of(int(stack.slices[0].max()))}.<|im_end|>"


def never_looks(stack):
    yield f"<think>it is</think>{letter_of(int(stack.slices[0].max()))}.<|im_end|>"


class HaltError(Exception):
    pass


def traces(folder):
    """Traces on disk by question and condition; none is kept in memory."""
    rows = map(json.loads, (folder / "rows.jsonl").read_text().splitlines())
    return {(row["id"], row["condition"]): row["trace"] for row in rows}


def test_a_model_that_reads_only_the_region_relies_on_it(tmp_path):
    found, _ = run(reads_region, tmp_path)
    results = found.results.to_json()
    accuracy = {name: c["accuracy"] for name, c in results["conditions"].items()}
    assert list(accuracy) == list(conditions.CONDITIONS)
    # A region without a spot gives A, which is right for a quarter of the cases: chance.
    assert {n: accuracy[n] for n in ("true", "blank", "random_region", "no_region", "given_region", "blanked")} == {
        "true": 1, "blank": 0.25, "random_region": 0.25, "no_region": 0.25, "given_region": 1, "blanked": 0.25,
    }  # fmt: skip
    assert results["reliance"]["value"] == 1
    assert results["reliance_condition"] == "random_region"
    assert results["reliance"]["ci95"][1] == 1
    assert 0.5 < results["reliance"]["ci95"][0] <= 1
    survival = results["conditions"]["random_region"]["survival"]
    assert (survival["value"], survival["n"]) == (0.25, 32)
    assert survival["ci95"] == pytest.approx([0.1325, 0.4211], abs=1e-3)
    assert survival["ci95_patients"][0] < survival["ci95"][0] < survival["ci95"][1] < survival["ci95_patients"][1]  # 8 patients
    assert results["conditions"]["true"]["n"] == 32
    assert results["looked"] == 1
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_a_model_that_ignores_the_image_relies_on_nothing(tmp_path):
    # It always says B, and B is right more often than chance.
    class Skewed(Spots):
        def entries(self):
            for entry in super().entries():
                yield replace(entry, letter="B", answers=("grey",)) if int(entry.id[:2]) % 4 else entry

    found, _ = run(ignores, tmp_path, Skewed())
    assert found.results.conditions["true"].accuracy == 0.75
    for name in conditions.REMOVED:
        reliance = found.results.conditions[name].reliance
        assert (reliance.value, reliance.n, reliance.ci95[0]) == (0, 32, 0)
        assert 0 < reliance.ci95[1] < 0.5
        assert found.results.conditions[name].survival.value == 1
    assert found.results.reliance.value == 0


class Kinds(Spots):
    """Every second question is of a kind that true boxes decide."""

    def entries(self):
        reader = BoxReader("largest", (), OPTIONS, (), FRAME, (1.0, 1.0), 0.0, "picture")
        for entry in super().entries():
            if entry.id.endswith("a"):
                yield replace(entry, tags={"ask": "largest"}, reader=replace(reader, true=entry.letter))
            else:
                yield replace(entry, tags={"ask": "brightness"}, reader=reader)


def test_reliance_by_kind_and_its_ceiling(tmp_path):
    """Chance is 1/4: half of the questions are decided by true boxes, so an ideal model loses half of what it knows."""
    found, _ = run(reads_region, tmp_path, Kinds())
    results = found.results
    assert results.ceiling.value == pytest.approx((1 - (1 + 1 / 4) / 2) / (1 - 1 / 4)) == 0.5
    kinds = {name: (own.n, own.reliance.value, own.ceiling.value, own.own_boxes) for name, own in results.by_kind.items()}
    assert kinds == {"brightness": (16, 1, 1, None), "largest": (16, 1, 0, None)}
    assert (results.own_boxes, results.kind_unknown) == (None, 0)
    assert "brightness" in as_terminal(evidence_document(results))


def test_a_suite_without_kinds_says_so(tmp_path):
    results = run(reads_region, tmp_path)[0].results
    assert (results.by_kind, results.ceiling, results.own_boxes, results.kind_unknown) == ({}, None, None, 32)
    assert "does not say what kind" in as_terminal(evidence_document(results))


def test_some_conditions_alone(tmp_path):
    engine = Engine(reads_region)
    model = Reasoner(engine.checkpoint, engine=engine)
    found = conditions.evaluate(model, Spots(8), tmp_path, conditions=("true", "random_region"))
    assert list(found.results.conditions) == ["true", "random_region"]
    assert (found.results.reliance.value, len(found.rows)) == (1, 32)


def test_a_model_at_chance_has_no_reliance(tmp_path):
    found, _ = run(ignores, tmp_path)
    assert found.results.conditions["true"].accuracy == 0.25
    assert found.results.reliance.to_json() == {"value": None, "ci95": None, "n": 32}


def test_a_model_that_reads_the_picture_but_not_the_region(tmp_path):
    found, _ = run(reads_picture, tmp_path)
    values = {name: found.results.conditions[name].reliance.value for name in conditions.REMOVED}
    assert values["random_region"] == values["no_region"] == values["shuffled"] == 0
    assert values["blank"] == values["blanked"] == 1
    same = np.mean([int(row.shown[1:]) % 4 == int(row.case[1:]) % 4 for row in found.rows.values() if row.condition == "other"])
    assert 0 < same < 1
    assert values["other"] == pytest.approx(min(1, (1 - same) / 0.75))


def test_answers_without_a_look_are_taken_over(tmp_path):
    found, engine = run(never_looks, tmp_path)
    assert found.results.looked == 0
    for name in ("random_region", "no_region", "given_region", "shuffled", "blanked"):
        row = found.rows["00a", name]
        assert row.right
        assert traces(tmp_path)["00a", name] is None
    assert traces(tmp_path)["00a", "true"] is not None
    assert len(engine.stacks) == 16 * 3  # true, blank, and other on the true picture of another case
    assert found.results.reliance.value == 0
    assert found.results.conditions["blank"].reliance.value == 1


def test_conditions_change_what_is_fed(tmp_path):
    found, engine = run(reads_region, tmp_path, Spots(8))
    row = found.rows["05a", "true"]
    x, y = place(5)
    assert row.looks == (((0, (x, y, x + SPOT, y + SPOT)),),)
    assert row.replaced == 0
    assert row.trace is None
    on_disk = traces(tmp_path)
    assert on_disk["05a", "true"]["tokens"] is None
    crops = {n: on_disk["05a", n]["steps"] for n in ("true", "random_region", "no_region", "given_region", "shuffled")}
    looks = {n: next(s for s in steps if s["type"] == "look") for n, steps in crops.items()}
    own = looks["true"]["crops"][0]["box_model"]
    assert own == looks["given_region"]["crops"][0]["box_model"] == [x, y, x + SPOT, y + SPOT]
    assert not looks["no_region"]["executed"]
    assert looks["no_region"]["crops"] == []
    a = looks["random_region"]["crops"][0]["box_model"]
    shared = max(0, SPOT - abs(a[0] - x)) * max(0, SPOT - abs(a[1] - y))
    assert shared / (2 * SPOT**2 - shared) <= 0.1
    assert looks["random_region"]["crops"][0]["size"] == [SPOT, SPOT]
    others = [[*r.looks[0][0][1]] for r in found.rows.values() if r.condition == "true" and r.looks != row.looks]
    assert looks["shuffled"]["crops"][0]["box_model"] in others
    for n in ("random_region", "no_region", "shuffled"):
        assert found.rows["05a", n].replaced == 1
    guest = found.rows["05a", "other"]
    assert guest.case == "c5"
    assert guest.shown != "c5"
    assert guest.said == "ABCD"[int(guest.shown[1:]) % 4]
    greys = [s for s in engine.stacks if len(np.unique(s.slices)) == 1]
    assert len(greys) == 16  # blank and, as the ring is black, blanked
    assert round(picture(5).mean()) in {int(s.slices[0, 0, 0]) for s in greys}


def test_a_second_look_goes_on_without_pictures(tmp_path):
    def twice(stack):
        crops = yield f"<think>see {box_of(stack)}"
        more = yield f"and {box_of(stack)}"
        yield f"</think>{'ABCD'[len(crops) + len(more)]}.<|im_end|>"

    found, _ = run(twice, tmp_path, Spots(4))
    assert {found.rows[e.id, "no_region"].said for e in found.entries} == {"A"}
    assert {found.rows[e.id, "true"].said for e in found.entries} == {"C"}
    row = found.rows["00a", "no_region"]
    assert row.replaced == len(row.looks) == 2
    assert traces(tmp_path)["00a", "no_region"]["finish"] == "end_of_turn"


def test_looks_without_pictures_use_up_rounds(tmp_path):
    def endless(stack):
        yield f"<think>{box_of(stack)}"
        while True:
            yield box_of(stack)

    found, _ = run(endless, tmp_path, Spots(1))
    assert traces(tmp_path)["00a", "no_region"]["finish"] == "round_budget"
    assert len(found.rows["00a", "no_region"].looks) == len(found.rows["00a", "true"].looks) == tiny.PROFILE.max_rounds


def test_a_killed_check_goes_on(tmp_path):
    whole, _ = run(reads_region, tmp_path / "whole")
    left = [41]

    def dying(stack):
        left[0] -= 1
        if left[0] < 0:
            raise HaltError
        yield from reads_region(stack)

    with pytest.raises(HaltError):
        run(dying, tmp_path / "part")
    file = tmp_path / "part" / "rows.jsonl"
    before = file.read_bytes()
    count = before.count(b"\n")
    assert count == 40  # the answer that the other one was batched with is lost
    file.write_bytes(before + b'{"id": "05a", "cond')
    asked = []

    def counted(stack):
        asked.append(1)
        yield from reads_region(stack)

    found, _ = run(counted, tmp_path / "part")
    assert found.results == whole.results
    assert len(asked) == len(whole.rows) - count
    assert file.read_bytes().startswith(before)
    assert file.read_bytes().count(b"\n") == len(whole.rows)
    asked.clear()
    suite = Spots()
    again, engine = run(counted, tmp_path / "part", suite)
    assert again.results == whole.results
    assert not asked
    assert not engine.stacks
    assert not suite.reads


def test_another_check_in_the_folder_is_refused(tmp_path):
    run(reads_region, tmp_path, Spots(2))
    with pytest.raises(FormatError, match="another questions"):
        run(reads_region, tmp_path, Spots(3))
    with pytest.raises(FormatError, match="another seed"):
        run(reads_region, tmp_path, Spots(2), seed=1)


def test_a_broken_line_is_named(tmp_path):
    run(reads_region, tmp_path, Spots(2))
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"{}\n" + file.read_bytes())
    with pytest.raises(FormatError, match=r"line 1 of rows\.jsonl"):
        run(reads_region, tmp_path, Spots(2))


def test_questions_are_drawn_by_cases():
    suite = Spots()
    drawn = [choose(suite, 6, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 6
    assert len({e.case for e in drawn[0]}) == 3
    assert [e.id for e in drawn[0]] == sorted(e.id for e in drawn[0])
    with pytest.raises(FormatError):
        choose(suite, 0, 0)


def test_true_places_of_another_frame_are_refused(tmp_path):
    class Elsewhere(Spots):
        def entries(self):
            yield from (replace(e, tags={"frame": "28x28x1"}) for e in super().entries())

    with pytest.raises(FormatError, match="28x28x1"):
        run(reads_region, tmp_path, Elsewhere(1))


def test_one_case_has_no_other_and_suites_without_places_give_none(tmp_path):
    found, _ = run(reads_region, tmp_path, Spots(1, looks=False))
    assert found.results.left_out == ["other", "given_region", "shuffled"]


def row(n, condition, right, *, patient="p", chance=0.25, looks=1, replaced=1):
    asked = (((0, (0, 0, 4, 4)),),) * looks
    seen = ((),) * replaced + asked[replaced:]
    return EvidenceRow(str(n), condition, "c", patient, chance, right, "A", FRAME, asked, seen, "c", None)


def test_reliance_by_hand():
    # 8 of 10 right with the evidence, 4 without; chance 1/4: (0.8 - 0.4) / (0.8 - 0.25).
    pairs = [(row(n, "true", n < 8), row(n, "random_region", n < 4)) for n in range(10)]
    assert reliance(pairs, seed=0)["value"] == pytest.approx(0.4 / 0.55)
    assert reliance([(b, a) for a, b in pairs], seed=0)["value"] == 0  # better without: nothing lost
    low = [(row(n, "true", n < 8), row(n, "random_region", False)) for n in range(10)]
    assert reliance(low, seed=0)["value"] == 1  # below chance counts as chance
    assert reliance(pairs, seed=0)["ci95"] is None  # a single patient
    many = [(replace(a, patient=a.id), replace(b, patient=b.id)) for a, b in pairs]
    low_end, high_end = reliance(many, seed=0)["ci95"]
    assert low_end < 0.45 < 0.95 < high_end


def test_one_patient_has_no_interval(tmp_path, capsys):
    class One(Spots):
        def entries(self):
            yield from (replace(entry, patient="p") for entry in super().entries())

    results = run(reads_region, tmp_path, One(8))[0].results
    assert results.reliance.value == pytest.approx(1)
    assert results.reliance.ci95 is None
    assert results.conditions["true"].ci95_patients is None
    told = evidence_document(results)
    assert "one patient: no interval" in as_html(told).decode()
    write_evidence_figure(results.to_json(), tmp_path / "figure.png")
    said = [line.split() for line in as_terminal(told).splitlines()]
    assert ["Evidence", "reliance,", "random", "region", "1.00", "one", "patient:", "no", "interval"] in said
    assert ["true", "100%", "\u2013", "16"] in said  # questions of one patient say nothing of others


def test_resamples_at_chance_widen_the_interval():
    pairs = [(row(n, "true", n < 2, patient=n), row(n, "random_region", False, patient=n)) for n in range(6)]
    assert reliance(pairs, seed=0)["ci95"] == [0, 1]


def test_looks_that_could_not_be_moved_do_not_count():
    rows = [row(n, "true", True, patient=n, replaced=0) for n in range(4)]
    rows += [row(n, "random_region", n == 0, patient=n, replaced=int(n > 0)) for n in range(4)]
    found = summary({r.key: r for r in rows}, seed=0)
    assert (found["reliance"]["value"], found["reliance"]["n"]) == (1, 3)
    assert found["reliance"]["ci95"] == pytest.approx([0.025 ** (1 / 3), 1])
    assert found["conditions"]["random_region"]["accuracy"] == 0.25
    with pytest.raises(FormatError):
        summary({}, seed=0)


def test_regions_are_filled_with_the_mean_of_a_ring():
    slices = np.zeros((2, 20, 20), np.uint8)
    slices[:, 5:15, 5:15] = 200
    slices[:, 3:17, 3:5] = 100  # part of the ring of 2 pixels
    stack = Stack(slices, "volume", "", ((0, 1), (1, 3)), np.repeat(slices, [1, 2], axis=0).repeat(2, axis=1).repeat(2, axis=2))
    frame = Frame(40, 40, 2, "volume")  # twice the pixels of the slices
    out = conditions.blanked(stack, frame, [((1, (10, 10, 30, 30)),)])
    assert np.array_equal(out.slices[0], slices[0])
    ring = 14 * 14 - 10 * 10
    expected = round(100 * 14 * 2 / ring)
    assert set(np.unique(out.slices[1, 5:15, 5:15])) == {expected}
    assert np.array_equal(out.slices[1, :, 15:], slices[1, :, 15:])
    assert out.slices[1, 3, 3] == 100
    assert np.array_equal(out.native[0], stack.native[0])
    assert all((out.native[n, 10:30, 10:30] == out.native[n, 10, 10]).all() for n in (1, 2))
    assert out.native[1, 10, 10] < 100
    assert stack.slices.max() == 200


def test_a_region_as_large_as_the_picture_is_filled_with_its_mean():
    slices = np.array([[[0, 100], [100, 200]]], np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    out = conditions.blanked(Stack(slices, "image", "", ((0, 1),), slices[0]), Frame(8, 8, 1, "image"), [((0, (0, 0, 8, 8)),)])
    assert set(np.unique(out.slices)) == {100} == set(np.unique(out.native))


def test_partners_are_of_one_kind_and_never_the_same_patient():
    names = [f"c{n}" for n in range(12)]
    patients = {name: n // 2 for n, name in enumerate(names)}
    kinds = {name: n >= 8 for n, name in enumerate(names)}
    found = conditions.partners(names, lambda a, b: patients[a] == patients[b], kinds, 3)
    assert found == conditions.partners(names[::-1], lambda a, b: patients[a] == patients[b], kinds, 3)
    assert found != conditions.partners(names, lambda a, b: patients[a] == patients[b], kinds, 4)
    assert set(found) == set(names)
    assert all(patients[a] != patients[b] and kinds[a] == kinds[b] for a, b in found.items())


def test_a_look_is_given_the_true_region_that_it_hits_best():
    frame = Frame(56, 56, 4, "volume")
    far, near = Look("far", Box3D(0, 0, 0, 10, 10, 2)), Look("near", Box3D(30, 30, 1, 40, 40, 3))
    hook = conditions.given_region(Entry("q", "c", "p", "?", (), ("x",), looks=(far, near)), frame)
    asked = crop.plan(Box3D(32, 32, 1, 44, 44, 4), frame)
    assert hook(asked) == crop.plan(near.box, frame)
    assert hook(asked) == crop.plan(far.box, frame)  # it hits none: the one that is left
    assert hook(asked) == asked  # none is left
    again = conditions.given_region(Entry("q", "c", "p", "?", (), ("x",), looks=(far, near)), frame)
    assert again(crop.plan(Box3D(50, 0, 0, 56, 6, 1), frame)) == crop.plan(far.box, frame)  # it hits none: the first


def test_given_regions_of_a_volume():
    frame = Frame(56, 56, 4, "volume")
    looks = (Look("one", Box3D(0, 0, 0, 8, 8, 2)), Look("two", Box2D(0, 0, 8, 8)))
    entry = next(Spots(1).entries())
    hook = conditions.given_region(replace(entry, looks=looks), frame)
    asked = ((3, (8, 8, 16, 16)),)
    assert hook(asked) == ((0, (0, 0, 8, 8)), (1, (0, 0, 8, 8)))
    assert hook(asked) == hook(asked) == asked  # a rectangle cuts nothing of a volume, and there is no third place
    assert hook.asked == [asked] * 3


def test_rows_survive_the_file(tmp_path):
    file = EvidenceRows(tmp_path, {"seed": 1, "versions": {"torch": "1"}})
    one = row(1, "true", True)
    file.add([one])
    assert EvidenceRows(tmp_path, {"seed": 1, "versions": {"torch": "2"}}).rows == {one.key: one}


def test_other_pictures_are_of_another_patient(tmp_path):
    class Pairs(Spots):
        def entries(self):
            yield from (replace(e, patient=f"p{int(e.id[:2]) // 2}") for e in super().entries())

    found, _ = run(never_looks, tmp_path, Pairs(6))
    others = [r for r in found.rows.values() if r.condition == "other"]
    assert len(others) == 12
    assert all(int(r.shown[1:]) // 2 != int(r.case[1:]) // 2 for r in others)
