"""The expert "classical": a box or points become a mask with no weights at all, in an image, on a slice and in a volume at once.

It knows how prompts become places of a grid and what is found a segmentation; ``search`` and ``fit`` hold the method.

Source: the likelihood ratio of inside and outside histograms is the region term of S. C. Zhu and A. Yuille, IEEE PAMI 18 (1996) 884;
kernel width: B. W. Silverman, Density Estimation (1986), eq. 3.28.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.types import Case

from .expert import Prompt, Segmentation, checked, finished, parts
from .propagate import follow, on_slice

Block = tuple[slice, ...]
Place = NDArray[np.float64]  # one number an axis, slowest first

LEVELS = 256
"""Grey levels of a channel: one byte a voxel, and tables small enough to smooth at once."""

_CUT = (0.5, 99.5)  # percentiles at both ends of the levels: a few voxels of metal must not flatten the rest
_LOOKED_AT = 1 << 16  # voxels that tell the range of the levels
_LEAST_MARGIN = 3  # voxels
_SEED_KERNEL = 2.0  # of the box's kernel: a few voxels around points stand for all grey levels of a structure


@dataclass(frozen=True, slots=True, eq=False)
class CutRegion:
    """A block of a case around a box."""

    levels: NDArray[np.uint8]
    known: NDArray[np.bool_]
    block: Block
    low: Place
    high: Place
    spacing: Place
    strides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes without the channels."""
        return self.known.shape

    def thinned(self, strides: tuple[int, ...]) -> CutRegion:
        """Every n-th voxel: noise and contrast stay as they are, which an average would change."""
        if max(strides) == 1:
            return self
        step = np.array(strides, float)
        every = _every(strides)
        return CutRegion(
            self.levels[(slice(None), *every)],
            self.known[every],
            self.block,
            self.low / step,
            self.high / step,
            self.spacing * step,
            tuple(a * b for a, b in zip(self.strides, strides, strict=True)),
        )

    def part(self, first: Place, last: Place) -> tuple[CutRegion, Block]:
        """The voxels between two corners, at least one along each axis, and where in this region they lie."""
        sizes = np.array(self.shape)
        begin = np.clip(np.floor(first), 0, sizes - 1).astype(int)
        end = np.clip(np.ceil(last), begin + 1, sizes).astype(int)
        inner = tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))
        block = tuple(
            slice(whole.start + n * s.start, min(whole.start + n * s.stop, whole.stop))
            for whole, s, n in zip(self.block, inner, self.strides, strict=True)
        )
        levels = self.levels[(slice(None), *inner)]
        low, high = self.low - begin, self.high - begin
        return CutRegion(levels, self.known[inner], block, low, high, self.spacing, self.strides), inner

    def laid_out(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of this region on all voxels of its block."""
        for axis, n in enumerate(self.strides):
            if n > 1:
                mask = np.repeat(mask, n, axis=axis)
        return mask[tuple(slice(0, s.stop - s.start) for s in self.block)]


def cut(pixels: NDArray[Any], low: Place, high: Place, *, spacing: Place, margin: float, most: int) -> CutRegion:
    """Cut out a box with what lies around it."""
    axes = len(spacing)
    extra = np.maximum(margin * (high - low), _LEAST_MARGIN)
    first = np.maximum(np.floor(low - extra), 0).astype(int)
    last = np.minimum(np.ceil(high + extra), pixels.shape[:axes]).astype(int)
    block = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    strides = strides_for(tuple(int(n) for n in last - first), most)
    step = np.array(strides, float)
    values = pixels[block][_every(strides)]
    channels = [values] if values.ndim == axes else _uncorrelated(values)
    known = np.ones(values.shape[:axes], bool)
    if not np.issubdtype(values.dtype, np.integer):
        for channel in channels:
            known &= np.isfinite(channel)
    levels = np.stack([_quantised(channel, known) for channel in channels])
    return CutRegion(
        levels, known, block, (low - first) / step, (high - first) / step, np.asarray(spacing, float) * step, strides
    )


def strides_for(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """The least strides, longest axis first, that leave at most ``most`` voxels (or one along each axis)."""
    strides = [1] * len(shape)

    def left() -> list[int]:
        return [-(-n // s) for n, s in zip(shape, strides, strict=True)]

    while np.prod(left()) > most and max(left()) > 1:
        strides[int(np.argmax(left()))] += 1
    return tuple(strides)


def _every(strides: tuple[int, ...]) -> Block:
    """Element m of a thinned axis stands for the n voxels [m n, (m + 1) n): it is their first one."""
    return tuple(slice(None, None, n) for n in strides)


def _quantised(values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Grey levels between two percentiles of the known values; all 0 where these are equal or nothing is known."""
    every = _every(strides_for(values.shape, _LOOKED_AT))
    seen = values[every][known[every]].astype(np.float64)
    if not seen.size:
        return np.zeros(values.shape, np.uint8)
    low, high = (float(v) for v in np.percentile(seen, _CUT))
    if high <= low:
        low, high = float(seen.min()), float(seen.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = values.astype(np.float32)
    if not known.all():
        scaled[~known] = low
    scaled -= np.float32(low)
    scaled *= np.float32((LEVELS - 1) / (high - low))
    scaled += np.float32(0.5)
    np.clip(scaled, 0, LEVELS - 1, out=scaled)
    return scaled.astype(np.uint8)


def _uncorrelated(values: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Colour along its principal axes, in which channels may be judged one by one."""
    flat = values.reshape(-1, values.shape[-1]).astype(np.float32)
    sound = flat[np.isfinite(flat).all(axis=1)]
    if len(sound) < 2:
        return [values[..., c].astype(np.float32) for c in range(values.shape[-1])]
    _, axes = np.linalg.eigh(np.cov(sound, rowvar=False).astype(np.float64))
    with np.errstate(invalid="ignore"):
        turned = (flat @ axes[:, ::-1].astype(np.float32)).reshape(values.shape)
    return [turned[..., c] for c in range(values.shape[-1])]


# --- Which voxels of a region belong to the structure: what their grey levels say, where they lie, and what their neighbours say.


Probability = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClassicalSettings:
    """Numbers of the method, chosen on phantoms that no examination uses."""

    passes: int = 4
    settle: int = 2
    evidence: float = 4.0
    centre: float = 0.2
    edge: float = 0.12
    coupling: float = 7.0
    follow: float = 0.5
    reach: float = 1.45
    margin: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Ellipse:
    """An ellipse or ellipsoid along the axes: centre and semi-axes in voxels of a region."""

    centre: Place
    half: Place

    @classmethod
    def within(cls, low: Place, high: Place) -> Ellipse:
        """The one that touches all sides of a box."""
        return cls((low + high) / 2, np.maximum((high - low) / 2, 0.5))

    def distance(self, shape: tuple[int, ...]) -> Probability:
        """float32 of ``shape``: distance of every voxel's centre from the ellipse's, in semi-axes; 1 on the surface."""
        total = np.zeros((1,) * len(shape), np.float32)
        for axis, n in enumerate(shape):
            square = ((np.arange(n) + 0.5 - self.centre[axis]) / self.half[axis]) ** 2
            total = total + square.astype(np.float32).reshape([n if a == axis else 1 for a in range(len(shape))])
        return np.sqrt(total, out=total)


@dataclass(frozen=True, slots=True, eq=False)
class IntensityModel:
    """What was learned of a structure."""

    tables: NDArray[np.float32]
    ellipse: Ellipse


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A model and how it fits the region that it was learned on."""

    model: IntensityModel
    inside: Probability
    evidence: float


def learn(region: CutRegion, seeds: NDArray[np.intp], settings: ClassicalSettings, *, core: float | None = None) -> Learned:
    """Estimate histograms and ellipse: first from what the points show, without points from a core of the box's ellipse.

    ``core``, a share of the ellipse's axes, asks for the second though there are points.
    """
    first = Ellipse.within(region.low, region.high)
    distance = first.distance(region.shape)
    if len(seeds) and core is None:
        # Where most of the box is something else, the ellipse would teach that; what is around the points is the structure.
        shown = IntensityModel(_tables_of_seeds(region, seeds, settings), first)
        inside = judge(region, shown, seeds, replace(settings, coupling=0.0), start=distance)
    else:
        inside = _probability((0.8 * (core or 1.0) - distance) / np.float32(0.1))
    inside[~region.known] = 0
    model = IntensityModel(_tables(region, inside, settings), first)
    for turn in range(settings.passes):
        # Neighbours have no say at first: where all of the ellipse is taken for the inside, they would keep it so.
        share = turn / settings.passes
        inside = judge(region, model, seeds, replace(settings, coupling=share * settings.coupling), start=inside)
        model = IntensityModel(_tables(region, inside, settings), _moved(first, inside, settings))
    inside = judge(region, model, seeds, settings, start=inside)
    evidence = _evidence(region, model)
    return Learned(model, inside, float((evidence * inside).sum() / max(float(inside.sum()), 1e-6)))


def judge(
    region: CutRegion,
    model: IntensityModel,
    seeds: NDArray[np.intp],
    settings: ClassicalSettings,
    *,
    start: Probability | None = None,
) -> Probability:
    """The probability of every voxel to belong to the structure."""
    logit = _evidence(region, model)
    np.clip(logit, -settings.evidence, settings.evidence, out=logit)
    distance = model.ellipse.distance(region.shape)
    never = distance > settings.reach
    never |= ~region.known
    distance -= 1
    distance *= np.float32(-1 / settings.edge)
    logit += np.minimum(distance, settings.centre, out=distance)
    rounds = 1 if start is not None else settings.settle
    inside = _held(_probability(logit.copy()), never, seeds) if start is None else start
    for _ in range(rounds):
        around = neighbours(inside, region.spacing)
        around -= np.float32(0.5)
        around *= np.float32(2 * settings.coupling)
        around += logit
        inside = _held(_probability(around), never, seeds)
    return inside


def _evidence(region: CutRegion, model: IntensityModel) -> NDArray[np.float32]:
    """Logits of the grey levels, summed over the channels."""
    logit: NDArray[np.float32] = np.take(model.tables[0], region.levels[0])
    for table, levels in zip(model.tables[1:], region.levels[1:], strict=True):
        logit += np.take(table, levels)
    return logit


def neighbours(values: Probability, spacing: Place) -> Probability:
    """Weighted mean over every voxel's neighbourhood of 3 an axis; borders count as continued."""
    near = float(min(spacing))
    for axis, step in enumerate(spacing):
        weight = np.float32(0.5 * near / float(step))
        rows = np.moveaxis(values, axis, 0)
        summed = rows.copy()
        summed[1:] += weight * rows[:-1]
        summed[:-1] += weight * rows[1:]
        summed[0] += weight * rows[0]
        summed[-1] += weight * rows[-1]
        summed *= 1 / (1 + 2 * weight)
        values = np.moveaxis(summed, 0, axis)
    return values


def _held(inside: Probability, never: NDArray[np.bool_], seeds: NDArray[np.intp]) -> Probability:
    inside[never] = 0
    inside[tuple(seeds.T)] = 1
    return inside


def _probability(logit: Any) -> Probability:
    """Logistic function, in place."""
    np.clip(logit, -30, 30, out=logit)
    np.negative(logit, out=logit)
    np.exp(logit, out=logit)
    logit += 1
    found: Probability = np.divide(np.float32(1), logit, out=logit)
    return found


def _tables(region: CutRegion, inside: Probability, settings: ClassicalSettings) -> NDArray[np.float32]:
    """Logits of the grey levels of every channel."""
    known = region.known.ravel()
    weight = inside.ravel()
    rest = known - weight
    tables = []
    for levels in region.levels:
        flat = levels.ravel()
        within: NDArray[Any] = np.bincount(flat, weight, LEVELS)
        beyond: NDArray[Any] = np.bincount(flat, rest, LEVELS)
        width = _kernel(within)
        smooth = [_density(counts, width) for counts in (within, beyond)]
        tables.append(np.clip(np.log(smooth[0] / smooth[1]), -settings.evidence, settings.evidence))
    return np.stack(tables).astype(np.float32)


def _tables_of_seeds(region: CutRegion, seeds: NDArray[np.intp], settings: ClassicalSettings) -> NDArray[np.float32]:
    """Logits of the grey levels of every channel: those next to the points against all in the box."""
    near = tuple(np.concatenate([seeds + step for step in _steps(region.spacing)]).T)
    near = tuple(np.clip(places, 0, n - 1) for places, n in zip(near, region.shape, strict=True))
    shown = region.known[near].astype(float)
    _, box = region.part(region.low, region.high)
    tables = []
    for levels in region.levels:
        everything: NDArray[Any] = np.bincount(levels[box][region.known[box]], minlength=LEVELS).astype(float)
        width = _kernel(everything)
        like = _density(np.bincount(levels[near], shown, LEVELS), _SEED_KERNEL * width)
        tables.append(np.clip(np.log(like / _density(everything, width)), -settings.evidence, settings.evidence))
    return np.stack(tables).astype(np.float32)


def _steps(spacing: Place) -> NDArray[np.intp]:
    """A voxel and its neighbours, but not across axes with steps twice as long as the shortest."""
    reach = [1 if step < 2 * float(min(spacing)) else 0 for step in spacing]
    return np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, len(spacing))


def _kernel(counts: NDArray[Any]) -> float:
    """Silverman's kernel width, in grey levels."""
    total = counts.sum()
    if total < 1:
        return 3.0
    levels = np.arange(LEVELS)
    mean = (counts * levels).sum() / total
    spread = float(np.sqrt((counts * (levels - mean) ** 2).sum() / total))
    return float(np.clip(1.06 * spread * total**-0.2, 1.5, 12.0))


def _density(counts: NDArray[Any], width: float) -> NDArray[np.float64]:
    """Smoothed frequencies that add up to 1, none of them 0."""
    smooth = ndimage.gaussian_filter1d(counts, width, mode="constant") + 1e-9
    smooth /= smooth.sum()
    mixed: NDArray[np.float64] = 0.99 * smooth + 0.01 / LEVELS
    return mixed


def _moved(first: Ellipse, inside: Probability, settings: ClassicalSettings) -> Ellipse:
    """The box's ellipse, moved part of the way to the one that has the moments of the probabilities."""
    total = float(inside.sum(dtype=np.float64))
    if total < 1:
        return first
    axes = inside.ndim
    centre, half = first.centre.copy(), first.half.copy()
    for axis in range(axes):
        mass = inside.sum(axis=tuple(a for a in range(axes) if a != axis), dtype=np.float64)
        place = np.arange(len(mass)) + 0.5
        mean = (mass * place).sum() / total
        # A filled ellipsoid in n dimensions has the variance a^2 / (n + 2) along its semi-axis a.
        size = np.sqrt((axes + 2) * (mass * (place - mean) ** 2).sum() / total)
        centre[axis] = np.clip(mean, centre[axis] - 0.2 * half[axis], centre[axis] + 0.2 * half[axis])
        half[axis] = np.clip(size, 0.75 * half[axis], 1.25 * half[axis])
    share = settings.follow
    return replace(
        first, centre=(1 - share) * first.centre + share * centre, half=np.maximum((1 - share) * first.half + share * half, 0.5)
    )


# --- From probabilities to one mask: the component that was asked for, without holes that are too small to be something else.


SMALL_HOLE = 0.05
"""A hole of at most this share of the mask is filled; a larger one is another structure inside, such as a mass in an organ."""


def component(inside: Probability, seeds: NDArray[np.intp]) -> tuple[NDArray[np.bool_], int]:
    """The connected part of the likely voxels that was asked for."""
    likely = inside > 0.5
    mask = np.zeros(inside.shape, bool)
    block = extent(likely)
    if block is None:
        return mask, 0
    labels, count = parts(likely[block])
    chosen = np.zeros(count + 1, bool)
    if len(seeds):
        places = np.zeros(inside.shape, bool)
        places[tuple(seeds.T)] = True
        chosen[labels[places[block]]] = True
        chosen[0] = False
    else:
        chosen[1 + int(np.bincount(labels.ravel())[1:].argmax())] = True
    mask[block] = _filled(chosen[labels])
    return mask, count - int(np.count_nonzero(chosen))


def extent(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """The block from the first to the last voxel of a mask along every axis; None if it is empty."""
    ends = [np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(mask.ndim)]
    return tuple(slice(int(e[0]), int(e[-1]) + 1) for e in ends) if ends[0].size else None


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with its small holes; what touches the block's border is no hole."""
    if mask.all():
        return mask
    holes, count = ndimage.label(~mask)  # by faces: where parts connect over corners, holes do not
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    closed = sizes <= SMALL_HOLE * np.count_nonzero(mask)
    closed[0] = False
    for axis in range(mask.ndim):
        for end in (0, -1):
            closed[np.take(holes, end, axis=axis).ravel()] = False
    whole: NDArray[np.bool_] = mask | closed[holes]
    return whole


def expected_dice(inside: Probability, mask: NDArray[np.bool_]) -> float:
    """The Dice coefficient to be expected of a mask if every voxel's probability held: 2 sum(p in mask) / (|mask| + sum(p))."""
    size = int(np.count_nonzero(mask))
    if size == 0:
        return 0.0
    held = float(inside[mask].sum(dtype=np.float64))
    return 2 * held / (size + float(inside.sum(dtype=np.float64)))


# --- The whole way from a box in a grid to a mask around it: learn on a thinned region, judge every voxel, keep what was asked
# for.


JUDGED = 1 << 25
"""Voxels of a region at most; a larger one is judged on every n-th voxel, so that memory stays below a few hundred megabytes."""

_LEARNED_ON = {2: 1 << 14, 3: 1 << 17}  # voxels, by the number of axes
_SEED_REACH = 0.15  # of the box's sides: a point farther out is not believed
_UNTOLD = 0.3  # nats of evidence in a voxel of the inside, below which nothing was told apart
_LIKELY = 0.05  # probability below which a thinned voxel's surroundings are not looked at again
_AROUND, _CORE = 1.3, 0.8  # of the circle's radius: the first box for points alone; of that box: the first inside
_ROUNDS, _ROUNDS_OF_ONE, _STILL = 3, 8, 0.04  # boxes found from points; change of a side that counts as none


@dataclass(frozen=True, slots=True, eq=False)
class CutFound:
    """A mask in a block of the grid."""

    block: Block
    mask: NDArray[np.bool_]
    score: float
    notes: tuple[str, ...]


def search(
    pixels: NDArray[Any], low: Place, high: Place, *, spacing: Place, points: Place, settings: ClassicalSettings
) -> CutFound:
    """Find the structure that a box encloses."""
    whole = cut(pixels, low, high, spacing=spacing, margin=settings.margin, most=JUDGED)
    believed = ((points >= low - _SEED_REACH * (high - low)) & (points <= high + _SEED_REACH * (high - low))).all(axis=1)
    thin = whole.thinned(strides_for(whole.shape, _LEARNED_ON[len(spacing)]))
    learned = learn(thin, _voxels(points[believed], thin), settings)
    told = learned.evidence >= _UNTOLD
    if told:
        region, model = _near(whole, thin, learned)
    else:  # all grey levels are taken to be alike
        alike = np.zeros((len(whole.levels), LEVELS), np.float32)
        region, model = whole, IntensityModel(alike, Ellipse.within(whole.low, whole.high))
    seeds = _voxels(points[believed], region)
    alone = replace(settings, coupling=0.0)
    inside = learned.inside if told and region is thin else judge(region, model, seeds, settings if told else alone)
    mask, others = component(inside, seeds)
    if not mask.any():
        # Something as small as a voxel or two is outvoted by its neighbours.
        inside = judge(region, model, seeds, alone)
        mask, others = component(inside, seeds)
    notes = []
    if not believed.all():
        notes.append(f"{np.count_nonzero(~believed)} points lie far outside of the box and were left out")
    if not told:
        notes.append("grey levels tell nothing apart: the ellipse that touches the box's sides was taken")
    if max(whole.strides) > 1:
        notes.append(f"a large region: only every {max(whole.strides)}th voxel was looked at")
    if others:
        notes.append(f"{others} other components were left out")
    return CutFound(region.block, region.laid_out(mask), expected_dice(inside, mask), tuple(notes))


def _near(whole: CutRegion, thin: CutRegion, learned: Learned) -> tuple[CutRegion, IntensityModel]:
    """The part of a region where the structure may be, and the model in its voxels."""
    if thin is whole:
        return whole, learned.model
    factors = thin.spacing / whole.spacing
    block = extent(learned.inside > _LIKELY)
    first, last = np.floor(thin.low), np.ceil(thin.high)
    if block is not None:
        first, last = np.array([s.start - 1.0 for s in block]), np.array([s.stop + 1.0 for s in block])
    region, inner = whole.part(first * factors, last * factors)
    ellipse = learned.model.ellipse
    centre = ellipse.centre * factors - [s.start for s in inner]
    return region, IntensityModel(learned.model.tables, Ellipse(centre, ellipse.half * factors))


def _voxels(points: Place, region: CutRegion) -> NDArray[np.intp]:
    """(n, axes) voxels of a region that hold these places of the grid; places beside the region take its nearest voxel."""
    starts = np.array([s.start for s in region.block])
    held: NDArray[np.intp] = np.clip((points - starts) // np.array(region.strides), 0, np.array(region.shape) - 1).astype(np.intp)
    return held


def enclosed(
    pixels: NDArray[Any], points: Place, *, spacing: Place, settings: ClassicalSettings, least: float
) -> tuple[Place, Place]:
    """A box for points without one: that of their circle or sphere, then of what is found in it, until it stays."""
    sizes = np.array(pixels.shape[: len(spacing)], float)
    centre = points[:2].mean(axis=0)
    radius = max(float(np.linalg.norm((points[0] - centre) * spacing)), least) / spacing
    low, high = _clipped(centre - _AROUND * radius, centre + _AROUND * radius, sizes)
    for turn in range(_ROUNDS if len(points) > 1 else _ROUNDS_OF_ONE):
        region = cut(pixels, low, high, spacing=spacing, margin=1.0, most=_LEARNED_ON[len(spacing)])
        learned = learn(region, _voxels(points, region), settings, core=_CORE if turn == 0 else None)
        mask, _ = component(learned.inside, _voxels(points, region))
        block = extent(mask)
        if block is None:
            break
        starts, step = np.array([s.start for s in region.block]), np.array(region.strides)
        ends = np.array([[s.start, s.stop] for s in block]).T
        found = _clipped(starts + ends[0] * step, starts + ends[1] * step, sizes)
        moved = max(float(np.abs(a - b).max()) for a, b in zip((low, high), found, strict=True))
        before, (low, high) = float((high - low).max()), found
        if moved <= max(_STILL * before, 1.0):
            break
    return low, high


def _clipped(low: Place, high: Place, sizes: Place) -> tuple[Place, Place]:
    first = np.clip(low, 0, sizes - 1)
    return first, np.clip(high, first + 1, sizes)


# --- The expert "classical": a box or points become a mask with no weights at all, in an image, on a slice and in a volume at
# once.


_AROUND_ONE = 0.06  # of the shorter side of a slice: radius around a single point


class Classical:
    """Likelihood ratio of grey levels inside a box against those around it, with an elliptic prior. No network, no state."""

    name = "classical"

    def __init__(self, settings: ClassicalSettings | None = None) -> None:
        self._settings = settings or ClassicalSettings()

    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        """One mask a prompt, in order; no prompts give none."""
        return [self._one(case, checked(case, prompt)) for prompt in prompts]

    def _one(self, case: Case, prompt: Prompt) -> Segmentation:
        if prompt.propagate:
            return follow(self, case, prompt)
        if prompt.slice is not None:
            return on_slice(self, case, prompt)
        axes = len(case.geometry.shape)
        spacing = np.array((case.geometry.spacing_mm or (1.0,) * axes)[::-1], float)
        points = np.array([p[::-1] for p in prompt.points], float).reshape(-1, axes)
        if prompt.box is None:
            points = np.unique(points[:2], axis=0) if len(points) == 2 else points
            least = _AROUND_ONE * float((np.array(case.geometry.shape) * spacing)[-2:].min()) if len(points) == 1 else 0.0
            low, high = enclosed(case.pixels, points, spacing=spacing, settings=self._settings, least=least)
        else:
            coords = prompt.box.coords
            low, high = np.array(coords[:axes][::-1], float), np.array(coords[axes:][::-1], float)
        found = search(case.pixels, low, high, spacing=spacing, points=points, settings=self._settings)
        mask = np.zeros(case.geometry.shape, bool)
        mask[found.block] = found.mask
        return finished(mask, found.score, found.notes)
