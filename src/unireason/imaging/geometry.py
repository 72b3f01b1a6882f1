"""Exact maps between the model frame, the canonical array, the file's own index space and the patient.

Indices are continuous and voxel ``n`` covers ``[n, n + 1)`` in every index space, so a half-open integer box is its own
extent and all three index spaces differ by a factor, a permutation and a mirror only. The patient's millimetres follow from
the affine at voxel centres: ``world = affine_lps . (u - 0.5)``.

Every map takes and gives 2 numbers (a box 4, lower corner first) for an image and 3 (6) for a volume; x, y, z along the canonical
axes, i, j, k in the file's own order. Another count, an empty model frame, or a case without the affine that is needed is a
GeometryError. This file knows nothing about files or pixels.

Source: DICOM PS3.3 C.7.6.2 (Image Plane Module): row and column directions, position of the first pixel's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import GeometryError
from unireason.core.types import Affine, Box, Box2D, Box3D, Frame, Geometry

Point = tuple[float, ...]
Coords = Sequence[float] | Box


def canonical_axes(affine_lps: Affine) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which source axis lies nearest to each LPS axis (x, y, z in turn), and whether it must be mirrored: ``order`` and ``flips``.

    The assignment with the largest sum of absolute direction cosines wins; of equals, the first in index order.
    """
    directions = np.asarray(affine_lps, float)[:3, :3]
    sound = bool((np.abs(affine_lps) < 1e12).all())
    lengths = np.linalg.norm(directions if sound else np.zeros((3, 3)), axis=0)
    if not (lengths > 0).all():
        raise GeometryError("the affine has a zero or non-finite axis", "three axes of finite length", "repair the header")
    cosines = directions / lengths
    if abs(np.linalg.det(cosines)) < 1e-4:
        raise GeometryError("two axes of the affine are parallel", "three independent axes", "repair the header")
    order = max(permutations(range(3)), key=lambda p: sum(abs(cosines[axis, column]) for axis, column in enumerate(p)))
    return order, tuple(bool(cosines[axis, column] < 0) for axis, column in enumerate(order))


def volume_geometry(
    source_shape: Sequence[int], affine_lps: Affine | None, spacing_mm: Sequence[float] | None = None
) -> Geometry:
    """Geometry of a volume whose canonical axes lie nearest to L, P, S, from its sizes (i, j, k) and its affine.

    Without an affine axes stay as they are, x = i, y = j, z = k, and ``spacing_mm`` tells the voxel sizes along them.
    """
    sizes = tuple(int(n) for n in source_shape)
    if affine_lps is None:
        order: tuple[int, ...] = (0, 1, 2)
        flips: tuple[bool, ...] = (False, False, False)
        steps = None if spacing_mm is None else tuple(float(s) for s in spacing_mm)
    else:
        affine_lps = np.asarray(affine_lps, np.float64)
        order, flips = canonical_axes(affine_lps)
        steps = tuple(float(s) for s in np.linalg.norm(affine_lps[:3, :3], axis=0))
    return Geometry(
        shape=tuple(sizes[axis] for axis in reversed(order)),
        source_shape=sizes,
        order=order,
        flips=flips,
        affine_lps=affine_lps,
        spacing_mm=None if steps is None else tuple(steps[axis] for axis in order),
    )


def to_canonical(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """View an array in file order, (k, j, i) or (y, x[, channel]), along the canonical axes: (Z, Y, X) or (Y, X[, channel])."""
    n = len(geometry.order)
    axes = [n - 1 - axis for axis in reversed(geometry.order)]
    view = array.transpose(*axes, *range(n, array.ndim))
    return view[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(geometry.flips))]


def to_source(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """View a canonical array, such as a mask, in the file's own order, slowest axis first: the inverse of `to_canonical`."""
    n = len(geometry.order)
    view = array[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(geometry.flips))]
    axes = [n - 1 - axis for axis in reversed(geometry.order)]
    return view.transpose(*(axes.index(axis) for axis in range(n)), *range(n, array.ndim))


def canonical_to_voxel(point: Sequence[float], geometry: Geometry) -> Point:
    """Canonical continuous index (x, y[, z]) to the file's index (i, j[, k])."""
    _count(point, len(geometry.order))
    voxel = [0.0] * len(point)
    for value, axis, flip in zip(point, geometry.order, geometry.flips, strict=True):
        voxel[axis] = geometry.source_shape[axis] - value if flip else float(value)
    return tuple(voxel)


def voxel_to_canonical(point: Sequence[float], geometry: Geometry) -> Point:
    """The file's continuous index (i, j[, k]) to the canonical one (x, y[, z])."""
    _count(point, len(geometry.order))
    return tuple(
        geometry.source_shape[axis] - point[axis] if flip else float(point[axis])
        for axis, flip in zip(geometry.order, geometry.flips, strict=True)
    )


def canonical_box_to_voxel(box: Coords, geometry: Geometry) -> Point:
    """A canonical box in the file's own index space: source pixels, or i, j, k."""
    low, high = _corners(box, len(geometry.order))
    return _ordered(canonical_to_voxel(low, geometry), canonical_to_voxel(high, geometry))


def model_to_canonical(point: Sequence[float], frame: Frame, geometry: Geometry) -> Point:
    """A place of the model frame (model pixels; z in model slices) as canonical continuous index."""
    _count(point, len(geometry.order))
    return tuple(float(v * f) for v, f in zip(point, _factors(frame, geometry), strict=True))


def model_to_voxel(box: Coords, frame: Frame, geometry: Geometry) -> Point:
    """A half-open box of the model frame (pixels and slices) in the file's own continuous index space."""
    corners = _corners(box, len(geometry.order))
    low, high = (model_to_canonical(corner, frame, geometry) for corner in corners)
    return canonical_box_to_voxel((*low, *high), geometry)


def voxel_to_model(box_voxel: Coords, frame: Frame, geometry: Geometry) -> Point:
    """A box of the file's index space in the model frame, not rounded: the inverse of `model_to_voxel`."""
    low, high = _corners(box_voxel, len(geometry.order))
    factors = _factors(frame, geometry)
    ends = [tuple(v / f for v, f in zip(voxel_to_canonical(corner, geometry), factors, strict=True)) for corner in (low, high)]
    return _ordered(*ends)


def voxel_to_world(point: Sequence[float], geometry: Geometry) -> Point:
    """Patient position (x, y, z), LPS millimetres, of a continuous source index; (x, y) of an image is the middle of its plane."""
    _count(point, len(geometry.order))
    index = np.array([*point, 0.5][:3], float) - 0.5
    affine = _affine(geometry)
    return tuple(float(v) for v in affine[:3, :3] @ index + affine[:3, 3])


def world_to_voxel(point_mm: Sequence[float], geometry: Geometry) -> Point:
    """Continuous source index of a patient position (x, y, z) in LPS millimetres; for an image the foot of the point on its plane."""
    _count(point_mm, 3)
    affine = _affine(geometry)
    index = np.linalg.solve(affine[:3, :3], np.asarray(point_mm, float) - affine[:3, 3]) + 0.5
    return tuple(float(v) for v in index[: len(geometry.order)])


def voxel_to_world_bounds(box_voxel: Coords, geometry: Geometry) -> Point | None:
    """Axis-aligned patient bounds (x1, y1, z1, x2, y2, z2) in LPS millimetres of the eight corners of a box; None without an affine.

    An image is taken as one slice thick, index [0, 1) along its normal.
    """
    low, high = _corners(box_voxel, len(geometry.order))
    if geometry.affine_lps is None:
        return None
    if len(low) == 2:
        low, high = (*low, 0.0), (*high, 1.0)
    corners = np.array(list(product(*zip(low, high, strict=True)))) - 0.5
    world = corners @ geometry.affine_lps[:3, :3].T + geometry.affine_lps[:3, 3]
    return (*(float(v) for v in world.min(0)), *(float(v) for v in world.max(0)))


def _affine(geometry: Geometry) -> Affine:
    if geometry.affine_lps is None:
        raise GeometryError("this case has no patient coordinates", "a file with an affine", "give voxel coordinates instead")
    return geometry.affine_lps


def _count(values: Sequence[float], expected: int) -> None:
    if len(values) != expected:
        raise GeometryError(f"{len(values)} coordinates were given", f"{expected}")


def _corners(box: Coords, dimensions: int) -> tuple[Point, Point]:
    values = box.coords if isinstance(box, Box2D | Box3D) else tuple(float(v) for v in box)
    _count(values, 2 * dimensions)
    return values[:dimensions], values[dimensions:]


def _factors(frame: Frame, geometry: Geometry) -> tuple[float, ...]:
    """Canonical units in one model unit, along x, y (and z)."""
    sizes = (frame.width, frame.height, frame.depth)[: len(geometry.order)]
    if min(sizes) < 1:
        raise GeometryError(f"the model frame is {frame.width} x {frame.height} x {frame.depth}", "sizes of at least 1")
    return tuple(n / size for n, size in zip(reversed(geometry.shape), sizes, strict=True))


def _ordered(a: Point, b: Point) -> Point:
    return (*(min(p, q) for p, q in zip(a, b, strict=True)), *(max(p, q) for p, q in zip(a, b, strict=True)))


# --- From the planes of a DICOM acquisition to one volume: sorted along the normal and checked for what goes wrong in practice.


_SAME_DIRECTION, _SAME_SPACING_MM = 0.01, 1e-3  # direction cosines and pixel spacings nearer than this are those of one stack
_TILT_DEGREES = 0.2
_UNEVEN = 0.1  # share of the slice distance by which a slice may be off the even grid


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Where one slice lies: LPS centre of its first pixel, unit vectors (3,) along rising column and row index (i and j), and their pixel
    distances; the thickness is 0 if not stored. The name is that of a file or frame, for messages.
    """

    name: str
    position_mm: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float = 0.0

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit vector ``row x column``."""
        return np.cross(self.row, self.column)

    def affine(self, step_mm: NDArray[np.float64]) -> Affine:
        """(4, 4) index (i, j, k) to LPS millimetres, with ``step_mm`` from one slice to the next."""
        affine = np.eye(4)
        affine[:3, 0] = self.row * self.spacing_mm[0]
        affine[:3, 1] = self.column * self.spacing_mm[1]
        affine[:3, 2] = step_mm
        affine[:3, 3] = self.position_mm
        return affine


def plane(name: str, position: Any, orientation: Any, spacing: Any, thickness: Any = None) -> Plane:
    """A plane from DICOM's ImagePositionPatient, ImageOrientationPatient, PixelSpacing (between rows, then columns), SliceThickness.

    Raises:
        GeometryError: If a value is missing, not finite, or the directions are not perpendicular unit vectors.
    """
    where = numbers(position, 3, name, "ImagePositionPatient")
    axes = numbers(orientation, 6, name, "ImageOrientationPatient").reshape(2, 3)
    rows, columns = numbers(spacing, 2, name, "PixelSpacing")
    lengths = np.linalg.norm(axes, axis=1)
    if abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
        raise GeometryError(f"{name} has row and column directions {axes.tolist()}", "perpendicular unit vectors")
    if min(rows, columns) <= 0:
        raise GeometryError(f"{name} has PixelSpacing {rows:g} x {columns:g}", "positive numbers")
    thick = 0.0 if thickness is None else float(thickness)
    axes = axes / lengths[:, None]
    return Plane(name, where, axes[0], axes[1], (float(columns), float(rows)), thick if np.isfinite(thick) and thick > 0 else 0.0)


def numbers(value: Any, count: int, name: str, what: str) -> NDArray[np.float64]:
    """``count`` finite numbers of a DICOM multi-value; a GeometryError if they are missing, more or fewer, or not finite."""
    values = np.atleast_1d(np.array([] if value is None or value == "" else value, float))
    if values.shape != (count,) or not np.isfinite(values).all():
        raise GeometryError(f"{name} has {what} {value}", f"{count} numbers", "read a single file, or convert it to NIfTI")
    return values


def clusters(values: Sequence[float] | NDArray[np.float64], tolerance: float) -> NDArray[np.intp]:
    """Number of the cluster of each value, in ascending order; neighbours within the tolerance are in one.

    Rounding would part values that differ by nothing but noise wherever a bin ends.
    """
    found = np.asarray(values, np.float64)
    order = np.argsort(found, kind="stable")
    labels = np.zeros(len(found), np.intp)
    labels[order[1:]] = np.cumsum(np.diff(found[order]) > tolerance)
    return labels


def grid_keys(planes: Sequence[Plane]) -> list[tuple[int, ...]]:
    """What planes of one stack have in common: equal keys for directions and pixel spacings that are nearly equal."""
    keys = [clusters(column, _SAME_DIRECTION) for column in np.array([[*p.row, *p.column] for p in planes]).T]
    keys += [clusters(column, _SAME_SPACING_MM) for column in np.array([p.spacing_mm for p in planes]).T]
    return [tuple(int(n) for n in row) for row in np.array(keys).T]


def _same_mm(planes: Sequence[Plane]) -> float:
    """Planes nearer than this are at one place: a hundredth of their thickness."""
    thick = min(p.thickness_mm for p in planes)
    return float(np.clip(thick / 100, 0.001, 0.05)) if thick else 0.01


def place_labels(planes: Sequence[Plane]) -> list[int]:
    """For each plane the number of its place along the normal; planes at one place have the same."""
    along = [float(one.position_mm @ planes[0].normal) for one in planes]
    return [int(n) for n in clusters(along, _same_mm(planes))]


def stack_planes(planes: Sequence[Plane]) -> tuple[list[int], Affine, tuple[str, ...]]:
    """Order planes of one orientation along their normal: their indices in slice order, the affine of the stack and notes.

    Copies, missing slices, uneven distances, a tilted gantry and drifting directions or spacings are refused.
    """
    along = np.array([p.position_mm @ planes[0].normal for p in planes])
    order = [int(n) for n in np.argsort(along, kind="stable")]
    first, last = planes[order[0]], planes[order[-1]]
    turn = max(float(np.abs([p.row - first.row, p.column - first.column]).max()) for p in planes)
    zoom = max(abs(a - b) for p in planes for a, b in zip(p.spacing_mm, first.spacing_mm, strict=True))
    if turn > 2 * _SAME_DIRECTION or zoom > 2 * _SAME_SPACING_MM:
        raise GeometryError(
            f"the slices are turned against each other by {np.degrees(turn):.2g} degrees, their pixel spacings differ by {zoom:.2g} mm",
            "one direction and one spacing",
            "read single slices",
        )
    if len(planes) == 1:
        return order, first.affine(first.normal * (first.thickness_mm or 1.0)), ()
    names, along, same_mm = [planes[n].name for n in order], along[order], _same_mm(planes)
    steps = np.diff(along)
    copies = [f"{names[n]} and {names[n + 1]}" for n in np.flatnonzero(steps <= same_mm).tolist()]
    if copies:
        raise GeometryError(
            f"{len(copies)} slices lie where another one lies ({', '.join(copies[:3])})",
            "each position once",
            "keep one of each place",
        )
    usual = float(np.median(steps))
    wide = np.flatnonzero(steps > 1.5 * usual)
    if wide.size:
        missing = int(np.rint(steps[wide] / usual).sum()) - wide.size
        n = int(wide[0])
        raise GeometryError(
            f"slices are missing: {steps[n]:.4g} mm between {names[n]} and {names[n + 1]} where {usual:.4g} mm is usual "
            f"(about {missing} missing in {wide.size} places)",
            "a complete series",
            "copy the missing files, or keep only the slices on one side of the gap",
        )
    grid = along[0] + np.arange(len(along)) * (along[-1] - along[0]) / (len(along) - 1)
    off = float(np.abs(along - grid).max())
    if off > _UNEVEN * usual + 0.02:
        raise GeometryError(
            f"slice distances are uneven ({steps.min():.4g} to {steps.max():.4g} mm)",
            "an even distance",
            "resample the series to even slices, e.g. by converting it to NIfTI with a tool that does so",
        )
    shifts = np.array([planes[n].position_mm for n in order]) - first.position_mm
    along = shifts @ first.normal
    beside = np.linalg.norm(shifts - along[:, None] * first.normal, axis=1)
    worst = int(beside.argmax())
    angle = float(np.degrees(np.arctan2(beside[worst], abs(along[worst]))))
    if angle > _TILT_DEGREES and beside[worst] > 0.2:
        raise GeometryError(
            f"the slices are shifted sideways by {beside[worst]:.3g} mm, {angle:.2g} degrees off their normal (gantry tilt)",
            "slices stacked along their normal",
            "correct the tilt first, e.g. by converting the series with dcm2niix, and read the NIfTI",
        )
    step = (last.position_mm - first.position_mm) / (len(planes) - 1)
    return order, first.affine(step), ()
