"""Which voxels of a region belong to the structure: what their grey levels say, where they lie, and what their neighbours say.

The logit of a voxel is the sum of three terms:

* evidence: the logarithm of how often its grey level occurs inside against how often it occurs outside, from smoothed histograms;
* place: positive inside an ellipse or ellipsoid that touches the box's sides, falling through 0 on its surface;
* neighbours: positive where most of the neighbours are inside; near ones count more, in millimetres.

Inside and outside are not known at first: the ellipse stands for the inside, then histograms and ellipse are estimated again from the
probabilities, a few times (expectation-maximisation). On a large region this is done on a thinned grid, whose histograms and ellipse
then serve the whole.

Source: the likelihood ratio of inside and outside histograms is the region term of S. C. Zhu and A. Yuille, IEEE PAMI 18 (1996) 884;
kernel width: B. W. Silverman, Density Estimation (1986), eq. 3.28.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .region import LEVELS, Place, Region

Probability = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers of the method, chosen on phantoms that no examination uses.

    Attributes:
        passes: Estimations of histograms and ellipse.
        settle: Passes over the whole region with everything else held.
        evidence: Largest logit that a grey level can give.
        centre: Largest logit that a place can give.
        edge: Distance, as a share of the semi-axis, over which the place's logit falls by 1.
        coupling: Logit of a voxel whose neighbours are all inside.
        follow: How far the ellipse moves from the box's towards that of the probabilities, 0 to 1.
        margin: What is looked at around the box on every side, as a share of its sides.
        reach: Distance from the ellipse's centre, in semi-axes, beyond which nothing belongs to the structure.
    """

    passes: int = 4
    settle: int = 2
    evidence: float = 4.0
    centre: float = 0.2
    edge: float = 0.12
    coupling: float = 5.0
    follow: float = 0.5
    reach: float = 1.45
    margin: float = 0.5


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
class Model:
    """What was learned of a structure.

    Attributes:
        tables: float32 (C, 256): logit of every grey level.
        ellipse: Where it lies, in voxels of the region that it was learned on.
    """

    tables: NDArray[np.float32]
    ellipse: Ellipse


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A model and how it fits the region that it was learned on.

    Attributes:
        model: What was learned.
        inside: Probabilities of that region's voxels.
        evidence: Mean logit that grey levels give to what is inside, in nats; 0 where they tell nothing apart.
    """

    model: Model
    inside: Probability
    evidence: float


def learn(region: Region, seeds: NDArray[np.intp], settings: Settings, *, core: float = 1.0) -> Learned:
    """Estimate histograms and ellipse.

    Args:
        region: A region of moderate size.
        seeds: (n, axes) voxels that belong to the structure; may be empty.
        settings: The method's numbers.
        core: Share of the box's semi-axes that is taken for the inside at first.

    Returns:
        The model, and the probabilities of the region's voxels.
    """
    first = Ellipse.within(region.low, region.high)
    distance = first.distance(region.shape)
    inside = _probability((0.8 * core - distance) / np.float32(0.1))
    inside[~region.known] = 0
    model = Model(_tables(region, inside, settings), first)
    for turn in range(settings.passes):
        # Neighbours have no say at first: where all of the ellipse is taken for the inside, they would keep it so.
        share = turn / settings.passes
        inside = judge(region, model, seeds, replace(settings, coupling=share * settings.coupling), start=inside)
        model = Model(_tables(region, inside, settings), _moved(first, inside, settings))
    inside = judge(region, model, seeds, settings, start=inside)
    evidence = _evidence(region, model)
    return Learned(model, inside, float((evidence * inside).sum() / max(float(inside.sum()), 1e-6)))


def judge(
    region: Region, model: Model, seeds: NDArray[np.intp], settings: Settings, *, start: Probability | None = None
) -> Probability:
    """The probability of every voxel to belong to the structure.

    Args:
        region: Any region; the model's ellipse is in its voxels.
        model: What was learned.
        seeds: (n, axes) voxels that belong to the structure.
        settings: The method's numbers.
        start: Probabilities whose neighbourhoods count; None begins with those that neighbours have no say in.

    Returns:
        float32 of the region's shape, in [0, 1].
    """
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


def _evidence(region: Region, model: Model) -> NDArray[np.float32]:
    """Logits of the grey levels, summed over the channels."""
    logit: NDArray[np.float32] = np.take(model.tables[0], region.levels[0])
    for table, levels in zip(model.tables[1:], region.levels[1:], strict=True):
        logit += np.take(table, levels)
    return logit


def neighbours(values: Probability, spacing: Place) -> Probability:
    """Weighted mean over every voxel's neighbourhood of 3 an axis; borders count as continued.

    A neighbour at the smallest spacing weighs half of the voxel itself, one at twice that distance a quarter.

    Args:
        values: float32.
        spacing: Size of a voxel along each axis.
    """
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


def _tables(region: Region, inside: Probability, settings: Settings) -> NDArray[np.float32]:
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


def _moved(first: Ellipse, inside: Probability, settings: Settings) -> Ellipse:
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
        first,
        centre=(1 - share) * first.centre + share * centre,
        half=np.maximum((1 - share) * first.half + share * half, 0.5),
    )
