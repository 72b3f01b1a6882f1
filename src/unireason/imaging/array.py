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
from .geometry import to_canonical
from .limits import file_bytes
from .options import ReadOptions
from .picture import picture_case

_VOLUME, _PLANE, _COLOUR = "zyx", "yx", "cyx"


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
    """Read an array as an image or a volume.

    The array is believed to be in LPS axes (x to the patient's left, y to the back, z to the head); ``options.axes`` says in
    which order. The file's index order is that of the array, last axis first. A fourth axis of length one in front (a channel, as
    M3D stores its volumes) is dropped. The hash is that of the file.

    Args:
        path: A ``.npy``, or a ``.npz`` with exactly one array.
        options: ``axes``, ``spacing_mm`` and ``modality`` matter.

    Returns:
        An image Case for "yx" and "yxc" in any order, else a volume Case; neither has an affine.

    Raises:
        ImageReadError: If the file is damaged or holds objects, text or complex numbers.
        FormatError: If the axes are not what the array has.
        SizeLimitError: If it is too large; checked before the data are read.
    """
    content = file_bytes(path, options.limits)
    with decoding(path, "a numpy array"):
        packed = content.startswith(b"PK")
        stored = _from_zip(content, path.name, options) if packed else _from_stream(io.BytesIO(content), path.name, options)
    source = Source(path.name, "npz" if packed else "npy", sha256(content))
    channel = stored.ndim == 4 and stored.shape[0] == 1
    stored = stored[0] if channel else stored
    axes = _axes(stored, options.axes)
    if "z" not in axes:
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
    geometry = Geometry(tuple(sizes[axis] for axis in reversed(order)), sizes, order, (False, False, False), None, spacing)
    notes = (*(() if options.axes else ("axes taken as Z, Y, X",)), *(("a channel axis of one dropped",) if channel else ()))
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
        options.limits.check("max_file_bytes", members[0].file_size, f"'{members[0].filename}' in '{name}'")
        with archive.open(members[0]) as stream:
            return _from_stream(stream, name, options)


def _from_stream(stream: IO[bytes], name: str, options: ReadOptions) -> NDArray[Any]:
    """One array from an npy stream, its header judged before the data are read."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ImageReadError(f"'{name}' has npy version {version}", "1.0 or 2.0", "save it with numpy.save")
    shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ImageReadError(
            f"'{name}' holds values of type {dtype}", "real numbers of at most 64 bits", "convert it and save again"
        )
    count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
    if count < 1 or min(shape, default=1) < 0:
        raise ImageReadError(f"'{name}' has shape {shape}", "no empty axis")
    options.limits.check("max_voxels", count, f"'{name}' {shape}")
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ImageReadError(f"'{name}' ends after {len(data)} bytes of data", f"{count * dtype.itemsize}", "copy it again")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "b" or (dtype.itemsize == 2 and dtype.kind == "f") or not dtype.isnative:
        array = array.astype(
            {"b": np.uint8, "f": np.float32}.get(dtype.kind if dtype.itemsize <= 2 else "", dtype.newbyteorder("="))
        )
    return array
