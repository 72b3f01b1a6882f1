"""M3D-Seg: ``NNNN/case/image.npy`` with ``mask_(C, X, Y, Z).npz`` (sparse, one row a class) and a split file ``NNNN.json``.

What has to be known:

* A mask file is a scipy CSR matrix, C rows of X * Y * Z columns, whose dense shape stands in its file name alone. It is read here without
  scipy's loader and without pickle, within bounds.
* Images are stored with a channel in front. The release stores (X, Y, Z) as the file name says; copies prepared for the published model
  are (Z, Y, X). Slices are square, so the axis unlike the other two is Z; where that does not tell, the file name is believed. The option
  ``axes`` says it outright.
* Orientation, spacing and Hounsfield units were lost: cases have no affine, directions in them are those of the picture, and the case
  (not the item) goes without a modality, so that it is windowed by percentiles.
* Split files say ``train`` or ``training``. Quiz cases of M3D-Cap are copies of ordinary ones under another folder: one patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.errors import FormatError, UniReasonError

from .listing import entries, natural, read_json, relative, unique
from .m3d_arrays import load_arrays
from .options import check, folder
from .structures import legend, modality_code

_SHAPE = re.compile(r"mask_\((\d{1,6}), ?(\d{1,6}), ?(\d{1,6}), ?(\d{1,6})\)\.npz")
_SPLITS = (("train", "train"), ("training", "train"), ("validation", "validation"), ("val", "validation"), ("test", "test"))


@dataclass(frozen=True, slots=True)
class M3dSource:
    """M3D-Seg.

    Attributes:
        root: The folder with one numbered folder a data set.
        axes: "xyz" or "zyx" as stored; "" tells it from the shape.
    """

    root: Path
    axes: str = ""

    name = "m3d-seg"
    title = "M3D-Seg"
    licence = "Apache-2.0 for the collection; the licences of its parts hold as well"

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> M3dSource:
        """The source for a command line.

        Raises:
            FormatError: If no folder was given or an option cannot be used.
        """
        check(cls.name, options, ("axes",))
        axes = options.get("axes", "")
        if axes not in ("", "xyz", "zyx"):
            raise FormatError(f"the option axes is {axes!r}", "xyz or zyx")
        return cls(folder(cls.name, root, "the folder with 0000/0000.json"), axes)

    def items(self) -> Iterator[Item | Skipped]:
        """Cases of all data sets, by number; a case listed twice is taken once.

        Raises:
            UniReasonError: If there is no split file, or none lists a case.
        """
        indexes = [p for e in entries(self.root, "the folder with 0000/0000.json") for p in _split_files(e)]
        if not indexes:
            raise FormatError(f"'{self.root}' holds no split file", "0000/0000.json and so on")
        ordered = sorted(indexes, key=lambda p: natural(p.stem))
        empty = True
        for found in unique(entry for path in ordered for entry in self._data_set(path)):
            empty = False
            yield found
        if empty:
            raise FormatError("no split file lists a case", "'train' and 'test' with {image, label}")

    def _data_set(self, path: Path) -> Iterator[Item | Skipped]:
        try:
            index = read_json(path)
            table = index.get("labels")
            names = legend(table) if isinstance(table, dict) else {}
            if not any(names.values()):
                raise FormatError(f"'{path.name}' has no usable 'labels'", "values with names")
        except UniReasonError as error:
            yield Skipped(path.stem, str(error))
            return
        said = index.get("modality")
        said = next(iter(said.values()), "") if isinstance(said, dict) else said
        modality = modality_code(said) if isinstance(said, str) else ""
        listed = [(e, split) for key, split in _SPLITS for e in (index.get(key) if isinstance(index.get(key), list) else [])]
        for entry, split in sorted(listed, key=lambda pair: natural(_text(pair[0], "image"))):
            yield self._item(path.stem, entry, names, (modality, split))

    def _item(self, number: str, entry: Any, names: dict[int, str], said: tuple[str, str]) -> Item | Skipped:
        text = _text(entry, "image")
        try:
            image, label = (_below(number, relative(_text(entry, key))) for key in ("image", "label"))
            case = f"{number}--{PurePosixPath(image).parent.name}"
            match = _SHAPE.fullmatch(PurePosixPath(label).name)
            if match is None:
                return Skipped(case, f"its mask is called {PurePosixPath(label).name[:100]!r}, expected mask_(C, X, Y, Z).npz")
            for path in (image, label):
                if not inside(self.root, path).is_file():
                    return Skipped(case, f"there is no file '{path}'")
        except UniReasonError as error:
            return Skipped(f"{number}--{text[:100]}", str(error))
        return Item(
            id=case,
            patient=patient_of(image),
            kind="volume",
            image=image,
            masks=(MaskRef(label, names, detail="shape=" + ",".join(match.groups())),),
            annotated=tuple(sorted({name for name in names.values() if name})),
            modality=said[0],
            read=(("axes", self.axes),) if self.axes else (),
            split=said[1],
            extra={"dataset": number},
        )

    def load(self, item: Item) -> Loaded:
        """Read one case.

        Raises:
            UniReasonError: If a file is missing, damaged or too large, or mask and image differ in shape.
        """
        return load_arrays(self.root, item)


def patient_of(path: str) -> str:
    """The patient behind a path of M3D: number and case; for M3D-Cap the case alone, so that quiz copies go with their originals.

    Args:
        path: As the data set spells it, such as "0000/12/image.npy" or "ct_quizze/000017/Axial.npy".
    """
    parts = PurePosixPath(relative(path)).parts
    for folder_name in ("ct_case", "ct_quizze"):
        if folder_name in parts[:-1]:
            return f"case--{parts[parts.index(folder_name) + 1]}"
    return "--".join(parts[-3:-1])


def _split_files(entry: Path) -> Iterator[Path]:
    """NNNN.json, beside or inside the folder NNNN."""
    if re.fullmatch(r"\d{1,6}\.json", entry.name):
        yield entry
    elif re.fullmatch(r"\d{1,6}", entry.name) and (entry / f"{entry.name}.json").is_file():
        yield entry / f"{entry.name}.json"


def _text(entry: Any, key: str) -> str:
    return str(entry.get(key, "")) if isinstance(entry, dict) else ""


def _below(number: str, path: str) -> str:
    """NNNN/case/file, whatever folders of the publisher's machine stand in front."""
    parts = PurePosixPath(path).parts
    if number in parts[:-2]:
        parts = parts[len(parts) - 1 - parts[::-1].index(number) :]
    if ".." in parts or len(parts) < 2:
        raise FormatError(f"the path {path[:200]!r} in {number}.json", f"{number}/case/file")
    return "/".join(parts)
