"""What a reader of built questions stumbled over: agreement, slices of a picture, middles, ranges too small to be seen."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from ask_scenes import asked, scene, structure

from unireason.data.questions.distractors import Dice, Places
from unireason.data.questions.wording import write
from unireason.data.rationale.template import Task, TemplateAnnotator
from unireason.data.scene import Midline

LOBULES = structure("right cerebellum 4 5", (20, 20, 60, 60))
TUMOUR = structure("brain tumour", (30, 30, 50, 44), diameters=(20.0, 3.5))


def reasoned(question, drawn) -> str:
    (done,) = TemplateAnnotator().annotate([Task("one", question, drawn)])
    return " ".join(part for part in done.reasoning if isinstance(part, str))


def test_a_display_in_the_plural_agrees():
    texts = [q.text for q in asked(scene(LOBULES), "how_large", seeds=80)]
    assert any(" do the right cerebellar lobules IV and V " in t for t in texts)
    assert not any(" does the right cerebellar lobules" in t for t in texts)


def test_a_picture_has_no_slices():
    drawn = scene(TUMOUR)
    questions = asked(drawn, "long_diameter", seeds=60)
    assert questions
    assert not any("slice" in q.text + reasoned(q, drawn) for q in questions)


def test_no_range_lies_below_a_pixel():
    for coarse in (1.0, 2.0):
        drawn = replace(scene(TUMOUR), spacing_mm=(coarse, coarse))
        ends = [float(v) for q in asked(drawn, "short_diameter", seeds=60) for o in q.options for v in re.findall(r"[\d.]+", o)]
        assert ends
        assert min(ends) >= coarse


def test_sides_are_asked_about_the_line_by_which_they_are_told():
    lesion = structure("lesion", (30, 30, 50, 44))
    for midline, line in ((Midline("spine", 10.0, 110.0), "midline of the body"), (Midline(), "middle of the image")):
        texts = [q.text for q in asked(replace(scene(lesion), midline=midline), "lesion_side", seeds=60)]
        said = [t for t in texts if "midline" in t or "middle" in t]
        assert said
        assert all(line in t for t in said)


def test_one_of_a_pair_has_not_the_place_of_both():
    assert asked(scene(structure("kidneys", (120, 120, 150, 160))), "quadrant") == []
    assert asked(scene(structure("kidney", (120, 120, 150, 160))), "quadrant")
    both = structure("kidneys", (20, 120, 150, 160), measure=1000, parts=[900, 100])
    assert both.scattered
    assert not structure("liver", (20, 120, 150, 160), measure=1000, parts=[900, 100]).scattered


def test_questions_count_their_options():
    places, counts = Places(scene(LOBULES)), {2: "Two of these", 3: "Three of these"}
    for wrong, said in counts.items():
        others = [(f"other {i}", "") for i in range(wrong)]
        for ask in ("which_present", "which_absent"):
            drawn = [write(places, Dice(np.random.default_rng(n)), ask, (), ("right", ""), others, ()).text for n in range(60)]
            counted = [text for text in drawn if text.startswith(tuple(counts.values()))]
            assert counted
            assert all(text.startswith(said) for text in counted)


def test_no_organ_has_a_place_among_those_of_another_part_of_the_body():
    """A slice that shows a lung where a kidney would be lies on another level."""
    left = structure("left kidney", (130, 120, 160, 150))
    for other, filled in (("right lung", False), ("liver", True)):
        drawn = scene(left, structure(other, (20, 100, 90, 180)), absent=("right kidney",))
        drawn = replace(drawn, midline=Midline("spine", 0.0, 100.0))
        facts = {q.facts[0] for q in asked(drawn, "present", seeds=40) if q.about == ("right kidney",)}
        assert [f"filled by {other}" in fact for fact in facts] == [filled]
