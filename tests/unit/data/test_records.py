"""Rows and records, and the page that documents them."""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Frame, Look
from unireason.data.records import (
    CaseRecord,
    ImageRecord,
    SampleRecord,
    case_from_row,
    case_row,
    case_schema,
    image_from_row,
    image_row,
    image_schema,
    sample_from_row,
    sample_row,
    sample_schema,
)
from unireason.data.scene import IMPLICIT, DataQuestion, Part, Scene, Structure
from unireason.grounding import answer, grammar

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "records.md"

LIVER = Structure(
    name="liver",
    box_canonical=(1, 2, 3, 4, 5, 6),
    box_voxel=(4, 2, 0, 7, 5, 3),
    box_model=Box3D(2, 4, 6, 8, 10, 12),
    voxels=27,
    measure=40.5,
    centre=(-10.0, 2.5, 0.0),
    side="right",
    parts=(Part((1, 2, 3, 4, 5, 6), Box3D(2, 4, 6, 8, 10, 12), 40.5, 27),),
    part_count=1,
    neighbours=("spleen",),
    slices=(6, 12),
    borders=("left",),
    contrast=-12.25,
    elongation=1.5,
    points=((3, 5, 7), (6, 8, 11)),
)
SCENE = Scene(
    case="nnunet:a",
    patient="p",
    kind="volume",
    modality="CT",
    frame=Frame(56, 56, 16, "volume"),
    shape=(8, 28, 28),
    spacing_mm=(1.0, 1.0, 1.5),
    extent=(28.0, 28.0, 12.0),
    space="patient",
    unit="mm3",
    structures={"liver": LIVER},
    absent=("spleen",),
    unclear=("lesion",),
)
CASE = CaseRecord(SCENE, "nnunet", "a", "imagesTr/a_0000.nii.gz", -1, "ab" * 32, "0f" * 32, "train", "auto")
QUESTION = DataQuestion(
    "size_comparison", "largest", (), "Which is larger?", ("spleen", "liver"), 1, ("2 ml", "4 ml"), ("liver",)
)
SAMPLE = SampleRecord(
    "00ff",
    "nnunet:a",
    "p",
    "train",
    "volume",
    QUESTION,
    ("The liver ", Look("liver", LIVER.box_model), " is larger."),
    "template/1",
)
TARGET = replace(
    SAMPLE,
    kind="image",
    question=DataQuestion(IMPLICIT, "segment", ("liver",), "Which one?", (), -1, ("large",), ("liver",)),
    reasoning=("It is large.",),
    box=Box2D(1, 2, 30, 40),
    points=((5, 6), (20, 30)),
    category="liver",
    supercategory="abdomen",
)


@pytest.mark.parametrize("record", [CASE, replace(CASE, scene=replace(SCENE, spacing_mm=None, structures={}))])
def test_cases_survive_parquet(record: CaseRecord) -> None:
    table = pa.Table.from_pylist([case_row(record)], schema=case_schema())
    assert case_from_row(table.to_pylist()[0]) == record


@pytest.mark.parametrize("record", [SAMPLE, TARGET])
def test_samples_survive_parquet(record: SampleRecord) -> None:
    table = pa.Table.from_pylist([sample_row(record)], schema=sample_schema())
    assert sample_from_row(table.to_pylist()[0]) == record


def test_images_survive_parquet() -> None:
    record = ImageRecord("c", 0, b"png", (b"m", b"n"), ("liver", "spleen"))
    table = pa.Table.from_pylist([image_row(record)], schema=image_schema())
    assert image_from_row(table.to_pylist()[0]) == record


def test_the_response_is_what_the_model_should_write() -> None:
    assert SAMPLE.response == f"<think>The liver {grammar.write(LIVER.box_model)} is larger.</think>B. liver"
    reading = answer.read(TARGET.response)
    assert (reading.box, reading.points, reading.think) == (TARGET.box, TARGET.points, "It is large.")


@pytest.mark.parametrize(
    "change", [{"letter": "A"}, {"response": "x"}, {"reasoning": None}, {"options": ["a"]}, {"box": [1, 2]}, {"points": [[1]]}]
)
def test_rows_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="sample"):
        sample_from_row(sample_row(TARGET if "points" in change else SAMPLE) | change)


def test_a_damaged_case_row_is_refused() -> None:
    with pytest.raises(FormatError, match="case row"):
        case_from_row({"id": "x"})


def documented(heading: str) -> list[str]:
    text = PAGE.read_text()
    part = text[text.index(f"{heading}") :].split("\n\n")[1:]
    table = next(block for block in part if block.startswith("|"))
    return re.findall(r"^\| `(\w+)`", table, re.M)


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("## cases", case_schema().names),
        ("## samples", sample_schema().names),
        ("## images", image_schema().names),
        ("One entry of `structures`", [f.name for f in case_schema().field("structures").type.value_type]),
    ],
)
def test_every_field_is_documented(heading: str, names: list[str]) -> None:
    assert sorted(documented(heading)) == sorted(names)
