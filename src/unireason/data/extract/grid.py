"""The grid of one case: from canonical indices to the model frame, to the file, to millimetres and to directions.

Directions are the patient's for volumes with an affine and for axial images with an affine as they are usually shown (x to the
patient's left, y to the back). Coronal, sagittal, turned (prone, say) and plain pictures have picture directions, because the
scene's axes would mean something else there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unireason.data.frames import FrameRule
from unireason.data.item import Loaded
from unireason.data.scene import Space
from unireason.errors import GeometryError
from unireason.imaging.geometry import canonical_to_voxel
from unireason.types import Box, Case, Frame, Geometry

from . import boxes

MIDLINE = 0.02
"""Dead zone: a centre within 2% of the picture's width from its middle lies on the midline."""

_PATIENT = (("right", "left"), ("anterior", "posterior"), ("inferior", "superior"))
_PICTURE = (("left", "right"), ("top", "bottom"), ("first slice", "last slice"))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Everything about a case but its pixels.

    Attributes:
        geometry: Of the case.
        frame: Its model frame.
        sizes: Canonical sizes (x, y[, z]).
        spacing_mm: Along x, y[, z]; None if unknown.
        space: In which terms directions hold.
        turn: One canonical step along x, y[, z] in the scene's directions: a column each, millimetres or pixels.
    """

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

    def model_box(self, block: boxes.Block) -> Box:
        """The model box of a block along (z, y, x) or (y, x)."""
        low, high = boxes.corners(block)
        return boxes.model_box(np.array(low, float), np.array(high, float), np.array(self.sizes, float), self.frame)

    def voxel_box(self, block: boxes.Block) -> tuple[int, ...]:
        """The block in the file's own index order, half-open."""
        ends = [canonical_to_voxel(corner, self.geometry) for corner in boxes.corners(block)]
        return (*(int(min(p)) for p in zip(*ends, strict=True)), *(int(max(p)) for p in zip(*ends, strict=True)))

    def centre(self, place: Sequence[float]) -> tuple[float, ...]:
        """A canonical place (x, y[, z]) relative to the middle of the picture, along the scene's directions."""
        offset = np.array(place, float) - np.array(self.sizes, float) / 2
        return tuple(round(float((row * offset).sum()), 6) + 0.0 for row in self.turn)

    def side(self, centre: Sequence[float]) -> str:
        """ "left", "right" or "midline" (see MIDLINE) in patient terms; "" where there are none."""
        if self.space == "picture":
            return ""
        if abs(centre[0]) <= MIDLINE * self.extent[0]:
            return "midline"
        return "left" if centre[0] > 0 else "right"

    def borders(self, block: boxes.Block) -> tuple[str, ...]:
        """Names of the picture's borders that a tight block touches, along x, y, z in turn."""
        low, high = boxes.corners(block)
        names = _PATIENT if self.space == "patient" else _PICTURE
        touched = [(a == 0, b == n) for a, b, n in zip(low, high, self.sizes, strict=True)]
        return tuple(
            name for pair, ends in zip(touched, names, strict=False) for name, hit in zip(ends, pair, strict=True) if hit
        )


def grid_of(loaded: Loaded, rule: FrameRule) -> Grid:
    """The grid of a loaded item.

    Args:
        loaded: Its case gives geometry; where that has no spacing, the item's is taken.
        rule: The frame rule of the data set.

    Raises:
        FormatError: If the sides of the picture differ too much for the model frame.
        GeometryError: If the spacing is not positive or lacks an axis.
    """
    geometry = loaded.case.geometry
    dimensions = len(geometry.shape)
    spacing = _checked(geometry.spacing_mm or loaded.item.spacing_mm, dimensions)
    world = _world_steps(geometry)
    space: Space = "patient" if world is not None and _upright(loaded.case, world) else "picture"
    if space == "patient" and world is not None:
        turn = world[:dimensions]
        spacing = spacing or tuple(float(s) for s in np.sqrt((world**2).sum(axis=0)))
    else:
        turn = np.diag(spacing or (1.0,) * dimensions)
    return Grid(geometry, rule.frame(geometry.shape), tuple(reversed(geometry.shape)), spacing, space, turn)


def _checked(spacing: tuple[float, ...] | None, dimensions: int) -> tuple[float, ...] | None:
    if spacing is None:
        return None
    steps = tuple(float(s) for s in spacing[:dimensions])
    if len(steps) < dimensions or not all(0 < s < np.inf for s in steps):
        raise GeometryError(f"the spacing is {spacing}", f"{dimensions} positive numbers of millimetres")
    return steps


def _world_steps(geometry: Geometry) -> NDArray[np.float64] | None:
    """(3, 2 or 3): LPS millimetres of one step along each canonical axis; None without an affine."""
    if geometry.affine_lps is None:
        return None
    signs = np.where(geometry.flips, -1.0, 1.0)
    steps: NDArray[np.float64] = np.asarray(geometry.affine_lps, float)[:3, list(geometry.order)] * signs
    return steps


def _upright(case: Case, world: NDArray[np.float64]) -> bool:
    """True if canonical x runs mainly to the patient's left and y mainly to the back; always so for a volume."""
    if case.kind == "volume":
        return True
    main = np.abs(world).argmax(axis=0)
    return tuple(main) == (0, 1) and world[0, 0] > 0 and world[1, 1] > 0


def steady(value: float) -> float:
    """Nine significant digits: what remains equal whichever way a machine adds."""
    return float(f"{value:.9g}")
