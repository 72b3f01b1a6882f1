"""One self-contained HTML page a trace: the slices with the looks drawn on them, the text, the crops, the numbers.

The page needs no network and no server: open the file in a browser. What it draws is worked out in ``scene``; the pieces
of HTML are in ``sections``; safety is in ``markup``; what moves is in ``static/viewer.js``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.files import write_bytes
from unireason.grounding.trace import to_json
from unireason.types import Case, Stack, Trace

from . import sections
from .caution import banner, of_traces
from .findings import Drawing, Findings, drawing, shown, table
from .markup import escape, inline_json, json_link, render, static
from .pixels import addresses, fit
from .regions import words
from .scene import Look, Scene, compose

_FILE = '<p class="file"><bdi>{}</bdi> · {}</p>\n  '
_TOGGLE = '<label class="toggle"><input type="checkbox" id="masks" checked> Masks</label>'
_LONGEST = {"image": 1600, "volume": 768}  # pixels kept of the longer side of an image and of a slice


def write(
    trace: Trace,
    case: Case,
    stack: Stack,
    path: str | os.PathLike[str],
    *,
    frame_pictures: NDArray[np.uint8] | None = None,
    expected: str | None = None,
    findings: Findings | None = None,
) -> Path:
    """Write the page of one trace.

    Args:
        trace: The trace; without looks the page shows the slices and the text alone.
        case: The case that was asked about, for geometry and provenance.
        stack: The slices shown to the model, uint8 (D, H, W) or (D, H, W, 3).
        path: The HTML file to write; it is replaced at once when the page is ready.
        frame_pictures: Pictures to show instead of ``stack.slices``, same number and kind of shape, any size.
        expected: The letter of the right option, if known; the page then marks it.
        findings: Masks and the answer of an implicit question. A trace about a slice may then be shown in its whole volume: ``case``
            and ``stack`` are those of the volume.

    Returns:
        The path written.

    Raises:
        FormatError: Trace, case, stack and pictures do not belong together.
        UniReasonError: The file cannot be written.
    """
    page = build(trace, case, stack, frame_pictures=frame_pictures, expected=expected, findings=findings)
    return write_bytes(path, page.encode("utf-8"))


def build(
    trace: Trace,
    case: Case,
    stack: Stack,
    *,
    frame_pictures: NDArray[np.uint8] | None = None,
    expected: str | None = None,
    findings: Findings | None = None,
) -> str:
    """The text of the page that :func:`write` writes; same arguments and errors."""
    found = findings or Findings()
    scene = compose(trace if findings is None else shown(trace, found, stack), case, stack)
    pictures = stack.slices if frame_pictures is None else frame_pictures
    if len(pictures) != scene.frame.depth:
        raise FormatError(f"{len(pictures)} pictures for {scene.frame.depth} model slices", "one picture a slice")
    links = addresses([fit(picture, _LONGEST[stack.kind]) for picture in pictures])
    source = trace.source or case.source
    values = {
        "title": escape(f"{trace.question[:60]} \u00b7 {source.name}"),
        "file": _FILE.format(
            escape(source.name if found.answer is None else case.source.name),
            "3D volume" if stack.kind == "volume" else "2D image",
        ),
        "index": "Voxel <small>index</small>" if stack.kind == "volume" else "Source <small>px</small>",
        "question": escape(trace.question),
        "options": sections.options(trace, expected),
        "reasoning": sections.reasoning(trace, scene),
        "answer": sections.answer(trace) if found.answer is None else sections.place(trace, scene, found.answer),
        "viewer": _viewer(scene, links, drawing(found, scene, stack)),
        "masks_toggle": _TOGGLE if found.regions else "",
        "masks": table(found, scene, [words(region, case) for region in found.regions]),
        "crops": sections.crops(scene) if found.answer is None else sections.whole(found.answer, scene),
        "looks_head": "Looks in numbers" if found.answer is None else "Place in numbers",
        "looks": sections.look_table(scene, answer=found.answer),
        "problems": sections.problems(trace),
        "provenance": sections.provenance(trace, case, stack, scene),
        "raw": escape(trace.raw_text),
        "download": json_link(to_json(trace)),
        "data": inline_json(_data(scene)),
    }
    return render(
        "page.html",
        about="trace",
        style=_style(scene),
        script=static("viewer.js"),
        values=values,
        head=banner(of_traces([trace])),
    )


def _style(scene: Scene) -> str:
    return f"{static('base.css')}\n{static('page.css')}\n:root{{--aspect:{scene.aspect:.5f}}}"


def _data(scene: Scene) -> dict[str, Any]:
    """What the script needs. Numbers only: no text of the model goes through the script."""
    frame = scene.frame
    return {
        "frame": [frame.width, frame.height, frame.depth],
        "start": scene.start,
        "looks": [{"rect": look.rect, "first": look.first, "last": look.last, "home": look.home} for look in scene.looks],
        "covered": scene.covered,
        "axis": scene.slice_axis,
        "toVoxel": scene.to_voxel.tolist(),
        "toWorld": None if scene.to_world is None else scene.to_world.tolist(),
    }


def _viewer(scene: Scene, links: list[str], drawn: Drawing) -> str:
    frame = scene.frame
    images = "".join(
        f'<img src="{link}" alt="" decoding="sync"{" class=on" if z == scene.start else ""}>' for z, link in enumerate(links)
    )
    boxes = "".join(_box(look, scene.start) for look in scene.looks)
    tags = "".join(
        f'<button type="button" tabindex="-1" class="tag tone-{look.tone}" data-look="{look.number - 1}" hidden '
        f'aria-hidden="true">{look.number}</button>'
        for look in scene.looks
    )
    letters = zip(("left", "right", "top", "bottom"), scene.edges or (), strict=False)
    edges = "".join(f'<span class="edge {side}" aria-hidden="true">{letter}</span>' for side, letter in letters)
    volume = frame.kind == "volume"
    keys = "Arrow keys change the slice. " if volume else ""
    masks = ", M the masks" if drawn.spans else ""
    return (
        f'<div class="stage" id="stage" tabindex="0" role="group" aria-label="{"Slices" if volume else "Image"}" '
        f'aria-describedby="keys">{images}{_layer(drawn.layer, scene)}<svg class="boxes" viewBox="0 0 {frame.width} {frame.height}" '
        f'preserveAspectRatio="none" aria-hidden="true"><path id="shade" fill-rule="evenodd" d=""/>{boxes}</svg>'
        f'{edges}<div class="tags">{tags}</div><span class="cross" id="cross" hidden></span></div>'
        f'<p class="unseen" id="keys">{keys}Shift and arrow keys move the reading point. B hides the boxes{masks}.</p>'
        + (_scrubber(scene, drawn) if volume else "")
    )


def _layer(drawn: str, scene: Scene) -> str:
    """Masks and points, between the picture and the boxes."""
    size = f'viewBox="0 0 {scene.frame.width} {scene.frame.height}" preserveAspectRatio="none"'
    return f'<svg class="masks" {size} aria-hidden="true">{drawn}</svg>' if drawn else ""


def _box(look: Look, start: int) -> str:
    x1, y1, x2, y2 = look.rect
    shape = f'x="{x1:g}" y="{y1:g}" width="{max(x2 - x1, 0):g}" height="{max(y2 - y1, 0):g}"'
    off = "" if look.first <= start < look.last else " off"
    idle = "" if look.step.executed else " idle"
    return (
        f'<g class="box tone-{look.tone}{idle}{off}" data-look="{look.number - 1}">'
        f'<rect class="halo" {shape}/><rect class="line" {shape}/></g>'
    )


def _scrubber(scene: Scene, drawn: Drawing) -> str:
    """The bar under the slices: where looks lie along the stack, and the slider."""
    depth = scene.frame.depth
    lanes = _lanes(scene.looks)
    rows = max(lanes, default=-1) + 1
    height = 3 + rows * 3
    spans = "".join(
        f'<rect class="span tone-{tone}" x="{first}" y="{height - 1}" width="{last - first}" height="1"/>'
        for tone, first, last in drawn.spans
    )
    ticks = "".join(_tick(look, lane) for look, lane in zip(scene.looks, lanes, strict=True) if look.last > look.first)
    ends = scene.ends or ("", "")
    return (
        f'<div class="scrub"><button type="button" class="step" id="back" aria-label="Previous slice">\u2039</button>'
        f'<span class="end" aria-hidden="true">{ends[0]}</span><div class="track" id="track">'
        f'<svg class="lanes-{min(rows, 5)}" viewBox="0 0 {depth} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="cell" id="cell" x="{scene.start}" y="0" width="1" height="{height}"/>{spans}{ticks}</svg>'
        f'<input type="range" id="slider" min="0" max="{depth - 1}" step="1" value="{scene.start}" aria-label="Slice"></div>'
        f'<span class="end" aria-hidden="true">{ends[1]}</span>'
        f'<button type="button" class="step" id="forward" aria-label="Next slice">\u203a</button></div>'
    )


def _tick(look: Look, lane: int) -> str:
    """The mark of one look along the stack, 2 units high in a lane of 3."""
    place = f'x="{look.first}" y="{1.5 + lane * 3:g}" width="{look.last - look.first}" height="2"'
    return f'<rect class="tick tone-{look.tone}" data-look="{look.number - 1}" {place}/>'


def _lanes(looks: tuple[Look, ...]) -> list[int]:
    """A lane for each look so that no two in one lane share a slice: the first lane that is free."""
    lanes: list[int] = []
    for n, look in enumerate(looks):
        taken = {
            lane for lane, other in zip(lanes, looks[:n], strict=True) if other.first < look.last and look.first < other.last
        }
        lanes.append(next(lane for lane in range(n + 1) if lane not in taken))
    return lanes
