"""TotalSegmentator data sets: ``meta.csv`` (";" between cells), ``sXXXX/ct.nii.gz`` or ``mri.nii.gz``, ``segmentations/*.nii.gz``.

One binary file a structure; a structure without a file was not annotated on that subject, an empty file means that it is absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.errors import FormatError, UniReasonError

from .labels import IGNORE, load_files
from .listing import entries, images, natural, read_rows
from .options import check, folder, yes
from .structures import structure

_IMAGES = (("ct.nii.gz", "CT"), ("mri.nii.gz", "MR"))


@dataclass(frozen=True, slots=True)
class TotalSegmentatorSource:
    """A TotalSegmentator data set, CT or MR.

    Attributes:
        root: The folder with ``meta.csv``.
        ignore_unnamed: True to take mask values without a name for background.
    """

    root: Path
    ignore_unnamed: bool = False

    name = "totalsegmentator"
    title = "TotalSegmentator"
    licence = "CC-BY-4.0"

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> TotalSegmentatorSource:
        """The source for a command line.

        Raises:
            FormatError: If no folder was given or an option cannot be used.
        """
        check(cls.name, options, (IGNORE,))
        return cls(folder(cls.name, root, "the folder with meta.csv"), yes(options, IGNORE))

    def items(self) -> Iterator[Item | Skipped]:
        """One volume a subject; subjects of meta.csv without a folder, and broken ones, as Skipped.

        Raises:
            UniReasonError: If meta.csv is missing or has no column image_id, or no subject is there.
        """
        rows = read_rows(self.root / "meta.csv", ";")
        if not rows or "image_id" not in rows[0]:
            raise FormatError("meta.csv has no column 'image_id'", "a table with ';' between cells", "take the published file")
        splits = {row["image_id"].strip(): row.get("split", "").strip() for row in rows if row.get("image_id", "").strip()}
        folders = {e.name: None for e in entries(self.root, "the data set") if (e / "segmentations").is_dir()}
        if not folders:
            raise FormatError(f"'{self.root}' holds no subject", "folders such as s0001/segmentations")
        for subject in sorted({*splits, *folders}, key=natural):
            yield self._item(subject, splits.get(subject, ""))

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
        """Read one subject with all its masks, one file at a time.

        Raises:
            UniReasonError: If a file is missing, damaged, or lies on another grid than the image.
        """
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed)
