from __future__ import annotations

import re
from collections import Counter

import pytest
from annotate_samples import IMPLICIT_SPLEEN, LARGEST, NEAREST, QUADRANT, image_scene, phantom_tasks, task, volume_scene

from unireason.core.types import Look
from unireason.data.rationale import wording
from unireason.data.rationale.template import Annotation, Dropped, TemplateAnnotator
from unireason.data.rationale.verify import verify
from unireason.data.scene import FAMILIES, IMPLICIT, DataQuestion
from unireason.grounding import grammar
from unireason.grounding.trace import steps_from_text

ANNOTATOR = TemplateAnnotator()


@pytest.fixture(scope="module")
def annotated():
    return list(zip(phantom_tasks(), ANNOTATOR.annotate(phantom_tasks()), strict=True))


def text_of(annotation, box=" [box]"):
    return "".join(p if isinstance(p, str) else box for p in annotation.reasoning)


def looks_of(annotation):
    return [p for p in annotation.reasoning if isinstance(p, Look)]


def test_every_family_and_both_kinds_are_covered():
    seen = {(t.question.family, t.scene.kind) for t in phantom_tasks()}
    assert seen == {(f, k) for f in FAMILIES for k in ("image", "volume")} | {(IMPLICIT, "image")}


def test_every_task_gets_reasoning_that_the_verification_accepts_unchanged(annotated):
    for asked, found in annotated:
        assert verify(asked, found) == found, asked.question


def test_looks_are_structures_with_their_exact_boxes(annotated):
    for asked, found in annotated:
        looks = looks_of(found)
        assert len(looks) == 0 if asked.question.family == IMPLICIT else 1 <= len(looks) <= 3
        for look in looks:
            assert look.seen
            assert look.box == asked.scene.structures[look.label].box_model
        assert asked.question.family == IMPLICIT or {s.label for s in looks} & set(asked.question.needs)


def test_reasoning_ends_with_the_option_and_its_letter(annotated):
    for asked, found in annotated:
        if asked.question.options:
            assert text_of(found).endswith(f" {asked.question.right} {asked.question.letter}."), text_of(found)


GRAMMAR = {
    "double blank": r"  ",
    "blank before a stop": r" [.,;:!?](?!\d)",
    "doubled stop": r"[.,;:!?]{2}",
    "doubled word": r"\b(\w+) \1\b",
    "place not filled in": r"[{}]",
    "sentence with a small beginning": r"[.!?] [a-z]",
    "wrong article": r"\ba [aeio]|(?:^|\. )A [aeio]|\b[Aa]n [bcdfghjklmnpqrstvwxyz]",
    "article twice": r"\b(?:the|a|an) (?:the|a|an)\b",
    "one with a plural": r"\bone (?:slices|parts)\b",
    "plural with a singular verb": r"\b(?:they|kidneys|lungs) (?:is|lies|has|shows|covers|holds)\b",
    "singular with a plural verb": r"\b(?:It|it) (?:are|lie|have|show|cover|hold|sit|touch|reach|look|stand)\b",
    "tag": r"<|>|\|",
    "number without end": r"\d\.\d{4,}",
    "nothing between commas": r", ,",
    "list that ends in a comma": r",[.;]| and[.;]",
}


@pytest.mark.parametrize("rule", GRAMMAR)
def test_texts_keep_the_rules_of_grammar(annotated, rule):
    for _, found in annotated:
        text = text_of(found)
        hit = re.search(GRAMMAR[rule], text)
        assert hit is None, text
    assert all(text_of(f)[0].isupper() and text_of(f).endswith(".") for _, f in annotated)


def test_the_rules_of_grammar_find_what_they_are_for():
    wrong = [
        "a  b",
        "a .",
        "a..",
        "the the",
        "{It}",
        "So. it",
        "a organ",
        "the a",
        "one parts",
        "they is",
        "It are",
        "<",
        "1.23456",
    ]
    wrong += ["a, , b", "a,."]
    for (name, pattern), text in zip(GRAMMAR.items(), wrong, strict=True):
        assert re.search(pattern, text), name


def test_texts_vary(annotated):
    texts = [text_of(found) for _, found in annotated]
    assert len(set(texts)) / len(texts) > 0.99
    bare = [re.sub(r"\d[\d.,]*", "#", t) for t in texts]
    assert len(set(bare)) / len(bare) > 0.97
    first = Counter(t.split(".")[0].replace("[box]", "") for t in texts)
    assert first.most_common(1)[0][1] < 0.1 * len(texts)


def test_every_sentence_kind_has_at_least_four_phrasings():
    banks = [*wording.SAY.values(), *wording.OPENINGS.values(), *wording.wordings("implicit_grounding")["reasoning"].values()]
    assert len(banks) > 15
    assert all(len(set(bank)) >= 4 for bank in banks)
    assert set(wording.OPENINGS) == set(FAMILIES)


def test_false_leads_are_corrected_and_about_one_in_eight(annotated):
    leads = [(t, f) for t, f in annotated if {s.label for s in looks_of(f)} - set(t.question.needs)]
    asked = [t for t, _ in annotated if t.question.options]
    assert 0.07 < len(leads) / len(asked) < 0.19
    for asked_task, found in leads:
        wrong = looks_of(found)[0].label
        assert wrong not in {*asked_task.question.needs, *asked_task.question.options}
        assert looks_of(found)[1].label in asked_task.question.needs
        after = found.reasoning[found.reasoning.index(looks_of(found)[0]) + 1]
        assert f"the {wrong}" in after.split(".")[1], after


def test_the_words_in_front_of_a_box_name_what_it_shows(annotated):
    for asked, found in annotated:
        whole = "".join(p if isinstance(p, str) else grammar.write(p.box) for p in found.reasoning)
        steps, problems = steps_from_text(f"<think>{whole}</think>A", choose=lambda _: "A")
        read = [s.label for s in steps if s.type == "look"]
        assert problems == ()
        for look, label in zip(looks_of(found), read, strict=True):
            assert label == look.label or look.label not in asked.question.needs


def test_implicit_texts_name_the_target_at_the_end_only(annotated):
    for asked, found in annotated:
        if asked.question.family == IMPLICIT:
            (text,) = found.reasoning
            target = asked.question.needs[0]
            sentences = [s for s in re.split(r"(?<=\.)\s", text) if s]
            assert target in sentences[-1]
            assert all(fact in text for fact in asked.question.facts)
            assert not any(re.search(rf"\b{target}\b", s) for s in sentences[:-1])


def test_equal_tasks_get_equal_texts_and_other_identifiers_other_ones():
    some = phantom_tasks()[:40]
    again = TemplateAnnotator().annotate(some)
    assert again == ANNOTATOR.annotate(some)
    assert ANNOTATOR.annotate(some[::-1])[::-1] == again
    texts = {text_of(f) for f in ANNOTATOR.annotate([task(QUADRANT, image_scene(), n) for n in range(30)])}
    assert len(texts) > 20


def test_one_text_is_known_word_for_word():
    """Guards against a change of the wording without a new version: texts are part of a data set's hash."""
    (found,) = ANNOTATOR.annotate([task(QUADRANT, image_scene(), 1)])
    assert found.annotator == "template/2"
    assert text_of(found) == PINNED


PINNED = (
    "The question is where something lies, so I look for it. I first look at the spleen [box]. Measured from the middle of the image, "
    "its centre lies 50 mm to the left and 40 mm to the back. This means that its centre lies 50 mm to the left and 40 mm to the back. "
    "That makes it left posterior B."
)


def test_sizes_and_offsets_are_said_as_measured():
    text = text_of(ANNOTATOR.annotate([task(LARGEST, image_scene())])[0])
    assert "52 cm2" in text
    assert "the lesion measures" not in text
    assert "80 mm2" in text  # the option that was not looked at
    text = text_of(ANNOTATOR.annotate([task(NEAREST, volume_scene())])[0])
    assert "80 mm to the right" in text


def test_an_unknown_ask_gets_reasoning_from_facts_needs_and_options():
    asked = DataQuestion(
        "some_new_family",
        "something_new",
        (),
        "What?",
        ("one thing", "spleen"),
        1,
        ("it is odd", "it measures 13 cm2"),
        ("spleen",),
    )
    for number in range(20):
        made = task(asked, image_scene(), number)
        (found,) = ANNOTATOR.annotate([made])
        assert verify(made, found) == found
        assert "the spleen measures 13 cm2" in text_of(found).lower()
        assert text_of(found).endswith("spleen B.")


def test_bare_questions_without_facts_or_about_are_answered_too():
    for ask in ("largest", "how_large", "present", "direction", "nearest", "count", "host", "which_absent", "box", "unknown"):
        asked = DataQuestion("size_comparison", ask, (), "What?", ("liver", "spleen"), 0, (), ("liver", "spleen"))
        made = task(asked, image_scene())
        (found,) = ANNOTATOR.annotate([made])
        assert verify(made, found) == found


def test_at_most_three_looks_however_many_structures_are_needed():
    asked = DataQuestion("x", "y", (), "?", ("liver", "spleen"), 0, (), ("liver", "spleen", "kidneys", "lesion", "liver"))
    (found,) = ANNOTATOR.annotate([task(asked, image_scene())])
    assert [s.label for s in looks_of(found)] == ["liver", "spleen", "kidneys"]


def test_a_task_without_a_structure_to_look_at_is_dropped():
    asked = DataQuestion("x", "y", (), "?", ("yes", "no"), 0, (), ("tail",))
    (found,) = ANNOTATOR.annotate([task(asked, image_scene())])
    assert found == Dropped("sample-0", "no_structure", "needs tail")
    assert ANNOTATOR.annotate([]) == []


def test_implicit_without_facts_still_says_where(annotated):
    asked = DataQuestion(IMPLICIT, "segment", ("spleen",), "?", (), -1, (), ("spleen",))
    (found,) = ANNOTATOR.annotate([task(asked, image_scene())])
    assert isinstance(found, Annotation)
    assert "spleen" in text_of(found)
    assert verify(task(IMPLICIT_SPLEEN, image_scene()), ANNOTATOR.annotate([task(IMPLICIT_SPLEEN, image_scene())])[0])
