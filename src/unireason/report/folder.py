"""Traces into files: JSON, page, still picture and the crops themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unireason.files import write_bytes
from unireason.grounding.trace import to_json
from unireason.types import Case, Stack, Trace

from .figures import write_overlay
from .index import Entry, write_index
from .page import write
from .pixels import fit, png

MAX_SIDE = 384


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


def save_report(path: Path, traces: Sequence[Trace], case: Case, stack: Stack) -> Path:
    """One page for one trace; an index with pages beside it for several.

    Raises:
        UniReasonError: If a file cannot be written.
    """
    pictures = shown_pictures(stack)
    if len(traces) == 1:
        return write(traces[0], case, stack, path, frame_pictures=pictures)
    entries = []
    for number, trace in enumerate(traces, start=1):
        page = write(trace, case, stack, path.with_name(f"{path.stem}-{number}{path.suffix}"), frame_pictures=pictures)
        entries.append(Entry(trace, case, stack, href=page.name))
    return write_index(entries, path, title=case.source.name)


def save_traces(folder: Path, traces: Sequence[Trace], case: Case, stack: Stack) -> Path:
    """For every trace ``trace-N.json``, ``trace-N.html``, ``trace-N.png`` and its crops as ``trace-N-look-M-slice-Z.png``.

    Raises:
        UniReasonError: If a file cannot be written.
    """
    pictures = shown_pictures(stack)
    for number, trace in enumerate(traces, start=1):
        stem = f"trace-{number}"
        write_bytes(folder / f"{stem}.json", (json.dumps(to_json(trace, crops="png"), indent=1) + "\n").encode())
        write(trace, case, stack, folder / f"{stem}.html", frame_pictures=pictures)
        write_overlay(trace, case, stack, folder / f"{stem}.png")
        for rank, look in enumerate(trace.looks, start=1):
            for crop in look.crops:
                target = folder / f"{stem}-look-{rank}-slice-{crop.slice_index:03d}.png"
                write_bytes(target, png(Image.fromarray(crop.pixels)))
    return folder
