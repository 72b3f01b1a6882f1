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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, UniReasonError
from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.data.survey import modality_code, structure, value_of

from .base import check, folder, read_json, relative, streamed_pairs, subject, unique, yes
from .labels import IGNORE, load_files

INDEX = "SAMed2D_v1.json"
CLASSES = "SAMed2D_v1_class_mapping_id.json"
_INSTANCE = re.compile(r"--(\d{1,9})_\d{1,9}\.png")
_NAMELESS = re.compile(r"(union|class)([_\s-].*|\d*)|left|right|unknown|others?|mask|foreground", re.IGNORECASE)
_INVERTED = "inverted if the border is set"
_MAX_MASKS = 4096


@dataclass(frozen=True, slots=True)
class _Name:
    """What the name of an image tells."""

    stem: str
    modality: str
    dataset: str
    case: str
    place: str


@dataclass(frozen=True, slots=True)
class SaMed2dSource:
    """SA-Med2D-20M."""

    root: Path
    ignore_unnamed: bool = False

    name = "sa-med2d"
    title = "SA-Med2D-20M"
    licence = "CC-BY-NC-SA-4.0; the licences of its parts hold as well"

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> SaMed2dSource:
        """The source for a command line."""
        check(cls.name, options, (IGNORE,))
        return cls(folder(cls.name, root, f"the folder with {INDEX}"), yes(options, IGNORE))

    def items(self) -> Iterator[Item | Skipped]:
        """One item an image, in the order of the index, which is read entry by entry."""
        classes = _classes(read_json(self._index(CLASSES)))
        empty = True
        for found in unique(_entry(image, masks, classes) for image, masks in streamed_pairs(self._index(INDEX))):
            empty = False
            yield found
        if empty:
            raise FormatError(f"{INDEX} lists no image", "images with their masks")

    def _index(self, name: str) -> Path:
        beside = self.root / "annotations" / name
        return beside if beside.is_file() else self.root / name

    def load(self, item: Item) -> Loaded:
        """Read one image with its masks."""
        for ref in item.masks:
            inside(self.root, ref.path)  # all paths are judged before any file is opened
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed, correct=_upright)


@dataclass(frozen=True, slots=True)
class _Classes:
    """The classes of one data set: readable names by number, "" for unions and the nameless, and all names in order."""

    names: Mapping[int, str]
    annotated: tuple[str, ...]


def _classes(table: dict[str, Any]) -> dict[str, _Classes]:
    """Classes by data set; data sets whose entry cannot be used are left out and told item by item."""
    found: dict[str, _Classes] = {}
    for dataset, classes in table.items():
        try:
            if isinstance(classes, dict) and len(classes) <= _MAX_MASKS:
                names = {value_of(number): _named(name) for name, number in classes.items()}
                found[dataset] = _Classes(names, tuple(sorted({name for name in names.values() if name})))
        except FormatError:
            continue
    return found


def _parse(image: str) -> _Name:
    base = relative(image).rsplit("/", 1)[-1]
    parts = base.rsplit(".", 1)[0].split("--")
    if len(parts) != 4 or not all(parts):
        raise FormatError(f"the image is called {base[:100]!r}", "modality--DATASET--case--axis_slice.png")
    return _Name("--".join(parts), *parts)


def patient_of(image: str) -> str:
    """The patient behind the name of an image: data set and case, whatever the slice."""
    said = _parse(image)
    return f"{said.dataset}--{subject(said.case)}"


def _named(raw: str) -> str:
    """Readable name of a class; "" for unions and classes that name no structure."""
    return "" if _NAMELESS.fullmatch(raw) else structure(raw)


def _entry(image: str, masks: Any, classes: Mapping[str, _Classes]) -> Item | Skipped:
    try:
        return _item(image, masks, classes)
    except UniReasonError as error:
        return Skipped(image[:200], str(error))


def _item(image: str, masks: Any, classes: Mapping[str, _Classes]) -> Item | Skipped:
    said = _parse(image)
    if said.dataset not in classes:
        return Skipped(said.stem, f"{CLASSES} has no usable entry for {said.dataset!r}")
    if not isinstance(masks, list) or not 0 < len(masks) <= _MAX_MASKS:
        return Skipped(said.stem, f"its entry in {INDEX} is no list of 1 to {_MAX_MASKS:,} masks")
    known = classes[said.dataset]
    detail = _INVERTED if said.dataset.upper().startswith("ADAM") else ""
    refs = []
    for mask in masks:
        path = relative(mask)
        base = path.rsplit("/", 1)[-1]
        match = _INSTANCE.fullmatch(base, len(said.stem)) if base.startswith(said.stem) else None
        if match is None:
            return Skipped(said.stem, f"its mask {base[-100:]!r} is not called image--class_instance.png")
        name = known.names.get(int(match[1]))
        if name is None:
            return Skipped(said.stem, f"the class {match[1]} of a mask is not one of {said.dataset}")
        if name:
            refs.append(MaskRef(path, {1: name}, binary=True, detail=detail))
    if not refs:
        return Skipped(said.stem, "all its masks are unions or of classes without a name")
    axis, _, number = said.place.rpartition("_")
    return Item(
        id=said.stem,
        patient=patient_of(image),
        kind="image",
        image=relative(image),
        masks=tuple(refs),
        annotated=known.annotated,
        modality=modality_code(said.modality),
        extra={"dataset": said.dataset, "sub-modality": said.modality, "axis": axis, "slice": number},
    )


def _upright(ref: MaskRef, values: NDArray[Any]) -> NDArray[Any]:
    """The mask with its structure set: inverted ones are told by their border."""
    if ref.detail != _INVERTED or values.ndim != 2:
        return values
    border = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]]) > 0
    return values == 0 if border.mean() > 0.5 else values
