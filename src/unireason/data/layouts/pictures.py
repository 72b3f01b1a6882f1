"""The pictures of a data set at the size of the model frame, case by case: embedded ones as they are, others made from the source.

A picture is what the network sees: windowed, serialised by the frame rule of the data set, then resized once to the model frame with
the filter of the published image processor (bicubic), so that the processor changes nothing any more and boxes are pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unireason.data.dataset import Dataset
from unireason.data.frames import FrameRule
from unireason.data.item import Item, Layer, Loaded, Source
from unireason.data.names import readable
from unireason.data.records import CaseRecord, ImageRecord, SampleRecord
from unireason.errors import FormatError, ImageReadError
from unireason.grounding import crop
from unireason.imaging import serialize
from unireason.types import Case, Frame

from .posing import Cut

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One case with its samples and pictures.

    Attributes:
        case: The case.
        samples: Its samples.
        pngs: One PNG file a model slice, at the size of the model frame.
        masks: For images: structure name to a PNG (0 or 255) on the same grid; empty for volumes.
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
            FormatError: If the slice is not there or its picture has another size than the model frame.
        """
        index, rect = cut
        if not 0 <= index < len(self.pngs):
            raise FormatError(f"model slice {index} of case {self.case.scene.case}", f"0 to {len(self.pngs) - 1}")
        if rect is None:
            return self.pngs[index]
        return to_png(crop.cut(from_png(self.pngs[index], self.frame), rect))


def entries(dataset: Dataset, split: str, *, root: Path | None = None, masks: bool = False) -> Iterator[Entry]:
    """The cases of a split that have samples, in order, one at a time.

    Args:
        dataset: The data set.
        split: One of its splits.
        root: Folder of the source, for data sets that refer to it; None takes the place where it lay when the data set was built.
        masks: True to make the masks of images from the source; embedded ones come always.

    Raises:
        FormatError: If samples or pictures do not follow the order of their cases.
        UniReasonError: If the source is needed and cannot be opened or read.
    """
    samples = _Groups(dataset.samples(split), lambda sample: sample.case, "samples")
    embedded = bool(dataset.files("images", split))
    images = _Groups(dataset.images(split), lambda image: image.case, "images")
    rule = FrameRule.from_json(dataset.manifest["config"]["frame"])
    shelf: _Shelf | None = None
    for case in dataset.cases(split):
        asked = samples.take(case.scene.case)
        kept = images.take(case.scene.case)
        if not asked:
            continue
        if embedded:
            yield _embedded(case, asked, kept)
            continue
        shelf = shelf or _Shelf(dataset.source(root))
        loaded = shelf.load(case)
        pngs = tuple(to_png(picture) for picture in model_pictures(loaded.case, rule))
        drawn = model_masks(loaded, case.scene.frame) if masks and case.scene.kind == "image" else {}
        yield Entry(case, asked, pngs, {name: to_png(mask) for name, mask in drawn.items()})
    samples.end()
    images.end()


def model_pictures(case: Case, rule: FrameRule) -> list[NDArray[np.uint8]]:
    """The pictures of a case as the network sees them.

    Args:
        case: Image or volume.
        rule: How pictures become the model frame.

    Returns:
        One uint8 (H, W) or (H, W, 3) a model slice, H and W of the model frame.

    Raises:
        FormatError: If the window or the frame cannot be used.
    """
    from PIL import Image

    volume = case.kind == "volume"
    grid = case.pixels.shape[:3] if volume else case.pixels.shape[:2]
    frame = rule.frame(grid)
    size = rule.volume_shape[1:] if volume else rule.image_size
    stack = serialize(case, depth=rule.volume_shape[0], size=size, window=rule.window)
    wanted = (frame.width, frame.height)
    return [
        picture
        if picture.shape[1::-1] == wanted
        else np.asarray(Image.fromarray(picture).resize(wanted, Image.Resampling.BICUBIC))
        for picture in stack.slices
    ]


def model_masks(loaded: Loaded, frame: Frame) -> dict[str, NDArray[np.uint8]]:
    """The masks of an image on the grid of its model frame.

    A model pixel belongs to a structure if the canonical pixel at its centre does; a structure that no centre hits keeps every model
    pixel it touches.

    Args:
        loaded: An image with its masks.
        frame: Its model frame.

    Returns:
        Structure name to uint8 (H, W) of 0 and 255, names in alphabetical order; structures without a pixel are left out.
    """
    out: dict[str, NDArray[np.uint8]] = {}
    for layer in loaded.layers:
        for name, mask in _structures(layer):
            drawn = _drawn(mask, frame)
            if drawn.any():
                out[name] = np.maximum(out[name], drawn) if name in out else drawn
    return {name: out[name] for name in sorted(out)}


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture (H, W) or (H, W, 3) as a PNG file; equal pictures give equal bytes."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, format="PNG")
    return stream.getvalue()


def from_png(data: bytes, frame: Frame) -> NDArray[np.uint8]:
    """The pixels of an embedded picture.

    Raises:
        FormatError: If it is no PNG file, or has another size than the model frame (checked before it is decoded).
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.size != (frame.width, frame.height) or picture.mode not in ("L", "RGB"):
                raise FormatError(
                    f"an embedded picture has {picture.size[0]} x {picture.size[1]} pixels of mode {picture.mode}",
                    f"{frame.width} x {frame.height}, grey or RGB",
                    "build the data set again",
                )
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise FormatError(f"an embedded picture cannot be read ({error})", "a PNG file", "build the data set again") from error


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

    def __init__(self, source: Source) -> None:
        self._source = source
        self._items = iter(source.items())
        self._item: Item | None = None
        self._loaded: Loaded | None = None

    def load(self, case: CaseRecord) -> Loaded:
        """The item of a case in memory; for a slice of a volume that slice alone.

        Raises:
            UniReasonError: If the source lacks the item, or it cannot be read.
        """
        if self._item is None or self._item.id != case.item:
            self._item, self._loaded = self._find(case), None
        if self._loaded is None:
            self._loaded = self._source.load(self._item)
        if case.slice < 0:
            return self._loaded
        from unireason.data.extract.slices import axial

        return axial(self._loaded, case.slice)

    def _find(self, case: CaseRecord) -> Item:
        for _ in range(2):  # once from here to the end, once from the start
            for item in self._items:
                if isinstance(item, Item) and item.id == case.item:
                    return item
            self._items = iter(self._source.items())
        raise ImageReadError(
            f"the source has no item {case.item!r}", "the source that the data set was built from", "check --root"
        )


def _embedded(case: CaseRecord, samples: tuple[SampleRecord, ...], images: tuple[ImageRecord, ...]) -> Entry:
    """A case with its embedded pictures."""
    slices = [image.slice for image in images]
    if slices != list(range(case.scene.frame.depth)):
        raise FormatError(
            f"case {case.scene.case} has the embedded slices {slices[:8]}",
            f"0 to {case.scene.frame.depth - 1} in order",
            "build the data set again",
        )
    masks = dict(zip(images[0].mask_names, images[0].masks, strict=True)) if case.scene.kind == "image" else {}
    return Entry(case, samples, tuple(image.png for image in images), masks)


def _structures(layer: Layer) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for value, name in sorted(layer.names.items()):
        yield readable(name), layer.labels == value


def _drawn(mask: NDArray[np.bool_], frame: Frame) -> NDArray[np.uint8]:
    """A mask (Y, X) on the model grid, 0 and 255."""
    (rows, columns), (height, width) = mask.shape, (frame.height, frame.width)
    y = ((2 * np.arange(height) + 1) * rows) // (2 * height)
    x = ((2 * np.arange(width) + 1) * columns) // (2 * width)
    drawn = mask[np.ix_(y, x)].astype(np.uint8) * np.uint8(255)
    if drawn.any():
        return drawn
    for row, column in np.argwhere(mask):
        top, bottom = row * height // rows, -(-(row + 1) * height // rows)
        left, right = column * width // columns, -(-(column + 1) * width // columns)
        drawn[top:bottom, left:right] = 255
    return drawn
