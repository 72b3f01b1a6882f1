from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from recipes.phantom.questions import ASK, PHRASES, Balancer, draw, draw_all, write
from recipes.phantom.scene import LessonRegion, LessonScene, image_scene, volume_scene
from unireason.core.types import Box2D, Frame, Look
from unireason.data.scene import FAMILIES, DataQuestion
from unireason.data.sources.phantom import busy_slices, generate

IMAGE, VOLUME = Frame(112, 112, 1, "image"), Frame(56, 56, 16, "volume")


BOX = Box2D(1, 2, 3, 4)


def region(name, x, y, area, box=BOX):
    return LessonRegion(name=name, box=box, centre_mm=(x, y), measure_mm=area, size=round(area**0.5), voxels=int(area))


@pytest.fixture
def drawn():
    """Liver right anterior, spleen left posterior (smaller), heart left anterior; no stomach; a dark lesion in the liver."""
    found = [
        region("liver", -60, -40, 4000), region("spleen", 70, 50, 1500), region("heart", 60, -60, 2500), region("lesion", -60, -40, 200),
    ]  # fmt: skip
    absent = {n: Box2D(50, 50, 60, 60) for n in ("stomach", "left kidney", "bladder")}
    return LessonScene(
        "p", IMAGE, (300.0, 300.0), {r.name: r for r in found}, absent, lesion_organ="liver", lesion_brighter=False
    )


def plain(question):
    """A question in the first wording of its kind."""
    for wordings in PHRASES.values():
        for wording in wordings:
            pattern = re.sub(r"\\\{\d\\\}", "(.+)", re.escape(wording))
            if found := re.fullmatch(pattern, question.text):
                return wordings[0].format(*found.groups())
    raise AssertionError(question.text)


def right_options(scene, family, draws=80):
    rng = np.random.default_rng(0)
    found = [q for _ in range(draws) if (q := ASK[family](scene, rng))]
    return {(plain(q), q.options[q.answer]) for q in found}, found


def test_structure_localisation(drawn):
    right, _ = right_options(drawn, "structure_localisation")
    assert right == {
        ("Where does the liver lie?", "right anterior"),
        ("Where does the spleen lie?", "left posterior"),
        ("Where does the heart lie?", "left anterior"),
    }


def test_spatial_localisation_has_one_right_option(drawn):
    right, found = right_options(drawn, "spatial_localisation")
    assert ("Which structure lies in the right anterior part?", "liver") in right
    for question in found:
        where = plain(question).removeprefix("Which structure lies in the ").removesuffix(" part?")
        assert [f == where for f in question.facts].index(True) == question.answer
        assert question.facts.count(where) == 1


def test_existence_only_about_annotated_structures(drawn):
    right, _ = right_options(drawn, "existence_verification", 200)
    assert {text for text, answer in right if answer == "no"} == {
        f"Is the {n} present?" for n in ("stomach", "left kidney", "bladder")
    }
    assert {text for text, answer in right if answer == "yes"} == {f"Is the {n} present?" for n in ("liver", "spleen", "heart")}


def test_sizes_are_compared_by_area(drawn):
    _, found = right_options(drawn, "size_comparison")
    areas = {"liver": 4000, "spleen": 1500, "heart": 2500}
    for question in found:
        assert areas[question.options[question.answer]] == max(areas[o] for o in question.options)
    assert {frozenset(q.options) for q in found} == {
        frozenset(p) for p in (("liver", "spleen"), ("liver", "heart"), ("spleen", "heart"))
    }


def test_relations_are_patient_directions(drawn):
    right, _ = right_options(drawn, "spatial_relation", 300)
    assert ("Where does the liver lie relative to the heart?", "to the right") in right
    assert ("Where does the spleen lie relative to the heart?", "behind") in right
    assert all(("liver" not in t or "spleen" not in t) for t, _ in right), "no axis dominates between liver and spleen"


def test_lesion(drawn):
    right, _ = right_options(drawn, "lesion_analysis")
    assert right == {("Which organ holds the lesion?", "liver"), ("How does the lesion look against its organ?", "darker")}


def test_too_close_sizes_are_not_compared(drawn):
    twins = LessonScene(
        "p", IMAGE, (300.0, 300.0), {r.name: r for r in (region("liver", 0, 0, 1000), region("heart", 0, 0, 1390))}, {}
    )
    assert ASK["size_comparison"](twins, np.random.default_rng(0)) is None


@pytest.mark.parametrize("kind", ["image", "volume"])
def test_phantom_questions_are_answerable_and_balanced(kind):
    balancer, letters, texts = Balancer(), Counter(), {}
    for index in range(60):
        patient = generate(21, index)
        rng = np.random.default_rng(index)
        k = busy_slices(patient, rng, 1)[0]
        scene = volume_scene(patient, VOLUME) if kind == "volume" else image_scene(patient, k, IMAGE)
        for question in draw_all(scene, rng, balancer, rounds=2):
            letters[question.answer, len(question.options)] += 1
            texts.setdefault(question.text, Counter())[question.options[question.answer]] += 1
            sample = write(question, scene)
            assert len(set(question.options)) == len(question.options)
            looks = [p for p in sample.reasoning if isinstance(p, Look)]
            assert [look.label for look in looks] == list(question.needs)
            assert 1 <= len(looks) <= 2
            assert sample.response.startswith("<think>")
            closing = f" So {question.right} {question.letter}.</think>{question.letter}. {question.right}"
            assert sample.response.endswith(closing)
    four = [letters[i, 4] for i in range(4)]
    assert min(four) > 0.55 * max(four)
    guess = sum(max(c.values()) for c in texts.values()) / sum(sum(c.values()) for c in texts.values())
    assert guess < 0.75


def test_balancer_uses_up_constant_answers():
    text = "Where does the bladder lie relative to the heart?"
    same = DataQuestion(FAMILIES[4], "direction", (), text, ("below", "above"), 0, (), ())
    balancer = Balancer()
    kept = [balancer.pick([same]) for _ in range(20)]
    assert sum(k is not None for k in kept) <= 3


def test_no_candidates():
    scene = LessonScene("p", IMAGE, (300.0, 300.0), {}, {})
    assert draw(scene, "spatial_relation", np.random.default_rng(0), Balancer()) is None
