"""One self-contained HTML page a trace: the slices with the looks drawn on them, the text, the crops, the numbers.

The page needs no network and no server: open the file in a browser. What it draws is worked out in ``pictures``; safety is in
``html``; what moves is in ``static/viewer.js``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import json_text, write_bytes
from unireason.core.types import Box2D, Case, Crop, LookStep, Stack, TextStep, Trace, is_mismatch
from unireason.engine.masks import GroundTarget, Marked
from unireason.grounding.crop import inner
from unireason.grounding.trace import to_json
from unireason.metrics.regions import RegionStatistics, region_statistics

from .html import CONTRADICTS, addresses, escape, fit, inline_json, json_link, number, numbers, of_traces, page
from .pictures import PageLook, PageScene, compose, outlines

# --- The parts of a trace's page, each a piece of HTML made from a scene. No part trusts a text it is given.


FINISH = {
    "end_of_turn": "",
    "invalid_box": "The model wrote a box that could not be read; the turn ended there.",
    "token_budget": "The token budget ran out before the model had finished.",
    "round_budget": "The limit of looks was reached before the model had finished.",
    "context": "The context of the model was full before it had finished.",
}
"""What each reason to finish means to a reader; "" needs no remark."""

_CROP_SIDES = (128, 84)  # pixels on screen of the longer side of a small crop: in a short film, in a long one
_LARGEST = (360, 180)  # pixels on screen beyond which a large crop is shown smaller, likewise
_LONG_FILM = 5
_CLOSING = ".,;:!?)]"  # what stands right behind a word
_CROP_BUDGET = 3_000_000


def look_button(look: PageLook) -> str:
    """The link from a text to the region: number, slices in a volume or corners in an image, and what a screen reader needs."""
    name = f"Look {look.number}" + (f", {look.step.label}" if look.step.label else "")
    box, last = look.box, look.last - 1
    if len(box) != 6:
        where = f"{number(box[0])}\u2013{number(box[2])} × {number(box[1])}\u2013{number(box[3])}"
    elif look.last > look.first:
        where = f"slice {look.first}" if last <= look.first else f"slices {look.first}\u2013{last}"
    else:
        where = "outside the stack"
    ran = "" if look.step.executed else ", not carried out"
    return (
        f'<button type="button" class="look tone-{look.tone}{"" if look.step.executed else " idle"}" '
        f'data-look="{look.number - 1}" title="{escape(look.step.text)}" aria-label="{escape(f"{name}: {where}{ran}")}">'
        f"<b>{look.number}</b><span>{escape(where)}</span></button>"
    )


def reasoning(trace: Trace, scene: PageScene, *, mark: Callable[[PageLook], str] = look_button) -> str:
    """The reasoning: free text with a mark for every look, in the order it was written."""
    waiting = iter(scene.looks)
    pieces: list[str] = []
    for step in trace.steps:
        if step.type == "look":
            pieces.append(f" {mark(next(waiting))}")
        elif isinstance(step, TextStep):
            gap = "" if step.text[:1] in _CLOSING else " "
            pieces.append(f"{gap}<span>{escape(step.text)}</span>")
    return "".join(pieces).strip() or '<span class="none">The model wrote no reasoning.</span>'


def options(trace: Trace, expected: str | None) -> str:
    """The options with the chosen one marked, and the right one where it is known; "" for an open question."""
    rows = []
    for index, text in enumerate(trace.options):
        letter = chr(ord("A") + index)
        chosen, right = letter == trace.answer.choice, letter == expected
        verdict = (" right" if right else " wrong") if chosen and expected else ""
        word = f"chosen,{verdict}" if verdict else "chosen" if chosen else "expected" if right else ""
        marks = f'<span class="mark{"" if chosen else " expected"}">{word}</span>' if word else ""
        rows.append(
            f'<li class="option{" chosen" if chosen else ""}{verdict}"><b>{letter}</b><span>{escape(text)}</span>{marks}</li>'
        )
    return f'<ul class="options" aria-label="Options">{"".join(rows)}</ul>' if rows else ""


def badge(trace: Trace) -> str:
    """What is to be seen at once of an answer: that its letter and its text contradict each other; else ""."""
    return CONTRADICTS if is_mismatch(trace) else ""


def answer(trace: Trace) -> str:
    """The answer as the model wrote it, and why it stopped if that is worth a word."""
    text = trace.answer.text.strip()
    body = f"<p>{escape(text)}{badge(trace)}</p>" if text else '<p class="none">The model gave no answer.</p>'
    remark = finish(trace)
    return body + (f'<p class="remark">{escape(remark)}</p>' if remark else "")


def finish(trace: Trace) -> str:
    """Why the model stopped; "" if that is not worth a word."""
    return FINISH.get(trace.finish, f"Finished by: {trace.finish}.")


def place(trace: Trace, scene: PageScene, target: GroundTarget) -> str:
    """The answer of an implicit question: its box as a button, and its points."""
    if target.model.box is None:
        return answer(trace)
    points = " and ".join(f"({numbers(point)})" for point in target.model.points)
    within = f'<span class="soft">points at {escape(points)}</span>' if points else '<span class="soft">no usable points</span>'
    return f'<p class="place">{look_button(scene.looks[-1])} {within}</p>'


def whole(target: GroundTarget, scene: PageScene) -> str:
    """What the model saw of an implicit question: one picture, as a whole."""
    shown = (
        "The whole picture" if target.slice is None else f"One slice of the volume as a picture: canonical slice {target.slice}"
    )
    looked = sum(bool(look.step.crops) for look in scene.looks)
    return f"<p>{shown}{' and the regions below' if looked else ''}.</p>" + (crops(scene) if looked else "")


def crops(scene: PageScene) -> str:
    """Every region that was put in front of the model, look by look, pixel for pixel."""
    groups = [look for look in scene.looks if look.step.crops]
    if not groups:
        return '<p class="none">No region was cut out.</p>'
    if not all(crop.pixels.size for look in groups for crop in look.step.crops):
        return '<p class="none">Regions were cut out, but their pixels were not kept with the trace.</p>'
    links = iter(addresses([crop.pixels for look in groups for crop in look.step.crops], budget=_CROP_BUDGET))
    strips = ""
    for look in groups:
        own, first = look.step.crops, look.step.crops[0]
        figures = "".join(_crop(look, crop, next(links), len(own) >= _LONG_FILM) for crop in own)
        height, width = first.pixels.shape[:2]
        cut = "cut from the source pixels" if first.origin == "native" else "cut from the model frame"
        strips += (
            f'<section class="strip tone-{look.tone}"><h3>{look_badge(look)}'
            f'<span class="label">{escape(look.step.label or f"Look {look.number}")}</span>'
            f"<small>{len(own)} region{'s' if len(own) != 1 else ''} of {width} × {height} px, {cut}</small></h3>"
            f'<div class="film">{figures}</div></section>'
        )
    return strips


def look_badge(look: PageLook) -> str:
    """The number of a look in its colour."""
    return f'<b class="badge tone-{look.tone}">{look.number}</b>'


def _crop(look: PageLook, crop: Crop, link: str, long: bool) -> str:
    height, width = crop.pixels.shape[:2]
    longest, volume = max(height, width), len(look.step.box_model) == 6
    scale = min(float(max(1, round(_CROP_SIDES[long] / longest))), _LARGEST[long] / longest)
    shrunk = ' class="shrunk"' if scale < 1 else ""
    where = f"slice {crop.slice_index}" if volume else "region"
    fed = "" if crop.grid_thw is None else f", {crop.grid_thw[1]} × {crop.grid_thw[2]} patches"
    title = f"Look {look.number}, {where}: {numbers(crop.box_model)} in the model frame{fed}"
    caption = f"<figcaption>{where}</figcaption>" if volume else ""
    return (
        f'<figure><button type="button" data-look="{look.number - 1}" data-slice="{crop.slice_index}" '
        f'title="{escape(title)}" aria-label="{escape(title)}"><img src="{link}"{shrunk} '
        f'width="{round(width * scale)}" height="{round(height * scale)}" alt=""></button>{caption}</figure>'
    )


def look_table(scene: PageScene, *, answer: GroundTarget | None = None) -> str:
    """All looks with their numbers in the model frame, in the file's index space and in the patient."""
    if not scene.looks:
        return '<p class="none">The model looked at no region.</p>'
    own = {} if answer is None or answer.model.box is None else {len(scene.looks): answer.model.box}
    body = "".join(_look_rows(look, scene.to_voxel.shape[0], own.get(look.number)) for look in scene.looks)
    heads = "".join(f'<th scope="col">{axis} axis</th>' for axis in ("first", "second", "third"))
    return f'<table class="looks"><thead class="unseen"><tr><th scope="col">space</th>{heads}</tr></thead>{body}</table>'


def _look_rows(look: PageLook, n: int, answered: Sequence[float] | None) -> str:
    """The rows of a look; ``answered`` are the numbers of one that is the answer of an implicit question."""
    step = look.step
    size = "" if look.size_mm is None else " × ".join(number(v) for v in look.size_mm) + " mm"
    remark = size if step.executed else "not carried out" + (f" · {size}" if size else "")
    head = f'{look_button(look)}<span class="label">{escape(step.label)}</span><span class="size">{remark}</span>'
    used = look.box if answered is None else (*look.box[:2], *look.box[len(look.box) // 2 :][:2])
    written = answered or step.box_model
    rows = [_row("model", "px", "xyz", used)]
    if tuple(written) != tuple(used):
        rows.insert(0, _row("written", "px", "xyz", written))
    if step.box_voxel is not None:
        words = ("voxel", "index", "ijk") if n == 3 else ("source", "px", "xy")
        rows.append(_row(*words, step.box_voxel))
    if step.box_world_mm is not None:
        rows.append(_row("world", "mm LPS", "xyz", step.box_world_mm))
    first = f'<tr class="head"><th colspan="4" scope="rowgroup">{head}</th></tr>'
    return f'<tbody class="tone-{look.tone}">{first}{"".join(rows)}</tbody>'


def _row(space: str, unit: str, axes: str, box: Sequence[float]) -> str:
    half = len(box) // 2
    ends = [f"<i>{axes[a]}</i>{number(box[a])}<em>to</em>{number(box[half + a])}" for a in range(half)] + ["", ""]
    cells = "".join(f"<td>{text}</td>" for text in ends[:3])
    return f'<tr><th scope="row">{space} <small>{unit}</small></th>{cells}</tr>'


def problems(trace: Trace) -> str:
    """What was wrong in the model's text; "" if nothing was."""
    if not trace.problems:
        return ""
    rows = "".join(
        f"<li><code>{escape(p.code)}</code>"
        + (f" <q>{escape(p.text)}</q>" if p.text else "")
        + (f" <small>at character {p.start}</small>" if p.start >= 0 else "")
        + "</li>"
        for p in trace.problems
    )
    return f'<section class="card problems"><h2>Problems in the model\u2019s text</h2><ul>{rows}</ul></section>'


def provenance(trace: Trace, case: Case, stack: Stack, scene: PageScene) -> str:
    """Where everything came from: file, preprocessing, model, and whatever else the trace recorded."""
    source = trace.source or case.source
    shape = " × ".join(str(v) for v in case.geometry.source_shape)
    spacing, frame = case.geometry.spacing_mm, trace.frame
    origins, coverage = {"model": "the model frame", "native": "the source pixels"}, ""
    if frame.kind == "volume" and scene.covered:
        first, last = min(a for a, _ in scene.covered), max(b for _, b in scene.covered)
        counts = [b - a for a, b in scene.covered]
        each = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
        coverage = f"{len(counts)} model slices show source slices {scene.slice_axis} {first}\u2013{last - 1}, {each} each"
    rows: dict[str, str] = {
        "File": escape(source.name),
        "SHA-256": _value(source.sha256),
        "Format": escape(source.format + (f", {case.modality}" if case.modality else "")),
        "Source grid": escape(f"{shape} ({'i × j × k' if scene.slice_axis else 'x × y'})"),
        "Voxel size": "" if spacing is None else escape(" × ".join(number(v, 3) for v in spacing) + " mm"),
        "Window": escape(stack.window),
        "Model frame": f"{frame.width} × {frame.height} px" + (f", {frame.depth} slices" if frame.kind == "volume" else ""),
        "Coverage": escape(coverage),
        "Crop source": " and ".join(sorted({origins[crop.origin] for look in trace.looks for crop in look.crops})),
        "Notes": escape(" ".join(case.notes)),
    }
    for key, value in trace.provenance.items():
        if value not in (None, "", (), [], {}) and not rows.get(_words(key)):  # what says nothing is left out
            rows[_words(key)] = _value(value)
    cells = "".join(f"<dt>{escape(k)}</dt><dd>{v}</dd>" for k, v in rows.items() if v)
    return f"<dl>{cells}</dl>"


def _words(key: str) -> str:
    text = str(key).replace("_", " ").replace("sha256", "SHA-256")
    return text[:1].upper() + text[1:]


def _value(value: Any) -> str:
    """One value: mappings as a list of pairs, long hashes shortened with the whole in the title."""
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(key).replace('_', ' '))} {_value(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return escape(json_text(value, ensure_ascii=False, default=str))
    text = str(value)
    if len(text) >= 32 and all(c in "0123456789abcdef" for c in text):
        return f'<code title="{text}">{text[:12]}</code>'
    return escape(text)


# --- Outlined regions with what was measured of them, as JSON and as words.


@dataclass(frozen=True, slots=True, eq=False)
class PageRegion:
    """One outlined place of a trace."""

    marked: Marked
    statistics: RegionStatistics
    file: str = ""


def measured(marked: Sequence[Marked], case: Case) -> list[PageRegion]:
    """Measure every mask.

    Raises:
        FormatError: If a mask does not lie on the grid of the case.
    """
    return [PageRegion(one, region_statistics(one.segmentation.mask, case)) for one in marked]


def region_json(region: PageRegion) -> dict[str, Any]:
    """A region as plain JSON values, without its mask.

    Returns:
        ``look`` (0 for an answer), ``label``, ``mask`` (file name or None), ``score``, ``gaps``, ``notes``, ``statistics``.
    """
    found = region.marked.segmentation
    return {
        "look": region.marked.look,
        "label": region.marked.label,
        "mask": region.file or None,
        "score": found.score,
        "gaps": list(found.gaps),
        "notes": list(found.notes),
        "statistics": dict(region.statistics),
    }


def region_name(region: PageRegion) -> str:
    """What an outline is called: the region of a look, which need not hold what the look was for, or the answer."""
    marked = region.marked
    if not marked.look:
        return marked.label
    return f"region of look {marked.look}" + (f" ({marked.label})" if marked.label else "")


def expert_score(region: PageRegion) -> str:
    """The expert's own score of its outline in words; it says how well the outline fits the picture, not what lies there."""
    return f"the expert's own score {region.marked.segmentation.score:.2f}"


def words(region: PageRegion, case: Case) -> list[str]:
    """What was measured, a few words each: size, longest line, mean value."""
    found = region.statistics
    if not found["voxels"]:
        return ["nothing was found"]
    unit = "voxels" if case.kind == "volume" else "pixels"
    said = [f"{found['voxels']:,} {unit}"]
    if found["volume_ml"] is not None:
        said.append(f"{found['volume_ml']:,.3g} ml")
    if found["area_mm2"] is not None:
        said.append(f"{found['area_mm2']:,.4g} mm\u00b2")
    length, step = found["diameter_mm"], "mm"
    if length is None:
        length, step = found["diameter_voxels"], unit
    said.append(f"{length:.1f} {step} across")
    if found["mean"] is not None:
        said.append(f"mean {found['mean']:.1f}{' HU' if case.modality == 'CT' else ''}")
    return said


# --- What a page shows on top of a trace: the place that an implicit question is answered by, and outlined regions.


ANSWER = "answer"
_DOT = " \u00b7 "


@dataclass(frozen=True, slots=True, eq=False)
class PageFindings:
    """What was found beyond the trace.

    Attributes:
        answer: What the answer of an implicit question points at; None for other questions.
        regions: Outlined regions of the case that is shown.
    """

    answer: GroundTarget | None = None
    regions: Sequence[PageRegion] = ()


def shown(trace: Trace, findings: PageFindings, stack: Stack) -> Trace:
    """The trace with its answer as a last look, in a frame of as many slices as are shown."""
    frame = replace(trace.frame, depth=len(stack.slices), kind=stack.kind)
    target = findings.answer
    if target is None or target.model.box is None:
        return replace(trace, frame=frame)
    cut = inner(Box2D(*target.model.box), trace.frame)
    box = target.model.box if cut is None else cut.coords
    slices: tuple[int, ...] = (0,)
    if target.slice is not None:
        slices = tuple(z for z, (first, last) in enumerate(stack.coverage) if first <= target.slice < last)
        box = (*box[:2], float(slices[0]), *box[2:], float(slices[-1] + 1))
    world = None if target.world_mm is None else target.world_mm.box
    step = LookStep(trace.answer.text, box, target.voxel.box, world, slices, executed=True, label=ANSWER)
    return replace(trace, frame=frame, steps=(*trace.steps, step))


@dataclass(frozen=True, slots=True)
class Drawing:
    """Findings as SVG."""

    layer: str
    spans: tuple[tuple[int, int, int], ...]


def drawing(findings: PageFindings, scene: PageScene, stack: Stack) -> Drawing:
    """Draw what was found."""
    groups, spans = [], []
    for region in findings.regions:
        number = look_of(region, scene)
        tone = scene.looks[number].tone
        paths = outlines(region.marked.segmentation.mask, scene.frame, stack)
        for z, path in paths.items():
            pair = f'<path class="fill" d="{path}"/><path class="line" d="{path}"/>'
            groups.append(_plane("mask", pair, z, (number, tone), scene))
        if paths:
            spans.append((tone, min(paths), max(paths) + 1))
    if findings.answer is not None and scene.looks:
        look = scene.looks[-1]
        dots = "".join(f"M{x:g} {y:g}h0" for x, y in findings.answer.model.points)
        pair = f'<path class="halo" d="{dots}"/><path class="line" d="{dots}"/>'
        groups += [_plane("point", pair, z, (look.number - 1, look.tone), scene) for z in look.step.slices if dots]
    return Drawing("".join(groups), tuple(spans))


def look_of(region: PageRegion, scene: PageScene) -> int:
    """Index of the look that a region belongs to; the answer is the last one."""
    return region.marked.look - 1 if region.marked.look else len(scene.looks) - 1


def _plane(kind: str, inner: str, z: int, look: tuple[int, int], scene: PageScene) -> str:
    off = "" if z == scene.start else " off"
    number, tone = look
    return f'<g class="{kind} tone-{tone}{off}" data-plane="{z}" data-look="{number}">{inner}</g>'


def table(findings: PageFindings, scene: PageScene, rows: Sequence[Sequence[str]]) -> str:
    """The regions with what was measured of them."""
    items = []
    for region, said in zip(findings.regions, rows, strict=True):
        look, found = scene.looks[look_of(region, scene)], region.marked.segmentation
        remarks = [expert_score(region), *found.notes, *([region.file] if region.file else [])]
        items.append(
            f'<li class="tone-{look.tone}"><b class="badge tone-{look.tone}">{look.number}</b>'
            f'<span class="label">{escape(region_name(region))}</span>'
            f'<span class="figures">{escape(_DOT.join(said))}</span><small>{escape(_DOT.join(remarks))}</small></li>'
        )
    return f'<section class="card"><h2>Masks</h2><ul class="regions">{"".join(items)}</ul></section>' if items else ""


# --- One self-contained HTML page a trace: the slices with the looks drawn on them, the text, the crops, the numbers.


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
    findings: PageFindings | None = None,
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
    findings: PageFindings | None = None,
) -> str:
    """The text of the page that :func:`write` writes; same arguments and errors."""
    found = findings or PageFindings()
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
        "options": options(trace, expected),
        "reasoning": reasoning(trace, scene),
        "answer": answer(trace) if found.answer is None else place(trace, scene, found.answer),
        "viewer": _viewer(scene, links, drawing(found, scene, stack)),
        "masks_toggle": _TOGGLE if found.regions else "",
        "masks": table(found, scene, [words(region, case) for region in found.regions]),
        "crops": crops(scene) if found.answer is None else whole(found.answer, scene),
        "looks_head": "Looks in numbers" if found.answer is None else "Place in numbers",
        "looks": look_table(scene, answer=found.answer),
        "problems": problems(trace),
        "provenance": provenance(trace, case, stack, scene),
        "raw": escape(trace.raw_text),
        "download": json_link(to_json(trace)),
        "data": inline_json(_data(scene)),
    }
    values = {key: Markup(value) for key, value in values.items()}
    return page(
        "trace.html",
        about="trace",
        cautions=of_traces([trace]),
        style=f":root{{--aspect:{scene.aspect:.5f}}}",
        script="viewer.js",
        sheets=("page",),
        **values,
    ).decode()


def _data(scene: PageScene) -> dict[str, Any]:
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


def _viewer(scene: PageScene, links: list[str], drawn: Drawing) -> str:
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
    size = f'viewBox="0 0 {frame.width} {frame.height}" preserveAspectRatio="none" aria-hidden="true"'
    layer = f'<svg class="masks" {size}>{drawn.layer}</svg>' if drawn.layer else ""  # between the picture and the boxes
    keys = "Arrow keys change the slice. " if volume else ""
    masks = ", M the masks" if drawn.spans else ""
    return (
        f'<div class="stage" id="stage" tabindex="0" role="group" aria-label="{"Slices" if volume else "Image"}" '
        f'aria-describedby="keys">{images}{layer}<svg class="boxes" {size}><path id="shade" fill-rule="evenodd" d=""/>{boxes}</svg>'
        f'{edges}<div class="tags">{tags}</div><span class="cross" id="cross" hidden></span></div>'
        f'<p class="unseen" id="keys">{keys}Shift and arrow keys move the reading point. B hides the boxes{masks}.</p>'
        + (_scrubber(scene, drawn) if volume else "")
    )


def _box(look: PageLook, start: int) -> str:
    x1, y1, x2, y2 = look.rect
    shape = f'x="{x1:g}" y="{y1:g}" width="{max(x2 - x1, 0):g}" height="{max(y2 - y1, 0):g}"'
    off = "" if look.first <= start < look.last else " off"
    idle = "" if look.step.executed else " idle"
    return (
        f'<g class="box tone-{look.tone}{idle}{off}" data-look="{look.number - 1}">'
        f'<rect class="halo" {shape}/><rect class="line" {shape}/></g>'
    )


def _scrubber(scene: PageScene, drawn: Drawing) -> str:
    """The bar under the slices: where looks lie along the stack, and the slider."""
    depth = scene.frame.depth
    lanes: list[int] = []  # no two looks in one lane share a slice: each takes the first lane that is free
    for n, look in enumerate(scene.looks):
        before = zip(lanes, scene.looks[:n], strict=True)
        taken = {lane for lane, other in before if other.first < look.last and look.first < other.last}
        lanes.append(next(lane for lane in range(n + 1) if lane not in taken))
    rows = max(lanes, default=-1) + 1
    height = 3 + rows * 3
    spans = "".join(
        f'<rect class="span tone-{tone}" x="{first}" y="{height - 1}" width="{last - first}" height="1"/>'
        for tone, first, last in drawn.spans
    )
    ticks = "".join(  # 2 units high in a lane of 3
        f'<rect class="tick tone-{look.tone}" data-look="{look.number - 1}" x="{look.first}" y="{1.5 + lane * 3:g}" '
        f'width="{look.last - look.first}" height="2"/>'
        for look, lane in zip(scene.looks, lanes, strict=True)
        if look.last > look.first
    )
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


# --- Boxes with their numbers as SVG, for pictures on cards.


def mark(number: int, label: str, corners: Sequence[float], factors: tuple[float, float], *, tone: int) -> str:
    """A box with its number, as a group in the tone of its look."""
    x1, y1, x2, y2 = (v * f for v, f in zip(corners, (*factors, *factors), strict=True))
    rect = f'x="{x1:.2f}" y="{y1:.2f}" width="{max(x2 - x1, 0):.2f}" height="{max(y2 - y1, 0):.2f}"'
    top = y1 - 6.2 if y1 >= 6.2 else y1
    tag = (
        f'<rect class="tagback" x="{x1:.2f}" y="{top:.2f}" width="5.6" height="5.6" rx="1"/>'
        f'<text x="{x1 + 2.8:.2f}" y="{top + 4.3:.2f}">{number}</text>'
    )
    title = f"<title>{escape(label)}</title>"
    return f'<g class="box tone-{tone}">{title}<rect class="halo" {rect}/><rect class="line" {rect}/>{tag}</g>'
