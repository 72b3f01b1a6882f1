"""Cases of a release written as records, one at a time: each with its pictures and the rows about it."""

from __future__ import annotations

import hashlib
import os
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
    STAGES,
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
from unireason.errors import UniReasonError
from unireason.types import Case

from .fitted import LeftOut

_SHARD_ROWS = 50_000
_SPELLINGS = {"val": "validation", "valid": "validation", "dev": "validation"}
BROKEN = frozenset(
    {
        "its picture is not in the release",
        "its picture cannot be read",
        "its text holds a special token",
        "the sample that it keeps cannot be read",
        "a box is empty or inverted",
        "a box leaves the frame",
        "a point lies outside its box",
        "its two points are one",
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
        """The split of a picture in this data set: the published one, or validation if that was asked for; by patient if one is known."""
        moved = published == "train" and position(0, self.layout, shown.patient or shown.name) < self._validation
        return "validation" if moved else published

    def case_name(self, shown: Shown, published: str) -> str:
        """Identifier of the case of a picture in a split; those of one picture differ."""
        return f"{self.layout}:{shown.name}" + ("" if published == "train" else f"@{published}")

    def scene(self, shown: Shown, name: str) -> Scene:
        """What is known of a case.

        Raises:
            UniReasonError: If it fits no model frame.
        """
        item = Item(name, shown.patient, shown.case.kind, shown.image, (), ())
        return replace(describe(Loaded(item, shown.case, ()), self.rule, case=name), described=False)

    def put(self, shown: Shown, scene: Scene, split: str, samples: Sequence[SampleRecord]) -> None:
        """Write a case with its samples and pictures.

        Args:
            shown: Its pixels.
            scene: Its scene.
            split: Its split.
            samples: Samples about it, at least one.

        Raises:
            UniReasonError: If its window cannot be used.
        """
        hashed = shown.case.source.sha256
        record = CaseRecord(
            scene, self.layout, scene.case, shown.image, -1, hashed, perceptual_hash(shown.case), split, self.rule.window
        )
        rows = {"cases": [case_row(record)], "samples": [sample_row(sample) for sample in samples], "dropped": {}}
        self._tally.add(rows)
        for table in ("cases", "samples"):
            for row in rows[table]:
                self._writers[table, split].add(row)
        for image in self._images(shown, scene):
            self._writers["images", split].add(image_row(image))

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
        One of SPLITS: what the row says, else what the name of the file begins with, else "train".
    """
    for said in (str(told).lower(), *os.path.basename(file).lower().replace("_", "-").replace(".", "-").split("-")[:1]):
        split = _SPELLINGS.get(said, said)
        if split in SPLITS:
            return split
    return "train"


def joined(samples: Sequence[tuple[str, SampleRecord]]) -> tuple[list[SampleRecord], list[str]]:
    """Samples of one case: the same question in both tables becomes one sample.

    Args:
        samples: Identifiers of rows with what was made of them, in order.

    Returns:
        Samples with identifiers of their own, and the rows that say what another row of their table says.
    """
    found: list[SampleRecord] = []
    repeated: list[str] = []
    for row, sample in samples:
        place = next((i for i, other in enumerate(found) if _same(other, sample)), None)
        if place is None:
            found.append(sample)
        elif set(sample.stages) <= set(found[place].stages):
            repeated.append(row)
        else:
            found[place] = _merged(found[place], sample)
    return _named(found), repeated


def _same(one: SampleRecord, other: SampleRecord) -> bool:
    """True if both ask the same, and do not answer it in two ways of their own."""
    asked = [(s.question.text, s.question.options, s.question.answer, s.box, s.points) for s in (one, other)]
    apart = set(one.stages) & set(other.stages) or (one.annotator and other.annotator)
    return asked[0] == asked[1] and (not apart or one.response == other.response)


def _merged(one: SampleRecord, other: SampleRecord) -> SampleRecord:
    """The one that tells more, for the stages of both."""
    known = sorted((one, other), key=lambda s: (bool(s.question.family), bool(s.annotator)))
    stages = tuple(stage for stage in STAGES if stage in one.stages or stage in other.stages)
    return replace(known[1], stages=stages, origin=one.origin or other.origin)


def _named(samples: Sequence[SampleRecord]) -> list[SampleRecord]:
    """The samples; of those with one identifier the later ones get a number."""
    seen: Counter[str] = Counter()
    out = []
    for sample in samples:
        seen[sample.id] += 1
        again = seen[sample.id]
        out.append(sample if again == 1 else replace(sample, id=hashlib.sha256(f"{sample.id}~{again}".encode()).hexdigest()[:16]))
    return out


def no_picture(error: UniReasonError) -> LeftOut:
    """Why the rows about a picture that cannot be read are left out."""
    return LeftOut("its picture cannot be read", str(error))
