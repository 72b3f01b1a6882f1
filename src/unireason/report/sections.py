"""The parts of a trace's page, each a piece of HTML made from a scene. No part trusts a text it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unireason.engine.pointing import Target
from unireason.files import json_text
from unireason.types import Case, Crop, Frame, Stack, TextStep, Trace, is_mismatch

from .markup import CONTRADICTS, escape, number, numbers
from .pixels import addresses
from .scene import Look, Scene

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


def look_button(look: Look) -> str:
    """The link from a text to the region: number, coordinates, and everything a screen reader needs."""
    name = f"Look {look.number}" + (f", {look.step.label}" if look.step.label else "")
    where = _extent_words(look)
    ran = "" if look.step.executed else ", not carried out"
    return (
        f'<button type="button" class="look tone-{look.tone}{"" if look.step.executed else " idle"}" '
        f'data-look="{look.number - 1}" title="{escape(look.step.text)}" aria-label="{escape(f"{name}: {where}{ran}")}">'
        f"<b>{look.number}</b><span>{escape(where)}</span></button>"
    )


def _extent_words(look: Look) -> str:
    """The short name of a region inside a text: its slices in a volume, its corners in an image."""
    box = look.box
    if len(box) == 6:
        return _slice_words(look) if look.last > look.first else "outside the stack"
    return f"{number(box[0])}\u2013{number(box[2])} × {number(box[1])}\u2013{number(box[3])}"


def _slice_words(look: Look) -> str:
    last = look.last - 1
    return f"slice {look.first}" if last <= look.first else f"slices {look.first}\u2013{last}"


def reasoning(trace: Trace, scene: Scene, *, mark: Callable[[Look], str] = look_button) -> str:
    """The reasoning: free text with a mark for every look, in the order it was written.

    Args:
        trace: What was written.
        scene: Its looks.
        mark: HTML of a look; a button that leads to its region unless given.
    """
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
    remark = FINISH.get(trace.finish, f"Finished by: {trace.finish}.")
    return body + (f'<p class="remark">{escape(remark)}</p>' if remark else "")


def place(trace: Trace, scene: Scene, target: Target) -> str:
    """The answer of an implicit question: its box as a button, and its points."""
    if target.model.box is None:
        return answer(trace)
    points = " and ".join(f"({numbers(point)})" for point in target.model.points)
    within = f'<span class="soft">points at {escape(points)}</span>' if points else '<span class="soft">no usable points</span>'
    return f'<p class="place">{look_button(scene.looks[-1])} {within}</p>'


def whole(target: Target, scene: Scene) -> str:
    """What the model saw of an implicit question: one picture, as a whole."""
    shown = (
        "The whole picture" if target.slice is None else f"One slice of the volume as a picture: canonical slice {target.slice}"
    )
    looked = sum(bool(look.step.crops) for look in scene.looks)
    return f"<p>{shown}{' and the regions below' if looked else ''}.</p>" + (crops(scene) if looked else "")


def crops(scene: Scene) -> str:
    """Every region that was put in front of the model, look by look, pixel for pixel."""
    groups = [look for look in scene.looks if look.step.crops]
    if not groups:
        return '<p class="none">No region was cut out.</p>'
    if not all(crop.pixels.size for look in groups for crop in look.step.crops):
        return '<p class="none">Regions were cut out, but their pixels were not kept with the trace.</p>'
    links = iter(addresses([crop.pixels for look in groups for crop in look.step.crops], budget=_CROP_BUDGET))
    return "".join(_strip(look, [next(links) for _ in look.step.crops]) for look in groups)


def _strip(look: Look, links: Sequence[str]) -> str:
    first, long = look.step.crops[0], len(links) >= _LONG_FILM
    figures = "".join(_crop(look, crop, link, long) for crop, link in zip(look.step.crops, links, strict=True))
    height, width = first.pixels.shape[:2]
    cut = "cut from the source pixels" if first.origin == "native" else "cut from the model frame"
    label = escape(look.step.label or f"Look {look.number}")
    return (
        f'<section class="strip tone-{look.tone}"><h3>{look_badge(look)}<span class="label">{label}</span>'
        f"<small>{len(links)} region{'s' if len(links) != 1 else ''} of {width} × {height} px, {cut}</small></h3>"
        f'<div class="film">{figures}</div></section>'
    )


def look_badge(look: Look) -> str:
    """The number of a look in its colour."""
    return f'<b class="badge tone-{look.tone}">{look.number}</b>'


def _crop(look: Look, crop: Crop, link: str, long: bool) -> str:
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


def look_table(scene: Scene, *, answer: Target | None = None) -> str:
    """All looks with their numbers in the model frame, in the file's index space and in the patient.

    Args:
        scene: The looks.
        answer: What the last of them points at, if it is the answer of an implicit question.
    """
    if not scene.looks:
        return '<p class="none">The model looked at no region.</p>'
    own = {} if answer is None or answer.model.box is None else {len(scene.looks): answer.model.box}
    body = "".join(_look_rows(look, scene.to_voxel.shape[0], own.get(look.number)) for look in scene.looks)
    heads = "".join(f'<th scope="col">{axis} axis</th>' for axis in ("first", "second", "third"))
    return f'<table class="looks"><thead class="unseen"><tr><th scope="col">space</th>{heads}</tr></thead>{body}</table>'


def _look_rows(look: Look, n: int, answered: Sequence[float] | None) -> str:
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


def provenance(trace: Trace, case: Case, stack: Stack, scene: Scene) -> str:
    """Where everything came from: file, preprocessing, model, and whatever else the trace recorded."""
    source = trace.source or case.source
    shape = " × ".join(str(v) for v in case.geometry.source_shape)
    spacing = case.geometry.spacing_mm
    rows: dict[str, str] = {
        "File": escape(source.name),
        "SHA-256": _value(source.sha256),
        "Format": escape(source.format + (f", {case.modality}" if case.modality else "")),
        "Source grid": escape(f"{shape} ({'i × j × k' if scene.slice_axis else 'x × y'})"),
        "Voxel size": "" if spacing is None else escape(" × ".join(number(v, 3) for v in spacing) + " mm"),
        "Window": escape(stack.window),
        "Model frame": escape(_frame_words(trace.frame)),
        "Coverage": escape(_coverage_words(scene) if trace.frame.kind == "volume" else ""),
        "Crop source": escape(_origins(trace)),
        "Notes": escape(" ".join(case.notes)),
    }
    rows.update({k: v for k, v in _recorded(trace.provenance).items() if not rows.get(k)})
    cells = "".join(f"<dt>{escape(k)}</dt><dd>{v}</dd>" for k, v in rows.items() if v)
    return f"<dl>{cells}</dl>"


def _frame_words(frame: Frame) -> str:
    return f"{frame.width} × {frame.height} px" + (f", {frame.depth} slices" if frame.kind == "volume" else "")


def _coverage_words(scene: Scene) -> str:
    if not scene.covered:
        return ""
    first, last = min(a for a, _ in scene.covered), max(b for _, b in scene.covered)
    counts = [b - a for a, b in scene.covered]
    each = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    axis = scene.slice_axis
    return f"{len(counts)} model slices show source slices {axis} {first}\u2013{last - 1}, {each} each"


def _origins(trace: Trace) -> str:
    names = {"model": "the model frame", "native": "the source pixels"}
    return " and ".join(sorted({names[crop.origin] for look in trace.looks for crop in look.crops}))


def _recorded(values: Mapping[str, Any]) -> dict[str, str]:
    """Provenance as rows of HTML; what says nothing is left out."""
    return {_words(key): _value(value) for key, value in values.items() if value not in (None, "", (), [], {})}


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
