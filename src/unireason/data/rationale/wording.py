"""Small English grammar for sentences about structures: number, agreement, lists, amounts; and the texts it fills.

The texts themselves lie in ``data/wordings``, a file for every family of questions and one for what families share. A template is
a sentence with places in braces: ``{name}`` is the structure with its article, ``{it}``, ``{its}``, ``{them}`` are its pronouns, a verb
such as ``{lies}`` agrees with it, and everything else is given by the caller. A place with a large first letter is filled with a large
first letter. ``[one|other]`` stands for either word or phrase.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from unireason.core.store import parse_toml
from unireason.data.names import a as a
from unireason.data.names import is_plural as is_plural
from unireason.data.names import known
from unireason.data.names import the as the
from unireason.data.scene import FAMILIES

_VERBS = {"is": "are", "has": "have", "does": "do", "goes": "go"}
_PRONOUNS = {"it": ("it", "they"), "its": ("its", "their"), "them": ("it", "them"), "this": ("this", "these")}
_EITHER = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_PATTERNS = ("slips", "annotator")
"""Files whose brackets are no choices."""
_PLACE = re.compile(r"\{(\w+)\}")
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@cache
def wordings(name: str) -> dict[str, Any]:
    """The texts of ``data/wordings/<name>.toml``, lists as tuples, "[one|other]" spelled out."""
    text = (Path(__file__).parents[1] / "wordings" / f"{name}.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = _fixed(parse_toml(text, name), spread=name not in _PATTERNS)
    return table


def _fixed(value: Any, *, spread: bool) -> Any:
    if isinstance(value, dict):
        return {key: _fixed(item, spread=spread) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    return tuple(text for item in value for text in (spelled_out(item) if spread and isinstance(item, str) else [item]))


def spelled_out(text: str) -> list[str]:
    """All texts that "[one|other]" in a text stands for."""
    found = _EITHER.search(text)
    if not found:
        return [text]
    return [t for way in found[1].split("|") for t in spelled_out(text[: found.start()] + way + text[found.end() :])]


@lru_cache(maxsize=4096)
def of_kind(texts: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Those texts that may be said of an image or a volume: an image has no slices."""
    return tuple(t for t in texts if kind != "image" or "slice" not in t) or texts


def listed(items: Sequence[str], joint: str = "and") -> str:
    """A list in words: "a", "a and b", "a, b and c"; "" for none."""
    return f"{', '.join(items[:-1])} {joint} {items[-1]}" if len(items) > 1 else "".join(items)


def capital(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to say, in several wordings of which a text takes one; ``many`` if of several such things."""

    wordings: tuple[str, ...]
    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    many: bool = False

    def written(self, wording: str) -> str:
        """One of the wordings, filled in."""
        return fill(wording, self.name, many=self.many, **self.values)


def fill(template: str, name: str = "", *, many: bool = False, **values: str) -> str:
    """Write a template out; ``many`` speaks of several of the things that a name stands for."""
    plural = many or is_plural(name)
    written = []
    for index, piece in enumerate(_pieces(template)):
        if index % 2 == 0:
            written.append(piece)
            continue
        key = piece.lower()
        if key in values:
            word = values[key]
        elif key == "name":
            word = f"the {known(name).plural}" if many else the(name)
        elif key in _PRONOUNS:
            word = _PRONOUNS[key][plural]
        else:
            word = _verb(piece) if plural else piece
        written.append(word if key == piece else capital(word))
    return capital("".join(written))


@lru_cache(maxsize=8192)
def _pieces(template: str) -> list[str]:
    """Text and places of a template in turn; places have odd numbers."""
    return _PLACE.split(template)


def _verb(singular: str) -> str:
    """Third person plural of a verb given in the singular."""
    if singular in _VERBS:
        return _VERBS[singular]
    return singular[:-2] if singular.endswith(("ches", "shes", "sses")) else singular[:-1]


def counted(number: int, noun: str) -> str:
    """A count with its noun: "one slice", "12 slices"; numbers up to ten as words."""
    return f"{number_word(number)} {noun}{'' if number == 1 else 's'}"


def number_word(number: int) -> str:
    """A whole number as one says it: a word up to ten."""
    return _SMALL[number] if number < len(_SMALL) else f"{number:,}"


def instance(name: str) -> tuple[str, str]:
    """What one and what several of the things are called that the name of a lesion stands for: "polyp", "polyps"."""
    found = known(name)
    if found.number == "mass":
        return f"area of {found.display}", f"areas of {found.display}"
    one = found.display
    if found.number == "many":
        one = one.removesuffix("es") + "is" if one.endswith("metastases") else one.removesuffix("s")
    return one, found.plural


def instances(number: int, name: str) -> str:
    """So many of them: "one polyp", "three polyps"."""
    return f"{number_word(number)} {instance(name)[number != 1]}"


def claim(fact: str, name: str) -> str:
    """A clause about "it" as a clause about a structure: "it holds 3 ml" becomes "the spleen holds 3 ml"."""
    first, _, rest = fact.partition(" ")
    verb, _, more = rest.partition(" ")
    if first == "it":
        return f"{the(name)} {_verb(verb) if is_plural(name) else verb} {more}".rstrip()
    if first == "its":
        return f"the {verb} of {the(name)} {more}".rstrip()
    return fact


OPENINGS: dict[str, tuple[str, ...]] = {family: wordings(family)["openings"] for family in FAMILIES}
