"""The NIfTI header, read and judged before any decoder sees the file.

Source: NIfTI-1 data format (nifti1.h) and its 64-bit form NIfTI-2.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import GeometryError, ImageReadError
from unireason.types import PHANTOM, Affine

from .limits import Limits, file_size

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Data type code to numpy's.
_CODES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_DEFLATE_LIMIT = 1032  # no deflate stream expands further
_HEAD_BYTES = 544
_LARGEST_MM = 1e9
_LONGEST_PREFIX = 2**16
FIELDS: dict[str, tuple[tuple[int, str], tuple[int, str]]] = {
    "dim": ((40, "8h"), (16, "8q")),
    "datatype": ((70, "h"), (12, "h")),
    "bitpix": ((72, "h"), (14, "h")),
    "pixdim": ((76, "8f"), (104, "8d")),
    "vox_offset": ((108, "f"), (168, "q")),
    "scl": ((112, "2f"), (176, "2d")),
    "units": ((123, "B"), (500, "i")),
    "descrip": ((148, "80s"), (240, "80s")),
    "codes": ((252, "2h"), (344, "2i")),
    "quatern": ((256, "6f"), (352, "6d")),
    "srow": ((280, "12f"), (400, "12d")),
}
"""Offset and struct code of each field that is read or written: name: (NIfTI-1, NIfTI-2)."""
_PLACEMENT = ("version", "dim", "pixdim", "units", "codes", "quatern", "srow")


@dataclass(frozen=True, slots=True, eq=False)
class NiftiHeader:
    """What matters of a header.

    Attributes:
        sizes: (i, j, k); missing axes are 1.
        frames: Product of the axes behind the third.
        affine_lps: (4, 4) source index to LPS millimetres.
        notes: What had to be assumed.
        packed: True if the file is gzip.
        prefix: The bytes in front of the values, if packed (at most the first 64 KiB of them).
        length: Bytes of prefix and values together, unpacked.
        plain: numpy type and offset of the values, if they are neither packed nor rescaled; else None.
        placement: The fields that place the grid, word for word, as in ``Geometry.header``.
        made_by: As in ``Source``.
    """

    sizes: tuple[int, int, int]
    frames: int
    affine_lps: Affine
    notes: tuple[str, ...]
    packed: bool
    prefix: bytes
    length: int
    plain: tuple[str, int] | None
    placement: dict[str, tuple[float, ...]]
    made_by: str


def read_header(path: Path, limits: Limits) -> NiftiHeader:
    """Read and judge the header of ``.nii`` or ``.nii.gz``.

    Args:
        path: The file.
        limits: Bounds on file and volume.

    Returns:
        The header, whose sizes are within the bounds and agree with the length of the file.

    Raises:
        ImageReadError: If it is no single-file NIfTI, is damaged, or holds colour or complex values.
        GeometryError: If the orientation is unusable.
        SizeLimitError: If it is too large.
    """
    size = file_size(path, limits)
    with path.open("rb") as file:
        raw = file.read(_HEAD_BYTES)
        packed = raw.startswith(b"\x1f\x8b")
        if packed:
            file.seek(0)
            raw = _gunzip(file.read(2**16), path.name)
    values = _unpack(raw, path.name)
    dim = values["dim"]
    if not 1 <= dim[0] <= 7 or any(not 1 <= n < 2**31 for n in dim[1 : dim[0] + 1]):
        raise ImageReadError(f"'{path.name}' declares sizes {list(dim[1:])} on {dim[0]} axes", "1 to 7 axes of at least 1")
    lengths = [*(int(n) for n in dim[1 : dim[0] + 1]), 1, 1]
    sizes = (lengths[0], lengths[1], lengths[2])
    frames = int(np.prod(lengths[3:], dtype=object)) if dim[0] > 3 else 1
    voxels = sizes[0] * sizes[1] * sizes[2]
    limits.check("max_voxels", voxels, f"'{path.name}' ({' x '.join(map(str, sizes))})")
    bits = _check_type(values, path.name)
    payload = voxels * frames * bits // 8
    _check_length(path.name, values["vox_offset"][0], payload, size * (_DEFLATE_LIMIT if packed else 1))
    affine, notes = _affine(values, path.name)
    offset = int(values["vox_offset"][0])
    slope, intercept = values["scl"]
    scaled = np.isfinite([slope, intercept]).all() and slope != 0 and (slope, intercept) != (1.0, 0.0)
    plain = None if packed or scaled else (values["order"] + _CODES[values["datatype"][0]], offset)
    placement = {key: values[key] for key in _PLACEMENT}
    made_by = PHANTOM if values["descrip"][0].rstrip(b"\0") == PHANTOM.encode() else ""
    prefix = raw[:offset] if packed else b""
    return NiftiHeader(sizes, frames, affine, notes, packed, prefix, offset + payload, plain, placement, made_by)


def _gunzip(content: bytes, name: str) -> bytes:
    """The first bytes of a gzip stream: the header and, as a rule, its extensions."""
    try:
        return zlib.decompressobj(wbits=31).decompress(content, _LONGEST_PREFIX)
    except zlib.error as error:
        raise ImageReadError(f"'{name}' is a damaged gzip file ({error})", "", "copy or download it again") from error


def _unpack(raw: bytes, name: str) -> dict[str, Any]:
    for order in "<>":
        for version, length in enumerate((348, 540)):
            if len(raw) >= length and struct.unpack_from(order + "i", raw)[0] == length:
                magic = raw[344:348] if version == 0 else raw[4:8]
                if magic[:3] not in (b"n+1", b"n+2"):
                    raise ImageReadError(
                        f"'{name}' is not a single-file NIfTI (mark {magic!r})", "", "convert it to .nii or .nii.gz"
                    )
                return {
                    "order": order,
                    "version": (version + 1,),
                    **{
                        key: struct.unpack_from(order + where[version][1], raw, where[version][0])
                        for key, where in FIELDS.items()
                    },
                }
    raise ImageReadError(
        f"'{name}' has no NIfTI header", "a header of 348 or 540 bytes", "check that the file is NIfTI and complete"
    )


def _check_type(values: dict[str, Any], name: str) -> int:
    code, bits = values["datatype"][0], values["bitpix"][0]
    if code not in _CODES or 8 * int(_CODES[code][1]) != bits:
        raise ImageReadError(
            f"'{name}' has data type {code} with {bits} bits",
            "plain integers or floats of at most 64 bits, one value a voxel",
            "convert colour or complex data to one real channel",
        )
    return int(bits)


def _check_length(name: str, offset: float, payload: int, available: int) -> None:
    if not (np.isfinite(offset) and offset >= 0 and int(offset) + payload <= available):
        raise ImageReadError(
            f"'{name}' is too short for the {payload:,} bytes that its header declares", "", "copy or download it again"
        )
    if offset < 348:
        raise ImageReadError(f"'{name}' places its data at byte {offset:g}", "behind the header")


def _affine(values: dict[str, Any], name: str) -> tuple[Affine, tuple[str, ...]]:
    """The sform if it has a code, else the qform, else axes assumed to be LPS (as ITK does)."""
    qform_code, sform_code = values["codes"]
    affine = np.eye(4)
    notes: tuple[str, ...] = ()
    used = values["srow"] if sform_code > 0 else values["quatern"] if qform_code > 0 else ()
    if not all(abs(value) < _LARGEST_MM for value in used):
        raise GeometryError(f"'{name}' has a non-finite orientation matrix", "finite numbers", "repair the header")
    if sform_code > 0:
        affine[:3] = np.reshape(values["srow"], (3, 4))
        affine = _RAS_TO_LPS @ affine
        if _sheared(affine):
            notes = ("the axes are not at right angles (shear); positions in millimetres follow the sheared affine",)
    else:
        steps = np.abs(np.array(values["pixdim"][1:4], float))
        steps[[axis for axis in range(3) if axis >= values["dim"][0] and steps[axis] == 0]] = 1.0
        if not ((steps > 0) & (steps < _LARGEST_MM)).all():
            raise GeometryError(f"'{name}' has voxel sizes {steps.tolist()}", "three positive numbers", "repair the header")
        if qform_code > 0:
            affine = _RAS_TO_LPS @ _quaternion(values["quatern"], values["pixdim"][0], steps)
        else:
            affine[:3, :3] = np.diag(steps)
            notes = ("no form codes: axes taken as LPS (x left, y back, z head)",)
    return _in_millimetres(affine, values["units"][0], notes)


def _in_millimetres(affine: Affine, units: int, notes: tuple[str, ...]) -> tuple[Affine, tuple[str, ...]]:
    factor = {1: 1000.0, 3: 0.001}.get(units & 7, 1.0)
    affine[:3] *= factor
    return affine, notes if factor == 1.0 else (*notes, "lengths converted to millimetres")


def _quaternion(values: tuple[float, ...], handedness: float, steps: NDArray[np.float64]) -> Affine:
    """Rotation, scaling and shift of the qform. Source: nifti1.h, method 2."""
    b, c, d = values[:3]
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    quaternion = np.array([a, b, c, d], float)
    a, b, c, d = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * (steps * [1.0, 1.0, -1.0 if handedness < 0 else 1.0])
    affine[:3, 3] = values[3:6]
    return affine


def _sheared(affine: Affine) -> bool:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        return False
    cosines = affine[:3, :3] / lengths
    return bool(np.abs(cosines.T @ cosines - np.eye(3)).max() > 1e-3)
