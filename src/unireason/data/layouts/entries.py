"""The cases of a data set with their samples and pictures, one at a time: embedded pictures as they are, others made from the source."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unireason.data.dataset import Dataset
from unireason.data.frames import FrameRule
from unireason.data.item import Item, Loaded, Source
from unireason.data.pictures import embedded, from_png, png
from unireason.data.records import CaseRecord, ImageRecord, SampleRecord
from unireason.errors import FormatError, ImageReadError
from unireason.grounding import crop
from unireason.types import Frame

from .posing import Cut

T = TypeVar("T")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One case with its samples and pictures.

    Attributes:
        case: The case.
        samples: Its samples.
        pngs: One PNG file a model slice, at the size of the model frame.
        masks: For images: structure name to a PNG file (0 or 255) on the same grid; empty for volumes.
    """

    case: CaseRecord
    samples: tuple[SampleRecord, ...]
    pngs: tuple[bytes, ...]
    masks: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def frame(self) -> Frame:
        """The model frame."""
        return self.case.scene.frame

    def png(self, cut: Cut) -> bytes:
        """A whole slice, or the crop that a look at it injects, as a PNG file.

        Raises:
            FormatError: If the picture is no PNG file or has another size than the model frame.
        """
        index, rect = cut
        if rect is None:
            return self.pngs[index]
        return png(np.ascontiguousarray(crop.cut(pixels(self.pngs[index], self.frame), rect)))


def entries(dataset: Dataset, split: str, *, root: Path | None = None) -> Iterator[Entry]:
    """The cases of a split, in order, one in memory at a time.

    Args:
        dataset: The data set.
        split: One of its splits.
        root: Folder of the source, for data sets that refer to it; None takes the place where it lay when the data set was built.

    Raises:
        FormatError: If samples or pictures do not follow the order of their cases.
        UniReasonError: If the source is needed and cannot be opened or read.
    """
    samples = _Groups(dataset.samples(split), lambda sample: sample.case, "samples")
    images = _Groups(dataset.images(split), lambda image: image.case, "pictures")
    inside = bool(dataset.files("images", split))
    shelf: _Shelf | None = None
    for case in dataset.cases(split):
        asked, kept = samples.take(case.scene.case), images.take(case.scene.case)
        if not inside:
            shelf = shelf or _Shelf(dataset.source(root), FrameRule.from_json(dataset.manifest.get("config", {}).get("frame")))
            kept = shelf.pictures(case)
        yield _entry(case, asked, kept)
    samples.end()
    images.end()


def _entry(case: CaseRecord, samples: tuple[SampleRecord, ...], images: tuple[ImageRecord, ...]) -> Entry:
    slices, depth = [image.slice for image in images], case.scene.frame.depth
    if slices != list(range(depth)):
        raise FormatError(
            f"case {case.scene.case} has the pictures {slices[:8]}", f"0 to {depth - 1} in order", "build the data set again"
        )
    masks = dict(zip(images[0].mask_names, images[0].masks, strict=True)) if case.scene.kind == "image" else {}
    return Entry(case, samples, tuple(image.png for image in images), masks)


def pixels(data: bytes, frame: Frame) -> NDArray[np.uint8]:
    """The pixels of an embedded picture, its size judged before it is decoded (PNG, ISO/IEC 15948, 11.2.1: IHDR comes first).

    Args:
        data: A PNG file.
        frame: The model frame of its case.

    Returns:
        The pixels as they are stored, (H, W) or (H, W, channels).

    Raises:
        UniReasonError: If it is no PNG file, of another size than the frame, or damaged.
    """
    size = struct.unpack(">II", data[16:24]) if data.startswith(_SIGNATURE) and len(data) > 24 else (0, 0)
    if size != (frame.width, frame.height):
        raise FormatError(
            f"an embedded picture has {size[0]} x {size[1]} pixels",
            f"a PNG file of {frame.width} x {frame.height}",
            "build again",
        )
    return from_png(data)


class _Groups(Generic[T]):
    """Consecutive records of one case, taken case by case in one pass."""

    def __init__(self, records: Iterator[T], case_of: Callable[[T], str], what: str) -> None:
        self._records, self._case_of, self._what = records, case_of, what
        self._next = next(records, None)

    def take(self, case: str) -> tuple[T, ...]:
        """The records of a case if they come next; else none."""
        found = []
        while self._next is not None and self._case_of(self._next) == case:
            found.append(self._next)
            self._next = next(self._records, None)
        return tuple(found)

    def end(self) -> None:
        """Fail if a record is left over."""
        if self._next is not None:
            raise FormatError(
                f"the {self._what} of case {self._case_of(self._next)} do not stand in the order of the cases",
                "a data set as the builder writes it",
                "build the data set again",
            )


class _Shelf:
    """Items of a source, found in one pass as long as they are asked for in order; the last one stays loaded."""

    def __init__(self, source: Source, rule: FrameRule) -> None:
        self._source, self._rule = source, rule
        self._items = iter(source.items())
        self._item: Item | None = None
        self._loaded: Loaded | None = None

    def pictures(self, case: CaseRecord) -> tuple[ImageRecord, ...]:
        """The pictures of a case as if they were embedded.

        Raises:
            UniReasonError: If the source lacks the item, or it cannot be read.
        """
        from unireason.data.extract.slices import axial

        if self._item is None or self._item.id != case.item:
            self._item, self._loaded = self._find(case), None
        self._loaded = self._loaded or self._source.load(self._item)
        shown = self._loaded if case.slice < 0 else axial(self._loaded, case.slice)
        return tuple(embedded(shown, case.scene, self._rule))

    def _find(self, case: CaseRecord) -> Item:
        for _ in range(2):  # once from here to the end, once from the start
            for item in self._items:
                if isinstance(item, Item) and item.id == case.item:
                    return item
            self._items = iter(self._source.items())
        raise ImageReadError(f"the source has no item {case.item!r}", "the source of the data set", "check --root")
