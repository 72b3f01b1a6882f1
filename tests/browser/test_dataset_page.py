"""The page of a checked data set in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import datasets
from unireason.data.checks.run import check
from unireason.report.dataset import write

pytestmark = pytest.mark.browser

Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    made = datasets.built(folder / "set", patients=4)
    bad = next(s for s in made.samples() if s.task == "vqa" and s.kind == "image")
    wrong = replace(bad, question=replace(bad.question, answer=(bad.question.answer + 1) % len(bad.question.options)))
    copy = datasets.edited(made, folder / "copy", sample=lambda s: wrong if s.id == bad.id else s)
    return write(check(copy, copy.source()), copy, copy.source(), folder / "check.html")


def test_the_verdict_comes_first(opened: Opener, checked: Path) -> None:
    view = opened(checked)
    assert "problem" in view.inner_text("h1")
    assert view.inner_text(".check:has(.name:text-is('answers')) .line b") == "2 problems"


def test_an_audit_of_too_few_questions_is_no_pass(opened: Opener, checked: Path) -> None:
    view = opened(checked)
    assert view.inner_text(".check:has(.name:text-is('shortcut')) .line b") == "not judged"
    assert view.inner_text(".check:has(.name:text-is('files')) .line b") == "ok"


def test_a_phone_shows_the_verdict_of_every_family(opened: Opener, checked: Path) -> None:
    view = opened(checked, size=(390, 844))
    for table in (".audit", ".grid"):
        box = view.locator(table).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_pictures_are_shown_with_their_boxes_in_place(opened: Opener, checked: Path) -> None:
    view = opened(checked)
    picture = view.locator(".sample.image .shots svg image >> nth=0").bounding_box()
    box = view.locator(".sample.image .shots svg .line >> nth=0").bounding_box()
    assert picture["width"] > 100
    assert picture["x"] - 2 <= box["x"]
    assert box["x"] + box["width"] <= picture["x"] + picture["width"] + 2
    assert box["y"] + box["height"] <= picture["y"] + picture["height"] + 2


def test_filters_hide_cards(opened: Opener, checked: Path) -> None:
    view = opened(checked)
    total = view.locator(".sample").count()
    view.click(".filters >> text=3D")
    assert view.locator(".sample.image:visible").count() == 0
    view.click(".filters >> text=With problems")
    assert view.locator(".sample:visible").count() == 1
    view.click(".filters >> text=All")
    assert view.locator(".sample:visible").count() == total


@pytest.mark.parametrize("width", [320, 768, 1400])
def test_no_width_scrolls_sideways(opened: Opener, checked: Path, width: int) -> None:
    view = opened(checked, size=(width, 800))
    assert view.evaluate("document.documentElement.scrollWidth") <= width
