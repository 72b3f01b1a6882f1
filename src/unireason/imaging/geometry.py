"""Exact maps between the model frame, the canonical array, the file's own index space and the patient.

Indices are continuous and voxel ``n`` covers ``[n, n + 1)`` in every index space, so a half-open integer box is its own
extent and all three index spaces differ by a factor, a permutation and a mirror only. The patient's millimetres follow from
the affine at voxel centres: ``world = affine_lps . (u - 0.5)``.

This file knows nothing about files or pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import GeometryError
from unireason.types import Affine, Box, Box2D, Box3D, Frame, Geometry

Point = tuple[float, ...]
Coords = Sequence[float] | Box


def canonical_axes(affine_lps: Affine) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which source axis lies nearest to each LPS axis, and whether it runs against it.

    The assignment with the largest sum of absolute direction cosines wins; of equals, the first in index order.

    Args:
        affine_lps: (4, 4) source index to LPS millimetres, with three independent columns.

    Returns:
        ``order`` and ``flips`` as in `Geometry`: for x, y, z in turn the source axis and True if it must be mirrored.

    Raises:
        GeometryError: If the columns are not finite or not independent.
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
    """Geometry of a volume from its own sizes and affine.

    Args:
        source_shape: Sizes along the file's index axes (i, j, k).
        affine_lps: (4, 4) source index to LPS millimetres. None leaves axes as they are: x = i, y = j, z = k.
        spacing_mm: Voxel sizes along i, j, k; used only without an affine.

    Returns:
        The geometry whose canonical axes lie nearest to L, P, S.

    Raises:
        GeometryError: If the affine is degenerate.
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
    """View an array given in the file's index order along the canonical axes.

    Args:
        array: Axes slowest first: (k, j, i) for a volume, (y, x[, channel]) for an image.
        geometry: Whose ``order`` and ``flips`` apply.

    Returns:
        A view, (Z, Y, X) or (Y, X[, channel]).
    """
    n = len(geometry.order)
    axes = [n - 1 - axis for axis in reversed(geometry.order)]
    view = array.transpose(*axes, *range(n, array.ndim))
    return view[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(geometry.flips))]


def to_source(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """View a canonical array (a mask, say) in the file's own index order: the inverse of `to_canonical`.

    Args:
        array: (Z, Y, X) or (Y, X[, channel]).
        geometry: Whose ``order`` and ``flips`` are undone.

    Returns:
        A view with axes slowest first: (k, j, i), or (y, x[, channel]).
    """
    n = len(geometry.order)
    view = array[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(geometry.flips))]
    axes = [n - 1 - axis for axis in reversed(geometry.order)]
    return view.transpose(*(axes.index(axis) for axis in range(n)), *range(n, array.ndim))


def canonical_to_voxel(point: Sequence[float], geometry: Geometry) -> Point:
    """Canonical continuous index (x, y[, z]) to the file's index (i, j[, k]).

    Args:
        point: 2 numbers for an image, 3 for a volume.
        geometry: Of the case.

    Returns:
        The same place in the file's own index order.

    Raises:
        GeometryError: If the count of numbers is wrong.
    """
    _count(point, len(geometry.order))
    voxel = [0.0] * len(point)
    for value, axis, flip in zip(point, geometry.order, geometry.flips, strict=True):
        voxel[axis] = geometry.source_shape[axis] - value if flip else float(value)
    return tuple(voxel)


def voxel_to_canonical(point: Sequence[float], geometry: Geometry) -> Point:
    """The file's continuous index (i, j[, k]) to the canonical one (x, y[, z]).

    Args:
        point: 2 numbers for an image, 3 for a volume.
        geometry: Of the case.

    Returns:
        The same place along the canonical axes.

    Raises:
        GeometryError: If the count of numbers is wrong.
    """
    _count(point, len(geometry.order))
    return tuple(
        geometry.source_shape[axis] - point[axis] if flip else float(point[axis])
        for axis, flip in zip(geometry.order, geometry.flips, strict=True)
    )


def canonical_box_to_voxel(box: Coords, geometry: Geometry) -> Point:
    """A canonical box in the file's own index space.

    Args:
        box: (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2), canonical continuous indices.
        geometry: Of the case.

    Returns:
        (x1, y1, x2, y2) in source pixels or (i1, j1, k1, i2, j2, k2), lower corner first on every axis.

    Raises:
        GeometryError: If box and geometry differ in dimension.
    """
    low, high = _corners(box, len(geometry.order))
    return _ordered(canonical_to_voxel(low, geometry), canonical_to_voxel(high, geometry))


def model_to_canonical(point: Sequence[float], frame: Frame, geometry: Geometry) -> Point:
    """A place of the model frame along the canonical axes.

    Args:
        point: (x, y) in model pixels, in a volume (x, y, z) with z in model slices.
        frame: The model frame.
        geometry: Of the case.

    Returns:
        The same place as canonical continuous index.

    Raises:
        GeometryError: If the count of numbers is wrong, or the frame is empty.
    """
    _count(point, len(geometry.order))
    return tuple(float(v * f) for v, f in zip(point, _factors(frame, geometry), strict=True))


def model_to_voxel(box: Coords, frame: Frame, geometry: Geometry) -> Point:
    """A box of the model frame in the file's own index space.

    Args:
        box: (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2) in model pixels and slices, half-open.
        frame: The model frame.
        geometry: Of the case.

    Returns:
        (x1, y1, x2, y2) in source pixels or (i1, j1, k1, i2, j2, k2), continuous, lower corner first on every axis.

    Raises:
        GeometryError: If box, frame and geometry differ in dimension, or the frame is empty.
    """
    corners = _corners(box, len(geometry.order))
    low, high = (model_to_canonical(corner, frame, geometry) for corner in corners)
    return canonical_box_to_voxel((*low, *high), geometry)


def voxel_to_model(box_voxel: Coords, frame: Frame, geometry: Geometry) -> Point:
    """A box of the file's index space in the model frame: the inverse of `model_to_voxel`.

    Args:
        box_voxel: (x1, y1, x2, y2) or (i1, j1, k1, i2, j2, k2), continuous half-open.
        frame: The model frame.
        geometry: Of the case.

    Returns:
        (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2) in model pixels and slices, not rounded.

    Raises:
        GeometryError: If box, frame and geometry differ in dimension, or the frame is empty.
    """
    low, high = _corners(box_voxel, len(geometry.order))
    factors = _factors(frame, geometry)
    ends = [tuple(v / f for v, f in zip(voxel_to_canonical(corner, geometry), factors, strict=True)) for corner in (low, high)]
    return _ordered(*ends)


def voxel_to_world(point: Sequence[float], geometry: Geometry) -> Point:
    """Patient position of a continuous source index.

    Args:
        point: (i, j, k), or (x, y) of an image, which stands for the middle of its plane.
        geometry: Of the case.

    Returns:
        (x, y, z) in LPS millimetres.

    Raises:
        GeometryError: If the case has no affine or the count of numbers is wrong.
    """
    _count(point, len(geometry.order))
    index = np.array([*point, 0.5][:3], float) - 0.5
    affine = _affine(geometry)
    return tuple(float(v) for v in affine[:3, :3] @ index + affine[:3, 3])


def world_to_voxel(point_mm: Sequence[float], geometry: Geometry) -> Point:
    """Continuous source index of a patient position: the inverse of `voxel_to_world`.

    Args:
        point_mm: (x, y, z) in LPS millimetres.
        geometry: Of the case.

    Returns:
        (i, j, k); for an image (x, y), the foot of the point on its plane.

    Raises:
        GeometryError: If the case has no affine or there are not three numbers.
    """
    _count(point_mm, 3)
    affine = _affine(geometry)
    index = np.linalg.solve(affine[:3, :3], np.asarray(point_mm, float) - affine[:3, 3]) + 0.5
    return tuple(float(v) for v in index[: len(geometry.order)])


def voxel_to_world_bounds(box_voxel: Coords, geometry: Geometry) -> Point | None:
    """Axis-aligned patient bounds of a box: the extremes of its eight corners.

    An image is taken as one slice thick, index [0, 1) along its normal.

    Args:
        box_voxel: (x1, y1, x2, y2) or (i1, j1, k1, i2, j2, k2), continuous half-open.
        geometry: Of the case.

    Returns:
        (x1, y1, z1, x2, y2, z2) in LPS millimetres; None if the case has no affine.

    Raises:
        GeometryError: If the box has another dimension than the case.
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
