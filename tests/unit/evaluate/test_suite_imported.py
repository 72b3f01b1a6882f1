"""Implicit questions of an imported release: asked like those of a built data set, scored by the masks that the release brings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unireason.core.types import Box2D
from unireason.data.dataset import Dataset
from unireason.data.formats import umrg
from unireason.data.formats.importer import Wanted, take_in
from unireason.data.formats.umrg import Stored, UmrgRow
from unireason.data.frames import FrameRule, png
from unireason.evaluate.suites import grounding
from unireason.evaluate.suites.grounding import BuiltImplicitSuite


def row(number, mask):
    picture = np.random.default_rng(number).integers(0, 256, (28, 56), np.uint8)
    place = {"question": f"What {number}?", "box": (4, 8, 12, 16), "points": ((5, 9), (10, 14))}
    return UmrgRow(
        (Stored(png(picture)),), (Stored(png(mask)),), **place, id=f"q{number}", supercategory="abdomen", category="Liver"
    )


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Two questions; the second lost its mask, as imports of an earlier version let it."""
    mask = np.zeros((28, 56), np.uint8)
    mask[8:16, 4:12] = 255
    umrg.write(tmp_path / "in", [row(0, mask), row(1, mask)], prefix="test")
    take_in("umrg", tmp_path / "in", tmp_path / "out", wanted=Wanted(FrameRule(min_pixels=784)))
    made = BuiltImplicitSuite(Dataset.open(tmp_path / "out"), split="test")
    asked = [
        replace(s, question=replace(s.question, about=())) if s.question.text == "What 1?" else s
        for s in made.dataset.samples("test")
    ]
    monkeypatch.setattr(grounding, "held_out_implicit", lambda dataset, count, split: asked)
    return made


def test_questions_without_a_mask_are_left_out(suite):
    (entry,) = suite.entries()
    assert suite.left_out == {"it has no mask": 1}
    assert (entry.id, entry.question, entry.answers) == ("q0", "What 0?", ("Liver",))
    assert entry.patient == entry.case  # nobody is named


def test_the_truth_is_that_of_the_release(suite):
    (entry,) = suite.entries()
    truth = suite.truth(entry)
    assert (truth.box, truth.points, truth.grid) == (Box2D(4, 8, 12, 16), ((5, 9), (10, 14)), (56, 28))
    assert np.argwhere(truth.mask).min(0).tolist() == [8, 4]
    assert np.argwhere(truth.mask).max(0).tolist() == [15, 11]
    assert suite.read(entry.case).pixels.shape == (28, 56)
