"""Axial slices of volumes as images that keep their place in the patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unireason.data.item import Layer, Loaded
from unireason.data.names import is_lesion, readable
from unireason.errors import GeometryError
from unireason.types import Case, Geometry

VISIBLE = 0.0005
"""A structure counts for a slice if it fills at least this share of it."""
LESION = 2.0
"""What a lesion adds to the one that every structure counts."""


def busy(loaded: Loaded, count: int, rng: np.random.Generator) -> list[int]:
    """Draws canonical slices in favour of those that show many structures.

    A slice is drawn with a weight of the number of its structures, lesions counting three times, and only if it shows at least
    three structures (or as many as the fullest slice does, if that is fewer).

    Args:
        loaded: A volume with its masks.
        count: How many slices.
        rng: Where chance comes from; one draw is taken, none if there is nothing to draw.

    Returns:
        Different slices in ascending order; fewer than ``count`` if fewer qualify, none for empty masks.

    Raises:
        GeometryError: If the case is an image.
    """
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
    """Geometry of canonical slice ``k`` of a volume; see :func:`picture`.

    Args:
        geometry: Of a volume.
        k: Canonical slice inside it.
    """
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
