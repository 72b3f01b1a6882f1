"""The page of slice-volume consistency: figures, how agreement spreads, agreement against truth, structures, and slices with both looks.

The file needs no network, no server and no script.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import write_bytes

from .html import (
    Cell,
    addresses,
    bar,
    check,
    checkpoint,
    dotted,
    escape,
    figure,
    figures,
    fit,
    number,
    of_results,
    percent,
    plural,
    row,
    sheet,
    table,
)
from .run_tables import left_out

_LONGEST, _BYTES = 336, 600_000  # pixels of a picture's longer side, bytes of all pictures
_SLICE, _VOLUME = 1, 7  # tones of the boxes
_BINS, _WIDE, _HIGH = 20, 360, 240  # bins, and the size of a plot in its own units
_CONTEXT, _MARGIN = 0.45, 1.8  # least share of a picture that is shown, and of the boxes
_DASH = "\u2013"
_ROWS = (
    ("agreement", "Agreement", "box on the slice, projection of the cuboid"),
    ("slice_to_truth", "Slice to truth", "box on the slice, true box there"),
    ("volume_to_truth", "Volume to truth", "projections of the cuboid and the true one"),
    ("cuboid_to_truth", "Cuboid to truth", "cuboid and true cuboid, in 3D"),
    ("other_patient", "Other patient", "box on the slice, projection of the cuboid in another patient"),
    ("ceiling", "Ceiling", "true box on the slice, projection of the true cuboid"),
)

Corners = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One pair with both looks.

    Attributes:
        agreement: IoU of both.
        truth: The lower one of their IoUs with the truth.
        other_patient: IoU with cuboids of others; None if there are none.
    """

    agreement: float
    truth: float
    other_patient: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A slice with the looks; boxes (x1, y1, x2, y2) in canonical voxels.

    Attributes:
        structure: What was looked for.
        case: The volume.
        slice: Canonical index of the slice.
        question: What was asked of the volume.
        picture: uint8 (H, W) or (H, W, 3): the slice.
        size: Canonical voxels along x and y.
        millimetres: Size of a voxel along x and y; the picture is drawn in this proportion.
        rectangle: Looked at on the slice; None for no look.
        shadow: Projection of the cuboid; None for no look.
        truth: The true box on the slice.
        agreement: IoU of both looks.
    """

    structure: str
    case: str
    slice: int
    question: str
    picture: NDArray[np.uint8]
    size: tuple[int, int]
    millimetres: tuple[float, float]
    rectangle: Corners | None
    shadow: Corners | None
    truth: Corners
    agreement: float


def write_consistency(
    results: Mapping[str, Any], path: str | os.PathLike[str], *, points: Sequence[Point] = (), examples: Sequence[Example] = ()
) -> Path:
    """Write the page.

    Args:
        results: As ``results.json`` of ``unireason eval consistency`` has them.
        path: Where.
        points: Pairs with both looks. None gives a line that says so.
        examples: Slices to look at.

    Returns:
        The path written.

    Raises:
        FormatError: A picture has another type or shape, or a size is not positive.
        UniReasonError: The file cannot be written.
    """
    made = results["manifest"]
    facts = [f"suite {made['suite']}", plural(made["questions"], "question")]
    facts += [f"{plural(results['n'], 'pair')} of a question and a structure", plural(results["patients"], "patient")]
    facts += [f"seed {made['seed']}", checkpoint(made["checkpoint"])]
    parts = [
        f'<section class="card panel wide">{_figures(results)}</section>',
        f'<div class="plots">{_plots(points)}</div>',
        f'<section class="card panel wide">{_structures(results["by_structure"])}</section>',
        f"<section>{_examples(examples)}</section>",
    ]
    styles = ("evidence", "consistency")
    cautions = of_results(results)
    title = "Slice-volume consistency"
    return write_bytes(path, sheet("evaluation", title, dotted(facts), parts, sheets=styles, cautions=cautions))


def _figures(results: Mapping[str, Any]) -> str:
    above, looked = results["above_other_patient"], results["looked"]
    large = [
        ("Agreement, IoU", _two(results["agreement"]["mean_iou"]), _range(results["agreement"]["ci95_patients"])),
        ("Above other patients", _two(above["difference"]), _range(above["ci95_patients"])),
        ("Both looked", percent(looked["both"]), f"slice {percent(looked['slice'])}, volume {percent(looked['volume'])}"),
        ("Cuboid reaches the slice", percent(results["crossed"]), ""),
        ("Letter against text", percent(results.get("mismatch_rate"), 1), "of answers contradict themselves"),
    ]
    rows = ""
    for name, title, meaning in _ROWS:
        part, whole = results[name], results["conditional"][name]
        more = (percent(part["at_50"]), _two(whole["mean_iou"]), _range(whole["ci95_patients"]))
        rows += row(f"<b>{title}</b><small>{meaning}</small>", *_mean(part), *(("spare", text) for text in more))
    heads = ("Mean IoU between", ("chart", ""), "All pairs", "95% interval")
    spare = (("spare", "IoU ≥ 0.5"), ("spare", "Both looked"), ("spare", "95% interval"))
    left = f" Left out: {plural(results['left_out'], 'pair')}, too small on the slice." if results["left_out"] else ""
    return (
        f"{left_out(results['unreadable'])}{figures(large)}{table('conditions', (*heads, *spare), rows)}"
        f'<p class="note">Over all pairs a missing look counts as 0. Intervals: over whole patients.{left}</p>'
    )


def _mean(part: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A mean with its bar and its interval."""
    ends = part["ci95_patients"]
    return ("chart", bar(part["mean_iou"], ends)), ("value", _two(part["mean_iou"])), _range(ends)


def _structures(parts: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ""
    for name, part in parts.items():
        others = (("spare", _two(part[key]["mean_iou"])) for key, _, _ in _ROWS[1:])
        rows += row(escape(name), *_mean(part["agreement"]), *others, ("spare", percent(part["looked"]["both"])), str(part["n"]))
    heads: list[Cell] = [
        "Structure",
        ("chart", ""),
        "Agreement",
        "95% interval",
        *(("spare", title) for _, title, _ in _ROWS[1:]),
    ]
    return f"<h2>By structure</h2>{table('conditions', [*heads, ('spare', 'Both looked'), 'Pairs'], rows)}"


def _plots(points: Sequence[Point]) -> str:
    if not points:
        return '<section class="card plot"><p class="none">No pair has both looks.</p></section>'
    key = _key(("own", "same patient, both looked"), ("others", "cuboids of other patients"))
    return (
        f'<section class="card plot"><h2>How agreement spreads</h2>{_histogram(points)}{key}</section>'
        f'<section class="card plot"><h2>Agreement against truth</h2>{_scatter(points)}'
        '<p class="note">A dot is a pair with both looks. Below the line they agree better with each other than with the truth.</p>'
        "</section>"
    )


def _key(*tones: tuple[str, str]) -> str:
    entries = "".join(f'<span><i class="{tone}"></i>{name}</span>' for tone, name in tones)
    return f'<p class="key">{entries}</p>'


def _histogram(points: Sequence[Point]) -> str:
    own = _shares([p.agreement for p in points])
    others = _shares([p.other_patient for p in points if p.other_patient is not None])
    top = max(own.max(), others.max())
    step = _WIDE / _BINS
    bars = "".join(
        f'<rect x="{n * step + 1:.1f}" y="{_HIGH * (1 - v / top):.1f}" width="{step - 2:.1f}" height="{_HIGH * v / top:.1f}"/>'
        for n, v in enumerate(own)
        if v
    )
    line = (
        f"M0 {_HIGH}" + "".join(f"V{_HIGH * (1 - v / top):.1f}H{(n + 1) * step:.1f}" for n, v in enumerate(others)) + f"V{_HIGH}"
    )
    drawn = f'<g class="own">{bars}</g>' + (f'<path class="others" d="{line}"/>' if others.any() else "")
    return _axes(
        drawn, "agreement (IoU)", "share of pairs", {_HIGH: "0", 0: percent(float(top))}, "agreement of looks, as a histogram"
    )


def _scatter(points: Sequence[Point]) -> str:
    spots = "".join(
        f'<circle cx="{_WIDE * p.agreement:.1f}" cy="{_HIGH * (1 - p.truth):.1f}" r="3.4"><title>agreement {_two(p.agreement)}, '
        f"truth {_two(p.truth)}</title></circle>"
        for p in points
    )
    drawn = f'<path class="even" d="M0 {_HIGH}L{_WIDE} 0"/><g class="spot">{spots}</g>'
    ticks = {_HIGH: "0", _HIGH // 2: "0.5", 0: "1"}
    return _axes(drawn, "agreement (IoU)", "lower IoU with the truth", ticks, "agreement of looks against their fit to the truth")


def _axes(drawn: str, below: str, beside: str, ticks: Mapping[int, str], label: str) -> str:
    """A plot whose x runs from 0 to 1."""
    across = "".join(
        f'<text x="{_WIDE * t / 4:.0f}" y="{_HIGH + 16}" text-anchor="middle">{number(t / 4, 2)}</text>' for t in range(5)
    )
    along = "".join(f'<text x="-7" y="{y + 4}" text-anchor="end">{text}</text>' for y, text in ticks.items())
    return (
        f'<svg viewBox="-48 -10 {_WIDE + 62} {_HIGH + 46}" role="img" aria-label="{label}"><path class="axis" d="M0 0V{_HIGH}H{_WIDE}"/>'
        f'{drawn}{across}{along}<text x="{_WIDE / 2:.0f}" y="{_HIGH + 33}" text-anchor="middle">{below}</text>'
        f'<text transform="translate(-36 {_HIGH / 2:.0f}) rotate(-90)" text-anchor="middle">{beside}</text></svg>'
    )


def _shares(values: Sequence[float]) -> NDArray[np.float64]:
    counts, _ = np.histogram(values, bins=_BINS, range=(0, 1))
    return counts / max(1, len(values))


def _examples(examples: Sequence[Example]) -> str:
    links = addresses([fit(example.picture, _LONGEST) for example in examples], budget=_BYTES)
    cards = "".join(_card(example, link) for example, link in zip(examples, links, strict=True))
    key = _key(
        (f"tone tone-{_SLICE}", "box on the slice"), (f"tone tone-{_VOLUME}", "projection of the cuboid"), ("true", "truth")
    )
    return (
        f'<h2>Slices, from the least agreement to the most</h2>{key}<ul class="responses small">'
        f"{cards or '<li class=none>None.</li>'}</ul>"
    )


def _card(example: Example, link: str) -> str:
    check(example.picture)
    width, height = (n * mm for n, mm in zip(example.size, example.millimetres, strict=True))
    if min(width, height) <= 0:
        raise FormatError(f"a picture of {width} x {height} mm", "positive sizes")
    looks = [("box on the slice", example.rectangle, _SLICE), ("projection of the cuboid", example.shadow, _VOLUME)]
    missing = " · ".join(f"no {name}" for name, box, _ in looks if box is None)
    boxes = [box for box in (example.rectangle, example.shadow, example.truth) if box is not None]
    view = " ".join(f"{v:.2f}" for v in _view(boxes, (width, height), example.millimetres))
    drawn = _box(example.truth, "truth on the slice", example.millimetres, "truth")
    drawn += "".join(_box(box, name, example.millimetres, f"tone-{tone}") for name, box, tone in looks if box is not None)
    note = f'<p class="note">{escape(missing)}</p>' if missing else ""
    return (
        f'<li class="card response"><div class="shots">{figure(f"slice {example.slice}", link, (width, height), drawn, view=view)}</div>'
        f'<div class="text"><p class="kind"><span>{escape(example.case)} · slice {example.slice}</span>'
        f"<b>IoU {_two(example.agreement)}</b></p><h3>{escape(example.structure)}</h3>"
        f'<p class="note">{escape(example.question)}</p>{note}</div></li>'
    )


def _box(corners: Corners, name: str, millimetres: tuple[float, float], tone: str) -> str:
    x1, y1, x2, y2 = (v * mm for v, mm in zip(corners, (*millimetres, *millimetres), strict=True))
    where = f'x="{x1:.2f}" y="{y1:.2f}" width="{max(x2 - x1, 0):.2f}" height="{max(y2 - y1, 0):.2f}"'
    return f'<g class="box {tone}"><title>{name}</title><rect class="halo" {where}/><rect class="line" {where}/></g>'


def _view(boxes: Sequence[Corners], size: tuple[float, float], millimetres: tuple[float, float]) -> Corners:
    """What of the picture is shown: a square round all boxes, at least so large that one sees where they lie, in millimetres."""
    low = [min(box[axis] for box in boxes) * millimetres[axis] for axis in (0, 1)]
    high = [max(box[axis + 2] for box in boxes) * millimetres[axis] for axis in (0, 1)]
    side = max(_CONTEXT * max(size), _MARGIN * max(b - a for a, b in zip(low, high, strict=True)))
    begin, sides = [], []
    for a, b, whole in zip(low, high, size, strict=True):
        sides.append(min(side, whole))
        begin.append(min(max((a + b - sides[-1]) / 2, 0.0), whole - sides[-1]))
    return (*begin, *sides)


def _two(value: float | None) -> str:
    return _DASH if value is None else f"{value:.2f}".replace("-", "\u2212")


def _range(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{_two(ends[0])}{_DASH}{_two(ends[1])}"
