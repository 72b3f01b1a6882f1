"""Releases with odd names, odd rows and tampered samples: nothing mixes up, nothing but rows is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from releases import LOOKED, PUBLISHED, image, picture, reasons, release, rl, sft

from datasets import SMALL, built
from unireason.cli import main
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box2D
from unireason.data.checks.run import check
from unireason.data.checks.text import BALANCE_FEW_PATIENTS
from unireason.data.dataset import Dataset
from unireason.data.formats import rows as shelving
from unireason.data.formats.exporters import export
from unireason.data.formats.importer import Wanted, rows_in, take_in
from unireason.data.frames import FrameRule
from unireason.data.records import SampleRecord, sample_row
from unireason.data.scene import DataQuestion
from unireason.evaluate.suites.built import BuiltSuite


def test_a_picture_that_is_a_slice_as_well_is_another_case(tmp_path):
    volumes = [rl(names, how={"pictures": 2}) for names in (["a", "b"], ["a", "c"])]
    images = [image(name, picture(56, 56, i)) for i, name in enumerate("abc")]
    take_in("unimed-cot", release(tmp_path / "in", rl=[*volumes, rl(["a"])], images=images), tmp_path / "out", wanted=PUBLISHED)
    data = Dataset.open(tmp_path / "out")
    kinds = {case.scene.case: case.scene.kind for case in data.cases()}
    assert kinds == {"unimed-cot:a": "image", "unimed-cot:a~2": "volume", "unimed-cot:a~3": "volume"}
    assert {sample.case: sample.kind for sample in data.samples()} == kinds
    shown = {item.id: data.source().load(item).case.pixels for item in data.source().items()}
    assert shown["unimed-cot:a"].shape == (56, 56)
    assert not np.array_equal(shown["unimed-cot:a~2"], shown["unimed-cot:a~3"])


def test_half_a_character_in_a_name_costs_nothing(tmp_path):
    (tmp_path / "volumes").mkdir()
    np.save(tmp_path / "volumes" / "v001.npy", np.zeros((4, 28, 28), np.float32))
    rows = [rl([], how={"pictures": 0}, image_path="\ud800/x1.nii"), rl(["p"])]
    path = release(tmp_path / "in", rl=rows, images=[image("p", picture(56, 56))])
    take_in("unimed-cot", path, tmp_path / "out", wanted=Wanted(FrameRule(), volumes=tmp_path / "volumes"))
    assert reasons(tmp_path / "out") == ["its volume was not found: not found (?/x1.nii)"]


def test_text_that_is_no_text_is_a_clear_error(tmp_path):
    path = release(tmp_path / "in", images=[image("p", picture(56, 56))])
    broken = pa.array([b"\xff"]).cast(pa.binary()).view(pa.string())
    columns = {name: pa.array(values) for name, values in pa.Table.from_pylist([rl(["p"])]).to_pydict().items()}
    (path / "rl").mkdir()
    pq.write_table(pa.table(columns | {"data_source": broken}), path / "rl" / "train-0.parquet")
    with pytest.raises(FormatError, match="cannot be read"):
        take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    assert not (tmp_path / "out").exists()


IMPLICIT = {"box": Box2D(1, 2, 30, 40), "points": ((3, 4), (5, 6)), "category": "liver", "supercategory": "abdomen"}


@pytest.mark.parametrize(
    ("family", "how", "change"),
    [
        ("implicit_grounding", IMPLICIT, {}),
        ("made_up", {}, {}),
        ("", {}, {"patient": 7}),
        ("", {}, {"patient": None}),
        ("", {}, {"about": [3]}),
        ("", {}, {"answer": 10**30}),
    ],
)
def test_a_kept_sample_that_was_tampered_with_is_left_out(family, how, change, tmp_path):
    question = DataQuestion(family, "", (), "Where?", () if how else ("left", "right"), -1 if how else 1, (), ())
    kept = sample_row(SampleRecord("i", "c", "", "train", "image", question, ("So.",), "someone", **how)) | change
    rows = [rl(["p"], index="i", sample=kept), rl(["p"], how={"question": "And?"})]
    path = release(tmp_path / "in", rl=rows, images=[image("p", picture(84, 56))])
    manifest = take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    assert manifest["counts"]["dropped"] == {"the sample that it keeps cannot be read": 1}
    assert [sample.question.text for sample in Dataset.open(tmp_path / "out").samples()] == ["And?"]


def test_a_picture_that_cannot_be_shown_leaves_no_case_behind(tmp_path, monkeypatch):
    def fail(case):
        raise FormatError("the picture cannot be hashed")

    rows = [sft(LOOKED, ["p"]), sft(LOOKED, ["p"]), sft(LOOKED.replace("40]", "99]"), ["p"])]
    good = release(tmp_path / "in", sft=rows, rl=[rl(["q"])], images=[image(n, picture(84, 56, i)) for i, n in enumerate("pq")])
    real = shelving.perceptual_hash
    monkeypatch.setattr(
        shelving, "perceptual_hash", lambda case: fail(case) if not hits.append(1) and len(hits) == 1 else real(case)
    )
    hits: list[int] = []
    manifest = take_in("unimed-cot", good, tmp_path / "out", wanted=PUBLISHED)
    assert manifest["counts"]["cases"] == manifest["counts"]["samples"] == 1
    assert len(list(Dataset.open(tmp_path / "out").images())) == 1
    # every row is told once
    rows = [json.loads(line)["id"] for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(rows) == ["sft-train-0-1", "sft-train-0-2", "sft-train-0-3"]


@pytest.mark.parametrize(
    ("table", "told", "split"),
    [
        ("rl__unimed_test", {}, "test"),
        ("rl__unimed-val-00000", {}, "validation"),
        ("rl__contest", {}, "train"),
        ("rl__test", {"split": "training"}, "train"),
        ("rl", {"split": "testing"}, "test"),
    ],
)
def test_splits_are_found_in_rows_and_in_names_of_files(table, told, split, tmp_path):
    path = release(tmp_path / "in", **{table: [rl(["p"], **told)]}, images=[image("p", picture(56, 56))])
    assert take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)["counts"]["by_split"] == {split: 1}


def test_slices_of_a_known_volume_are_held_out_together(tmp_path):
    names = [f"ct_00--SET--case{case}--x_{z:04d}" for case in range(8) for z in range(4)]
    path = release(
        tmp_path / "in", rl=[rl([n]) for n in names], images=[image(n, picture(28, 56, i)) for i, n in enumerate(names)]
    )
    take_in("unimed-cot", path, tmp_path / "out", wanted=Wanted(FrameRule(), validation=0.5))
    found: dict[str, set[str]] = {}
    for case in Dataset.open(tmp_path / "out").cases():
        found.setdefault(case.scene.case.split("--")[2], set()).add(case.split)
    assert set.union(*found.values()) == {"train", "validation"}
    assert all(len(splits) == 1 for splits in found.values())


def test_series_of_one_patient_of_m3d_are_held_out_together(tmp_path):
    rows = []
    for patient in range(8):
        for number, folder in enumerate(("ct_case", "ct_quizze")):
            place = tmp_path / "volumes" / folder / f"{patient:06d}"
            place.mkdir(parents=True)
            np.save(place / f"s{number}.npy", np.full((4, 28, 28), patient, np.float32))
            rows.append(rl([], how={"pictures": 0}, image=f"{folder}/{patient:06d}/s{number}.npy"))
    path, told = release(tmp_path / "in", rl=rows), []
    wanted = Wanted(FrameRule(volume_shape=(4, 28, 28), min_pixels=784), validation=0.5, volumes=tmp_path / "volumes")
    take_in("unimed-cot", path, tmp_path / "out", wanted=wanted, progress=told.append)
    # a row counts when its volume has been read
    assert told == [0] * 16 + list(range(1, 17))
    assert rows_in("unimed-cot", path) == 16
    found: dict[str, set[str]] = {}
    for case in Dataset.open(tmp_path / "out").cases():
        found.setdefault(case.image.split("/")[1], set()).add(case.split)
    assert set.union(*found.values()) == {"train", "validation"}
    assert all(len(splits) == 1 for splits in found.values())


def test_decimals_are_cut_off_before_a_box_goes_to_another_frame(tmp_path):
    said = "<think>x<|box_start|>[10.9,0.9,20.9,10.9]<|box_end|></think>B. right"
    path = release(tmp_path / "in", sft=[sft(said, ["p"])], images=[image("p", picture(28, 28))])
    frame = FrameRule(image_size=(280, 280), min_pixels=784)
    take_in("unimed-cot", path, tmp_path / "out", wanted=Wanted(frame))
    (sample,) = Dataset.open(tmp_path / "out").samples()
    assert sample.reasoning[1].box == Box2D(100, 0, 200, 100)


def test_the_check_says_what_it_leaves_out(tmp_path, capsys):
    path = release(tmp_path / "in", rl=[rl(["p"])], images=[image("p", picture(56, 56))])
    assert main(["data", "import", "unimed-cot", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "splits: train 1" in capsys.readouterr().out
    main(["data", "check", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert "remark: of 1 cases it is not known what they show" in out
    assert "remark: the patients of 1 cases are not known" in out


def test_questions_of_no_known_family_are_counted_and_named(tmp_path, capsys):
    rows = [rl(["p"], how={"question": f"Question {i}?"}) for i in range(7)]
    path = release(tmp_path / "in", rl=rows, images=[image("p", picture(56, 56))])
    take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    main(["data", "check", str(tmp_path / "out")])
    assert "family not told" in capsys.readouterr().out
    page = (tmp_path / "out" / "check.html").read_text()
    assert '<th scope="row">not told</th><td>7</td>' in page
    assert "2D · train" in page
    assert "| not told | " in (tmp_path / "out" / "README.md").read_text().split("## Checks")[1]


def test_a_split_that_was_not_published_is_no_fault(tmp_path):
    built(tmp_path / "data", patients=16)
    export(Dataset.open(tmp_path / "data"), "unimed-cot", tmp_path / "release")
    take_in("unimed-cot", tmp_path / "release", tmp_path / "out", wanted=Wanted(SMALL))
    data = Dataset.open(tmp_path / "out")
    assert len({case.scene.patient for case in data.cases()}) >= BALANCE_FEW_PATIENTS
    report = check(data, None)
    assert not [problem for problem in report.problems if "empty" in problem.detail]
    assert [remark.detail for remark in report.remarks if "is empty, with" in remark.detail]


def test_rows_that_cannot_be_read_cost_no_others(tmp_path):
    rows = [rl(["p"]) | {"extra_info": "[1]"}, rl(["p"]), rl(["lost"]), rl(["p", "lost"], how={"pictures": 2})]
    images = [image("p", picture(56, 56)), image("lost", None)]
    path = release(tmp_path / "in", sft=[sft(LOOKED, ["p"]) | {"messages": None}, sft(LOOKED, ["p"])], rl=rows, images=images)
    manifest = take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    assert manifest["counts"]["dropped"] == {"it cannot be read": 2, "its picture cannot be read": 2}
    assert manifest["counts"]["broken"] == manifest["skipped"] == 4
    assert manifest["counts"]["samples"] == 1
    told = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert told[0]["id"] == "sft-train-0-1"
    assert "row 0 of 'sft/train-0.parquet' has the messages" in told[0]["reason"]
    with pytest.raises(UniReasonError, match="the first: it cannot be read"):
        take_in("unimed-cot", release(tmp_path / "odd", rl=rows[:1]), tmp_path / "none", wanted=PUBLISHED)


def test_identifiers_that_look_like_paths_lead_nowhere(tmp_path):
    (tmp_path / "volumes").mkdir()
    for place in ("volumes/v001.npy", "secret.npy"):
        np.save(tmp_path / place, np.zeros((4, 28, 28), np.float32))
    names = ["volume:../secret.npy", "slices:[", "../secret.npy"]
    path = release(
        tmp_path / "in", rl=[rl([n]) for n in names], images=[image(n, picture(56, 56, i)) for i, n in enumerate(names)]
    )
    take_in("unimed-cot", path, tmp_path / "out", wanted=Wanted(FrameRule(), volumes=tmp_path / "volumes"))
    cases = list(Dataset.open(tmp_path / "out").cases())
    assert {case.scene.kind for case in cases} == {"image"}
    assert [case.scene.case for case in cases] == [f"unimed-cot:{name}" for name in names]


def test_without_patients_every_case_is_one_of_its_own(tmp_path):
    path = release(tmp_path / "in", rl=[rl(["p"]), rl(["q"])], images=[image(n, picture(56, 56, i)) for i, n in enumerate("pq")])
    take_in("unimed-cot", path, tmp_path / "out", wanted=PUBLISHED)
    suite = BuiltSuite(Dataset.open(tmp_path / "out"), split="train")
    assert [entry.patient for entry in suite.entries()] == ["unimed-cot:p", "unimed-cot:q"]


def test_the_folder_of_volumes_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "volumes").mkdir()
    np.save(tmp_path / "volumes" / "v001.npy", np.zeros((4, 28, 28), np.float32))
    path = release(tmp_path / "in", rl=[rl([], how={"pictures": 0}, image="v001.npy")])
    monkeypatch.chdir(tmp_path)
    take_in("unimed-cot", path, tmp_path / "out", wanted=Wanted(FrameRule(), volumes=Path("volumes")))
    monkeypatch.chdir("/")
    source = Dataset.open(tmp_path / "out").source()
    assert [source.load(item).case.geometry.shape for item in source.items()] == [(4, 28, 28)]
