"""The page of a trace in a real browser: turning slices, lighting looks, reading positions, staying inert and in shape."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import report_samples as samples
from unireason.imaging.geometry import model_to_voxel, voxel_to_world

pytestmark = pytest.mark.browser

Opener = Callable[..., Any]


def current(view: Any) -> int:
    """The slice on the screen, by the one picture that can be seen; the words beside it must agree."""
    seen = view.eval_on_selector_all(
        ".stage img", "all => all.flatMap((e, z) => getComputedStyle(e).visibility == 'visible' ? [z] : [])"
    )
    assert len(seen) == 1
    assert view.inner_text("#slice b") == f"Slice {seen[0]}"
    assert view.eval_on_selector("#slider", "e => Number(e.value)") == seen[0]
    return int(seen[0])


def shown(view: Any) -> list[int]:
    """Numbers of the boxes on the screen; their numbered tags must agree."""
    boxes = view.eval_on_selector_all(
        ".box", "all => all.flatMap((e, n) => getComputedStyle(e).display != 'none' ? [n + 1] : [])"
    )
    tags = view.eval_on_selector_all(".tag", "all => all.filter(e => !e.hidden).map(e => Number(e.textContent))")
    assert boxes == tags
    return [int(n) for n in boxes]


def lit(view: Any) -> list[int]:
    return [int(n) + 1 for n in view.eval_on_selector_all(".box.lit", "all => all.map(e => e.dataset.look)")]


def area(view: Any, selector: str) -> tuple[float, float, float, float]:
    box = view.locator(selector).bounding_box()
    return box["x"], box["y"], box["width"], box["height"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["ArrowUp"], 4),
        (["ArrowRight", "ArrowRight"], 5),
        (["ArrowDown"], 2),
        (["ArrowLeft"], 2),
        (["PageUp"], 5),
        (["PageDown"], 1),
        (["End"], 9),
        (["End", "ArrowUp"], 9),
        (["Home"], 0),
        (["Home", "PageDown"], 0),
    ],
)
def test_keys_turn_slices(opened: Opener, keys: list[str], expected: int) -> None:
    view = opened(samples.volume())
    assert current(view) == 3
    view.focus("#stage")
    for key in keys:
        view.keyboard.press(key)
    assert current(view) == expected


def test_wheel_turns_one_slice_a_notch_and_the_page_stays(opened: Opener) -> None:
    view = opened(samples.volume(), size=(1300, 500))
    view.hover("#stage", position={"x": 50, "y": 50})
    for delta, expected in ((-120, 4), (-120, 5), (100, 4), (20, 4), (20, 3)):
        view.mouse.wheel(0, delta)
        view.wait_for_timeout(60)
        assert current(view) == expected
    assert view.evaluate("scrollY") == 0


def test_slider_buttons_and_keys_of_the_slider(opened: Opener) -> None:
    view = opened(samples.volume())
    x, y, width, height = area(view, "#track")
    for z in (0, 7, 9):
        view.mouse.click(x + width * (z + 0.5) / 10, y + height / 2)
        assert current(view) == z
    view.keyboard.press("ArrowLeft")
    assert current(view) == 8, "the slider has the focus after a click"
    view.click("#forward")
    view.click("#forward")
    assert current(view) == 9
    view.click("#back")
    assert current(view) == 8
    view.mouse.move(x + 2, y + height / 2)
    view.mouse.down()
    view.mouse.move(x + width * 0.55, y + height / 2, steps=4)
    view.mouse.up()
    assert current(view) == 5


def test_only_boxes_that_cover_the_slice_are_shown(opened: Opener) -> None:
    view = opened(samples.volume())
    view.focus("#stage")
    view.keyboard.press("Home")
    seen = []
    for _ in range(10):
        seen.append(shown(view))
        view.keyboard.press("ArrowUp")
    assert seen == [[3], [3], [1], [1], [1, 2], [2], [2], [2], [2], []]


def test_a_box_in_the_text_jumps_to_its_slice_and_lights_its_region(opened: Opener) -> None:
    view = opened(samples.volume())
    view.click(".prose .look[data-look='1']")
    assert current(view) == 6
    assert lit(view) == [2]
    assert view.get_attribute("#shade", "d") == "M0 0H56V56H0Z M26 20H48V44H26Z"
    view.mouse.move(5, 5)
    view.wait_for_timeout(300)
    assert view.eval_on_selector("#shade", "e => getComputedStyle(e).opacity") == "0.5"
    assert view.get_attribute(".prose .look[data-look='1']", "aria-pressed") == "true"
    assert "Look 2 is lit on slice 6" in view.inner_text("#live")
    view.click(".prose .look[data-look='1']")
    view.mouse.move(5, 5)
    assert lit(view) == []


def test_a_crop_jumps_to_its_own_slice_and_looks_work_from_the_keyboard(opened: Opener) -> None:
    view = opened(samples.volume())
    view.click(".film button[data-look='1'][data-slice='8']")
    assert current(view) == 8
    assert lit(view) == [2]
    view.focus(".looks .look[data-look='0']")
    view.keyboard.press("Enter")
    assert current(view) == 3
    view.keyboard.press("Escape")
    view.evaluate("document.activeElement.blur()")
    assert lit(view) == []


def test_hovering_a_look_lights_it_for_the_moment(opened: Opener) -> None:
    view = opened(samples.volume())
    view.hover(".prose .look[data-look='0']")
    assert lit(view) == [1]
    assert current(view) == 3
    view.mouse.move(5, 5)
    assert lit(view) == []


def test_boxes_can_be_hidden(opened: Opener) -> None:
    view = opened(samples.volume())
    view.keyboard.press("b")
    assert view.eval_on_selector(".boxes", "e => getComputedStyle(e).visibility") == "hidden"
    view.check("#boxes")
    assert view.eval_on_selector(".boxes", "e => getComputedStyle(e).visibility") == "visible"


@pytest.mark.parametrize("size", [(1300, 900), (390, 800)])
def test_boxes_lie_where_box_model_says(opened: Opener, size: tuple[int, int]) -> None:
    sample = samples.volume()
    view = opened(sample, size=size, reduced_motion="reduce")
    left, top, width, height = area(view, "#stage")
    assert width / height == pytest.approx(48 / 50, rel=1e-3), "true proportions: 60 x 0.8 mm by 40 x 1.25 mm"
    for n, look in enumerate(sample.trace.looks):
        view.click(f".prose .look[data-look='{n}']")
        left, top, width, height = area(view, "#stage")
        corners = view.eval_on_selector(
            f".box[data-look='{n}'] .line",
            "e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; }",
        )
        x1, y1, _, x2, y2, _ = look.box_model
        expected = (left + x1 / 56 * width, top + y1 / 56 * height, left + x2 / 56 * width, top + y2 / 56 * height)
        np.testing.assert_allclose(corners, expected, atol=0.75)


def test_the_line_of_a_box_is_painted_on_the_screen(opened: Opener) -> None:
    import io

    from PIL import Image

    view = opened(samples.volume())
    picture = np.asarray(Image.open(io.BytesIO(view.locator("#stage").screenshot())).convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    blue = np.abs(picture - (0x4C, 0xC2, 0xFF)).max(axis=2) < 40
    for x, y, hit in ((20, 8, True), (30, 16, True), (10, 16, True), (20, 24, True), (20, 16, False), (40, 40, False)):
        row, column = round(y / 56 * height), round(x / 56 * width)
        assert blue[row - 2 : row + 3, column - 2 : column + 3].any() == hit, (x, y)


def pairs(text: str) -> list[float]:
    return [float(v.replace("\u2212", "-")) for v in re.findall("[ijkxyz] ([\u2212\\d.]+)", text)]


def test_reading_under_the_pointer_agrees_with_the_geometry(opened: Opener) -> None:
    sample = samples.volume()
    view = opened(sample)
    left, top, width, height = area(view, "#stage")
    view.focus("#stage")
    view.keyboard.press("Home")
    for z, (fx, fy) in enumerate(((0.1, 0.2), (0.83, 0.31), (0.5, 0.97), (0.01, 0.66))):
        view.mouse.move(left + fx * width, top + fy * height)
        point = (fx * 56, fy * 56, z + 0.5)
        voxel = model_to_voxel([*point, *point], sample.trace.frame, sample.case.geometry)[:3]
        world = voxel_to_world(voxel, sample.case.geometry)
        np.testing.assert_allclose(pairs(view.inner_text("#read-model")), (*point[:2], z), atol=0.11)
        near = np.abs(np.array(voxel) - np.round(voxel)) < 0.03
        assert [n for n, skip in zip(pairs(view.inner_text("#read-voxel")), near, strict=True) if not skip] == [
            int(np.floor(v)) for v, skip in zip(voxel, near, strict=True) if not skip
        ]
        text = view.inner_text("#read-world")
        np.testing.assert_allclose(pairs(text), world, atol=0.11)
        letters = re.findall("[LRAPHF]", text)
        assert letters == [pair[0 if v > 0 else 1] for v, pair in zip(world, ("LR", "PA", "HF"), strict=True)]
        view.keyboard.press("ArrowUp")


def test_reading_by_keyboard_moves_a_cross(opened: Opener) -> None:
    view = opened(samples.volume())
    view.focus("#stage")
    view.keyboard.press("Shift+ArrowLeft")
    view.keyboard.press("Shift+ArrowDown")
    assert pairs(view.inner_text("#read-model")) == pytest.approx([28 - 56 / 64, 28 + 56 / 64, 3], abs=0.06)
    assert view.is_visible("#cross")
    left, top, width, height = area(view, "#stage")
    x, y, w, h = area(view, "#cross")
    assert (x + w / 2, y + h / 2) == pytest.approx((left + width * 31 / 64, top + height * 33 / 64), abs=1)
    assert view.text_content("#read-voxel") in view.text_content("#live")
    assert current(view) == 3


def test_edges_name_the_sides_of_the_patient(opened: Opener) -> None:
    view = opened(samples.volume())
    assert [view.inner_text(f".edge.{side}") for side in ("left", "right", "top", "bottom")] == ["R", "L", "A", "P"]
    assert view.eval_on_selector_all(".end", "all => all.map(e => e.textContent)") == ["F", "H"]


def test_flat_image_reads_source_pixels_and_knows_no_patient(opened: Opener) -> None:
    view = opened(samples.image(flips=(True, False)))
    left, top, width, height = area(view, "#stage")
    view.mouse.move(left + 0.25 * width, top + 0.5 * height)
    assert pairs(view.inner_text("#read-voxel")) == [67, 30]
    assert not view.is_visible("#read-world-row")
    assert view.locator(".edge").count() == 0
    assert view.locator("#slider").count() == 0
    view.click(".prose .look")
    assert lit(view) == [1]


def test_placed_image_reads_millimetres(opened: Opener) -> None:
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    affine[:3, 3] = (-10, 20, 7)
    view = opened(samples.image(affine=affine))
    left, top, width, height = area(view, "#stage")
    view.mouse.move(left + width / 3, top + height / 2)
    # x = 30 of 90, y = 30 of 60: (30 - 0.5) * 0.5 - 10 = 4.75, (30 - 0.5) * 0.5 + 20 = 34.75, middle of the plane 7
    assert pairs(view.inner_text("#read-world")) == pytest.approx([4.75, 34.75, 7], abs=0.11)


def test_hostile_text_is_inert(opened: Opener) -> None:
    view = opened(samples.hostile())
    view.wait_for_timeout(100)
    assert view.title().startswith("</script></style></title><img")
    assert view.title() != "owned"
    assert view.locator("img[src='x']").count() == 0
    assert view.inner_text("h1").startswith("</script></style></title><img src=x onerror=")
    view.click(".prose .look >> nth=1")
    assert current(view) == 6


def test_policy_stops_script_and_network_even_if_markup_slipped_in(browser: Any, tmp_path: Any) -> None:
    from unireason.report import trace as page

    sample = samples.volume()
    text = page.build(sample.trace, sample.case, sample.stack)
    attack = "<script>document.title='owned'</script><img src='http://127.0.0.1:9/x.png' onerror=\"document.title='owned'\">"
    path = tmp_path / "attacked.html"
    path.write_text(text.replace("<main", f"{attack}<main"), encoding="utf-8")
    context = browser.new_context()
    view = context.new_page()
    blocked: list[str] = []
    view.on("console", lambda message: blocked.append(message.text))
    view.goto(path.as_uri())
    view.wait_for_timeout(100)
    title = view.title()
    context.close()
    assert title != "owned"
    assert len([text for text in blocked if "Content Security Policy" in text]) >= 3


@pytest.mark.parametrize("width", [320, 768, 1600])
@pytest.mark.parametrize("make", [samples.volume, samples.hostile, samples.image])
def test_no_width_scrolls_sideways(opened: Opener, width: int, make: Callable[[], samples.Sample]) -> None:
    view = opened(make(), size=(width, 800))
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    view.click("summary")
    assert view.evaluate("document.documentElement.scrollWidth") <= width


def test_narrow_is_one_column_and_a_look_brings_the_slices_back(opened: Opener) -> None:
    view = opened(samples.volume(), size=(390, 700), reduced_motion="reduce")
    stage, story = area(view, "#stage"), area(view, ".story")
    assert stage[1] + stage[3] <= story[1]
    view.click(".looks .look[data-look='1']")
    _, top, _, height = area(view, "#stage")
    assert top >= 0
    assert top + height <= 700


def test_wide_keeps_the_slices_in_sight(opened: Opener) -> None:
    view = opened(samples.volume(), size=(1300, 700))
    view.evaluate("scrollTo(0, 1200)")
    _, top, _, height = area(view, "#stage")
    assert top >= 0
    assert top + height <= 700


def test_touch_swipe_turns_slices(opened: Opener) -> None:
    view = opened(samples.volume(), size=(390, 700), has_touch=True)
    assert view.eval_on_selector("#stage", "e => getComputedStyle(e).touchAction") == "pan-y", "the page still scrolls"
    left, top, width, height = area(view, "#stage")
    events = [("pointerdown", 0.2), ("pointermove", 0.35), ("pointermove", 0.6), ("pointerup", 0.6)]
    for name, share in events:
        detail = {"pointerType": "touch", "clientX": left + share * width, "clientY": top + height / 2, "bubbles": True}
        view.dispatch_event("#stage", name, detail)
    assert current(view) == 7, "0.4 of the width is 4 of 10 slices"


def test_tags_never_cover_each_other(opened: Opener) -> None:
    sample = samples.volume()
    step = sample.trace.looks[0]
    steps = tuple(replace(step, box_model=(10.0 + n % 2, 8.0, 2.0, 30.0, 24.0, 5.0)) for n in range(6))
    view = opened(samples.Sample(replace(sample.trace, steps=steps), sample.case, sample.stack))
    boxes = view.eval_on_selector_all(
        ".tag", "all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
    )
    assert len(boxes) == 6
    for n, a in enumerate(boxes):
        for b in boxes[n + 1 :]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


@pytest.mark.parametrize(
    "box", [(-1e300, 3.0, 0.0, 1e300, 9.0, 1e300), (20.0, 20.0, 8.0, 5.0, 5.0, 2.0), (60.0, 70.0, 1.0, 80.0, 90.0, 4.0)]
)
def test_senseless_boxes_do_no_harm(opened: Opener, box: tuple[float, ...]) -> None:
    sample = samples.volume()
    step = replace(sample.trace.looks[2], box_model=box)
    view = opened(samples.Sample(replace(sample.trace, steps=(step,)), sample.case, sample.stack), size=(390, 700))
    view.click(".prose .look")
    assert lit(view) == [1]
    assert view.evaluate("document.documentElement.scrollWidth") <= 390


def test_every_control_has_a_name_and_a_ring(opened: Opener) -> None:
    view = opened(samples.volume())
    names = view.eval_on_selector_all(
        "button:not([tabindex='-1']), input",
        "all => all.map(e => e.getAttribute('aria-label') || e.closest('label')?.textContent || '')",
    )
    assert all(name.strip() for name in names)
    assert view.get_attribute(".prose .look[data-look='1']", "aria-label") == "Look 2, meniscus: slices 4–8"
    view.focus("#stage")
    view.keyboard.press("ArrowUp")
    assert view.eval_on_selector("#stage", "e => getComputedStyle(e).outlineStyle") == "solid"


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_scheme_and_stay_readable(opened: Opener, scheme: str, dark: bool) -> None:
    view = opened(samples.volume(), color_scheme=scheme)
    ink, paper = (
        np.array(
            json.loads(
                view.evaluate(f"JSON.stringify(getComputedStyle(document.body).{name}.match(/\\d+/g).slice(0, 3).map(Number))")
            )
        )
        for name in ("color", "backgroundColor")
    )
    assert (paper.mean() < 60) == dark
    assert abs(ink.mean() - paper.mean()) > 150


def test_download_gives_the_trace(opened: Opener) -> None:
    view = opened(samples.volume())
    with view.expect_download() as download:
        view.click(".save")
    assert download.value.suggested_filename == "trace.json"
    assert json.loads(download.value.path().read_text())["answer"]["choice"] == "B"


def test_without_script_text_and_regions_are_there(opened: Opener) -> None:
    view = opened(samples.volume(), java_script_enabled=False)
    assert view.is_visible("noscript")
    assert view.is_visible(".film img >> nth=0")
    assert view.is_visible(".stage img.on")
