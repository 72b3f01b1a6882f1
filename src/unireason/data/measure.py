"""Masks become a scene: the one place where structures are measured for questions.

Structures are called unclear, and not described, if questions about them would be unfair or their boxes could not be looked into:

* fewer than 24 model pixels (images) or 16 model voxels (volumes);
* a side of the model box below 4 pixels in x or y, the least that a look cuts out;
* a sliver: the tight box touches a border of the picture and reaches inwards less than 2% of the picture or less than 2 pixels or
  slices (pictures of at most 4 pixels or slices along that axis left aside);
* fewer than two pixels left where the model frame samples the mask.

Borders of pictures without patient directions are "left", "right", "top", "bottom", and for volumes "first slice" and "last slice".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from unireason.core.errors import GeometryError
from unireason.core.types import Box, Box3D
from unireason.grounding.crop import MIN_SIDE
from unireason.grounding.profile import scale_line
from unireason.imaging import present as windows

from .appearance import across, contrast, hounsfield, outline, padded, tone, widened
from .frames import FrameRule
from .item import Loaded, check_masks
from .names import counterpart, is_lesion, known, readable, side_of
from .regions import Block, BoxFound, Grid, corners, find, grid_of
from .scene import GATES, SPECK, Midline, Part, Point, Scene, Structure, told_side

_AT_ONCE = 2**22  # voxels counted at once: numpy widens them to 64 bit
_SWEEPS = 50


def moments(mask: Mask, steps: Sequence[float]) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    """Centre of mass and scatter of a mask whose voxels are filled boxes."""
    n = mask.ndim
    index = [np.arange(size, dtype=float) for size in mask.shape]
    first, second = [0] * n, [[0] * n for _ in range(n)]
    total = 0
    for a, b in combinations(range(n), 2):
        rest = tuple(axis for axis in range(n) if axis not in (a, b))
        plane = mask.sum(axis=rest, dtype=np.int32).astype(float) if rest else mask.astype(float)
        along_a, along_b = plane.sum(axis=1), plane.sum(axis=0)
        total = int(along_a.sum())
        first[a], first[b] = int(along_a @ index[a]), int(along_b @ index[b])
        second[a][a], second[b][b] = int(along_a @ index[a] ** 2), int(along_b @ index[b] ** 2)
        second[a][b] = second[b][a] = int(index[a] @ (plane @ index[b]))
    order = range(n - 1, -1, -1)
    scatter = np.array([[(total * second[a][b] - first[a] * first[b]) / total**2 for b in order] for a in order])
    size = np.array(steps, float)
    return tuple(first[a] / total + 0.5 for a in order), scatter * np.outer(size, size) + np.diag(size**2 / 12)


def main_axes(scatter: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Eigenvalues of a symmetric 2 x 2 or 3 x 3 matrix, largest first, and their unit vectors.

    Source: Golub and Van Loan, Matrix Computations, 4th edition, section 8.5.
    """
    a = [[float(v) for v in row] for row in scatter]
    n = len(a)
    vectors = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(_SWEEPS):
        if all(abs(a[p][q]) <= 1e-14 * (abs(a[p][p]) + abs(a[q][q])) for p, q in combinations(range(n), 2)):
            break
        for p, q in combinations(range(n), 2):
            _rotate(a, vectors, p, q)
    order = sorted(range(n), key=lambda i: -a[i][i])
    columns = [[vectors[row][i] for row in range(n)] for i in order]
    signed = (tuple(-v for v in c) if max(c, key=abs) < 0 else tuple(c) for c in columns)
    return tuple(a[i][i] for i in order), tuple(signed)


def _rotate(a: list[list[float]], vectors: list[list[float]], p: int, q: int) -> None:
    """One rotation that makes ``a[p][q]`` vanish."""
    if a[p][q] == 0.0:
        return
    theta = (a[q][q] - a[p][p]) / (2 * a[p][q])
    t = (1.0 if theta >= 0 else -1.0) / (abs(theta) + math.sqrt(theta * theta + 1))
    c = 1 / math.sqrt(t * t + 1)
    s = t * c
    for row in a:
        row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]
    a[p], a[q] = (
        [c * x - s * y for x, y in zip(a[p], a[q], strict=True)],
        [s * x + c * y for x, y in zip(a[p], a[q], strict=True)],
    )
    for row in vectors:
        row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]


def elongation(scatter: NDArray[np.float64]) -> float:
    """Longest over shortest main axis (square roots of the eigenvalues), at least 1, four decimals."""
    values, _ = main_axes(scatter)
    return round(math.sqrt(values[0] / values[-1]), 4)


def components(mask: Mask, most: int) -> tuple[list[tuple[Block, int]], NDArray[np.int64]]:
    """Connected components (8 neighbours in an image, 26 in a volume), largest first, ties in index order."""
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim, bool))
    if count == 1:
        all_of_it = int(np.count_nonzero(mask))
        return [(tuple(slice(0, n) for n in mask.shape), all_of_it)], np.array([all_of_it])
    voxels = _counts(labels, count)
    order = np.argsort(-voxels, kind="stable")
    blocks = ndimage.find_objects(labels, max_label=count) if count else []
    return [(blocks[i], int(voxels[i])) for i in order[:most]], voxels[order]


def _counts(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Voxels of labels 1 to ``count``, a few slices at a time to bound the memory."""
    total = np.zeros(count + 1, np.int64)
    rows = max(1, _AT_ONCE * len(labels) // max(1, labels.size))
    for start in range(0, len(labels), rows):
        total += np.bincount(labels[start : start + rows].ravel(), minlength=count + 1)
    return total[1:]


# --- Which structures lie next to each other.

NEAR = 5.0
"""Largest gap of neighbours, in millimetres, or pixels where the spacing is unknown."""
MOST = 8
"""How many neighbours are named."""


def neighbours(found: Sequence[BoxFound], steps: Sequence[float]) -> dict[str, tuple[str, ...]]:
    """The neighbours of every structure among the others."""
    near: dict[str, list[tuple[float, str]]] = {f.name: [] for f in found}
    ordered = sorted(found, key=lambda f: (math.prod(s.stop - s.start for s in f.block), f.name))
    for position, small in enumerate(ordered):
        for name, gap in _gaps(small, ordered[position + 1 :], np.array(steps[::-1], float)).items():
            near[small.name].append((gap, name))
            near[name].append((gap, small.name))
    return {name: tuple(other for _, other in sorted(pairs)[:MOST]) for name, pairs in near.items()}


def _gaps(small: BoxFound, others: Sequence[BoxFound], step: NDArray[np.float64]) -> dict[str, float]:
    """Gaps up to NEAR between a structure and others whose boxes are not smaller; ``step`` along (z, y, x)."""
    sizes = small.where[0][0].shape
    area = padded(small.block, tuple(int(NEAR // s) + 1 for s in step), sizes)
    inside = [(other, part) for other in others if (part := _common(area, other.block)) is not None]
    if not inside:
        return {}
    mask = small.mask(area)
    grown = mask
    for axis in range(mask.ndim):
        grown = widened(grown, axis, 1)
    shell: NDArray[np.float64] | None = None
    gaps: dict[str, float] = {}
    for other, part in inside:
        theirs = other.mask(part)
        local = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(part, area, strict=True))
        if (theirs & grown[local]).any():
            gaps[other.name] = 0.0
        elif theirs.any():
            shell = np.argwhere(grown & ~mask) * step if shell is None else shell
            places = (np.argwhere(_surface(theirs)) + [s.start for s in local]) * step
            gap = _shortest(shell, places)
            if gap <= NEAR:
                gaps[other.name] = gap
    return gaps


def _common(a: Block, b: Block) -> Block | None:
    both = tuple(slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return both if all(s.start < s.stop for s in both) else None


def _surface(mask: Mask) -> Mask:
    """Voxels with a neighbour, along an axis, outside the mask or the array; the nearest voxel to any outside place is one."""
    core = mask.copy()
    for axis in range(mask.ndim):
        target, source = np.moveaxis(core, axis, 0), np.moveaxis(mask, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
        target[0] = target[-1] = False
    return mask & ~core


def _shortest(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Shortest distance of two point sets, six decimals; infinite if it exceeds NEAR."""
    reach = NEAR + 1e-6
    kept = [p[((p >= q.min(axis=0) - reach) & (p <= q.max(axis=0) + reach)).all(axis=1)] for p, q in ((a, b), (b, a))]
    few, many = sorted(kept, key=len)
    if len(few) == 0:
        return math.inf
    distances, _ = cKDTree(few).query(many, distance_upper_bound=reach)
    return round(float(distances.min()), 6)


# --- The two key points of a structure: inside it, apart, and on different parts.

APART = 10.0
"""Model pixels; the distance of the points must exceed it for the full reward of the grounding task."""
SECOND = 0.30
"""Least size of the second piece, as a share of the largest."""
_ENOUGH, _FEW = 4096, 64
_MOST_ENDS = 1024
Index = NDArray[np.intp]  # one or many places along (z, y, x)
Step = NDArray[np.float64]  # along (z, y, x)
Pair = tuple[Index, Index]


def key_points(mask: Mask, origin: Sequence[int], steps: Sequence[float]) -> tuple[Point, Point]:
    """Two points of a mask, as the module text says.

    Source: MedReasoner, arXiv 2508.08177, for what the points are for; the choice is our own.
    """
    if not mask.any():
        raise GeometryError("the mask is empty in the model frame", "at least one pixel", "leave the structure out")
    view, starts, strides = _thinned(mask)
    step: Step = np.array(steps[::-1], float) * strides
    pieces = _pieces(view)
    parts = pieces if len(pieces) == 2 else _halves(pieces[0], step)
    pair = _deepest(parts[0], step), _deepest(parts[-1], step)
    if _distance(*pair, strides) <= APART:
        pair = _ends(np.logical_or.reduce(pieces), step, strides)
    offset = starts + np.array(origin[::-1])
    first, second = sorted(tuple(int(v) for v in (p * strides + offset)[::-1]) for p in pair)
    return first, second


def _thinned(mask: Mask) -> tuple[Mask, Index, Index]:
    """Every n-th pixel along x and y of a large mask, with the first one and n along every axis."""
    stride = 1
    while mask.size > _ENOUGH * stride**2:
        stride += 1
    starts, strides = np.zeros(mask.ndim, np.intp), np.ones(mask.ndim, np.intp)
    strides[-2:] = stride
    starts[-2:] = [(n - 1) % stride // 2 for n in mask.shape[-2:]]
    view = mask[tuple(slice(int(a), None, int(s)) for a, s in zip(starts, strides, strict=True))]
    if stride > 1 and np.count_nonzero(view) < _FEW:
        return mask, np.zeros_like(starts), np.ones_like(strides)
    return view, starts, strides


def _pieces(mask: Mask) -> list[Mask]:
    """The largest connected piece, and the second one if it is large enough."""
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim, bool))
    if count == 1:
        return [mask]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    first, second = np.argsort(-sizes, kind="stable")[:2]
    return [labels == v for v in (first, second) if sizes[v] >= SECOND * sizes[first]]


def _along(index: Index, mask: Mask, step: Step) -> NDArray[np.float64]:
    """Place of pixels along the main axis of a mask."""
    _, scatter = moments(mask, tuple(step[::-1]))
    axis = main_axes(scatter)[1][0]
    along: NDArray[np.float64] = np.round((index * (np.array(axis[::-1]) * step)).sum(axis=1), 9)
    return along


def _halves(mask: Mask, step: Step) -> list[Mask]:
    """Two halves of equal mass across the main axis; one for a single pixel."""
    index = np.argwhere(mask)
    order = np.argsort(_along(index, mask, step), kind="stable")
    halves = []
    for chosen in np.split(order, [len(order) // 2]):
        half = np.zeros(mask.shape, bool)
        half[tuple(index[chosen].T)] = True
        halves.append(half)
    return [half for half in halves if half.any()]


def _deepest(mask: Mask, step: Step) -> Index:
    depth = _depth(mask, step)
    index = np.argwhere(depth >= depth.max() * (1 - 1e-9))
    place: Index = index[int(_away(index, mask, step).argmin())]
    return place


def _away(index: Index, mask: Mask, step: Step) -> Step:
    """Squared distance of pixels to the centroid of a mask."""
    centre, _ = moments(mask, tuple(step[::-1]))
    squared: NDArray[np.float64] = np.round((((index + 0.5 - np.array(centre[::-1])) * step) ** 2).sum(axis=1), 9)
    return squared


def _depth(mask: Mask, step: Step) -> NDArray[np.float64]:
    """Distance of every pixel to the nearest one outside; beyond the block is outside."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=step)
    return depth[(slice(1, -1),) * mask.ndim]


def _ends(mask: Mask, step: Step, strides: Index) -> Pair:
    """The ends of the medial axis, or the farthest pair."""
    index = np.argwhere(mask)
    along = _along(index, mask, step)
    away = _away(index, mask, step)
    depth = _depth(mask, step)[mask]
    for level in np.unique(depth)[::-1]:
        deep = np.flatnonzero(depth >= level)
        first, last = (deep[np.lexsort((away[deep], sign * along[deep]))[0]] for sign in (1, -1))
        ends = index[first], index[last]
        if _distance(*ends, strides) > APART:
            return ends
    # The two pixels farthest from each other; both are the first or the last of their rows.
    before, after = np.zeros_like(mask), np.zeros_like(mask)
    before[..., 1:], after[..., :-1] = mask[..., :-1], mask[..., 1:]
    index = np.argwhere(mask & ~(before & after))
    index = index[:: max(1, -(-len(index) // _MOST_ENDS))]
    squared: NDArray[Any] = (((index[:, None] - index[None]) * strides) ** 2).sum(axis=2)
    first, second = divmod(int(squared.argmax()), len(index))
    return index[first], index[second]


def _distance(a: Index, b: Index, strides: Index) -> float:
    """Model pixels between two pixels."""
    return math.dist((a * strides).tolist(), (b * strides).tolist())


# --- The midline of the body, by which left and right of the patient are told.

AIR_HU = -300.0
MR_AIR = 0.15
"""Share of the bright end of an MR picture below which is air."""
_PLANES, _COLUMNS = 7, 192
_LEAST_WIDTH, _LEAST_FILL = 0.25, 0.4
"""Of the picture's width, and of its own box: what a body has at least."""
_MOST_LEAN = 0.06
"""Of the body's width: how far its outline may lean to a side, or slices and pairs of organs may differ."""


def find_midline(pixels: NDArray[Any], grid: Grid, structures: Mapping[str, Structure], modality: str) -> Midline:
    """The midline of the body: by the spine, else the outline of the body, else organs that come in pairs.

    Args:
        pixels: The canonical array.
        grid: Its grid.
        structures: What is there.
        modality: DICOM modality code.

    Returns:
        The midline; ``found`` is "" where nothing tells it. In a fundus image that of the macula, if the optic disc is there too.
    """
    whole = {n: s for n, s in structures.items() if not s.scattered and not {"left", "right"} & set(s.borders)}
    if GATES.get(modality) == "retina":
        whats = {known(n).what: s for n, s in whole.items()}
        if {"optic disc", "macula"} <= whats.keys():
            return _midline("macula", whats["macula"].centre[0], grid)
    if grid.space == "picture":
        return Midline("")
    spine = [s for n, s in whole.items() if known(n).midline and not is_lesion(n)]
    if spine:
        return _midline("spine", sum(s.centre[0] * s.voxels for s in spine) / sum(s.voxels for s in spine), grid)
    body = _body(pixels, grid, modality)
    if body is not None:
        return _midline("body", body, grid)
    pairs = []
    for name, left in whole.items():
        right = whole.get(counterpart(name)) if side_of(name) == "left" and not is_lesion(name) else None
        if right is not None and left.centre[0] > right.centre[0]:
            pairs.append((left.centre[0] + right.centre[0]) / 2)
    if pairs and max(pairs) - min(pairs) <= 2 * _MOST_LEAN * grid.extent[0]:
        return _midline("paired organs", float(np.median(pairs)), grid)
    return Midline("")


def _midline(found: Literal["spine", "body", "paired organs", "macula"], offset: float, grid: Grid) -> Midline:
    return Midline(found, round(offset, 6), round(grid.sizes[0] / 2 + offset / float(grid.turn[0, 0]), 6))


def _body(pixels: NDArray[Any], grid: Grid, modality: str) -> float | None:
    """Middle of the body's outline along x, as in ``Structure.centre``; None where it is cut off or none is seen."""
    if modality not in ("CT", "MR", "") or pixels.ndim != len(grid.sizes):
        return None
    volume = pixels if pixels.ndim == 3 else pixels[None]
    step = max(1, -(-volume.shape[2] // _COLUMNS))
    count = min(_PLANES, len(volume))
    planes = sorted({(2 * k + 1) * len(volume) // (2 * count) for k in range(count)})
    shown = np.stack([volume[k, ::step, ::step] for k in planes]).astype(np.float32)
    # Of an unknown modality: only Hounsfield units go so far below 0.
    ct = modality == "CT" or (modality == "" and float(shown.min()) < AIR_HU)
    air = AIR_HU if ct else MR_AIR * float(np.percentile(shown, 99))
    middles, widths = [], []
    for k, plane in zip(planes, shown > air, strict=True):
        labels, found = ndimage.label(plane)
        if not found:
            continue
        largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
        rows, columns = ndimage.find_objects(labels, max_label=found)[largest - 1]
        filled = ndimage.binary_fill_holes(labels[rows, columns] == largest)
        width, weight = columns.stop - columns.start, np.count_nonzero(filled)
        cut = columns.start == 0 or columns.stop == plane.shape[1]
        if cut or width < _LEAST_WIDTH * plane.shape[1] or weight < _LEAST_FILL * filled.size:
            continue
        lean = float(filled.sum(axis=0) @ (np.arange(width) + 0.5)) / weight - width / 2
        if abs(lean) <= _MOST_LEAN * width:
            place = (step * (columns.start + columns.stop - 1) / 2 + 0.5, step * (rows.start + rows.stop) / 2, k + 0.5)
            middles.append(grid.centre(place[: pixels.ndim])[0])
            widths.append(width * step * grid.steps[0])
    if 2 * len(middles) <= len(planes) or max(middles) - min(middles) > 2 * _MOST_LEAN * max(widths):
        return None
    return float(np.median(middles))


# --- Masks become a scene: the one place where structures are measured for questions.

SMALLEST = {"image": 24, "volume": 16}
"""Least model pixels of a structure in an image, model voxels in a volume."""
SLIVER = 0.02
"""Least share of the picture that a structure at its border must reach inwards."""
MOST_PARTS = 32
"""How many components are listed."""

Mask = NDArray[np.bool_]


def describe(loaded: Loaded, rule: FrameRule, *, case: str, patient: str | None = None) -> Scene:
    """Everything that questions may know about one image or volume.

    Args:
        loaded: Case and masks on its canonical grid.
        rule: Frame rule of the data set; its window gives the grey levels for contrasts.
        case: Identifier of the case in the data set.
        patient: Patient identifier; None takes the item's.

    Returns:
        The scene. Empty masks give no structures; every annotated name without a voxel is absent.

    Raises:
        ImageReadError: If a mask has another grid than the image.
        FormatError: If the picture fits no model frame, or the window cannot be used.
        GeometryError: If the spacing is not positive or lacks an axis.
    """
    for number, layer in enumerate(loaded.layers):
        check_masks(loaded.case, layer.labels, f"layer {number}")
    grid = grid_of(loaded, rule)
    found = find(loaded.layers)
    clear = {f.name: (f, sample) for f in found if (sample := _clear_sample(f, grid)) is not None}
    near = neighbours([f for f, _ in clear.values()], grid.steps)
    window = windows.choose(loaded.case, rule.window)
    grey = windows.apply(loaded.case.pixels, window) if clear else None
    structures = {
        name: _structure(f, grid, sample=sample, near=near[name], grey=grey) for name, (f, sample) in sorted(clear.items())
    }
    for name in (n for n in structures if is_lesion(n)):
        lesion = clear[name][0]
        structures[name] = replace(structures[name], outline=outline(lesion.mask(), grid.steps))
        if grid.spacing_mm:
            ways, touching = gaps(lesion, [f for f, _ in clear.values()], grid.steps)
            structures[name] = replace(
                structures[name], diameters=across(lesion.mask(), grid.steps), gaps=ways, touching=touching
            )
    modality = loaded.case.modality or loaded.item.modality
    midline = find_midline(loaded.case.pixels, grid, structures, modality)
    if grid.space == "patient" and midline.found:
        structures = {
            name: replace(s, side=told_side(s.centre[0] - midline.offset, grid.extent[0], ("right", "left")))
            for name, s in structures.items()
        }
    present = {f.name for f in found}
    return Scene(
        case=case,
        patient=loaded.item.patient if patient is None else patient,
        kind=loaded.case.kind,
        modality=modality,
        frame=grid.frame,
        shape=loaded.case.geometry.shape,
        spacing_mm=grid.spacing_mm,
        extent=grid.extent,
        space=grid.space,
        unit=grid.unit,
        structures=structures,
        absent=tuple(sorted({readable(n) for n in loaded.item.annotated} - present)),
        unclear=tuple(sorted(present - set(structures))),
        scale=scale_line(grid.spacing_mm, loaded.case.geometry.shape, grid.frame) if rule.scale else "",
        midline=midline,
        hounsfield=hounsfield(loaded.case, modality, window) if clear else (),
    )


# --- Where a structure is largest, and how far lesions lie from what is near.

BROAD = 0.8
"""Slices that show so much of the largest one are about as large."""
MOST_GAPS, FAR = 8, 80.0
"""So many structures are asked how far a lesion lies from them, those whose boxes are nearest, at most so many millimetres away."""


def widest(mask: Mask, first: int, grid: Grid) -> tuple[int, int, int]:
    """The model slice that shows most of a volume's structure, and the first and last one that show nearly as much."""
    areas = mask.sum(axis=(1, 2))
    broad = np.flatnonzero(areas >= BROAD * areas.max())
    depth, whole = grid.model_sizes[2], grid.sizes[2]
    most, low, high = (int((2 * (first + int(k)) + 1) * depth // (2 * whole)) for k in (areas.argmax(), broad[0], broad[-1]))
    return most, low, high


def gaps(lesion: BoxFound, others: Sequence[BoxFound], steps: Sequence[float]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Shortest way from voxel centre to voxel centre between a lesion and what lies near, and what it touches: no voxel is between."""
    step = np.array(steps[::-1], float)

    def apart(other: BoxFound) -> float:
        pairs = zip(lesion.block, other.block, step, strict=True)
        return math.hypot(*(max(0, b.start - a.stop, a.start - b.stop) * s for a, b, s in pairs))

    def surface(found: BoxFound) -> NDArray[np.float64]:
        places: NDArray[np.float64] = (np.argwhere(_surface(found.mask())) + [s.start for s in found.block]) * step
        return places

    near = sorted((apart(f), f.name, i) for i, f in enumerate(others) if f.name != lesion.name)
    known: dict[str, float] = {}
    touching = []
    tree: cKDTree | None = None
    for away, name, i in near[:MOST_GAPS]:
        if away <= FAR:
            tree = tree or cKDTree(surface(lesion))
            known[name] = round(float(tree.query(surface(others[i]))[0].min()), 4)
            if known[name] <= math.hypot(*step) + 1e-6 and _meet(lesion, others[i]):
                touching.append(name)
    return known, tuple(touching)


def _meet(a: BoxFound, b: BoxFound) -> bool:
    """True if a voxel of one is a neighbour of one of the other, over faces, edges or corners."""
    sizes = a.where[0][0].shape
    area = padded(a.block, (1,) * len(sizes), sizes)
    part = _common(area, b.block)
    if part is None:
        return False
    grown = a.mask(area)
    for axis in range(grown.ndim):
        grown = widened(grown, axis, 1)
    local = tuple(slice(p.start - s.start, p.stop - s.start) for p, s in zip(part, area, strict=True))
    return bool((b.mask(part) & grown[local]).any())


def _clear_sample(found: BoxFound, grid: Grid) -> Mask | None:
    """The mask as the model frame samples it inside its model box, or None if the structure is unclear."""
    box = grid.model_box(found.block)
    low, high = _corners(box)
    if min(b - a for a, b in zip(low[:2], high[:2], strict=True)) < MIN_SIDE:
        return None
    for side, size in zip(reversed(found.block), grid.sizes, strict=True):
        at_border = side.start == 0 or side.stop == size
        if size > 4 and at_border and side.stop - side.start < max(2, SLIVER * size):
            return None
    if grid.model_voxels(int(np.count_nonzero(found.mask()))) < SMALLEST[grid.frame.kind]:
        return None
    # Canonical pixels under the centres of the model pixels of the box, as an index along (z, y, x) or (y, x).
    axes = list(zip(low, high, grid.sizes, grid.model_sizes, strict=True))[::-1]
    index: tuple[Any, ...] = tuple(slice(a, b) for a, b, _, _ in axes)
    if not all(n == m for _, _, n, m in axes):
        index = np.ix_(*((2 * np.arange(a, b) + 1) * n // (2 * m) for a, b, n, m in axes))
    sample = found.mask(index)
    return sample if np.count_nonzero(sample) >= 2 else None


def _structure(found: BoxFound, grid: Grid, *, sample: Mask, near: tuple[str, ...], grey: NDArray[np.uint8] | None) -> Structure:
    """Measures one structure; its mask lives no longer than this call."""
    mask = found.mask()
    low, high = found.corners
    box = grid.model_box(found.block)
    place, scatter = moments(mask, grid.steps)
    centre = grid.centre([p + a for p, a in zip(place, low, strict=True)])
    pieces, counts = components(mask, MOST_PARTS)
    voxels = int(counts.sum())
    parts = []
    for piece, n in pieces:  # in the indices of the whole grid
        block = tuple(slice(o.start + b.start, o.start + b.stop) for b, o in zip(piece, found.block, strict=True))
        first, end = corners(block)
        parts.append(Part((*first, *end), grid.model_box(block), grid.measure(n), n))
    return Structure(
        name=found.name,
        box_canonical=(*low, *high),
        box_voxel=grid.voxel_box(found.block),
        box_model=box,
        voxels=voxels,
        measure=grid.measure(voxels),
        centre=centre,
        side="",
        parts=tuple(parts),
        part_count=int(np.count_nonzero(counts >= SPECK * voxels)),
        neighbours=near,
        # Of the model box, so that words about slices and the box beside them agree.
        slices=(int(box.z1), int(box.z2)) if isinstance(box, Box3D) else (0, 1),
        borders=grid.borders(found.block),
        contrast=0.0 if grey is None else contrast(grey, found),
        grey=() if grey is None else tone(grey, found),
        elongation=elongation(scatter),
        points=key_points(sample, _corners(box)[0], grid.model_steps),
        widest=widest(mask, found.block[0].start, grid) if mask.ndim == 3 else (),
    )


def _corners(box: Box) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lower and upper corner (x, y[, z]) of a model box."""
    numbers = tuple(int(v) for v in box.coords)
    return numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
