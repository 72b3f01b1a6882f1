"""Small English grammar for sentences about structures: number, agreement, lists, amounts.

A template is a sentence with places in braces: ``{name}`` is the structure with its article, ``{it}``, ``{its}``, ``{them}`` are its
pronouns, a verb such as ``{lies}`` agrees with it, and everything else is given by the caller. A place with a large first letter is
filled with a large first letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

# --- Small English grammar for sentences about structures: number, agreement, lists, amounts.


# Endings in "s" of words that name one thing: humerus, pelvis, pancreas, biceps, mass.
_SINGULAR_S = re.compile(r"(us|is|ss|as|ps|ns)$")
_PLURAL = frozenset(("vertebrae", "teeth", "bronchi", "atria", "metastases", "prostheses"))
_VERBS = {"is": "are", "has": "have", "does": "do"}
_PRONOUNS = {"it": ("it", "they"), "its": ("its", "their"), "them": ("it", "them"), "this": ("this", "these")}
_PLACE = re.compile(r"\{(\w+)\}")
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


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


# --- The wording of template reasoning: openings, looks, false leads, comparisons, conclusions, each in several phrasings.


Phrases = tuple[str, ...]

# Each ends where the box follows; the last words in front of a box name what it shows.
FIRST_LOOK: Phrases = (
    "{Name} {lies} at",
    "I first look at {name}",
    "Let me find {name}",
    "I start with {name}",
    "{Name} {is} seen at",
    "To begin with, I look at {name}",
    "I take a closer look at {name}",
)
NEXT_LOOK: Phrases = (
    "Next I look at {name}",
    "{Name} {lies} at",
    "Then I turn to {name}",
    "Now I look at {name}",
    "{Name} {is} located at",
    "After that I check {name}",
)
WRONG_LOOK: Phrases = (
    "One structure that catches the eye lies at",
    "My eye first falls on the region at",
    "A first candidate lies at",
    "I begin with the region at",
    "At first glance I go to the region at",
)
# ``other`` is what really lies there, with its verb already in agreement.
CORRECTION: Phrases = (
    "No, this is {other}, not {name}.",
    "On a closer look this is {other}; I need {name}.",
    "That turns out to be {other}, so I move on.",
    "But this is {other} and not what is asked about.",
    "This is {other}, however, so I look elsewhere.",
)

CORRECTION_OPTION: Phrases = (
    "But this is {other}, which is not among the options.",
    "On a closer look this is {other}, and that is no option.",
    "That turns out to be {other}, so I move on.",
    "This is {other}, however, which the question does not offer.",
)

OPENINGS: dict[str, Phrases] = {
    "structure_localisation": (
        "I need to find the place of the structure.",
        "The question is where something lies, so I look for it.",
        "I have to locate the structure before I can answer.",
        "The place can be read off once the structure is found.",
    ),
    "spatial_localisation": (
        "I need to know what lies where.",
        "I compare the places of the structures on offer.",
        "The question names a place, so I look at what lies there.",
        "I go through the structures by their place.",
    ),
    "existence_verification": (
        "I have to check what can really be seen.",
        "Only the {kind} can tell what is there.",
        "I look for evidence in the {kind}.",
        "Before answering I check the {kind}.",
    ),
    "size_comparison": (
        "The sizes have to be measured.",
        "I measure the structures one by one.",
        "Sizes are compared best by measuring.",
        "I look at the extent of each structure.",
    ),
    "spatial_relation": (
        "I compare the positions of the structures.",
        "I look at where the structures lie to each other.",
        "Their centres tell how the structures lie to each other.",
        "The question is about relative positions.",
    ),
    "lesion_analysis": (
        "I look for the abnormal region.",
        "The finding has to be located first.",
        "I examine the finding closely.",
        "The question is about an abnormality, so I look for it.",
    ),
}

LARGER: Phrases = (
    "{Large} is about {times} times as large as {small}.",
    "{Small} is smaller than {large}, {less} against {more}.",
    "With {more} against {less}, {large} exceeds {small}.",
    "Comparing the two, {large} is larger: {more} against {less}.",
)
OFFSET: Phrases = (
    "Seen from {second}, the centre of {first} lies {offsets}.",
    "From the centre of {second} to that of {first} it is {offsets}.",
    "Compared with {second}, {first} has its centre {offsets}.",
    "Going from {second} to {first} means moving {offsets}.",
)

LARGEST: Phrases = (
    "Of these, {right} {is} the {most}.",
    "{Right} {is} the {most} of them.",
    "None of the others is {more} than {right}.",
    "So {right} {is} the {most} here.",
)
LARGER_OF_TWO: Phrases = (
    "Of the two, {right} {is} the {more}.",
    "{Right} {is} the {more} of the pair.",
    "So {right} {is} {more} than the other.",
    "Between the two, {right} {is} the {more}.",
)
IN_RANGE: Phrases = (
    "{Value} falls into the range of {range}.",
    "A size of {value} belongs to {range}.",
    "The range that holds {value} is {range}.",
    "With {value}, only the range of {range} fits.",
)
THERE: Phrases = (
    "So {name} can be made out, and the question is settled.",
    "There is no doubt that {name} {is} there.",
    "This shows that {name} {is} there.",
    "{Name} can clearly be seen here.",
)
MISSING: Phrases = (
    "I search the rest of the {kind} as well, but there is no sign of {missing}.",
    "Nowhere in the {kind} do I find {missing}.",
    "Going through the whole {kind}, I see no trace of {missing}.",
    "No part of {missing} shows up, neither here nor elsewhere.",
)
BOTH_THERE: Phrases = (
    "So {these} {are} there.",
    "That shows {these} to be there.",
    "With that, {these} {are} accounted for.",
    "There is no doubt about {these}.",
)
NONE_THERE: Phrases = (
    "There is no sign of {these}.",
    "I cannot find {these}.",
    "There is no trace of {these}.",
    "Looking for {these}, I find nothing.",
)
MAINLY: Phrases = (
    "The main direction is {right}.",
    "In short, the direction is {right}.",
    "The direction is mainly {right}.",
    "For the most part, this is {right}.",
)
# In front of a clause that speaks for the right option, against a wrong one, or sums up.
FOR: Phrases = ("", "Indeed, ", "In fact, ", "As it turns out, ", "I note that ")
AGAINST: Phrases = ("By contrast, ", "On the other hand, ", "I can rule out one option: ", "For comparison, ")
IN_SHORT: Phrases = ("So ", "In short, ", "That is, ", "This means that ", "Put simply, ")

CONCLUSIONS: Phrases = (
    "So the answer is {right} {letter}.",
    "This points to {right} {letter}.",
    "Therefore I choose {right} {letter}.",
    "The right option is {right} {letter}.",
    "Hence the answer is {right} {letter}.",
    "All in all this means {right} {letter}.",
    "That makes it {right} {letter}.",
    "Taken together, the answer is {right} {letter}.",
)

IMPLICIT_OPENINGS: Phrases = (
    "The description does not name its target, so I go by place and look.",
    "I need the structure that matches every part of the description.",
    "Let me match the description with what the {kind} shows.",
    "The target has to be found from its description alone.",
)
IMPLICIT_FIRST: Phrases = (
    "To begin with, {fact}.",
    "The first clue is that {fact}.",
    "According to the description, {fact}.",
    "The question says that {fact}.",
)
IMPLICIT_CLUES: Phrases = (
    "Moreover, {fact}.",
    "Another clue is that {fact}.",
    "In addition, {fact}.",
    "It must also be true that {fact}.",
)
IMPLICIT_EXCLUDED: Phrases = (
    "{Other} can be ruled out, since its centre lies {offsets} from the place that is meant.",
    "It cannot be {other}, whose centre lies {offsets} from the place that is meant.",
    "{Other} does not match, as its centre is found {offsets} from the place that is meant.",
    "With its centre {offsets} from the place that is meant, {other} does not match.",
)
IMPLICIT_CONCLUSIONS: Phrases = (
    "All of this fits {name}, which I mark with a tight box and two points inside.",
    "Only {name} {matches} this, so I outline {them}.",
    "I conclude that {name} {is} meant and mark {them}.",
    "This describes {name}; the box goes tightly around {them}.",
)
