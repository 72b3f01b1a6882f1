"""Published ways to read an answer, defects kept: to compare with published figures, and for nothing else.

Each reads the response as plain text and says right, wrong, or None where it does not apply or leaves the question out of its count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from unireason.evaluate.suites.suite import Entry
from unireason.metrics.answers import (
    THINK_END,
    THINK_START,
    answer_part,
    published_inference_choice,
    published_reward_choice,
)

_SPECIAL = re.compile(r"<\|[a-z_]{1,40}\|>")


@dataclass(frozen=True, slots=True)
class Extractor:
    """One published reading.

    Attributes:
        rule: What counts as right, one sentence for people.
        right: From a question and the response without special tokens to right, wrong, or None (not counted).
    """

    rule: str
    right: Callable[[Entry, str], bool | None]


def published_verdicts(entry: Entry, raw_text: str) -> dict[str, bool | None]:
    """What every published extractor makes of one response.

    Args:
        entry: The question.
        raw_text: The whole response. Special tokens are dropped, as the published decoding does; where the prompt had opened the think
            block, its tag is put back in front.

    Returns:
        For every name of ``EXTRACTORS``: right, wrong, or None where the question is not counted. An empty response is wrong.
    """
    text = _SPECIAL.sub("", raw_text)
    before, closed, _ = text.partition(THINK_END)
    if closed and THINK_START not in before:
        text = THINK_START + text
    return {name: extractor.right(entry, text) for name, extractor in EXTRACTORS.items()}


def _inference(entry: Entry, text: str) -> bool | None:
    return published_inference_choice(text) == entry.letter if entry.letter else None


def _reward(entry: Entry, text: str) -> bool | None:
    return published_reward_choice(text) == entry.letter if entry.letter else None


def _m3d(entry: Entry, text: str) -> bool | None:
    return f"{entry.letter}." in (answer_part(text) or "") if entry.letter else None


def _llava_med(entry: Entry, text: str) -> bool | None:
    gold = entry.answers[0].strip().casefold() if entry.answers else ""
    if gold not in ("yes", "no"):
        return None
    said = re.sub(r"\bnone\b", "0", (answer_part(text) or "").lower())
    if gold in said:
        return True
    # The script adds nothing to its list here: a wrong yes or no falls out of the count.
    return None if "yes" in said or "no" in said else False


EXTRACTORS: Mapping[str, Extractor] = {
    "unireason_med": Extractor(
        "the first letter A to D behind the word 'answer', else the first with a full stop, else one that ends the text",
        _inference,
    ),
    "unireason_med_reward": Extractor(
        "the first single letter A to D of the text without closed think blocks, the article 'a' included", _reward
    ),
    "m3d": Extractor("right if the right letter with a full stop occurs anywhere in the answer, also inside a word", _m3d),
    "llava_med_closed": Extractor(
        "yes/no questions only: right if the right word occurs anywhere ('no' also in 'normal'); not counted if only the wrong one does",
        _llava_med,
    ),
}
"""Published extractors by name.

Source: ``unireason_med*``: released inference script and reward of arXiv 2606.11740. ``m3d``: released closed-ended scorer of arXiv
2404.00578. ``llava_med_closed``: released scorer of arXiv 2306.00890. The last two know no reasoning and are given what stands behind it.
"""
