"""Confidence intervals: Wilson for counts, over whole patients for means and differences, wide enough for few of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError

Interval = tuple[float, float]

FEW = 20
"""Patients below which intervals are made for few, and pages say so."""
_CHUNK = 1 << 20


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion.

    Args:
        successes: Right answers, 0 to ``trials``.
        trials: Answers.
        confidence: Between 0 and 1, both excluded.

    Returns:
        (low, high) inside [0, 1]; (0, 1) for no trials: nothing is known.

    Raises:
        FormatError: If the counts or the confidence are out of range.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= trials:
        raise FormatError(f"{successes} successes in {trials} trials", "0 <= successes <= trials")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = successes / trials, z * z / trials
    middle = (rate + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    return max(0.0, middle - reach) if successes else 0.0, min(1.0, middle + reach) if successes < trials else 1.0


def bootstrap_mean(
    values: Sequence[float],
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    limits: Interval | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Interval of a mean: percentile bootstrap of whole clusters, or below 20 of them one that also holds for so few.

    Few clusters drawn again never show what they do not hold: of 8 patients the bootstrap's 95% interval held the truth 90 times in 100.
    There a share takes the Beta interval of as many questions as its clusters are worth, other means take Student's t over clusters.
    benchmarks/few_patients.py measures both.

    Args:
        values: One number an item, finite.
        seed: Of the resampling; the same seed gives the same interval.
        clusters: One label an item, such as its patient; whole clusters are then drawn together. None draws single items.
        limits: What a value may be; None takes 0 to 1 where all values lie in it, else no limits.
        resamples: Draws.
        confidence: Between 0 and 1, both excluded.

    Returns:
        (low, high) inside the limits, never without width; the limits themselves where one cluster, or equal values without limits, tell
        nothing of others.

    Raises:
        FormatError: If there are no values, a value is not finite or outside the limits, or the number of labels differs.

    Source: E. L. Korn and B. I. Graubard, Survey Methodol. 24 (1998) 193.
    """
    numbers = _checked(values, resamples, confidence)
    inside = numbers.min() >= 0 and numbers.max() <= 1
    least, most = limits or ((0.0, 1.0) if inside else (-math.inf, math.inf))
    if numbers.min() < least or numbers.max() > most:
        raise FormatError("a value outside its limits", f"numbers from {least:g} to {most:g}")
    sums, sizes = _cluster_sums(numbers, clusters)
    if len(sums) >= FEW:
        rng = np.random.default_rng(seed)
        means, step = [], max(1, _CHUNK // len(sums))
        for begin in range(0, resamples, step):
            drawn = rng.integers(0, len(sums), size=(min(step, resamples - begin), len(sums)))
            means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
        tail = (1 - confidence) / 2
        low, high = map(float, np.quantile(np.concatenate(means), [tail, 1 - tail]))
        if low < high:
            return low, high
    elif len(sums) == 1:
        return least, most
    mean, count = float(numbers.mean()), len(sums)
    by_chance = float(numbers.var(ddof=1))
    alike = float(sizes.sum() ** 2 / (sizes @ sizes))  # clusters of one size that weigh as much
    if math.isfinite(most - least):  # the rare cluster that few hold none of: one more, in the middle, takes part in the spread
        by_chance = (mean - least) * (most - mean)
        sums, sizes = np.append(sums, sizes.mean() * (least + most) / 2), np.append(sizes, sizes.mean())
    apart = sums - sizes * sums.sum() / sizes.sum()
    between = float(apart @ apart) * len(sums) / (len(sums) - 1) / sizes.sum() ** 2
    error = math.sqrt(max(between, by_chance / len(numbers)))  # closer together than by chance is by chance
    return spread(mean, error, count - 1.0, clusters=alike, limits=(least, most), confidence=confidence)


def spread(mean: float, error: float, freedom: float, *, clusters: float, limits: Interval, confidence: float = 0.95) -> Interval:
    """Interval of a mean with a standard error of few degrees of freedom.

    Args:
        mean: The mean.
        error: Its standard error; 0 where all clusters are alike.
        freedom: Degrees of freedom of the error, at least 1 unless it is 0.
        clusters: Independent ones, such as patients.
        limits: What a value may be; infinite where there is no limit.
        confidence: Between 0 and 1, both excluded.

    Returns:
        (low, high) inside the limits, never without width: clusters that are all alike leave a share of others unseen.
    """
    from scipy.special import betaincinv, stdtrit

    least, most = limits
    tail = (1 - confidence) / 2
    if math.isinf(least) or math.isinf(most):
        reach = error * float(stdtrit(freedom, 1 - tail)) if error else math.inf
        return max(least, mean - reach), min(most, mean + reach)
    share = min(1.0, max(0.0, (mean - least) / (most - least)))
    worth = float(clusters)
    if error and 0 < share < 1:
        widened = float(stdtrit(freedom, 1 - tail)) / NormalDist().inv_cdf(1 - tail)
        # No values inside the limits vary more than those that lie at them, so each cluster is worth a question at least.
        worth = max(worth, share * (1 - share) * ((most - least) / (error * widened)) ** 2)
    right, wrong = share * worth, (1 - share) * worth
    low = float(betaincinv(right, wrong + 1, tail)) if right else 0.0
    high = float(betaincinv(right + 1, wrong, 1 - tail)) if wrong else 1.0
    return least + low * (most - least), least + high * (most - least)


def flip_interval(
    values: Sequence[float],
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 20_000,
    confidence: float = 0.95,
) -> Interval:
    """Interval of a mean difference by sign flips of whole clusters: all means that the flip test does not reject.

    The test takes a difference as likely as its opposite. Parting the clusters in two, it counts a part where the supposed mean lies
    between the means of both sides; a mean that less than 5% of all partings hold is rejected. Exact below 20 clusters.

    Args:
        values: Differences between two systems, one an item, from -1 to 1.
        seed: Of the draws of partings where there are too many to try all.
        clusters: One label an item, such as its patient; None flips single items.
        draws: Partings that are tried with 20 clusters or more.
        confidence: Between 0 and 1, both excluded.

    Returns:
        (low, high), never without width; (-1, 1) below 6 clusters, of which no parting is rare enough.

    Raises:
        FormatError: If there are no values, one is not from -1 to 1, or the number of labels differs.

    Source: R. A. Fisher, The Design of Experiments (1935), section 21.
    """
    numbers = _checked(values, draws, confidence)
    if np.abs(numbers).max() > 1:
        raise FormatError("a difference outside its limits", "numbers from -1 to 1")
    sums, sizes = _cluster_sums(numbers, clusters)
    total, items = sums.sum(), len(numbers)
    side, weight = _partings(sums, sizes, seed, draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([side / weight, (total - side) / (items - weight)]).round(12)
    whole = (weight == 0) | (weight == items)
    low = np.sort(np.where(whole, -np.inf, ends.min(axis=0)))
    high = np.sort(np.where(whole, np.inf, ends.max(axis=0)))
    least = math.ceil(round((1 - confidence) * len(low), 9)) - 1
    found = max(-1.0, float(low[least])), min(1.0, float(high[-1 - least]))
    return found if found[0] < found[1] else unseen_difference(float(total / items), len(sums), confidence)


def _partings(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int, draws: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of one side of every parting, the first cluster on the other; or of some, drawn, and of that which parts nothing."""
    if len(sums) < FEW:
        side = weight = np.zeros(1)
        for value, size in zip(sums[1:], sizes[1:], strict=True):
            side, weight = np.concatenate([side, side + value]), np.concatenate([weight, weight + size])
        return side, weight
    rng = np.random.default_rng(seed)
    step = max(1, 8 * _CHUNK // len(sums))
    found: list[NDArray[np.float64]] = [np.zeros((1, 2))]
    for begin in range(0, draws, step):
        chosen = rng.integers(0, 2, size=(min(step, draws - begin), len(sums)), dtype=np.int8)
        found.append(np.asarray(chosen @ np.stack([sums, sizes], axis=1), np.float64))
    side, weight = np.concatenate(found).T
    return side, weight


def unseen_difference(mean: float, clusters: int, confidence: float = 0.95) -> Interval:
    """Interval of a difference that is the same in all clusters, each as told from ``clusters`` of them.

    A share of others, as large as may have gone unseen, does the opposite at one end, and all that can be done at the other.
    """
    unseen = 1 - ((1 - confidence) / 2) ** (1 / clusters)
    if mean == 0:
        return -unseen, unseen
    near, far = abs(mean) * (1 - 2 * unseen), abs(mean) + unseen * (1 - abs(mean))
    return (near, far) if mean > 0 else (-far, -near)


def too_few(patients: int) -> bool:
    """True for so few patients that results, texts and pages must say so."""
    return patients < FEW


def over_patients(
    values: Sequence[float], patients: Sequence[Hashable], *, seed: int, limits: Interval | None = None, resamples: int = 2000
) -> list[float] | None:
    """:func:`bootstrap_mean` over patients as results hold it; None where the values tell nothing of other patients."""
    if len(set(patients)) < 2:
        return None
    found = bootstrap_mean(values, seed=seed, clusters=patients, limits=limits, resamples=resamples)
    return list(found) if all(map(math.isfinite, found)) else None


def _checked(values: Sequence[float], resamples: int, confidence: float) -> NDArray[np.float64]:
    _check_confidence(confidence)
    if resamples < 1:
        raise FormatError(f"{resamples} resamples", "at least 1")
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0 or not np.isfinite(numbers).all():
        raise FormatError(f"{numbers.size} values to resample, not all finite or none at all", "a list of finite numbers")
    return numbers


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise FormatError(f"the confidence {confidence}", "a number between 0 and 1", "write 0.95 for 95 percent")


def _cluster_sums(
    numbers: NDArray[np.float64], clusters: Sequence[Hashable] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and size of every cluster, in order of first appearance; every item its own cluster without labels."""
    if clusters is None:
        return numbers, np.ones_like(numbers)
    if len(clusters) != len(numbers):
        raise FormatError(f"{len(clusters)} cluster labels for {len(numbers)} values", "one a value")
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(label, len(order)) for label in clusters])
    return np.bincount(index, weights=numbers).astype(np.float64), np.bincount(index).astype(np.float64)
