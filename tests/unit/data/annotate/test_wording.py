from __future__ import annotations

import pytest

from unireason.data.rationale.wording import (
    Said,
    amount,
    capital,
    claim,
    counted,
    fill,
    is_plural,
    length,
    listed,
    rounded,
    the,
    unit_of,
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


@pytest.mark.parametrize(
    ("measure", "unit", "said"),
    [
        (120_400, "mm3", "120 ml"),
        (1_254_000, "mm3", "1,250 ml"),
        (1000, "mm3", "1 ml"),
        (999.4, "mm3", "999 mm3"),
        (3456, "mm3", "3.46 ml"),
        (340, "mm2", "3.4 cm2"),
        (99.5, "mm2", "99.5 mm2"),
        (12, "pixels", "12 pixels"),
        (0, "mm3", "0 mm3"),
    ],
)
def test_amounts_in_the_unit_one_would_say(measure, unit, said):
    assert amount(measure, unit) == said


def test_numbers_are_written_without_exponent():
    assert [rounded(v) for v in (0, 0.0341, 2.345, 1_234_567)] == ["0", "0.034", "2.35", "1,230,000"]
    assert (length(-33.6, "mm3"), length(1.2, "pixels"), length(7, "pixels")) == ("34 mm", "1 pixel", "7 pixels")
    assert (counted(1, "slice"), counted(3, "slice"), counted(12, "slice")) == ("one slice", "three slices", "12 slices")


def test_lists_and_articles():
    assert [listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listed(["a", "b"], "or") == "a or b"
    assert (the("liver"), the("the liver")) == ("the liver", "the liver")


def test_volumes_without_spacing_are_measured_in_voxels():
    assert [unit_of(*both) for both in (("volume", "pixels"), ("image", "pixels"), ("volume", "mm3"))] == [
        "voxels",
        "pixels",
        "mm3",
    ]
    assert (amount(1240, "voxels"), length(-1.2, "voxels"), length(12, "voxels")) == ("1,240 voxels", "1 voxel", "12 voxels")


def test_a_fact_becomes_a_claim_about_its_structure():
    assert claim("it measures 3 ml", "spleen") == "the spleen measures 3 ml"
    assert claim("it measures 3 ml", "kidneys") == "the kidneys measure 3 ml"
    assert claim("its centre is 3 mm away", "spleen") == "the centre of the spleen is 3 mm away"
    assert claim("it is not there", "kidneys") == "the kidneys are not there"
    assert claim("one part stands alone", "spleen") == "one part stands alone"
