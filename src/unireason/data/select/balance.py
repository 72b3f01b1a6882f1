"""Choosing questions so that their text does not tell the answer.

For every feature of an option (its words, its place among the options, each together with what the question is about) the balance
keeps how much more often it was right than a reader would be who tosses a die. A question is welcome if its right option carries
features that trail the die and its wrong ones features that lead; it is refused if a feature would lead by too much. So a question whose
answer anatomy fixes is refused until something speaks for the contrary.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence

from unireason.data.question import Question
from unireason.grounding import grammar
from unireason.types import Frame

Feature = tuple[str, ...]

SLACK = 0.03
"""A question may push the leads of its features apart by so much on average."""
MOST = 3.5
"""Right answers by which a feature may lead over the die, or trail it."""
FULL = 4
"""Options of a question that is not short of any."""
CELLS = 6
"""Cells an axis by which the place of a box is told."""

_WORD = re.compile(r"[a-z]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def option_features(question: Question, frame: Frame) -> list[list[Feature]]:
    """For every option, what a reader of the text alone could hold on to.

    Args:
        question: A question with options.
        frame: The model frame, by which the place of a box in the question is told roughly.

    Returns:
        One list an option: how long it is among the others, whether it shares words with the question or the others, the option and
        its words, or, if all options are numbers, its rank among them and roughly what it says; all of that also together with what the
        question is about. Its letter is not among them: options stand in random order.
    """
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
    return [f"about {round(2 * math.log2(middle + 1))}"]


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
    """How often every feature was right, a family each, against a reader who answers the same questions by tossing a die.

    To hold the features near their exact share instead would be too even: whoever sees most of the questions could tell that the
    rest must make up for them.
    """

    def __init__(self, seed: int = 0) -> None:
        """Start with nothing, and a die of its own."""
        self._lead: dict[tuple[str, Feature], float] = {}
        self._toss = random.Random(seed).random

    def cost(self, question: Question, features: Sequence[Sequence[Feature]]) -> float:
        """How much a question pushes leads further: the mean over its features of lead times change; below 0 if it brings them back.

        Infinite, and so refused, above ``SLACK`` or if a feature would lead, or trail, by more than ``MOST``.
        """
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

    def add(self, question: Question, features: Sequence[Sequence[Feature]]) -> None:
        """Take a question in; its features are those of ``option_features``."""
        tossed = int(self._toss() * len(question.options))
        if tossed == question.answer:
            return
        for place, step in ((question.answer, 1.0), (tossed, -1.0)):
            for feature in features[place]:
                key = (question.family, feature)
                self._lead[key] = self._lead.get(key, 0.0) + step


class Selector:
    """Picks the questions of one case after the other; the order of cases matters, so there is one selector a data set."""

    def __init__(self, families: Sequence[str], *, each_case: int, seed: int = 0) -> None:
        """Start with nothing chosen.

        Args:
            families: Families to keep in equal shares.
            each_case: Questions a case at most, each of another family.
            seed: Of the die.
        """
        self._balance = Balance(seed)
        self._families = dict.fromkeys(families, 0)
        self._asks: Counter[tuple[str, str]] = Counter()
        self._each_case = each_case

    def choose(self, candidates: Sequence[Question], frame: Frame, *, most: int | None = None) -> list[int]:
        """The questions to keep of one case.

        Args:
            candidates: Questions of any families; those of unknown families are ignored.
            frame: Model frame of the case.
            most: Fewer than the selector's own number, if the data set is nearly full.

        Returns:
            Their indices, rarest family first; at most one a family. Empty if there is none or all would tell too much.
        """
        room = self._each_case if most is None else min(most, self._each_case)
        chosen: list[int] = []
        for family in sorted(self._families, key=lambda f: (self._families[f], f)):
            if len(chosen) == room:
                break
            index = self._pick(family, candidates, frame)
            if index is not None:
                chosen.append(index)
        return chosen

    def _pick(self, family: str, candidates: Sequence[Question], frame: Frame) -> int | None:
        """Takes the best question of a family: with four options before two, of its rarest kind that has one not refused."""
        kinds: dict[tuple[bool, int, str], list[int]] = {}
        for index, question in enumerate(candidates):
            if question.family == family:
                order = (len(question.options) < FULL, self._asks[family, question.ask], question.ask)
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
                return index
        return None
