"""Mask files become label maps on the grid of their image, with values exactly as stored.

Values are never windowed, resampled or rounded. Masks that do not overlap share one layer; a structure lies in exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.data.item import Item, Layer, Loaded, MaskRef, check_masks, inside
from unireason.errors import FormatError, ImageReadError
from unireason.imaging.decode import decoding
from unireason.imaging.limits import Limits, file_size
from unireason.types import Case

from .grids import on_grid

Labels = NDArray[np.unsignedinteger[Any]]
_HALF = 128  # from here on a pixel of a lossy black-and-white mask is white


def load_files(root: Path, item: Item, *, correct: Callable[[MaskRef, NDArray[Any]], NDArray[Any]] | None = None) -> Loaded:
    """Read an item whose image and masks are files that ``imaging.read`` knows.

    Args:
        root: The source's folder.
        item: The item.
        correct: What the source must do to the values of a mask before they are judged, such as turning black and white.

    Returns:
        The case with its layers.

    Raises:
        UniReasonError: If a file is missing, damaged, or lies on another grid than the image.
    """
    case = read_case(root, item)
    cache: dict[str, NDArray[Any]] = {}

    def values(ref: MaskRef) -> NDArray[Any]:
        if ref.path not in cache:
            cache.clear()  # masks of one file stand one behind the other; hundreds of files would not fit
            cache[ref.path] = read_mask(case, inside(root, ref.path), item)
        found = cache[ref.path]
        return correct(ref, found) if correct else found

    return Loaded(item, case, layers(case, item.masks, values))


def read_case(root: Path, item: Item) -> Case:
    """The image of an item.

    Raises:
        UniReasonError: If it cannot be read or is not of the kind that the item says.
    """
    case = imaging.read(inside(root, item.image), **_options(item))
    if case.kind != item.kind:
        raise ImageReadError(f"'{case.source.name}' holds one {case.kind}", f"one {item.kind}")
    return case


def _options(item: Item) -> dict[str, Any]:
    options = dict(item.read)
    if item.modality:
        options["modality"] = item.modality
    if item.spacing_mm is not None:
        options["spacing_mm"] = item.spacing_mm
    return options


def read_mask(case: Case, path: Path, item: Item) -> NDArray[Any]:
    """The values of a mask file on the grid of the case.

    Args:
        case: The image.
        path: The mask file.
        item: Whose reading options for bare arrays ("axes") hold for the mask too.

    Returns:
        Whole numbers or booleans, (Z, Y, X) or (Y, X). Colours of a palette picture are taken by their index; grey stored as
        colour is grey; lossy pictures become 0 and 255.

    Raises:
        UniReasonError: If it cannot be read, holds colours, or lies on another grid.
    """
    palette = indices_of_palette(path)
    if palette is not None:
        check_masks(case, palette, f"'{path.name}'")
        return palette
    options = {k: v for k, v in item.read if k == "axes"} if path.suffix.lower() in (".npy", ".npz") else {}
    mask = imaging.read(path, **options)
    pixels = mask.pixels
    if mask.kind == "image" and pixels.ndim == 3:
        if not ((pixels[..., 0] == pixels[..., 1]) & (pixels[..., 0] == pixels[..., 2])).all():
            raise ImageReadError(
                f"the mask '{path.name}' is a colour picture", "one value a pixel", "store labels as grey levels"
            )
        pixels = pixels[..., 0]
    if mask.source.format == "jpeg":
        pixels = np.where(pixels >= _HALF, np.uint8(255), np.uint8(0))
    return on_grid(case, mask, pixels, f"'{path.name}'")


def indices_of_palette(path: Path) -> NDArray[np.uint8] | None:
    """Indices of a palette picture, which reading for display would replace by colours; None for any other file.

    Raises:
        UniReasonError: If the file is missing, damaged or too large.
    """
    if path.suffix.lower() not in (".png", ".bmp", ".tif", ".tiff"):
        return None
    from PIL import Image

    limits = Limits()
    file_size(path, limits)
    with decoding(path, "a picture"), Image.open(path, formats=("PNG", "TIFF", "BMP")) as picture:
        if picture.mode != "P":
            return None
        limits.check("max_pixels", picture.width * picture.height, f"'{path.name}'")
        return np.asarray(picture).copy()


def whole(values: NDArray[Any], what: str) -> Labels:
    """Label values as the smallest unsigned integers that hold them.

    Args:
        values: Numbers of any real type.
        what: The file, for messages.

    Raises:
        FormatError: If a value is negative, fractional, not finite or above 2^32 - 1.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high < 2**32):
        raise FormatError(f"the mask {what} holds values from {low} to {high}", "whole numbers from 0")
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise FormatError(f"the mask {what} holds fractions", "whole numbers", "resample labels with nearest neighbours")
    kind = np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.uint32
    return np.ascontiguousarray(values.astype(kind, copy=False))


def layers(case: Case, refs: Iterable[MaskRef], values: Callable[[MaskRef], NDArray[Any]]) -> tuple[Layer, ...]:
    """Label maps of an item.

    A label map whose names occur nowhere else is kept as it is. All else (binary masks, one name for several values or files,
    overlapping regions) is taken apart by name and packed: each structure into the first layer where its voxels are free.

    Args:
        case: The image, whose grid all masks share.
        refs: The masks, with names in readable spelling.
        values: Gives the values of one mask on that grid.

    Returns:
        The layers, in the order of the masks; () if there are none.

    Raises:
        FormatError: If values are no whole numbers.
        ImageReadError: If a mask has another shape.
    """
    owners: dict[str, list[MaskRef]] = {}
    known = tuple(refs)
    for ref in known:
        for name in dict.fromkeys(ref.names.values()):
            owners.setdefault(name, []).append(ref)
    kept, packer = [], Packer(case.pixels.shape[: 3 if case.kind == "volume" else 2])
    for ref in known:
        if _stands_alone(ref, owners):
            labels = whole(values(ref), f"'{ref.path}'")
            check_masks(case, labels, f"'{ref.path}'")
            kept.append(Layer(labels, dict(ref.names)))
            for name in ref.names.values():
                del owners[name]
    for name, having in owners.items():
        mask = _union(name, having, values)
        check_masks(case, mask, f"of {name}")
        packer.add(name, np.flatnonzero(mask))
    return (*kept, *packer.layers())


def _stands_alone(ref: MaskRef, owners: Mapping[str, list[MaskRef]]) -> bool:
    names = list(ref.names.values())
    return not ref.binary and len(set(names)) == len(names) and all(len(owners[n]) == 1 for n in names)


def _union(name: str, refs: list[MaskRef], values: Callable[[MaskRef], NDArray[Any]]) -> NDArray[np.bool_]:
    """Every voxel that one of the masks gives to a name."""
    found: NDArray[np.bool_] | None = None
    for ref in refs:
        labels = values(ref)
        wanted = [v for v, n in ref.names.items() if n == name]
        mask = labels > 0 if ref.binary else np.isin(whole(labels, f"'{ref.path}'"), wanted)
        found = mask if found is None else found | mask
    return found if found is not None else np.zeros((), np.bool_)


class Packer:
    """Puts structures into as few label maps as first-come, first-served needs.

    Args:
        shape: Shape of every map.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._maps: list[tuple[NDArray[Any], dict[int, str]]] = []

    def add(self, name: str, where: NDArray[np.intp]) -> None:
        """Put one structure into the first map where its voxels are free.

        Args:
            name: Its name, new to the packer.
            where: Flat indices of its voxels; none for a structure that is absent.
        """
        index = next((n for n, (flat, _) in enumerate(self._maps) if not flat[where].any()), len(self._maps))
        if index == len(self._maps):
            self._maps.append((np.zeros(int(np.prod(self._shape)), np.uint8), {}))
        flat, names = self._maps[index]
        value = len(names) + 1
        if value > np.iinfo(flat.dtype).max:
            flat = flat.astype(np.uint16)
        flat[where] = value
        names[value] = name
        self._maps[index] = (flat, names)

    def layers(self) -> Iterator[Layer]:
        """The maps as layers, in the order in which they were begun."""
        yield from (Layer(flat.reshape(self._shape), names) for flat, names in self._maps)
