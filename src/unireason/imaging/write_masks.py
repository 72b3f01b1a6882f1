"""One mask, one file, on the grid of the source: the ending of the name chooses the format.

It knows nothing about how the mask came about.

Source: NIfTI-1 data format (nifti1.h) and its 64-bit form NIfTI-2.
"""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, GeometryError
from unireason.core.store import write_bytes
from unireason.core.types import Affine, Case, Geometry

from .geometry import to_source
from .nifti import FIELDS

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER = (348, 540)
_MAGIC = ((344, b"n+1\0"), (4, b"n+2\0\r\n\x1a\n"))
_LARGEST_SHORT = 2**15 - 1
_UINT8, _MILLIMETRE, _SCANNER = 2, 2, 1
_RIGHT_ANGLE = 1e-4  # cosine above which two axes are not at right angles, which a qform cannot say


def nifti_bytes(stored: NDArray[np.uint8], geometry: Geometry, name: str) -> bytes:
    """A whole single-file NIfTI, little-endian, of one uint8 volume."""
    fields: dict[str, Any] = dict(geometry.header) if "pixdim" in geometry.header else _fields(geometry)
    sizes = (*stored.shape[::-1], 1, 1)[:3]
    version = int(fields["version"][0]) if max(sizes) <= _LARGEST_SHORT else 2
    axes = min(int(fields["dim"][0]), 3)
    length = _HEADER[version - 1]
    fields |= {
        "dim": (axes, *sizes, 1, 1, 1, 1),
        "datatype": (_UINT8,),
        "bitpix": (8,),
        "vox_offset": (length + 4,),
        "scl": (1.0, 0.0),
        "descrip": (f"unireason mask: {name}".encode()[:79].decode(errors="ignore").encode(),),
    }
    raw = bytearray(length + 4)
    struct.pack_into("<i", raw, 0, length)
    place, mark = _MAGIC[version - 1]
    raw[place : place + len(mark)] = mark
    for key, where in FIELDS.items():
        offset, code = where[version - 1]
        struct.pack_into("<" + code, raw, offset, *fields[key])
    return bytes(raw) + stored.tobytes()


def _fields(geometry: Geometry) -> dict[str, tuple[float, ...]]:
    """Placement fields for a grid that does not come from NIfTI."""
    affine = geometry.affine_lps
    fields: dict[str, tuple[float, ...]] = {"version": (1,), "dim": (3,), "quatern": (0.0,) * 6, "srow": (0.0,) * 12}
    if affine is None:
        steps = [1.0, 1.0, 1.0]
        for axis, step in zip(geometry.order, geometry.spacing_mm or (), strict=False):
            steps[axis] = step
        known = geometry.spacing_mm is not None
        return {**fields, "pixdim": (1.0, *steps, 0, 0, 0, 0), "units": (_MILLIMETRE if known else 0,), "codes": (0, 0)}
    ras = _LPS_TO_RAS @ affine
    lengths = np.linalg.norm(ras[:3, :3], axis=0)
    cosines = ras[:3, :3] / lengths
    handedness = -1.0 if np.linalg.det(cosines) < 0 else 1.0
    fields |= {
        "pixdim": (handedness, *(float(v) for v in lengths), 0, 0, 0, 0),
        "units": (_MILLIMETRE,),
        "codes": (0, _SCANNER),
        "srow": tuple(float(v) for v in ras[:3].ravel()),
    }
    if np.abs(cosines.T @ cosines - np.eye(3)).max() < _RIGHT_ANGLE:
        fields |= {"codes": (_SCANNER, _SCANNER), "quatern": _quaternion(cosines, handedness, ras)}
    return fields


def _quaternion(cosines: NDArray[np.float64], handedness: float, ras: Affine) -> tuple[float, ...]:
    """(b, c, d) with a >= 0, then the shift. Source: nifti1.h, method 2."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(cosines * [1.0, 1.0, handedness]).as_quat(canonical=True)
    return (*(float(v) for v in turn[:3]), *(float(v) for v in ras[:3, 3]))


# --- A mask as NRRD or MetaImage, written by SimpleITK.


def itk_bytes(stored: NDArray[np.uint8], geometry: Geometry, ending: str, name: str) -> bytes:
    """A whole compressed file: a MetaImage for ".mha", for ".nrrd" a NRRD with an attached header that names the structure."""
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
            if geometry.spacing_mm is not None:
                steps = [1.0] * len(geometry.order)
                for axis, step in zip(geometry.order, geometry.spacing_mm, strict=True):
                    steps[axis] = step
                image.SetSpacing(steps)
            if "origin" in geometry.header:
                image.SetOrigin(geometry.header["origin"])
                image.SetDirection(geometry.header["direction"])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise GeometryError(f"the grid cannot be written ({reason})", "independent axes", "write .nii.gz instead") from error
    if ending == ".nrrd":
        for key, value in {"ID": "structure", "Name": name, "LabelValue": "1", "Layer": "0"}.items():
            image.SetMetaData(f"Segment0_{key}", " ".join(value.split()))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, f"mask{ending}")
        SimpleITK.WriteImage(image, str(place), useCompression=True)
        return place.read_bytes()


# --- One mask, one file, on the grid of the source: the ending of the name chooses the format.


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
        kind, known = ("an image", ENDINGS) if case.kind == "image" else ("a volume", ENDINGS[:-1])
        raise FormatError(
            f"a mask of {kind} to be written as '{target.name}'",
            f"a name that ends in {', '.join(known)}",
        )
    if ending == ".png":
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(stream, "PNG", optimize=True)
        return write_bytes(target, stream.getvalue())
    stored = np.ascontiguousarray(to_source(mask, case.geometry), dtype=np.uint8)  # slowest axis first
    if ending in (".nrrd", ".mha"):
        return write_bytes(target, itk_bytes(stored, case.geometry, ending, name))
    content = nifti_bytes(stored, case.geometry, name)
    # Without a time stamp the same mask gives the same file.
    return write_bytes(target, gzip.compress(content, compresslevel=6, mtime=0) if ending == ".nii.gz" else content)


def check_mask(mask: NDArray[np.bool_], case: Case) -> None:
    """Make sure that a mask lies on the canonical grid of a case."""
    if mask.dtype != np.bool_ or mask.shape != case.geometry.shape:
        raise FormatError(f"a mask of type {mask.dtype} and shape {mask.shape}", f"bool and {case.geometry.shape}")
