"""Sides by anatomy, classes in parts, and kinds of lesions, in the questions that are asked."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from ask_scenes import SIZE, asked, scene, structure

from unireason.core.types import Box3D
from unireason.data.checks.answers import judge
from unireason.data.checks.facts import SceneFacts
from unireason.data.questions.distractors import Peers, Places, kin
from unireason.data.questions.expected import expected_place
from unireason.data.questions.families import candidates, certainly_absent, gives_away
from unireason.data.questions.referring import implicit
from unireason.data.rationale.template import Annotation, Task, TemplateAnnotator
from unireason.data.scene import Midline, Part, Scene

X_WORDS = ("left", "right")
BODY = Midline("body", 0.0, 100.0)


def drawn(modality: str = "CT", space: str = "patient", midline: Midline = BODY, kind: str = "image") -> Scene:
    low, high = ((), ()) if kind == "image" else ((60,), (100,))
    found = scene(
        structure("liver", (20, 30, *low, 80, 90, *high), contrast=20.0),
        structure("melanoma", (130, 40, *low, 160, 70, *high), contrast=-30.0),
        structure("spleen", (120, 120, *low, 170, 150, *high)),
        structure("stomach", (30, 130, *low, 60, 170, *high), elongation=3.0),
        space=space,
        kind=kind,
        absent=("skin lesion", "glioma", "gallbladder", "tumor"),
    )
    return replace(found, modality=modality, midline=midline)


def texts(found: Scene) -> list[str]:
    questions = [q for seed in range(12) for q in candidates(found, np.random.default_rng(seed), each=40)]
    questions += [q for seed in range(12) for q in implicit(found, np.random.default_rng(seed))]
    return [" ".join((q.text, *q.options, *q.facts)) for q in questions]


def test_no_side_is_told_without_a_midline() -> None:
    told = Places(drawn())
    assert (told.signs["liver"][0], told.signs["spleen"][0]) == (-1, 1)
    blind = drawn(midline=Midline(""))
    assert {signs[0] for signs in Places(blind).signs.values()} == {0}
    assert not asked(blind, "lesion_side")
    assert all("x" not in q.about[1] for q in asked(blind, "quadrant"))
    assert asked(drawn(), "lesion_side")
    # Left of the spleen is still left of the spleen.
    assert {q.right for q in asked(blind, "direction")} & set(X_WORDS)


def test_sides_are_those_of_the_midline() -> None:
    moved = Places(drawn(midline=Midline("spine", 60.0, 160.0)))
    assert moved.signs["melanoma"][0] == -1  # to the left of the picture's middle, to the right of the spine
    rights = {q.right for q in asked(moved.scene, "lesion_side")}
    assert rights == {"right"}


@pytest.mark.parametrize("modality", ["XC", "ES", "SM", "GM"])
def test_pictures_of_skin_gut_and_cells_have_no_sides(modality: str) -> None:
    found = texts(drawn(modality, "picture", Midline("")))
    assert len(found) > 50
    # How far a box is off, in words of its picture, is no side.
    plain = [t.lower() for t in found if "too far" not in t and "edge" not in t]
    assert not [t for t in plain if set(re.findall("[a-z]+", t)) & set(X_WORDS)]
    skin = drawn(modality, "picture", Midline(""))
    tasks = [Task(str(i), q, skin) for i in range(9) for q in implicit(skin, np.random.default_rng(i))]
    said = [p for w in TemplateAnnotator().annotate(tasks) if isinstance(w, Annotation) for p in w.reasoning]
    assert said
    assert not [p for p in said if isinstance(p, str) and set(re.findall("[a-z]+", p)) & set(X_WORDS)]
    assert any(w in t for t in texts(drawn("DX", "picture", Midline(""))) for w in X_WORDS)


def fundus(disc_at: int) -> Scene:
    """An image of an eye: the nose is where the disc lies."""
    found = scene(
        structure("optic disc", (disc_at, 80, disc_at + 20, 104)),
        structure("macula", (90, 84, 110, 100), contrast=-20.0),
        structure("hard exudates", (130, 20, 160, 50), contrast=40.0),
        structure("microaneurysm", (20, 140, 50, 170), contrast=-30.0),
        space="picture",
        absent=("soft exudates",),
    )
    return replace(found, modality="OP", midline=Midline("macula", 0.0, 100.0))


@pytest.mark.parametrize(
    ("found", "terms", "words"),
    [
        (fundus(30), "nasal left", {"nasal", "temporal"}),
        (fundus(160), "nasal right", {"nasal", "temporal"}),
        (drawn("US", "picture", Midline("")), "depth", {"superficial", "deep"}),
    ],
)
def test_eyes_have_a_nasal_side_and_ultrasound_has_depth(found: Scene, terms: str, words: set[str]) -> None:
    assert found.terms == terms
    questions = [q for seed in range(20) for q in candidates(found, np.random.default_rng(seed), each=40)]
    said = " ".join(" ".join((q.text, *q.options)) for q in questions)
    assert words <= set(re.findall("[a-z]+", said))
    offered = {word for q in questions for option in q.options for word in option.split()}
    assert not offered & ({"above", "below", "upper", "lower"} if terms == "depth" else {*X_WORDS})
    facts = SceneFacts(found)
    for question in questions:
        assert judge(question, facts) == [i == question.answer for i in range(len(question.options))], question
    written = TemplateAnnotator().annotate([Task(str(i), q, found) for i, q in enumerate(questions)])
    assert all(isinstance(w, Annotation) for w in written)
    texts = " ".join(p for w in written if isinstance(w, Annotation) for p in w.reasoning if isinstance(p, str))
    assert words <= set(re.findall("[a-z]+", texts.lower()))


def test_a_scattered_class_has_no_box_and_no_place() -> None:
    found = drawn()
    parts = tuple(Part((x, 20, x + 20, 40), found.structures["liver"].box_model, 400.0, 400) for x in (20, 120))
    polyps = replace(structure("polyps", (20, 20, 140, 40), parts=[400, 400]), parts=parts)
    both = replace(found, structures={**found.structures, "polyps": polyps})
    assert "polyps" not in Places(both).boxed
    for ask in ("box", "quadrant", "lesion_side", "lesion_quadrant"):
        assert all(q.about[0] != "polyps" for q in asked(both, ask))
    assert all("polyps" not in q.options for q in asked(both, "which_at_box") if q.right == "polyps")
    assert {q.about[0] for q in asked(both, "count")} >= {"polyps"}


def test_a_kind_is_not_absent_where_a_special_case_is_there() -> None:
    assert certainly_absent(Places(drawn())) == [
        "glioma",
        "gallbladder",
    ]  # a melanoma is a skin lesion and a tumour, and no glioma
    spared = replace(drawn(), absent=("glioma", "gallbladder", "kidney cyst"))
    assert certainly_absent(Places(spared)) == ["glioma", "gallbladder", "kidney cyst"]
    assert kin("melanoma", "skin lesion")
    assert kin("inferior vena cava", "postcava")
    assert kin("duodenum", "small bowel")
    assert not kin("liver", "spleen")


def test_names_give_nothing_away_as_texts_say_them() -> None:
    found = drawn()
    renamed = replace(found.structures["stomach"], name="postcava")
    both = replace(found, structures={**found.structures, "postcava": renamed})
    assert "postcava" not in Places(both).placed  # a text says "inferior vena cava"
    assert gives_away("postcava", "the inferior one of two veins")
    assert not gives_away("spleen", "the inferior one of two veins")


@pytest.mark.parametrize(("lesion", "told"), [("hcc", False), ("cyst", True), ("liver tumor", False)])
def test_an_organ_that_the_name_of_a_lesion_tells_is_not_asked_for(lesion: str, told: bool) -> None:
    inside = structure(lesion, (40, 50, 55, 65), neighbours=("liver",), contrast=30.0)
    found = drawn()
    with_it = replace(found, structures={**found.structures, lesion: inside})
    assert bool(asked(with_it, "host")) is told


def volume(**boxes: tuple[int, ...]) -> Scene:
    found = scene(*(structure(n.replace("_", " "), b) for n, b in boxes.items()), kind="volume")
    return replace(found, midline=Midline("body", 0.0, SIZE / 2))


ORGANS = {
    "liver": (20, 40, 90, 90, 120, 140),
    "stomach": (110, 40, 90, 150, 90, 130),
    "right_kidney": (40, 130, 60, 70, 160, 100),
}


def shifted(boxes: dict[str, tuple[int, ...]], by: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    return {n: tuple(v + by[i % 3] for i, v in enumerate(b)) for n, b in boxes.items()}


def others(number: int, **more: tuple[int, ...]) -> Peers:
    found = []
    for i in range(number):
        whole = volume(**shifted({**ORGANS, **more}, (3 * i - 4, 2 * i - 3, i)))
        found.append(replace(whole, case=f"other{i}", patient=f"other{i}"))
    return Peers(found)


def test_other_patients_tell_where_something_would_lie() -> None:
    mine = volume(**shifted(ORGANS, (5, -5, 10)))
    found = expected_place(mine, "spleen", others(4, spleen=(140, 110, 90, 180, 150, 130)))
    assert (found.by, found.shown, found.patients) == ("patients", "yes", 2)
    assert found.box == Box3D(145, 105, 100, 185, 145, 140)
    assert set(found.landmarks) == {"liver", "stomach", "right kidney"}
    assert found.instead == ()
    beside = expected_place(mine, "tail", others(4, tail=(60, 60, 100, 80, 80, 120)))
    assert beside.instead == ("liver",)


def test_a_level_that_is_not_in_the_picture_is_told() -> None:
    mine = volume(**shifted(ORGANS, (0, 0, 40)))
    found = expected_place(mine, "thyroid gland", others(3, thyroid_gland=(90, 60, 180, 110, 80, 198)))
    assert (found.by, found.box, found.shown, found.beyond) == ("patients", None, "no", "superior")
    far = expected_place(volume(liver=ORGANS["liver"]), "brain")
    assert (far.by, far.shown, far.beyond) == ("level", "no", "superior")


def test_without_patients_anatomy_tells() -> None:
    mine = volume(**ORGANS)
    kidney = expected_place(mine, "left kidney")
    assert (kidney.by, kidney.landmarks) == ("counterpart", ("right kidney",))
    assert kidney.box == Box3D(130, 130, 60, 160, 160, 100)  # mirrored at x = 100
    tumour = expected_place(mine, "hcc")
    assert (tumour.by, tumour.box, tumour.instead) == ("organ", mine.structures["liver"].box_model, ("liver",))
    gallbladder = expected_place(mine, "gall bladder")
    assert gallbladder.by == "landmarks"
    assert ("inferior", "liver") in gallbladder.relations
    assert gallbladder.box is not None
    assert gallbladder.box.coords[2] < ORGANS["liver"][2]
    assert expected_place(mine, "gizmo").by == ""


def test_vertebrae_lie_between_those_above_and_below() -> None:
    mine = volume(vertebrae_l1=(90, 120, 120, 110, 140, 140), vertebrae_l3=(90, 120, 60, 110, 140, 80))
    between = expected_place(mine, "vertebrae l2")
    assert (between.by, between.box) == ("vertebrae", Box3D(90, 120, 90, 110, 140, 110))
    assert between.landmarks == ("vertebrae l1", "vertebrae l3")
    gone = expected_place(mine, "vertebrae c2")
    assert (gone.shown, gone.beyond, gone.box) == ("no", "superior", None)
