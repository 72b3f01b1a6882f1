"""The item of a case, found again in the source of its data set."""

from __future__ import annotations

from pathlib import Path

from unireason.core.errors import UniReasonError

from .dataset import Dataset
from .item import CaseSource, Item, Loaded
from .regions import axial


class CaseReader:
    """Items of a source by identifier, found in one pass as long as they are asked for in order; the last one stays loaded."""

    def __init__(self, source: CaseSource) -> None:
        self._source = source
        self._items = iter(source.items())
        self._loaded: Loaded | None = None

    def load(self, identifier: str) -> Loaded | None:
        """An item with its masks, or None if the source has no such item.

        Raises:
            UniReasonError: If it cannot be read, or the source as a whole cannot be used.
        """
        if self._loaded is None or self._loaded.item.id != identifier:
            self._loaded = None
            item = self.find(identifier)
            self._loaded = None if item is None else self._source.load(item)
        return self._loaded

    def find(self, identifier: str) -> Item | None:
        """An item, not loaded; None if there is none."""
        for _ in range(2):  # once from here to the end, once from the start
            for item in self._items:
                if isinstance(item, Item) and item.id == identifier:
                    return item
            self._items = iter(self._source.items())
        return None


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
            self._reader = CaseReader(self._dataset.source(self._root))
        if case not in self._places:
            raise UniReasonError(f"the data set '{self._dataset.folder.name}' has no case {case!r}", "one of its cases")
        item, index, sha256 = self._places[case]
        loaded = self._reader.load(item)
        if loaded is None:
            raise UniReasonError(f"the source has no item {item!r}", "the source of the data set")
        if sha256 and loaded.case.source.sha256 != sha256:
            raise UniReasonError(f"the file of {item} has changed", "the one that the data set was built from", "build it again")
        return loaded if index < 0 else axial(loaded, index)
