"""From the planes of a DICOM acquisition to one volume: sorted along the normal and checked for what goes wrong in practice.

Source: DICOM PS3.3 C.7.6.2 (Image Plane Module): row and column directions, position of the first pixel's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import GeometryError
from unireason.types import Affine

_SAME_DIRECTION, _SAME_SPACING_MM = 0.01, 1e-3  # direction cosines and pixel spacings nearer than this are those of one stack
_TILT_DEGREES = 0.2
_UNEVEN = 0.1  # share of the slice distance by which a slice may be off the even grid


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Where one slice lies.

    Attributes:
        name: File or frame, for messages.
        position_mm: (3,) LPS centre of the first pixel.
        row: (3,) unit vector along increasing column index (i).
        column: (3,) unit vector along increasing row index (j).
        spacing_mm: Pixel distance along i and j.
        thickness_mm: Slice thickness; 0 if not stored.
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
    """A plane from DICOM values.

    Args:
        name: File or frame, for messages.
        position: ImagePositionPatient, three numbers.
        orientation: ImageOrientationPatient, six numbers.
        spacing: PixelSpacing: distance between rows, then between columns.
        thickness: SliceThickness or None.

    Returns:
        The plane.

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
    """``count`` finite numbers.

    Args:
        value: A DICOM multi-value, or None.
        count: How many there must be.
        name: File or frame, for the message.
        what: Keyword, for the message.

    Returns:
        (count,) array.

    Raises:
        GeometryError: If they are missing, more or fewer, or not finite.
    """
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
    """Order planes along their normal and check that they make one regular volume.

    Args:
        planes: At least one, of one orientation.

    Returns:
        Indices into ``planes`` in slice order, the affine (4, 4) of the stack to LPS millimetres, and notes.

    Raises:
        GeometryError: If planes are copies of each other, a slice is missing, distances are uneven, the gantry was tilted, or
            directions or pixel spacings drift from plane to plane.
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
    _check_distances([planes[n].name for n in order], along[order], _same_mm(planes))
    _check_tilt(planes[order[0]], [planes[n] for n in order])
    step = (last.position_mm - first.position_mm) / (len(planes) - 1)
    return order, first.affine(step), ()


def _check_distances(names: Sequence[str], along: NDArray[np.float64], same_mm: float) -> None:
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


def _check_tilt(first: Plane, planes: Sequence[Plane]) -> None:
    shifts = np.array([p.position_mm for p in planes]) - first.position_mm
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
