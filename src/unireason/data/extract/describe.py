"""Masks become a scene: the one place where structures are measured for questions.

Structures are called unclear, and not described, if questions about them would be unfair or their boxes could not be looked into:

* fewer than 24 model pixels (images) or 16 model voxels (volumes);
* a side of the model box below 4 pixels in x or y, the least that a look cuts out;
* a sliver: the tight box touches a border of the picture and reaches inwards less than 2% of the picture or less than 2 pixels or
  slices (pictures of at most 4 pixels or slices along that axis left aside);
* fewer than two pixels left where the model frame samples the mask.

Borders of pictures without patient directions are "left", "right", "top", "bottom", and for volumes "first slice" and "last slice".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data.frames import FrameRule
from unireason.data.item import Loaded, check_masks
from unireason.data.names import readable
from unireason.data.scene import Part, Scene, Structure
from unireason.grounding.crop import MIN_SIDE
from unireason.types import Box, Box3D

from . import shape
from .boxes import Block, Found, corners, find
from .contrast import contrast, grey_levels
from .grid import Grid, grid_of
from .keypoints import key_points
from .neighbours import neighbours

SMALLEST = {"image": 24, "volume": 16}
"""Least model pixels of a structure in an image, model voxels in a volume."""
SLIVER = 0.02
"""Least share of the picture that a structure at its border must reach inwards."""
MOST_PARTS = 32
"""How many components are listed."""
SPECK = 0.01
"""Components below this share of the structure are not counted."""

Mask = NDArray[np.bool_]


def describe(loaded: Loaded, rule: FrameRule, *, case: str, patient: str | None = None) -> Scene:
    """Everything that questions may know about one image or volume.

    Args:
        loaded: Case and masks on its canonical grid.
        rule: Frame rule of the data set; its window gives the grey levels for contrasts.
        case: Identifier of the case in the data set.
        patient: Patient identifier; None takes the item's.

    Returns:
        The scene. Empty masks give no structures; every annotated name without a voxel is absent.

    Raises:
        ImageReadError: If a mask has another grid than the image.
        FormatError: If the picture fits no model frame, or the window cannot be used.
        GeometryError: If the spacing is not positive or lacks an axis.
    """
    for number, layer in enumerate(loaded.layers):
        check_masks(loaded.case, layer.labels, f"layer {number}")
    grid = grid_of(loaded, rule)
    found = find(loaded.layers)
    clear = {f.name: (f, sample) for f in found if (sample := _clear_sample(f, grid)) is not None}
    near = neighbours([f for f, _ in clear.values()], grid.steps)
    grey = grey_levels(loaded.case, rule.window) if clear else None
    structures = {
        name: _structure(f, grid, sample=sample, near=near[name], grey=grey) for name, (f, sample) in sorted(clear.items())
    }
    present = {f.name for f in found}
    return Scene(
        case=case,
        patient=loaded.item.patient if patient is None else patient,
        kind=loaded.case.kind,
        modality=loaded.case.modality or loaded.item.modality,
        frame=grid.frame,
        shape=loaded.case.geometry.shape,
        spacing_mm=grid.spacing_mm,
        extent=grid.extent,
        space=grid.space,
        unit=grid.unit,
        structures=structures,
        absent=tuple(sorted({readable(n) for n in loaded.item.annotated} - present)),
        unclear=tuple(sorted(present - set(structures))),
    )


def _clear_sample(found: Found, grid: Grid) -> Mask | None:
    """The mask as the model frame samples it inside its model box, or None if the structure is unclear."""
    box = grid.model_box(found.block)
    low, high = _corners(box)
    if min(b - a for a, b in zip(low[:2], high[:2], strict=True)) < MIN_SIDE or _is_sliver(found.block, grid.sizes):
        return None
    if grid.model_voxels(int(np.count_nonzero(found.mask()))) < SMALLEST[grid.frame.kind]:
        return None
    sample = found.mask(_nearest(low, high, grid))
    return sample if np.count_nonzero(sample) >= 2 else None


def _is_sliver(block: Block, sizes: tuple[int, ...]) -> bool:
    for side, size in zip(reversed(block), sizes, strict=True):
        at_border = side.start == 0 or side.stop == size
        if size > 4 and at_border and side.stop - side.start < max(2, SLIVER * size):
            return True
    return False


def _nearest(low: tuple[int, ...], high: tuple[int, ...], grid: Grid) -> tuple[Any, ...]:
    """Canonical pixels under the centres of the model pixels of a box, as an index along (z, y, x) or (y, x)."""
    axes = list(zip(low, high, grid.sizes, grid.model_sizes, strict=True))[::-1]
    if all(n == m for _, _, n, m in axes):
        return tuple(slice(a, b) for a, b, _, _ in axes)
    return np.ix_(*((2 * np.arange(a, b) + 1) * n // (2 * m) for a, b, n, m in axes))


def _structure(found: Found, grid: Grid, *, sample: Mask, near: tuple[str, ...], grey: NDArray[np.uint8] | None) -> Structure:
    """Measures one structure; its mask lives no longer than this call."""
    mask = found.mask()
    low, high = found.corners
    box = grid.model_box(found.block)
    place, scatter = shape.moments(mask, grid.steps)
    centre = grid.centre([p + a for p, a in zip(place, low, strict=True)])
    pieces, counts = shape.components(mask, MOST_PARTS)
    voxels = int(counts.sum())
    return Structure(
        name=found.name,
        box_canonical=(*low, *high),
        box_voxel=grid.voxel_box(found.block),
        box_model=box,
        voxels=voxels,
        measure=grid.measure(voxels),
        centre=centre,
        side=grid.side(centre),
        parts=tuple(_part(_shifted(block, found.block), n, grid) for block, n in pieces),
        part_count=int(np.count_nonzero(counts >= SPECK * voxels)),
        neighbours=near,
        slices=_slices(box),
        borders=grid.borders(found.block),
        contrast=0.0 if grey is None else contrast(grey, found),
        elongation=shape.elongation(scatter),
        points=key_points(sample, _corners(box)[0], grid.model_steps),
    )


def _part(block: Block, voxels: int, grid: Grid) -> Part:
    low, high = corners(block)
    return Part((*low, *high), grid.model_box(block), grid.measure(voxels), voxels)


def _shifted(block: Block, outer: Block) -> Block:
    """A block inside another one, in the indices of the whole grid."""
    return tuple(slice(o.start + b.start, o.start + b.stop) for b, o in zip(block, outer, strict=True))


def _slices(box: Box) -> tuple[int, int]:
    """Model slices of a box, so that words about slices and the box beside them agree."""
    return (int(box.z1), int(box.z2)) if isinstance(box, Box3D) else (0, 1)


def _corners(box: Box) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lower and upper corner (x, y[, z]) of a model box."""
    numbers = tuple(int(v) for v in box.coords)
    return numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
