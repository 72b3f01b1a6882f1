"""Mask files become label maps on the grid of their image, with values exactly as stored.

Values are never windowed, resampled or rounded, and every value that occurs must have a name: what an unnamed one shows would be
called absent. Masks that do not overlap share one layer; a structure lies in exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.data.item import Item, Layer, Loaded, MaskRef, UnnamedError, check_masks, inside
from unireason.errors import FormatError, ImageReadError
from unireason.imaging.limits import Limits, file_size
from unireason.imaging.picture import read_stored
from unireason.imaging.reader import sniff
from unireason.types import Case

from .grids import on_grid

Labels = NDArray[np.unsignedinteger[Any]]
Values = dict[tuple[int, str | None], bool]
IGNORE = "ignore-unnamed"
"""Option of a source: values without a name count as background."""
_HALF = 128  # from here on a pixel of a lossy black-and-white mask is white
_WHITE = (2**8 - 1, 2**16 - 1)  # what programs write for "set", whatever the one label is called
_NOISE = 1e-3  # how far a label may lie from a whole number in a file that stores values as they are
_WIDEST = 0.5  # steps from which on a scale does not excuse a fraction
_SHOWN = 12  # values named in a message


def load_files(
    root: Path,
    item: Item,
    *,
    ignore_unnamed: bool = False,
    correct: Callable[[MaskRef, NDArray[Any]], NDArray[Any]] | None = None,
) -> Loaded:
    """Read an item whose image and masks are files that ``imaging.read`` knows.

    Args:
        root: The source's folder.
        item: The item.
        ignore_unnamed: True to take values without a name for background.
        correct: What the source must do to the values of a mask before they are judged, such as turning black and white.

    Returns:
        The case with its layers.

    Raises:
        UnnamedError: If a label map holds a value without a name.
        UniReasonError: If a file is missing, damaged, or lies on another grid than the image.
    """
    case = read_case(root, item)
    cache: dict[str, Labels] = {}
    known: Values = {}

    def values(ref: MaskRef) -> Labels:
        if ref.path not in cache:
            cache.clear()  # masks of one file stand one behind the other; hundreds of files would not fit
            found = read_mask(case, inside(root, ref.path), item)
            labels = whole(correct(ref, found) if correct else found, f"'{ref.path}'")
            names = {v: n for other in item.masks if other.path == ref.path for v, n in other.names.items()}
            cache[ref.path], told = named(labels, names, f"'{ref.path}'", binary=ref.binary, ignore=ignore_unnamed)
            known.update({key: there or known.get(key, False) for key, there in told.items()})
        return cache[ref.path]

    return Loaded(item, case, layers(case, item.masks, values), known)


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
        Whole numbers or booleans, (Z, Y, X) or (Y, X). Colours of a palette picture are taken by their index, greys of a few bits as
        they are stored; grey stored as colour is grey; lossy pictures become 0 and 255.

    Raises:
        UniReasonError: If it cannot be read, holds colours, or lies on another grid.
    """
    options = {k: v for k, v in item.read if k == "axes"} if path.suffix.lower() in (".npy", ".npz") else {}
    mask = read_as_stored(path, **options)
    pixels = mask.pixels
    if mask.kind == "image" and pixels.ndim == 3:
        if not ((pixels[..., 0] == pixels[..., 1]) & (pixels[..., 0] == pixels[..., 2])).all():
            raise ImageReadError(
                f"the mask '{path.name}' is a colour picture", "one value a pixel", "store labels as grey levels"
            )
        pixels = pixels[..., 0]
    if mask.source.format == "jpeg":
        pixels = np.where(pixels >= _HALF, np.uint8(255), np.uint8(0))
    (step,) = mask.geometry.header.get("step", (0.0,))
    return on_grid(case, mask, whole(pixels, f"'{path.name}'", step), f"'{path.name}'")


def read_as_stored(path: Path, **options: Any) -> Case:
    """A file as ``imaging.read`` gives it, a picture with the values that it stores: indices of a palette, greys of a few bits.

    Raises:
        UniReasonError: If the file is missing, damaged or too large.
    """
    file_size(path, Limits())
    stored = read_stored(path, imaging.ReadOptions.of(**options)) if sniff(path) == "picture" else None
    return stored or imaging.read(path, **options)


def whole(values: NDArray[Any], what: str, step: float = 0.0) -> Labels:
    """Label values as the smallest unsigned integers that hold them.

    Programs that store floats as scaled integers give labels back a little off (0.996 for 1). They are rounded if no value is
    further from a whole number than half a step of that scale; without a scale of steps below a half, than a thousandth.

    Args:
        values: Numbers of any real type.
        what: The file, for messages.
        step: Distance of two values that the file can tell apart; 0 if it stores its values as they are.

    Raises:
        FormatError: If a value is negative, fractional, not finite or above 2^32 - 1.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        lost = values.size - int(np.count_nonzero(np.isfinite(values)))
        if lost:
            raise FormatError(
                f"the mask {what} holds {lost:,} values that are not numbers (NaN or infinite)",
                "whole numbers from 0",
                "save it with 0 in their place",
            )
        rounded = np.rint(values)
        if np.abs(values - rounded).max(initial=0.0) > max(_NOISE, 0.501 * step if step < _WIDEST else 0.0):
            raise FormatError(
                f"the mask {what} holds fractions",
                "whole numbers",
                "resample labels with nearest neighbours and save them as integers",
            )
        values = rounded
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high < 2**32):
        raise FormatError(f"the mask {what} holds values from {low} to {high}", "whole numbers from 0")
    kind = np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.uint32
    return np.ascontiguousarray(values.astype(kind, copy=False))


def occurring(labels: Labels) -> list[int]:
    """The values above 0 that occur, in order; label maps of up to 16 bits are counted slice by slice, so that nothing is widened."""
    if labels.size == 0 or labels.max() <= 1:
        return [1] if labels.any() else []
    if labels.dtype.itemsize > 2:
        return [int(v) for v in np.unique(labels) if v]
    seen = np.zeros(np.iinfo(labels.dtype).max + 1, np.bool_)
    for plane in labels if labels.ndim == 3 else (labels,):
        seen |= np.bincount(plane.ravel(), minlength=len(seen)) > 0
    return [int(v) for v in np.flatnonzero(seen) if v]


def named(labels: Labels, names: Mapping[int, str], what: str, *, binary: bool, ignore: bool) -> tuple[Labels, Values]:
    """A label map in which every value has a name.

    Where there is one label, white (255, in 16 bits 65535) stands for it if its own value does not occur; the one value of a mask of one
    structure stands for it whatever it is.

    Args:
        labels: Values as stored.
        names: Value to name, "" for what is no structure.
        what: The file, for messages.
        binary: True for a mask of one structure.
        ignore: True to take values without a name for background.

    Returns:
        The values by their names, and what those of the file mean, as in ``Loaded``.

    Raises:
        UnnamedError: If a label map holds a value without a name.
        FormatError: If a mask of one structure holds several values.
    """
    present = occurring(labels)
    meant = {value: value for value in names}
    if len(names) == 1 and not names.keys() & set(present):
        white = [v for v in present if v in _WHITE or (binary and len(present) == 1)]
        meant = {white[-1]: next(iter(names))} if white else meant
    told: Values = {(value, names[own]): value in present for value, own in meant.items()}
    unnamed = [v for v in present if v not in meant]
    told |= {(v, None): True for v in unnamed}
    if unnamed and not ignore:
        raise _unnamed(what, present, unnamed, names, binary=binary, told=told)
    if unnamed or any(value != own for value, own in meant.items()):
        shown = labels
        labels = np.zeros_like(shown)
        for value, own in meant.items():
            labels[shown == value] = own
    return labels, told


def _unnamed(
    what: str, present: Sequence[int], unnamed: Sequence[int], names: Mapping[int, str], *, binary: bool, told: Values
) -> FormatError:
    ignoring = f"--ignore-unnamed (the option {IGNORE}=yes) takes the others for background"
    if binary:
        (name,) = names.values()
        return FormatError(
            f"the mask {what} of '{name}' holds the values {_few(present)}", "0 and one other value", f"store one; {ignoring}"
        )
    legend = _few([f"{value} {name or '(no structure)'}" for value, name in sorted(names.items())])
    error = UnnamedError(
        f"the mask {what} holds values without a name: {_few(unnamed)}; it holds {_few(present)} besides 0, and named are {legend}",
        "a name for every value",
        f"name them where the labels of the data set are named; {ignoring}",
    )
    error.values = told
    return error


def _few(values: Sequence[object]) -> str:
    more = f" and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return ", ".join(str(v) for v in values[:_SHOWN]) + more


def layers(case: Case, refs: Iterable[MaskRef], values: Callable[[MaskRef], Labels]) -> tuple[Layer, ...]:
    """Label maps of an item.

    A label map whose names occur nowhere else is kept as it is. All else (binary masks, one name for several values or files,
    overlapping regions) is taken apart by name and packed: each structure into the first layer where its voxels are free.

    Args:
        case: The image, whose grid all masks share.
        refs: The masks, with names in readable spelling.
        values: Gives the values of one mask on that grid, by their names.

    Returns:
        The layers, in the order of the masks; () if there are none.

    Raises:
        ImageReadError: If a mask has another shape.
    """
    owners: dict[str, list[MaskRef]] = {}
    known = tuple(refs)
    for ref in known:
        for name in ref.structures:
            owners.setdefault(name, []).append(ref)
    kept, packer = [], Packer(case.pixels.shape[: 3 if case.kind == "volume" else 2])
    for ref in known:
        if _stands_alone(ref, owners):
            labels = values(ref)
            check_masks(case, labels, f"'{ref.path}'")
            kept.append(Layer(labels, {value: name for value, name in ref.names.items() if name}))
            for name in ref.structures:
                del owners[name]
    for name, having in owners.items():
        mask = _union(name, having, values)
        check_masks(case, mask, f"of {name}")
        packer.add(name, np.flatnonzero(mask))
    return (*kept, *packer.layers())


def _stands_alone(ref: MaskRef, owners: Mapping[str, list[MaskRef]]) -> bool:
    names = [name for name in ref.names.values() if name]
    return not ref.binary and len(set(names)) == len(names) and all(len(owners[n]) == 1 for n in names)


def _union(name: str, refs: list[MaskRef], values: Callable[[MaskRef], Labels]) -> NDArray[np.bool_]:
    """Every voxel that one of the masks gives to a name."""
    found: NDArray[np.bool_] | None = None
    for ref in refs:
        mask = np.isin(values(ref), [v for v, n in ref.names.items() if n == name])
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
