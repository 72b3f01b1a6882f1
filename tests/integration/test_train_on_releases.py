"""Training on published releases: what is exported, taken in and learned from is what was built."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import edited
from training import grpo, opened, sft
from unireason.data.dataset import Dataset
from unireason.data.formats.exporters import export
from unireason.data.formats.importer import Wanted, take_in
from unireason.data.frames import rule
from unireason.data.records import SampleRecord
from unireason.model.checkpoint import load
from unireason.train import grpo as grpo_trainer
from unireason.train import sft as sft_trainer
from unireason.train.config import PlanAssumptions
from unireason.train.estimate import sizes
from unireason.train.log import read
from unireason.train.policy import Encoder


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory, phantoms: Dataset) -> Path:
    """The phantoms exported in both layouts and taken in again, and UniMed-CoT without the table that keeps whole samples."""
    folder = tmp_path_factory.mktemp("releases")
    for layout in ("unimed-cot", "umrg"):
        export(phantoms, layout, folder / layout)
        take_in(layout, folder / layout, folder / f"{layout}-in", wanted=Wanted(rule("phantom")))
    for file in (folder / "unimed-cot" / "rl").iterdir():
        file.unlink()
    take_in("unimed-cot", folder / "unimed-cot", folder / "bare-in", wanted=Wanted(rule("phantom")))
    return folder


def sequences(start: Path, dataset: Dataset, task: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What is learned of every training sample: ids, labels and places in the sequence, and the pictures in it, prompt and crops."""
    encoder, cases = Encoder.of(load(str(start), device="cpu", dtype="fp32")), opened(start, dataset)
    found = {}
    for case in cases.cases("train"):
        for sample in (s for s in case.samples if s.task == task):
            (tree,) = encoder.trees([sample], case.frame, cases.pictures(case))
            runs = (tree.prefix, *tree.rows)
            shown = tuple(picture.tobytes() for run in runs for picture in run.pictures)
            found[sample.question.text + "|".join(sample.question.options), sample.response, shown[0][:64].hex()] = (
                *((tuple(run.ids), tuple(run.labels), tuple(run.positions)) for run in runs),
                shown,
            )
    return found


@pytest.mark.parametrize(("name", "task"), [("unimed-cot-in", "vqa"), ("bare-in", "vqa"), ("umrg-in", "umrg")])
def test_the_same_sequences_with_the_same_crops_are_learned(name: str, task: str, releases: Path, phantoms: Dataset, start: Path):
    before, after = sequences(start, phantoms, task), sequences(start, Dataset.open(releases / name), task)
    assert len(before) >= 5
    assert before.keys() == after.keys()
    assert before == after
    if task == "vqa":
        assert all(len(found[-1]) > 1 for found in after.values())


def test_fine_tuning_and_optimisation_on_unimed_cot(releases: Path, start: Path, tmp_path: Path):
    data = Dataset.open(releases / "unimed-cot-in")
    settings = sft(start, data, run={"steps": 2, "eval_samples": 2}, data={"validation": "train"})
    assert sft_trainer.train(settings, tmp_path / "sft").is_dir()
    lines = read(tmp_path / "sft")
    assert [math.isfinite(line["loss"]) for line in lines] == [True, True]
    settings = grpo(start, data, run={"steps": 1, "eval_samples": 0})
    assert grpo_trainer.train(settings, tmp_path / "grpo").is_dir()
    (line,) = read(tmp_path / "grpo")
    assert math.isfinite(line["reward"])
    assert line["responses"] == 8


def test_optimisation_on_umrg_is_rewarded_by_the_mask_where_there_is_one(releases: Path, start: Path, tmp_path: Path):
    data = Dataset.open(releases / "umrg-in")
    settings = sft(start, data, run={"steps": 2, "eval_samples": 0})
    sft_trainer.train(settings, tmp_path / "sft")
    settings = grpo(
        tmp_path / "sft" / "checkpoint",
        data,
        run={"steps": 1, "eval_samples": 0},
        reward={"mask": 1.0},
        rollout={"max_new_tokens": 48},
    )
    grpo_trainer.train(settings, tmp_path / "grpo")
    (line,) = read(tmp_path / "grpo")
    assert math.isfinite(line["reward"])
    assert 0 <= line["mask_dice"] <= 1
    assert line["reward_mask"] == pytest.approx(line["reward"])


def test_without_masks_the_spatial_reward_stays_alone(phantoms: Dataset, start: Path, tmp_path: Path):
    export(phantoms, "umrg", tmp_path / "release", split="train")
    take_in("umrg", tmp_path / "release", tmp_path / "in", wanted=Wanted(rule("phantom")))
    bare = edited(
        Dataset.open(tmp_path / "in"), tmp_path / "bare", sample=lambda s: replace(s, question=replace(s.question, about=()))
    )
    settings = grpo(start, bare, run={"steps": 1, "eval_samples": 0}, reward={"mask": 1.0})
    grpo_trainer.train(settings, tmp_path / "run")
    (line,) = read(tmp_path / "run")
    assert line["reward_spatial"] == pytest.approx(line["reward"])
    assert "mask_dice" not in line


def test_every_stage_takes_its_own_samples(releases: Path, start: Path, tmp_path: Path):
    data = Dataset.open(releases / "bare-in")
    with pytest.raises(Exception, match="no sample to learn from"):
        grpo_trainer.train(grpo(start, data), tmp_path / "run")
    with pytest.raises(Exception, match="for this stage"):
        sizes(grpo(start, data), PlanAssumptions())
    assert sizes(sft(start, data), PlanAssumptions())


def test_masks_and_pictures_come_out_of_the_folder_itself(releases: Path, start: Path, phantoms: Dataset):
    data = Dataset.open(releases / "umrg-in")
    cases, original = opened(start, data), opened(start, phantoms)
    boxes = {s.question.text: s for s in phantoms.samples("train") if s.task == "umrg"}
    assert original.cases("train")
    for case in cases.cases("train"):
        loaded = cases.loaded(case)
        for sample in case.samples:
            (layer,) = (found for found in loaded.layers if found.names[1] == sample.target)
            columns = np.flatnonzero(layer.labels.any(axis=0))
            known: SampleRecord = boxes[sample.question.text]
            assert known.box is not None
            assert abs(columns[0] - known.box.x1) <= 1
            assert abs(columns[-1] + 1 - known.box.x2) <= 1
