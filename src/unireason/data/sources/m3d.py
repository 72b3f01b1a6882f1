"""M3D-Seg: ``NNNN/case/image.npy`` with ``mask_(C, X, Y, Z).npz`` (sparse, one row a class) and a split file ``NNNN.json``.

What has to be known:

* A mask file is a scipy CSR matrix, C rows of X * Y * Z columns, whose dense shape stands in its file name alone. It is read here without
  scipy's loader and without pickle, within bounds.
* Images are stored with a channel in front. The release stores (X, Y, Z) as the file name says; copies prepared for the published model
  are (Z, Y, X). Slices are square, so the axis unlike the other two is Z; where that does not tell, the file name is believed. The option
  ``axes`` says it outright.
* Orientation, spacing and Hounsfield units were lost: cases have no affine, directions in them are those of the picture, and the case
  (not the item) goes without a modality, so that it is windowed by percentiles.
* Split files say ``train`` or ``training``. Quiz cases of M3D-Cap are copies of ordinary ones under another folder: one patient.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.store import sha256
from unireason.core.types import Case, Geometry, Source
from unireason.data.item import Item, Layer, Loaded, MaskRef, Skipped, inside
from unireason.data.survey import legend, modality_code
from unireason.imaging.geometry import to_canonical
from unireason.imaging.reader import Limits, decoding, file_size

from .base import FolderSource, SourceLayout, entries, natural, read_json, relative
from .labels import Packer, Values

# --- The arrays of M3D-Seg: dense images with a channel in front, sparse masks. Nothing is unpickled and every size is bounded
# first.


_PARTS = ("data", "indices", "indptr", "shape")


def load_arrays(source: FolderSource, item: Item) -> Loaded:
    """Read one case."""
    root, ref = source.root, item.masks[0]
    classes, *sizes = (int(n) for n in ref.detail.removeprefix("shape=").split(","))
    stored = _image(inside(root, item.image))
    if stored.shape != tuple(sizes):
        raise ImageReadError(f"the image has the shape {stored.shape}", f"{tuple(sizes)} as the name of its mask says")
    if classes != len(ref.names) or list(ref.names) != list(range(1, classes + 1)):
        raise ImageReadError(f"the mask has {classes} classes", f"{len(ref.names)} as the split file names")
    geometry = _geometry(stored.shape, str(dict(item.read).get("axes", "")) or axes_of(stored.shape))
    file = Source(Path(item.image).name, "npy", sha256(inside(root, item.image)))
    # Without its modality the case is windowed by percentiles; that of CT is meant for Hounsfield units, which were normalised away.
    case = Case(to_canonical(stored, geometry), "volume", geometry, "", file, None, ("intensities were normalised",))
    packer = Packer(stored.shape)
    rows = _rows(inside(root, ref.path), (classes, stored.size))
    for name in ref.structures:
        own = [rows[value - 1] for value, other in ref.names.items() if other == name]
        packer.add(name, own[0] if len(own) == 1 else np.unique(np.concatenate(own)))
    values: Values = {(value, name): bool(rows[value - 1].size) for value, name in ref.names.items()}
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


# --- M3D-Seg: ``NNNN/case/image.npy`` with ``mask_(C, X, Y, Z).npz`` (sparse, one row a class) and a split file ``NNNN.json``.


_SHAPE = re.compile(r"mask_\((\d{1,6}), ?(\d{1,6}), ?(\d{1,6}), ?(\d{1,6})\)\.npz")
_SPLITS = (("train", "train"), ("training", "train"), ("validation", "validation"), ("val", "validation"), ("test", "test"))


def _m3d(source: FolderSource) -> Iterator[Item | Skipped]:
    """Cases of all data sets, by number; a case listed twice is taken once."""
    # NNNN.json lies beside or inside the folder NNNN.
    indexes = []
    for entry in entries(source.root, "the folder with 0000/0000.json"):
        inner = entry / f"{entry.name}.json"
        if re.fullmatch(r"\d{1,6}\.json", entry.name):
            indexes.append(entry)
        elif re.fullmatch(r"\d{1,6}", entry.name) and inner.is_file():
            indexes.append(inner)
    if not indexes:
        raise FormatError(f"'{source.root}' holds no split file", "0000/0000.json and so on")
    for path in sorted(indexes, key=lambda p: natural(p.stem)):
        yield from _data_set(source, path)


def _data_set(source: FolderSource, path: Path) -> Iterator[Item | Skipped]:
    try:
        index = read_json(path)
        table = index.get("labels")
        names = legend(table) if isinstance(table, dict) else {}
        if not any(names.values()):
            raise FormatError(f"'{path.name}' has no usable 'labels'", "values with names")
    except UniReasonError as error:
        yield Skipped(path.stem, str(error))
        return
    said = index.get("modality")
    said = next(iter(said.values()), "") if isinstance(said, dict) else said
    modality = modality_code(said) if isinstance(said, str) else ""
    listed = [(e, split) for key, split in _SPLITS for e in (index.get(key) if isinstance(index.get(key), list) else [])]
    for entry, split in sorted(listed, key=lambda pair: natural(_text(pair[0], "image"))):
        yield _item(source, path.stem, entry, names, (modality, split))


def _item(source: FolderSource, number: str, entry: Any, names: dict[int, str], said: tuple[str, str]) -> Item | Skipped:
    text = _text(entry, "image")
    try:
        image, label = (_below(number, relative(_text(entry, key))) for key in ("image", "label"))
        case = f"{number}--{PurePosixPath(image).parent.name}"
        match = _SHAPE.fullmatch(PurePosixPath(label).name)
        if match is None:
            return Skipped(case, f"its mask is called {PurePosixPath(label).name[:100]!r}, expected mask_(C, X, Y, Z).npz")
        for path in (image, label):
            if not inside(source.root, path).is_file():
                return Skipped(case, f"there is no file '{path}'")
    except UniReasonError as error:
        return Skipped(f"{number}--{text[:100]}", str(error))
    return Item(
        id=case,
        patient=patient_of(image),
        kind="volume",
        image=image,
        masks=(MaskRef(label, names, detail="shape=" + ",".join(match.groups())),),
        annotated=tuple(sorted({name for name in names.values() if name})),
        modality=said[0],
        read=(("axes", source.options["axes"]),) if source.options["axes"] else (),
        split=said[1],
        extra={"dataset": number},
    )


def patient_of(path: str) -> str:
    """The patient behind a path of M3D: number and case; for M3D-Cap the case alone, so that quiz copies go with their originals.

    Args:
        path: As the data set spells it, such as "0000/12/image.npy" or "ct_quizze/000017/Axial.npy".
    """
    parts = PurePosixPath(relative(path)).parts
    for folder_name in ("ct_case", "ct_quizze"):
        if folder_name in parts[:-1]:
            return f"case--{parts[parts.index(folder_name) + 1]}"
    return "--".join(parts[-3:-1])


def _text(entry: Any, key: str) -> str:
    return str(entry.get(key, "")) if isinstance(entry, dict) else ""


def _below(number: str, path: str) -> str:
    """NNNN/case/file, whatever folders of the publisher's machine stand in front."""
    parts = PurePosixPath(path).parts
    if number in parts[:-2]:
        parts = parts[len(parts) - 1 - parts[::-1].index(number) :]
    if ".." in parts or len(parts) < 2:
        raise FormatError(f"the path {path[:200]!r} in {number}.json", f"{number}/case/file")
    return "/".join(parts)


def _axes(options: Mapping[str, str], key: str) -> str:
    axes = options.get(key, "")
    if axes not in ("", "xyz", "zyx"):
        raise FormatError(f"the option {key} is {axes!r}", "xyz or zyx")
    return axes


LAYOUTS = {
    "m3d-seg": SourceLayout(
        "m3d-seg",
        _m3d,
        wants="the folder with 0000/0000.json",
        holds="'train' and 'test' with {image, label}",
        title="M3D-Seg",
        licence="Apache-2.0 for the collection; the licences of its parts hold as well",
        options={"axes": _axes},
        load=load_arrays,
    )
}
