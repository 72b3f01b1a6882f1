"""SLAKE: ``imgs/xmlabN`` with source.jpg, mask.png, detection.json ({organ: [x, y, w, h]}) and question.json.

The values (or colours) of mask.png come without a legend. Each detection takes the value whose pixels inside its box, grown by a few
pixels, fill the box best: the tight box of those pixels must overlap the detection by half (intersection over union). A detection for which
there is none is neither called present nor absent. So a mask here is only as good as this rule: pixels of an organ outside its detection
box are lost, and two organs drawn in one value are told apart by their boxes alone. Nothing is known about organs without a detection, so
none is ever called absent. Every picture counts as a patient of its own, because the data set does not say which belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, ImageReadError
from unireason.core.types import Box2D
from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.data.survey import modality_code, structure
from unireason.metrics.boxes import box_iou

from .base import FolderSource, SourceLayout, entries, read_json, tried
from .labels import Packer, occurring, on_grid, read_as_stored, read_case

_SPLITS = (("train.json", "train"), ("validate.json", "validation"), ("validation.json", "validation"), ("test.json", "test"))
_MAX_BYTES = 16 << 20
_MAX_DETECTIONS = 200
_GROWN = 3  # pixels by which a box is grown before its pixels are looked at
_LEAST_OVERLAP = 0.5


def _slake(source: FolderSource) -> Iterator[Item | Skipped]:
    """One item a picture, by number."""
    splits: dict[str, str] = {}  # folder of a picture to the split whose questions ask about it
    for file, split in _SPLITS:
        for row in read_json(source.root / file, list, _MAX_BYTES) if (source.root / file).is_file() else ():
            name = row.get("img_name") if isinstance(row, dict) else None
            if isinstance(name, str):
                splits.setdefault(name.split("/")[0], split)
    folders = [e for e in entries(source.root / "imgs", "the folder of pictures") if e.is_dir()]
    if not folders:
        raise FormatError(f"'{source.root / 'imgs'}' holds no picture", "folders such as xmlab0")
    yield from (tried(place.name, partial(_item, place, splits.get(place.name, ""))) for place in folders)


def _item(place: Path, split: str) -> Item | Skipped:
    image, mask = _file(place, "source", ".jpg"), _file(place, "mask", ".png")
    if image is None or mask is None:
        return Skipped(place.name, f"it has no {'source.jpg' if image is None else 'mask.png'}")
    boxes = _detections(read_json(place / "detection.json", list, _MAX_BYTES))
    if not boxes:
        return Skipped(place.name, "detection.json names no organ")
    names = dict(enumerate(sorted({name for name, _ in boxes}), start=1))
    detail = ";".join(f"{name}={','.join(f'{v:g}' for v in box)}" for name, box in boxes)
    asked = place / "question.json"
    rows = read_json(asked, list, _MAX_BYTES) if asked.is_file() else []
    said = next((r["modality"] for r in rows if isinstance(r, dict) and isinstance(r.get("modality"), str)), "")
    return Item(
        id=place.name,
        patient=place.name,
        kind="image",
        image=f"imgs/{place.name}/{image.name}",
        masks=(MaskRef(f"imgs/{place.name}/{mask.name}", names, detail=detail),),
        annotated=tuple(names.values()),
        modality=modality_code(said),
        split=split,
    )


def _load(source: FolderSource, item: Item) -> Loaded:
    """Read one picture and find the pixels of each detection; the item given back lists only organs that were found."""
    ref = item.masks[0]
    case = read_case(source.root, item)
    mask = read_as_stored(inside(source.root, ref.path))
    values = mask.pixels  # one number a pixel: grey level, palette index, or colours as 24 bits
    if values.ndim == 3 and values.shape[2] == 3:
        values = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values = on_grid(case, mask, values, f"'{ref.path.rsplit('/', 1)[-1]}'")
    packer = Packer(values.shape)
    found: dict[str, NDArray[np.bool_]] = {}
    told: dict[tuple[int, str | None], bool] = {}
    for part in ref.detail.split(";"):  # as `_item` writes it
        name, _, numbers = part.partition("=")
        value, pixels = _pixels(values, tuple(float(v) for v in numbers.split(",")))
        if pixels is not None:
            found[name] = found[name] | pixels if name in found else pixels
            told[value, name] = True
    if not found:
        raise ImageReadError(f"no detection of {item.id} fits the mask", "boxes around what is drawn")
    rest = {(value, None): True for value in occurring(values) if value not in {v for v, _ in told}}
    for name in sorted(found):
        packer.add(name, np.flatnonzero(found[name]))
    return Loaded(replace(item, annotated=tuple(sorted(found))), case, tuple(packer.layers()), told | rest)


def _file(place: Path, name: str, ending: str) -> Path | None:
    """source.jpg, or source_xmlabN.jpg as some copies call it."""
    return next((p for p in (place / f"{name}{ending}", place / f"{name}_{place.name}{ending}") if p.is_file()), None)


def _detections(rows: list[Any]) -> list[tuple[str, tuple[float, ...]]]:
    """Readable names with boxes (x, y, width, height) in pixels."""
    if len(rows) > _MAX_DETECTIONS:
        raise FormatError(f"detection.json holds {len(rows):,} entries", f"at most {_MAX_DETECTIONS}")
    found = []
    for row in rows:
        if not isinstance(row, dict):
            raise FormatError(f"detection.json holds {str(row)[:50]!r}", "{organ: [x, y, w, h]}")
        for organ, box in row.items():
            numbers = box if isinstance(box, list) else []
            if len(numbers) != 4 or not all(isinstance(v, int | float) and abs(v) < 1e6 for v in numbers):
                raise FormatError(f"the box of {str(organ)[:50]!r} is {str(box)[:100]}", "[x, y, w, h]")
            name = structure(organ.replace(";", " ").replace("=", " "))
            if name:
                found.append((name, tuple(float(v) for v in numbers)))
    return found


def _pixels(values: NDArray[Any], box: tuple[float, ...]) -> tuple[int, NDArray[np.bool_] | None]:
    """The value that fills a box best, and its pixels; None if none overlaps the box by half."""
    height, width = values.shape
    x, y, w, h = box
    left, top = max(0, int(x) - _GROWN), max(0, int(y) - _GROWN)
    right, bottom = min(width, int(np.ceil(x + w)) + _GROWN), min(height, int(np.ceil(y + h)) + _GROWN)
    part = values[top:bottom, left:right]
    if right <= left or bottom <= top:
        return 0, None
    best, overlap = None, _LEAST_OVERLAP
    for value in np.unique(part[part > 0]):
        rows, columns = np.nonzero(part == value)
        tight = Box2D(columns.min() + left, rows.min() + top, columns.max() + 1 + left, rows.max() + 1 + top)
        shared = box_iou(tight, Box2D(x, y, x + w, y + h))
        if shared >= overlap and (best is None or shared > overlap):
            best, overlap = value, shared
    if best is None:
        return 0, None
    mask = np.zeros(values.shape, np.bool_)
    mask[top:bottom, left:right] = part == best
    return int(best), mask


LAYOUTS = {
    "slake": SourceLayout(
        "slake",
        _slake,
        wants="the folder with imgs",
        holds="folders such as xmlab0",
        title="SLAKE",
        licence="CC-BY-4.0",
        options={},
        load=_load,
    )
}
