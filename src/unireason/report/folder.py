"""Traces into files: JSON, page, still picture and the crops themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unireason.files import json_text, write_bytes
from unireason.grounding.trace import to_json
from unireason.imaging.saving import write_mask
from unireason.imaging.serialize import serialize
from unireason.types import Case, Stack, Trace

from .figures import write_overlay
from .findings import Findings
from .index import Entry, write_index
from .page import write
from .pixels import fit, png
from .regions import Region, region_json, region_name

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
    """Write plain JSON values for people and programs to read; returns the path.

    Raises:
        UniReasonError: If the file cannot be written.
    """
    return write_bytes(path, (json_text(value, indent=1) + "\n").encode())


def shown_stack(case: Case, window: str) -> Stack:
    """A case for people, whether or not a model saw it like this: all slices of a volume, or as many as a page can hold.

    Args:
        case: An image or a volume.
        window: See ``imaging.window.choose``.

    Raises:
        FormatError: If the window cannot be used.
    """
    if case.kind == "image":
        return serialize(case, window=window)
    depth, *plane = case.geometry.shape
    height, width = (min(n, MAX_SIDE) for n in plane)
    return serialize(case, depth=min(depth, MAX_SLICES), size=(height, width), window=window)


def save_masks(folder: Path, stem: str, regions: Sequence[Region], case: Case) -> list[Region]:
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
    path: Path, traces: Sequence[Trace], case: Case, stack: Stack, *, findings: Sequence[Findings] | None = None
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
    found = findings or [Findings()] * len(traces)
    if len(traces) == 1:
        return write(traces[0], case, stack, path, frame_pictures=pictures, findings=found[0])
    entries = []
    for number, trace in enumerate(traces, start=1):
        name = path.with_name(f"{path.stem}-{number}{path.suffix}")
        page = write(trace, case, stack, name, frame_pictures=pictures, findings=found[number - 1])
        entries.append(Entry(trace, case, stack, href=page.name))
    return write_index(entries, path, title=case.source.name)


def save_traces(
    folder: Path, traces: Sequence[Trace], case: Case, stack: Stack, *, findings: Sequence[Findings] | None = None
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
    found = findings or [Findings()] * len(traces)
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
