"""Choosing questions so that their text does not tell the answer.

For every feature of an option (its words, its place among the options, each together with what the question is about) the balance
keeps how much more often it was right than chance would have it. A question is welcome if its right option carries features that
were right too seldom and its wrong ones features that were right too often; it is refused if it would push a feature beyond what
fair coin tossing would show. So a question whose answer anatomy fixes is refused until something speaks for the contrary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from unireason.data.question import Question

Feature = tuple[str, ...]

SLACK = 1.0
"""Excess that any feature may have."""
SPREAD = 0.4
"""Further excess, in standard deviations of tossing fairly."""

_WORD = re.compile(r"[a-z]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def option_features(question: Question) -> list[list[Feature]]:
    """For every option, what a reader of the text alone could hold on to.

    Args:
        question: A question with options.

    Returns:
        One list an option: the option, its words, its letter, its rank if all options are numbers, its rank by length; each of the
        first two also together with each thing the question is about, its words, and all of them.
    """
    kind = question.ask
    ranks = _ranks([tuple(map(float, _NUMBER.findall(o))) for o in question.options])
    lengths = _ranks([(len(o),) for o in question.options])
    subjects = sorted({a for a in question.about if not a[:1].isdigit() and a[:1] != "["})
    words = sorted({w for s in subjects for w in _WORD.findall(s)})
    found = []
    for place, option in enumerate(question.options):
        own: list[Feature] = [(kind, "place", str(place), str(len(question.options)))]
        if lengths is not None:
            own.append((kind, "length", str(lengths[place])))
        if ranks is not None:
            own.append((kind, "rank", str(ranks[place])))
            own += [(kind, "rank", str(ranks[place]), s) for s in subjects]
        else:
            mine = [option, *{w for w in _WORD.findall(option) if w != option}]
            own += [(kind, m) for m in mine]
            own += [(kind, m, s) for m in mine for s in subjects if s != m]
            own += [(kind, m, "word", w) for m in mine for w in words]
            own.append((kind, option, *subjects))
        found.append(own)
    return found


def _ranks(values: Sequence[tuple[float, ...]]) -> list[int] | None:
    """Rank of each value; None if one is empty or two are equal."""
    if len(set(values)) != len(values) or not all(values):
        return None
    order = sorted(values)
    return [order.index(v) for v in values]


class Balance:
    """Excess of right answers of every feature so far, a family each."""

    def __init__(self) -> None:
        self._excess: dict[tuple[str, Feature], float] = {}
        self._variance: dict[tuple[str, Feature], float] = {}

    def cost(self, question: Question) -> float:
        """How much worse the balance becomes by this question: the mean change of squared excess. Infinite if it is refused."""
        chance = 1 / len(question.options)
        total, count = 0.0, 0
        for place, features in enumerate(option_features(question)):
            change = (place == question.answer) - chance
            for feature in features:
                key = (question.family, feature)
                now = self._excess.get(key, 0.0)
                bound = SLACK + SPREAD * math.sqrt(self._variance.get(key, 0.0))
                if abs(now + change) > bound and now * change >= 0:
                    return math.inf
                total += change * (2 * now + change)
                count += 1
        return total / max(count, 1)

    def add(self, question: Question) -> None:
        """Take a question in."""
        chance = 1 / len(question.options)
        for place, features in enumerate(option_features(question)):
            change = (place == question.answer) - chance
            for feature in features:
                key = (question.family, feature)
                self._excess[key] = self._excess.get(key, 0.0) + change
                self._variance[key] = self._variance.get(key, 0.0) + chance * (1 - chance)


class Selector:
    """Picks the questions of one case after the other; the order of cases matters, so there is one selector a data set."""

    def __init__(self, families: Sequence[str], *, each_case: int) -> None:
        """Start with nothing chosen.

        Args:
            families: Families to keep in equal shares.
            each_case: Questions a case at most, each of another family.
        """
        self._balance = Balance()
        self._counts = dict.fromkeys(families, 0)
        self._each_case = each_case

    def choose(self, candidates: Sequence[Question], *, most: int | None = None) -> list[int]:
        """The questions to keep of one case.

        Args:
            candidates: Questions of any families; those of unknown families are ignored.
            most: Fewer than the selector's own number, if the data set is nearly full.

        Returns:
            Their indices, rarest family first; at most one a family. Empty if there is none or all would tell too much.
        """
        chosen: list[int] = []
        for family in sorted(self._counts, key=lambda f: (self._counts[f], f)):
            if len(chosen) == (self._each_case if most is None else min(most, self._each_case)):
                break
            costs = [(self._balance.cost(q), i) for i, q in enumerate(candidates) if q.family == family]
            best = min(costs, default=(math.inf, -1))
            if best[0] < math.inf:
                chosen.append(best[1])
                self._counts[family] += 1
                self._balance.add(candidates[best[1]])
        return chosen
