"""Choosing questions so that their text does not tell the answer.

For every feature of an option (its words, its place among the options, each together with what the question is about) the balance
keeps how much more often it was right than a reader would be who tosses a die. A question is welcome if its right option carries
features that trail the die and its wrong ones features that lead; it is refused if a feature would lead by too much. So a question whose
answer anatomy fixes is refused until something speaks for the contrary.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.types import Case, Frame
from unireason.grounding import grammar
from unireason.imaging.present import finite

from .records import SPLITS
from .scene import DataQuestion

Feature = tuple[str, ...]

SLACK = 0.03
"""A question may push the leads of its features apart by so much on average."""
MOST = 3.5
"""Right answers by which a feature may lead over the die, or trail it."""
FULL = 4
"""Options of a question that is not short of any."""
MOST_TWO = 0.25
"""Share of the questions that are neither yes or no nor about sides that may have but two options."""
MOST_PAIRS = 0.27
"""Share of all questions with options that may have but two, yes or no and sides included, where others can be had."""
_PAIRS = (frozenset(("yes", "no")), frozenset(("left", "right")), frozenset(("nasal", "temporal")))
CELLS = 6
"""Cells an axis by which the place of a box is told."""

_WORD = re.compile(r"[a-z]+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def option_features(question: DataQuestion, frame: Frame) -> list[list[Feature]]:
    """For every option, what a reader of the text alone could hold on to."""
    kind = question.ask
    ranks = _ranks([tuple(map(float, _NUMBER.findall(o))) for o in question.options])
    subjects = sorted({s for a in question.about for s in _subjects(a, frame)})
    words = sorted({w for s in subjects for w in _WORD.findall(s)})
    spoken = [set(_WORD.findall(option)) for option in question.options]
    found = []
    for place, option in enumerate(question.options):
        shape = [_length(question.options, place), f"shares {len(spoken[place] & set(words)) > 0}"]
        shape.append(f"kin {sum(len(spoken[place] & other) for n, other in enumerate(spoken) if n != place)}")
        if ranks is not None:
            mine = [f"rank {ranks[place]}", *_cells(option, frame)]
            own: list[Feature] = [(kind, m, s) for m in mine for s in subjects]
        else:
            mine = [option, *sorted(w for w in spoken[place] if w != option)]
            own = [(kind, m, s) for m in mine for s in subjects if s != m]
            own += [(kind, m, "word", w) for m in (*mine, *shape) for w in words]
            own.append((kind, option, *subjects))
        found.append([*own, *((kind, m) for m in (*mine, *shape))])
    return found


def _length(options: Sequence[str], place: int) -> str:
    """How many options are shorter than one, and how many longer."""
    own = len(options[place])
    return f"length {sum(len(o) < own for o in options)} {sum(len(o) > own for o in options)}"


def _subjects(about: str, frame: Frame) -> list[str]:
    """What an argument says: itself, or of a box roughly where its centre lies, axis by axis and all together."""
    boxes = grammar.parse(about).boxes
    return _box_cells(boxes[0].box.coords, frame) if boxes else [about]


def _cells(option: str, frame: Frame) -> list[str]:
    """Roughly what the numbers of an option say: where a box lies, where a range of slices, how large a size is."""
    numbers = [float(n) for n in _NUMBER.findall(option)]
    if option.startswith("["):
        return _box_cells(numbers, frame)
    middle = sum(numbers) / len(numbers)
    if _WORD.findall(option) == ["to"]:
        return [f"z {int(CELLS * middle / frame.depth)}"]
    return [f"about {round(math.copysign(2 * math.log2(abs(middle) + 1), middle))}"]


def _box_cells(box: Sequence[float], frame: Frame) -> list[str]:
    """Cells of the frame in which the centre of a box lies, axis by axis and all together."""
    half = len(box) // 2
    sizes = (frame.width, frame.height, frame.depth)
    cells = [f"{'xyz'[i]} {int(CELLS * (box[i] + box[half + i]) / 2 / sizes[i])}" for i in range(half)]
    return [*cells, " ".join(cells)]


def _ranks(values: Sequence[tuple[float, ...]]) -> list[int] | None:
    """Rank of each value; None if one is empty or two are equal."""
    if len(set(values)) != len(values) or not all(values):
        return None
    order = sorted(values)
    return [order.index(v) for v in values]


class Balance:
    """How often every feature was right, a family each, against a reader who answers the same questions by tossing a die."""

    def __init__(self, seed: int = 0) -> None:
        """Start with nothing, and a die of its own."""
        self._lead: dict[tuple[str, Feature], float] = {}
        self._toss = random.Random(seed).random

    def cost(self, question: DataQuestion, features: Sequence[Sequence[Feature]]) -> float:
        """How much a question pushes leads further: the mean over its features of lead times change; below 0 if it brings them back."""
        chance = 1 / len(question.options)
        total, count = 0.0, 0
        for place, own in enumerate(features):
            change = (place == question.answer) - chance
            for feature in own:
                lead = self._lead.get((question.family, feature), 0.0)
                if abs(lead + change) > MOST and lead * change >= 0:
                    return math.inf
                total += change * lead
                count += 1
        cost = total / max(count, 1)
        return cost if cost <= SLACK else math.inf

    def add(self, question: DataQuestion, features: Sequence[Sequence[Feature]]) -> None:
        """Take a question in; its features are those of ``option_features``."""
        tossed = int(self._toss() * len(question.options))
        if tossed == question.answer:
            return
        for place, step in ((question.answer, 1.0), (tossed, -1.0)):
            for feature in features[place]:
                key = (question.family, feature)
                self._lead[key] = self._lead.get(key, 0.0) + step


def short_of_options(question: DataQuestion) -> bool:
    """True if a question has two options, although it is neither yes or no nor about sides."""
    return len(question.options) == 2 and frozenset(question.options) not in _PAIRS


class Selector:
    """Picks the questions of one case after the other; the order of cases matters, so there is one selector a data set."""

    def __init__(self, families: Sequence[str], *, each_case: int, seed: int = 0, most_two: float = MOST_TWO) -> None:
        """Start with nothing chosen."""
        self._most_two, self._most_pairs = most_two, min(1.0, most_two / MOST_TWO * MOST_PAIRS)
        self._balance = Balance(seed)
        self._families = dict.fromkeys(families, 0)
        self._asks: Counter[tuple[str, str]] = Counter()
        self._each_case = each_case
        self._free, self._two, self._all, self._pairs = 0, 0, 0, 0

    def choose(self, candidates: Sequence[DataQuestion], frame: Frame, *, most: int | None = None) -> list[int]:
        """The questions to keep of one case."""
        room = self._each_case if most is None else min(most, self._each_case)
        chosen: list[int] = []
        for bounded in (True, False):  # a case that has nothing but two options to offer gets its questions all the same
            for family in sorted(self._families, key=lambda f: (self._families[f], f)) if not chosen else ():
                if len(chosen) == room:
                    break
                index = self._pick(family, candidates, frame, bounded=bounded)
                if index is not None:
                    chosen.append(index)
        return chosen

    def _pick(self, family: str, candidates: Sequence[DataQuestion], frame: Frame, *, bounded: bool) -> int | None:
        """Takes the best question of a family: with four options before three, of its rarest kind that has one not refused."""
        kinds: dict[tuple[int, int, str], list[int]] = {}
        for index, question in enumerate(candidates):
            if question.family == family:
                if short_of_options(question) and self._two + 1 > self._most_two * (self._free + 1):
                    continue
                if bounded and len(question.options) == 2 and self._pairs + 1 > self._most_pairs * (self._all + 1):
                    continue
                order = (FULL - len(question.options), self._asks[family, question.ask], question.ask)
                kinds.setdefault(order, []).append(index)
        for order in sorted(kinds):
            costs = []
            for index in kinds[order]:
                features = option_features(candidates[index], frame)
                costs.append((self._balance.cost(candidates[index], features), index, features))
            cost, index, features = min(costs)
            if cost < math.inf:
                self._balance.add(candidates[index], features)
                self._families[family] += 1
                self._asks[family, candidates[index].ask] += 1
                self._free += frozenset(candidates[index].options) not in _PAIRS
                self._two += short_of_options(candidates[index])
                self._all += bool(candidates[index].options)
                self._pairs += len(candidates[index].options) == 2
                return index
        return None


# --- Splits by patient, the same on every machine and hardly changed when patients are added.


SHARES = (0.8, 0.1, 0.1)


def check_shares(shares: Sequence[float]) -> tuple[float, float, float]:
    """Three shares of train, validation and test."""
    if len(shares) != 3 or any(not 0 <= s <= 1 for s in shares) or abs(sum(shares) - 1) > 1e-9:
        raise FormatError(
            f"the split shares are {tuple(shares)}", "three numbers from 0 to 1 that add up to 1", "such as 0.8,0.1,0.1"
        )
    return (float(shares[0]), float(shares[1]), float(shares[2]))


def position(seed: int, source: str, patient: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}\0{source}\0{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(
    patients: Iterable[str],
    *,
    seed: int,
    source: str,
    shares: Sequence[float] = SHARES,
    groups: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The split of every patient."""
    train, validation, test = check_shares(shares)
    together = groups or {}
    members: dict[str, list[str]] = {}
    for patient in sorted(set(patients)):
        members.setdefault(together.get(patient, patient), []).append(patient)
    places = sorted((position(seed, source, group), group) for group in members)
    # Test comes first on the line, so that changing the share of validation never moves a patient out of test.
    bounds = {"test": (0.0, test), "validation": (test, test + validation), "train": (test + validation, 1.0)}
    chosen = {group: next(s for s in bounds if place < bounds[s][1] or s == "train") for place, group in places}
    shares_of = dict(zip(SPLITS, (train, validation, test), strict=True))
    for split in ("test", "validation", "train"):
        if shares_of[split] > 0 and len(places) >= sum(share > 0 for share in shares_of.values()):
            least = max(1, math.floor(shares_of[split] * len(places) / 2))
            _fill(chosen, places, split, least=least, middle=sum(bounds[split]) / 2)
    return {patient: chosen[group] for group, names in members.items() for patient in names}


def _fill(chosen: dict[str, str], places: list[tuple[float, str]], split: str, *, least: int, middle: float) -> None:
    """Moves groups into a split until it has ``least``: those nearest to its share, out of the split that has most."""
    while (held := list(chosen.values())).count(split) < least:
        largest = max(SPLITS, key=held.count)
        near = min((abs(place - middle), group) for place, group in places if chosen[group] == largest)
        chosen[near[1]] = split


# --- Near-duplicate pictures: perceptual hashes, and all pairs of them that lie close together.


BITS = 256
NEAR = 12
"""Hashes that differ in at most this many bits count as the same picture."""

_VOLUME_SLICES = (1, 3, 5, 7)  # eighths of the height
_PAIRS_AT_ONCE = 1 << 18
_LONG_RUN = 32  # pictures with one equal band, from which a second band is asked for
_MOST_BANDS = 40
_ONES = np.array([value.bit_count() for value in range(1 << 16)], np.uint8).astype(np.uint16)


def perceptual_hash(case: Case) -> str:
    """Hash of what a case looks like."""
    if case.kind == "image":
        return _bits(case.pixels, 16)
    count = case.pixels.shape[0]
    return "".join(_bits(case.pixels[min(count - 1, count * part // 8)], 8) for part in _VOLUME_SLICES)


def _bits(pixels: NDArray[Any], side: int) -> str:
    """Signs of ``side`` x ``side`` cosine coefficients as hex digits; of a flat picture "" for an image, zeros for a slice."""
    import imagehash
    from PIL import Image

    small = _shrunk(pixels)
    values = np.asarray(small)
    low, high = np.percentile(values, [1, 99])
    if high <= low:
        return "" if side == 16 else "0" * (side * side // 4)
    if values.dtype != np.uint8:
        small = Image.fromarray((np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8))
    return str(imagehash.phash(small, hash_size=side))


def _shrunk(pixels: NDArray[Any]) -> Any:
    """A picture of at most 128 pixels a side, in grey, quickly: whole blocks of pixels are averaged."""
    from PIL import Image

    if pixels.dtype == np.uint8:
        picture = Image.fromarray(pixels).convert("L")
    else:
        grey = finite(pixels).astype(np.float32)
        picture = Image.fromarray(grey.mean(axis=2) if grey.ndim == 3 else grey)
    factor = max(1, min(picture.size) // 128)
    return picture.reduce(factor) if factor > 1 else picture


def pack(hashes: Sequence[str]) -> NDArray[np.uint8]:
    """Hex digits as bytes: uint8 (n, 32)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), BITS // 8)


def near_pairs(packed: NDArray[np.uint8], owners: NDArray[np.integer[Any]], *, near: int = NEAR) -> Iterator[tuple[int, int]]:
    """All pairs of pictures of different owners that lie within ``near`` bits, each at least once.

    Of ``near`` + 2 bands of bits, such a pair has two that are equal (Norouzi et al., Multi-Index Hashing, CVPR 2012, with one band more
    than theirs). So runs of pictures with one equal band are compared at once while they are short, and cut by a second band where they
    are long, so that the work stays far below the square of the number; benchmarks/README.md has figures.
    """
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    words = np.ascontiguousarray(packed).view(np.uint64)
    everything = np.arange(len(packed))
    if near > _MOST_BANDS:  # bands of a few bits divide nothing
        yield from _close(words, owners, everything, np.zeros(len(packed), np.uint64), near)
        return
    bits = np.unpackbits(packed, axis=1)
    # Bits that tell pictures apart are dealt out evenly: a band of bits in which nearly all agree would divide nothing.
    dealt = np.argsort(np.abs(bits.mean(axis=0) - 0.5), kind="stable")
    weights = 1 << np.arange(math.ceil(bits.shape[1] / (near + 2)), dtype=np.uint64)
    keys = [bits[:, (own := dealt[band :: near + 2])] @ weights[: len(own)] for band in range(near + 2)]
    for band, key in enumerate(keys):
        _, run, length = np.unique(key, return_inverse=True, return_counts=True)
        long = length[run] > _LONG_RUN
        yield from _close(words, owners, everything[~long], run[~long], near)
        members, run = everything[long], run[long].astype(np.uint64)
        for other in keys[band + 1 :] if len(members) else ():
            yield from _close(words, owners, members, (run << np.uint64(len(weights))) | other[members], near)


def _close(
    words: NDArray[np.uint64], owners: NDArray[np.integer[Any]], members: NDArray[np.intp], key: NDArray[Any], near: int
) -> Iterator[tuple[int, int]]:
    """Close pairs among members of one key: each is held against the next of its key, then the one after, in bounded memory."""
    order = np.argsort(key, kind="stable")
    members, key = members[order], key[order]
    left = np.arange(len(members))
    step = 0
    while len(left):
        step += 1
        left = left[left + step < len(members)]
        left = left[key[left] == key[left + step]]
        for start in range(0, len(left), _PAIRS_AT_ONCE):
            a, b = (members[left[start : start + _PAIRS_AT_ONCE] + d] for d in (0, step))
            apart = _ONES[(words[a] ^ words[b]).view(np.uint16)].sum(axis=1)
            found = (apart <= near) & (owners[a] != owners[b])
            yield from zip(np.minimum(a, b)[found].tolist(), np.maximum(a, b)[found].tolist(), strict=True)


def duplicates(hashes: Sequence[str], owners: Sequence[int], *, near: int = NEAR) -> Iterator[tuple[int, int]]:
    """Pairs of owners that join all owners of near-duplicate pictures, through others where need be.

    Of pictures with one hash, the first stands for all: so the pairs stay few however often a picture comes.
    """
    first: dict[str, int] = {}
    for text, owner in zip(hashes, owners, strict=True):
        if first.setdefault(text, owner) != owner:
            yield first[text], owner
    if first:
        held = np.fromiter(first.values(), np.int64, len(first))
        yield from ((int(held[a]), int(held[b])) for a, b in near_pairs(pack(list(first)), held, near=near))


def grouped(patients: Sequence[str], pairs: Iterator[tuple[int, int]]) -> dict[str, str]:
    """Patients that share near-duplicate pictures, directly or through others."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while (up := leader.setdefault(name, name)) != name:
            leader[name] = leader.get(up, up)
            name = up
        return name

    for a, b in pairs:
        first, second = sorted((find(patients[a]), find(patients[b])))
        leader[second] = first
    return {name: find(name) for name in sorted(leader)}
