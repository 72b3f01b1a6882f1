"""Any data set as a pair of folders: images, masks, and a labels file that names the mask values.

``images/STEM.ext`` belongs to ``masks/STEM.ext`` (a label map), or to ``masks/STRUCTURE/STEM.ext`` (one folder of binary masks a
structure; in an image for which others have a file and this one has none, it is absent). Folders of DICOM slices may stand for
image files. The labels file is JSON, CSV (value, name) or TOML and runs either way; for folders of binary masks it is not needed and
may rename folders. Every value of a label map must have a name; see ``labels.named`` for white.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import parse_toml
from unireason.core.types import Kind
from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.data.survey import MAX_LABELS, legend, modality_code, structure, value_of

from .base import (
    ARRAY_ENDINGS,
    IndexedSource,
    check,
    entries,
    folder,
    images,
    kind_of,
    lengths,
    natural,
    plain_text,
    read_json,
    read_rows,
    read_text,
    relative,
    stem,
    subject,
    unique,
    yes,
)
from .labels import IGNORE, load_files

# --- Any data set as a pair of folders: images, masks, and a labels file that names the mask values.


_LABEL_FILES = ("labels.json", "labels.csv", "labels.toml")
_MAX_BYTES = 1 << 20
_KNOWN = ("images", "masks", "labels", "modality", "spacing", "axes", "patient", "title", "licence", IGNORE)


@dataclass(frozen=True, slots=True)
class PairSource:
    """Images and masks in two folders."""

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
        """The source for a command line."""
        check(cls.name, options, _KNOWN)
        place = folder(cls.name, root, "the folder with images, masks and a labels file")
        texts = {k: v for k, v in options.items() if k not in ("spacing", "modality", IGNORE)}
        said = options.get("modality", "")
        modality = modality_code(said) or said.upper()
        title = texts.pop("title", "") or place.resolve().name
        spacing, ignored = lengths(options, "spacing"), yes(options, IGNORE)
        return cls(place, modality=modality, spacing_mm=spacing, title=title, ignore_unnamed=ignored, **texts)

    def items(self) -> Iterator[Item | Skipped]:
        """Images with masks, by name; images without masks and masks without images as Skipped."""
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
        """Read one image with its masks."""
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
        table: Any = parse_toml(read_text(path, _MAX_BYTES), path.name)
    else:
        table = read_json(path, limit=_MAX_BYTES)
    inner = table.get("labels", table)
    if not isinstance(inner, dict):
        raise FormatError(f"'labels' in '{path.name}' is a {type(inner).__name__}", "a table of values and names")
    return inner


# --- nnU-Net v2 raw data sets: ``dataset.json``, ``imagesTr/CASE_0000.ext``, ``labelsTr/CASE.ext``.


_SPLITS = (("Tr", "train"), ("Ts", "test"))


@dataclass(frozen=True, slots=True)
class NnunetSource(IndexedSource):
    """One nnU-Net data set."""

    name = "nnunet"

    def items(self) -> Iterator[Item | Skipped]:
        """Cases with labels, training first."""
        index = self.index()
        legend = _regions(index.get("labels"))
        modality = _modality(index, self.channel)
        ending = index.get("file_ending")
        suffixes = [pair for pair in _SPLITS if pair[0] == "Tr" or (self.root / f"labels{pair[0]}").is_dir()]
        empty = True
        for found in unique(
            case if isinstance(case, Skipped) else self._item(case, legend, modality, split)
            for suffix, split in suffixes
            for case in self._cases(suffix, ending if isinstance(ending, str) else "")
        ):
            empty = False
            yield found
        if empty:
            raise FormatError(f"'{self.root.name}' has no case", "imagesTr/CASE_0000.ext with labelsTr/CASE.ext")

    def _cases(self, suffix: str, ending: str) -> Iterator[tuple[str, Path, Path] | Skipped]:
        """Case, image, labels; images without labels and labels without images as Skipped."""
        where = self.root / f"images{suffix}"
        shown: dict[str, Path] = {}
        known: dict[str, None] = {}
        for path in entries(where, "the folder of images"):
            match = re.fullmatch(r"(.+)_(\d{4})(\..+)", path.name)
            if match and (not ending or match[3] == ending):
                known.setdefault(match[1])
                if int(match[2]) == self.channel:
                    shown[match[1]] = path
        labels = images(self.root / f"labels{suffix}", "the folder of labels")
        for case in dict.fromkeys([*known, *labels]):
            if case not in labels:
                yield Skipped(case, f"it has no label file in labels{suffix}")
            elif case not in shown:
                yield Skipped(case, f"there is no {case}_{self.channel:04d}{ending or '.*'} in images{suffix}")
            else:
                yield case, shown[case], labels[case]

    def _item(self, found: tuple[str, Path, Path], legend: _Legend, modality: str, split: str) -> Item | Skipped:
        case, image, label = found
        try:
            return Item(
                id=case,
                patient=subject(case, self.patient),
                kind=kind_of(image.name),
                image=image.relative_to(self.root).as_posix(),
                masks=_references(label.relative_to(self.root).as_posix(), legend),
                annotated=tuple(sorted(legend.regions)),
                modality=modality,
                split=split,
            )
        except UniReasonError as error:
            return Skipped(case, str(error))

    def load(self, item: Item) -> Loaded:
        """Read one case."""
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed, correct=_refuse_ignored)


def _refuse_ignored(ref: MaskRef, values: Any) -> Any:
    if ref.detail.startswith("ignore=") and np.any(values == int(ref.detail.removeprefix("ignore="))):
        raise FormatError(f"'{ref.path}' holds the ignore label: parts were not annotated", "a case annotated in full")
    return values


@dataclass(frozen=True, slots=True)
class _Legend:
    """Labels: readable name to values, in the file's order; values of no structure; the value that means "not annotated"."""

    regions: dict[str, tuple[int, ...]]
    others: tuple[int, ...]
    ignored: int | None


def _regions(labels: Any) -> _Legend:
    if not isinstance(labels, dict) or not 0 < len(labels) <= MAX_LABELS:
        raise FormatError("dataset.json has no usable 'labels'", 'names with values, such as {"background": 0, "liver": 1}')
    if all(str(k).isdigit() for k in labels) and all(isinstance(v, str) for v in labels.values()):
        raise FormatError("dataset.json maps values to names", "names to values (nnU-Net v2)", "open it with the source 'msd'")
    regions: dict[str, tuple[int, ...]] = {}
    others: list[int] = []
    ignored: int | None = None
    for raw, value in labels.items():
        values = tuple(value_of(v) for v in (value if isinstance(value, list) else [value]))
        if raw == "ignore":
            ignored = values[0] if values else None
        name = structure(raw)
        if not name:
            others += [v for v in values if v]
        elif any(values):
            regions[name] = tuple(dict.fromkeys((*regions.get(name, ()), *(v for v in values if v))))
    if not regions:
        raise FormatError("dataset.json names no structure besides the background", "at least one")
    return _Legend(regions, tuple(others), ignored)


def _references(path: str, legend: _Legend) -> tuple[MaskRef, ...]:
    """One reference for plain labels; one for each region where they share values."""
    detail = "" if legend.ignored is None else f"ignore={legend.ignored}"
    plain = dict.fromkeys(legend.others, "")
    taken = [v for values in legend.regions.values() for v in values]
    if len(set(taken)) == len(taken):
        names = plain | {v: name for name, values in legend.regions.items() for v in values}
        return (MaskRef(path, dict(sorted(names.items())), detail=detail),)
    return tuple(MaskRef(path, plain | dict.fromkeys(values, name), detail=detail) for name, values in legend.regions.items())


def _modality(index: Mapping[str, Any], channel: int) -> str:
    channels = index.get("channel_names", index.get("modality"))
    if not isinstance(channels, dict):
        return ""
    said = channels.get(str(channel))
    return modality_code(said) if isinstance(said, str) else ""


# --- Medical Segmentation Decathlon: ``dataset.json`` with labels by value and a list of image and label files.


@dataclass(frozen=True, slots=True)
class MsdSource(IndexedSource):
    """One task of the decathlon, or a data set in its layout."""

    name = "msd"

    def items(self) -> Iterator[Item | Skipped]:
        """The training cases, by file name."""
        index = self.index()
        table = index.get("labels")
        names = legend(table) if isinstance(table, dict) else {}
        if not any(names.values()):
            raise FormatError(
                "dataset.json has no usable 'labels'", 'values with names, such as {"0": "background", "1": "liver"}'
            )
        listed = index.get("training")
        if not isinstance(listed, list) or not listed:
            raise FormatError("dataset.json lists no 'training' cases", "a list of {image, label}")
        channels = index.get("modality")
        channels = channels if isinstance(channels, dict) else {}
        said = channels.get(str(self.channel))
        modality = modality_code(said) if isinstance(said, str) else ""
        frame = (("frame", self.channel),) if len(channels) > 1 else ()
        if len(channels) > 1 and said is None:
            raise FormatError(f"channel {self.channel} was asked for", f"one of {', '.join(map(str, channels))}")
        yield from unique(self._item(entry, names, modality, frame) for entry in sorted(listed, key=_order))

    def _item(self, entry: Any, names: dict[int, str], modality: str, frame: tuple[tuple[str, Any], ...]) -> Item | Skipped:
        if not isinstance(entry, dict):
            return Skipped(str(entry)[:100], "the entry is no {image, label}")
        case = str(entry.get("image"))[:200]
        try:
            image, label = (relative(entry.get(key)) for key in ("image", "label"))
            case = stem(image.rsplit("/", 1)[-1]) or case
            for path in (image, label):
                if not inside(self.root, path).is_file():
                    return Skipped(case, f"there is no file '{path}'")
            return Item(
                id=case,
                patient=subject(case, self.patient),
                kind=kind_of(image),
                image=image,
                masks=(MaskRef(label, names),),
                annotated=tuple(sorted({name for name in names.values() if name})),
                modality=modality,
                read=frame,
                split="train",
            )
        except UniReasonError as error:
            return Skipped(case, str(error))

    def load(self, item: Item) -> Loaded:
        """Read one case."""
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed)


def _order(entry: Any) -> tuple[tuple[int, int, str], ...]:
    return natural(str(entry.get("image")) if isinstance(entry, dict) else str(entry))


# --- AMOS22: ``imagesTr``, ``imagesVa``, ``imagesTs`` with ``labels..`` of the same file names; CT and MR mixed.


_AMOS_SPLITS = (("Tr", "train", 410), ("Va", "validation", 409), ("Ts", "test", 500))
_SPELLING = {"postcava": "inferior vena cava", "prostate/uterus": "prostate or uterus"}
_LABELS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "postcava", "pancreas",
    "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AmosSource:
    """AMOS22."""

    root: Path
    ignore_unnamed: bool = False

    name = "amos"
    title = "AMOS22"
    licence = "CC-BY-4.0"

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> AmosSource:
        """The source for a command line."""
        check(cls.name, options, (IGNORE,))
        return cls(folder(cls.name, root, "the folder with imagesTr"), yes(options, IGNORE))

    def items(self) -> Iterator[Item | Skipped]:
        """Cases with labels: training, validation, test."""
        empty = True
        for found in unique(self._cases(self._names())):
            empty = False
            yield found
        if empty:
            raise FormatError(f"'{self.root}' holds no case", "imagesTr, imagesVa or imagesTs with amos_0001.nii.gz")

    def _cases(self, names: dict[int, str]) -> Iterator[Item | Skipped]:
        for suffix, split, last_ct in _AMOS_SPLITS:
            if not (self.root / f"images{suffix}").is_dir():
                continue
            shown = images(self.root / f"images{suffix}", "the folder of images")
            labels = images(self.root / f"labels{suffix}", "the folder of labels") if self._labelled(suffix) else {}
            for case in dict.fromkeys([*shown, *labels]):
                if case not in labels:
                    yield Skipped(case, f"it has no label file in labels{suffix}")
                elif case not in shown:
                    yield Skipped(case, f"it has no image file in images{suffix}")
                else:
                    yield self._item(shown[case], labels[case], names, (split, last_ct))

    def _labelled(self, suffix: str) -> bool:
        return (self.root / f"labels{suffix}").is_dir()

    def _names(self) -> dict[int, str]:
        """Labels of dataset.json; those of the challenge if the file is not there."""
        table: Any = dict(enumerate(_LABELS, start=1))
        if (self.root / "dataset.json").exists():
            table = read_json(self.root / "dataset.json").get("labels")
            if not isinstance(table, dict):
                raise FormatError("dataset.json has no usable 'labels'", "values with names")
        plain = {_spelled(k): _spelled(v) for k, v in table.items()}
        names = legend(plain)
        if not any(names.values()):
            raise FormatError("dataset.json names no structure besides the background", "at least one")
        return names

    def _item(self, image: Path, label: Path, names: dict[int, str], part: tuple[str, int]) -> Item | Skipped:
        case = label.name.split(".")[0]
        number = re.search(r"(\d{1,9})$", case)
        if number is None:
            return Skipped(case, "its name does not end in a number, which would tell CT from MR")
        return Item(
            id=case,
            patient=case,
            kind=kind_of(image.name),
            image=image.relative_to(self.root).as_posix(),
            masks=(MaskRef(label.relative_to(self.root).as_posix(), names),),
            annotated=tuple(sorted({name for name in names.values() if name})),
            modality="CT" if int(number[1]) <= part[1] else "MR",
            split=part[0],
        )

    def load(self, item: Item) -> Loaded:
        """Read one case."""
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed)


def _spelled(value: Any) -> Any:
    return _SPELLING.get(plain_text({"name": value}, "name").lower(), value)


# --- TotalSegmentator data sets: ``meta.csv`` (";" between cells), ``sXXXX/ct.nii.gz`` or ``mri.nii.gz``,
# ``segmentations/*.nii.gz``.


_IMAGES = (("ct.nii.gz", "CT"), ("mri.nii.gz", "MR"))


@dataclass(frozen=True, slots=True)
class TotalSegmentatorSource:
    """A TotalSegmentator data set, CT or MR."""

    root: Path
    ignore_unnamed: bool = False

    name = "totalsegmentator"
    title = "TotalSegmentator"
    licence = "CC-BY-4.0"

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> TotalSegmentatorSource:
        """The source for a command line."""
        check(cls.name, options, (IGNORE,))
        return cls(folder(cls.name, root, "the folder with meta.csv"), yes(options, IGNORE))

    def items(self) -> Iterator[Item | Skipped]:
        """One volume a subject; subjects of meta.csv without a folder, and broken ones, as Skipped."""
        rows = read_rows(self.root / "meta.csv", ";")
        if not rows or "image_id" not in rows[0]:
            raise FormatError("meta.csv has no column 'image_id'", "a table with ';' between cells", "take the published file")
        splits = {row["image_id"].strip(): row.get("split", "").strip() for row in rows if row.get("image_id", "").strip()}
        folders = {e.name: None for e in entries(self.root, "the data set") if (e / "segmentations").is_dir()}
        if not folders:
            raise FormatError(f"'{self.root}' holds no subject", "folders such as s0001/segmentations")
        for one in sorted({*splits, *folders}, key=natural):
            yield self._item(one, splits.get(one, ""))

    def _item(self, subject: str, split: str) -> Item | Skipped:
        try:
            place = inside(self.root, subject)
            found = [(name, modality) for name, modality in _IMAGES if (place / name).is_file()]
            if len(found) != 1:
                return Skipped(subject, f"it holds {len(found)} of ct.nii.gz and mri.nii.gz, expected one")
            files = images(place / "segmentations", "the masks of a subject")
            named = [(f"{subject}/segmentations/{path.name}", structure(key)) for key, path in files.items()]
        except UniReasonError as error:
            return Skipped(subject, str(error))
        masks = tuple(MaskRef(path, {1: name}, binary=True) for path, name in named if name)
        if not masks:
            return Skipped(subject, "its folder 'segmentations' holds no mask")
        annotated = tuple(sorted({name for _, name in named if name}))
        name, modality = found[0]
        return Item(subject, subject, "volume", f"{subject}/{name}", masks, annotated, modality=modality, split=split)

    def load(self, item: Item) -> Loaded:
        """Read one subject with all its masks, one file at a time."""
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed)
