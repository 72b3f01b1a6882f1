"""A mask as NIfTI: the header of the source where there is one, else a header made from the geometry.

Source: NIfTI-1 data format (nifti1.h) and its 64-bit form NIfTI-2.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.imaging.nifti import FIELDS
from unireason.types import Affine, Geometry

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER = (348, 540)
_MAGIC = ((344, b"n+1\0"), (4, b"n+2\0\r\n\x1a\n"))
_LARGEST_SHORT = 2**15 - 1
_UINT8, _MILLIMETRE, _SCANNER = 2, 2, 1
_RIGHT_ANGLE = 1e-4  # cosine above which two axes are not at right angles, which a qform cannot say


def nifti_bytes(stored: NDArray[np.uint8], geometry: Geometry, name: str) -> bytes:
    """A whole single-file NIfTI, little-endian, of one uint8 volume.

    Args:
        stored: (k, j, i), or (y, x) for an image, which becomes one slice; contiguous.
        geometry: Where it lies. ``header`` is copied if it comes from NIfTI; else the affine becomes sform and, at right angles,
            qform, both with code 1; without an affine both codes are 0 and only voxel sizes are told.
        name: For the description; cut to 79 bytes.

    Returns:
        Header, four zero bytes (no extension) and the values.
    """
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
