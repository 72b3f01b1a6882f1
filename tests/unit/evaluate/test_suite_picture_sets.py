"""PathVQA, PMC-VQA and OmniMedVQA on tiny trees."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.trees import write_json, write_picture

from unireason.core.errors import FormatError, UniReasonError
from unireason.evaluate.suites.base import open_suite


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def stored(grey):
    data = io.BytesIO()
    Image.fromarray(np.full((4, 6), grey, np.uint8)).save(data, "PNG")
    return {"bytes": data.getvalue(), "path": f"../{grey}.png"}


@pytest.fixture
def path_vqa(tmp_path):
    (tmp_path / "data").mkdir()
    shards = [
        [(1, "a?", "yes"), (2, "b?", "the spleen"), (1, "c?", "no")],
        [(3, "d?", "mitosis"), (2, "e?", "No"), (4, "f?", "")],
    ]
    for number, rows in enumerate(shards):
        table = pa.Table.from_pylist([{"image": stored(g), "question": q, "answer": a} for g, q, a in rows])
        pq.write_table(table, tmp_path / "data" / f"test-{number:05d}-of-00002.parquet")
    return tmp_path


def test_path_vqa(path_vqa):
    suite = open_suite("path-vqa", path_vqa)
    found = list(suite.entries())
    assert [(e.question, e.letter, e.answers[0]) for e in found] == [
        ("a?", "A", "yes"), ("c?", "B", "no"), ("b?", "", "the spleen"), ("e?", "B", "no"), ("d?", "", "mitosis"),
    ]  # fmt: skip
    assert found[0].id == "test-00000-of-00002-0"
    assert found[0].case == found[1].case != found[2].case
    assert suite.left_out == {"its answer has no word": 1}
    cases = list(dict.fromkeys(e.case for e in found))
    for one in (suite, open_suite("path-vqa", path_vqa)):
        for number in (0, 1, 2, 1, 1, 0, 2, 0):
            case = one.read(cases[number])
            assert case.pixels.shape == (4, 6)
            assert np.all(case.pixels == number + 1)
    with pytest.raises(UniReasonError, match="no picture"):
        suite.read("f" * 64)


def test_path_vqa_of_another_shape(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "test-0.parquet"
    for row in ({"image": stored(1), "question": "a?"}, {"image": {"path": "a.png"}, "question": "a?", "answer": "yes"}):
        pq.write_table(pa.Table.from_pylist([row]), path)
        with pytest.raises(FormatError):
            list(open_suite("path-vqa", tmp_path).entries())
    path.write_bytes(b"PAR1")
    with pytest.raises(FormatError):
        list(open_suite("path-vqa", tmp_path).entries())


CHOICES = {"Choice A": " A:Diffuse ", "Choice B": "B:Focal uptake", "Choice C": "C: None", "Choice D": "A lesion"}


def test_pmc_vqa(tmp_path):
    write_picture(tmp_path / "figures" / "PMC1064097_F1.jpg", np.zeros((4, 4), np.uint8))
    write_picture(tmp_path / "images" / "PMC1064097_F2.jpg", np.zeros((5, 5), np.uint8))
    common = {"Question": "Which uptake?", **CHOICES}
    second = [
        {"index": 7, "Figure_path": "PMC1064097_F1.jpg", **common, "Answer": "D"},
        {"index": 8, "Figure_path": "PMC1064097_F2.jpg", **common, "Answer": "focal uptake"},
        {"index": 9, "Figure_path": "PMC1064097_F2.jpg", **common, "Answer": "something else"},
    ]
    write_csv(tmp_path / "test_2.csv", second)
    suite = open_suite("pmc-vqa", tmp_path)
    first, other = suite.entries()
    assert (first.id, first.letter, first.options) == ("7", "D", ("Diffuse", "Focal uptake", "None", "A lesion"))
    assert (other.id, other.letter, other.answers) == ("8", "B", ("Focal uptake",))
    assert first.patient == other.patient == "PMC1064097"
    assert suite.left_out == {"its answer is no letter of an option": 1}
    assert [suite.read(e.case).pixels.shape for e in (first, other)] == [(4, 4), (5, 5)]
    write_csv(tmp_path / "test.csv", [{"Figure_path": "PMC1064097_F2.jpg", **common, "Anwser": "None", "Answer_label": "C"}])
    (old,) = open_suite("pmc-vqa", tmp_path, split="test").entries()
    assert (old.id, old.letter, old.answers) == ("test-0", "C", ("None",))
    write_csv(tmp_path / "test_clean.csv", [{"Figure_path": "PMC1064097_F2.jpg", **common, "Anwser": "None"}])
    (old,) = open_suite("pmc-vqa", tmp_path, split="test_clean").entries()
    assert old.letter == "C"


def test_omnimedvqa(tmp_path):
    write_picture(tmp_path / "Images" / "ACRIMA" / "Im002.png", np.zeros((4, 4), np.uint8))
    row = {
        "dataset": "ACRIMA", "question_id": "ACRIMA_0000", "question_type": "Modality Recognition",
        "question": "What modality?", "gt_answer": "Fundus imaging", "image_path": "Images/ACRIMA/Im002.png",
        "option_A": "PET scan", "option_B": "fundus imaging ", "modality_type": "CT(Computed Tomography)",
    }  # fmt: skip
    index = tmp_path / "QA_information" / "Open-access"
    write_json(index / "Second10.json", [row | {"question_id": "c", "modality_type": "Dermoscopy", "gt_answer": "x"}])
    write_json(index / "Second2.json", [row | {"question_id": "b", "option_C": "x", "gt_answer": "x", "modality_type": "Odd"}])
    write_json(index / "ACRIMA.json", [row])
    suite = open_suite("omnimedvqa", tmp_path)
    first, second = suite.entries()
    assert (first.id, first.options, first.letter) == ("ACRIMA_0000", ("PET scan", "fundus imaging"), "B")
    assert dict(first.tags) == {"family": "Modality Recognition", "modality": "CT", "dataset": "ACRIMA", "split": "open-access"}
    assert (second.id, second.letter, second.tags["modality"]) == ("b", "C", "Odd")
    assert suite.left_out == {"its answer is no letter of an option": 1}
    assert suite.read(first.case).source.name == "Im002.png"
    write_json(index / "ACRIMA.json", [row | {"image_path": "/etc/passwd"}])
    with pytest.raises(FormatError, match="relative path inside"):
        list(suite.entries())


@pytest.mark.parametrize(
    ("cells", "letter"),
    [
        ({"Answer_label": "b"}, "B"),
        ({"Answer_label": " (b) "}, "B"),
        ({"Answer_label": "B."}, "B"),
        ({"Answer": "c"}, "C"),
        ({"Answer": "C:z"}, "C"),
        ({"Answer": "c) Z"}, "C"),
        ({"Anwser": " z "}, "C"),
        ({"Answer": "B:z"}, ""),
        ({"Answer": "C:"}, "C"),
        ({"Answer": "A:" * 9000}, ""),
        ({"Answer_label": "e"}, ""),
        ({"Answer_label": "AB"}, ""),
    ],
)
@pytest.mark.parametrize("small", [False, True])
def test_pmc_vqa_reads_letters_in_any_case_and_answers_with_their_letter(tmp_path, cells, letter, small):
    write_picture(tmp_path / "images" / "PMC1_F1.jpg", np.zeros((4, 4), np.uint8))
    choices = {f"Choice {k}": f" {k.lower() if small else k}:{text} " for k, text in zip("ABCD", "xyzw", strict=True)}
    rows = [{"Figure_path": "PMC1_F1.jpg", "Question": "Which?", **choices, **cells}]
    rows.append(rows[0] | {"Question": "Sure?", "Answer": "A", "Answer_label": "A", "Anwser": ""})
    write_csv(tmp_path / "test.csv", [{"Answer": "", "Answer_label": "", "Anwser": "", **row} for row in rows])
    suite = open_suite("pmc-vqa", tmp_path, split="test")
    entries = list(suite.entries())
    assert [(e.options, e.letter) for e in entries[:-1]] == ([(("x", "y", "z", "w"), letter)] if letter else [])
    assert entries[-1].letter == "A"


def test_pmc_vqa_keeps_a_small_letter_that_belongs_to_one_name(tmp_path):
    write_picture(tmp_path / "images" / "PMC1_F1.jpg", np.zeros((4, 4), np.uint8))
    row = {"Figure_path": "PMC1_F1.jpg", "Question": "Which?", "Choice A": "a. carotis", "Choice B": "B: vein", "Choice C": "c3"}
    write_csv(tmp_path / "test.csv", [row | {"Choice D": "nerve", "Answer": "x", "Answer_label": "A"}])
    (entry,) = open_suite("pmc-vqa", tmp_path, split="test").entries()
    assert entry.options == ("a. carotis", "vein", "c3", "nerve")
