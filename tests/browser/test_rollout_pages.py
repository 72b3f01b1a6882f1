"""Pages of rollouts in a real browser."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import report_samples as samples
from unireason.core.types import Scored
from unireason.report.rollouts import write_rollouts

pytestmark = pytest.mark.browser

Opener = Callable[..., Any]


def scored(sample: samples.Sample, reward: float, gold: str, case: str) -> Scored:
    return Scored(sample.trace, reward, {"answer": reward, "format": 0.2}, gold, case, sample.stack.slices, reward - 0.5)


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """The folder of two steps; one text of the second step is hostile."""
    volume, image, hostile = samples.volume(), samples.image(), samples.hostile()
    group = [scored(volume, r, "B. meniscus", "knee") for r in (0.2, 1.0, 0.6, 0.2)]
    write_rollouts(group, tmp_path, 20)
    other = [scored(image, 0.5, "Blue.", "skin"), scored(hostile, 0.1, samples.HOSTILE, samples.HOSTILE)]
    return write_rollouts([*group, *other], tmp_path, 40).parent


def test_index_leads_to_a_step_and_back(opened: Opener, pages: Path) -> None:
    view = opened(pages / "index.html")
    assert view.locator("tbody th").all_inner_texts() == ["40", "20"]
    view.click("text=20")
    assert view.inner_text("h1") == "Rollouts of step 20"
    view.click("text=all steps")
    assert view.inner_text("h1") == "Rollouts"


def test_every_response_draws_the_shared_picture_under_its_boxes(opened: Opener, pages: Path) -> None:
    """A picture is stored once; what a card shows of it must be lit, and the box must lie inside."""
    view = opened(pages / "step-000040.html")
    view.locator(".response").nth(2).scroll_into_view_if_needed()
    shot = view.locator(".response").nth(2).locator(".shots svg").nth(1)
    frame, box = shot.bounding_box(), shot.locator(".line").first.bounding_box()
    assert frame["width"] > 80
    # Slice 3 shows the first look alone, x 10..30 of 56 pixels.
    assert abs(box["x"] - (frame["x"] + frame["width"] * 10 / 56)) < 4
    assert abs(box["width"] - frame["width"] * 20 / 56) < 6
    sizes = view.evaluate("[...document.querySelectorAll('symbol image')].map(i => i.getBBox().width)")
    assert sizes
    assert min(sizes) > 90


def test_pictures_are_really_painted(opened: Opener, pages: Path) -> None:
    view = opened(pages / "step-000020.html")
    png = view.locator(".response .shots svg").first.screenshot()

    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert len(np.unique(pixels)) > 50


def test_best_response_comes_first_in_green(opened: Opener, pages: Path) -> None:
    view = opened(pages / "step-000020.html")
    assert view.locator(".earned").all_inner_texts() == ["1", "0.6", "0.2", "0.2"]
    colours = [view.locator(".response header").nth(n).evaluate("e => getComputedStyle(e).borderTopColor") for n in (0, 3)]
    assert colours[0] != colours[1]
    assert view.locator(".response .good").count() == 4


@pytest.mark.parametrize("name", ["index.html", "step-000040.html"])
@pytest.mark.parametrize("width", [320, 768, 1400])
def test_no_width_scrolls_sideways(opened: Opener, pages: Path, name: str, width: int) -> None:
    view = opened(pages / name, size=(width, 800))
    assert view.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_text_changes_nothing(opened: Opener, pages: Path) -> None:
    view = opened(pages / "step-000040.html")
    assert view.title() == "Rollouts of step 40"
    assert view.locator("img[src='x']").count() == 0
