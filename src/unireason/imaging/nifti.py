"""NIfTI, header and values: one file, or a pair of header and image; packed or not.

The header is judged before memory is taken. Values are read as they are stored and rescaled here, so that a number, NaN included,
is the same in every spelling of the format, and names and neighbours of a file do not matter.

Source: NIfTI-1 data format (nifti1.h) and its 64-bit form NIfTI-2.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import GeometryError, ImageReadError
from unireason.core.types import PHANTOM, Affine

from .reader import Limits, file_size, unpacked

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Data type code to numpy's.
_CODES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_DEFLATE_LIMIT = 1032  # no deflate stream expands further
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 544
_LARGEST_MM = 1e9
_SLAB = 2**18  # values rescaled at once
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
    """What matters of a header."""

    sizes: tuple[int, int, int]
    frames: int
    affine_lps: Affine
    notes: tuple[str, ...]
    stored: np.dtype[Any]
    scale: tuple[float, float] | None
    placement: dict[str, tuple[float, ...]]
    offset: int = 0
    files: tuple[Path, ...] = ()
    made_by: str = ""


def read_header(path: Path, limits: Limits) -> NiftiHeader:
    """Read and judge the header of a file, or of the pair that it belongs to."""
    head = _partner(path, ".img", ".hdr") or path
    raw = _first_bytes(head, limits)
    fields = _unpack(raw, path.name)
    data = head
    if fields["pair"]:
        found = _partner(head, ".hdr", ".img")
        if found is None:
            name = head.name.removesuffix(".gz").rpartition(".")[0] + ".img"
            raise ImageReadError(f"'{head.name}' is the header of a pair", f"its values in '{name}' beside it", "put both there")
        data = found
    header = parsed(fields, path.name, limits)
    offset = fields["vox_offset"][0]
    frame = int(np.prod(header.sizes)) * header.stored.itemsize
    size, packed = file_size(data, limits), is_gzip(data)
    if not (np.isfinite(offset) and offset >= 0 and offset + frame * header.frames <= size * (_DEFLATE_LIMIT if packed else 1)):
        raise ImageReadError(
            f"'{data.name}' is too short for the {frame * header.frames:,} bytes that its header declares",
            remedy="copy or download it again",
        )
    if not fields["pair"] and offset < 348:
        raise ImageReadError(f"'{path.name}' places its data at byte {offset:g}", "behind the header")
    if packed:
        limits.check("max_unpacked_bytes", frame, f"'{data.name}'")
    return replace(header, offset=int(offset), files=(data,) if data == head else (head, data))


def parsed(fields: dict[str, Any], name: str, limits: Limits) -> NiftiHeader:
    """The header that fields make, where its values lie left open."""
    dim = fields["dim"]
    if not 1 <= dim[0] <= 7 or any(not 1 <= n < 2**31 for n in dim[1 : dim[0] + 1]):
        raise ImageReadError(f"'{name}' declares sizes {list(dim[1:])} on {dim[0]} axes", "1 to 7 axes of at least 1")
    lengths = [*(int(n) for n in dim[1 : dim[0] + 1]), 1, 1]
    sizes = (lengths[0], lengths[1], lengths[2])
    frames = int(np.prod(lengths[3:], dtype=object)) if dim[0] > 3 else 1
    limits.check("max_voxels", sizes[0] * sizes[1] * sizes[2], f"'{name}' ({' x '.join(map(str, sizes))})")
    code, bits = fields["datatype"][0], fields["bitpix"][0]
    if code not in _CODES or 8 * int(_CODES[code][1]) != bits:
        raise ImageReadError(
            f"'{name}' has data type {code} with {bits} bits",
            "plain integers or floats of at most 64 bits, one value a voxel",
            "convert colour or complex data to one real channel",
        )
    affine, notes = _affine(fields, name)
    slope, intercept = fields["scl"]
    used = bool(np.isfinite(slope) and slope != 0)
    if used and not np.isfinite(intercept):
        raise ImageReadError(f"'{name}' rescales its values by {slope:g} and {intercept}", "finite numbers", "repair the header")
    scale = (slope, intercept) if used and (slope, intercept) != (1.0, 0.0) else None
    stored = np.dtype(fields["order"] + _CODES[code])
    placement = {key: fields[key] for key in _PLACEMENT}
    if scale is not None and stored.kind in "iu":
        placement["step"] = (abs(slope),)
    made_by = PHANTOM if fields["descrip"][0].rstrip(b"\0") == PHANTOM.encode() else ""
    return NiftiHeader(sizes, frames, affine, notes, stored, scale, placement, made_by=made_by)


def read_values(header: NiftiHeader, frame: int) -> NDArray[Any]:
    """The real values of one frame, (k, j, i), read-only."""
    path, count = header.files[-1], int(np.prod(header.sizes))
    start = header.offset + frame * count * header.stored.itemsize
    end = start + count * header.stored.itemsize
    if is_gzip(path):
        length = header.offset + header.frames * count * header.stored.itemsize
        values = unpacked(path, (0, path.stat().st_size), length, (start, end)).view(header.stored)
    else:
        values = np.fromfile(path, header.stored, count, offset=start)
    values = rescaled(values, header.scale).reshape(header.sizes[::-1])
    values.flags.writeable = False
    return values


def rescaled(stored: NDArray[Any], scale: tuple[float, float] | None) -> NDArray[Any]:
    """Real values of stored ones, flat: as they are without a scale, else floats that hold all that the type can say."""
    if scale is None:
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    largest = 2.0**16 * abs(scale[0]) + abs(scale[1])
    short = stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2 and largest < np.finfo(np.float32).max
    real = np.empty(stored.shape, np.float32 if short else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # a value that is not finite stays so, and a note tells
        for at in range(0, stored.size, _SLAB):
            real[at : at + _SLAB] = stored[at : at + _SLAB] * np.float64(scale[0]) + scale[1]
    return real


def is_gzip(path: Path) -> bool:
    """True if a file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def fields_of(raw: bytes) -> dict[str, Any] | None:
    """The fields of a header by name, with "order", "version" and "pair"; None if these bytes begin no NIfTI."""
    for order in "<>":
        for version, length in enumerate((348, 540)):
            if len(raw) >= length and struct.unpack_from(order + "i", raw)[0] == length:
                magic = raw[344:347] if version == 0 else raw[4:7]
                if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
                    return None
                found = {key: struct.unpack_from(order + at[version][1], raw, at[version][0]) for key, at in FIELDS.items()}
                return {"order": order, "version": (version + 1,), "pair": magic[1:2] == b"i", **found}
    return None


def _partner(path: Path, own: str, other: str) -> Path | None:
    """The other file of a pair, for a name that ends like one of them; packed or not, in the case of the name."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    stem, suffix = name[: -len(own)], name[-len(own) :]
    if suffix.lower() != own:
        return None
    wanted = other.upper() if suffix.isupper() else other
    packed = ".GZ" if suffix.isupper() else ".gz"
    places = (path.parent / f"{stem}{wanted}", path.parent / f"{stem}{wanted}{packed}")
    return next((place for place in places if place.is_file()), None)


def _first_bytes(path: Path, limits: Limits) -> bytes:
    file_size(path, limits)
    with path.open("rb") as file:
        raw = file.read(2**16)
    if not raw.startswith(_GZIP):
        return raw[:_HEAD_BYTES]
    head, stream = b"", zlib.decompressobj(wbits=31)
    try:
        while raw and len(head) < _HEAD_BYTES:
            head += stream.decompress(raw, _HEAD_BYTES)
            raw = stream.unused_data if stream.eof else b""
            stream = zlib.decompressobj(wbits=31) if stream.eof else stream
    except zlib.error as error:
        raise ImageReadError(f"'{path.name}' is a damaged gzip file ({error})", "", "copy or download it again") from error
    return head[:_HEAD_BYTES]


def _unpack(raw: bytes, name: str) -> dict[str, Any]:
    fields = fields_of(raw)
    if fields is not None:
        return fields
    lengths = {struct.unpack_from(order + "i", raw)[0] for order in "<>"} if len(raw) >= 284 else set()
    if lengths & {348, 540}:
        raise _convertible(name, "Analyze 7.5, which does not say which side is left", (".hdr", ".img"))
    if 1 in lengths:
        raise _convertible(name, "a FreeSurfer volume", (".mgz", ".mgh"))
    if name.lower().endswith((".img", ".img.gz")):
        raise ImageReadError(f"'{name}' holds bare values", "its header (.hdr) beside it", "put both into one folder")
    raise ImageReadError(
        f"'{name}' has no NIfTI header",
        "a header of 348 or 540 bytes",
        "unpack it if it is gzip of another format, else copy or download it again",
    )


def _convertible(name: str, what: str, endings: tuple[str, ...]) -> ImageReadError:
    """The error for a format that nibabel tells by its name and turns into NIfTI."""
    plain = name[:-3] if name.lower().endswith(".gz") else name
    stem = plain.rpartition(".")[0] or plain
    named = name if plain.lower().endswith(endings) else stem + endings[0]
    command = f'python -c "import nibabel as n; n.save(n.load({named!r}), {stem + ".nii.gz"!r})"'
    return ImageReadError(
        f"'{name}' is {what}", "NIfTI", f"{'' if named == name else f'rename it to {named}, then '}convert it: {command}"
    )


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
    factor = {1: 1000.0, 3: 0.001}.get(values["units"][0] & 7, 1.0)
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
