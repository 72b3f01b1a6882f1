"""Small drawn masks as loaded items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unireason.core.types import Case, Geometry, Source
from unireason.data.frames import FrameRule
from unireason.data.item import Item, Layer, Loaded
from unireason.imaging.geometry import to_canonical, volume_geometry

OBLIQUE_DEGREES = 20.0


def same_size(shape: Sequence[int]) -> FrameRule:
    """A frame rule under which a picture of this shape has model pixels of its own size."""
    sides = tuple(shape[-2:])
    volume = (shape[0], *sides) if len(shape) == 3 else (1, *sides)
    return FrameRule("drawn", volume, sides, 1, 1, 1 << 30, "127.5,255")


def loaded(
    *maps: tuple[np.ndarray, Mapping[int, str]],
    pixels: np.ndarray | None = None,
    geometry: Geometry | None = None,
    spacing: tuple[float, ...] | None = None,
    **item: Any,
) -> Loaded:
    """Label maps on one canonical grid with an image (zeros unless given)."""
    shape = maps[0][0].shape
    n = len(shape)
    geometry = geometry or Geometry(shape, shape[::-1], tuple(range(n)), (False,) * n, None, spacing)
    names = tuple(sorted({name for _, m in maps for name in m.values()}))
    values = {"annotated": names, "masks": (), "image": "drawn", "patient": "p1", "id": "i1"} | item
    kind = "volume" if n == 3 else "image"
    pixels = np.zeros(shape, np.uint8) if pixels is None else pixels
    case = Case(pixels, kind, geometry, "", Source("drawn", "drawn", ""))
    return Loaded(Item(kind=kind, **values), case, tuple(Layer(labels, m) for labels, m in maps))


def stored(labels: np.ndarray, names: Mapping[int, str], *, axes: str, turn: np.ndarray | None = None) -> Loaded:
    """The same anatomy (canonical (Z, Y, X) of LPS axes, 2 x 3 x 5 mm) as a file of other axes would give it.

    Args:
        labels: Canonical label map; 2 mm along x, 3 along y, 5 along z.
        names: Its names.
        axes: What the file's i, j, k run towards, e.g. "RAS", "PIR".
        turn: (3, 3) rotation of the whole patient, none if None.
    """
    where = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    spacing = np.array([2.0, 3.0, 5.0])
    sizes = labels.shape[::-1]
    affine = np.eye(4)
    for column, letter in enumerate(axes):
        axis, sign = where[letter]
        affine[:3, column] = 0
        affine[axis, column] = sign * spacing[axis]
        if sign < 0:
            affine[axis, 3] = (sizes[axis] - 1) * spacing[axis]
    if turn is not None:
        affine[:3] = turn @ affine[:3]
    source_sizes = [sizes[where[letter][0]] for letter in axes]
    geometry = volume_geometry(source_sizes, affine)
    file_array = labels.transpose(2, 1, 0)[tuple(slice(None, None, where[a][1]) for a in "LPS")]
    file_array = file_array.transpose([where[letter][0] for letter in axes])
    for column, letter in enumerate(axes):
        if where[letter][1] < 0:
            file_array = np.flip(file_array, column)
    in_file_order = np.ascontiguousarray(file_array.transpose(2, 1, 0))
    canonical = to_canonical(in_file_order, geometry)
    pixels = to_canonical((in_file_order * 10).astype(np.int16), geometry)
    return loaded((canonical, names), geometry=geometry, pixels=pixels)


def turned(degrees: float = OBLIQUE_DEGREES) -> np.ndarray:
    """Rotation about the z axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
