"""Which samples make a step, and how the units of a step share rows. It knows names and lengths, no pictures and no torch.

Images and volumes are two endless streams. A stream is one pass over its samples after the other, and the order of a pass follows
from seed, kind and number of the pass alone: step n is known without the steps before it, so that a run that continues takes
exactly what it would have taken. How many samples of a step come from which stream follows from n as well.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError

from .config import Rollout, Run

if TYPE_CHECKING:
    from .cases import CaseSamples

_KINDS = ("image", "volume")
_PASSES_KEPT = 3
_FURTHER = 1 << 32  # above every number of a pass


@dataclass(frozen=True, slots=True)
class PackUnit:
    """What is learned from at once, sharing the pictures of one case."""

    case: str
    samples: tuple[str, ...]


class BatchPlan:
    """The samples of every step of a run."""

    def __init__(
        self, cases: Sequence[CaseSamples], *, samples: int, together: int = 1, images: float = -1.0, run: Run | None = None
    ) -> None:
        """Lay out a run."""
        run = run or Run()
        good = samples >= 1 and together >= 1 and (images == -1 or 0 <= images <= 1) and run.steps >= 0
        if not good or (run.steps == 0 and not 0 < run.epochs < math.inf):
            came = f"{samples} samples a step, {together} together, a share of images of {images}"
            raise FormatError(f"{came}, {run.steps} steps, {run.epochs} epochs", "numbers from 1, a share in [0, 1] or -1")
        self._streams = {kind: _Stream(kind, [c for c in cases if c.kind == kind], together, run.seed) for kind in _KINDS}
        self._further: dict[int, dict[str, _Stream]] = {}
        self._share, self.epoch = self._shares(images)
        self._samples = samples
        self._total = run.steps * samples if run.steps else max(1, round(run.epochs * self.epoch))
        self.steps = math.ceil(self._total / samples)

    def step(self, number: int, draw: int = 0) -> tuple[PackUnit, ...]:
        """The units of a step, images before volumes. A group that lies across the end of a step comes in two parts.

        A further draw is a batch of the same size and mixture from an order of its own, known in advance like the first.
        """
        if not 0 <= number < self.steps:
            raise IndexError(f"step {number} of {self.steps}")
        first, last = (min(n * self._samples, self._total) for n in (number, number + 1))
        images = [math.floor(n * self._share + Fraction(1, 2)) for n in (first, last)]
        volumes = [first - images[0], last - images[1]]
        streams = self._streams
        if draw:
            if draw not in self._further:
                self._further[draw] = {kind: stream.other(draw) for kind, stream in streams.items()}
            streams = self._further[draw]
        return (*streams["image"].units(*images), *streams["volume"].units(*volumes))

    def _shares(self, images: float) -> tuple[Fraction, int]:
        """Share of 2D samples, and samples of an epoch."""
        held = {kind: self._streams[kind].size for kind in _KINDS}
        if not sum(held.values()):
            raise FormatError(
                "there is no sample to learn from",
                "at least one",
                "check the split, the tasks, and whether the data are for this stage",
            )
        share = Fraction(held["image"], sum(held.values())) if images == -1 else Fraction(images).limit_denominator(10**6)
        taking = {"image": share > 0, "volume": share < 1}
        for kind in _KINDS:
            if taking[kind] and not held[kind]:
                raise FormatError(f"a share of images of {images} and no sample of {kind}s", "both kinds", "set images = -1")
        return share, sum(held[kind] for kind in _KINDS if taking[kind])


class _Stream:
    """Samples of one kind, pass after pass, without end."""

    def __init__(self, kind: str, cases: Sequence[CaseSamples], together: int, seed: int) -> None:
        self._cases, self._together = cases, together
        self._seed: tuple[int, ...] = (seed, _KINDS.index(kind))
        counts = np.array([len(case.samples) for case in cases], np.int64)
        self._case = np.repeat(np.arange(len(cases)), counts)
        self._place = np.arange(len(self._case)) - (np.cumsum(counts) - counts)[self._case]
        self.size = len(self._case)
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def other(self, draw: int) -> _Stream:
        """The same samples in another order."""
        made = copy.copy(self)
        made._seed, made._kept = (*self._seed, _FURTHER + draw), OrderedDict()
        return made

    def units(self, first: int, last: int) -> Iterator[PackUnit]:
        """The samples at the places [first, last) of the stream, neighbours of one group as one unit."""
        while first < last:
            number, inside = divmod(first, self.size)
            ends = min(last - number * self.size, self.size)
            case, place, group = self._pass(number)[:, inside:ends]
            borders = np.flatnonzero(np.diff(group)) + 1
            for index in np.split(np.arange(ends - inside), borders):
                of = self._cases[int(case[index[0]])]
                yield PackUnit(of.id, tuple(of.samples[int(place[i])].id for i in index))
            first += ends - inside

    def _pass(self, number: int) -> NDArray[Any]:
        """Case, place inside the case and number of the group of every sample, in the order of a pass: int64 (3, samples)."""
        found = self._kept.get(number)
        if found is None:
            draw = np.random.default_rng((*self._seed, number))
            # Shuffled inside each case, cut into groups there, then the groups among each other.
            inside = np.lexsort((draw.random(self.size), self._case))
            opens = self._place % self._together == 0
            group = np.cumsum(opens) - 1
            order = np.argsort(draw.permutation(int(opens.sum()))[group], kind="stable")
            found = np.stack([self._case[order], self._place[inside][order], group[order]])
            self._kept[number] = found
            while len(self._kept) > _PASSES_KEPT:
                self._kept.popitem(last=False)
        return found


# --- Questions that teach: neither solved nor out of reach.


class DifficultyWindow:
    """Skips questions whose running success rate lies outside a window.

    Source: online difficulty filtering, arXiv 2504.03380.
    """

    def __init__(self, rollout: Rollout, memory: dict[str, list[float]]) -> None:
        """Judge by a memory, question -> [rate, times skipped since it was asked], which is kept up to date in place."""
        self.low, self.high, self._most = rollout.min_success, rollout.max_success, rollout.skips_at_most
        self._memory = memory
        self.skipped = 0
        """Questions skipped so far."""

    @property
    def active(self) -> bool:
        """False where no rate is outside."""
        return self.low > 0 or self.high < 1

    def take(self, units: Iterator[PackUnit], count: int) -> list[PackUnit]:
        """The next so many samples that are to be asked, neighbours of a unit still together; fewer where the units end."""
        taken: list[PackUnit] = []
        while count > 0 and (unit := next(units, None)) is not None:
            asked = list[str]()
            for name in unit.samples:
                if len(asked) < count and self._asks(name):
                    asked.append(name)
            count -= len(asked)
            taken += [PackUnit(unit.case, tuple(asked))] if asked else []
        return taken

    def saw(self, name: str, success: float) -> None:
        """Note the success rate, 0 to 1, of the newest responses to a question."""
        known = self._memory.get(name)
        self._memory[name] = [success if known is None else (known[0] + success) / 2, 0]

    def _asks(self, name: str) -> bool:
        known = self._memory.get(name)
        if not self.active or known is None or self.low <= known[0] <= self.high:
            return True
        if known[1] >= self._most:
            known[1] = 0
            return True
        known[1] += 1
        self.skipped += 1
        return False


def bins(lengths: Sequence[int], limit: int, multiple_of: int = 1) -> list[list[int]]:
    """Pack units into rows."""
    if limit < 1 or multiple_of < 1 or min(lengths, default=1) < 1:
        raise FormatError(
            f"rows of {limit} tokens, {multiple_of} at once, units from {min(lengths, default=1)}", "numbers from 1"
        )
    falling = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    fitted = _first_fit(lengths, falling, limit)
    count = math.ceil(len(fitted) / multiple_of) * multiple_of
    rows = _spread(lengths, falling, limit, count) or _split(lengths, fitted, count)
    filled = sorted((sorted(row) for row in rows), key=lambda row: (-sum(lengths[i] for i in row), row))
    return filled + [[] for _ in range(count - len(filled))]


def _first_fit(lengths: Sequence[int], falling: Sequence[int], limit: int) -> list[list[int]]:
    """First-fit decreasing: every unit into the first row with room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for unit in falling:
        place = next((k for k, left in enumerate(room) if lengths[unit] <= left), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(limit)
        rows[place].append(unit)
        room[place] -= lengths[unit]
    return rows


def _spread(lengths: Sequence[int], falling: Sequence[int], limit: int, count: int) -> list[list[int]] | None:
    """Every unit into the row that is shortest so far; None if that breaks the limit.

    Source: longest processing time first, Graham, "Bounds on Multiprocessing Timing Anomalies", 1969.
    """
    rows: list[list[int]] = [[] for _ in range(count)]
    heap = [(0, k) for k in range(count)]
    for unit in falling:
        length, place = heap[0]
        if length and length + lengths[unit] > limit:
            return None
        rows[place].append(unit)
        heapq.heapreplace(heap, (length + lengths[unit], place))
    return [row for row in rows if row]


def _split(lengths: Sequence[int], rows: list[list[int]], count: int) -> list[list[int]]:
    """More rows by halving the longest that can be halved, again and again."""
    rows = list(rows)
    while len(rows) < count:
        able = [row for row in rows if len(row) > 1]
        if not able:
            break
        longest = max(able, key=lambda row: sum(lengths[i] for i in row))
        rows.remove(longest)
        halves = _spread(lengths, longest, sum(lengths[i] for i in longest), 2)
        rows += halves or []
    return rows
