"""The index of many traces in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import report_samples as samples
from unireason.report import trace as page
from unireason.report.folder import IndexEntry, write_index

pytestmark = pytest.mark.browser

Opener = Callable[..., Any]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    made = [samples.image(), samples.volume(), samples.hostile()]
    entries = [
        IndexEntry(s.trace, s.case, s.stack, f"{n}.html", correct=(True, False, None)[n], family=f"family {n}")
        for n, s in enumerate(made)
    ]
    for n, sample in enumerate(made):
        page.write(sample.trace, sample.case, sample.stack, tmp_path / f"{n}.html")
    family = {"n": 10, "accuracy": 0.8, "accuracy_ci95": [0.5, 0.9], "mean_box_iou": 0.6, "chance": 0.25}
    summary = {"2d": {**family, "by_family": {"size_comparison": family, "a_very_long_name_of_a_family": family}}}
    return write_index(entries, tmp_path / "report.html", title="Traces", summary=summary)


def test_filters_hide_cards(opened: Opener, index: Path) -> None:
    view = opened(index)
    for name, expected in (("Right", [2]), ("Wrong", [0]), ("2D", [2]), ("3D", [0, 1]), ("All", [0, 1, 2])):
        view.click(f".filters >> text={name}")
        assert [n for n in range(3) if view.is_visible(f".entry >> nth={n}")] == expected, name


def test_a_card_leads_to_its_page(opened: Opener, index: Path) -> None:
    view = opened(index)
    view.click(".entry >> nth=0")
    view.wait_for_url("**/1.html")
    assert view.inner_text("h1") == "Which structure lies nearer to the head?"


def test_bars_have_the_length_of_the_accuracy(opened: Opener, index: Path) -> None:
    view = opened(index)
    rail, bar = (view.locator(f"{name} >> nth=0").bounding_box() for name in (".rail", ".bar"))
    assert bar["width"] / rail["width"] == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("width", [320, 768, 1400])
def test_no_width_scrolls_sideways_and_pictures_stay_in_their_cards(opened: Opener, index: Path, width: int) -> None:
    view = opened(index, size=(width, 800))
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    for n in range(3):
        picture, text = (view.locator(f".entry >> nth={n}").locator(name).bounding_box() for name in (".shot img", ".text"))
        assert picture["y"] + picture["height"] <= text["y"] + 0.5
