"""An implicit question with its place and its mask: as JSON, and as a folder of files that other programs open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unireason.core.store import write_bytes
from unireason.core.types import Box, Box2D, Box3D, Case, Stack, Trace
from unireason.engine.masks import GroundTarget
from unireason.grounding.answer import read
from unireason.grounding.trace import to_json as trace_json
from unireason.imaging.present import serialize
from unireason.imaging.write_masks import ENDINGS

from .folder import MAX_SIDE, save_masks, shown_pictures, shown_stack, write_json
from .html import png
from .pictures import mask_montage, mask_picture
from .trace import PageFindings, PageRegion, write

MASK, OVERLAY, PAGE, TRACE, STATISTICS = "mask", "overlay.png", "page.html", "trace.json", "statistics.json"
SEGMENTATION, MEASUREMENTS = "segmentation.dcm", "measurements.dcm"


@dataclass(frozen=True, slots=True, eq=False)
class GroundedPage:
    """One implicit question and what came of it.

    Attributes:
        trace: What the model wrote.
        case: The picture, or the volume of which a slice was asked about.
        target: The place that the answer names.
        regions: Its outline; none if there is no usable box. Looks of the reasoning may follow.
        expert: Name of the expert that outlined it.
        seconds: Wall time of "answer" and "mask".
    """

    trace: Trace
    case: Case
    target: GroundTarget
    regions: Sequence[PageRegion]
    expert: str
    seconds: Mapping[str, float]

    @property
    def region(self) -> PageRegion | None:
        """The outline of the answer; None if there is no usable box."""
        return next((region for region in self.regions if not region.marked.look), None)


def grounded_json(found: GroundedPage, *, folder: Path | None = None, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that was found as plain JSON values; docs/how-to/ground.md lists the keys.

    Args:
        found: The question with its answer.
        folder: Put in front of the name of the mask's file.
        notes: Remarks on the file.
    """
    region = found.region
    outlined = None if region is None else region.marked.segmentation
    asked, k, geometry = None, found.target.slice, found.case.geometry
    if k is not None:  # the slice that was asked about: the file's axis and index, and the canonical index
        axis = geometry.order[2]
        index = geometry.source_shape[axis] - 1 - k if geometry.flips[2] else k
        asked = {"axis": "ijk"[axis], "voxel": index, "canonical": k}
    spaces = {"model": found.target.model, "voxel": found.target.voxel, "world": found.target.world_mm}
    boxes = {name: None if place is None or place.box is None else list(place.box) for name, place in spaces.items()}
    return {
        "question": found.trace.question,
        "reasoning": (read(found.trace.raw_text).think or "").strip(),
        "box": None if region is None else boxes,
        "points": {name: None if place is None else [list(p) for p in place.points] for name, place in spaces.items()},
        "slice": asked,
        "mask": str((folder or Path()) / region.file) if region is not None and region.file else None,
        "expert": found.expert,
        "score": None if outlined is None else outlined.score,
        "gaps": [] if outlined is None else list(outlined.gaps),
        "statistics": None if region is None else dict(region.statistics),
        "scope": {**asdict(found.trace.scope), "remarks": list(found.trace.scope.remarks)},
        "finish": found.trace.finish,
        "problems": [{"code": p.code, "text": p.text, "start": p.start} for p in found.trace.problems],
        "notes": [*notes, *(() if outlined is None else outlined.notes)],
        "seconds": dict(found.seconds),
    }


def save(found: GroundedPage, folder: Path, *, window: str = "auto", notes: Sequence[str] = ()) -> GroundedPage:
    """Write the mask on the grid of the source, and ``overlay.png`` with it; ``page.html``, ``trace.json``, ``statistics.json``.

    Without a usable box there is neither mask nor overlay.

    Args:
        found: The question with its answer.
        folder: Where to write; files of these names are replaced.
        window: Intensity window of the pictures.
        notes: Remarks on the file, for page and statistics.

    Returns:
        The same with the names of the mask files.

    Raises:
        UniReasonError: If a file cannot be written.
    """
    saved = replace(found, regions=save_masks(folder, MASK, found.regions, found.case))
    stack = found_stack(found, window)
    findings = PageFindings(saved.target, saved.regions)
    noted = replace(found.case, notes=tuple(dict.fromkeys((*found.case.notes, *notes))))
    write(found.trace, noted, stack, folder / PAGE, frame_pictures=shown_pictures(stack), findings=findings)
    write_json(folder / TRACE, trace_json(found.trace))
    write_json(folder / STATISTICS, grounded_json(saved, notes=notes))
    if saved.region is not None:
        write_bytes(folder / OVERLAY, png(Image.fromarray(_overlay(saved, saved.region, window))))
    return saved


def found_stack(found: GroundedPage, window: str) -> Stack:
    """A case for people; a volume that was asked about whole as the model saw it, whose slices its answer counts."""
    frame = found.trace.frame
    if frame.kind == "image":
        return shown_stack(found.case, window)
    height, width = (min(n, MAX_SIDE) for n in found.case.geometry.shape[1:])
    return serialize(found.case, depth=frame.depth, size=(height, width), window=window)


def save_dicom(found: GroundedPage, folder: Path, *, source: Path) -> None:
    """Write ``segmentation.dcm`` (DICOM-SEG) and ``measurements.dcm`` (TID 1500); nothing without a usable box.

    Args:
        found: The question with its answer.
        folder: Where to write.
        source: The DICOM file or folder that was read.

    Raises:
        MissingExtraError: Without the extra ``dicom``.
        UniReasonError: If the source is no DICOM or a file cannot be written.
    """
    region = found.region
    if region is not None:
        marked = region.marked
        places = (folder / SEGMENTATION, folder / MEASUREMENTS)
        _write_dicom(places, marked.label, marked.segmentation.mask, region.statistics, found.case, source)


def write_dicom(
    beside: Path, mask: NDArray[np.bool_], statistics: Mapping[str, Any], case: Case, *, source: Path
) -> tuple[Path, Path]:
    """Write a segmentation and a measurement report of one structure beside the file of its mask; ``liver.nii.gz`` gets
    ``liver-segmentation.dcm`` and ``liver-measurements.dcm``.

    Args:
        beside: The file of the mask.
        mask: Of ``case.geometry.shape``, not empty.
        statistics: From ``metrics.regions.region_statistics``.
        case: What it was drawn on.
        source: The DICOM file or folder that was read.

    Returns:
        The paths written.

    Raises:
        MissingExtraError: Without the extra ``dicom``.
        UniReasonError: If the source is no DICOM or a file cannot be written.
    """
    stem = next((beside.name[: -len(end)] for end in ENDINGS if beside.name.lower().endswith(end)), beside.stem)
    places = (beside.with_name(f"{stem}-{SEGMENTATION}"), beside.with_name(f"{stem}-{MEASUREMENTS}"))
    _write_dicom(places, "structure", mask, statistics, case, source)
    return places


def _write_dicom(
    places: tuple[Path, Path], label: str, mask: NDArray[np.bool_], statistics: Mapping[str, Any], case: Case, source: Path
) -> None:
    from unireason.imaging.dicom_seg import write_dicom_seg
    from unireason.imaging.dicom_sr import write_dicom_report

    segmentation = write_dicom_seg(places[0], {label: mask}, case, source=source)
    write_dicom_report(places[1], {label: statistics}, case, source=source, segmentation=segmentation)


def _overlay(found: GroundedPage, region: PageRegion, window: str) -> NDArray[np.uint8]:
    """The mask where the question was asked, with what asked for it; several slices of a mask that was followed."""
    case, place = found.case, found.target.canonical
    box: list[Box] = [] if place.box is None else [Box3D(*place.box) if case.kind == "volume" else Box2D(*place.box)]
    mask = region.marked.segmentation.mask
    whole = case.kind == "volume" and found.target.slice is None
    if (whole or region.marked.prompt.propagate) and mask.any():
        return mask_montage(case, mask, boxes=box, points=place.points, window=window)
    return mask_picture(case, mask, boxes=box, points=place.points, at=found.target.slice, window=window)
