"""Masks are laid onto the grid of their image by what both files say about the patient, not by the order of their bytes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data.item import check_masks
from unireason.errors import GeometryError, ImageReadError
from unireason.imaging.geometry import canonical_to_voxel, to_canonical, to_source, voxel_to_world
from unireason.types import Affine, Case, Geometry

TOLERANCE = 0.5
"""Largest distance between a mask voxel and its image voxel, in voxels, anywhere in the volume: headers round."""


def on_grid(case: Case, mask: Case, values: NDArray[Any], what: str) -> NDArray[Any]:
    """The values of a mask in the axis order of its image.

    Args:
        case: The image.
        mask: The mask as it was read.
        values: (Z, Y, X) or (Y, X) values on the mask's canonical grid.
        what: Name of the mask, for messages.

    Returns:
        The values, turned and flipped where the two files store other axes; only shapes are compared if one of them tells no place
        in the patient.

    Raises:
        ImageReadError: If the shapes differ, or two pictures are turned differently by EXIF and shapes do not tell what is meant.
        GeometryError: If the files lie at different places in the patient.
    """
    if case.kind == "volume" and mask.kind == "volume" and _placed(case) and _placed(mask):
        values = _turned(case.geometry, mask.geometry, values, what)
    elif case.kind == "image" and mask.kind == "image" and _turn(case) != _turn(mask):
        values = _turned_like(case.geometry, mask.geometry, values, what)
    check_masks(case, values, what)
    return values


def _placed(case: Case) -> bool:
    return case.geometry.affine_lps is not None


def _turn(case: Case) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    return (case.geometry.order, case.geometry.flips)


def _turned_like(image: Geometry, mask: Geometry, values: NDArray[Any], what: str) -> NDArray[Any]:
    """A mask that is turned otherwise than its picture: drawn on the pixels that the picture stores, or on those that it shows."""
    stored = to_source(values, mask)
    on_stored, on_shown = stored.shape == image.source_shape[::-1], values.shape == image.shape
    if on_stored == on_shown:
        raise ImageReadError(
            f"the image of {what} and the mask are turned differently by EXIF", "the same turn", "save both upright"
        )
    return to_canonical(stored, image) if on_stored else values


def canonical_affine(geometry: Geometry) -> Affine:
    """(4, 4) canonical index (x, y, z) at voxel centres to LPS millimetres.

    Raises:
        GeometryError: If the geometry has no affine.
    """
    corners = [(0.5, 0.5, 0.5), (1.5, 0.5, 0.5), (0.5, 1.5, 0.5), (0.5, 0.5, 1.5)]
    world = np.array([voxel_to_world(canonical_to_voxel(c, geometry), geometry) for c in corners])
    affine = np.eye(4)
    affine[:3, :3] = (world[1:] - world[0]).T
    affine[:3, 3] = world[0]
    return affine


def _turned(image: Geometry, mask: Geometry, values: NDArray[Any], what: str) -> NDArray[Any]:
    """Mask values along the image's canonical axes, after checking that both describe the same voxels."""
    between = np.linalg.solve(canonical_affine(image), canonical_affine(mask))
    turn = np.rint(between[:3, :3])
    sizes = np.array(values.shape[::-1], float)
    if np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) and np.array_equal(np.abs(turn).sum(1), [1, 1, 1]):
        axes = [int(np.abs(row).argmax()) for row in turn]  # image axis x, y, z -> mask axis
        view = values.transpose([2 - a for a in reversed(axes)])
        flips = [turn[n, a] < 0 for n, a in enumerate(axes)]
        view = view[tuple(slice(None, None, -1 if f else 1) for f in reversed(flips))]
        shift = np.where(turn.sum(1) < 0, np.array(view.shape[::-1]) - 1.0, 0.0)
        corners = np.array(list(product(*((0.0, n - 1.0) for n in sizes))))
        apart = corners @ between[:3, :3].T + between[:3, 3] - (corners @ turn.T + shift)
        if view.shape != image.shape or np.abs(apart).max() <= TOLERANCE:
            return view  # another shape is told by the caller, in the words of shapes
        far = f"up to {np.abs(apart).max():.3g} voxels apart"
    else:
        far = "along other axes"
    raise GeometryError(
        f"the mask {what} lies elsewhere in the patient than its image ({far})",
        f"voxels at most {TOLERANCE} apart",
        "resample the mask onto the image, or repair the header that is wrong",
    )
