"""Cases of a release written as records, one at a time: each with its pictures and the rows about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data.build.gather import IMAGE_SHARD_ROWS, TABLES, ShardWriter, Tally
from unireason.data.extract.describe import describe
from unireason.data.frames import FrameRule
from unireason.data.item import Item, Loaded
from unireason.data.pictures import mask_on_frame, model_pictures, png
from unireason.data.records import (
    SPLITS,
    CaseRecord,
    ImageRecord,
    SampleRecord,
    case_row,
    image_row,
    sample_row,
)
from unireason.data.scene import Scene
from unireason.data.select.duplicates import perceptual_hash
from unireason.data.select.splits import position
from unireason.data.sources import m3d, samed2d
from unireason.errors import FormatError, UniReasonError
from unireason.types import Case

from .fitted import LeftOut
from .joining import joined

_SHARD_ROWS = 50_000
_SPELLINGS = {"val": "validation", "valid": "validation", "dev": "validation", "training": "train", "testing": "test"}
_M3D_CAP = {"ct_case", "ct_quizze"}
BROKEN = frozenset(
    {
        "it cannot be read",
        "its picture is not in the release",
        "its picture cannot be read",
        "its text holds a special token",
        "the sample that it keeps cannot be read",
        "a box is empty or inverted",
        "a box leaves the frame",
        "a point lies outside its box",
        "its two points are one",
        "its mask cannot be used",
        "its box is not that of its mask",
    }
)
"""Reasons for which a release, and not what is made of it here, is to blame."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture or volume of a release, as far as all its splits share it.

    Attributes:
        name: Its name in the release; identifiers of cases follow from it.
        case: Pixels and geometry.
        image: Where it lies: base name of a picture, path of a volume in the folder of the volumes; "" for a volume of stored slices.
        patient: Patient; "" if the release does not tell.
        masks: For images: name of a mask to bool (Y, X) on the grid of the picture.
    """

    name: str
    case: Case
    image: str
    patient: str = ""
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


class Shelving:
    """Writes the tables of a data set.

    Attributes:
        layout: Layout of the release.
        rule: How pictures become the model frame.
        skipped: Identifier and reason of every row left out.
    """

    def __init__(self, folder: Path, layout: str, rule: FrameRule, *, validation: float) -> None:
        """Set where and how to write.

        Args:
            folder: Folder of the data set.
            layout: Layout of the release.
            rule: How pictures become the model frame.
            validation: Share of the training pictures that become the validation split.
        """
        self.layout, self.rule = layout, rule
        self.skipped: list[tuple[str, str]] = []
        self._validation = validation
        self._tally = Tally()
        self._reasons: Counter[str] = Counter()
        self._other_crops = 0
        self._cases: set[str] = set()
        self._writers = {
            (table, split): ShardWriter(folder, table, split, shard_rows=IMAGE_SHARD_ROWS if table == "images" else _SHARD_ROWS)
            for table in TABLES
            for split in SPLITS
        }

    def leave_out(self, row: str, why: LeftOut) -> None:
        """Note a row that is not taken in."""
        self.skipped.append((row, str(why)))
        self._reasons[why.reason] += 1

    def other_crops(self) -> None:
        """Count a row that shows another number of crops than the engine cuts."""
        self._other_crops += 1

    def split(self, published: str, shown: Shown) -> str:
        """The split of a picture in this data set: the published one, or validation if that was asked for. Pictures that are known to
        show one patient go together."""
        moved = published == "train" and position(0, self.layout, _together(shown)) < self._validation
        return "validation" if moved else published

    def case_name(self, shown: Shown, published: str) -> str:
        """Identifier of the case of a picture in a split, which no case written so far has: a picture may be published in several
        splits, and may be the first slice of volumes as well."""
        base = f"{self.layout}:{shown.name}" + ("" if published == "train" else f"@{published}")
        name, number = base, 1
        while name in self._cases:
            number += 1
            name = f"{base}~{number}"
        return name

    def scene(self, shown: Shown, name: str) -> Scene:
        """What is known of a case.

        Raises:
            UniReasonError: If it fits no model frame.
        """
        item = Item(name, shown.patient, shown.case.kind, shown.image, (), ())
        return replace(describe(Loaded(item, shown.case, ()), self.rule, case=name), described=False)

    def put(self, shown: Shown, scene: Scene, split: str, made: Sequence[tuple[str, SampleRecord]]) -> None:
        """Write a case with its samples and pictures, all of it or nothing.

        Args:
            shown: Its pixels; masks that no sample means are not kept.
            scene: Its scene.
            split: Its split.
            made: Identifiers of rows with what was made of them, in order; without any nothing is written.
        """
        samples, repeated = joined(made)
        for row in repeated:
            self.leave_out(row, LeftOut("it says what another row says"))
        if not samples:
            return
        meant = {sample.target for sample in samples}
        shown = replace(shown, masks={name: mask for name, mask in shown.masks.items() if name in meant})
        try:
            images = self._images(shown, scene)
            hashed = perceptual_hash(shown.case)
        except UniReasonError as error:
            for row in (row for row, _ in made if row not in repeated):
                self.leave_out(row, no_picture(error))
            return
        name, digest = scene.case, shown.case.source.sha256
        record = CaseRecord(scene, self.layout, name, shown.image, -1, digest, hashed, split, self.rule.window)
        self._write(record, samples, images)

    def _write(self, case: CaseRecord, samples: Sequence[SampleRecord], images: Sequence[ImageRecord]) -> None:
        self._cases.add(case.scene.case)
        rows = {"cases": [case_row(case)], "samples": [sample_row(sample) for sample in samples]}
        self._tally.add(rows | {"dropped": {}})
        for table, found in (*rows.items(), ("images", map(image_row, images))):
            for row in found:
                self._writers[table, case.split].add(row)

    def _images(self, shown: Shown, scene: Scene) -> list[ImageRecord]:
        pictures, frame = shown.case.pixels, scene.frame
        # Stored slices that have the size of the frame are not brought to the size of a stack and back.
        ready = not shown.image and pictures.shape[:3] == (frame.depth, frame.height, frame.width)
        stack = list(pictures) if ready else model_pictures(shown.case, self.rule)
        masks = [png(mask_on_frame(mask, frame).astype(np.uint8) * 255) for mask in shown.masks.values()]
        if scene.kind == "image":
            return [ImageRecord(scene.case, 0, png(stack[0]), tuple(masks), tuple(shown.masks))]
        return [ImageRecord(scene.case, z, png(np.ascontiguousarray(picture))) for z, picture in enumerate(stack)]

    def close(self) -> dict[str, Any]:
        """Finish the tables; the counts for the manifest."""
        for writer in self._writers.values():
            writer.close()
        counts = self._tally.to_json()
        counts["dropped"] = dict(sorted(self._reasons.items()))
        counts["broken"] = sum(number for reason, number in self._reasons.items() if reason in BROKEN)
        counts["other_crops"] = self._other_crops
        return counts


def published_split(file: Path, told: object = "") -> str:
    """The split that a release names.

    Args:
        file: The file of the row.
        told: What the row itself says of its split, if anything.

    Returns:
        One of SPLITS: what the row says, else the first word of the file's name that is one ("unimed_test-00000.parquet"), else "train".
    """
    for said in (str(told).lower(), *re.split("[^a-z]+", file.name.lower())):
        split = _SPELLINGS.get(said, said)
        if split in SPLITS:
            return split
    return "train"


def _together(shown: Shown) -> str:
    """What pictures of one patient share: the patient if the release tells, else what names of SA-Med2D and M3D tell, of which
    UniMed-CoT was made, else the name of the picture alone."""
    if shown.patient:
        return shown.patient
    if _M3D_CAP & set(shown.image.split("/")[:-1]):
        return m3d.patient_of(shown.image)
    for name in (shown.image, shown.name):
        try:
            return samed2d.patient_of(name)
        except FormatError:
            continue
    return shown.name


def unreadable(error: UniReasonError) -> LeftOut:
    """Why a row is left out whose values are not those of its layout."""
    return LeftOut("it cannot be read", str(error))


def no_picture(error: UniReasonError) -> LeftOut:
    """Why the rows about a picture that cannot be read are left out."""
    return LeftOut("its picture cannot be read", str(error))
