"""M3D-VQA, 3D-RAD, DeepTumorVQA and UniMed-CoT on tiny trees."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_suite_picture_sets import write_csv
from tests.trees import write_json, write_picture, write_volume

from unireason.core.errors import FormatError, UniReasonError
from unireason.data.formats.importer import Wanted, take_in
from unireason.data.frames import FrameRule
from unireason.evaluate.suites.base import open_suite
from unireason.evaluate.suites.listed import divided

CHOICES = {f"Choice {letter}": text for letter, text in zip("ABCD", ("Axial", "Coronal", "Sagittal", "Oblique"), strict=True)}


def save(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(0).random(shape, np.float32))


def test_m3d_vqa(tmp_path):
    save(tmp_path / "M3D_Cap_npy" / "ct_quizze" / "000017" / "Axial.npy", (1, 4, 8, 8))
    save(tmp_path / "M3D_Cap_npy" / "ct_case" / "000017" / "Axial.npy", (1, 4, 8, 8))
    common = {"Text": "t", "Question": "Which plane?", **CHOICES, "Answer": "Coronal", "Answer Choice": "B"}
    rows = [
        {"Image Path": "M3D_Cap/ct_quizze/000017/Axial.npy", "Question Type": "1", **common},
        {"Image Path": "M3D_Cap_npy/ct_case/000017/Axial.npy", "Question Type": "4", **common, "Answer": "yes"},
    ]
    write_csv(tmp_path / "M3D-VQA" / "M3D_VQA_test.csv", rows)
    suite = open_suite("m3d-vqa", tmp_path)
    first, second = suite.entries()
    assert (first.id, first.letter, first.answers, first.options) == (
        "M3D_VQA_test-0",
        "B",
        ("Coronal",),
        tuple(CHOICES.values()),
    )
    assert (first.tags["family"], second.tags["family"]) == ("plane", "abnormality")
    assert first.patient == second.patient == "case--000017"
    assert first.case != second.case
    case = suite.read(first.case)
    assert (case.kind, case.pixels.shape, case.modality) == ("volume", (4, 8, 8), "")
    first, second = open_suite("m3d-vqa", tmp_path, options={"form": "open"}).entries()
    assert (first.options, first.answers, second.options, second.letter) == ((), ("Coronal",), ("yes", "no"), "A")
    with pytest.raises(FormatError, match=r"M3D_VQA_test5k\.csv"):
        list(open_suite("m3d-vqa", tmp_path, split="test5k").entries())


def rad_row(volume, **more):
    empty = {f"Choice {letter}": "-" for letter in "ABCD"}
    row = {"Task": 3, "Subtask": 3, "VolumeName": volume, "Question": "How thick?", "Answer": "30 mm", "QuestionType": "Open"}
    return row | {"AnswerChoice": "-", **empty, **more}


def test_3d_rad(tmp_path):
    closed = {"QuestionType": "Close", "Answer": "No", "AnswerChoice": "B", "Choice A": "Yes", "Choice B": "No"}
    place = tmp_path / "3DRAD" / "test"
    write_csv(
        place / "Task3_Medical_Computation" / "Thickness.csv", [rad_row("test_1006_b_1.nii.gz"), rad_row("test_99_a_1.nii.gz")]
    )
    write_csv(place / "Task10_Existence_Detection" / "Lung nodule.csv", [rad_row("test_1006_b_2.nii.gz", **closed)])
    with pytest.raises(FormatError, match="no volume"):
        list(open_suite("3d-rad", tmp_path).entries())
    save(tmp_path / "images" / "test_1006_b_1.npy", (4, 6, 6))
    write_volume(tmp_path / "images" / "test_1006_b_2.nii.gz", np.zeros((3, 5, 5), np.int16))
    with pytest.raises(FormatError, match=r"test_99_a_1\.nii\.gz"):
        list(open_suite("3d-rad", tmp_path).entries())
    suite = open_suite("3d-rad", tmp_path, options={"missing": "skip"})
    thick, nodule = suite.entries()
    assert suite.left_out == {"its file is not there": 1}
    assert (thick.id, thick.answers, thick.options) == ("Task3_Medical_Computation/Thickness-0", ("30 mm",), ())
    assert (nodule.options, nodule.letter, nodule.tags["subtask"]) == (("Yes", "No"), "B", "Lung nodule")
    assert (thick.tags["family"], nodule.tags["family"]) == ("Medical Computation", "Existence Detection")
    assert thick.patient == nodule.patient == "test_1006"
    assert [suite.read(e.case).modality for e in (thick, nodule)] == ["", "CT"]
    save(tmp_path / "more" / "test_1006_b_1.npy", (4, 6, 6))
    suite = open_suite("3d-rad", tmp_path, options={"missing": "skip"})
    assert [entry.id for entry in suite.entries()] == [nodule.id]
    assert suite.left_out["several files have the name of its volume"] == 1


def test_options_are_told_apart_by_their_marks():
    text = "Is vitamin A: low? A: Normal B: Moderate (B or more)\nC: Severe"
    assert divided(text, "Is vitamin A: low?") == ("Is vitamin A: low?", ("Normal", "Moderate (B or more)", "Severe"))
    assert divided("Which? A. 12.5 B. 13 C. 14 D. 15", "") == ("Which?", ("12.5", "13", "14", "15"))
    assert divided("Which one?", "Which one?") == ("Which one?", ())
    assert divided("A: " * 6000, "")[1] != ()


def test_deeptumorvqa(tmp_path):
    write_volume(tmp_path / "benchmark" / "ct" / "BDMAP_00008446" / "ct.nii.gz", np.zeros((3, 5, 5), np.int16))
    write_picture(tmp_path / "benchmark" / "images_2d" / "whole" / "BDMAP_00008446.png", np.zeros((5, 5), np.uint8))
    question = {
        "qid": "bench_00017", "image_id": "BDMAP_00008446", "sex": None, "question": "How large?", "answer": "Normal (no splenomegaly)",
        "mc_question": "How large? A: Normal B: Moderate C: Severe D: Mild", "correct_option": "A", "organ": "spleen",
        "question_type": "medical reasoning", "question_subtype": "splenomegaly grading",
    }  # fmt: skip
    rows = [question, question | {"qid": "b", "mc_question": "How large?"}]
    write_json(tmp_path / "benchmark" / "test_qa.json", {"version": 2, "questions": rows})
    suite = open_suite("deeptumorvqa", tmp_path)
    (entry,) = suite.entries()
    assert (entry.id, entry.question, entry.letter) == ("bench_00017", "How large?", "A")
    assert entry.options == ("Normal", "Moderate", "Severe", "Mild")
    assert (entry.patient, entry.tags["structure"], entry.tags["subtype"]) == ("BDMAP_00008446", "spleen", "splenomegaly grading")
    assert suite.left_out == {"its options are not two to ten texts": 1}
    assert (suite.read(entry.case).kind, suite.read(entry.case).modality) == ("volume", "CT")
    flat = open_suite("deeptumorvqa", tmp_path, options={"input": "image"})
    assert flat.read(next(flat.entries()).case).kind == "image"
    write_json(tmp_path / "benchmark" / "test_qa.json", {"questions": {}})
    with pytest.raises(FormatError, match="list of questions"):
        list(suite.entries())


def test_unimed_cot(tmp_path):
    data = io.BytesIO()
    Image.fromarray(np.zeros((28, 56), np.uint8)).save(data, "PNG")
    flat = [{"role": "user", "content": "<image>Where?\nA. left\nB. right"}]
    deep = [{"role": "user", "content": "Which slice?\nA. low\nB. high"}]
    said = {"role": "assistant", "content": "<think>The liver<|box_start|>[1,2,3,4]<|box_end|><image>.</think>A. left"}
    common = {"data_source": "x\u2028y", "agent_name": "a", "ability": "m", "reward_model": json.dumps({"ground_truth": "B"})}
    tables = {
        "sft": [{"messages": [*flat, said], "image_ids": ["p", "p"]}],
        "rl": [
            {"prompt": flat, "image_ids": ["p"], "extra_info": "{}", **common},
            {"prompt": deep, "image_ids": [], "extra_info": json.dumps({"image": "ct_case/12/v.npy"}), **common},
        ],
        "images": [{"image_id": "p", "path": "one/a.png", "bytes": data.getvalue()}],
    }
    for name, values in tables.items():
        (tmp_path / "release" / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(values), tmp_path / "release" / name / "train.parquet")
    with pytest.raises(UniReasonError, match="no finished data set"):
        open_suite("unimed-cot", tmp_path / "release")
    save(tmp_path / "volumes" / "12" / "v.npy", (2, 5, 6))
    wanted = Wanted(FrameRule(), volumes=tmp_path / "volumes")
    take_in("unimed-cot", tmp_path / "release", tmp_path / "in", wanted=wanted)
    suite = open_suite("unimed-cot", tmp_path / "in")
    image, volume = suite.entries()
    assert (image.letter, image.options, image.answers) == ("B", ("left", "right"), ("right",))
    assert (image.looks, image.tags["dataset"], image.patient) == ((), "x\u2028y", image.case)
    assert "family" not in image.tags
    assert suite.read(image.case).pixels.shape == (56, 84)  # brought to the model frame
    assert suite.read(volume.case).pixels.shape == (2, 5, 6)
    (entry,) = open_suite("unimed-cot", tmp_path / "in", split="sft").entries()
    assert (entry.letter, entry.looks) == ("A", ())
    with pytest.raises(FormatError, match="no split 'test'"):
        open_suite("unimed-cot", tmp_path / "in", split="test")
    assert len(list(open_suite("built", tmp_path / "in", split="train").entries())) == 3
