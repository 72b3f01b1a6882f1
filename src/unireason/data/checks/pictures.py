"""Check "pictures": embedded pictures are whole, as large as the model frame, and their masks are those of the structures.

Data sets that refer to their source have no pictures and nothing to check here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unireason.data.pictures import from_png
from unireason.data.records import CaseRecord, ImageRecord, SampleRecord
from unireason.errors import ImageReadError

from .boxes import off_mask
from .facts import LUMA, MaskFacts
from .findings import Findings

CHECK = "pictures"
LEAST_IOU = 0.99
"""Least overlap of an embedded mask with the source's mask at the centres of the model pixels."""
MOST_APART = 10.0
"""Grey levels by which a picture may differ from the source on average: resizing may be done in several ways, but another picture lies
further away."""
_CELLS, _CELL_SIDE = 16, 4  # cells along an axis at most, and pixels along a cell at least


def check_pictures(
    case: CaseRecord,
    images: Sequence[ImageRecord],
    samples: Sequence[SampleRecord],
    facts: MaskFacts | None,
    found: Findings,
) -> None:
    """Check the embedded pictures of one case.

    Args:
        case: The case.
        images: Its pictures; a data set with pictures must have them for every case.
        samples: Those about it; boxes that they ask for are held against the masks of their targets.
        facts: The same from its masks; None holds the masks against the boxes of the record alone.
        found: Takes what is wrong.
    """
    found.count(CHECK, "pictures", len(images))
    frame = case.scene.frame
    if [i.slice for i in images] != list(range(frame.depth)):
        found.add(CHECK, f"{len(images)} pictures, expected one for each of {frame.depth} model slices", case=case.scene.case)
    for image in images:
        for detail in _faults(case, image, facts):
            found.add(CHECK, detail, case=case.scene.case)
        for sample in samples:
            mask = _read(dict(zip(image.mask_names, image.masks, strict=False)).get(sample.target, b""))
            if sample.box is not None and mask is not None and mask.ndim == 2 and mask.any():
                found.count(CHECK, "boxed answers")
                apart = off_mask(sample.box, mask > 0)
                if apart:
                    found.add(CHECK, f"the box of the answer {apart}", sample=sample.id)


def _faults(case: CaseRecord, image: ImageRecord, facts: MaskFacts | None) -> Iterator[str]:
    size = (case.scene.frame.height, case.scene.frame.width)
    picture = _read(image.png)
    if picture is None or picture.shape[:2] != size:
        what = "cannot be read" if picture is None else f"is {picture.shape[1]} x {picture.shape[0]}"
        yield f"the picture of slice {image.slice} {what}, expected {size[1]} x {size[0]}"
    elif facts is not None and image.slice == case.scene.frame.depth // 2:
        apart = _apart(picture, image.slice, facts)
        if apart > MOST_APART:
            yield f"the picture of slice {image.slice} differs from the source by {apart:.0f} grey levels on average"
    names = tuple(case.scene.structures) if case.scene.kind == "image" else ()
    if not case.scene.described:
        names = image.mask_names
    if image.mask_names != names or len(image.masks) != len(names):
        yield f"the masks are those of {list(image.mask_names)}, the structures are {list(names)}"
        return
    for name, data in zip(names, image.masks, strict=True):
        mask = _read(data)
        if mask is None or mask.shape != size or not set(np.unique(mask).tolist()) <= {0, 255}:
            yield f"the mask of '{name}' is no picture of 0 and 255 of the frame's size"
            continue
        if case.scene.described:
            yield from _against(case, name, mask > 0, facts)
        elif not mask.any():
            yield f"the mask of '{name}' is empty"


def _apart(picture: NDArray[np.uint8], z: int, facts: MaskFacts) -> float:
    """Mean difference in grey levels of a picture from the source, both averaged over a coarse grid."""
    if facts.dimensions == 3:
        depth, planes = facts.scene.frame.depth, facts.shape[0]
        # The planes that model slice z touches.
        covered = slice(z * planes // depth, max(-(-(z + 1) * planes // depth), z * planes // depth + 1))
        truth = facts.grey(covered).mean(axis=0)
    else:
        truth = facts.grey()
    shown = picture.astype(float) @ np.array(LUMA) if picture.ndim == 3 else picture.astype(float)
    cells = [max(min(pair) // _CELL_SIDE, 1) for pair in zip(shown.shape, truth.shape, strict=True)]
    return float(np.abs(_coarse(shown, cells) - _coarse(truth, cells)).mean())


def _coarse(grey: NDArray[np.float64], cells: Sequence[int]) -> NDArray[np.float64]:
    """Means over a grid of cells, at most 16 along an axis; a pixel counts in each by its share of it."""
    for n, wanted in zip(grey.shape, cells, strict=True):
        ends, pixel = np.linspace(0, n, min(wanted, _CELLS) + 1), np.arange(n)
        share = np.minimum(ends[1:, None], pixel + 1) - np.maximum(ends[:-1, None], pixel)
        grey = (np.clip(share, 0, None) @ grey / ends[1]).T
    return grey


def _against(case: CaseRecord, name: str, mask: NDArray[np.bool_], facts: MaskFacts | None) -> Iterator[str]:
    """What is wrong with a mask against the record's box and the source's mask."""
    index = np.where(mask)[::-1]
    box = case.scene.structures[name].box_model.coords
    if len(index[0]) == 0:
        yield f"the mask of '{name}' is empty"
        return
    ends = (*(int(i.min()) for i in index), *(int(i.max()) + 1 for i in index))
    if any(abs(a - b) > 1 for a, b in zip(ends, box, strict=True)):
        yield f"the mask of '{name}' fills {list(ends)}, its box is {[int(v) for v in box]}"
    if facts is None or name not in facts.present():
        return
    rows, columns = ([int((p + 0.5) * n / m) for p in range(m)] for n, m in zip(facts.shape, mask.shape, strict=True))
    truth = facts.mask(name)[rows][:, columns]
    overlap = int(np.count_nonzero(truth & mask)) / max(int(np.count_nonzero(truth | mask)), 1)
    if overlap < LEAST_IOU:
        yield f"the mask of '{name}' has an IoU of {overlap:.3f} with the source's"


def _read(data: bytes) -> NDArray[np.uint8] | None:
    try:
        return from_png(data)
    except ImageReadError:
        return None
