"""One self-contained HTML page a trace: the slices with the looks drawn on them, the text, the crops, the numbers.

The page needs no network and no server: open the file in a browser. What it draws is worked out here and in ``pictures``, its HTML
is ``templates/trace.html``; what moves is in ``static/viewer.js``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import json_text, write_bytes
from unireason.core.types import Box2D, Box3D, Case, LookStep, Stack, TextStep, Trace, is_mismatch
from unireason.engine.masks import GroundTarget, Marked
from unireason.grounding.crop import inner
from unireason.grounding.trace import to_json
from unireason.metrics.regions import RegionStatistics, region_statistics

from .html import CONTRADICTS, addresses, escape, fit, inline_json, json_link, number, numbers, of_traces, page, part
from .pictures import PageLook, PageScene, compose, outlines

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
_LONGEST = {"image": 1600, "volume": 768}  # pixels kept of the longer side of an image and of a slice


# --- Pieces that other pages show too.


def prose(trace: Trace, looks: Sequence[PageLook]) -> list[tuple[str, str, PageLook | None]]:
    """The reasoning in the order it was written: the blank in front, then a text or a look."""
    waiting = iter(looks)
    pieces: list[tuple[str, str, PageLook | None]] = []
    for step in trace.steps:
        gap = " " if pieces else ""
        if step.type == "look":
            pieces.append((gap, "", next(waiting)))
        elif isinstance(step, TextStep):
            pieces.append(("" if step.text[:1] in _CLOSING else gap, step.text, None))
    return pieces


def reasoning(trace: Trace, scene: PageScene) -> Markup:
    """The reasoning as HTML: free text with the number and the box of every look."""
    return part("prose", prose(trace, scene.looks), False)


def options(trace: Trace, expected: str | None) -> Markup:
    """The options with the chosen one marked, and the right one where it is known; "" for an open question."""
    return part("options", trace, expected)


def badge(trace: Trace) -> str:
    """What is to be seen at once of an answer: that its letter and its text contradict each other; else ""."""
    return CONTRADICTS if is_mismatch(trace) else ""


def finish(trace: Trace) -> str:
    """Why the model stopped; "" if that is not worth a word."""
    return FINISH.get(trace.finish, f"Finished by: {trace.finish}.")


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
    solid = len(target.model.box) == 6
    cut = inner(Box3D(*target.model.box) if solid else Box2D(*target.model.box), trace.frame)
    box = target.model.box if cut is None else cut.coords
    slices = tuple(range(int(box[2]), -int(-box[5] // 1))) if solid else (0,)
    if target.slice is not None:
        slices = tuple(z for z, (first, last) in enumerate(stack.coverage) if first <= target.slice < last)
        box = (*box[:2], float(slices[0]), *box[2:], float(slices[-1] + 1))
    world = None if target.world_mm is None else target.world_mm.box
    step = LookStep(trace.answer.text, box, target.voxel.box, world, slices, executed=True, label=ANSWER)
    return replace(trace, frame=frame, steps=(*trace.steps, step))


def _drawn(findings: PageFindings, scene: PageScene, stack: Stack) -> Iterator[tuple[str, int, PageLook, str]]:
    """What is drawn of the findings: "mask" or "point", the slice, the look it belongs to, its path."""
    for region in findings.regions:
        paths = outlines(region.marked.segmentation.mask, scene.frame, stack)
        yield from (("mask", z, look_of(region, scene), path) for z, path in paths.items())
    if findings.answer is not None and scene.looks:
        for z in scene.looks[-1].step.slices:  # a point of a volume on its own slice
            dots = "".join(f"M{x:g} {y:g}h0" for x, y, *on in findings.answer.model.points if not on or int(on[0]) == z)
            if dots:
                yield "point", z, scene.looks[-1], dots


def look_of(region: PageRegion, scene: PageScene) -> PageLook:
    """The look that a region belongs to; the answer is the last one."""
    return scene.looks[region.marked.look - 1 if region.marked.look else -1]


# --- The page.


def write(
    trace: Trace,
    case: Case,
    stack: Stack,
    path: str | os.PathLike[str],
    *,
    frame_pictures: NDArray[np.uint8] | None = None,
    expected: str | None = None,
    findings: PageFindings | None = None,
    links: Mapping[str, str] | None = None,
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
        links: Addresses of other pages relative to this one: "index", "previous", "next"; any may be missing.

    Returns:
        The path written.

    Raises:
        FormatError: Trace, case, stack and pictures do not belong together.
        UniReasonError: The file cannot be written.
    """
    page = build(trace, case, stack, frame_pictures=frame_pictures, expected=expected, findings=findings, links=links)
    return write_bytes(path, page.encode("utf-8"))


def build(
    trace: Trace,
    case: Case,
    stack: Stack,
    *,
    frame_pictures: NDArray[np.uint8] | None = None,
    expected: str | None = None,
    findings: PageFindings | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The text of the page that :func:`write` writes; same arguments and errors."""

    found = findings or PageFindings()
    scene = compose(trace if findings is None else shown(trace, found, stack), case, stack)
    pictures = stack.slices if frame_pictures is None else frame_pictures
    if len(pictures) != scene.frame.depth:
        raise FormatError(f"{len(pictures)} pictures for {scene.frame.depth} model slices", "one picture a slice")
    source = trace.source or case.source
    drawn = list(_drawn(found, scene, stack))
    spans = []
    for region in found.regions:
        planes = [z for kind, z, look, _ in drawn if kind == "mask" and look is look_of(region, scene)]
        spans += [(look_of(region, scene).tone, min(planes), max(planes) + 1)] if planes else []
    regions = []
    for region in found.regions:
        outlined = region.marked.segmentation
        remarks = [expert_score(region), *outlined.notes, *([region.file] if region.file else [])]
        said = (" \u00b7 ".join(words(region, case)), " \u00b7 ".join(remarks))
        regions.append((region_name(region), look_of(region, scene), *said))
    own = {len(scene.looks): found.answer.model.box} if found.answer is not None and found.answer.model.box is not None else {}
    crops = [look for look in scene.looks if look.step.crops]
    kept = all(crop.pixels.size for look in crops for crop in look.step.crops)
    model = trace.provenance.get("checkpoint", "")
    if isinstance(model, Mapping):
        model = " ".join(
            f"{word}{model[key]}" for key, word in (("name", ""), ("dtype", "in "), ("device", "on ")) if model.get(key)
        )
    return page(
        "trace.html",
        about="trace",
        title=f"{trace.question[:60]} \u00b7 {source.name}",
        cautions=of_traces([trace]),
        style=f":root{{--aspect:{scene.aspect:.5f}}}",
        script="viewer.js",
        trace=trace,
        scene=scene,
        findings=found,
        links={"previous": "", "index": "", "next": "", **(links or {})} if links else {},
        expected=expected,
        name=source.name if found.answer is None else case.source.name,
        pictures=addresses([fit(picture, _LONGEST[stack.kind]) for picture in pictures]),
        drawn=drawn,
        spans=spans,
        lanes=_lanes(scene.looks),
        pieces=prose(trace, scene.looks),
        finish=finish(trace),
        model=_value(model),
        made_by=source.made_by,
        regions=regions,
        crops=_films(crops) if kept else [(look, ()) for look in crops],
        kept=kept,
        numbers_of=[(look, _spaces(look, scene.to_voxel.shape[0], own.get(look.number))) for look in scene.looks],
        provenance=_provenance(trace, case, stack, scene),
        download=json_link(to_json(trace)),
        data=Markup(inline_json(_data(scene))),
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


def _lanes(looks: Sequence[PageLook]) -> list[int]:
    """Under the slices no two looks in one lane share a slice: each takes the first lane that is free."""
    lanes: list[int] = []
    for n, look in enumerate(looks):
        before = zip(lanes, looks[:n], strict=True)
        taken = {lane for lane, other in before if other.first < look.last and look.first < other.last}
        lanes.append(next(lane for lane in range(n + 1) if lane not in taken))
    return lanes


def _films(looks: Sequence[PageLook]) -> list[tuple[PageLook, list[dict[str, Any]]]]:
    """Every region that was put in front of the model, look by look, pixel for pixel, enlarged by whole factors."""
    links = iter(addresses([crop.pixels for look in looks for crop in look.step.crops], budget=_CROP_BUDGET))
    films = []
    for look in looks:
        film = []
        for crop in look.step.crops:
            height, width = crop.pixels.shape[:2]
            longest, long = max(height, width), len(look.step.crops) >= _LONG_FILM
            scale = min(float(max(1, round(_CROP_SIDES[long] / longest))), _LARGEST[long] / longest)
            caption = f"slice {crop.slice_index}" if len(look.step.box_model) == 6 else ""
            fed = "" if crop.grid_thw is None else f", {crop.grid_thw[1]} × {crop.grid_thw[2]} patches"
            title = f"Look {look.number}, {caption or 'region'}: {numbers(crop.box_model)} in the model frame{fed}"
            size = (round(width * scale), round(height * scale))
            film.append(
                {"crop": crop, "link": next(links), "shrunk": scale < 1, "size": size, "caption": caption, "title": title}
            )
        films.append((look, film))
    return films


def _spaces(look: PageLook, n: int, answered: Sequence[float] | None) -> list[tuple[str, str, str, Sequence[float]]]:
    """The numbers of a look in every space that is known; ``answered`` are those of the answer of an implicit question."""
    step = look.step
    used = look.box if answered is None or len(answered) == 6 else (*look.box[:2], *look.box[len(look.box) // 2 :][:2])
    written = answered or step.box_model
    rows: list[tuple[str, str, str, Sequence[float]]] = [("model", "px", "xyz", used)]
    if tuple(written) != tuple(used):
        rows.insert(0, ("written", "px", "xyz", written))
    if step.box_voxel is not None:
        rows.append(("voxel", "index", "ijk", step.box_voxel) if n == 3 else ("source", "px", "xy", step.box_voxel))
    if step.box_world_mm is not None:
        rows.append(("world", "mm LPS", "xyz", step.box_world_mm))
    return rows


def _provenance(trace: Trace, case: Case, stack: Stack, scene: PageScene) -> dict[str, str]:
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
        "File": source.name,
        "SHA-256": _value(source.sha256),
        "Format": source.format + (f", {case.modality}" if case.modality else ""),
        "Source grid": f"{shape} ({'i × j × k' if scene.slice_axis else 'x × y'})",
        "Voxel size": "" if spacing is None else " × ".join(number(v, 3) for v in spacing) + " mm",
        "Window": stack.window,
        "Model frame": f"{frame.width} × {frame.height} px" + (f", {frame.depth} slices" if frame.kind == "volume" else ""),
        "Coverage": coverage,
        "Crop source": " and ".join(sorted({origins[crop.origin] for look in trace.looks for crop in look.crops})),
        "Notes": " ".join(case.notes),
    }
    return rows | {name: value for name, value in told(trace.provenance).items() if not rows.get(name)}


def told(provenance: Mapping[str, Any]) -> dict[str, Markup]:
    """What a trace recorded of its making, as a name in words and HTML; what says nothing is left out."""
    rows = {}
    for key, value in provenance.items():
        name = str(key).replace("_", " ").replace("sha256", "SHA-256")
        if value not in (None, "", (), [], {}):
            rows[name[:1].upper() + name[1:]] = _value(value)
    return rows


def _value(value: Any) -> Markup:
    """One value as HTML: mappings as a list of pairs, long hashes shortened with the whole in the title."""
    if isinstance(value, Mapping):
        return Markup(", ".join(f"{escape(str(key).replace('_', ' '))} {_value(inner)}" for key, inner in value.items()))
    if isinstance(value, (list, tuple)):
        return Markup(escape(json_text(value, ensure_ascii=False, default=str)))
    text = str(value)
    if len(text) >= 32 and all(c in "0123456789abcdef" for c in text):
        return Markup(f'<code title="{text}">{text[:12]}</code>')
    return Markup(escape(text))
