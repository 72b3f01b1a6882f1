"""Bare numpy arrays: npy, and npz holding one array. Pickled objects are never loaded."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from unireason.errors import FormatError, ImageReadError
from unireason.types import Case, Geometry, Source

from .decode import decoding, sha256
from .geometry import to_canonical, volume_geometry
from .limits import file_bytes
from .options import ReadOptions
from .picture import picture_case

_VOLUME, _PLANE, _COLOUR = "zyx", "yx", "cyx"
_CHUNK = 2**20


def content(*arrays: NDArray[Any]) -> str:
    """SHA-256 of what arrays hold, with their shapes and types: what was made of pictures is found again by this.

    Where an array lies says nothing: its owner may fill it again, and memory that was given back holds the next one.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_array(path: Path, options: ReadOptions) -> Case:
    """Read an array as an image or a volume; see `array_case` for what its axes mean. The hash is that of the file.

    Args:
        path: A ``.npy``, or a ``.npz`` with exactly one array.
        options: ``axes``, ``spacing_mm``, ``affine_lps`` and ``modality`` matter.

    Returns:
        An image Case for "yx" and "yxc" in any order, else a volume Case.

    Raises:
        ImageReadError: If the file is damaged or holds objects, text or complex numbers.
        FormatError: If the axes are not what the array has.
        GeometryError: If the affine cannot be used.
        SizeLimitError: If it is too large; checked before memory is taken.
    """
    content = file_bytes(path, options.limits)
    with decoding(path, "a numpy array"):
        packed = content.startswith(b"PK")
        stored = _from_zip(content, path.name, options) if packed else _from_bytes(content, path.name, options)
    return array_case(stored, Source(path.name, "npz" if packed else "npy", sha256(content)), options)


def array_case(stored: NDArray[Any], source: Source, options: ReadOptions) -> Case:
    """A Case around a bare array.

    The file's index order is that of the array, last axis first. Without an affine the array is believed to be in LPS axes (x to the
    patient's left, y to the back, z to the head); ``options.axes`` says in which order. With one, the letters name the affine's
    columns, and the axes are turned to LPS. A fourth axis of length one in front (a channel, as M3D stores its volumes) is dropped.

    Args:
        stored: Real numbers of at most 64 bits.
        source: Provenance.
        options: ``axes``, ``spacing_mm``, ``affine_lps`` and ``modality`` matter.

    Returns:
        An image Case for "yx" and "yxc" in any order, else a volume Case; an affine only where one was given.

    Raises:
        ImageReadError: If there are no values, or others than real numbers.
        FormatError: If the axes are not what the array has.
        GeometryError: If the affine cannot be used.
        SizeLimitError: If it is too large.
    """
    _check(stored.dtype, stored.shape, source.name, options)
    if stored.dtype.kind == "b" or stored.dtype == np.float16:
        stored = stored.astype(np.uint8 if stored.dtype.kind == "b" else np.float32)
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    options.pick(1, f"'{source.name}'")
    channel = stored.ndim == 4 and stored.shape[0] == 1
    stored = stored[0] if channel else stored
    axes = _axes(stored, options.axes)
    if "z" not in axes:
        if options.affine_lps is not None:
            raise FormatError("affine_lps was given for an image", "a volume", "leave the option out")
        upright = stored.transpose([axes.index(letter) for letter in ("yxc" if "c" in axes else "yx")])
        if axes.replace("c", "") == "xy":
            # Swapping x and y is the same turn as EXIF orientation 5, so the file's own order survives in the geometry.
            return picture_case(upright.swapaxes(0, 1), source, options, 5, ())
        return picture_case(upright, source, options)
    order = tuple(2 - axes.index(letter) for letter in "xyz")
    sizes = tuple(reversed(stored.shape))
    spacing = options.spacing_mm
    if spacing is not None and len(spacing) != 3:
        raise FormatError(f"spacing_mm has {len(spacing)} numbers", "three for a volume: x, y, z")
    if options.affine_lps is None:
        geometry = Geometry(tuple(sizes[axis] for axis in reversed(order)), sizes, order, (False, False, False), None, spacing)
        notes = () if options.axes else ("axes taken as Z, Y, X",)
    else:
        affine = np.eye(4)
        affine[:, [*order, 3]] = options.affine_lps
        geometry, notes = volume_geometry(sizes, affine), ()
    notes = (*notes, "a channel axis of one dropped") if channel else notes
    return Case(to_canonical(stored, geometry), "volume", geometry, options.modality or "", source, None, notes)


def _axes(stored: NDArray[Any], asked: str | None) -> str:
    axes = (asked or {2: "yx", 3: "zyx"}.get(stored.ndim, "")).lower()
    if sorted(axes) not in (sorted(_VOLUME), sorted(_PLANE), sorted(_COLOUR)) or len(axes) != stored.ndim:
        raise FormatError(
            f"the array has shape {stored.shape} and axes {asked!r}",
            "a permutation of 'zyx', 'yx' or 'yxc' with one letter for each axis",
            "say what the axes are, e.g. axes='xyz'",
        )
    if asked is None and stored.ndim == 3 and stored.shape[2] in (3, 4):
        raise FormatError(
            f"the array has shape {stored.shape}", "an unmistakable volume", "say axes='yxc' for colour or axes='zyx' for slices"
        )
    if "c" in axes and (stored.shape[axes.index("c")] != 3 or stored.dtype != np.uint8):
        raise FormatError(f"colour of shape {stored.shape} and type {stored.dtype}", "three channels of uint8")
    return axes


def _from_zip(content: bytes, name: str, options: ReadOptions) -> NDArray[Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) != 1 or not members[0].filename.endswith(".npy"):
            raise ImageReadError(
                f"'{name}' holds {len(members)} entries ({', '.join(m.filename for m in members[:5])})",
                "exactly one array",
                "save the one to read as .npy",
            )
        options.limits.check("max_unpacked_bytes", members[0].file_size, f"'{members[0].filename}' in '{name}'")
        with archive.open(members[0]) as stream:
            shape, fortran, dtype, count = _header(stream, name, options)
            came = members[0].file_size - stream.tell()
            if came != count * dtype.itemsize:
                raise _cut(name, came, count * dtype.itemsize)
            # Into memory taken once: a reader that grows with what it unpacks takes twice as much.
            array = np.empty(count, dtype)
            into, done = array.view(np.uint8), 0
            while piece := stream.read(min(_CHUNK, into.size - done)):
                into[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
            if done < into.size or stream.read(1):  # reading past the end checks the sum
                raise _cut(name, done, into.size)
            return array.reshape(shape, order="F" if fortran else "C")


def _from_bytes(content: bytes, name: str, options: ReadOptions) -> NDArray[Any]:
    stream = io.BytesIO(content)
    shape, fortran, dtype, count = _header(stream, name, options)
    if len(content) - stream.tell() < count * dtype.itemsize:
        raise _cut(name, len(content) - stream.tell(), count * dtype.itemsize)
    return np.frombuffer(content, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")


def _cut(name: str, came: int, expected: int) -> ImageReadError:
    return ImageReadError(f"'{name}' has {came:,} bytes of data", f"{expected:,}", "copy it again")


def _header(stream: IO[bytes], name: str, options: ReadOptions) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type and count of an npy stream, judged before memory is taken for its values."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ImageReadError(f"'{name}' has npy version {version}", "1.0 or 2.0", "save it with numpy.save")
    shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    return shape, fortran, dtype, _check(dtype, shape, name, options)


def _check(dtype: np.dtype[Any], shape: tuple[int, ...], name: str, options: ReadOptions) -> int:
    """How many values there are, once it is clear that they can be used."""
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ImageReadError(
            f"'{name}' holds values of type {dtype}", "real numbers of at most 64 bits", "convert it and save again"
        )
    count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
    if count < 1 or min(shape, default=1) < 0:
        raise ImageReadError(f"'{name}' has shape {shape}", "no empty axis")
    options.limits.check("max_voxels", count, f"'{name}' {shape}")
    return count
