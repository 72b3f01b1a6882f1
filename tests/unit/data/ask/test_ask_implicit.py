import re

import numpy as np
import pytest
from ask_scenes import phantoms, scene, structure

from unireason.data import scene as names
from unireason.data.questions.distractors import Dice, Places
from unireason.data.questions.families import FUNCTIONS, SYNONYMS, function_of, gives_away
from unireason.data.questions.referring import OPENINGS, Clause, clauses, implicit
from unireason.data.rationale.implicit import DIFFERS
from unireason.data.scene import IMPLICIT

LIVER = structure("liver", (20, 30, 80, 90), contrast=30.0, neighbours=("spine",), elongation=1.2)
SPINE = structure("spine", (90, 150, 110, 170), contrast=60.0, neighbours=("liver",))
LEFT = structure("left kidney", (140, 130, 160, 160), contrast=-20.0)
RIGHT = structure("right kidney", (40, 130, 60, 160), contrast=-20.0)


def written(drawn, seeds=40):
    return [q for seed in range(seeds) for q in implicit(drawn, np.random.default_rng(seed))]


def said(drawn, name, seeds=30) -> dict[str, Clause]:
    places = Places(drawn)
    return {c.text: c for seed in range(seeds) for c in clauses(places, Dice(np.random.default_rng(seed)), name)}


def test_shape_of_a_question():
    question = written(scene(LIVER, SPINE, LEFT))[0]
    assert (question.family, question.ask, question.answer, question.options) == (IMPLICIT, "segment", -1, ())
    assert question.needs[0] == question.about[0]
    assert 2 <= len(question.facts) <= 4


@pytest.mark.parametrize("name", ["liver", "spine", "left kidney", "right kidney"])
def test_every_structure_is_described(name):
    assert any(q.about == (name,) for q in written(scene(LIVER, SPINE, LEFT, RIGHT)))


def test_names_are_never_told():
    questions = written(scene(LIVER, SPINE, LEFT, RIGHT)) + [
        q for _, s in phantoms() for q in implicit(s, np.random.default_rng(1))
    ]
    assert len(questions) > 300
    for question in questions:
        target = question.about[0]
        spoken = set(re.findall(r"[a-z]+", question.text.lower()))
        assert spoken.isdisjoint({*target.split(), *names.counterpart(target).split()}), question


def test_facts_are_the_text():
    for question in written(scene(LIVER, SPINE, LEFT)):
        clues = [f for f in question.facts if not DIFFERS.fullmatch(f)]
        assert all(f.removeprefix("it ") in question.text for f in clues)
        rivals = {m[1] for f in question.facts if (m := DIFFERS.fullmatch(f))}
        marked = {n for n in ("liver", "spine", "left kidney") if f"the {n}" in question.text}
        assert marked | rivals == set(question.needs) - {question.about[0]}
        assert not marked & rivals


def test_the_rival_fits_more_clues_than_anything_else_but_one():
    drawn = scene(LIVER, SPINE, LEFT, RIGHT)
    places = Places(drawn)
    told = 0
    for question in written(drawn, 20):
        known = {c.text: c for seed in range(60) for c in clauses(places, Dice(np.random.default_rng(seed)), question.about[0])}
        rivals = [m for f in question.facts if (m := DIFFERS.fullmatch(f))]
        clues = [known.get(f.removeprefix("it ")) for f in question.facts if not DIFFERS.fullmatch(f)]
        if not rivals or None in clues:
            continue
        told += 1
        (rival,) = rivals
        marks = {c.landmark for c in clues}
        fits = {n: sum(c.fits(n) for c in clues) for n in drawn.structures if n not in marks and n != question.about[0]}
        assert fits[rival[1]] == max(fits.values()) > 0
        assert any(c.by == rival[2] and not c.fits(rival[1]) for c in clues)
    assert told > 40


def test_clauses_by_hand():
    liver = said(scene(LIVER, SPINE, LEFT), "liver")
    # Centre (-50, -40); 3,600 mm2 of 40,000 are 9%; the box's middle lies 50 left and 40 up: 309 degrees, 10 o'clock is 300.
    assert any("right anterior" in t for t in liver)
    assert any("anterior half" in t for t in liver)
    assert not any("left" in t.replace("the patient's left of", "").replace("left kidney", "") for t in liver)
    assert any("about 9%" in t or "roughly 9%" in t for t in liver)
    assert any("bright" in t for t in liver)
    assert any("compact" in t or "rounded" in t for t in liver)
    assert any("the spine" in t and t.startswith(("lies right next", "borders", "is a close")) for t in liver)
    assert "makes bile and stores sugar" in liver
    assert {t for t in liver if "o'clock" in t} == {t for t in liver if "10 o'clock" in t} != set()
    assert not any("dark" in t for t in liver)


def test_hours():
    right_middle = structure("spleen", (150, 90, 170, 110))
    upper = structure("heart", (90, 20, 110, 40))
    middle = structure("aorta", (96, 96, 104, 104))
    drawn = scene(right_middle, upper, middle, space="picture")
    assert any("3 o'clock" in t for t in said(drawn, "spleen"))
    assert any("12 o'clock" in t for t in said(drawn, "heart"))
    assert not any("o'clock" in t for t in said(drawn, "aorta"))
    hour = next(c for t, c in said(drawn, "spleen").items() if "o'clock" in t)
    # The aorta is too near to the middle to be excluded.
    assert (hour.fits("heart"), hour.fits("aorta")) == (False, True)


def test_loose_forms():
    near = structure("spleen", (97, 30, 109, 42), contrast=5.0)  # centre (3, -64): 1.5% left of the middle
    bright = next(c for t, c in said(scene(LIVER, near), "liver").items() if "bright" in t)
    assert bright.fits("spleen")
    place = next(c for t, c in said(scene(LIVER, near), "liver").items() if "right anterior" in t)
    assert place.fits("spleen")
    spine = next(c for t, c in said(scene(LIVER, SPINE), "spine").items() if "posterior" in t)
    assert not spine.fits("liver")
    share = next(c for t, c in said(scene(LIVER, near, SPINE), "liver").items() if "9%" in t)
    assert not share.fits("spleen")


def test_nobody_else_is_meant():
    # Two like structures side by side, apart from their place: every question must tell the place.
    twins = scene(LEFT, RIGHT, structure("spine", (90, 150, 110, 170)))
    for question in written(twins):
        places = Places(twins)
        known = {c.text: c for seed in range(60) for c in clauses(places, Dice(np.random.default_rng(seed)), question.about[0])}
        told = [f.removeprefix("it ") for f in question.facts if not DIFFERS.fullmatch(f)]
        used = [known[f] for f in told if f in known]
        if len(used) == len(told):
            others = [n for n in twins.structures if n != question.about[0]]
            assert not any(all(c.fits(n) for c in used) for n in others)


def test_gives_up_where_nothing_sets_apart():
    one = structure("vessel", (95, 95, 105, 105))
    assert implicit(scene(one, structure("nerve", (94, 95, 104, 105))), np.random.default_rng(0)) == ()


def test_left_out():
    scattered = structure("bowel", (20, 30, 60, 70), parts=[900, 700])
    assert written(scene(scattered)) == []
    assert not [q for q in written(scene(LEFT, SPINE, unclear=("right kidney",))) if q.about == ("left kidney",)]
    assert implicit(scene(), np.random.default_rng(0)) == ()


def test_all_structures_come_once_before_any_comes_twice():
    found = [q.about[0] for q in implicit(scene(LIVER, SPINE, LEFT, RIGHT), np.random.default_rng(2))]
    assert len(set(found[:4])) == 4
    assert len(found) == 8


def test_same_draw_same_questions():
    drawn = scene(LIVER, SPINE, LEFT, RIGHT)
    assert implicit(drawn, np.random.default_rng(9)) == implicit(drawn, np.random.default_rng(9))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("liver", "borders on the liver", True),
        ("liver", "lies near the hepatic vein", True),
        ("left kidney", "lies on the left", True),
        ("left kidney", "lies on the right", True),
        ("bladder", "touches the gallbladder", True),
        ("lungs", "is next to the left lung", True),
        ("lung nodule", "lies by the tumor", True),
        ("rib", "is described by nobody", False),
        ("liver", "borders on the spleen", False),
        ("head of femur", "lies in the middle of the picture", False),
    ],
)
def test_gives_away(name, text, told):
    assert gives_away(name, text) is told


def test_functions_do_not_name_their_organ():
    for pattern, texts in FUNCTIONS:
        plain = re.sub(r"[?()]|\|.*", "", pattern)
        assert function_of(plain) >= 0, plain
        assert not any(gives_away(plain, t) for t in texts), plain
    assert function_of("kidney cyst") == -1
    assert function_of("left kidney") == function_of("kidneys")
    assert all(not w.endswith("s") for w in SYNONYMS)
    assert len(set(OPENINGS)) == len(OPENINGS)
