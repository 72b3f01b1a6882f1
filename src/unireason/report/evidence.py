"""The page of an evidence check: one table of all conditions, the reliance, and questions whose answers flipped or survived.

A picture shows what was asked for and what was shown instead. The file needs no network, no server and no script.
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
from unireason.core.types import Frame

from .html import (
    CONTRADICTS,
    addresses,
    bar,
    checkpoint,
    dotted,
    escape,
    figure,
    figures,
    fit,
    interval_text,
    mark,
    of_results,
    percent,
    plural,
    row,
    sheet,
    table,
)
from .run_tables import left_out

_LONGEST, _BYTES = 336, 120_000  # pixels of a picture's longer side, bytes of the pictures of a question
_ASKED, _INSTEAD = 2, 6  # tones of the boxes
_DASH = "\u2013"

Piece = tuple[int, tuple[int, int, int, int]]
"""A slice and a rectangle (x1, y1, x2, y2) on it, model frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Flip:
    """One question with its answers under all conditions.

    Attributes:
        question: The question.
        options: Option texts; none for an open question.
        gold: The right letter, or the answer in words.
        case: Identifier of the case.
        answers: By condition what was said, and whether it is right.
        frame: The model frame.
        pictures: uint8 (D, H, W) or (D, H, W, 3), what the model saw.
        asked: What its first look asked for, slice by slice; none if it never looked.
        instead: What that look showed under the headline condition.
        mismatches: Conditions under which letter and text of the answer contradict each other.
    """

    question: str
    options: tuple[str, ...]
    gold: str
    case: str
    answers: Mapping[str, tuple[str, bool]]
    frame: Frame
    pictures: NDArray[np.uint8]
    asked: tuple[Piece, ...] = ()
    instead: tuple[Piece, ...] = ()
    mismatches: frozenset[str] = frozenset()


def write_evidence(
    results: Mapping[str, Any], path: str | os.PathLike[str], *, flips: Sequence[Flip] = (), survivors: Sequence[Flip] = ()
) -> Path:
    """Write the page.

    Args:
        results: As ``results.json`` of ``unireason eval evidence`` has them.
        path: Where.
        flips: Questions answered right with the evidence and wrong without it. None gives a line that says so.
        survivors: Questions answered right all the same.

    Returns:
        The path written.

    Raises:
        FormatError: Pictures and frame of a question do not belong together.
        UniReasonError: The file cannot be written.
    """
    condition = str(results["reliance_condition"]).replace("_", " ")
    made = results["manifest"]
    facts = [
        f"suite {made['suite']}",
        plural(made["questions"], "question"),
        f"seed {made['seed']}",
        checkpoint(made["checkpoint"]),
    ]
    page = sheet(
        "evaluation",
        "Evidence check",
        dotted(facts),
        [
            f'<section class="card panel wide">{_table(results)}</section>',
            _list(f"Flips: right under true, wrong under {condition}", flips),
            _list(f"Survivors: right under true, and right again under {condition}", survivors),
        ],
        sheets=("evidence",),
        cautions=of_results(results),
    )
    return write_bytes(path, page)


def _table(results: Mapping[str, Any]) -> str:
    found, true = results["reliance"], results["conditions"]["true"]
    value, note = _DASH, "undefined: not above chance"
    if found["value"] is not None:
        value = f"{found['value']:.2f}"
        note = f"95% interval {_range(found['ci95'])}" if found["ci95"] else "one patient: no interval"
    large = [
        ("Evidence reliance", value, note),
        ("Accuracy", percent(true["accuracy"]), interval_text(_ends(true))),
        ("Chance", percent(true["chance"]), ""),
        ("Looked", percent(results["looked"]), ""),
        ("Letter against text", percent(true.get("mismatch_rate"), 1), "of answers contradict themselves"),
    ]
    rows = ""
    for name, part in results["conditions"].items():
        lost, kept = part.get("reliance"), part.get("survival")
        reliance = "" if lost is None else _DASH
        if lost is not None and lost["value"] is not None:
            reliance = f"<b>{lost['value']:.2f}</b> <small>{_range(lost['ci95']) if lost['ci95'] else ''}</small>"
        rows += row(
            f"<b>{escape(name.replace('_', ' '))}</b><small>{escape(part['meaning'])}</small>",
            ("chart", bar(part["accuracy"], _ends(part), part["chance"])),
            ("value", percent(part["accuracy"])),
            interval_text(_ends(part)) or _DASH,
            ("spare", f"{part['n']:,}"),
            ("spare", percent(kept["value"]) if kept else ""),
            reliance,
        )
    heads = ("Condition", ("chart", ""), "Accuracy", "95% interval", ("spare", "Questions"), ("spare", "Survival"), "Reliance")
    left = [str(name).replace("_", " ") for name in results["left_out"]]
    return (
        f"{left_out(results['unreadable'])}{figures(large)}{table('conditions', heads, rows)}"
        '<p class="legend"><span class="whisker"></span>95% interval<span class="dash"></span>chance</p>'
        '<p class="note">Survival: share of right answers under true that are right again. Reliance: share of the accuracy above '
        "chance that is lost; 0 if nothing is, 1 if what is left is no better than guessing.</p>"
        + (f'<p class="note">Not asked: {escape(", ".join(left))}.</p>' if left else "")
    )


def _ends(part: Mapping[str, Any]) -> Any:
    """The interval over patients; that over questions where no patient is known."""
    return part.get("ci95_patients", part["ci95"])


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f}{_DASH}{ends[1]:.2f}"


def _list(title: str, flips: Sequence[Flip]) -> str:
    cards = "".join(_card(flip) for flip in flips) or '<li class="none">None among the answers.</li>'
    return f'<section><h2>{escape(title)}</h2><ul class="responses">{cards}</ul></section>'


def _card(flip: Flip) -> str:
    kind, expected = "3D" if flip.frame.kind == "volume" else "2D", ("", ' class="expected"')
    options = "".join(
        f'<li class="option"><b>{chr(65 + n)}</b><span{expected[chr(65 + n) == flip.gold]}>{escape(text)}</span></li>'
        for n, text in enumerate(flip.options)
    )
    said = "".join(
        f'<li class="{"good" if right else "bad"}"><span>{escape(name.replace("_", " "))}</span><b>{escape(text) or _DASH}</b>'
        f"{CONTRADICTS if name in flip.mismatches else ''}</li>"
        for name, (text, right) in flip.answers.items()
    )
    return (
        f'<li class="card response">{_shots(flip)}<div class="text"><p class="kind"><span>{kind} · {escape(flip.case)}</span></p>'
        f'<h3>{escape(flip.question)}</h3><ul class="options">{options}</ul>'
        f'<p class="reply right">{escape(flip.gold)}</p><ul class="said">{said}</ul></div></li>'
    )


def _shots(flip: Flip) -> str:
    """The middle slice of what was asked for and of what was shown instead; the middle slice of the case without a look."""
    frame, pictures = flip.frame, flip.pictures
    if pictures.ndim not in (3, 4) or len(pictures) != frame.depth:
        raise FormatError(f"pictures of shape {pictures.shape}", f"{frame.depth} slices")
    named = [("asked for", flip.asked, _ASKED), ("shown instead", flip.instead, _INSTEAD)]
    views: list[tuple[str, int, tuple[int, int, int, int] | None, int]] = [
        (name, *pieces[len(pieces) // 2], tone) for name, pieces, tone in named if pieces
    ]
    if not views:
        views = [("no look", frame.depth // 2, None, 0)]
    links = addresses([fit(pictures[z], _LONGEST) for _, z, _, _ in views], budget=_BYTES)
    scale = 100 / max(frame.width, frame.height)
    size, shots = (frame.width * scale, frame.height * scale), ""
    for place, ((name, z, rect, tone), link) in enumerate(zip(views, links, strict=True), start=1):
        drawn = "" if rect is None else mark(place, name, rect, (scale, scale), tone=tone)
        shots += figure(name, link, size, drawn, caption=f"{name}{f', slice {z}' if frame.kind == 'volume' else ''}")
    return f'<div class="shots">{shots}</div>'
