"""A mask as NRRD or MetaImage, written by SimpleITK."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import GeometryError
from unireason.types import Geometry


def nrrd_bytes(stored: NDArray[np.uint8], geometry: Geometry, name: str) -> bytes:
    """A whole compressed NRRD with an attached header.

    Args:
        stored: (k, j, i), or (y, x) for an image.
        geometry: Where it lies. An image without an affine stays flat, with the origin and direction of a flat source.
        name: Kept as ``Segment0_Name``, which 3D Slicer shows when the file is called ``.seg.nrrd``.

    Returns:
        The file's content.

    Raises:
        GeometryError: If SimpleITK refuses the grid.
    """
    image = _image(stored, geometry)
    described = {"ID": "structure", "Name": name, "LabelValue": "1", "Layer": "0"}
    for key, value in described.items():
        image.SetMetaData(f"Segment0_{key}", " ".join(value.split()))
    return _written(image, "mask.nrrd")


def metaimage_bytes(stored: NDArray[np.uint8], geometry: Geometry) -> bytes:
    """A whole compressed MetaImage in one file; arguments and errors as for `nrrd_bytes`."""
    return _written(_image(stored, geometry), "mask.mha")


def _image(stored: NDArray[np.uint8], geometry: Geometry) -> Any:
    import SimpleITK

    placed = geometry.affine_lps is not None
    image = SimpleITK.GetImageFromArray(stored[None] if placed and stored.ndim == 2 else stored)
    try:
        if geometry.affine_lps is not None:
            axes = geometry.affine_lps[:3, :3]
            lengths = np.linalg.norm(axes, axis=0)
            image.SetSpacing([float(v) for v in lengths])
            image.SetDirection([float(v) for v in (axes / lengths).ravel()])
            image.SetOrigin([float(v) for v in geometry.affine_lps[:3, 3]])
        else:
            _place_flat(image, geometry)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise GeometryError(f"the grid cannot be written ({reason})", "independent axes", "write .nii.gz instead") from error
    return image


def _place_flat(image: Any, geometry: Geometry) -> None:
    if geometry.spacing_mm is not None:
        steps = [1.0] * len(geometry.order)
        for axis, step in zip(geometry.order, geometry.spacing_mm, strict=True):
            steps[axis] = step
        image.SetSpacing(steps)
    if "origin" in geometry.header:
        image.SetOrigin(geometry.header["origin"])
        image.SetDirection(geometry.header["direction"])


def _written(image: Any, name: str) -> bytes:
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, name)
        SimpleITK.WriteImage(image, str(place), useCompression=True)
        return place.read_bytes()
