"""Any data set as a pair of folders: images, masks, and a labels file that names the mask values.

``images/STEM.ext`` belongs to ``masks/STEM.ext`` (a label map), or to ``masks/STRUCTURE/STEM.ext`` (one folder of binary masks a
structure; in an image for which others have a file and this one has none, it is absent). Folders of DICOM slices may stand for
image files. The labels file is JSON, CSV (value, name) or TOML and runs either way; for folders of binary masks it is not needed and
may rename folders. Every value of a label map must have a name; see ``labels.named`` for white.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.errors import FormatError, UniReasonError
from unireason.types import Kind

from .labels import IGNORE, load_files
from .listing import ARRAY_ENDINGS, entries, images, kind_of, read_json, read_text, stem, subject
from .options import check, folder, lengths, yes
from .structures import legend, modality_code, structure

_LABEL_FILES = ("labels.json", "labels.csv", "labels.toml")
_MAX_BYTES = 1 << 20
_KNOWN = ("images", "masks", "labels", "modality", "spacing", "axes", "patient", "title", "licence", IGNORE)


@dataclass(frozen=True, slots=True)
class PairSource:
    """Images and masks in two folders.

    Attributes:
        root: The folder that holds both.
        images: Folder of images, relative.
        masks: Folder of masks, relative.
        labels: Labels file, relative; "" takes labels.json, labels.csv or labels.toml.
        modality: DICOM modality code of all images, "" if unknown.
        spacing_mm: Voxel size along x, y (and z) of files that store none.
        axes: Axis letters of bare arrays, slowest first.
        patient: Regular expression for the patient in a stem; "" takes the stem (see ``listing.subject``).
        title: Name for cards; "" takes the folder's.
        licence: Licence for cards.
        ignore_unnamed: True to take mask values without a name for background.
    """

    root: Path
    images: str = "images"
    masks: str = "masks"
    labels: str = ""
    modality: str = ""
    spacing_mm: tuple[float, ...] | None = None
    axes: str = ""
    patient: str = ""
    title: str = ""
    licence: str = "unknown"
    ignore_unnamed: bool = False

    name = "pair"

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> PairSource:
        """The source for a command line.

        Raises:
            FormatError: If no folder was given or an option cannot be used.
        """
        check(cls.name, options, _KNOWN)
        place = folder(cls.name, root, "the folder with images, masks and a labels file")
        texts = {k: v for k, v in options.items() if k not in ("spacing", "modality", IGNORE)}
        said = options.get("modality", "")
        modality = modality_code(said) or said.upper()
        title = texts.pop("title", "") or place.resolve().name
        spacing, ignored = lengths(options, "spacing"), yes(options, IGNORE)
        return cls(place, modality=modality, spacing_mm=spacing, title=title, ignore_unnamed=ignored, **texts)

    def items(self) -> Iterator[Item | Skipped]:
        """Images with masks, by name; images without masks and masks without images as Skipped.

        Raises:
            UniReasonError: If a folder or the labels file is missing or cannot be used, or no image has a mask.
        """
        shown = self._images()
        folders = [e for e in entries(inside(self.root, self.masks), "the folder of masks") if e.is_dir()]
        found = self._binary(folders, shown) if folders else self._maps()
        if not shown:
            raise FormatError(f"'{self.images}' holds no image", "files such as case1.nii.gz or case1.png")
        if not any(key in found for key in shown):
            raise FormatError(f"no mask in '{self.masks}' is called like an image in '{self.images}'", "STEM.ext in both")
        annotated = tuple(sorted({n for refs in found.values() for ref in refs for n in ref.structures} | self._named(folders)))
        for key in dict.fromkeys([*shown, *found]):
            if key not in found:
                yield Skipped(key, f"the image has no mask in '{self.masks}'")
            elif key not in shown:
                yield Skipped(key, f"the mask has no image in '{self.images}'")
            else:
                yield self._item(key, shown[key], found[key], annotated)

    def _images(self) -> dict[str, Path]:
        """Image files, and folders of slices, by stem."""
        where = inside(self.root, self.images)
        files = images(where, "the folder of images")
        return files | {e.name: e for e in entries(where, "the folder of images") if e.is_dir() and not stem(e.name)}

    def _maps(self) -> dict[str, tuple[MaskRef, ...]]:
        table = self._table()
        if table is None:
            raise FormatError(f"'{self.root.name}' has no labels file", " or ".join(_LABEL_FILES), "say what mask values mean")
        names = legend(table)
        if not any(names.values()):
            raise FormatError("the labels file names no structure besides the background", "values above 0 with names")
        files = images(inside(self.root, self.masks), "the folder of masks")
        return {k: (MaskRef(p.relative_to(self.root).as_posix(), names),) for k, p in files.items()}

    def _renamed(self, place: Path) -> str:
        """Readable name of a structure's folder, after the labels file if it names it."""
        table = self._table() or {}
        return structure(str(table.get(place.name, place.name)))

    def _named(self, folders: list[Path]) -> set[str]:
        return {name for place in folders if (name := self._renamed(place))}

    def _binary(self, folders: list[Path], shown: Mapping[str, Path]) -> dict[str, tuple[MaskRef, ...]]:
        """Masks a stem, structure by structure."""
        found: dict[str, tuple[MaskRef, ...]] = {}
        for place in folders:
            name = self._renamed(place)
            for key, path in images(place, "the masks of one structure").items() if name else ():
                ref = MaskRef(path.relative_to(self.root).as_posix(), {1: name}, binary=True)
                found[key] = (*found.get(key, ()), ref)
        return found

    def _item(self, key: str, image: Path, masks: tuple[MaskRef, ...], annotated: tuple[str, ...]) -> Item | Skipped:
        try:
            return Item(
                id=key,
                patient=subject(key, self.patient),
                kind=self._kind(image),
                image=image.relative_to(self.root).as_posix(),
                masks=masks,
                annotated=annotated,
                modality=self.modality,
                spacing_mm=self.spacing_mm,
                read=(("axes", self.axes),) if self.axes and image.name.lower().endswith(ARRAY_ENDINGS) else (),
            )
        except UniReasonError as error:
            return Skipped(key, str(error))

    def _kind(self, image: Path) -> Kind:
        if image.suffix.lower() != ".npy":
            return "volume" if image.is_dir() else kind_of(image.name)
        try:
            flat = np.load(image, mmap_mode="r", allow_pickle=False).ndim == 2
        except (OSError, ValueError) as error:
            raise FormatError(f"'{image.name}' is no array ({error})", "a file written by numpy.save") from error
        return "image" if flat or "c" in self.axes else "volume"

    def _table(self) -> Mapping[Any, Any] | None:
        """The labels file as stored; None if there is none."""
        names = (self.labels,) if self.labels else _LABEL_FILES
        path = next((p for n in names if (p := inside(self.root, n)).is_file()), None)
        if path is None:
            if self.labels:
                raise FormatError(f"there is no '{self.labels}' in '{self.root.name}'", "the labels file")
            return None
        return _read_table(path)

    def load(self, item: Item) -> Loaded:
        """Read one image with its masks.

        Raises:
            UniReasonError: If a file is missing, damaged, or lies on another grid than the image.
        """
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed)


def _read_table(path: Path) -> Mapping[Any, Any]:
    """Rows of a labels file; a "labels" table inside it is taken, if there is one."""
    ending = path.suffix.lower()
    if ending == ".csv":
        try:
            rows = [[cell.strip() for cell in row[:2]] for row in csv.reader(read_text(path, _MAX_BYTES).splitlines())]
        except csv.Error as error:
            raise FormatError(f"'{path.name}' is no CSV ({error})", "lines of value,name") from error
        return {row[0]: row[1] for row in rows if len(row) == 2 and any(cell.isdigit() for cell in row)}  # no header
    if ending == ".toml":
        table: Any = _toml(read_text(path, _MAX_BYTES), path.name)
    else:
        table = read_json(path, limit=_MAX_BYTES)
    inner = table.get("labels", table)
    if not isinstance(inner, dict):
        raise FormatError(f"'labels' in '{path.name}' is a {type(inner).__name__}", "a table of values and names")
    return inner


def _toml(text: str, name: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError(f"'{name}' is no TOML ({error})") from error
