"""The item of a case, found again in the source of its data set, and what the case is of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from unireason.core.errors import ImageReadError, UniReasonError

from .dataset import Dataset
from .item import CaseSource, Item, Loaded, Skipped
from .regions import axial


class CaseReader:
    """Items of a source by identifier: in one pass as long as they are asked for in order, or are expected beforehand."""

    def __init__(self, source: CaseSource, expected: Iterable[str] = ()) -> None:
        self._source, self._expected = source, set(expected)
        self._items: Iterator[Item | Skipped] | None = None  # the pass that is going on
        self._whole = True  # whether that pass looks for all that is expected
        self._found: dict[str, Item] = {}
        self._lacking: set[str] = set()
        self._loaded: Loaded | None = None

    def expect(self, identifiers: Iterable[str]) -> None:
        """Tell what may be asked for in any order: such items are kept when they come by."""
        new = set(identifiers) - self._expected
        self._expected |= new
        self._whole = self._whole and not new

    def find(self, identifier: str) -> Item | None:
        """An item, not loaded; None if there is none."""
        for _ in range(2):  # once from here to the end, once from the start
            if identifier in self._found or identifier in self._lacking:
                return self._found.get(identifier)
            self._items = self._items or iter(self._source.items())
            for item in self._items:
                if isinstance(item, Item):
                    if item.id in self._expected:
                        self._found[item.id] = item
                    if item.id == identifier:
                        return item
            if self._whole:
                self._lacking |= self._expected - self._found.keys()
            self._items, self._whole = None, True
        self._lacking.add(identifier)
        return None

    def item(self, identifier: str) -> Item:
        """The same, but it must be there."""
        found = self.find(identifier)
        if found is None:
            raise ImageReadError(
                f"the source has no item {identifier!r}", "the source of the data set", "give its folder with --root"
            )
        return found

    def load(self, identifier: str, slice_index: int = -1, sha256: str = "") -> Loaded:
        """What a case is of an item, see :func:`part`; the item stays loaded until another one is asked for."""
        if self._loaded is None or self._loaded.item.id != identifier:
            self._loaded = None  # two of them may not fit
            self._loaded = self._source.load(self.item(identifier))
        return part(self._loaded, slice_index, sha256)


def part(loaded: Loaded, slice_index: int, sha256: str) -> Loaded:
    """A whole item, or one axial slice of it if that is not -1.

    Raises:
        ImageReadError: If its file is not the one of which the hash is given.
    """
    if sha256 and loaded.case.source.sha256 != sha256:
        came = f"the file of {loaded.item.id} has changed in the source"
        raise ImageReadError(came, "the one that the data set was built from", "build it again")
    return loaded if slice_index < 0 else axial(loaded, slice_index)


class DatasetReader:
    """Cases of a data set by name, with their masks; in the order of the data set its source is gone through once."""

    def __init__(self, dataset: Dataset, root: Path | None = None) -> None:
        self._dataset, self._root = dataset, root
        self._reader: CaseReader | None = None
        self._places: dict[str, tuple[str, int, str]] = {}

    def load(self, case: str) -> Loaded:
        """A case: a whole item, or a slice of one.

        Raises:
            UniReasonError: If there is no such case or item, the item cannot be read, or its file has changed.
        """
        if self._reader is None:
            self._places = {r.scene.case: (r.item, r.slice, r.sha256) for r in self._dataset.cases()}
            self._reader = CaseReader(self._dataset.source(self._root), (item for item, _, _ in self._places.values()))
        if case not in self._places:
            raise UniReasonError(f"the data set '{self._dataset.folder.name}' has no case {case!r}", "one of its cases")
        item, index, sha256 = self._places[case]
        return self._reader.load(item, index, sha256)
