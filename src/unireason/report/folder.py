"""Traces into files: JSON, page, still picture and the crops themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from unireason.core.store import json_text, write_bytes
from unireason.core.types import Case, Stack, Trace
from unireason.grounding.trace import to_json
from unireason.imaging.present import serialize
from unireason.imaging.write_masks import write_mask

from .html import addresses, fit, of_results, of_traces, page, part, plural, png, write_pages
from .pictures import thumbnail, write_overlay
from .trace import PageFindings, PageRegion, region_json, region_name, told, write

_NAMES = {"2d": "2D images", "3d": "3D volumes"}
_THUMBNAIL, _THUMBNAIL_BYTES = 240, 24_000  # pixels high, bytes of which it is stored with loss


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
        expected: Letter of the right option, if known, for its own page.
        findings: Masks and answer of an implicit question, for its own page.
    """

    trace: Trace
    case: Case
    stack: Stack
    href: str = ""
    correct: bool | None = None
    family: str = ""
    expected: str | None = None
    findings: PageFindings | None = None


def write_index(
    entries: Sequence[IndexEntry], path: str | os.PathLike[str], *, title: str, summary: Mapping[str, Any] | None = None
) -> Path:
    """Write the index of many traces.

    Args:
        entries: The traces; those that were answered wrong come first. None gives a page with the summary alone.
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
    rows = _ordered(entries)
    panels = [(name, scores[key]) for key, name in _NAMES.items() if isinstance(scores.get(key), Mapping)]
    present = {
        kind for entry in rows for kind in (entry.trace.frame.kind, {True: "right", False: "wrong", None: ""}[entry.correct])
    }
    kinds = (("wrong", "Wrong"), ("right", "Right"), ("image", "2D"), ("volume", "3D"))
    facts = [f"{plural(len(rows), 'trace')} below"]
    checkpoint = scores.get("checkpoint")
    if isinstance(checkpoint, Mapping):
        checkpoint = f"{checkpoint.get('name', '')} {str(checkpoint.get('sha256', ''))[:12]}".strip()
    facts += [f"checkpoint {checkpoint}"] if checkpoint else []
    facts += [f"{scores['seconds']:.0f} s"] if isinstance(scores.get("seconds"), int | float) else []
    given = [entry.trace.provenance for entry in rows]
    same = (
        {key: value for key, value in given[0].items() if all(key in one and one[key] == value for one in given)} if given else {}
    )
    few = dict.fromkeys(text for _, score in panels for text in of_results({**score, "scope": None}))  # once for both kinds

    def make(parts: list[Markup], pages: list[str], current: int) -> bytes:
        return page(
            "index.html",
            about="report",
            title=title,
            heading="",
            facts=" \u00b7 ".join(facts),
            cautions=[*of_traces(entry.trace for entry in rows), *few],
            panels=panels if not current else [],
            choices=[("all", "All"), *(kind for kind in kinds if kind[0] in present)],
            provenance=told(same),
            parts=parts,
            pages=pages,
            current=current,
        )

    return write_pages(path, (_card(n, entry) for n, entry in enumerate(rows)), make)


def _ordered(entries: Sequence[IndexEntry]) -> list[IndexEntry]:
    """Wrong answers first, those that nobody judged before the right ones."""
    return sorted(entries, key=lambda entry: (False, None, True).index(entry.correct))


def _card(number: int, entry: IndexEntry) -> Markup:
    picture = np.asarray(thumbnail(entry.trace, entry.case, entry.stack, height=_THUMBNAIL))
    (link,) = addresses([picture], budget=_THUMBNAIL_BYTES)
    return part("entry", entry, number, link, picture.shape[1::-1], of="cards.html")


def write_folder(
    entries: Sequence[IndexEntry], path: str | os.PathLike[str], *, title: str, summary: Mapping[str, Any] | None = None
) -> Path:
    """Write the page of every trace, with links to its neighbours, and the index; same arguments and errors as ``write_index``."""
    index, rows, pictures = Path(path), _ordered(entries), dict[int, NDArray[np.uint8]]()
    for n, entry in enumerate(rows):
        place = index.parent / entry.href
        near = {"index": index, "previous": index.parent / rows[n - 1].href if n else None}
        near["next"] = index.parent / rows[n + 1].href if n + 1 < len(rows) else None
        links = {name: Path(os.path.relpath(to, place.parent)).as_posix() if to else "" for name, to in near.items()}
        if id(entry.stack) not in pictures:
            pictures = {id(entry.stack): shown_pictures(entry.stack)}
        more: dict[str, Any] = {
            "frame_pictures": pictures[id(entry.stack)],
            "expected": entry.expected,
            "findings": entry.findings,
        }
        write(entry.trace, entry.case, entry.stack, place, links=links, **more)
    return write_index(rows, index, title=title, summary=summary)


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
    path: Path, traces: Sequence[Trace], case: Case, stack: Stack, *, findings: Sequence[PageFindings | None] | None = None
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
    found = findings or [None] * len(traces)
    if len(traces) == 1:
        return write(traces[0], case, stack, path, frame_pictures=shown_pictures(stack), findings=found[0])
    names = [f"{path.stem}-{number}{path.suffix}" for number in range(1, len(traces) + 1)]
    entries = [IndexEntry(trace, case, stack, name, findings=f) for trace, name, f in zip(traces, names, found, strict=True)]
    return write_folder(entries, path, title=case.source.name)


def save_traces(
    folder: Path, traces: Sequence[Trace], case: Case, stack: Stack, *, findings: Sequence[PageFindings | None] | None = None
) -> Path:
    """For every trace ``trace-N.json``, ``trace-N.html``, ``trace-N.png`` and its crops as ``trace-N-look-M-slice-Z.png``.

    With findings also ``trace-N-masks.json``, what was measured of its masks; of several traces also ``index.html``.

    Args:
        folder: Where to write.
        traces: Traces about the case.
        case: The case.
        stack: The slices that were shown to the model.
        findings: For every trace its masks; None for none.

    Raises:
        UniReasonError: If a file cannot be written.
    """
    found = findings or [None] * len(traces)
    entries = [
        IndexEntry(t, case, stack, f"trace-{n}.html", findings=f) for n, (t, f) in enumerate(zip(traces, found, strict=True), 1)
    ]
    if len(entries) > 1:
        write_folder(entries, folder / "index.html", title=case.source.name)
    elif entries:
        save_report(folder / entries[0].href, traces, case, stack, findings=findings)
    for number, (trace, own) in enumerate(zip(traces, found, strict=True), start=1):
        stem = f"trace-{number}"
        write_json(folder / f"{stem}.json", to_json(trace, crops="png"))
        if own is not None:
            write_json(folder / f"{stem}-masks.json", [region_json(region) for region in own.regions])
        write_overlay(trace, case, stack, folder / f"{stem}.png")
        for rank, look in enumerate(trace.looks, start=1):
            for crop in look.crops:
                target = folder / f"{stem}-look-{rank}-slice-{crop.slice_index:03d}.png"
                write_bytes(target, png(Image.fromarray(crop.pixels)))
    return folder
