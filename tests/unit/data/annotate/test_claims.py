"""Texts that claim what is not so, in several wordings of each kind, and right ones that must pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
from annotate_samples import IMPLICIT_SPLEEN, image_scene, phantom_tasks, scene, structure, task, volume_scene

from unireason.core.types import Look
from unireason.data.claims import answered_early, false_claims
from unireason.data.rationale.template import TemplateAnnotator
from unireason.data.rationale.verify import Rules, read
from unireason.data.scene import DataQuestion

LARGER = DataQuestion(
    "size_comparison",
    "largest",
    (),
    "Which has the larger area in this image, the spleen or the liver?",
    ("spleen", "liver"),
    1,
    ("it measures 13 cm2", "it measures 52 cm2"),
    ("liver", "spleen"),
)
WHERE = DataQuestion(
    "structure_localisation",
    "quadrant",
    ("spleen", "xy"),
    "Where does the spleen lie, in patient terms?",
    ("left anterior", "left posterior", "right anterior", "right posterior"),
    1,
    (),
    ("spleen",),
)
LESION = DataQuestion(
    "lesion_analysis",
    "brightness",
    ("lesion",),
    "How does the lesion look against the surroundings?",
    ("darker", "brighter"),
    1,
    (),
    ("lesion", "liver"),
)
KIDNEYS = DataQuestion(
    "size_comparison",
    "largest",
    (),
    "Which has the larger volume, the left kidney or the right kidney?",
    ("left kidney", "right kidney"),
    0,
    (),
    ("left kidney", "right kidney"),
)
IMAGE, VOLUME = image_scene(), volume_scene()
LIVER, SPLEEN, SPOT, BOTH = (IMAGE.structures[n].box_model for n in ("liver", "spleen", "lesion", "kidneys"))
SPLEEN_LOOK = ("I look at the spleen", Look("spleen", SPLEEN), ". ")
LIVER_LOOK = ("I look at the liver", Look("liver", LIVER), ". ")
LESION_LOOK = ("I look at the lesion", Look("lesion", SPOT), ". ")
KIDNEY_LOOK = ("I look at the left kidney", Look("left kidney", VOLUME.structures["left kidney"].box_model), ". ")


def codes(text, steps=(), question=WHERE, drawn=IMAGE, scaled=True):
    return {f.code for f in false_claims(drawn, question, (*steps, text), scaled=scaled)}


def test_what_tells_the_target_of_a_description_from_others_is_claimed():
    text = "The liver does not match, as its centre lies 90 mm to the {} of the place that is meant."
    assert codes(text.format("left"), question=IMPLICIT_SPLEEN) == {"wrong_side"}
    assert codes(text.format("right"), question=IMPLICIT_SPLEEN) == set()


WRONG = {
    "wrong_number": [
        ("It measures about 27 cm2.", SPLEEN_LOOK),
        ("The liver covers roughly 8 cm².", ()),
        ("Its area comes to 2,900 mm2.", SPLEEN_LOOK),
        ("The spleen is 95 mm wide.", ()),
        ("Its diameter is 11.5 cm.", SPLEEN_LOOK),
        ("The centres of the liver and the spleen lie 230 mm apart.", ()),
        ("It lies 80 mm to the left of the middle.", SPLEEN_LOOK),
        ("It takes up 40% of the picture.", SPLEEN_LOOK),
        ("The liver is nine times as large as the spleen, or 9 times to be exact.", ()),
        ("The liver measures 13 cm2 and the spleen 52 cm2.", ()),
        ("Its middle is 410 pixels to the left of that of the image.", SPLEEN_LOOK),  # its area in pixels
    ],
    "unseen_number": [("It has a mean of 45 HU.", SPLEEN_LOOK), ("At -12 HU, it looks fatty.", LIVER_LOOK)],
    "wrong_side": [
        ("It lies on the right side.", SPLEEN_LOOK),
        ("It sits in the right posterior part of the image.", SPLEEN_LOOK),
        ("The spleen lies to the right of the liver.", ()),
        ("Seen from the liver, the spleen lies further to the front.", ()),
        ("The spleen is found in the anterior half.", ()),
        ("Here x 90 is more than 56 and y 75 is more than 56, so it lies in the right anterior part.", SPLEEN_LOOK),
        ("To the left of the spleen one finds the liver.", ()),
    ],
    "wrong_brightness": [
        ("It is clearly brighter than its surroundings.", SPLEEN_LOOK),
        ("It appears hyperdense.", SPLEEN_LOOK),
        ("It looks darker than the tissue around.", LESION_LOOK),
        ("The lesion is hypointense.", ()),
        ("The tissue around it is darker.", SPLEEN_LOOK),
        ("The lesion is isodense to its surroundings.", ()),
    ],
    "wrong_comparison": [
        ("The spleen is larger than the liver.", ()),
        ("The liver is smaller than the spleen.", ()),
        ("With more area, the spleen exceeds the liver.", ()),
    ],
    "wrong_count": [
        ("The lesion falls into three separate parts.", ()),
        ("I count 4 separate foci of it.", LESION_LOOK),
        ("Here are two distinct nodules.", LESION_LOOK),
    ],
    "wrong_neighbour": [
        ("It lies right next to the spleen.", LIVER_LOOK),
        ("The liver abuts the spleen.", ()),
        ("The lesion lies inside the spleen.", ()),
        ("The spleen is surrounded by the liver.", ()),
    ],
    "unfounded": [
        ("It shows signs of cirrhosis.", LIVER_LOOK),
        ("This is a malignant lesion.", LESION_LOOK),
        ("There is ascites around it.", LIVER_LOOK),
        ("A biopsy is recommended.", LESION_LOOK),
        ("It contains coarse calcifications.", LESION_LOOK),
        ("It is enlarged, as in portal hypertension disease.", SPLEEN_LOOK),
    ],
    "not_there": [("The stomach is faintly visible in front of it.", SPLEEN_LOOK), ("Beside it lies the stomach.", SPLEEN_LOOK)],
    "unknown_structure": [("Behind it I see the pancreas.", SPLEEN_LOOK), ("The aorta runs beside it.", LIVER_LOOK)],
}


@pytest.mark.parametrize(("code", "text", "steps"), [(c, t, s) for c, texts in WRONG.items() for t, s in texts])
def test_a_false_claim_is_told_by_its_kind(code, text, steps):
    assert code in codes(text, steps)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("It is seen on slices 9 to 14.", "wrong_slices"),
        ("It appears on slice 13.", "wrong_slices"),
        ("It spans 11 slices.", "wrong_number"),
        ("It holds about 310 ml.", "wrong_number"),
        ("The left kidney is 51 mm across.", "wrong_number"),  # so far away from the middle, by a word of its name
        ("It lies towards the head from the middle.", "wrong_side"),
        ("It is smaller than the right kidney.", "wrong_comparison"),
    ],
)
def test_false_claims_about_a_volume(text, code):
    assert code in codes(text, KIDNEY_LOOK, KIDNEYS, VOLUME) or code in codes(
        text.replace("It is smaller", "The left kidney is smaller"), KIDNEY_LOOK, KIDNEYS, VOLUME
    )


@pytest.mark.parametrize(
    "text",
    [
        "It measures about 13 cm2.",
        "It lies in the left posterior part, 50 mm to the left and 40 mm to the back of the middle.",
        "It is darker than its surroundings.",
        "It is smaller than the liver.",
        "The liver is about four times as large as the spleen.",
        "No part of the stomach can be seen here.",
        "The tissue around it is brighter.",
        "It lies to the left of the liver, next to the kidneys.",
        "I looked for the stomach first, which would lie in front.",
        "The liver, with 52 cm2, is larger.",
    ],
)
def test_true_claims_pass(text):
    assert codes(text, SPLEEN_LOOK) == set()


def test_no_metric_number_without_a_scale():
    assert codes("It measures about 13 cm2.", SPLEEN_LOOK, scaled=False) == {"unseen_number"}
    assert codes("It is 20 pixels wide.", SPLEEN_LOOK, scaled=False) == set()
    unscaled = replace(IMAGE, spacing_mm=None, unit="pixels")
    assert codes("It measures about 13 cm2.", SPLEEN_LOOK, drawn=unscaled) == {"unseen_number"}


EARLY = [
    (LARGER, ("The larger one is the liver. ", *LIVER_LOOK, *SPLEEN_LOOK, "So the answer is liver B.")),
    (LARGER, (*LIVER_LOOK, "Therefore it must be the liver. ", *SPLEEN_LOOK, "The spleen is smaller. So the answer is liver B.")),
    (LARGER, ("The answer is B. ", *SPLEEN_LOOK, *LIVER_LOOK, "So the answer is liver B.")),
    (LARGER, (*LIVER_LOOK, "So the answer is liver B. The spleen is smaller. So liver B.")),
    (WHERE, ("The spleen is left posterior. ", *SPLEEN_LOOK, "So the answer is left posterior B.")),
    (WHERE, ("Option B is right. ", *SPLEEN_LOOK, "So the answer is left posterior B.")),
    (LESION, ("It is brighter. ", *LESION_LOOK, "So the answer is brighter B.")),
]
FIRST = [
    (
        LARGER,
        (
            *SPLEEN_LOOK,
            "It measures 13 cm2. ",
            *LIVER_LOOK,
            "It measures 52 cm2. 52 is more than 13, so the liver is larger: liver B.",
        ),
    ),
    (WHERE, (*SPLEEN_LOOK, "It lies on the left and at the back. So the answer is left posterior B.")),
    (LESION, (*LESION_LOOK, "It is brighter than the tissue around. So the answer is brighter B.")),
]


@pytest.mark.parametrize(("question", "steps"), EARLY)
def test_an_answer_in_front_of_its_evidence_is_found(question, steps):
    assert answered_early(IMAGE, question, steps)


@pytest.mark.parametrize(("question", "steps"), FIRST)
def test_evidence_first_passes(question, steps):
    assert answered_early(IMAGE, question, steps) == ""


def test_the_right_texts_of_phantoms_make_no_false_claim():
    tasks = phantom_tasks()
    texts = [(t, a.reasoning) for t, a in zip(tasks, TemplateAnnotator().annotate(tasks), strict=True) if hasattr(a, "reasoning")]
    assert len(texts) > 200
    assert [f for t, r in texts for f in false_claims(t.scene, t.question, r)] == []


def box_text(box):
    return f"<|box_start|>[{','.join(str(int(v)) for v in box.coords)}]<|box_end|>"


def test_a_box_is_held_against_the_longest_name():
    drawn = scene(
        structure("liver", (10, 20, 50, 70), (-40, -20), 5200.0), structure("liver tumour", (20, 30, 34, 44), (-50, -30), 200.0)
    )
    question = replace(LESION, about=("liver tumour",), needs=("liver tumour", "liver"), text="How does the liver tumour look?")
    end = " It is brighter than what lies around. So the answer is brighter B.</think>B. brighter"
    tumour, organ = box_text(drawn.structures["liver tumour"].box_model), box_text(drawn.structures["liver"].box_model)
    right = [f.code for f in read(task(question, drawn), f"I look at the liver tumour {tumour}.{end}", Rules()).faults]
    wrong = [f.code for f in read(task(question, drawn), f"I look at the liver tumour {organ}.{end}", Rules()).faults]
    assert (right, wrong) == ([], ["box_of_another"])


def test_one_side_is_not_shown_by_a_box_for_both():
    end = " It lies at the back. So the answer is left posterior B.</think>B. left posterior"
    question = replace(WHERE, about=("kidneys",), needs=("kidneys",), text="Where do the kidneys lie?")
    found = read(task(question, IMAGE), f"I look at the left kidneys {box_text(BOTH)}.{end}", Rules())
    assert "box_of_both" in [f.code for f in found.faults]


@pytest.mark.parametrize(
    "text", ["As listed above, it is dark.", "The mask of the spleen is small.", "I was told that it is dark."]
)
def test_a_writer_does_not_speak_of_what_was_handed_over(text):
    reply = f"I look at the spleen {box_text(SPLEEN)}. {text} So the answer is left posterior B.</think>B. left posterior"
    assert "says_it_was_told" in [f.code for f in read(task(WHERE, IMAGE), reply, Rules()).faults]
