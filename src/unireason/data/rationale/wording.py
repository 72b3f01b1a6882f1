"""Small English grammar for sentences about structures: number, agreement, lists, amounts; and the texts it fills.

The texts themselves lie in ``data/wordings``, a file for every family of questions and one for what families share. A template is
a sentence with places in braces: ``{name}`` is the structure with its article, ``{it}``, ``{its}``, ``{them}`` are its pronouns, a verb
such as ``{lies}`` agrees with it, and everything else is given by the caller. A place with a large first letter is filled with a large
first letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from unireason.core.store import parse_toml
from unireason.data.scene import FAMILIES

# Endings in "s" of words that name one thing: humerus, pelvis, pancreas, biceps, mass.
_SINGULAR_S = re.compile(r"(us|is|ss|as|ps|ns)$")
_PLURAL = frozenset(("vertebrae", "teeth", "bronchi", "atria", "metastases", "prostheses"))
_VERBS = {"is": "are", "has": "have", "does": "do"}
_PRONOUNS = {"it": ("it", "they"), "its": ("its", "their"), "them": ("it", "them"), "this": ("this", "these")}
_PLACE = re.compile(r"\{(\w+)\}")
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@cache
def wordings(name: str) -> dict[str, Any]:
    """The texts of ``data/wordings/<name>.toml``, lists as tuples."""
    text = (Path(__file__).parents[1] / "wordings" / f"{name}.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = _fixed(parse_toml(text, name))
    return table


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _fixed(item) for key, item in value.items()}
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


@lru_cache(maxsize=4096)
def is_plural(name: str) -> bool:
    """True if a structure's name is a plural ("ribs", "vertebrae"), so that its verb has to agree."""
    last = name.rsplit(" ", 1)[-1]
    return last in _PLURAL or (last.endswith("s") and not _SINGULAR_S.search(last))


def the(name: str) -> str:
    """The name with its article."""
    return name if name.startswith("the ") else f"the {name}"


def listed(items: Sequence[str], joint: str = "and") -> str:
    """A list in words: "a", "a and b", "a, b and c"; "" for none."""
    return f"{', '.join(items[:-1])} {joint} {items[-1]}" if len(items) > 1 else "".join(items)


def capital(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to say, in several wordings of which a text takes one."""

    wordings: tuple[str, ...]
    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    def written(self, wording: str) -> str:
        """One of the wordings, filled in."""
        return fill(wording, self.name, **self.values)


def fill(template: str, name: str = "", **values: str) -> str:
    """Write a template out."""
    plural = is_plural(name)
    written = []
    for index, piece in enumerate(_pieces(template)):
        if index % 2 == 0:
            written.append(piece)
            continue
        key = piece.lower()
        if key in values:
            word = values[key]
        elif key == "name":
            word = the(name)
        elif key in _PRONOUNS:
            word = _PRONOUNS[key][plural]
        else:
            word = _verb(piece) if plural else piece
        written.append(word if key == piece else capital(word))
    return capital("".join(written))


@lru_cache(maxsize=1024)
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
    return f"{_SMALL[number] if number < len(_SMALL) else number} {noun}{'' if number == 1 else 's'}"


def rounded(value: float, digits: int = 3) -> str:
    """A number as one says it: ``digits`` significant digits at most, no exponent, thousands with a comma ("1,250", "3.4")."""
    text = f"{float(f'{value:.{digits}g}'):,.{digits}f}"
    return text.rstrip("0").rstrip(".")


def amount(measure: float, unit: str) -> str:
    """An area or a volume in the unit one would say it in."""
    if unit == "mm3" and measure >= 1000:
        return f"{rounded(measure / 1000)} ml"
    if unit == "mm2" and measure >= 100:
        return f"{rounded(measure / 100)} cm2"
    return f"{rounded(measure)} {unit}"


def length(value: float, unit: str) -> str:
    """A distance without its sign, in whole millimetres, or pixels or voxels if that is the unit (``unit_of``)."""
    whole = round(abs(value))
    if unit.startswith("mm"):
        return f"{whole} mm"
    return f"{whole} {unit.removesuffix('s') if whole == 1 else unit}"


def unit_of(kind: str, unit: str) -> str:
    """A scene's unit as one says it: what a picture measures in pixels, a volume without spacing measures in voxels."""
    return "voxels" if kind == "volume" and unit == "pixels" else unit


def claim(fact: str, name: str) -> str:
    """A clause about "it" as a clause about a structure: "it holds 3 ml" becomes "the spleen holds 3 ml"."""
    first, _, rest = fact.partition(" ")
    verb, _, more = rest.partition(" ")
    if first == "it":
        return f"{the(name)} {_verb(verb) if is_plural(name) else verb} {more}".rstrip()
    if first == "its":
        return f"the {verb} of {the(name)} {more}".rstrip()
    return fact


SAY: dict[str, tuple[str, ...]] = wordings("reasoning")["say"]
OPENINGS: dict[str, tuple[str, ...]] = {family: wordings(family)["openings"] for family in FAMILIES}
