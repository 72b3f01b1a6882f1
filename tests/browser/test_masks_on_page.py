"""Masks and points on the page of a trace in a real browser: on their slices only, and gone when they are not wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import report_samples as samples
from unireason.core.types import Box3D
from unireason.engine.masks import GroundPlace, GroundTarget, Marked
from unireason.report import trace as page
from unireason.report.trace import PageFindings, measured
from unireason.segment.expert import Prompt, finished

pytestmark = pytest.mark.browser

Opener = Callable[..., Any]


def seen(view: Any, selector: str) -> list[tuple[int, int]]:
    """(look, slice) of the groups that can be seen."""
    shown = "all => all.filter(e => getComputedStyle(e).display != 'none').map(e => [+e.dataset.look + 1, +e.dataset.plane])"
    return [tuple(pair) for pair in view.eval_on_selector_all(selector, shown)]


@pytest.fixture
def masked(opened, tmp_path):
    """The sample volume with masks of its first two looks, and an answer with points as a fourth."""

    def open_page(**options: Any) -> Any:
        sample = samples.volume()
        depth, height, width = sample.case.geometry.shape
        masks = np.zeros((3, depth, height, width), bool)
        masks[0, depth // 5 : depth // 2, 2:9, 2:9] = True
        masks[1, depth // 3 :, 8:14, 5:12] = True
        masks[2, depth // 2, 3:6, 3:6] = True
        prompt = Prompt(Box3D(0, 0, 0, 1, 1, 1))
        marked = [Marked(n, f"look {n}", prompt, finished(m, 0.5)) for n, m in zip((1, 2, 0), masks, strict=True)]
        place = GroundPlace((10.0, 8.0, 30.0, 24.0), ((14.0, 12.0), (20.0, 18.0)))
        target = GroundTarget(place, place, GroundPlace((0,) * 6, ()), None, slice=depth // 2)
        findings = PageFindings(target, measured(marked, sample.case))
        path = page.write(sample.trace, sample.case, sample.stack, tmp_path / "masks.html", findings=findings)
        return opened(path, **options)

    return open_page


def test_masks_and_points_follow_the_slices(masked: Callable[..., Any]) -> None:
    view = masked()
    view.focus("#stage")
    view.keyboard.press("Home")
    assert seen(view, ".mask") == []
    found = {}
    for z in range(10):
        found[z] = (seen(view, ".mask"), seen(view, ".point"))
        view.keyboard.press("ArrowUp")
    assert all(plane == z for z, groups in found.items() for group in groups for _, plane in group)
    assert [z for z in found if (1, z) in found[z][0]] == [2, 3, 4]
    assert [z for z in found if (2, z) in found[z][0]] == [3, 4, 5, 6, 7, 8, 9]
    assert [z for z in found if found[z][1]] == [z for z in found if (4, z) in found[z][0]] == [5]


def test_masks_and_boxes_can_be_hidden_apart(masked: Callable[..., Any]) -> None:
    view = masked()
    view.click("button.look[data-look='3']")
    assert len(seen(view, ".mask")) == 2
    view.click("#masks")
    assert seen(view, ".mask") == []
    assert len(seen(view, ".point")) == 1
    view.keyboard.press("m")
    assert len(seen(view, ".mask")) == 2
    view.keyboard.press("b")
    assert seen(view, ".point") == []
    assert len(seen(view, ".mask")) == 2


def test_a_lit_look_lights_its_mask(masked: Callable[..., Any]) -> None:
    view = masked()
    view.click("button.look[data-look='1']")
    lit = view.eval_on_selector_all(".mask.lit", "all => [...new Set(all.map(e => +e.dataset.look))]")
    assert lit == [1]


def test_a_mask_lies_on_the_pixels_it_names(masked: Callable[..., Any]) -> None:
    view = masked()
    view.focus("#stage")
    view.keyboard.press("Home")
    for _ in range(2):
        view.keyboard.press("ArrowUp")
    stage, mask = (view.locator(s).bounding_box() for s in ("#stage", ".mask:not(.off) .fill"))
    _, height, width = samples.volume().case.geometry.shape
    assert (mask["x"] - stage["x"]) / stage["width"] == pytest.approx(2 / width, abs=0.005)
    assert mask["width"] / stage["width"] == pytest.approx(7 / width, abs=0.005)
    assert (mask["y"] - stage["y"]) / stage["height"] == pytest.approx(2 / height, abs=0.005)


def test_a_page_without_masks_has_no_switch(opened: Opener) -> None:
    view = opened(samples.volume())
    assert view.locator("#masks").count() == 0
    view.keyboard.press("m")
    assert view.locator(".mask").count() == 0
