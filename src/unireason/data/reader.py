"""The item of a case, found again in the source of its data set."""

from __future__ import annotations

from .item import CaseSource, Item, Loaded


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
