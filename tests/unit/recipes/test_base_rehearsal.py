from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest

from datasets import built
from recipes.phantom.rehearsal import rehearse
from unireason.core.errors import FormatError
from unireason.data.dataset import Dataset
from unireason.data.sources.phantom import EXAM_STREAM


@pytest.fixture(scope="module", params=[0, EXAM_STREAM], ids=["everybody", "exam"])
def both(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lessons")
    source = built(folder / "data", patients=5, stream=request.param)
    return source, rehearse(source, folder / "lessons")


def test_lessons_ask_about_the_cases_of_the_data_set(both):
    source, lessons = both
    cases = {c.scene.case: c for c in source.cases()}
    samples = list(lessons.samples())
    assert {c.scene.case for c in lessons.cases()} == set(cases)
    assert len({s.id for s in samples}) == len(samples) == lessons.manifest["counts"]["samples"] > 30
    for sample in samples:
        case = cases[sample.case]
        assert (sample.kind, sample.split, sample.patient) == (case.scene.kind, case.split, case.scene.patient)
        assert sample.response.startswith("<think>")
        for look in (p for p in sample.reasoning if not isinstance(p, str) and p.seen):
            assert look.box == case.scene.structures[look.label].box_model


def test_the_same_seed_gives_the_same_data_set(both, tmp_path):
    source, lessons = both
    assert rehearse(source, tmp_path / "a").manifest["content_sha256"] == lessons.manifest["content_sha256"]
    other = rehearse(source, tmp_path / "b", seed=1)
    assert other.manifest["content_sha256"] != lessons.manifest["content_sha256"]


def test_every_kind_asks_several_families(both):
    samples = sorted(both[1].samples(), key=lambda s: s.kind)
    for _, group in groupby(samples, key=lambda s: s.kind):
        assert len({s.question.family for s in group}) >= 4


def test_other_images_are_refused(both, tmp_path):
    source = both[0]
    config = {**source.manifest["config"], "source": "pair"}
    with pytest.raises(FormatError, match="phantoms"):
        rehearse(replace(source, manifest={**source.manifest, "config": config}), tmp_path)
    assert Dataset.open(source.folder).manifest["config"]["source"] == "phantom"
