"""Questions whose wrong options come from other patients."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ask_scenes import Masks, phantoms, right_options, scene, structure
from scipy import stats

from unireason.data.questions.distractors import EACH, PeerChoice, Peers, Places
from unireason.data.questions.families import candidates
from unireason.data.questions.places import exchanged, overlap


@pytest.fixture(scope="module")
def peers():
    described = [s for _, s in phantoms()]
    return Peers(described, near=described)


@pytest.fixture(scope="module")
def written(peers):
    found = []
    for number, (loaded, described) in enumerate(phantoms()):
        masks = Masks(loaded, described)
        draw = np.random.default_rng([number, 3])
        found += [(q, masks) for q in candidates(described, draw, each=30, peers=peers)]
    return found


def test_exactly_one_option_is_right_by_the_masks(written):
    assert len(written) > 1500
    wrong = [(q, right_options(q, m)) for q, m in written if right_options(q, m) != [q.answer]]
    assert not wrong, f"{len(wrong)} of {len(written)}: {wrong[0]}"
    assert {len(q.options) for q, _ in written} == {2, 3, 4}


def test_wrong_boxes_overlap_little_with_each_other_and_come_from_others(written):
    boxes = {tuple(map(int, s.box_model.coords)) for _, described in phantoms() for s in described.structures.values()}
    for question, _ in written:
        if question.ask == "box":
            numbers = [tuple(map(int, re.findall(r"\d+", o))) for o in question.options]
            assert all(overlap(a, b) < 0.4 for i, a in enumerate(numbers) for b in numbers[:i])
            assert any(n in boxes for n in numbers)


def test_parts_are_offered_only_if_another_patient_has_them(peers, written):
    seen = Counter()
    for question, masks in written:
        if question.ask == "quadrant":
            name, axes = question.about
            elsewhere = {p.part(name, axes) for p in peers.of(masks.scene, name)}
            assert set(question.options) - {question.right} <= elsewhere
            seen[len(question.options)] += 1
    assert sum(seen.values()) > 20


def drawn_patients(values, kind="image"):
    """One scene a patient with a liver whose box begins at a given place."""
    made = []
    for number, value in enumerate(values):
        one = scene(structure("liver", (value, 20, value + 10, 60)), kind=kind)
        made.append(replace(one, patient=f"p{number:04d}", case=f"c{number:04d}"))
    return made


def test_exchanged_values_do_not_tell_which_is_true():
    """Ranks and eccentricity of the true value among the four are uniform, although many pairs lie too near to each other."""
    draw = np.random.default_rng(0)
    scenes = drawn_patients(np.clip(draw.normal(90, 25, 4000), 0, 180).astype(int))
    ranks, outer = Counter(), Counter()
    for start in range(0, len(scenes), 100):
        block = scenes[start : start + 100]
        known = Peers((), near=block)
        for one in block:
            places = Places(one, known)
            found = exchanged(places, "liver", "start", lambda _, n, p: p.boxes[n][0], lambda a, b: abs(a - b) >= 8)
            if len(found) == 4:
                ranks[sorted(found).index(found[0])] += 1
                outer[abs(found[0] - 90) == max(abs(v - 90) for v in found)] += 1
    total = sum(ranks.values())
    assert total > 100
    assert stats.chisquare([ranks[i] for i in range(4)]).pvalue > 0.001
    assert abs(outer[True] / total - 0.25) < 3.5 * (0.25 * 0.75 / total) ** 0.5


def test_a_patient_is_never_its_own_peer():
    scenes = drawn_patients([10, 60, 110])
    twin = replace(scenes[0], case="other slice")
    known = Peers([*scenes, twin])
    assert {p.scene.patient for p in known.of(scenes[0], "liver")} == {"p0001", "p0002"}
    assert {p.scene.patient for p in known.any_of(scenes[0])} == {"p0001", "p0002"}


def test_what_is_lent_is_lent_once_and_by_patients_who_are_not_asked():
    """So an option that is right in one question is wrong in no other, and none is wrong twice."""
    scenes = [twin for one in drawn_patients(range(0, 180)) for twin in (one, replace(one, case=f"{one.case} again"))]
    known = Peers((), near=scenes)
    lent = {one.case: known.exchange(one, "liver", "all", lambda a, b: True) for one in scenes}
    asked = {one.patient for one in scenes if lent[one.case]}
    lenders = [p.scene.patient for found in lent.values() for p in found]
    assert len(asked) > 10
    assert len(lenders) == len(set(lenders)) > 100
    assert asked.isdisjoint(lenders)


def test_groups_of_four_do_not_depend_on_the_order_of_the_scenes():
    scenes = drawn_patients(range(0, 180))
    forwards, backwards = Peers((), near=scenes), Peers((), near=scenes[::-1])
    for one in scenes:
        found = [
            [p.scene.patient for p in known.exchange(one, "liver", "all", lambda a, b: True)] for known in (forwards, backwards)
        ]
        assert found[0] == found[1]
        assert len(found[0]) in (0, 3)


def test_peers_share_kind_space_and_unit():
    volume = replace(scene(structure("liver", (10, 20, 5, 40, 60, 50)), kind="volume"), patient="v")
    picture = replace(scene(structure("liver", (10, 20, 40, 60)), space="picture"), patient="w")
    image = drawn_patients([10])[0]
    known = Peers([volume, picture])
    assert list(known.of(image, "liver")) == []
    assert [p.scene.patient for p in known.of(replace(volume, patient="x"), "liver")] == ["v"]


def test_the_choice_of_peers_is_bounded_and_takes_a_patient_once():
    choice = PeerChoice(0)
    scenes = drawn_patients(range(0, 180, 2))
    for one in scenes:
        choice.offer(one)
        choice.offer(replace(one, case=f"{one.case}-again"))
    kept = choice.chosen()
    assert len(kept) == EACH
    assert len({s.patient for s in kept}) == EACH
    assert kept == sorted(kept, key=lambda s: s.case)
    other = PeerChoice(1)
    for one in scenes:
        other.offer(one)
    assert {s.patient for s in other.chosen()} != {s.patient for s in kept}


def test_rare_structures_are_kept_too():
    choice = PeerChoice(0)
    scenes = drawn_patients(range(0, 180, 2))
    rare = replace(scene(structure("gallbladder", (10, 20, 40, 60))), patient="rare", case="rare")
    for one in [*scenes[:45], rare, *scenes[45:]]:
        choice.offer(one)
    assert "rare" in {s.case for s in choice.chosen()}
