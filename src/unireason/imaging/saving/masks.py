"""One mask, one file, on the grid of the source: the ending of the name chooses the format.

It knows nothing about how the mask came about.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.files import write_bytes
from unireason.imaging.geometry import to_source
from unireason.types import Case

from .itk_volume import metaimage_bytes, nrrd_bytes
from .nifti_volume import nifti_bytes

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")
"""Endings of file names that `write_mask` knows."""


def write_mask(path: Path, mask: NDArray[np.bool_], case: Case, *, name: str = "structure") -> Path:
    """Write a mask on the grid of the file that its case was read from: 0 outside, 1 inside (PNG: 255), uint8.

    The file's own index order comes back, so the mask lies voxel on voxel over the source. From NIfTI to NIfTI the sizes, voxel sizes,
    both orientation matrices, their codes and the unit are copied word for word. A source without a place in the patient gives a mask
    without one. A PNG holds the picture as it is shown: an EXIF turn is carried out, not kept.

    Args:
        path: Ends in ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha`` or, for images, ``.png``; missing folders are made.
        mask: bool, of ``case.geometry.shape``: (Z, Y, X) or (Y, X). An empty mask is written like any other.
        case: What it was drawn on.
        name: What it shows; kept in the header of NIfTI (79 bytes) and NRRD.

    Returns:
        The path written.

    Raises:
        FormatError: If the mask does not fit the case, or the ending is unknown or not for volumes.
        GeometryError: If the grid cannot be said in this format.
        UniReasonError: If the file cannot be written.
    """
    check_mask(mask, case)
    target = Path(path)
    ending = next((e for e in ENDINGS if target.name.lower().endswith(e)), "")
    if not ending or (ending == ".png" and case.kind != "image"):
        known = ", ".join(ENDINGS if case.kind == "image" else ENDINGS[:-1])
        raise FormatError(f"a mask of {_article(case)} to be written as '{target.name}'", f"a name that ends in {known}")
    return write_bytes(target, _WRITERS[ending](mask, case, name))


def check_mask(mask: NDArray[np.bool_], case: Case) -> None:
    """Make sure that a mask lies on the canonical grid of a case.

    Args:
        mask: To be bool and of ``case.geometry.shape``.
        case: What it was drawn on.

    Raises:
        FormatError: If it does not.
    """
    if mask.dtype != np.bool_ or mask.shape != case.geometry.shape:
        raise FormatError(f"a mask of type {mask.dtype} and shape {mask.shape}", f"bool and {case.geometry.shape}")


def _article(case: Case) -> str:
    return "an image" if case.kind == "image" else "a volume"


def _stored(mask: NDArray[np.bool_], case: Case) -> NDArray[np.uint8]:
    """uint8 in file order, slowest axis first, contiguous."""
    return np.ascontiguousarray(to_source(mask, case.geometry), dtype=np.uint8)


def _nifti(mask: NDArray[np.bool_], case: Case, name: str) -> bytes:
    return nifti_bytes(_stored(mask, case), case.geometry, name)


def _packed_nifti(mask: NDArray[np.bool_], case: Case, name: str) -> bytes:
    # Without a time stamp the same mask gives the same file.
    return gzip.compress(_nifti(mask, case, name), compresslevel=6, mtime=0)


def _nrrd(mask: NDArray[np.bool_], case: Case, name: str) -> bytes:
    return nrrd_bytes(_stored(mask, case), case.geometry, name)


def _metaimage(mask: NDArray[np.bool_], case: Case, name: str) -> bytes:
    return metaimage_bytes(_stored(mask, case), case.geometry)


def _png(mask: NDArray[np.bool_], case: Case, name: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


_WRITERS: dict[str, Callable[[NDArray[np.bool_], Case, str], bytes]] = {
    ".nii.gz": _packed_nifti,
    ".nii": _nifti,
    ".nrrd": _nrrd,
    ".mha": _metaimage,
    ".png": _png,
}
