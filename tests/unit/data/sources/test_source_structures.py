"""Names, label tables and modalities as data sets spell them."""

from __future__ import annotations

from typing import Any

import pytest

from unireason.core.errors import FormatError
from unireason.data.survey import legend, modality_code, structure


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("CT", "CT"), ("ct_00", "CT"), ("MRI", "MR"), ("mr_t1", "MR"), ("T1w", "MR"), ("FLAIR", "MR"), ("mr_00", "MR"),
        ("x_ray_00", "DX"), ("X-Ray", "DX"), ("pet_00", "PT"), ("ultrasound_00", "US"), ("us_00", "US"), ("fundus_00", "OP"),
        ("endoscopy_00", "ES"), ("dermoscopy_00", "XC"), ("oct_00", "OPT"), ("microscopy_00", "GM"), ("histopathology_00", "SM"),
        ("noNorm", ""), ("", ""), ("octopus", ""), ("ctenophore", ""),
    ],
)  # fmt: skip
def test_modalities(said: str, code: str) -> None:
    assert modality_code(said) == code


def test_legends_run_either_way_and_leave_the_background_out() -> None:
    assert legend({"0": "background", "2": "Kidney_Left", "1": "liver"}) == {1: "liver", 2: "left kidney"}
    assert legend({"background": 0, "liver": 1}) == {1: "liver"}
    assert legend({"liver": "3"}) == {3: "liver"}
    assert legend({"7": "background", "0": "liver", "5": "ignore"}) == {5: "", 7: ""}


@pytest.mark.parametrize(
    "table", [{"1": ["liver"]}, {"liver": -1}, {"liver": 1.5}, {"liver": True}, {"x": 2**32}, {"1": "a" * 300}, {"a": 1, "b": 1}]
)
def test_legends_that_cannot_be_used(table: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        legend(table)


def test_a_legend_of_a_million_entries_is_refused() -> None:
    with pytest.raises(FormatError, match="labels"):
        legend({str(n): "x" for n in range(5000)})


def test_what_is_no_structure_has_no_name() -> None:
    assert [structure(n) for n in ("Background", "ignore", "", "kidney_left")] == ["", "", "", "left kidney"]
