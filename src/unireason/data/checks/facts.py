"""What checks find, gathered in bounded memory: every finding counts, the first ones of each check are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from itertools import pairwise
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.types import Box, Box2D, Box3D, Frame
from unireason.data import names
from unireason.data.item import Loaded
from unireason.data.scene import Scene
from unireason.imaging import present as windows

MOST_KEPT = 50
"""Problems of one check that are kept with their words; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    check: str
    about: str
    id: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """``{"check", <about>, "detail"}`` as plain values; without the middle one for the whole data set."""
        return {"check": self.check, **({self.about: self.id} if self.about else {}), "detail": self.detail}


@dataclass(slots=True)
class CheckFindings:
    """Gathers what the checks find."""

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: list[Finding] = field(default_factory=list)

    def start(self, check: str) -> None:
        """Note that a check runs, so that it is listed even if it finds nothing."""
        self.counts[check] += 0
        self.checked.setdefault(check, {})

    def count(self, check: str, what: str, number: int = 1) -> None:
        """Add to what a check looked at."""
        seen = self.checked.setdefault(check, {})
        seen[what] = seen.get(what, 0) + number

    def add(self, check: str, detail: str, **about: str) -> None:
        """Add one problem."""
        self.counts[check] += 1
        if self.counts[check] <= MOST_KEPT:
            self.kept.append(_finding(check, detail, about))

    def remark(self, check: str, detail: str, **about: str) -> None:
        """Add something worth knowing that is no fault; the first of each check are kept."""
        if sum(r.check == check for r in self.remarks) < MOST_KEPT:
            self.remarks.append(_finding(check, detail, about))


def _finding(check: str, detail: str, about: dict[str, str]) -> Finding:
    kind, name = next(iter(about.items()), ("", ""))
    return Finding(check, kind, name, detail)


# --- What a case holds, told twice: by its record, and by its masks in plain slow code that shares nothing with ``data/extract``.

Numbers = tuple[float, ...]
Corner = tuple[int, ...]
T = TypeVar("T")

NEAR = 5.0
"""Millimetres (pixels where the spacing is unknown) within which something is a neighbour."""
_LEAST_CORE = 30  # pixels away from the edge, from which a standard deviation is told
_RING = 3  # least width in pixels of the ring that a contrast is taken against
LUMA = (0.299, 0.587, 0.114)  # Source: ITU-R BT.601, section 2.5.1


class SceneFacts:
    """Facts as the record tells them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def present(self) -> frozenset[str]:
        """Structures that are there, unclear ones included."""
        return frozenset(self.scene.structures) | frozenset(self.scene.unclear)

    def centre(self, name: str) -> Numbers:
        """Centre of mass relative to the middle of the picture along the scene's directions, millimetres or pixels."""
        return self.scene.structures[name].centre

    def measure(self, name: str) -> float:
        """Area or volume in the scene's unit."""
        return self.scene.structures[name].measure

    def box(self, name: str) -> Box:
        """Tight box in the model frame, not rounded if it comes from masks."""
        return self.scene.structures[name].box_model

    def slices(self, name: str) -> tuple[int, int]:
        """Half-open range of model slices whose extent it touches; (0, 1) in an image."""
        return self.scene.structures[name].slices

    def components(self, name: str) -> int:
        """Connected components, specks below 1% of the structure left out."""
        return self.scene.structures[name].part_count

    def contrast(self, name: str) -> float:
        """Mean grey level inside minus that of the ring around."""
        return self.scene.structures[name].contrast

    def diameters(self, name: str) -> Numbers:
        """Longest way across the largest part, on the slice where that is largest, and across that; () if it is not known."""
        return self.scene.structures[name].diameters

    def widest(self, name: str) -> int:
        """Model slice that shows most of it; -1 if it is not known."""
        return self.scene.structures[name].widest[0] if self.scene.structures[name].widest else -1

    def gap(self, name: str, other: str) -> float | None:
        """Shortest way from voxel to voxel in millimetres; None if it is not known."""
        return self.scene.structures[name].gaps.get(other)

    def touches(self, name: str, other: str) -> bool:
        """Whether no voxel lies between a lesion and a structure."""
        return other in self.scene.structures[name].touching

    def tone(self, name: str) -> Numbers:
        """Mean grey level and standard deviation away from the edge (-1 if too little lies there); () if it is not known."""
        return self.scene.structures[name].grey[:2]

    def attenuation(self, name: str) -> float | None:
        """Mean in Hounsfield units; None if it is not known."""
        grey, window = self.scene.structures[name].grey, self.scene.hounsfield
        return window[0] + grey[0] / 255 * (window[1] - window[0]) if grey and window else None

    def outline(self, name: str) -> Numbers:
        """Length over width and solidity of the largest part on its largest slice; () if it is not known."""
        return self.scene.structures[name].outline

    def length(self, name: str) -> float | None:
        """From its lowest to its highest slice in millimetres; None if that is not known."""
        box, spacing = self.scene.structures[name].box_canonical, self.scene.spacing_mm
        return (box[5] - box[2]) * spacing[2] if spacing and len(box) == 6 else None

    def instance_boxes(self, name: str) -> list[tuple[Corner, Corner, int]]:
        """Lower and upper canonical corner and voxels of every component that is no speck, largest first."""
        own = self.scene.structures[name]
        half = len(self.scene.shape)
        return [(p.box_canonical[:half], p.box_canonical[half:], p.voxels) for p in own.parts if 100 * p.voxels >= own.voxels]

    def around(self, name: str) -> list[str]:
        """Structures that surround it, the one that makes up most of its surroundings first.

        Here those neighbours whose box goes round the middle of its box, the smallest box first.
        """
        own, half = self.scene.structures[name].box_canonical, len(self.scene.shape)
        middle = [(own[i] + own[half + i]) / 2 for i in range(half)]
        found = []
        for other in self.scene.structures[name].neighbours:
            if other not in self.scene.structures:
                continue
            box = self.scene.structures[other].box_canonical
            if all(box[i] <= m <= box[half + i] for i, m in enumerate(middle)):
                found.append((prod(box[half + i] - box[i] for i in range(half)), other))
        return [other for _, other in sorted(found)]


def _kept(measure: Callable[..., T]) -> Callable[..., T]:
    """A method of MaskFacts that is worked out once for each name."""

    @wraps(measure)
    def kept(self: MaskFacts, *name: str) -> T:
        key = (measure.__name__, *name)
        if key not in self._seen:
            self._seen[key] = measure(self, *name)
        found: T = self._seen[key]
        return found

    return kept


class MaskFacts:
    """Facts recomputed from a loaded item. What is asked twice is kept; masks themselves are not."""

    def __init__(self, loaded: Loaded, k: int, scene: Scene, *, window: str = "auto") -> None:
        """Take an item, or one axial slice of it."""
        cut: Any = slice(None) if k < 0 else k
        self.scene = scene
        self.pixels = loaded.case.pixels[cut]
        # A slice is shown under its own window, as the picture that it is.
        self._case = loaded.case if k < 0 else replace(loaded.case, pixels=self.pixels, kind="image")
        self._window = window
        self._layers = [
            (layer.labels[cut], {v: names.readable(title) for v, title in sorted(layer.names.items()) if v})
            for layer in loaded.layers
        ]
        self.shape: tuple[int, ...] = self._layers[0][0].shape if self._layers else self.pixels.shape[: len(scene.shape)]
        geometry = loaded.case.geometry
        spacing = geometry.spacing_mm or loaded.item.spacing_mm
        affine = geometry.affine_lps
        # Columns: patient millimetres of one step along canonical x, y, z.
        world = None if affine is None else np.array(affine, float)[:3, list(geometry.order)] * np.where(geometry.flips, -1, 1)
        if spacing is None and world is not None and scene.space == "patient":
            spacing = tuple(float(v) for v in np.linalg.norm(world, axis=0))
        self.dimensions = len(self.shape)
        self.spacing: Numbers | None = None if spacing is None else tuple(float(s) for s in spacing[: self.dimensions])
        self.world = world
        self._seen: dict[tuple[str, ...], Any] = {}

    @property
    def steps(self) -> Numbers:
        """Voxel size along x, y[, z]; ones where it is unknown."""
        return self.spacing or (1.0,) * self.dimensions

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Mask of a structure on the canonical grid; empty if it is not there."""
        out = np.zeros(self.shape, bool)
        for labels, titles in self._layers:
            for value, title in titles.items():
                if title == name:
                    out |= labels == value
        return out

    def grey(self, part: Any = slice(None)) -> NDArray[np.float64]:
        """Grey levels from 0 to 255 of a part of the canonical grid, colours by their luma."""
        grey = windows.apply(self.pixels[part], windows.choose(self._case, self._window)).astype(float)
        return grey @ np.array(LUMA) if grey.ndim > self.dimensions else grey

    @_kept
    def present(self) -> frozenset[str]:
        """See SceneFacts."""
        found = set()
        for labels, titles in self._layers:
            values = set(np.unique(labels).tolist())
            found |= {title for value, title in titles.items() if value in values}
        return frozenset(found)

    @_kept
    def where(self, name: str) -> tuple[Corner, Corner, Numbers, int]:
        """Lower and upper corner (half-open) and mean index of the voxel centres, all (x, y[, z]), and the number of voxels."""
        index = np.where(self.mask(name))[::-1]
        low, high = tuple(int(i.min()) for i in index), tuple(int(i.max()) + 1 for i in index)
        return low, high, tuple(float(i.mean()) + 0.5 for i in index), len(index[0])

    def centre(self, name: str) -> Numbers:
        """See SceneFacts."""
        place = self.where(name)[2]
        offset = [p - n / 2 for p, n in zip(place, self.shape[::-1], strict=True)]
        if self.scene.space == "picture" or self.world is None:
            return tuple(o * s for o, s in zip(offset, self.steps, strict=True))
        turned = self.world[:, : self.dimensions] @ np.array(offset)
        return tuple(float(v) for v in turned[: self.dimensions])

    def measure(self, name: str) -> float:
        """See SceneFacts."""
        return self.where(name)[3] * float(np.prod(self.steps))

    def box(self, name: str) -> Box:
        """See SceneFacts."""
        low, high, _, _ = self.where(name)
        return to_model(low, high, self.shape, self.scene.frame)

    def slices(self, name: str) -> tuple[int, int]:
        """See SceneFacts."""
        exact, recorded = self.box(name), self.scene.structures.get(name)
        box = rounded_like(exact, self.scene.frame, exact if recorded is None else recorded.box_model)
        return (int(box.z1), int(box.z2)) if isinstance(box, Box3D) else (0, 1)

    def components(self, name: str) -> int:
        """See SceneFacts."""
        return sum(100 * n >= self.where(name)[3] for n in self.component_sizes(name))

    @_kept
    def component_sizes(self, name: str) -> list[int]:
        """Voxels of every connected component, largest first."""
        inside = self.mask(name)[self._block(name, (0,) * self.dimensions)]
        labels, count = ndimage.label(inside, np.ones((3,) * self.dimensions))
        return sorted((int(n) for n in np.bincount(labels.ravel())[1:]), reverse=True) if count else []

    @_kept
    def contrast(self, name: str) -> float:
        """See SceneFacts; the ring is what lies within a few pixels of the same slice and is not the structure."""
        reach = max(_RING, round(max(self.shape[-2:]) / 128))
        part = self._block(name, (reach, reach, 0)[: self.dimensions])
        inside = self.mask(name)[part]
        square = np.ones((1,) * (self.dimensions - 2) + (2 * reach + 1,) * 2, bool)
        ring = ndimage.binary_dilation(inside, square) & ~inside
        grey = self.grey(part)
        return float(grey[inside].mean() - grey[ring].mean()) if ring.any() else 0.0

    @_kept
    def diameters(self, name: str) -> Numbers:
        """See SceneFacts; every pair of outer edges is tried."""
        if self.spacing is None:
            return ()
        labels, count = ndimage.label(self.mask(name), np.ones((3,) * self.dimensions))
        whole = max((labels == v for v in range(1, count + 1)), key=np.count_nonzero)
        flat = whole if whole.ndim == 2 else max(whole, key=np.count_nonzero)
        places: set[tuple[float, float]] = set()
        for y, x in np.argwhere(flat).astype(float).tolist():
            places |= {(x - 0.5, y), (x + 0.5, y), (x, y - 0.5), (x, y + 0.5)}
        # On every line across only the first and the last place can be an end.
        rows: dict[float, list[float]] = {}
        for x, y in places:
            rows.setdefault(y, []).append(x)
        ends = np.array([(x, y) for y, xs in rows.items() for x in (min(xs), max(xs))]) * np.array(self.spacing[:2])
        far = max(float(np.sqrt(((ends - one) ** 2).sum(axis=1)).max()) for one in ends)
        shortest = float("inf")
        for one in ends:
            for other in ends[np.sqrt(((ends - one) ** 2).sum(axis=1)) >= far - 1e-6]:
                side = (ends - one) @ np.array([one[1] - other[1], other[0] - one[0]]) / far
                shortest = min(shortest, float(side.max() - side.min()))
        return far, shortest

    @_kept
    def widest(self, name: str) -> int:
        """See SceneFacts."""
        if self.dimensions == 2:
            return -1
        areas = [int(np.count_nonzero(plane)) for plane in self.mask(name)]
        return int((areas.index(max(areas)) + 0.5) * self.scene.frame.depth / self.shape[0])

    @_kept
    def gap(self, name: str, other: str) -> float | None:
        """See SceneFacts."""
        if self.spacing is None:
            return None
        away = ndimage.distance_transform_edt(~self.mask(name), sampling=self.spacing[::-1])
        return float(away[self.mask(other)].min())

    @_kept
    def touches(self, name: str, other: str) -> bool:
        """See SceneFacts."""
        return bool((ndimage.binary_dilation(self.mask(name), np.ones((3,) * self.dimensions)) & self.mask(other)).any())

    @_kept
    def tone(self, name: str) -> Numbers:
        """See SceneFacts; the edge is every pixel with one of four neighbours in its slice outside."""
        part = self._block(name, (1, 1, 0)[: self.dimensions])
        inside, grey = self.mask(name)[part], self.grey(part)
        cross = ndimage.generate_binary_structure(2, 1).reshape((1,) * (self.dimensions - 2) + (3, 3))
        core = ndimage.binary_erosion(inside, cross)
        return float(grey[inside].mean()), float(grey[core].std()) if np.count_nonzero(core) >= _LEAST_CORE else -1.0

    @_kept
    def attenuation(self, name: str) -> float | None:
        """See SceneFacts; the values of the file themselves, whatever the window."""
        values = self.pixels[self.mask(name)]
        return float(values.mean(dtype=float)) if self.scene.modality == "CT" and self.scene.hounsfield else None

    @_kept
    def outline(self, name: str) -> Numbers:
        """See SceneFacts; the convex outline is walked corner by corner, its area that of the triangles in it."""
        labels, count = ndimage.label(self.mask(name), np.ones((3,) * self.dimensions))
        whole = max((labels == v for v in range(1, count + 1)), key=np.count_nonzero)
        flat = whole if whole.ndim == 2 else max(whole, key=np.count_nonzero)
        step = np.array(self.steps[:2])
        index = np.argwhere(flat)[:, ::-1] * step
        away = index - index.mean(axis=0)
        xx, xy, yy = (float((away[:, a] * away[:, b]).mean()) for a, b in ((0, 0), (0, 1), (1, 1)))
        xx, yy = xx + step[0] ** 2 / 12, yy + step[1] ** 2 / 12
        turn = np.hypot((xx - yy) / 2, xy)
        ends = [
            tuple((p + d) * step)
            for p in np.argwhere(flat)[:, ::-1]
            for d in np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
        ]
        hull = _hull(sorted(set(ends)))
        triangles = [
            (b[0] - hull[0][0]) * (c[1] - hull[0][1]) - (c[0] - hull[0][0]) * (b[1] - hull[0][1]) for b, c in pairwise(hull[1:])
        ]
        filled = len(index) * float(step.prod()) / (sum(triangles) / 2)
        return float(np.sqrt(((xx + yy) / 2 + turn) / ((xx + yy) / 2 - turn))), filled

    def length(self, name: str) -> float | None:
        """See SceneFacts."""
        low, high, _, _ = self.where(name)
        return None if self.spacing is None or self.dimensions == 2 else (high[2] - low[2]) * self.spacing[2]

    @_kept
    def instance_boxes(self, name: str) -> list[tuple[Corner, Corner, int]]:
        """See SceneFacts."""
        labels, count = ndimage.label(self.mask(name), np.ones((3,) * self.dimensions))
        found, total = [], self.where(name)[3]
        for value in range(1, count + 1):
            index = np.where(labels == value)[::-1]
            if 100 * len(index[0]) >= total:
                low, high = tuple(int(i.min()) for i in index), tuple(int(i.max()) + 1 for i in index)
                found.append((low, high, len(index[0])))
        return sorted(found, key=lambda one: -one[2])

    @_kept
    def around(self, name: str) -> list[str]:
        """See SceneFacts; what the mask meets when it grows by five millimetres or pixels."""
        part = self._block(name, tuple(int(np.ceil(NEAR / s)) + 1 for s in self.steps))
        inside = self.mask(name)[part]
        ring = ndimage.distance_transform_edt(~inside, sampling=self.steps[::-1])
        shell = (ring <= NEAR) & ~inside
        shares = []
        for other in sorted(self.present() - {name}):
            share = int(np.count_nonzero(self.mask(other)[part] & shell))
            shares.append((-share, other))
        return [other for share, other in sorted(shares) if share]

    def _block(self, name: str, reach: Sequence[int]) -> tuple[slice, ...]:
        """Slices of the structure's box grown by ``reach`` along x, y[, z], in the order of the array."""
        low, high, _, _ = self.where(name)
        grown = [
            slice(max(0, int(a) - r), min(n, int(b) + r)) for a, b, r, n in zip(low, high, reach, self.shape[::-1], strict=True)
        ]
        return tuple(grown[::-1])


Facts = SceneFacts | MaskFacts
"""What questions may be about: both tell the same, the second is the judge of the first."""


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Corners of the convex outline of sorted points, in order. Source: Andrew, Information Processing Letters 1979;9:216."""
    found: list[tuple[float, float]] = []
    for line in (points, points[::-1]):
        side: list[tuple[float, float]] = []
        for x, y in line:
            while len(side) > 1:
                (x1, y1), (x2, y2) = side[-2:]
                if (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1) > 0:
                    break
                side.pop()
            side.append((x, y))
        found += side[:-1]
    return found


def to_model(low: Sequence[float], high: Sequence[float], shape: Sequence[int], frame: Frame) -> Box:
    """A canonical box in the model frame, not rounded."""
    sizes = (frame.width, frame.height, frame.depth)
    ends = [[v * m / n for v, m, n in zip(corner, sizes, tuple(shape)[::-1], strict=False)] for corner in (low, high)]
    return Box2D(*ends[0], *ends[1]) if len(low) == 2 else Box3D(*ends[0], *ends[1])


def rounded_like(exact: Box, frame: Frame, written: Box) -> Box:
    """The exact box on whole pixels: nearest, at least one pixel a side, inside the frame."""
    half = len(exact.coords) // 2
    sizes = (frame.width, frame.height, frame.depth)[:half]
    low, high = [], []
    for axis, size in enumerate(sizes):
        a = min(max(_nearest(exact.coords[axis], written.coords[axis]), 0), size - 1)
        b = min(max(_nearest(exact.coords[axis + half], written.coords[axis + half]), a + 1), size)
        low.append(a)
        high.append(b)
    return Box2D(*low, *high) if half == 2 else Box3D(*low, *high)


def _nearest(value: float, written: float) -> int:
    if abs(abs(value - written) - 0.5) < 1e-6:
        return int(written)
    return int(np.rint(value))
