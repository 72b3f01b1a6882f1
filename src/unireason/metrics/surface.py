"""How well the surfaces of two masks agree: the share within a tolerance (NSD), and how far apart nearly all of them lie (HD95).

The surface of a mask runs between the centres of its elements. Every block of 2 x 2 (in space 2 x 2 x 2) neighbouring elements that
lie partly inside holds one piece of it, placed at the middle of the block; its length (area) is that of the marching-squares
(marching-cubes) piece. Distances go from piece to piece, so that voxels of any size and shape are measured in millimetres.
What lies beyond the array is outside.

Written here on SciPy: the package surface-distance 0.1, whose definition this is, fails on an empty mask with NumPy 2 and needs names
that SciPy is about to drop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.errors import FormatError

Corner = tuple[int, ...]
Floats = NDArray[np.float64]

_ROUNDING = 1e-9
# Share of a square face that so many of its corners cover. Two are neighbours: joined by edges elsewhere they would be a group of five.
_SHARES = (0.0, 1 / 8, 1 / 2, 7 / 8, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """Distances between the surfaces of masks a and b.

    Attributes:
        from_a_mm: float64 (n,), from every piece of a's surface to the nearest of b's; empty if a is empty, infinite if only b is.
        sizes_a: float64 (n,), length (mm) or area (mm2) of those pieces.
        from_b_mm: float64 (m,), the other way.
        sizes_b: float64 (m,).
    """

    from_a_mm: Floats
    sizes_a: Floats
    from_b_mm: Floats
    sizes_b: Floats

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface Dice; see :func:`nsd`."""
        if not tolerance_mm >= 0:
            raise FormatError(f"the tolerance {tolerance_mm}", "millimetres, at least 0")
        total = float(self.sizes_a.sum() + self.sizes_b.sum())
        if total == 0:
            return 1.0
        reach = tolerance_mm * (1 + _ROUNDING) + _ROUNDING
        near = self.sizes_a[self.from_a_mm <= reach].sum() + self.sizes_b[self.from_b_mm <= reach].sum()
        return min(1.0, float(near) / total)

    def hausdorff_mm(self, percent: float = 95.0) -> float:
        """Robust Hausdorff distance in millimetres at a percentage in (0, 100]; see :func:`hd95`."""
        if not 0 < percent <= 100:
            raise FormatError(f"{percent} percent", "a number above 0, at most 100")
        return max(_percentile(self.from_a_mm, self.sizes_a, percent), _percentile(self.from_b_mm, self.sizes_b, percent))


def surface_distances(a: NDArray[Any], b: NDArray[Any], *, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two masks, (Y, X) or (Z, Y, X) of one shape; measure once, then read several scores.

    What is not 0 is inside; ``spacing_mm`` is the size of an element along x, y (and z). There are no pieces at all when both
    masks are empty. Other shapes or spacings are a FormatError.

    Source: S. Nikolov et al., arXiv 1809.04430, surface elements of the surface Dice; W. E. Lorensen and H. E. Cline, SIGGRAPH 1987,
    for their areas.
    """
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise FormatError(f"masks of shapes {a.shape} and {b.shape}", "one shape of two or three axes")
    if len(spacing_mm) != a.ndim or not all(0 < s < math.inf for s in spacing_mm):
        raise FormatError(f"the spacing {tuple(spacing_mm)}", f"{a.ndim} positive numbers of millimetres")
    steps: Floats = np.array(spacing_mm[::-1], float)
    block = ndimage.find_objects(((a != 0) | (b != 0)).astype(np.uint8))
    inside: list[NDArray[np.uint8]] = [np.pad((m[block[0]] != 0).astype(np.uint8), 1) for m in (a, b)] if block else []
    if not inside:
        none = np.zeros(0)
        return SurfaceDistances(none, none, none, none)
    (pieces_a, sizes_a), (pieces_b, sizes_b) = (_pieces(m, steps) for m in inside)
    return SurfaceDistances(_to(pieces_b, steps)[pieces_a], sizes_a, _to(pieces_a, steps)[pieces_b], sizes_b)


def nsd(a: NDArray[Any], b: NDArray[Any], *, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Normalised surface Dice: the share of both surfaces that lies no farther than a tolerance from the other one.

    Masks and spacing as for `surface_distances`; 1 when both masks are empty (they agree), 0 when exactly one is.

    Source: S. Nikolov et al., arXiv 1809.04430, surface Dice at a tolerance.
    """
    return surface_distances(a, b, spacing_mm=spacing_mm).nsd(tolerance_mm)


def hd95(a: NDArray[Any], b: NDArray[Any], *, spacing_mm: Sequence[float]) -> float:
    """95th percentile Hausdorff distance in millimetres: the larger of both directions, pieces weighted by their size.

    Masks and spacing as for `surface_distances`; 0 when both masks are empty (they agree), infinite when exactly one is.

    Source: D. P. Huttenlocher et al., IEEE TPAMI 15 (1993) 850, partial distances; weights as in arXiv 1809.04430.
    """
    return surface_distances(a, b, spacing_mm=spacing_mm).hausdorff_mm(95.0)


def _pieces(inside: NDArray[np.uint8], steps: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which blocks of 2 x 2 [x 2] elements hold a piece of the surface, and how large it is, in index order."""
    code: NDArray[np.uint8] = np.zeros([n - 1 for n in inside.shape], np.uint8)
    for bit, corner in enumerate(product((0, 1), repeat=inside.ndim)):
        part = tuple(slice(c, c + n) for c, n in zip(corner, code.shape, strict=True))
        code |= inside[part] << bit
    held: NDArray[np.bool_] = (code != 0) & (code != 2**2**inside.ndim - 1)
    across = np.prod(steps) / steps  # of a face across each axis
    sizes: Floats = np.linalg.norm(_normals(inside.ndim) * across, axis=2).sum(axis=1)
    return held, sizes[code[held]]


def _to(pieces: NDArray[np.bool_], steps: Floats) -> Floats:
    """Distance of every block to the nearest that holds a piece."""
    if not pieces.any():
        return np.full(pieces.shape, math.inf)
    distance: Floats = ndimage.distance_transform_edt(~pieces, sampling=steps)
    return distance


def _percentile(distances: Floats, sizes: Floats, percent: float) -> float:
    """The smallest distance within which that share of a surface lies; 0 for no surface."""
    if not len(distances):
        return 0.0
    order = np.argsort(distances, kind="stable")
    reached = np.cumsum(sizes[order])
    index = np.searchsorted(reached, percent / 100 * reached[-1] * (1 - _ROUNDING))
    return float(distances[order][index])


@lru_cache(maxsize=2)
def _normals(dims: int) -> Floats:
    """For every pattern of inside corners of a unit block: the vector areas of its pieces of surface, (patterns, pieces, axes).

    A piece cuts one connected group of corners off. By the divergence theorem its vector area is what the group covers of the
    block's upper face less what it covers of the lower one, along each axis. The smaller side of the block is taken as inside.
    """
    corners = list(product((0, 1), repeat=dims))
    normals = np.zeros((2 ** len(corners), len(corners) // 2, dims))
    for pattern in range(1, len(normals) - 1):
        inside = [c for bit, c in enumerate(corners) if pattern >> bit & 1]
        smaller = inside if 2 * len(inside) <= len(corners) else [c for c in corners if c not in inside]
        for piece, group in enumerate(_groups(smaller)):
            normals[pattern, piece] = [_covered(group, axis, 1) - _covered(group, axis, 0) for axis in range(dims)]
    return normals


def _groups(corners: Sequence[Corner]) -> list[list[Corner]]:
    """Corners that are joined by edges of the block."""
    groups: list[list[Corner]] = []
    for corner in corners:
        joined = [g for g in groups if any(math.dist(corner, c) == 1 for c in g)]
        groups = [g for g in groups if g not in joined] + [[corner, *(c for g in joined for c in g)]]
    return groups


def _covered(group: Sequence[Corner], axis: int, end: int) -> float:
    """Share of a face of the block that a group of corners covers."""
    face = [c for c in group if c[axis] == end]
    return len(face) / 2 if len(group[0]) == 2 else _SHARES[len(face)]
