"""Shape of one mask: centre of mass, main axes, connected components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .boxes import Block

Mask = NDArray[np.bool_]
_AT_ONCE = 2**22  # voxels counted at once: numpy widens them to 64 bit
_SWEEPS = 50


def moments(mask: Mask, steps: Sequence[float]) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    """Centre of mass and scatter of a mask whose voxels are filled boxes.

    Sums of indices are exact, so the result does not depend on the order of addition.

    Args:
        mask: (z, y, x) or (y, x) with at least one voxel.
        steps: Voxel size along x, y[, z].

    Returns:
        The centre (x, y[, z]) in continuous indices of the mask (voxel ``n`` covers ``[n, n + 1)``), and the covariance matrix
        along x, y[, z] in squared units of ``steps``; every voxel adds its own ``step^2 / 12``.
    """
    n = mask.ndim
    index = [np.arange(size, dtype=float) for size in mask.shape]
    first, second = [0] * n, [[0] * n for _ in range(n)]
    total = 0
    for a, b in combinations(range(n), 2):
        rest = tuple(axis for axis in range(n) if axis not in (a, b))
        plane = mask.sum(axis=rest, dtype=np.int32).astype(float) if rest else mask.astype(float)
        along_a, along_b = plane.sum(axis=1), plane.sum(axis=0)
        total = int(along_a.sum())
        first[a], first[b] = int(along_a @ index[a]), int(along_b @ index[b])
        second[a][a], second[b][b] = int(along_a @ index[a] ** 2), int(along_b @ index[b] ** 2)
        second[a][b] = second[b][a] = int(index[a] @ (plane @ index[b]))
    order = range(n - 1, -1, -1)
    scatter = np.array([[(total * second[a][b] - first[a] * first[b]) / total**2 for b in order] for a in order])
    size = np.array(steps, float)
    return tuple(first[a] / total + 0.5 for a in order), scatter * np.outer(size, size) + np.diag(size**2 / 12)


def main_axes(scatter: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Eigenvalues of a symmetric 2 x 2 or 3 x 3 matrix, largest first, and their unit vectors.

    Jacobi's rotations in plain arithmetic: the same digits on every machine, which a linear algebra library does not promise. Of
    equal eigenvalues the earlier axis comes first; vectors point to where their largest component is positive.

    Source: Golub and Van Loan, Matrix Computations, 4th edition, section 8.5.
    """
    a = [[float(v) for v in row] for row in scatter]
    n = len(a)
    vectors = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(_SWEEPS):
        if all(abs(a[p][q]) <= 1e-14 * (abs(a[p][p]) + abs(a[q][q])) for p, q in combinations(range(n), 2)):
            break
        for p, q in combinations(range(n), 2):
            _rotate(a, vectors, p, q)
    order = sorted(range(n), key=lambda i: -a[i][i])
    columns = [[vectors[row][i] for row in range(n)] for i in order]
    signed = (tuple(-v for v in c) if max(c, key=abs) < 0 else tuple(c) for c in columns)
    return tuple(a[i][i] for i in order), tuple(signed)


def _rotate(a: list[list[float]], vectors: list[list[float]], p: int, q: int) -> None:
    """One rotation that makes ``a[p][q]`` vanish."""
    if a[p][q] == 0.0:
        return
    theta = (a[q][q] - a[p][p]) / (2 * a[p][q])
    t = (1.0 if theta >= 0 else -1.0) / (abs(theta) + math.sqrt(theta * theta + 1))
    c = 1 / math.sqrt(t * t + 1)
    s = t * c
    for row in a:
        row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]
    a[p], a[q] = (
        [c * x - s * y for x, y in zip(a[p], a[q], strict=True)],
        [s * x + c * y for x, y in zip(a[p], a[q], strict=True)],
    )
    for row in vectors:
        row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]


def elongation(scatter: NDArray[np.float64]) -> float:
    """Longest over shortest main axis (square roots of the eigenvalues), at least 1, four decimals."""
    values, _ = main_axes(scatter)
    return round(math.sqrt(values[0] / values[-1]), 4)


def components(mask: Mask, most: int) -> tuple[list[tuple[Block, int]], NDArray[np.int64]]:
    """Connected components (8 neighbours in an image, 26 in a volume), largest first, ties in index order.

    Args:
        mask: (z, y, x) or (y, x), tight: it reaches every side of its array.
        most: How many are described, at least 1.

    Returns:
        Tight block inside the mask and voxel count of the ``most`` largest, and the voxel counts of all, largest first. Both are
        empty for an empty mask.
    """
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim, bool))
    if count == 1:
        all_of_it = int(np.count_nonzero(mask))
        return [(tuple(slice(0, n) for n in mask.shape), all_of_it)], np.array([all_of_it])
    voxels = _counts(labels, count)
    order = np.argsort(-voxels, kind="stable")
    blocks = ndimage.find_objects(labels, max_label=count) if count else []
    return [(blocks[i], int(voxels[i])) for i in order[:most]], voxels[order]


def _counts(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Voxels of labels 1 to ``count``, a few slices at a time to bound the memory."""
    total = np.zeros(count + 1, np.int64)
    rows = max(1, _AT_ONCE * len(labels) // max(1, labels.size))
    for start in range(0, len(labels), rows):
        total += np.bincount(labels[start : start + rows].ravel(), minlength=count + 1)
    return total[1:]
