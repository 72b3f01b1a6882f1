"""The page of a checked data set: verdict, problems, audit, samples; nothing in it is believed to be harmless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import datasets
from unireason.data.checks.run import Report, check
from unireason.data.dataset import Dataset
from unireason.report.dataset import choose, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return datasets.built(tmp_path_factory.mktemp("made") / "set", patients=6)


@pytest.fixture(scope="module")
def report(made: Dataset) -> Report:
    return check(made, made.source(), samples=2)


def page(tmp_path: Path, dataset: Dataset, report: Report, *, pictures: bool = True) -> str:
    return write(report, dataset, dataset.source() if pictures else None, tmp_path / "page.html").read_text()


def test_verdict_counts_and_samples(made: Dataset, report: Report, tmp_path: Path) -> None:
    sound = replace(report, counts=dict.fromkeys(report.counts, 0), problems=())
    text = page(tmp_path, made, sound)
    assert '<span class="good">sound</span>' in text
    assert f"{made.manifest['counts']['samples']} samples on {made.manifest['counts']['cases']} cases" in text
    assert text.count('<li class="card sample') == min(24, len(choose(made, None, sound)))
    assert "data:image/png;base64," in text
    assert "<script" not in text


def test_every_family_and_kind_is_shown(made: Dataset, report: Report) -> None:
    there = {(s.question.family, s.kind) for s in made.samples()}
    shown = choose(made, None, report)
    assert {(s.sample.question.family, s.sample.kind) for s in shown} == there
    assert len({s.sample.id for s in shown}) == len(shown)


def test_pictures_come_from_the_source_or_not_at_all(made: Dataset, report: Report, tmp_path: Path) -> None:
    with_source = choose(made, made.source(), report)
    assert all(s.pictures for s in with_source)
    frame = with_source[0].case.scene.frame
    assert next(iter(with_source[0].pictures.values())).shape[:2] == (frame.height, frame.width)
    assert "no picture at hand" in page(tmp_path, made, report, pictures=False)


def test_every_look_is_on_one_of_the_slices(made: Dataset, report: Report) -> None:
    for shown in choose(made, made.source(), report):
        if shown.case.scene.kind == "volume":
            for look in (p for p in shown.sample.reasoning if not isinstance(p, str)):
                z1, z2 = look.box.coords[2], look.box.coords[5]
                assert any(z1 <= z < z2 for z in shown.pictures)


def test_named_samples_come_first_with_what_is_wrong(made: Dataset, tmp_path: Path) -> None:
    bad = next(s for s in made.samples() if s.task == "vqa")
    wrong = replace(bad, question=replace(bad.question, answer=(bad.question.answer + 1) % len(bad.question.options)))
    copy = datasets.edited(made, tmp_path / "copy", sample=lambda s: wrong if s.id == bad.id else s)
    found = check(copy, None)
    shown = choose(copy, None, found)
    assert shown[0].sample.id == bad.id
    assert len(shown[0].problems) == 2
    text = page(tmp_path, copy, found, pictures=False)
    assert "flawed" in text
    assert '<b class="bad">2 problems</b>' in text


def test_hostile_text_stays_text(made: Dataset, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\u202e\" onload='x'"
    copy = datasets.edited(
        made, tmp_path / "copy", sample=lambda s: replace(s, question=replace(s.question, text=evil, facts=()))
    )
    manifest = {**copy.manifest, "title": evil, "licence": evil, "command": evil}
    copy = Dataset(copy.folder, manifest)
    text = page(tmp_path, copy, check(copy, None), pictures=False)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "onload='x'" not in text


def test_a_damaged_data_set_still_gets_its_page(made: Dataset, tmp_path: Path) -> None:
    copy = datasets.edited(made, tmp_path / "copy")
    next((copy.folder / "samples").glob("*.parquet")).write_bytes(b"nothing")
    found = check(copy, None)
    assert not found.ok
    assert "No sample to look at" in page(tmp_path, copy, found, pictures=False)
