"""Keeping questions at such a rate that every option offered is right equally often.

An option that some other patient has may still be right in one of fifty: where heart and kidneys stand side by side as options
in a slice, the heart is what is absent. Other patients tell how often each option would be right, and a question is kept with the chance
of the rarest over that of its right one. Whatever is then left over is right as often as the rarest, so that names, boxes and their
combinations tell nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from .dice import Dice
from .place import Places

RAREST = 0.2
"""An option that is right less than so many times as often as the commonest is too rare to be made up for: the ratio is not known well."""
SMOOTH = 1.0
"""Added to both counts: of a few patients, one more or less is chance."""
PLACE_WIDTH, SIZE_WIDTH = 0.04, 0.2
"""How far boxes of a structure may differ to count as alike: centres, as a share of the frame; sides, as the logarithm of their ratio."""


Votes = Callable[[Sequence[str]], Mapping[str, float]]
"""Of some options, how often each is the right one among them in other patients."""


def evened(places: Places, dice: Dice, right: str, wrong: Sequence[str], votes: Votes) -> list[str]:
    """The wrong options to offer beside the right one, so that all are right equally often.

    Args:
        places: The scene; without peers all wrong options are offered.
        dice: Draws.
        right: The right option.
        wrong: Wrong options, three or one.
        votes: Counts.

    Returns:
        All of ``wrong``; the first alone if one of them is hardly ever right; none if the question would tell too much.
    """
    if places.alone:
        return list(wrong)
    for chosen in (wrong, wrong[:1]) if len(wrong) > 1 else (wrong,):
        count = votes((right, *chosen))
        every = [count.get(option, 0.0) for option in (right, *chosen)]
        least = min(every)
        if least > RAREST * max(every):
            return list(chosen) if dice.uniform(0, count[right] + SMOOTH) < least + SMOOTH else []
    return []


def tally(found: Iterable[str]) -> dict[str, float]:
    """How often each option was found right; "" is none."""
    count: dict[str, float] = {}
    for option in found:
        if option:
            count[option] = count.get(option, 0.0) + 1.0
    return count


def alike(a: tuple[int, ...], b: tuple[int, ...], frame: tuple[int, ...]) -> float:
    """How alike two boxes are in place and size: 1 if equal, near 0 if not at all.

    Args:
        a: Box in the model frame, half-open whole numbers.
        b: The same.
        frame: Width, height and depth of the frame.
    """
    half, far = len(a) // 2, 0.0
    for i in range(half):
        far += ((a[i] + a[half + i] - b[i] - b[half + i]) / 2 / frame[i] / PLACE_WIDTH) ** 2
        far += (math.log((a[half + i] - a[i]) / (b[half + i] - b[i])) / SIZE_WIDTH) ** 2
    return math.exp(-far / 2)
