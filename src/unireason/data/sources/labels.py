"""Mask files become label maps on the grid of their image, with values exactly as stored.

Values are never windowed, resampled or rounded, and every value that occurs must have a name: what an unnamed one shows would be
called absent. Masks that do not overlap share one layer; a structure lies in exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError
from unireason.core.types import Affine, Case, Geometry
from unireason.data.item import Item, Layer, Loaded, MaskRef, UnnamedError, check_masks, inside
from unireason.imaging.geometry import canonical_to_voxel, to_canonical, to_source, voxel_to_world
from unireason.imaging.raster import read_stored
from unireason.imaging.reader import Limits, file_size, sniff

# --- Masks are laid onto the grid of their image by what both files say about the patient, not by the order of their bytes.


TOLERANCE = 0.5
"""Largest distance between a mask voxel and its image voxel, in voxels, anywhere in the volume: headers round."""


def on_grid(case: Case, mask: Case, values: NDArray[Any], what: str) -> NDArray[Any]:
    """The values of a mask in the axis order of its image."""
    image, own = case.geometry, mask.geometry
    if case.kind == mask.kind == "volume" and image.affine_lps is not None and own.affine_lps is not None:
        values = _turned(image, own, values, what)
    elif case.kind == mask.kind == "image" and (image.order, image.flips) != (own.order, own.flips):
        # Turned otherwise than its picture: drawn on the pixels that the picture stores, or on those that it shows.
        stored = to_source(values, own)
        on_stored, on_shown = stored.shape == image.source_shape[::-1], values.shape == image.shape
        if on_stored == on_shown:
            came = f"the image of {what} and the mask are turned differently by EXIF"
            raise ImageReadError(came, "the same turn", "save both upright")
        values = to_canonical(stored, image) if on_stored else values
    check_masks(case, values, what)
    return values


def canonical_affine(geometry: Geometry) -> Affine:
    """(4, 4) canonical index (x, y, z) at voxel centres to LPS millimetres."""
    corners = [(0.5, 0.5, 0.5), (1.5, 0.5, 0.5), (0.5, 1.5, 0.5), (0.5, 0.5, 1.5)]
    world = np.array([voxel_to_world(canonical_to_voxel(c, geometry), geometry) for c in corners])
    affine = np.eye(4)
    affine[:3, :3] = (world[1:] - world[0]).T
    affine[:3, 3] = world[0]
    return affine


def _turned(image: Geometry, mask: Geometry, values: NDArray[Any], what: str) -> NDArray[Any]:
    """Mask values along the image's canonical axes, after checking that both describe the same voxels."""
    between = np.linalg.solve(canonical_affine(image), canonical_affine(mask))
    turn = np.rint(between[:3, :3])
    sizes = np.array(values.shape[::-1], float)
    if np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) and np.array_equal(np.abs(turn).sum(1), [1, 1, 1]):
        axes = [int(np.abs(row).argmax()) for row in turn]  # image axis x, y, z -> mask axis
        view = values.transpose([2 - a for a in reversed(axes)])
        flips = [turn[n, a] < 0 for n, a in enumerate(axes)]
        view = view[tuple(slice(None, None, -1 if f else 1) for f in reversed(flips))]
        shift = np.where(turn.sum(1) < 0, np.array(view.shape[::-1]) - 1.0, 0.0)
        corners = np.array(list(product(*((0.0, n - 1.0) for n in sizes))))
        apart = corners @ between[:3, :3].T + between[:3, 3] - (corners @ turn.T + shift)
        if view.shape != image.shape or np.abs(apart).max() <= TOLERANCE:
            return view  # another shape is told by the caller, in the words of shapes
        far = f"up to {np.abs(apart).max():.3g} voxels apart"
    else:
        far = "along other axes"
    raise GeometryError(
        f"the mask {what} lies elsewhere in the patient than its image ({far})",
        f"voxels at most {TOLERANCE} apart",
        "resample the mask onto the image, or repair the header that is wrong",
    )


# --- Mask files become label maps on the grid of their image, with values exactly as stored.


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
    """Read an item whose image and masks are files that ``imaging.read`` knows."""
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
    """The image of an item."""
    options = dict(item.read)
    if item.modality:
        options["modality"] = item.modality
    if item.spacing_mm is not None:
        options["spacing_mm"] = item.spacing_mm
    case = imaging.read(inside(root, item.image), **options)
    if case.kind != item.kind:
        raise ImageReadError(f"'{case.source.name}' holds one {case.kind}", f"one {item.kind}")
    return case


def read_mask(case: Case, path: Path, item: Item) -> NDArray[Any]:
    """The values of a mask file on the grid of the case."""
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
    """A file as ``imaging.read`` gives it, a picture with the values that it stores: indices of a palette, greys of a few bits."""
    file_size(path, Limits())
    stored = read_stored(path, imaging.ReadOptions.of(**options)) if sniff(path) == "picture" else None
    return stored or imaging.read(path, **options)


def whole(values: NDArray[Any], what: str, step: float = 0.0) -> Labels:
    """Label values as the smallest unsigned integers that hold them."""
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
    """A label map in which every value has a name."""
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
    """Label maps of an item."""
    owners: dict[str, list[MaskRef]] = {}
    known = tuple(refs)
    for ref in known:
        for name in ref.structures:
            owners.setdefault(name, []).append(ref)
    kept, packer = [], Packer(case.pixels.shape[: 3 if case.kind == "volume" else 2])
    for ref in known:
        named_here = [name for name in ref.names.values() if name]
        if not ref.binary and len(set(named_here)) == len(named_here) and all(len(owners[n]) == 1 for n in named_here):
            labels = values(ref)
            check_masks(case, labels, f"'{ref.path}'")
            kept.append(Layer(labels, {value: name for value, name in ref.names.items() if name}))
            for name in ref.structures:
                del owners[name]
    for name, having in owners.items():
        mask = np.zeros((), np.bool_)
        for ref in having:  # every voxel that one of the masks gives to the name
            mask = mask | np.isin(values(ref), [v for v, n in ref.names.items() if n == name])
        check_masks(case, mask, f"of {name}")
        packer.add(name, np.flatnonzero(mask))
    return (*kept, *packer.layers())


class Packer:
    """Puts structures into as few label maps as first-come, first-served needs."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._maps: list[tuple[NDArray[Any], dict[int, str]]] = []

    def add(self, name: str, where: NDArray[np.intp]) -> None:
        """Put one structure into the first map where its voxels are free."""
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
