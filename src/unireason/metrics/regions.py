"""What can be measured of a region: how much there is, how long it is, where it lies, how bright it is."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.types import Case, Geometry


class Intensity(TypedDict):
    """Values inside a region, None if there are none: mean, sd (with the count as divisor), min and max."""

    mean: float | None
    sd: float | None
    min: float | None
    max: float | None


class RegionStatistics(Intensity):
    """Plain JSON values; None stands for what cannot be told.

    voxels: Voxels (pixels of an image) inside.
    volume_ml: Volume in millilitres; None for an image or without a known voxel size.
    area_mm2: Area in square millimetres; None for a volume or without a known pixel size.
    diameter_mm: Largest in-plane diameter in millimetres, see `region_statistics`; None without a known voxel size.
    diameter_voxels: The same counted in voxels, each a unit square.
    diameter_slice: Canonical slice with the largest ``diameter_mm`` (``diameter_voxels`` where it is None); None for an image.
    extent_mm: Lengths along canonical x, y (and z), from the first to the last voxel inclusive.
    extent_voxels: The same counted in voxels.
    centroid: Mean place of the voxels, canonical continuous (x, y[, z]): a single voxel ``n`` has ``n + 0.5``.
    """

    voxels: int
    volume_ml: float | None
    area_mm2: float | None
    diameter_mm: float | None
    diameter_voxels: float
    diameter_slice: int | None
    extent_mm: list[float] | None
    extent_voxels: list[int]
    centroid: list[float] | None


def region_statistics(mask: NDArray[np.bool_], case: Case) -> RegionStatistics:
    """Measure a region of a case.

    The diameter is the longest straight line within one canonical slice (axial, or nearest to it) between two points of the region's
    border, wherever they lie; it may leave the region in between. The border runs half-way between a voxel inside and its neighbour
    outside, so one square pixel is one pixel wide and a run of n is n pixels long. Lengths and volume follow the axes of the affine,
    sheared or not.

    Args:
        mask: bool, of ``case.geometry.shape``: (Z, Y, X) or (Y, X).
        case: With values and, where known, voxel sizes.

    Returns:
        The statistics. An empty mask has size and lengths 0, and None for place, slice and values. Values that are not finite are left
        out; if none is left, they are None.

    Raises:
        FormatError: If the mask is not bool or has another shape.

    Source: the diameter is "Maximum 2D diameter (slice)" of J. J. M. van Griethuysen et al., Cancer Research 77 (2017) e104, without
        its smoothed mesh.
    """
    if mask.dtype != np.bool_ or mask.shape != case.geometry.shape:
        raise FormatError(f"a mask of type {mask.dtype} and shape {mask.shape}", f"bool and {case.geometry.shape}")
    count = int(np.count_nonzero(mask))
    dims = mask.ndim
    axes = _axes_mm(case.geometry)
    # The area of a pixel or the volume of a voxel follows from its edges.
    size = None if axes is None else count * float(np.sqrt(max(np.linalg.det(axes @ axes.T), 0.0)))
    window = _window(mask)
    extent = [s.stop - s.start for s in reversed(window)]
    places = zip(reversed(np.nonzero(mask[window])), reversed(window), strict=True)
    centroid = [float(p.mean() + s.start + 0.5) for p, s in places] if count else None
    diameter_voxels, at = _diameter(mask[window], np.eye(2))
    diameter_mm, at = (None, at) if axes is None else _diameter(mask[window], axes[:2])
    steps = None if axes is None else np.linalg.norm(axes, axis=1)
    return {
        "voxels": count,
        "volume_ml": None if size is None or dims == 2 else size / 1000.0,
        "area_mm2": None if size is None or dims == 3 else size,
        "diameter_mm": diameter_mm,
        "diameter_voxels": diameter_voxels,
        "diameter_slice": at + window[0].start if dims == 3 and count else None,
        "extent_mm": None if steps is None else [float(n * step) for n, step in zip(extent, steps, strict=True)],
        "extent_voxels": extent,
        "centroid": centroid,
        **_intensity(case.pixels[window], mask[window]),
    }


def _axes_mm(geometry: Geometry) -> NDArray[np.float64] | None:
    """(n, 3) steps from one voxel to the next along canonical x, y (and z) in millimetres, up to their sign; None if unknown."""
    n = len(geometry.order)
    if geometry.affine_lps is not None:
        columns = geometry.affine_lps[:3, :3].T[list(geometry.order)]
        signs = np.where(geometry.flips, -1.0, 1.0)[:, None]
        steps: NDArray[np.float64] = columns * signs
        return steps
    return None if geometry.spacing_mm is None else np.diag([*geometry.spacing_mm, 0.0][:3])[:n]


def _window(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest slices around what is inside; empty ones for nothing."""
    result = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        result.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0))
    return tuple(result)


def _diameter(mask: NDArray[np.bool_], axes: NDArray[np.float64]) -> tuple[float, int]:
    """Longest in-plane line and the index of its slice; ``axes`` are the steps of a pixel along x and y."""
    best, at = 0.0, 0
    for z, plane in enumerate(mask if mask.ndim == 3 else mask[None]):
        length = _longest(plane, axes)
        if length > best:
            best, at = length, z
    return best, at


def _longest(plane: NDArray[np.bool_], axes: NDArray[np.float64]) -> float:
    """Longest line between border points of one plane; 0 if it is empty."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not rows.size:
        return 0.0
    left, top = plane[rows].argmax(axis=1), plane[:, columns].argmax(axis=0)
    right = plane.shape[1] - plane[rows, ::-1].argmax(axis=1)
    bottom = plane.shape[0] - plane[::-1, columns].argmax(axis=0)
    ends = [(left, rows + 0.5), (right, rows + 0.5), (columns + 0.5, top), (columns + 0.5, bottom)]
    points = np.concatenate([np.stack([x, y], axis=1) for x, y in ends])
    hull = points[ConvexHull(points).vertices]
    return float(pdist(hull @ axes).max())


def _intensity(pixels: NDArray[Any], mask: NDArray[np.bool_]) -> Intensity:
    values = pixels[mask].astype(np.float64)
    values = values.mean(axis=1) if values.ndim == 2 else values
    values = values[np.isfinite(values)]
    if not values.size:
        return {"mean": None, "sd": None, "min": None, "max": None}
    return {"mean": float(values.mean()), "sd": float(values.std()), "min": float(values.min()), "max": float(values.max())}
