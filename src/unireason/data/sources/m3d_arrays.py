"""The arrays of M3D-Seg: dense images with a channel in front, sparse masks. Nothing is unpickled and every size is bounded first."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data.item import Item, Layer, Loaded, inside
from unireason.errors import FormatError, ImageReadError
from unireason.files import sha256
from unireason.imaging.decode import decoding
from unireason.imaging.geometry import to_canonical
from unireason.imaging.limits import Limits, file_size
from unireason.types import Case, Geometry, Source

from .labels import Packer

_PARTS = ("data", "indices", "indptr", "shape")


def load_arrays(root: Path, item: Item) -> Loaded:
    """Read one case.

    Args:
        root: The source's folder.
        item: With one mask whose detail says "shape=C,a,b,c" and, if known, the axes of the stored arrays in ``read``.

    Raises:
        UniReasonError: If a file is missing, damaged or too large, or mask and image differ in shape.
    """
    ref = item.masks[0]
    classes, *sizes = (int(n) for n in ref.detail.removeprefix("shape=").split(","))
    stored = _image(inside(root, item.image))
    if stored.shape != tuple(sizes):
        raise ImageReadError(f"the image has the shape {stored.shape}", f"{tuple(sizes)} as the name of its mask says")
    if classes != len(ref.names) or list(ref.names) != list(range(1, classes + 1)):
        raise ImageReadError(f"the mask has {classes} classes", f"{len(ref.names)} as the split file names")
    geometry = _geometry(stored.shape, str(dict(item.read).get("axes", "")) or axes_of(stored.shape))
    source = Source(Path(item.image).name, "npy", sha256(inside(root, item.image)))
    # Without its modality the case is windowed by percentiles; that of CT is meant for Hounsfield units, which were normalised away.
    case = Case(to_canonical(stored, geometry), "volume", geometry, "", source, None, ("intensities were normalised",))
    packer, values = Packer(stored.shape), {}
    rows = _rows(inside(root, ref.path), (classes, stored.size))
    for name in ref.structures:
        own = [rows[value - 1] for value, other in ref.names.items() if other == name]
        packer.add(name, own[0] if len(own) == 1 else np.unique(np.concatenate(own)))
    values = {(value, name): bool(rows[value - 1].size) for value, name in ref.names.items()}
    layers = (Layer(np.ascontiguousarray(to_canonical(y.labels, geometry)), y.names) for y in packer.layers())
    return Loaded(item, case, tuple(layers), values)


def axes_of(shape: tuple[int, ...]) -> str:
    """How the axes of a stored array run: slices are square, so the axis unlike the others is z; "xyz" where that does not tell."""
    return "zyx" if shape[1] == shape[2] != shape[0] else "xyz"


def _geometry(shape: tuple[int, ...], axes: str) -> Geometry:
    order = tuple(2 - axes.index(letter) for letter in "xyz")
    sizes = tuple(reversed(shape))
    return Geometry(tuple(sizes[axis] for axis in reversed(order)), sizes, order, (False, False, False), None, None)


def _image(path: Path) -> NDArray[Any]:
    """The three axes of a dense array behind a channel of one."""
    limits = Limits()
    file_size(path, limits)
    with decoding(path, "a numpy array"):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray) or mapped.dtype.kind not in "buif" or mapped.dtype.itemsize > 8:
            raise ImageReadError(f"'{path.name}' holds no real numbers", "an array of (1, X, Y, Z)")
        if mapped.ndim not in (3, 4) or (mapped.ndim == 4 and mapped.shape[0] != 1) or mapped.size == 0:
            raise ImageReadError(f"'{path.name}' has the shape {mapped.shape}", "(1, X, Y, Z)")
        limits.check("max_voxels", mapped.size, f"'{path.name}'")
        kind = {"b": np.uint8, "f": np.float32}.get(mapped.dtype.kind, mapped.dtype.newbyteorder("="))
        return np.array(mapped.reshape(mapped.shape[-3:]), dtype=kind)


def _rows(path: Path, shape: tuple[int, int]) -> list[NDArray[np.intp]]:
    """For each row, that is each class, the flat indices of its voxels."""
    parts = _parts(path)
    indptr, indices, data = (parts[key] for key in ("indptr", "indices", "data"))
    if parts["shape"].tolist() != list(shape):
        raise FormatError(f"'{path.name}' holds a matrix of {parts['shape'].tolist()}", f"{list(shape)} as its name says")
    sound = (
        all(part.dtype.kind in "iu" for part in (indptr, indices))
        and data.dtype.kind in "buif"
        and indptr.shape == (shape[0] + 1,)
        and indices.shape == data.shape == (int(indptr[-1]),)
        and indptr[0] == 0
        and bool((np.diff(indptr.astype(np.int64)) >= 0).all())
        and (indices.size == 0 or bool(indices.min() >= 0 and indices.max() < shape[1]))
    )
    if not sound:
        raise FormatError(f"'{path.name}' holds a damaged sparse matrix", "rows within its shape", "download it again")
    parts_of = [slice(int(first), int(end)) for first, end in pairwise(indptr)]
    return [indices[part][data[part] != 0].astype(np.intp) for part in parts_of]


def _parts(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a CSR matrix as scipy saves it."""
    limits = Limits()
    file_size(path, limits)
    with decoding(path, "a sparse matrix"):
        with zipfile.ZipFile(path) as archive:
            limits.check("max_unpacked_bytes", sum(m.file_size for m in archive.infolist()), f"'{path.name}' unpacked")
        with np.load(path, allow_pickle=False) as stored:
            form = bytes(np.asarray(stored["format"]).tobytes()).replace(b"\0", b"").strip()
            if form != b"csr":
                raise FormatError(f"'{path.name}' is a sparse matrix of the form {form[:20]!r}", "csr")
            return {key: np.atleast_1d(stored[key]) for key in _PARTS}
