"""Data sets that are folders of image and mask files: one row of ``LAYOUTS`` each, with the function that lists its items."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import parse_toml
from unireason.core.types import Kind
from unireason.data.item import Item, MaskRef, Skipped, inside
from unireason.data.survey import MAX_LABELS, legend, modality_code, structure, value_of

from .base import (
    ARRAY_ENDINGS,
    FolderSource,
    OptionReaders,
    SourceLayout,
    entries,
    images,
    kind_of,
    lengths,
    natural,
    number,
    paired,
    plain_text,
    read_json,
    read_rows,
    read_text,
    relative,
    stem,
    subject,
    text,
    tried,
    yes,
)
from .labels import IGNORE

# --- Any data set as a pair of folders: images, masks, and a labels file that names the mask values.
# ``images/STEM.ext`` belongs to ``masks/STEM.ext`` (a label map), or to ``masks/STRUCTURE/STEM.ext`` (one folder of binary masks a
# structure; in an image for which others have a file and this one has none, it is absent). Folders of DICOM slices may stand for image
# files. The labels file is JSON, CSV (value, name) or TOML and runs either way; for folders of binary masks it is not needed and may
# rename folders. Every value of a label map must have a name; see ``labels.named`` for white.


_LABEL_FILES = ("labels.json", "labels.csv", "labels.toml")
_MAX_BYTES = 1 << 20


def _pair(source: FolderSource) -> Iterator[Item | Skipped]:
    """Images with masks, by name; images without masks and masks without images as Skipped."""
    options = source.options
    where, masks = inside(source.root, options["images"]), inside(source.root, options["masks"])
    shown = images(where, "the folder of images")
    shown |= {e.name: e for e in entries(where, "the folder of images") if e.is_dir() and not stem(e.name)}
    folders = [e for e in entries(masks, "the folder of masks") if e.is_dir()]
    table = _labels_file(source)
    found: dict[str, tuple[MaskRef, ...]] = {}
    called: Mapping[Any, str]
    if folders:
        called = {place: structure(str((table or {}).get(place.name, place.name))) for place in folders}
        for place, name in called.items():
            for key, path in images(place, "the masks of one structure").items() if name else ():
                found[key] = (*found.get(key, ()), MaskRef(source.below(path), {1: name}, binary=True))
    elif table is None:
        raise FormatError(f"'{source.root.name}' has no labels file", " or ".join(_LABEL_FILES), "say what mask values mean")
    else:
        called = names = legend(table)
        if not any(names.values()):
            raise FormatError("the labels file names no structure besides the background", "values above 0 with names")
        found = {key: (MaskRef(source.below(path), names),) for key, path in images(masks, "the folder of masks").items()}
    if not shown:
        raise FormatError(f"'{options['images']}' holds no image", "files such as case1.nii.gz or case1.png")
    if not any(key in found for key in shown):
        raise FormatError(f"no mask in '{options['masks']}' is called like an image in '{options['images']}'", "STEM.ext in both")
    annotated = tuple(sorted(set(called.values()) - {""}))

    def item(key: str, image: Path, refs: tuple[MaskRef, ...]) -> Item:
        return Item(
            id=key,
            patient=subject(key, options["patient"]),
            kind=_kind(image, options["axes"]),
            image=source.below(image),
            masks=refs,
            annotated=annotated,
            modality=options["modality"],
            spacing_mm=options["spacing"],
            read=(("axes", options["axes"]),) if options["axes"] and image.name.lower().endswith(ARRAY_ENDINGS) else (),
        )

    lone = (f"the image has no mask in '{options['masks']}'", f"the mask has no image in '{options['images']}'")
    yield from paired(shown, found, item, lone=lone)


def _kind(image: Path, axes: str) -> Kind:
    if image.suffix.lower() != ".npy":
        return "volume" if image.is_dir() else kind_of(image.name)
    try:
        flat = np.load(image, mmap_mode="r", allow_pickle=False).ndim == 2
    except (OSError, ValueError) as error:
        raise FormatError(f"'{image.name}' is no array ({error})", "a file written by numpy.save") from error
    return "image" if flat or "c" in axes else "volume"


def _labels_file(source: FolderSource) -> Mapping[Any, Any] | None:
    """Rows of the labels file as stored, of a "labels" table inside it if there is one; None if there is no file."""
    asked = source.options["labels"]
    path = next((p for name in ((asked,) if asked else _LABEL_FILES) if (p := inside(source.root, name)).is_file()), None)
    if path is None:
        if asked:
            raise FormatError(f"there is no '{asked}' in '{source.root.name}'", "the labels file")
        return None
    if path.suffix.lower() == ".csv":
        try:
            rows = [[cell.strip() for cell in row[:2]] for row in csv.reader(read_text(path, _MAX_BYTES).splitlines())]
        except csv.Error as error:
            raise FormatError(f"'{path.name}' is no CSV ({error})", "lines of value,name") from error
        return {row[0]: row[1] for row in rows if len(row) == 2 and any(cell.isdigit() for cell in row)}  # no header
    if path.suffix.lower() == ".toml":
        table: Any = parse_toml(read_text(path, _MAX_BYTES), path.name)
    else:
        table = read_json(path, limit=_MAX_BYTES)
    inner = table.get("labels", table)
    if not isinstance(inner, dict):
        raise FormatError(f"'labels' in '{path.name}' is a {type(inner).__name__}", "a table of values and names")
    return inner


def _modality(options: Mapping[str, str], key: str) -> str:
    said = options.get(key, "")
    return modality_code(said) or said.upper()


# --- nnU-Net v2 raw data sets: ``dataset.json``, ``imagesTr/CASE_0000.ext``, ``labelsTr/CASE.ext``.


def _nnunet(source: FolderSource) -> Iterator[Item | Skipped]:
    """Cases with labels, training first."""
    index, channel = source.index(), source.options["channel"]
    maps, annotated, detail = _regions(index.get("labels"))
    modality = _modality_of(index.get("channel_names", index.get("modality")), channel)
    ending = index.get("file_ending")

    def item(split: str, case: str, image: Path, label: Path) -> Item:
        return Item(
            id=case,
            patient=subject(case, source.options["patient"]),
            kind=kind_of(image.name),
            image=source.below(image),
            masks=tuple(MaskRef(source.below(label), names, detail=detail) for names in maps),
            annotated=annotated,
            modality=modality,
            split=split,
        )

    for suffix, split in (("Tr", "train"), ("Ts", "test")):
        if suffix == "Ts" and not (source.root / "labelsTs").is_dir():
            continue
        shown: dict[str, Path | None] = {}
        for path in entries(source.root / f"images{suffix}", "the folder of images"):
            match = re.fullmatch(r"(.+)_(\d{4})(\..+)", path.name)
            if match and (not isinstance(ending, str) or ending in ("", match[3])):
                shown.setdefault(match[1])
                if int(match[2]) == channel:
                    shown[match[1]] = path
        labels = images(source.root / f"labels{suffix}", "the folder of labels")
        lone = (f"it has no label file in labels{suffix}", f"there is no _{channel:04d} of it in images{suffix}")
        yield from paired(shown, labels, partial(item, split), lone=lone)


def _refuse_ignored(ref: MaskRef, values: NDArray[Any]) -> NDArray[Any]:
    if ref.detail.startswith("ignore=") and np.any(values == int(ref.detail.removeprefix("ignore="))):
        raise FormatError(f"'{ref.path}' holds the ignore label: parts were not annotated", "a case annotated in full")
    return values


def _regions(labels: Any) -> tuple[list[dict[int, str]], tuple[str, ...], str]:
    """What values mean, once for plain labels and once for each region where they share values; all names; which value is ignored."""
    if not isinstance(labels, dict) or not 0 < len(labels) <= MAX_LABELS:
        raise FormatError("dataset.json has no usable 'labels'", 'names with values, such as {"background": 0, "liver": 1}')
    if all(str(k).isdigit() for k in labels) and all(isinstance(v, str) for v in labels.values()):
        raise FormatError("dataset.json maps values to names", "names to values (nnU-Net v2)", "open it with the source 'msd'")
    regions: dict[str, tuple[int, ...]] = {}
    others: list[int] = []
    detail = ""
    for raw, value in labels.items():
        values = tuple(value_of(v) for v in (value if isinstance(value, list) else [value]))
        if raw == "ignore" and values:
            detail = f"ignore={values[0]}"
        name = structure(raw)
        if not name:
            others += [v for v in values if v]
        elif any(values):
            regions[name] = tuple(dict.fromkeys((*regions.get(name, ()), *(v for v in values if v))))
    if not regions:
        raise FormatError("dataset.json names no structure besides the background", "at least one")
    plain = dict.fromkeys(others, "")
    taken = [v for values in regions.values() for v in values]
    if len(set(taken)) == len(taken):
        maps = [dict(sorted((plain | {v: name for name, values in regions.items() for v in values}).items()))]
    else:
        maps = [plain | dict.fromkeys(values, name) for name, values in regions.items()]
    return maps, tuple(sorted(regions)), detail


def _modality_of(channels: Any, channel: int) -> str:
    said = channels.get(str(channel)) if isinstance(channels, dict) else None
    return modality_code(said) if isinstance(said, str) else ""


# --- Medical Segmentation Decathlon: ``dataset.json`` with labels by value and a list of image and label files.


def _msd(source: FolderSource) -> Iterator[Item | Skipped]:
    """The training cases, by file name."""
    index, channel = source.index(), source.options["channel"]
    table = index.get("labels")
    names = legend(table) if isinstance(table, dict) else {}
    if not any(names.values()):
        came = "dataset.json has no usable 'labels'"
        raise FormatError(came, 'values with names, such as {"0": "background", "1": "liver"}')
    listed = index.get("training")
    if not isinstance(listed, list) or not listed:
        raise FormatError("dataset.json lists no 'training' cases", "a list of {image, label}")
    channels = index.get("modality")
    channels = channels if isinstance(channels, dict) else {}
    if len(channels) > 1 and channels.get(str(channel)) is None:
        raise FormatError(f"channel {channel} was asked for", f"one of {', '.join(map(str, channels))}")

    def item(case: str, image: str, label: str) -> Item:
        return Item(
            id=case,
            patient=subject(case, source.options["patient"]),
            kind=kind_of(image),
            image=image,
            masks=(MaskRef(label, names),),
            annotated=_annotated(names),
            modality=_modality_of(channels, channel),
            read=(("frame", channel),) if len(channels) > 1 else (),
            split="train",
        )

    for entry in sorted(listed, key=lambda e: natural(str(e.get("image")) if isinstance(e, dict) else str(e))):
        if not isinstance(entry, dict):
            yield Skipped(str(entry)[:100], "the entry is no {image, label}")
            continue
        case = str(entry.get("image"))[:200]
        try:
            image, label = (relative(entry.get(key)) for key in ("image", "label"))
            case = stem(image.rsplit("/", 1)[-1]) or case
            lost = next((path for path in (image, label) if not inside(source.root, path).is_file()), None)
        except FormatError as error:
            yield Skipped(case, str(error))
            continue
        yield Skipped(case, f"there is no file '{lost}'") if lost else tried(case, partial(item, case, image, label))


def _annotated(names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names.values() if name}))


# --- AMOS22: ``imagesTr``, ``imagesVa``, ``imagesTs`` with ``labels..`` of the same file names; CT and MR mixed.


_AMOS_SPLITS = (("Tr", "train", 410), ("Va", "validation", 409), ("Ts", "test", 500))  # with the number of the last CT
_SPELLING = {"postcava": "inferior vena cava", "prostate/uterus": "prostate or uterus"}
_AMOS_LABELS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "postcava", "pancreas",
    "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip


def _amos(source: FolderSource) -> Iterator[Item | Skipped]:
    """Cases with labels, training first. They are named by dataset.json, or as in the challenge where that is missing."""
    table: Any = dict(enumerate(_AMOS_LABELS, start=1))
    if (source.root / "dataset.json").exists():
        table = source.index().get("labels")
        if not isinstance(table, dict):
            raise FormatError("dataset.json has no usable 'labels'", "values with names")

    def spelled(value: Any) -> Any:
        return _SPELLING.get(plain_text({"name": value}, "name").lower(), value)

    names = legend({spelled(key): spelled(value) for key, value in table.items()})
    if not any(names.values()):
        raise FormatError("dataset.json names no structure besides the background", "at least one")

    def item(split: str, last_ct: int, _name: str, image: Path, label: Path) -> Item | Skipped:
        case = label.name.split(".")[0]
        number = re.search(r"(\d{1,9})$", case)
        if number is None:
            return Skipped(case, "its name does not end in a number, which would tell CT from MR")
        return Item(
            id=case,
            patient=case,
            kind=kind_of(image.name),
            image=source.below(image),
            masks=(MaskRef(source.below(label), names),),
            annotated=_annotated(names),
            modality="CT" if int(number[1]) <= last_ct else "MR",
            split=split,
        )

    for suffix, split, last_ct in _AMOS_SPLITS:
        shown, labels = source.root / f"images{suffix}", source.root / f"labels{suffix}"
        if shown.is_dir():
            masks = images(labels, "the folder of labels") if labels.is_dir() else {}
            lone = (f"it has no label file in labels{suffix}", f"it has no image file in images{suffix}")
            yield from paired(images(shown, "the folder of images"), masks, partial(item, split, last_ct), lone=lone)


# --- TotalSegmentator data sets: ``meta.csv`` (";" between cells), ``sXXXX/ct.nii.gz`` or ``mri.nii.gz``,
# ``segmentations/*.nii.gz``.


def _totalsegmentator(source: FolderSource) -> Iterator[Item | Skipped]:
    """One volume a subject; subjects of meta.csv without a folder, and broken ones, as Skipped."""
    rows = read_rows(source.root / "meta.csv", ";")
    if not rows or "image_id" not in rows[0]:
        raise FormatError("meta.csv has no column 'image_id'", "a table with ';' between cells", "take the published file")
    splits = {row["image_id"].strip(): row.get("split", "").strip() for row in rows if row.get("image_id", "").strip()}
    folders = {e.name: None for e in entries(source.root, "the data set") if (e / "segmentations").is_dir()}
    if not folders:
        raise FormatError(f"'{source.root}' holds no subject", "folders such as s0001/segmentations")

    def item(subject: str) -> Item | Skipped:
        place = inside(source.root, subject)
        found = [(name, code) for name, code in (("ct.nii.gz", "CT"), ("mri.nii.gz", "MR")) if (place / name).is_file()]
        if len(found) != 1:
            return Skipped(subject, f"it holds {len(found)} of ct.nii.gz and mri.nii.gz, expected one")
        files = images(place / "segmentations", "the masks of a subject")
        named = [(f"{subject}/segmentations/{path.name}", structure(key)) for key, path in files.items()]
        masks = tuple(MaskRef(path, {1: name}, binary=True) for path, name in named if name)
        if not masks:
            return Skipped(subject, "its folder 'segmentations' holds no mask")
        annotated = tuple(sorted({name for _, name in named if name}))
        name, code = found[0]
        return Item(
            subject, subject, "volume", f"{subject}/{name}", masks, annotated, modality=code, split=splits.get(subject, "")
        )

    yield from (tried(subject, partial(item, subject)) for subject in sorted({*splits, *folders}, key=natural))


# --- All of them.


_INDEXED: OptionReaders = {"channel": partial(number, most=9999), "patient": text, IGNORE: yes}
PAIR = SourceLayout(
    "pair",
    _pair,
    wants="the folder with images, masks and a labels file",
    holds="images with masks",
    options={
        "images": partial(text, default="images"),
        "masks": partial(text, default="masks"),
        "labels": text,
        "modality": _modality,
        "spacing": lengths,
        "axes": text,
        "patient": text,
        "title": text,
        "licence": text,
        IGNORE: yes,
    },
)
_OTHERS = (
    SourceLayout(
        "nnunet",
        _nnunet,
        wants="the folder with dataset.json",
        holds="imagesTr/CASE_0000.ext with labelsTr/CASE.ext",
        options=_INDEXED,
        indexed=True,
        correct=_refuse_ignored,
    ),
    SourceLayout(
        "msd", _msd, wants="the folder with dataset.json", holds="a list of {image, label}", options=_INDEXED, indexed=True
    ),
    SourceLayout(
        "amos",
        _amos,
        wants="the folder with imagesTr",
        holds="imagesTr, imagesVa or imagesTs with amos_0001.nii.gz",
        title="AMOS22",
        licence="CC-BY-4.0",
    ),
    SourceLayout(
        "totalsegmentator",
        _totalsegmentator,
        wants="the folder with meta.csv",
        holds="folders such as s0001/segmentations",
        title="TotalSegmentator",
        licence="CC-BY-4.0",
    ),
)
LAYOUTS = {layout.name: layout for layout in (PAIR, *_OTHERS)}
