"""A key-value cache that grows in place.

The library's cache copies everything it holds whenever a token is added. This one writes into a buffer that doubles when full,
can be cut back to a prefix at no cost, and can drop slots that nobody will look at again.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_ROOM = 256  # slots of a new buffer beyond what is needed at once


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer: ``keys`` and ``values`` are views (1, heads, slots, d) of larger buffers."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make empty buffers for tensors like these."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = [_empty(t, t.shape[2] + _ROOM) for t in (key_states, value_states)]
        self.keys, self.values = (b[:, :, :0] for b in self._buffers)
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Add slots (1, heads, n, d) behind the last; returns all keys and values."""
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old, new = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        for i, states in enumerate((key_states, value_states)):
            if new > self._buffers[i].shape[2]:
                larger = _empty(states, max(new + _ROOM, 2 * old))
                larger[:, :, :old] = self._buffers[i][:, :, :old]
                self._buffers[i] = larger
            self._buffers[i][:, :, old:new] = states
        self.cut(new)
        return self.keys, self.values

    def cut(self, slots: int) -> None:
        """Show the first slots of the buffers only."""
        self.keys, self.values = (b[:, :, :slots] for b in self._buffers)

    def keep(self, start: int, kept: torch.Tensor) -> None:
        """Of the slots from ``start`` on keep those with these numbers (int64, rising, counted from ``start``)."""
        for buffer, shown in zip(self._buffers, (self.keys, self.values), strict=True):
            buffer[:, :, start : start + len(kept)] = shown[:, :, start:].index_select(2, kept)
        self.cut(start + len(kept))


class GrowingCache(Cache):  # type: ignore[misc]
    """The cache of all layers of a network, for one row."""

    def __init__(self, layers: int) -> None:
        """An empty cache for so many layers."""
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])

    def cut(self, slots: int) -> None:
        """Forget all but the first slots."""
        for layer in self.layers:
            layer.cut(slots)

    def keep(self, start: int, kept: torch.Tensor) -> None:
        """Of the slots from ``start`` on keep those with these numbers (see ``GrowingLayer.keep``)."""
        for layer in self.layers:
            layer.keep(start, kept)


def _empty(like: torch.Tensor, slots: int) -> torch.Tensor:
    return torch.empty((*like.shape[:2], slots, like.shape[3]), dtype=like.dtype, device=like.device)
