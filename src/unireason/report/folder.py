"""Traces into files: JSON, page, still picture and the crops themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unireason.core.store import json_text, write_bytes
from unireason.core.types import Case, Stack, Trace
from unireason.grounding.trace import to_json
from unireason.imaging.present import serialize
from unireason.imaging.write_masks import write_mask

from .html import (
    VERDICTS,
    addresses,
    bar,
    escape,
    figures,
    filters,
    fit,
    interval_text,
    is_share,
    of_results,
    of_traces,
    percent,
    plural,
    png,
    row,
    sheet,
)
from .pictures import thumbnail, write_overlay
from .trace import PageFindings, PageRegion, badge, region_json, region_name, write

_NAMES = {"2d": "2D images", "3d": "3D volumes"}
_THUMBNAIL = 240  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class IndexEntry:
    """One trace of an index.

    Attributes:
        trace: The trace.
        case: Its case.
        stack: Its stack.
        href: Address of its own page, relative to the index; "" if it has none.
        correct: Whether the answer was right; None if unknown.
        family: Family of the question; "" if none.
    """

    trace: Trace
    case: Case
    stack: Stack
    href: str = ""
    correct: bool | None = None
    family: str = ""


def write_index(
    entries: Sequence[IndexEntry], path: str | os.PathLike[str], *, title: str, summary: Mapping[str, Any] | None = None
) -> Path:
    """Write the index of many traces.

    Args:
        entries: The traces, in the order of the page; none gives a page with the summary alone.
        path: The HTML file to write.
        title: Heading of the page.
        summary: Scores as ``unireason demo --json`` prints them: under "2d" and "3d" the keys "n", "accuracy",
            "accuracy_ci95" (two fractions), "mean_box_iou", "crop_rate", "mismatch_rate", optionally "chance", and "by_family" with the
            same keys a family; beside them "checkpoint" and "seconds". What is missing is left out of the page.

    Returns:
        The path written.

    Raises:
        FormatError: An entry does not belong together.
        UniReasonError: The file cannot be written.
    """
    scores = summary or {}
    kinds = [("right", "Right"), ("wrong", "Wrong"), ("image", "2D"), ("volume", "3D")]
    present = {word for entry in entries for word in _classes(entry)}
    parts = [_panel(key, scores[key]) for key in _NAMES if isinstance(scores.get(key), Mapping)]
    body = [
        f'<div class="panels">{"".join(parts)}</div>',
        filters([("all", "All"), *(k for k in kinds if k[0] in present)], "show"),
        f'<ul class="entries">{"".join(_card(n, entry) for n, entry in enumerate(entries))}</ul>',
    ]
    given = [scores[key] for key in _NAMES if isinstance(scores.get(key), Mapping)]
    few = dict.fromkeys(text for part in given for text in of_results({**part, "scope": None}))  # once for both kinds
    cautions = [*of_traces(entry.trace for entry in entries), *few]
    return write_bytes(path, sheet("report", escape(title), _facts(entries, scores), body, cautions=cautions))


def _facts(entries: Sequence[IndexEntry], scores: Mapping[str, Any]) -> str:
    facts = [f"{len(entries)} trace{'' if len(entries) == 1 else 's'} below"]
    checkpoint = scores.get("checkpoint")
    if isinstance(checkpoint, Mapping):
        checkpoint = f"{checkpoint.get('name', '')} {str(checkpoint.get('sha256', ''))[:12]}".strip()
    if checkpoint:
        facts.append(f"checkpoint {escape(checkpoint)}")
    if isinstance(scores.get("seconds"), int | float):
        facts.append(f"{scores['seconds']:.0f} s")
    return " · ".join(facts)


def _panel(key: str, score: Mapping[str, Any]) -> str:
    """The scores of one kind: the whole in large figures, the families as a table with bars."""
    families, rows = score.get("by_family"), ""
    for name, part in families.items() if isinstance(families, Mapping) else ():
        rows += row(
            escape(str(name).replace("_", " ")),
            ("chart", bar(part.get("accuracy"), _ends(part), part.get("chance", score.get("chance")))),
            (f'value" title="{interval_text(_ends(part))}', percent(part.get("accuracy"))),
            _fraction(part.get("mean_box_iou")),
            str(part["n"]) if isinstance(part.get("n"), int) else "\u2013",
        )
    chance = '<span class="dash"></span>chance' if 'class="chance"' in rows else ""
    table = (
        '<table><thead><tr><th scope="col">Family</th><th scope="col" colspan="2">Accuracy</th>'
        f'<th scope="col">IoU</th><th scope="col">n</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="legend"><span class="whisker"></span>95% interval{chance}</p>'
    )
    large = [
        ("Accuracy", percent(score.get("accuracy")), interval_text(_ends(score))),
        ("Mean box IoU", _fraction(score.get("mean_box_iou")), ""),
        ("With a crop", percent(score.get("crop_rate")), ""),
    ]
    if "mismatch_rate" in score:
        large.append(("Letter against text", percent(score["mismatch_rate"]), "of answers contradict themselves"))
    count = f" · {plural(score['n'], 'question')}" if isinstance(score.get("n"), int) else ""
    return f'<section class="card panel"><h2>{_NAMES[key]}{count}</h2>{figures(large)}{table if rows else ""}</section>'


def _ends(part: Mapping[str, Any]) -> Any:
    """The interval over patients; that over questions where no patient is known."""
    return part.get("accuracy_ci95_patients", part.get("accuracy_ci95"))


def _fraction(value: Any) -> str:
    return f"{value:.2f}" if is_share(value) else "\u2013"


def _classes(entry: IndexEntry) -> list[str]:
    verdict = {True: ["right"], False: ["wrong"], None: []}[entry.correct]
    return [entry.trace.frame.kind, *verdict]


def _card(number: int, entry: IndexEntry) -> str:
    picture = np.asarray(thumbnail(entry.trace, entry.case, entry.stack, height=_THUMBNAIL))
    link = addresses([picture], budget=60_000)[0]
    kind = "3D" if entry.trace.frame.kind == "volume" else "2D"
    words = " · ".join(w for w in (kind, escape(entry.family.replace("_", " "))) if w)
    question = escape(entry.trace.question)
    # A leading "./" keeps any scheme inside the address from being read as one.
    head = f'<a href="{escape("./" + entry.href.lstrip("/"))}">{question}</a>' if entry.href else question
    answer = escape(entry.trace.answer.text.strip()) or '<span class="none">no answer</span>'
    answer += badge(entry.trace)
    return (
        f'<li class="card entry {" ".join(_classes(entry))}"><div class="shot"><img src="{link}" alt="" '
        f'width="{picture.shape[1]}" height="{picture.shape[0]}"></div><div class="text">'
        f'<p class="kind">{words}{VERDICTS[entry.correct]}</p>'
        f'<h3 id="entry-{number}">{head}</h3><p class="answer">{answer}</p></div></li>'
    )


# --- Traces into files: JSON, page, still picture and the crops themselves.


MAX_SIDE, MAX_SLICES = 384, 96


def shown_pictures(stack: Stack) -> NDArray[np.uint8]:
    """The slices of a stack at a size for people: as fine as the source in plane, at most 384 px a side.

    Args:
        stack: What the model was shown.

    Returns:
        uint8 (D, H, W) or (D, H, W, 3); slice d is the mean of the source slices that model slice d covers.
    """
    if stack.kind == "image":
        return fit(stack.native, MAX_SIDE)[None]
    means = (stack.native[first:last].mean(axis=0, dtype=np.float32) for first, last in stack.coverage)
    return np.stack([fit(np.rint(m).astype(np.uint8), MAX_SIDE) for m in means])


def write_json(path: Path, value: Any) -> Path:
    """Write plain JSON values for people and programs to read; returns the path."""
    return write_bytes(path, (json_text(value, indent=1) + "\n").encode())


def shown_stack(case: Case, window: str) -> Stack:
    """A case for people, whether or not a model saw it like this: all slices of a volume, or as many as a page can hold."""
    if case.kind == "image":
        return serialize(case, window=window)
    depth, *plane = case.geometry.shape
    height, width = (min(n, MAX_SIDE) for n in plane)
    return serialize(case, depth=min(depth, MAX_SLICES), size=(height, width), window=window)


def save_masks(folder: Path, stem: str, regions: Sequence[PageRegion], case: Case) -> list[PageRegion]:
    """Write masks on the grid of the source as ``STEM.nii.gz``, for pictures ``STEM.png``; those of looks as ``STEM-look-M``.

    Returns:
        The regions with the names of their files.

    Raises:
        UniReasonError: If a file cannot be written.
    """
    ending = ".nii.gz" if case.kind == "volume" or case.source.format == "nifti" else ".png"
    saved = []
    for region in regions:
        look = f"-look-{region.marked.look}" if region.marked.look else ""
        path = write_mask(folder / f"{stem}{look}{ending}", region.marked.segmentation.mask, case, name=region_name(region))
        saved.append(replace(region, file=path.name))
    return saved


def save_report(
    path: Path, traces: Sequence[Trace], case: Case, stack: Stack, *, findings: Sequence[PageFindings] | None = None
) -> Path:
    """One page for one trace; an index with pages beside it for several.

    Args:
        path: The page to write.
        traces: Traces about the case.
        case: The case.
        stack: The slices that were shown to the model.
        findings: For every trace its masks; None for none.

    Raises:
        UniReasonError: If a file cannot be written.
    """
    pictures = shown_pictures(stack)
    found = findings or [PageFindings()] * len(traces)
    if len(traces) == 1:
        return write(traces[0], case, stack, path, frame_pictures=pictures, findings=found[0])
    entries = []
    for number, trace in enumerate(traces, start=1):
        name = path.with_name(f"{path.stem}-{number}{path.suffix}")
        page = write(trace, case, stack, name, frame_pictures=pictures, findings=found[number - 1])
        entries.append(IndexEntry(trace, case, stack, href=page.name))
    return write_index(entries, path, title=case.source.name)


def save_traces(
    folder: Path, traces: Sequence[Trace], case: Case, stack: Stack, *, findings: Sequence[PageFindings] | None = None
) -> Path:
    """For every trace ``trace-N.json``, ``trace-N.html``, ``trace-N.png`` and its crops as ``trace-N-look-M-slice-Z.png``.

    With findings also ``trace-N-masks.json``, what was measured of its masks.

    Args:
        folder: Where to write.
        traces: Traces about the case.
        case: The case.
        stack: The slices that were shown to the model.
        findings: For every trace its masks; None for none.

    Raises:
        UniReasonError: If a file cannot be written.
    """
    pictures = shown_pictures(stack)
    found = findings or [PageFindings()] * len(traces)
    for number, trace in enumerate(traces, start=1):
        stem = f"trace-{number}"
        write_json(folder / f"{stem}.json", to_json(trace, crops="png"))
        write(trace, case, stack, folder / f"{stem}.html", frame_pictures=pictures, findings=found[number - 1])
        if findings is not None:
            write_json(folder / f"{stem}-masks.json", [region_json(region) for region in found[number - 1].regions])
        write_overlay(trace, case, stack, folder / f"{stem}.png")
        for rank, look in enumerate(trace.looks, start=1):
            for crop in look.crops:
                target = folder / f"{stem}-look-{rank}-slice-{crop.slice_index:03d}.png"
                write_bytes(target, png(Image.fromarray(crop.pixels)))
    return folder
