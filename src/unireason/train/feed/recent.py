"""What was used last, in memory, bounded in bytes. Several threads may share it."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key; those that were not used for the longest time go first.

    Attributes:
        limit_bytes: Bound on the sizes of all values; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._values: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: str) -> T | None:
        """The value of a key; None if it is not kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: str, value: T, size: int) -> None:
        """Keep a value of so many bytes in place of what was there; one that alone is larger than the bound is not kept."""
        with self._lock:
            self._size -= self._values.pop(key, (None, 0))[1]
            if size > self.limit_bytes:
                return
            self._values[key] = value, size
            self._size += size
            while self._size > self.limit_bytes:
                self._size -= self._values.popitem(last=False)[1][1]
