"""Confidence intervals: Wilson for counts, over whole patients for means and differences, wide enough for few of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError

Interval = tuple[float, float]

FEW = 20
"""Patients below which intervals are made for few, and pages say so."""
_CHUNK = 1 << 20


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson score interval (low, high) of a proportion inside [0, 1]; (0, 1) for no trials: nothing is known.

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
    """Interval of a mean with a standard error of few degrees of freedom, inside the limits (infinite where there is none).

    The error is 0 where all clusters, such as patients, are alike. The interval is never without width: clusters that are all
    alike leave a share of others unseen.
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
    """Interval of a mean difference (values from -1 to 1) by sign flips of whole clusters: all means that the flip test does not reject.

    The test takes a difference as likely as its opposite. Parting the clusters in two, it counts a part where the supposed mean
    lies between the means of both sides; a mean that less than 5% of all partings hold is rejected. Exact below 20 clusters;
    with more, ``draws`` partings are tried. Never without width; (-1, 1) below 6 clusters, of which no parting is rare enough.
    Without ``clusters`` (one label an item, such as its patient) single items are flipped.

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


# --- Two systems on the same questions: one test over patients gives p and interval; Holm's correction for several pairs.


LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system against another over the same questions.

    Attributes:
        n: Questions.
        first: Share that the first system got right.
        second: Share that the second got right.
        only_first: Questions that only the first got right.
        only_second: Questions that only the second got right.
        p_exact: Two-sided exact test by sign flips of whole clusters; with one question a cluster that is McNemar's.
        p_mid: Its mid-p variant, which keeps closer to its level.
        difference: ``first - second``.
        interval: 95% interval of the difference by the same flips: 0 lies outside where ``p_exact`` is below 0.05, and only there.
    """

    n: int
    first: float
    second: float
    only_first: int
    only_second: int
    p_exact: float
    p_mid: float
    difference: float
    interval: Interval


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust the p values of several tests, so that comparing each with a level bounds the chance of any false alarm by that level.

    Source: S. Holm, Scand. J. Statist. 6 (1979) 65.
    """
    if not all(0 <= p <= 1 for p in ps):
        raise FormatError(f"the p values {list(ps)}", "numbers from 0 to 1")
    found, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda n: ps[n])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        found[place] = least
    return found


def compare(
    first: Sequence[bool], second: Sequence[bool], *, seed: int, clusters: Sequence[Hashable] | None = None, draws: int = 20_000
) -> Comparison:
    """Compare two systems on the same questions, in the same order: True where a system was right.

    ``clusters`` is one label a question, such as its patient; None takes questions as independent. ``seed`` and ``draws`` are
    those of :func:`flip_interval`. No questions, or other lengths, are a FormatError.

    Source: Q. McNemar, Psychometrika 12 (1947) 153; mid-p: M. W. Fagerland et al., BMC Med. Res. Methodol. 13 (2013) 91.
    """
    if len(first) != len(second) or len(first) == 0:
        raise FormatError(f"{len(first)} and {len(second)} answers", "answers to the same questions, at least one")
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    right = [sum(side) for side in zip(*pairs, strict=True)]
    ahead = [a - b for a, b in pairs]
    n = len(pairs)
    # Two-sided p, exact and mid-p, of the sum under all sign flips of whole clusters, by adding up clusters one by one.
    sums: Counter[Hashable] = Counter()
    for value, label in zip(ahead, range(n) if clusters is None else clusters, strict=True):
        sums[label] += value
    steps = [abs(value) for value in sums.values() if value]
    reach, found = sum(steps), abs(sum(sums.values()))
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2
    exact = mid = 1.0
    if found:
        tail, point = float(chances[reach + found :].sum()), float(chances[reach + found])
        exact, mid = min(1.0, 2 * tail), min(1.0, 2 * tail - point)
    low, high = flip_interval(ahead, seed=seed, clusters=clusters, draws=draws)
    difference = (only_first - only_second) / n
    if exact >= LEVEL:  # drawn flips may place an end that lies next to 0 on its other side
        low, high = min(low, 0.0), max(high, 0.0)
    elif low <= 0 <= high:
        low, high = (math.ulp(1), high) if difference > 0 else (low, -math.ulp(1))
    return Comparison(
        n=n,
        first=right[0] / n,
        second=right[1] / n,
        only_first=only_first,
        only_second=only_second,
        p_exact=exact,
        p_mid=mid,
        difference=difference,
        interval=(low, high),
    )


# --- Does a number that comes with an answer tell whether it is right? Reliability bins, calibration error, ranking.


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with similar values of a predictor.

    Attributes:
        low: Least value.
        high: Greatest value.
        n: Answers.
        mean: Mean value.
        accuracy: Share of right answers.
        interval: Its 95% Wilson interval.
    """

    low: float
    high: float
    n: int
    mean: float
    accuracy: float
    interval: Interval


def reliability_bins(values: Sequence[float], right: Sequence[bool], *, count: int = 10) -> tuple[Bin, ...]:
    """Sort answers by a predictor in [0, 1] and cut them into about ``count`` bins of equal mass, by rising value; none for no answers.

    Equal values are never parted, so that many of them make fewer bins, of unequal mass; where there are no more than ``count``
    different values each is a bin.

    Source: equal-mass bins: K. Nguyen and B. O'Connor, arXiv 1508.05154.
    """
    numbers, hits = _checked_probabilities(values, right)
    if count < 1:
        raise FormatError(f"{count} bins", "at least 1")
    if numbers.size and (numbers.min() < 0 or numbers.max() > 1):
        raise FormatError(f"a predictor from {numbers.min():g} to {numbers.max():g}", "values in [0, 1]")
    order = np.argsort(numbers, kind="stable")
    numbers, hits = numbers[order], hits[order]
    starts = np.unique(numbers, return_index=True)[1]  # of every run of equal values
    if len(starts) > count:
        wanted = numbers[[round(i * len(numbers) / count) for i in range(count)]]
        starts = np.unique(np.searchsorted(numbers, wanted, side="left"))
    bins = []
    for a, b in pairwise([*starts.tolist(), len(numbers)]):
        n, good, mean = b - a, int(hits[a:b].sum()), float(numbers[a:b].mean())
        bins.append(Bin(float(numbers[a]), float(numbers[b - 1]), n, mean, good / n, wilson(good, n)))
    return tuple(bins)


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error in [0, 1]: mean distance of accuracy from the predictor over the bins, weighted by their answers.

    It takes the predictor for a probability of being right. For a predictor that is none, such as an overlap, only its ranking
    (:func:`auroc`) and the bins themselves mean something. It cannot fall below the chance differences of small bins; None for
    no bins.

    Source: M. P. Naeini et al., AAAI 2015; C. Guo et al., arXiv 1706.04599, equation 3.
    """
    total = sum(own.n for own in bins)
    return sum(own.n * abs(own.accuracy - own.mean) for own in bins) / total if total else None


def auroc(values: Sequence[float], right: Sequence[bool]) -> float | None:
    """Chance that a right answer has a greater value than a wrong one; equal values count half.

    0.5 for a predictor that knows nothing, 1 for one that ranks all right answers above all wrong ones; None if all are right
    or wrong.

    Source: J. A. Hanley and B. J. McNeil, Radiology 143 (1982) 29.
    """
    from scipy.stats import rankdata

    numbers, hits = _checked_probabilities(values, right)
    positive, negative = int(hits.sum()), int((~hits).sum())
    if not positive or not negative:
        return None
    ranks = float(rankdata(numbers)[hits].sum())
    return (ranks - positive * (positive + 1) / 2) / (positive * negative)


def _checked_probabilities(values: Sequence[float], right: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    numbers, hits = np.asarray(values, dtype=np.float64), np.asarray(right, dtype=np.bool_)
    if numbers.ndim != 1 or numbers.shape != hits.shape or not np.isfinite(numbers).all():
        raise FormatError(f"{numbers.size} values and {hits.size} answers", "one finite value an answer")
    return numbers, hits


# --- Intervals of means over seeds and questions at once: both were drawn, and another draw of either would give another number.


@dataclass(frozen=True, slots=True)
class Crossed:
    """A mean over seeds and questions.

    Attributes:
        mean: Over all cells of the table.
        interval: Where the mean over all seeds and all patients lies.
        seeds: Mean of each seed.
        error: Standard error of the mean.
        freedom: Degrees of freedom of the interval.
    """

    mean: float
    interval: Interval
    seeds: tuple[float, ...]
    error: float
    freedom: float


def crossed_mean(
    table: Sequence[Sequence[float]], *, clusters: Sequence[Hashable] | None = None, confidence: float = 0.95
) -> Crossed:
    """Mean over seeds and questions with an interval that holds for other seeds and other patients.

    Seeds and patients are two crossed random factors. The variance of the mean is (MS_seeds + MS_patients - MS_rest) / (seeds x patients)
    of the two-way analysis of variance without replication, no component below 0; the interval is Student's t, with degrees of freedom
    after Satterthwaite: few where seeds differ much, many where they agree. Patients with several questions weigh by their number
    (linearised ratio). Two or three seeds are too few for a percentile bootstrap over seeds, which cannot see beyond those at hand.
    Simulated with 200 patients and seed effects of 0 to 0.1 (benchmarks/crossed_intervals.py), nominal 95% intervals held the truth as
    often as this, the bootstrap in brackets: 5 seeds 95-96% (88-99%), 3 seeds 92-97% (80-98%), 2 seeds 89-97% (77-97%).

    Args:
        table: Values from 0 to 1, (seeds, questions).
        clusters: One label a question, such as its patient; None takes every question as its own.
        confidence: Between 0 and 1, both excluded.

    Returns:
        The mean. One seed: the interval holds for that seed alone. One patient: for that patient alone. One of each: 0 to 1. Below 20
        patients, and where all are alike, the interval of a share is made for few (``intervals.spread``), never without width.

    Raises:
        FormatError: If the table is empty, ragged or not finite, or the number of labels differs.

    Source: F. E. Satterthwaite, Biometrics Bull. 2 (1946) 110; crossed readers and cases: N. A. Obuchowski and H. E. Rockette, Commun.
        Stat. Simul. Comput. 24 (1995) 285.
    """
    found, patients = _crossed(_checked_grid(table), clusters, confidence)
    if found.error and patients >= FEW:
        return found
    if not found.error and found.freedom < 1:
        return replace(found, interval=(0.0, 1.0))
    low, high = spread(found.mean, found.error, found.freedom, clusters=patients, limits=(0.0, 1.0), confidence=confidence)
    if 1 < patients < FEW:  # seeds only add to what patients leave unknown
        least, most = bootstrap_mean(_checked_grid(table).mean(axis=0).tolist(), seed=0, clusters=clusters, confidence=confidence)
        low, high = min(low, least), max(high, most)
    return replace(found, interval=(low, high))


def crossed_difference(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Crossed:
    """Mean of first - second, tables (seeds, questions) as for :func:`crossed_mean`, paired by seed and question.

    Both ways differ at this confidence when 0 lies outside the interval, which is never without width.
    """
    one, other = _checked_grid(first), _checked_grid(second)
    if one.shape != other.shape:
        raise FormatError(f"tables of {one.shape} and {other.shape}", "the same seeds and questions")
    found, patients = _crossed(one - other, clusters, confidence)
    if found.error:
        return found
    return replace(found, interval=unseen_difference(found.mean, patients, confidence) if found.freedom >= 1 else (-1.0, 1.0))


def _crossed(values: NDArray[np.float64], clusters: Sequence[Hashable] | None, confidence: float) -> tuple[Crossed, int]:
    """The mean with Student's interval, and the number of patients."""
    from scipy.special import stdtrit

    _check_confidence(confidence)
    mean = float(values.mean())
    cells = _cells(values, clusters, mean)
    variance, freedom = _variance(cells)
    error = math.sqrt(variance)
    reach = error * float(stdtrit(freedom, (1 + confidence) / 2)) if error else 0.0
    return Crossed(mean, (mean - reach, mean + reach), tuple(map(float, values.mean(axis=1))), error, freedom), cells.shape[1]


def _checked_grid(table: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    if len({len(row) for row in table}) != 1 or len(table[0]) == 0:
        raise FormatError("a table that is empty or whose rows differ in length", "a row a seed, a column a question")
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise FormatError("a table of other than finite numbers", "finite numbers")
    return values


def _cells(values: NDArray[np.float64], clusters: Sequence[Hashable] | None, mean: float) -> NDArray[np.float64]:
    """Deviations of every seed and patient (seeds, patients): their mean is 0, the mean of a row is that of the seed's questions."""
    if clusters is None:
        return values - mean
    if len(clusters) != values.shape[1]:
        raise FormatError(f"{len(clusters)} labels for {values.shape[1]} questions", "one a question")
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(label, len(order)) for label in clusters])
    sums = np.stack([np.bincount(index, weights=row) for row in values])
    sizes = np.bincount(index)
    cells: NDArray[np.float64] = (sums - sizes * mean) * (len(sizes) / values.shape[1])
    return cells


def _variance(cells: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the mean of a table whose mean is 0, and its degrees of freedom."""
    seeds, patients = cells.shape
    by_seed, by_patient = cells.mean(axis=1), cells.mean(axis=0)
    of_seeds = float(by_seed @ by_seed) / (seeds * max(1, seeds - 1))
    of_patients = float(by_patient @ by_patient) / (patients * max(1, patients - 1))
    if seeds == 1 or patients == 1:
        return (of_patients, patients - 1.0) if seeds == 1 else (of_seeds, seeds - 1.0)
    rest = cells - by_seed[:, None] - by_patient
    of_rest = float((rest * rest).sum()) / (seeds * patients * (seeds - 1) * (patients - 1))
    variance = max(of_seeds - of_rest, 0.0) + max(of_patients - of_rest, 0.0) + of_rest
    parts = of_seeds**2 / (seeds - 1) + of_patients**2 / (patients - 1) + of_rest**2 / ((seeds - 1) * (patients - 1))
    return variance, max(1.0, variance**2 / parts) if parts else 1.0
