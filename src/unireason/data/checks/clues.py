"""What a reader of the text alone sees in an option: its words, its place, its length, its rank, and all that together with the
question's words. The shortcut audit learns from these clues and names those that tell the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from unireason.data.question import LETTERS

_WORD = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_CROSSED_WORDS = 40  # words of a question that are crossed with an option's; longer questions are cut


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, each once, in order of first appearance."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


def clues(question: str, options: Sequence[str]) -> list[list[str]]:
    """Clues of every option.

    Args:
        question: Question text.
        options: Option texts.

    Returns:
        One list of clue names an option. ``describe`` puts a name into words.
    """
    asked = list(dict.fromkeys("#" if w[0].isdigit() else w for w in words(question)))[:_CROSSED_WORDS]
    spoken = [words(o) for o in options]
    numbers = [tuple(map(float, _NUMBER.findall(o))) for o in options]
    measures: dict[str, list[float]] = {"length": [len(o) for o in options], **_measures(numbers)}
    measures["kinship"] = [sum(len({*mine} & {*theirs}) for theirs in spoken) for mine in spoken]
    found = []
    for place, mine in enumerate(spoken):
        own = [f"place|{place}|{len(options)}"]
        own += [f"word|{w}" for w in mine]
        own += [f"pair|{a}|{b}" for a, b in pairwise(mine)]
        own += [f"cross|{q}|{w}" for q in asked for w in mine]
        if not numbers[place]:
            own += [f"beside|{options[place]}|{other}" for n, other in enumerate(options) if n != place]
        own += [f"asked|{w in asked}" for w in mine[:1]]
        own += [f"rank|{name}|{r}" for name, values in measures.items() for r in _rank(values, place)]
        own += [
            f"turn|{q}|{name}|{r}" for q in asked for name, v in measures.items() if name != "kinship" for r in _rank(v, place)
        ]
        found.append(list(dict.fromkeys(own)))
    return found


def _measures(numbers: Sequence[tuple[float, ...]]) -> dict[str, list[float]]:
    """Quantities by which options can be ranked, if all of them hold equally many numbers."""
    counts = {len(n) for n in numbers}
    if len(counts) != 1 or counts == {0}:
        return {}
    found = {f"number {i + 1}": [n[i] for n in numbers] for i in range(min(counts.pop(), 6))}
    if len(found) in (4, 6):
        half = len(found) // 2
        found["size"] = [_extent(n, half) for n in numbers]
    return found


def _extent(numbers: tuple[float, ...], half: int) -> float:
    extent = 1.0
    for low, high in zip(numbers[:half], numbers[half:], strict=True):
        extent *= max(high - low, 0.0)
    return extent


def _ranks(measures: Mapping[str, Sequence[float]], place: int) -> list[str]:
    return [f"{name}|{r}" for name, values in measures.items() for r in _rank(values, place)]


def _rank(values: Sequence[float], place: int) -> list[str]:
    """ "most" or "least" if the value stands alone at an end, or its rank in between; nothing if all are equal."""
    mine = values[place]
    below, above = sum(v < mine for v in values), sum(v > mine for v in values)
    if below + above == 0:
        return []
    if above == 0 and below == len(values) - 1:
        return ["most"]
    if below == 0 and above == len(values) - 1:
        return ["least"]
    return [f"{below} below"]


def describe(clue: str) -> str:
    """A clue in words for a report."""
    kind, *parts = clue.split("|")
    if kind == "place":
        return f"letter {LETTERS[int(parts[0])]} of {parts[1]}"
    if kind == "word":
        return f"'{parts[0]}'"
    if kind == "pair":
        return f"'{parts[0]} {parts[1]}'"
    if kind == "cross":
        return f"'{parts[1]}' where the question says '{parts[0]}'"
    if kind == "beside":
        return f"'{parts[0]}' beside '{parts[1]}'"
    if kind == "asked":
        return "its first word is in the question" if parts[0] == "True" else "its first word is not in the question"
    if kind == "rank":
        return _ranked(parts[0], parts[1])
    return f"{_ranked(parts[1], parts[2])} where the question says '{parts[0]}'"


def _ranked(name: str, rank: str) -> str:
    titles = {
        "length": ("the longest option", "the shortest option", "length"),
        "kinship": ("shares most words with the others", "shares fewest words with the others", "shared words"),
        "size": ("the largest box", "the smallest box", "box size"),
    }
    most, least, between = titles.get(name, (f"the largest {name}", f"the smallest {name}", name))
    return {"most": most, "least": least}.get(rank, f"{between}: {rank}")
