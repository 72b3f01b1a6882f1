"""SLAKE and VQA-RAD on tiny trees."""

from __future__ import annotations

import numpy as np
import pytest
from tests.trees import write_json, write_picture

from unireason.core.errors import FormatError
from unireason.evaluate.suites.base import open_suite


def slake_tree(folder):
    for n in (1, 102):
        write_picture(folder / "imgs" / f"xmlab{n}" / "source.jpg", np.full((6, 9), n, np.uint8))
    rows = [
        {"img_id": 102, "img_name": "xmlab102/source.jpg", "question": "What modality?", "answer": "CT", "q_lang": "en",
         "location": "Lung", "modality": "CT", "answer_type": "OPEN", "base_type": "vqa", "qid": 11934, "content_type": "Modality"},
        {"img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Is the lung healthy?", "answer": "No", "q_lang": "en",
         "location": "Lung", "modality": "X-Ray", "answer_type": "CLOSED", "base_type": "vqa", "qid": 7, "content_type": "Abnormality"},
        {"img_id": 1, "img_name": "xmlab1/source.jpg", "question": "肺健康吗?", "answer": "不健康", "q_lang": "zh",
         "location": "Lung", "modality": "X-Ray", "answer_type": "CLOSED", "base_type": "vqa", "qid": 8, "content_type": "Abnormality"},
    ]  # fmt: skip
    write_json(folder / "test.json", rows)
    write_json(folder / "validate.json", rows[:1])
    return folder


def test_slake(tmp_path):
    suite = open_suite("slake", slake_tree(tmp_path))
    modality, healthy = suite.entries()
    assert (modality.id, modality.question, modality.options, modality.answers) == ("11934", "What modality?", (), ("CT",))
    assert dict(modality.tags) == {
        "family": "Modality", "modality": "CT", "region": "Lung", "answer_type": "OPEN", "language": "en", "split": "test",
    }  # fmt: skip
    assert (healthy.letter, healthy.tags["modality"], healthy.patient) == ("B", "DX", "imgs/xmlab1/source.jpg")
    case = suite.read(healthy.case)
    assert (case.kind, case.pixels.shape, case.source.name) == ("image", (6, 9), "source.jpg")


def test_slake_in_other_languages_and_splits(tmp_path):
    slake_tree(tmp_path)
    assert [e.id for e in open_suite("slake", tmp_path, options={"language": "zh"}).entries()] == ["8"]
    assert [e.id for e in open_suite("slake", tmp_path, options={"language": "all"}).entries()] == ["11934", "7", "8"]
    assert [e.id for e in open_suite("slake", tmp_path, split="validation").entries()] == ["11934"]
    with pytest.raises(FormatError, match=r"no train\.json"):
        list(open_suite("slake", tmp_path, split="train").entries())
    with pytest.raises(FormatError, match="en, zh, all"):
        open_suite("slake", tmp_path, options={"language": "fr"})


def vqa_rad_tree(folder):
    write_picture(folder / "VQA_RAD Image Folder" / "synpic1.jpg", np.zeros((5, 5), np.uint8))
    fields = ("qid", "qid_linked_id", "question", "answer", "answer_type", "phrase_type")
    rows = [
        (1, "a", "Infarct?", "Yes", "CLOSED ", "freeform"),
        (2, "b", "Midline shift?", "yes", "CLOSED", "test_freeform"),
        (3, "b", "How many masses?", 2, "OPEN", "test_para"),
    ]
    common = {"image_name": "synpic1.jpg", "image_organ": "HEAD", "question_type": "PRES"}
    write_json(folder / "VQA_RAD Dataset Public.json", [common | dict(zip(fields, row, strict=True)) for row in rows])
    return folder


def test_vqa_rad(tmp_path):
    suite = open_suite("vqa-rad", vqa_rad_tree(tmp_path))
    shift, count = suite.entries()
    assert (shift.id, shift.letter, shift.tags["phrase"], shift.tags["linked"]) == ("2", "A", "freeform", "b")
    assert (count.id, count.answers, count.options, count.tags["phrase"]) == ("3", ("2",), (), "para")
    assert count.tags["region"] == "HEAD"
    assert suite.read(shift.case).pixels.shape == (5, 5)
    (train,) = open_suite("vqa-rad", tmp_path, split="train").entries()
    assert (train.id, train.tags["answer_type"]) == ("1", "CLOSED")


def test_a_folder_of_another_data_set(tmp_path):
    with pytest.raises(FormatError, match=r"has no 'VQA_RAD Dataset Public\.json'\. Expected the folder with"):
        list(open_suite("vqa-rad", slake_tree(tmp_path)).entries())


def test_a_damaged_index(tmp_path):
    vqa_rad_tree(tmp_path)
    for content in ({"rows": []}, ["text"], [{"qid": 1}]):
        write_json(tmp_path / "VQA_RAD Dataset Public.json", content)
        with pytest.raises(FormatError):
            list(open_suite("vqa-rad", tmp_path).entries())
