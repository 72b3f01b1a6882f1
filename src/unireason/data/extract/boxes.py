"""All boxes of all masks in one pass a layer, and their place in the model frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.data.item import Layer
from unireason.data.names import readable
from unireason.types import Box, Box2D, Box3D, Frame

Block = tuple[slice, ...]  # along (z, y, x) or (y, x)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Where one structure lies.

    Attributes:
        name: Readable name.
        block: Tight block along (z, y, x) or (y, x), canonical indices.
        where: Label maps that hold it, with its values in each.
    """

    name: str
    block: Block
    where: tuple[tuple[NDArray[np.unsignedinteger[Any]], tuple[int, ...]], ...]

    def mask(self, index: Any = None) -> NDArray[np.bool_]:
        """The mask on a part of the canonical grid.

        Args:
            index: What to index the grid with: slices, or open index arrays (``numpy.ix_``). None means the tight block.

        Returns:
            Boolean array of the shape that the index gives.
        """
        index = self.block if index is None else index
        masks = (labels[index] == value for labels, values in self.where for value in values)
        mask: NDArray[np.bool_] = next(masks)
        for more in masks:
            mask |= more
        return mask

    @property
    def corners(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Lower and upper corner, (x, y[, z]), canonical indices, half-open."""
        return corners(self.block)


def corners(block: Block) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lower and upper corner, (x, y[, z]), of a block along (z, y, x) or (y, x)."""
    return tuple(s.start for s in reversed(block)), tuple(s.stop for s in reversed(block))


def find(layers: Sequence[Layer]) -> list[Found]:
    """Finds all named structures; each label map is read once, however many labels it has.

    Args:
        layers: Label maps on one grid. Values that share a readable name, in one layer or in several, are one structure.

    Returns:
        Structures with at least one voxel, by name. Empty for empty maps.
    """
    blocks: dict[str, Block] = {}
    where: dict[str, list[tuple[NDArray[np.unsignedinteger[Any]], tuple[int, ...]]]] = {}
    for layer in layers:
        values: dict[str, list[int]] = {}
        for value, block in _blocks(layer):
            name = readable(layer.names[value])
            values.setdefault(name, []).append(value)
            blocks[name] = _union(blocks[name], block) if name in blocks else block
        for name, found in values.items():
            where.setdefault(name, []).append((layer.labels, tuple(found)))
    return [Found(name, blocks[name], tuple(where[name])) for name in sorted(blocks)]


def _blocks(layer: Layer) -> list[tuple[int, Block]]:
    values = [v for v in layer.names if v > 0]
    if not values or layer.labels.size == 0:
        return []
    if len(values) == 1:
        block = _tight(layer.labels == values[0])
        return [] if block is None else [(values[0], block)]
    tight = ndimage.find_objects(layer.labels, max_label=max(values))
    return [(value, block) for value, block in enumerate(tight, start=1) if block is not None and value in layer.names]


def _tight(mask: NDArray[np.bool_]) -> Block | None:
    """Tight block of one mask: its shadows along the axes, quicker than the general search."""
    block = []
    for axis in range(mask.ndim):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if len(line) == 0:
            return None
        block.append(slice(int(line[0]), int(line[-1]) + 1))
    return tuple(block)


def _union(a: Block, b: Block) -> Block:
    return tuple(slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True))


def model_box(low: NDArray[np.float64], high: NDArray[np.float64], sizes: NDArray[np.float64], frame: Frame) -> Box:
    """Rounds a canonical box to whole pixels of the model frame, at least one a side and inside the frame.

    Args:
        low: Lower corner (x, y[, z]), canonical continuous index.
        high: Upper corner, exclusive.
        sizes: Canonical array sizes (x, y[, z]).
        frame: Target frame.

    Returns:
        Box2D for an image frame, Box3D for a volume frame.
    """
    grid = np.array([frame.width, frame.height, frame.depth][: len(sizes)], float)
    a = np.clip(np.rint(low * grid / sizes), 0, grid - 1).astype(int)
    b = np.clip(np.rint(high * grid / sizes), a + 1, grid).astype(int)
    if frame.kind == "image":
        return Box2D(int(a[0]), int(a[1]), int(b[0]), int(b[1]))
    return Box3D(int(a[0]), int(a[1]), int(a[2]), int(b[0]), int(b[1]), int(b[2]))
