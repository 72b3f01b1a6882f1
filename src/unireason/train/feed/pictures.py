"""Pictures of one data set in any order: those embedded in it, or those made from the files of its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.embedded import Embedded
from unireason.data.extract.slices import axial
from unireason.data.frames import FrameRule
from unireason.data.item import Item, Loaded, Source
from unireason.data.layouts.entries import pixels
from unireason.data.pictures import model_pictures, model_stack
from unireason.errors import FormatError, ImageReadError, UniReasonError
from unireason.files import json_text
from unireason.types import Frame, Stack

Pictures = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pictures of a case come from.

    Attributes:
        dataset: Number of its data set, from 0.
        case: Its identifier there.
        item: Item of the source.
        slice: Canonical slice of the item's volume, -1 for the whole item.
        sha256: Hash of the file that the data set was built from; "" where there was none.
    """

    dataset: int
    case: str
    item: str
    slice: int
    sha256: str


class Shelf:
    """The pictures of a data set. Files are listed and looked through when they are first needed.

    Attributes:
        embedded: True if the data set holds its pictures.
    """

    def __init__(self, dataset: Dataset, rule: FrameRule, root: Path | None) -> None:
        """Nothing is read yet.

        Args:
            dataset: The data set.
            rule: Its frame rule.
            root: Folder of its source; None takes the place where it lay when the data set was built.

        Raises:
            FormatError: If the manifest lacks the hash of the content.
        """
        self._dataset, self._rule, self._root = dataset, rule, root
        self.embedded = bool(dataset.files("images"))
        content = dataset.manifest.get("content_sha256")
        if not isinstance(content, str) or not content:
            raise FormatError(f"{MANIFEST} does not tell content_sha256", "the file that the builder wrote", "build it again")
        self._content = content
        self._stored = Embedded(dataset.files("images"))
        self._source: Source | None = None
        self._items: dict[str, Item] = {}
        self._expected: dict[str, list[Place]] = {}
        self._looked_for = 0

    def expect(self, places: Iterable[Place]) -> None:
        """Tell which cases may be asked for, so that their items are found in one pass over the source."""
        for place in places:
            self._expected.setdefault(place.item, []).append(place)

    def key(self, place: Place) -> str:
        """What the pictures of a case depend on, as text."""
        return f"pictures/1 {self._content} {place.case} {json_text(self._rule.to_json(), sort_keys=True)}"

    def stored(self, place: Place, frame: Frame) -> Pictures:
        """The embedded pictures of a case.

        Args:
            place: The case.
            frame: Its model frame.

        Raises:
            FormatError: If they are missing, out of order or damaged.
        """
        found = self._stored.columns(place.case, "png")["png"]
        if len(found) != frame.depth:
            raise FormatError(f"{len(found)} pictures of {place.case}", f"{frame.depth}", "build the data set again")
        return tuple(pixels(data, frame) for data in found)

    def made(self, place: Place, *, siblings: bool) -> Iterator[tuple[Place, Pictures]]:
        """The pictures of a case, made from its source.

        Args:
            place: The case.
            siblings: True to go on with all other expected cases of the same item, now that it is in memory; those that cannot be
                made are left out.

        Raises:
            UniReasonError: If the source cannot be opened, lacks the item or cannot read it, or the file is another one.
        """
        loaded = self._load(place)
        yield place, self._shown(loaded, place)
        for other in self._expected.get(place.item, ()) if siblings else ():
            if other.case != place.case:
                try:
                    yield other, self._shown(loaded, other)
                except UniReasonError:
                    continue  # told when that case is asked for

    def loaded(self, place: Place) -> Loaded:
        """A case with its masks, read from the source.

        Raises:
            UniReasonError: If the source cannot be opened, lacks the item or cannot read it, or the file is another one.
        """
        return _part(self._load(place), place)

    def stack(self, place: Place) -> Stack:
        """A case as serialised, read from the source.

        Raises:
            UniReasonError: As for :meth:`loaded`.
        """
        return model_stack(self.loaded(place).case, self._rule)

    def _load(self, place: Place) -> Loaded:
        """The whole item of a case."""
        if self._source is None:
            self._source = self._dataset.source(self._root)
        return self._source.load(self._item(place))

    def _shown(self, loaded: Loaded, place: Place) -> Pictures:
        return tuple(model_pictures(_part(loaded, place).case, self._rule))

    def _item(self, place: Place) -> Item:
        """The item of a case; the source is listed again only if more cases are expected than when that was done."""
        self._expected.setdefault(place.item, [place])
        if place.item not in self._items and self._looked_for < len(self._expected):
            assert self._source is not None
            self._items = {i.id: i for i in self._source.items() if isinstance(i, Item) and i.id in self._expected}
            self._looked_for = len(self._expected)
        if place.item not in self._items:
            raise ImageReadError(
                f"the source has no item {place.item!r}", "the source of the data set", "give its folder as a root"
            )
        return self._items[place.item]


def _part(loaded: Loaded, place: Place) -> Loaded:
    """What a case is of its item.

    Raises:
        ImageReadError: If the file has changed since the data set was built.
    """
    if place.sha256 and loaded.case.source.sha256 != place.sha256:
        raise ImageReadError("the file of the source has changed", "the one that the data set was built from", "build it again")
    return loaded if place.slice < 0 else axial(loaded, place.slice)
