"""All boxes of all masks in one pass a layer, and their place in the model frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.errors import GeometryError
from unireason.core.types import Box, Box2D, Box3D, Case, Frame, Geometry
from unireason.imaging.geometry import canonical_to_voxel

from .frames import FrameRule
from .item import Layer, Loaded
from .names import is_lesion, readable
from .scene import Space

Block = tuple[slice, ...]  # along (z, y, x) or (y, x)


@dataclass(frozen=True, slots=True, eq=False)
class BoxFound:
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
        """The mask on a part of the canonical grid: slices, or open index arrays (``numpy.ix_``); None means the tight block."""
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


def find(layers: Sequence[Layer]) -> list[BoxFound]:
    """All structures with a voxel, by name; each label map is read once. Values that share a readable name are one structure."""
    blocks: dict[str, Block] = {}
    where: dict[str, list[tuple[NDArray[np.unsignedinteger[Any]], tuple[int, ...]]]] = {}
    for layer in layers:
        values: dict[str, list[int]] = {}
        for value, block in _blocks(layer):
            name = readable(layer.names[value])
            values.setdefault(name, []).append(value)
            both = zip(blocks.get(name, block), block, strict=True)
            blocks[name] = tuple(slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in both)
        for name, found in values.items():
            where.setdefault(name, []).append((layer.labels, tuple(found)))
    return [BoxFound(name, blocks[name], tuple(where[name])) for name in sorted(blocks)]


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


# --- The grid of one case: from canonical indices to the model frame, to the file, to millimetres and to directions.

_PATIENT = (("right", "left"), ("anterior", "posterior"), ("inferior", "superior"))
_PICTURE = (("left", "right"), ("top", "bottom"), ("first slice", "last slice"))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Everything about a case but its pixels."""

    geometry: Geometry
    frame: Frame
    sizes: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    space: Space
    turn: NDArray[np.float64]

    @property
    def steps(self) -> tuple[float, ...]:
        """Voxel size along x, y[, z], 1 where unknown."""
        return self.spacing_mm or (1.0,) * len(self.sizes)

    @property
    def extent(self) -> tuple[float, ...]:
        """Size of the picture along x, y[, z] in millimetres or pixels."""
        return tuple(n * s for n, s in zip(self.sizes, self.steps, strict=True))

    @property
    def unit(self) -> str:
        """ "mm3" or "mm2", "pixels" where the spacing is unknown."""
        return "pixels" if self.spacing_mm is None else f"mm{len(self.sizes)}"

    @property
    def model_sizes(self) -> tuple[int, ...]:
        """Model frame along x, y[, z]."""
        return (self.frame.width, self.frame.height, self.frame.depth)[: len(self.sizes)]

    @property
    def model_steps(self) -> tuple[float, ...]:
        """Size of a model pixel along x, y[, z] in millimetres or canonical pixels."""
        return tuple(e / m for e, m in zip(self.extent, self.model_sizes, strict=True))

    def measure(self, voxels: int) -> float:
        """Area or volume of so many voxels."""
        return steady(voxels * float(np.prod(self.steps)))

    def model_voxels(self, voxels: int) -> float:
        """How many model pixels or voxels so many voxels fill."""
        return voxels * float(np.prod(self.model_sizes)) / float(np.prod(self.sizes))

    def model_box(self, block: Block) -> Box:
        """The model box of a block along (z, y, x) or (y, x)."""
        low, high = corners(block)
        return model_box(np.array(low, float), np.array(high, float), np.array(self.sizes, float), self.frame)

    def voxel_box(self, block: Block) -> tuple[int, ...]:
        """The block in the file's own index order, half-open."""
        ends = [canonical_to_voxel(corner, self.geometry) for corner in corners(block)]
        return (*(int(min(p)) for p in zip(*ends, strict=True)), *(int(max(p)) for p in zip(*ends, strict=True)))

    def centre(self, place: Sequence[float]) -> tuple[float, ...]:
        """A canonical place (x, y[, z]) relative to the middle of the picture, along the scene's directions."""
        offset = np.array(place, float) - np.array(self.sizes, float) / 2
        return tuple(round(float((row * offset).sum()), 6) + 0.0 for row in self.turn)

    def borders(self, block: Block) -> tuple[str, ...]:
        """Names of the picture's borders that a tight block touches, along x, y, z in turn."""
        low, high = corners(block)
        names = _PATIENT if self.space == "patient" else _PICTURE
        touched = [(a == 0, b == n) for a, b, n in zip(low, high, self.sizes, strict=True)]
        return tuple(
            name for pair, ends in zip(touched, names, strict=False) for name, hit in zip(ends, pair, strict=True) if hit
        )


def grid_of(loaded: Loaded, rule: FrameRule) -> Grid:
    """The grid of a loaded item."""
    geometry = loaded.case.geometry
    dimensions = len(geometry.shape)
    spacing = geometry.spacing_mm or loaded.item.spacing_mm
    if spacing is not None:
        steps = tuple(float(s) for s in spacing[:dimensions])
        if len(steps) < dimensions or not all(0 < s < np.inf for s in steps):
            raise GeometryError(f"the spacing is {spacing}", f"{dimensions} positive numbers of millimetres")
        spacing = steps
    space: Space = "picture"
    if geometry.affine_lps is not None:
        # (3, 2 or 3): LPS millimetres of one step along each canonical axis.
        signs = np.where(geometry.flips, -1.0, 1.0)
        world: NDArray[np.float64] = np.asarray(geometry.affine_lps, float)[:3, list(geometry.order)] * signs
        # An image stands upright if x runs mainly to the patient's left and y mainly to the back; a volume always does.
        upright = tuple(np.abs(world).argmax(axis=0)) == (0, 1) and world[0, 0] > 0 and world[1, 1] > 0
        space = "patient" if loaded.case.kind == "volume" or upright else "picture"
    if space == "patient":
        turn = world[:dimensions]
        spacing = spacing or tuple(float(s) for s in np.sqrt((world**2).sum(axis=0)))
    else:
        turn = np.diag(spacing or (1.0,) * dimensions)
    return Grid(geometry, rule.frame(geometry.shape), tuple(reversed(geometry.shape)), spacing, space, turn)


def steady(value: float) -> float:
    """Nine significant digits: what remains equal whichever way a machine adds."""
    return float(f"{value:.9g}")


# --- Axial slices of volumes as images that keep their place in the patient.

VISIBLE = 0.0005
"""A structure counts for a slice if it fills at least this share of it."""
LESION = 2.0
"""What a lesion adds to the one that every structure counts."""


def busy(loaded: Loaded, count: int, rng: np.random.Generator) -> list[int]:
    """Draws canonical slices in favour of those that show many structures."""
    depth, height, width = _volume_shape(loaded.case)
    shown, weight = np.zeros(depth), np.zeros(depth)
    for layer in loaded.layers:
        highest = max(layer.names, default=0)
        lesions = np.array([LESION * is_lesion(readable(layer.names.get(v, ""))) for v in range(highest + 1)])
        named = np.array([v > 0 and v in layer.names for v in range(highest + 1)])
        for k, plane in enumerate(layer.labels):
            pixels = np.bincount(plane.ravel(), minlength=highest + 1)[: highest + 1]
            seen = named & (pixels >= max(1, VISIBLE * height * width))
            shown[k] += seen.sum()
            weight[k] += (seen * (1 + lesions)).sum()
    weight[shown < max(1, min(3, int(shown.max(initial=0))))] = 0
    pick = min(count, int(np.count_nonzero(weight)))
    if pick < 1:
        return []
    return sorted(int(k) for k in rng.choice(depth, size=pick, replace=False, p=weight / weight.sum()))


def axial(loaded: Loaded, k: int) -> Loaded:
    """One canonical slice of a volume with its masks, as an image (see :func:`picture`).

    Args:
        loaded: A volume with its masks.
        k: Canonical slice, 0 at the feet.

    Returns:
        The image with the masks of this slice; empty masks stay, names too. The item keeps its identifier.

    Raises:
        GeometryError: If the case is an image or has no such slice.
    """
    shown, item = picture(loaded.case, k), loaded.item
    spacing = None if item.spacing_mm is None else item.spacing_mm[:2]
    layers = tuple(Layer(np.ascontiguousarray(layer.labels[k]), layer.names) for layer in loaded.layers)
    return Loaded(replace(item, kind="image", spacing_mm=spacing), shown, layers)


def picture(volume: Case, k: int) -> Case:
    """One canonical slice of a volume as an image.

    Its file plane is made of the volume's two index axes that lie in the slice, in the file's order: the voxel boxes of the image
    count in them, and its affine places them in the patient, the third column stepping to the next slice.

    Args:
        volume: A volume.
        k: Canonical slice, 0 at the feet.

    Returns:
        The image, (Y, X); pixels are copied.

    Raises:
        GeometryError: If the case is an image or has no such slice.
    """
    depth, _, _ = _volume_shape(volume)
    if not 0 <= k < depth:
        raise GeometryError(f"slice {k} was asked for", f"0 to {depth - 1}")
    name = f"{volume.source.name}-{k:03d}"
    return Case(
        pixels=np.ascontiguousarray(volume.pixels[k]),
        kind="image",
        geometry=slice_geometry(volume.geometry, k),
        modality=volume.modality,
        source=replace(volume.source, name=name),
        window=volume.window,
        notes=(*volume.notes, f"slice {k} of a volume"),
    )


def slice_geometry(geometry: Geometry, k: int) -> Geometry:
    """Geometry of canonical slice ``k`` of a volume; see :func:`picture`."""
    through = geometry.order[2]
    plane = sorted(geometry.order[:2])
    affine = None
    if geometry.affine_lps is not None:
        flip = geometry.flips[2]
        index = np.zeros(4)
        index[through], index[3] = (geometry.source_shape[through] - 1 - k if flip else k), 1
        step = geometry.affine_lps[:, through] * (-1 if flip else 1)
        affine = np.stack([*(geometry.affine_lps[:, axis] for axis in plane), step, geometry.affine_lps @ index], axis=1)
    return Geometry(
        shape=geometry.shape[1:],
        source_shape=tuple(geometry.source_shape[axis] for axis in plane),
        order=tuple(plane.index(axis) for axis in geometry.order[:2]),
        flips=geometry.flips[:2],
        affine_lps=affine,
        spacing_mm=None if geometry.spacing_mm is None else geometry.spacing_mm[:2],
    )


def _volume_shape(case: Case) -> tuple[int, int, int]:
    if case.kind != "volume":
        raise GeometryError("slices were asked of an image", "a volume", "use the image as it is")
    depth, height, width = case.geometry.shape
    return depth, height, width
