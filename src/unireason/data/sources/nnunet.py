"""nnU-Net v2 raw data sets: ``dataset.json``, ``imagesTr/CASE_0000.ext``, ``labelsTr/CASE.ext``.

Labels may be regions (a name for several values); overlapping regions become layers of their own. Where a data set has an
``ignore`` label, cases in which it occurs are refused when loaded: what was not annotated must not be called absent.
``imagesTs`` with ``labelsTs`` is read too if both are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unireason.data.item import Item, Loaded, MaskRef, Skipped
from unireason.errors import FormatError, UniReasonError

from .indexed import IndexedSource
from .labels import load_files
from .listing import entries, images, kind_of, subject, unique
from .structures import MAX_LABELS, modality_code, structure, value_of

_SPLITS = (("Tr", "train"), ("Ts", "test"))


@dataclass(frozen=True, slots=True)
class NnunetSource(IndexedSource):
    """One nnU-Net data set."""

    name = "nnunet"

    def items(self) -> Iterator[Item | Skipped]:
        """Cases with labels, training first.

        Raises:
            UniReasonError: If dataset.json is missing or cannot be used, or there is no case.
        """
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
        """Read one case.

        Raises:
            UniReasonError: If a file is missing, damaged, or holds voxels that were not annotated.
        """
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
