from __future__ import annotations

from dataclasses import replace

import pytest
from annotate_samples import IMPLICIT_SPLEEN, LARGEST, QUADRANT, image_scene, phantom_tasks, scene, structure, task, volume_scene

from unireason.core.types import Box2D, Box3D, Look
from unireason.data.rationale.template import Annotation, Dropped, TemplateAnnotator
from unireason.data.rationale.verify import Rules, match, read, verify
from unireason.data.scene import DataQuestion

RULES = Rules()
SPLEEN = "<|box_start|>[80,60,100,90]<|box_end|>"
SEEN = f"I look at the spleen {SPLEEN}. It lies behind the middle, on the left side."
GOOD = f"{SEEN} So the answer is left posterior B.</think>B. left posterior"


def codes(reply, question=QUADRANT, drawn=None, rules=RULES):
    return [f.code for f in read(task(question, drawn or image_scene()), reply, rules).faults]


def test_a_good_reply_is_read_as_text_and_looks():
    reading = read(task(QUADRANT, image_scene()), GOOD, RULES)
    assert reading.faults == ()
    assert reading.reasoning == (
        "I look at the spleen ",
        Look("spleen", Box2D(80, 60, 100, 90)),
        ". It lies behind the middle, on the left side. So the answer is left posterior B.",
    )


def test_a_box_that_is_off_a_little_is_snapped():
    reading = read(task(QUADRANT, image_scene()), GOOD.replace("80,60,100,90", "81, 60.5, 101, 91"), RULES)
    assert reading.faults == ()
    assert reading.reasoning[1] == Look("spleen", Box2D(80, 60, 100, 90))


def test_the_tolerance_is_an_overlap_of_three_quarters_by_hand():
    drawn = scene(structure("spleen", (0, 0, 40, 10), (50, 40), 400.0))
    assert match(drawn, Box2D(0, 0, 30, 10), 0.75) == "spleen"  # IoU 300 / 400
    assert match(drawn, Box2D(0, 0, 29, 10), 0.75) == ""  # IoU 290 / 400
    assert match(drawn, Box3D(0, 0, 0, 40, 10, 1), 0.75) == ""
    assert match(scene(), Box2D(0, 0, 1, 1), 0.75) == ""


def test_of_two_structures_with_one_box_the_needed_one_is_meant():
    drawn = scene(structure("a", (0, 0, 9, 9), (0, 0), 1.0), structure("b", (0, 0, 9, 9), (0, 0), 1.0))
    assert match(drawn, Box2D(0, 0, 9, 9), 0.75, prefer=("a",)) == "a"
    assert match(drawn, Box2D(0, 0, 9, 9), 0.75, prefer=("b",)) == "b"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (GOOD.replace("[80,60,100,90]", "[10,60,30,90]"), "box_without_structure"),
        (GOOD.replace("<|box_end|>", ""), "box_unreadable"),
        (GOOD.replace("80,60,100,90", "80,60,100"), "box_unreadable"),
        (GOOD.replace("80,60,100,90", "30,80,90,104"), "box_of_another"),
        (GOOD.replace("the spleen " + SPLEEN, "it"), "no_look"),
        (GOOD.replace(f"the spleen {SPLEEN}", "the liver <|box_start|>[10,20,50,70]<|box_end|>"), "needless_looks"),
        (GOOD.replace(SPLEEN, f"{SPLEEN}, again the spleen {SPLEEN}" * 4), "too_many_looks"),
        (GOOD.replace("It lies", "**It** lies"), "markup"),
        (GOOD.replace("It lies", "<b>It</b> lies"), "markup"),
        (GOOD.replace("It lies", "\n## Findings\nIt lies"), "markup"),
        (GOOD.replace("It lies", "<|im_end|> It lies"), "markup"),
        (GOOD.replace("It lies", "It\u202e lies"), "markup"),
        (GOOD.replace("It lies", "At (80, 60, 100, 90) it lies"), "box_in_text"),
        (GOOD.replace("It lies", "By the provided coordinates it lies"), "says_it_was_told"),
        (GOOD.replace("It lies", "In the ground truth it lies"), "says_it_was_told"),
        (GOOD.replace("It lies", "In the numbered box it lies"), "says_it_was_told"),
        (GOOD.replace("It lies", "In box number 3 it lies"), "says_it_was_told"),
        (GOOD.replace("So the answer is left posterior B.", "That is all."), "no_conclusion"),
        (GOOD.replace("So the answer is left posterior B.", "So it is left anterior A."), "no_conclusion"),
        (GOOD.replace("So the answer is left posterior B.", "It is not left posterior but left anterior A."), "no_conclusion"),
        (GOOD.replace("</think>B. left posterior", "</think>A. left anterior"), "wrong_answer"),
        (GOOD.replace("</think>B. left posterior", "</think>I do not know"), "no_answer"),
        (GOOD.replace("</think>", " "), "no_answer"),
        (f"Spleen {SPLEEN}: left posterior B.</think>B", "too_short"),
        (GOOD.replace("It lies", "It lies there. " * 400), "too_long"),
    ],
)
def test_faults_by_code(reply, code):
    assert code in codes(reply)


@pytest.mark.parametrize(
    "reply", ["", "</think>", "<think></think>", "\x00", "<|box_start|>" * 50, "</think>" * 50, "B", "🫁" * 100]
)
def test_rubbish_is_read_without_an_exception(reply):
    assert codes(reply)


def test_own_thoughts_of_the_writer_are_left_out():
    for prefix in ("<think>", "<think>hm, the spleen</think>", "<think>hm</think>\n<think>"):
        reading = read(task(QUADRANT, image_scene()), prefix + GOOD, RULES)
        assert reading.faults == ()
        assert reading.reasoning[0] == "I look at the spleen "


def test_a_listed_box_may_be_named_in_the_conclusion():
    asked = DataQuestion(
        "structure_localisation",
        "box",
        ("spleen",),
        "Which box?",
        ("[80,60,100,90]", "[0,0,20,30]"),
        0,
        ("", ""),
        ("spleen",),
    )
    reply = f"I look at the spleen {SPLEEN} and see that the box fits on all sides. So the answer is [80,60,100,90] A.</think>A"
    assert codes(reply, asked) == []


def test_a_false_lead_that_is_named_rightly_is_accepted():
    reply = GOOD.replace("I look", "First the liver <|box_start|>[10,20,50,70]<|box_end|>, which is not it. I look")
    assert codes(reply) == []
    assert codes(reply, rules=Rules(max_looks=1)) == ["too_many_looks"]


def test_implicit_texts_have_no_looks_and_name_the_target():
    text = "The description speaks of something dark on the left side, behind the middle. Only the spleen matches this."
    assert codes(f"{text}</think>spleen", IMPLICIT_SPLEEN) == []
    assert codes(f"{text}</think>liver", IMPLICIT_SPLEEN) == ["wrong_answer"]
    assert codes(f"{text} {SPLEEN}</think>spleen", IMPLICIT_SPLEEN) == ["look_not_allowed"]


def test_yes_and_no_are_found_as_words_only():
    asked = replace(QUADRANT, options=("no", "yes"), answer=0)
    reply = GOOD.replace("left posterior B.", "there is nothing to note.").replace("B. left posterior", "A. no")
    assert codes(reply, asked) == ["no_conclusion"]
    assert codes(reply.replace("nothing to note", "no spleen"), asked) == []


def test_annotations_are_verified_and_snapped():
    asked = task(QUADRANT, image_scene())
    near = Look("?", Box2D(80, 61, 100, 90))
    text = ". It lies behind the middle, on the left side. So the answer is left posterior B."
    found = verify(asked, Annotation(("I look at the spleen", near, text), "somebody"))
    assert found == Annotation(("I look at the spleen", Look("spleen", Box2D(80, 60, 100, 90)), text), "somebody")
    wrong = verify(asked, Annotation(("I look at the spleen", Look("spleen", Box2D(0, 0, 9, 9)), text), "somebody"))
    assert isinstance(wrong, Dropped)
    assert (wrong.id, wrong.reason) == ("sample-0", "box_without_structure")
    assert verify(asked, Annotation((), "nobody")) == Dropped(
        "sample-0", "no_look", "There is no box of a structure; write one to 6."
    )


def test_cuboids_are_read_in_volumes():
    asked = replace(QUADRANT, needs=("left kidney",))
    reply = GOOD.replace(f"the spleen {SPLEEN}", "the left kidney <|box_start|>[36,30,4,44,38,9]<|box_end|>")
    assert codes(reply, asked, volume_scene()) == []
    assert "box_without_structure" in codes(reply.replace("4,44", "0,44").replace("38,9", "38,16"), asked, volume_scene())


def test_all_needed_structures_count():
    reply = (
        "I look at the kidneys <|box_start|>[30,80,90,104]<|box_end|>; they are small, and the liver is larger: liver B.</think>B"
    )
    assert codes(reply, LARGEST) == []


@pytest.mark.parametrize(
    "said",
    [
        "I'm sorry, but I can't view images.",
        "I cannot see the image, so I go by what is known.",
        "I’m not able to view or interpret medical scans.",
        "As an AI language model I have no eyes.",
        "No image was provided with the question.",
        "I haven't received any picture.",
        "The scan did not load.",
        "Viewing it is beyond my capabilities.",
        "I must decline.",
        "Please upload the scan.",
        "You should consult a qualified radiologist.",
        "Without seeing the picture I can only guess.",
    ],
)
def test_refusals_are_rejected(said):
    assert "refusal" in codes(GOOD.replace("It lies", f"{said} It lies"))
    assert "refusal" in codes(f"{said} {GOOD}")


@pytest.mark.parametrize(
    "said",
    [
        "As described in the prompt, it is dark.",
        "The description mentions it.",
        "The mask shows it.",
        "The given answer is B.",
        "We know that the answer is B.",
        "I was told where it is.",
        "From the information provided I go on.",
        "The listed structures include it.",
        "As instructed, I go on.",
        "The list says 13 cm2.",
        "Since the right answer is left posterior, I go on.",
        "Here is the rewritten reasoning.",
    ],
)
def test_words_that_give_the_writer_away_are_rejected(said):
    assert "says_it_was_told" in codes(GOOD.replace("It lies", f"{said} It lies"))


@pytest.mark.parametrize(
    "said",
    [
        "Die Milz liegt hinten links.",
        "Elle se trouve à gauche.",
        "El bazo se encuentra en la parte izquierda.",
        "O baço está à esquerda.",
        "Śledziona leży po lewej stronie.",
        "Gambar menunjukkan bahwa limpa terletak di sebelah kiri belakang dan lebih kecil dari hati.",
        "脾脏位于左后方。",
        "It is 位于 there.",
        "Селезёнка лежит слева.",
        "तिल्ली बाईं ओर है।",
        "الطحال في الجهة اليسرى.",
        "Η σπλήνα βρίσκεται αριστερά.",
    ],
)
def test_other_languages_are_rejected_also_in_half_a_text(said):
    assert codes(GOOD.replace("It lies", f"{said} It lies")) == ["other_language"]


@pytest.mark.parametrize(
    "said",
    [
        "I cannot see the stomach in this image.",
        "I am unable to find a mass in the scan.",
        "Homogeneous low-attenuation lesion, right hepatic lobe.",
        "Given its position, this must be it.",
        "The angles α and β are small.",
        "The vena cava inferior lies near the middle.",
        "I look at the list of options and exclude the liver.",
        "The question asks where it lies.",
        "Sizes: 52 cm2, 13 cm2, 9 cm2, 80 mm2.",
    ],
)
def test_plain_findings_are_no_slips(said):
    assert {"refusal", "says_it_was_told", "other_language"}.isdisjoint(codes(GOOD.replace("It lies", f"{said} It lies")))


def test_words_of_the_task_are_no_slips():
    drawn = scene(
        *image_scene().structures.values(),
        structure("Milz und Maske", (80, 90, 85, 95), (50, 50), 9.0),
        structure("mask", (80, 90, 86, 96), (50, 50), 9.0),
    )
    assert codes(GOOD.replace("It lies", "Beside the Milz und Maske and the mask it lies"), drawn=drawn) == []
    text = "The description speaks of something dark on the left side, behind the middle. Only the spleen matches this."
    assert codes(f"{text}</think>spleen", IMPLICIT_SPLEEN) == []
    assert codes(f"The given description is short. {text}</think>spleen", IMPLICIT_SPLEEN) == ["says_it_was_told"]


def test_no_template_text_holds_a_slip():
    tasks = phantom_tasks()
    texts = ["\n".join(s for s in found.reasoning if isinstance(s, str)) for found in TemplateAnnotator().annotate(tasks)]
    assert len(texts) > 500
    slips = {"refusal", "says_it_was_told", "other_language"}
    for asked, text in zip(tasks, texts, strict=True):
        assert not slips & {f.code for f in read(asked, f"{text}</think>", RULES).faults}, text
