"""Suites made of data sets of ours: examinations of phantoms, and the held-out split of a built data set."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from tests.datasets import built

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Look
from unireason.data.dataset import Dataset
from unireason.data.reader import DatasetReader
from unireason.evaluate.heldout import held_out
from unireason.evaluate.suites.base import open_suite


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "exam"
    return open_suite("phantom", folder, options={"questions": "7", "seed": "2"}), Dataset.open(folder)


def test_an_examination_of_phantoms(exam):
    suite, dataset = exam
    found = list(suite.entries())
    chosen = {s.id: s for kind in ("image", "volume") for s in held_out(dataset, kind, 7)}
    assert len(found) == 14
    assert {entry.id for entry in found} == set(chosen)
    named = {r.scene.case: {*r.scene.structures, *r.scene.absent} for r in dataset.cases()}
    leads = 0
    for entry in found:
        sample = chosen[entry.id]
        assert (entry.case, entry.patient, entry.question) == (sample.case, sample.patient, sample.question.text)
        assert (entry.options, entry.letter, entry.answers) == (
            sample.question.options,
            sample.question.letter,
            (sample.question.right,),
        )
        taken = [part for part in sample.reasoning if isinstance(part, Look)]
        assert list(entry.looks) == [look for look in taken if look.label in sample.question.needs or not look.seen]
        leads += len(taken) - len(entry.looks)
        assert (entry.tags["family"], entry.tags["kind"]) == (sample.question.family, sample.kind)
        assert entry.tags["frame"] == {"image": "112x112x1", "volume": "56x56x16"}[sample.kind]
        assert entry.tags["modality"] == "CT"
        meant = [name for name in sample.question.about if name in named[sample.case]]
        assert entry.tags["structure"] == (meant or list(sample.question.needs))[0]
    assert leads  # false leads of the template are no true places


def test_questions_on_one_case_come_together(exam):
    cases = [entry.case for entry in exam[0].entries()]
    runs = [case for case, before in zip(cases, [None, *cases], strict=False) if case != before]
    assert len(runs) == len(set(runs))


def test_cases_are_read_in_any_order(exam):
    suite, dataset = exam
    names = list(dict.fromkeys(entry.case for entry in suite.entries()))[:3]
    reader = DatasetReader(dataset)
    truth = {name: reader.load(name).case.pixels for name in names}
    for name in (*names, names[0], names[2], names[1], names[1]):
        assert np.array_equal(suite.read(name).pixels, truth[name])
    with pytest.raises(UniReasonError, match="no case"):
        suite.read("another")


def test_cases_are_read_without_listing_the_questions_again(exam, monkeypatch):
    suite = open_suite("phantom", exam[1].folder, options={"questions": "7", "seed": "2"})
    name = [entry.case for entry in suite.entries()][-1]
    monkeypatch.setattr(suite, "entries", lambda: pytest.fail("listed again"))
    assert suite.read(name).source.name


def test_the_same_examination_comes_again_and_without_a_folder(exam, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    again = open_suite("phantom", exam[1].folder, options={"questions": "7", "seed": "2"})
    alone = open_suite("phantom", options={"questions": "7", "seed": "2", "kind": "image"})
    assert list(again.entries()) == list(exam[0].entries())
    assert list(alone.entries()) == [entry for entry in exam[0].entries() if entry.tags["kind"] == "image"]
    (folder,) = tmp_path.iterdir()
    del alone
    assert not folder.exists()


def test_bad_requests(tmp_path):
    for options in ({"questions": "0"}, {"seed": "-1"}, {"kind": "film"}, {"frame": str(tmp_path / "no")}, {"patients": "3"}):
        with pytest.raises(FormatError):
            open_suite("phantom", tmp_path / "exam", options=options)
    with pytest.raises(FormatError, match="no split"):
        open_suite("phantom", tmp_path / "exam", split="train")


def test_the_held_out_split_of_a_built_data_set(tmp_path):
    dataset = built(tmp_path / "data")
    suite = open_suite("built", dataset.folder)
    found = list(suite.entries())
    wanted = {s.id for s in dataset.samples("test") if s.task == "vqa"}
    assert {entry.id for entry in found} == wanted
    assert {entry.tags["split"] for entry in found} == {"test"}
    assert suite.read(found[0].case).source.name
    few = list(open_suite("built", dataset.folder, split="train", options={"kind": "volume", "questions": "5"}).entries())
    assert len(few) == 5
    assert {(entry.tags["split"], entry.tags["kind"]) for entry in few} == {("train", "volume")}
    with pytest.raises(FormatError, match="no split"):
        open_suite("built", dataset.folder, split="exam")
