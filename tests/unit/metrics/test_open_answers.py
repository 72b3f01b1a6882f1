"""Free answers: words, amounts with units and tolerances, and sets of names."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.metrics.open_answers import right_answer, same_text

NAMES = ("liver", "left kidney", "spleen", "gallbladder", "liver metastasis", "L2 vertebra", "heart and great vessels")
LENGTHS = {"mm": 1.0, "cm": 10.0}
SIZES = {"mm3": 1.0, "cm3": 1000.0, "ml": 1000.0, "cubic centimetres": 1000.0, "cc": 1000.0, "mm\u00b3": 1.0, "cm^3": 1000.0}


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("It is the Liver.", "liver", True),
        ("In the liver", "liver", True),
        ("not in the liver", "liver", False),
        ("outside the liver", "liver", False),
        ("no liver", "liver", False),
        ("liver or spleen", "liver", False),
        ("liver, spleen", "liver", False),
        ("on the left side", "left", True),
        ("left upper", "upper left", False),
        ("the liver metastases", "liver metastasis", True),
        ("diseases", "disease", True),
        ("vertebrae", "vertebra", True),
        ("twenty-two", "22", True),
        ("There are three lesions.", "3", True),
        ("slice 12", "12", True),
        ("12 slices", "12", False),
        ("no lesions", "0", True),
        ("There are none.", "0", True),
        ("not none", "0", False),
        ("T2", "2", False),
        ("1.5T", "1", False),
        ("1,200 mm3", "1.2 ml", True),
        ("1 200 mm3", "200 mm3", False),
        ("twenty to thirty mm", "20 mm", False),
        ("34", "34 mm", False),
        ("34 mm2", "34 mm", False),
        ("34 mm", "34", False),
        ("The left one measures about 34 mm.", "34 mm", True),
        ("34 x 20 mm", "20 mm", False),
        ("34 mm (3.4 cm)", "34 mm", True),
        ("34 mm, or 40 mm", "34 mm", False),
        ("34+ mm", "34 mm", False),
        ("34 mm or more", "34 mm", False),
        ("\u00bd cm", "1 cm", False),
        ("12 percent", "12%", True),
        ("20 to 30 mm", "20 to 30 mm", True),
    ],
)
def test_answers(answer: str, gold: str, right: bool) -> None:
    assert same_text(answer, gold) is right


@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(["not the {}", "not in the {}", "no {}", "never the {}"]))
def test_a_denied_name_is_wrong(name: str, other: str, denial: str) -> None:
    assert same_text(name.upper(), name)
    assert not same_text(denial.format(name), name)
    assert same_text(other, name) is (other == name)


@given(st.floats(1, 900), st.floats(-0.3, 0.3), st.sampled_from(sorted(LENGTHS)), st.sampled_from(sorted(LENGTHS)))
def test_an_amount_is_right_within_its_tolerance_in_any_unit(value: float, off: float, unit: str, gold_unit: str) -> None:
    tolerance = 0.1 * value
    said, gold = value * (1 + off) / LENGTHS[unit], value / LENGTHS[gold_unit]
    within = abs(off) < 0.1
    if abs(abs(off) - 0.1) > 1e-3:
        found = same_text(f"{said:.6f} {unit}", f"{gold:.6f} {gold_unit}", tolerance / LENGTHS[gold_unit])
        assert found is within


@given(st.integers(1, 5000), st.sampled_from(sorted(SIZES)), st.sampled_from(sorted(SIZES)))
def test_volumes_are_one_whatever_their_unit(value: int, unit: str, gold_unit: str) -> None:
    assert same_text(f"{value / SIZES[unit]:.6f} {unit}", f"{value / SIZES[gold_unit]:.6f} {gold_unit}", 1e-4)
    assert not same_text(f"{2 * value / SIZES[unit]:.6f} {unit}", f"{value / SIZES[gold_unit]:.6f} {gold_unit}", 1e-4)
    assert not same_text(f"{value / SIZES[unit]:.6f} mm", f"{value / SIZES[gold_unit]:.6f} {gold_unit}", 1e9)


@given(
    st.integers(10, 90),
    st.sampled_from(
        [
            *("{0} to {1} mm", "{0}-{1} mm", "{0}\u2013{1} mm", "between {0} and {1} mm", "{0} mm to {1} mm", "{0} or {1} mm"),
            *(
                "more than {0} mm",
                "< {0} mm",
                "at least {0} mm",
                "up to about {0} mm",
                "not {0} mm",
                "{0} \u00b1 {1} mm",
                "{0}, {1} mm",
            ),
            *("{0} mm, not {1} mm", "{0} mm or larger", "longer than {0} mm"),
        ]
    ),
)
def test_ranges_bounds_and_denials_state_no_amount(value: int, form: str) -> None:
    assert same_text(f"{value} mm", f"{value} mm")
    assert not same_text(form.format(value, value + 2), f"{value + 1} mm", 5.0)


@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True), st.sampled_from(NAMES), st.randoms())
def test_of_a_set_all_must_be_named_and_nothing_else(names: list[str], other: str, chance: object) -> None:
    gold = [(name, f"organ {number}") for number, name in enumerate(names)]
    order = list(names)
    chance.shuffle(order)  # type: ignore[attr-defined]
    for said in (", ".join(order), f"{', '.join(order[:-1])} and the {order[-1]}.", f"both {' as well as '.join(order)}"):
        assert right_answer(said, gold)
        assert right_answer(f"{said}, {other}", gold) is (other in names)
    assert not right_answer(" or ".join(order), gold)
    assert not right_answer(", ".join(order[1:]), gold)
    assert not right_answer(f"not {', '.join(order)}", gold)
    assert not right_answer(f"{', '.join(order[1:])}, not {order[0]}", gold)
    assert right_answer(", ".join([*order[1:], f"organ {names.index(order[0])}"]), gold)


@pytest.mark.parametrize("gold", [(), ((),), (("liver",), ()), (("...",),), (("liver",), ("",)), ("liver",)])
def test_gold_must_name_something(gold: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(FormatError):
        right_answer("liver", gold)


@given(st.text(), st.sampled_from([(("liver",),), (("34 mm",),), (("liver",), ("spleen",)), (("0",),)]))
def test_any_text_can_be_judged(text: str, gold: tuple[tuple[str, ...], ...]) -> None:
    assert right_answer(text, gold, 1.0) in (True, False)


@pytest.mark.parametrize("piece", ["in ", "liver and ", "more than ", "1,000", "twenty ", "- ", "not ", "or more ", "<"])
def test_long_answers_take_no_longer_than_their_length(piece: str) -> None:
    start = time.process_time()
    for gold in ((("liver",),), (("34 mm",),), (("liver",), ("spleen",))):
        right_answer(piece * (200_000 // len(piece)), gold)
    assert time.process_time() - start < 5
