"""SA-Med2D-20M (SAMed2D-v1): PNG slices and pictures, one binary mask an instance, two JSON indexes.

Names tell all: image ``mod_sub--DATASET--case--x_0041.png``, mask ``...--0000_001.png`` (class, instance). What has to be known:

* The published split is by image, so slices of one case lie on both sides; here a patient is DATASET--case.
* ``union_*`` classes repeat other classes merged, and some classes are called ``left`` or ``class1``: neither is a structure.
* Masks of the ADAM data set are stored inverted. A mask of it whose border is mostly set is turned, so corrected copies work as well.
* Some masks have another shape than their image; such an item is refused when loaded.
* The publishers left out very small masks, so a structure that counts as absent may still show in a few pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.data.survey import modality_code, structure, value_of

from .base import FolderSource, SourceLayout, read_json, relative, streamed_pairs, subject, tried
from .labels import IGNORE, load_files

INDEX = "SAMed2D_v1.json"
CLASSES = "SAMed2D_v1_class_mapping_id.json"
_INSTANCE = re.compile(r"--(\d{1,9})_\d{1,9}\.png")
_NAMELESS = re.compile(r"(union|class)([_\s-].*|\d*)|left|right|unknown|others?|mask|foreground", re.IGNORECASE)
_INVERTED = "inverted if the border is set"
_MAX_MASKS = 4096


Classes = Mapping[str, tuple[Mapping[int, str], tuple[str, ...]]]
"""By data set: readable names by number, "" for unions and the nameless, and all names in order."""


def _samed2d(source: FolderSource) -> Iterator[Item | Skipped]:
    """One item an image, in the order of the index, which is read entry by entry."""
    index, classes = (
        beside if (beside := source.root / "annotations" / name).is_file() else source.root / name for name in (INDEX, CLASSES)
    )
    known: dict[str, tuple[Mapping[int, str], tuple[str, ...]]] = {}
    for dataset, table in read_json(classes).items():
        # Data sets whose entry cannot be used are left out and told item by item.
        with suppress(FormatError):
            if isinstance(table, dict) and len(table) <= _MAX_MASKS:
                names = {value_of(n): "" if _NAMELESS.fullmatch(name) else structure(name) for name, n in table.items()}
                known[dataset] = names, tuple(sorted({name for name in names.values() if name}))
    for image, masks in streamed_pairs(index):
        yield tried(image[:200], partial(_item, image, masks, known))


def _parse(image: str) -> list[str]:
    """Modality, data set, case and place, as the name of an image tells."""
    base = relative(image).rsplit("/", 1)[-1]
    parts = base.rsplit(".", 1)[0].split("--")
    if len(parts) != 4 or not all(parts):
        raise FormatError(f"the image is called {base[:100]!r}", "modality--DATASET--case--axis_slice.png")
    return parts


def patient_of(image: str) -> str:
    """The patient behind the name of an image: data set and case, whatever the slice."""
    _, dataset, case, _ = _parse(image)
    return f"{dataset}--{subject(case)}"


def _item(image: str, masks: Any, classes: Classes) -> Item | Skipped:
    parts = _parse(image)
    stem, (modality, dataset, _, place) = "--".join(parts), parts
    if dataset not in classes:
        return Skipped(stem, f"{CLASSES} has no usable entry for {dataset!r}")
    if not isinstance(masks, list) or not 0 < len(masks) <= _MAX_MASKS:
        return Skipped(stem, f"its entry in {INDEX} is no list of 1 to {_MAX_MASKS:,} masks")
    names, annotated = classes[dataset]
    detail = _INVERTED if dataset.upper().startswith("ADAM") else ""
    refs = []
    for mask in masks:
        path = relative(mask)
        base = path.rsplit("/", 1)[-1]
        match = _INSTANCE.fullmatch(base, len(stem)) if base.startswith(stem) else None
        if match is None:
            return Skipped(stem, f"its mask {base[-100:]!r} is not called image--class_instance.png")
        name = names.get(int(match[1]))
        if name is None:
            return Skipped(stem, f"the class {match[1]} of a mask is not one of {dataset}")
        if name:
            refs.append(MaskRef(path, {1: name}, binary=True, detail=detail))
    if not refs:
        return Skipped(stem, "all its masks are unions or of classes without a name")
    axis, _, number = place.rpartition("_")
    return Item(
        id=stem,
        patient=patient_of(image),
        kind="image",
        image=relative(image),
        masks=tuple(refs),
        annotated=annotated,
        modality=modality_code(modality),
        extra={"dataset": dataset, "sub-modality": modality, "axis": axis, "slice": number},
    )


def _upright(ref: MaskRef, values: NDArray[Any]) -> NDArray[Any]:
    """The mask with its structure set: inverted ones are told by their border."""
    if ref.detail != _INVERTED or values.ndim != 2:
        return values
    border = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]]) > 0
    return values == 0 if border.mean() > 0.5 else values


def _load(source: FolderSource, item: Item) -> Loaded:
    """Read one image with its masks."""
    for ref in item.masks:
        inside(source.root, ref.path)  # all paths are judged before any file is opened
    return load_files(source.root, item, ignore_unnamed=source.options[IGNORE], correct=_upright)


LAYOUTS = {
    "sa-med2d": SourceLayout(
        "sa-med2d",
        _samed2d,
        wants=f"the folder with {INDEX}",
        holds="images with their masks",
        title="SA-Med2D-20M",
        licence="CC-BY-NC-SA-4.0; the licences of its parts hold as well",
        load=_load,
    )
}
