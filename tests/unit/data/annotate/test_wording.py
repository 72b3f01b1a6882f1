from __future__ import annotations

import pytest

from unireason.data.rationale.wording import (
    Said,
    capital,
    claim,
    counted,
    fill,
    instance,
    instances,
    is_plural,
    listed,
    spelled_out,
    the,
)


@pytest.mark.parametrize("name", ["kidneys", "vertebrae", "left ribs", "lungs", "teeth", "deep muscles"])
def test_plural_names(name):
    assert is_plural(name)


@pytest.mark.parametrize(
    "name", ["spleen", "pancreas", "left humerus", "pelvis", "mass", "rib 4", "vertebrae l5", "uterus", "biceps", "lens", ""]
)
def test_singular_names(name):
    assert not is_plural(name)


def test_verbs_and_pronouns_agree_with_the_name():
    template = "{Name} {lies} here; {it} {is} large, {reaches} far, {has} {its} place, I see {them}."
    assert fill(template, "spleen") == "The spleen lies here; it is large, reaches far, has its place, I see it."
    assert fill(template, "kidneys") == "The kidneys lie here; they are large, reach far, have their place, I see them."


def test_a_value_may_hold_braces_and_beginnings_are_large():
    assert fill("{option} or {Option}.", option="{lies}") == "{lies} or {lies}."
    assert fill("of {Large}", large="the liver") == "Of The liver"
    assert (capital(""), capital("a b")) == ("", "A b")


def test_said_writes_any_of_its_wordings():
    said = Said(("{It} {holds} {value}.", "I see {value}."), "kidneys", {"value": "3 ml"})
    assert [said.written(w) for w in said.wordings] == ["They hold 3 ml.", "I see 3 ml."]


def test_either_of_several_words_is_spelled_out():
    assert spelled_out("a [b|c] d[|e]") == ["a b d", "a b de", "a c d", "a c de"]
    assert spelled_out("no choice [here]") == ["no choice [here]"]


def test_counts_and_instances():
    assert (counted(1, "slice"), counted(3, "slice"), counted(12, "slice")) == ("one slice", "three slices", "12 slices")
    assert instance("polyp") == ("polyp", "polyps")
    assert instance("hard exudates")[0] == "hard exudate"
    assert (instances(1, "lesion"), instances(3, "lesion")) == ("one lesion", "three lesions")
    assert instances(2, "oedema") == "two areas of oedema"


def test_lists_and_articles():
    assert [listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listed(["a", "b"], "or") == "a or b"
    assert (the("liver"), the("the liver")) == ("the liver", "the liver")


def test_a_fact_becomes_a_claim_about_its_structure():
    assert claim("it measures 3 ml", "spleen") == "the spleen measures 3 ml"
    assert claim("it measures 3 ml", "kidneys") == "the kidneys measure 3 ml"
    assert claim("its centre is 3 mm away", "spleen") == "the centre of the spleen is 3 mm away"
    assert claim("it is not there", "kidneys") == "the kidneys are not there"
    assert claim("one part stands alone", "spleen") == "one part stands alone"
