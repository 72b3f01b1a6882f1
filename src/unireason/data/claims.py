"""What a text claims about a scene, held against the scene: the one judge of templates, language models and data sets.

A text is cut into sentences and clauses; structures are found by their longest name, "it" is the one spoken of last. A claim that can
be worked out from the scene (a number with a unit, a side, a brightness, a comparison, a count, slices, a neighbour) has to be true of the
structures that its clause names. What the scene cannot tell (a diagnosis, a structure that nobody annotated, a measure in millimetres
without a scale) may not be claimed. And an answer may not stand in front of its evidence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from unireason.core.types import Look
from unireason.data import names
from unireason.data.rationale import seen
from unireason.data.rationale.wording import wordings
from unireason.data.scene import IMPLICIT, DataQuestion, Scene, Structure

TOLERANCE = 0.15
"""So far may a number in a text lie from the one that the masks give, as a share of it."""
LEAST_OFF = {"mm": 2.0, "pixels": 2.0, "slices": 1.0, "%": 1.0, "times": 0.15, "hu": 4.0, "area": 0.0}
"""And so far in any case, in the unit itself."""
NEIGHBOURS = 10.0  # boxes of neighbours lie at most so many millimetres (pixels) apart
CLEAR_CONTRAST = 2.0
"""Grey levels from which a structure is brighter or darker than what surrounds it."""
ALIKE = 25.0  # and from which it is certainly not as bright
SURE = 0.03  # of the picture: a centre nearer to the middle may be said to lie on either side

_WORDS = wordings("claims")
_THRESHOLDS = wordings("thresholds")["chain"]
_RE = {key: re.compile(text, re.IGNORECASE) for key, text in _WORDS.items() if isinstance(text, str) and key != "parted"}
_BEYOND, _NO_SIDE, _AROUND, _MEANT = (
    re.compile("|".join(_WORDS[key]), re.IGNORECASE) for key in ("beyond", "no_side", "around", "meant")
)
_NUMBER = r"(?<![\w.,\[])(\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
_SMALL = {w: n for n, w in enumerate(_WORDS["small"])}
_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("mm", "millimetre", "millimeter"), ("mm", 1)),
    **dict.fromkeys(("cm", "centimetre", "centimeter"), ("mm", 10)),
    **dict.fromkeys(("mm2", "mm²"), ("mm2", 1)),
    **dict.fromkeys(("cm2", "cm²"), ("mm2", 100)),
    **dict.fromkeys(("mm3", "mm³"), ("mm3", 1)),
    **dict.fromkeys(("cm3", "cm³", "cc", "ml", "millilitre", "milliliter"), ("mm3", 1000)),
    **dict.fromkeys(("l", "litre", "liter"), ("mm3", 1e6)),
    **dict.fromkeys(("pixel", "px", "voxel"), ("pixels", 1)),
    **dict.fromkeys(("%", "percent"), ("%", 1)),
    **dict.fromkeys(("hu", "hounsfield unit"), ("hu", 1)),
    **dict.fromkeys(("grey level", "gray level"), ("grey", 1)),
    **{"slice": ("slices", 1), "times": ("times", 1)},
}
_MEASURED = re.compile(
    rf"(-?){_NUMBER}\s*(?:(?:and|to|-|–|x|×|by)\s*{_NUMBER}\s*)?(?:square |cubic )?"
    rf"({'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))})s?(?![\w²³])",
    re.IGNORECASE,
)
_AWAY = re.compile(r"\s*(?:to the|towards?|up|down|away|apart|from)\b", re.IGNORECASE)
_ACROSS = re.compile(r"\s*(?:across|wide|long|tall|high|thick|in (?:diameter|length|width|height))\b", re.IGNORECASE)
_SLICE = re.compile(
    rf"\bslices?\s+(?:from\s+|numbers?\s+)?{_NUMBER}(?:\s*(?:to|-|–|and|through|until|up to)\s*(?:slice\s+)?{_NUMBER})?",
    re.IGNORECASE,
)
_COUNT = re.compile(
    rf"\b({'|'.join(_SMALL)}|a single|a solitary|only one|single|solitary|\d+)\s+({_WORDS['parted']})\b", re.IGNORECASE
)
_CLAUSE = re.compile(r"(?:[;:]\s|,?\s(?:but|while|whereas|although|though|yet|and|which|with)\s|,\s)", re.IGNORECASE)
_OF = r"(?:the )?(?:(?:centre|center|middle|edge|box|place|position) of )?(?:that of )?(?:the )?"
_FROM_TO = re.compile(rf"\bfrom {_OF}<(\d+)>[^<]*?\bto {_OF}<(\d+)>", re.IGNORECASE)
_SEEN_FROM = re.compile(
    rf"\b(?:from|compared (?:with|to)|relative to|with respect to|as seen from|against) {_OF}<(\d+)>", re.IGNORECASE
)
_LIES_OF = re.compile(rf"\b(?:of|than|from|to|behind|above|below|under|beneath|in front of) {_OF}<(\d+)>", re.IGNORECASE)
_FROM_MIDDLE = re.compile(r"\b(?:from|of|to) the (?:middle|centre|center|midline)\b(?! of <)", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:it|its|they|their|them|this|these)\b", re.IGNORECASE)
_SEGMENT = re.compile(r"[;:]\s|,?\s(?:but|while|whereas|although|though|yet)\s", re.IGNORECASE)
_SIGNED = r"(?<![\w.,\[-])(-?(?:\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?))"
_ORDER = re.compile(rf"{_SIGNED}(?: [^\W\d]+[²³23]?)? (?:is )?(<|>|less|more|larger|smaller|greater|fewer)(?: than)? {_SIGNED}")
_GENERAL = re.compile(rf"{_WORDS['concluded']}|\b(?:way|direction)\b|\b[A-J][.!]?$", re.IGNORECASE)
_SO_FAR = re.compile(r"\b(?:so far|for now|now have|up to (?:here|now|this))\b", re.IGNORECASE)
_BETWEEN = re.compile(
    r"\b(?:in|out)side\b|\bbetween\b|round\b|\bsurround\w*|\benclos\w+|\bleaves\b|\bwithin\b|[<>]|\b(?:more|less) than\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"“(]?[A-Z\d\x00])|\n+")
_LOOK = re.compile("\x00(\\d+)\x00")
_DIRECTIONS = (
    (r"left(?:ward\w*)?", "left"),
    (r"right(?:ward\w*)?", "right"),
    (r"anterior(?:ly)?|front|ventral(?:ly)?|in front", "anterior"),
    (r"posterior(?:ly)?|back|dorsal(?:ly)?|behind|rear", "posterior"),
    (r"superior(?:ly)?|head|cranial(?:ly)?", "superior"),
    (r"inferior(?:ly)?|feet|caudal(?:ly)?", "inferior"),
    (r"upper|above|top|upwards?", "above"),
    (r"lower|below|bottom|downwards?|beneath|underneath|under", "below"),
)
_DIRECTION = re.compile(r"\b(?:" + "|".join(f"(?P<d{i}>{p})" for i, (p, _) in enumerate(_DIRECTIONS)) + r")\b", re.IGNORECASE)
_AXES = {
    "patient": {
        "left": (0, 1),
        "right": (0, -1),
        "anterior": (1, -1),
        "posterior": (1, 1),
        "superior": (2, 1),
        "inferior": (2, -1),
    },
    "picture": {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)},
}
_TALL = {"above": "superior", "below": "inferior"}
"""What above and below mean of a patient's volume; of a slice they are not judged."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a text: a code for counting and a sentence that tells the writer."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, the looks in it as ``\\0number\\0``: their numbers, and how many stand in front of it."""

    text: str
    looks: tuple[int, ...]
    before: int

    @property
    def plain(self) -> str:
        """The words without the looks."""
        return " ".join(_LOOK.sub(" ", self.text).split())


class Mention(NamedTuple):
    """A structure's name in a text."""

    name: str
    start: int
    end: int


def sentences(steps: Sequence[str | Look]) -> list[Sentence]:
    """Reasoning as sentences."""
    text, count = "", 0
    for step in steps:
        if isinstance(step, str):
            text += step
        else:
            text, count = f"{text} \x00{count}\x00", count + 1
    found, before = [], 0
    for piece in _SENTENCE.split(text):
        looks = tuple(int(n) for n in _LOOK.findall(piece))
        if re.search(r"\w", _LOOK.sub("", piece)) or looks:
            found.append(Sentence(piece.strip(), looks, before))
        before += len(looks)
    return found


def find_names(text: str, among: Sequence[str]) -> list[Mention]:
    """All mentions of some structures, in order, by their longest names."""
    return [Mention(name, start, end) for start, end, name in names.mentions(text, among)]


# --- All claims of a text.


@dataclass(slots=True)
class Judge:
    """Holds the sentences of one text against its scene.

    Attributes:
        scene: What there is.
        question: What is asked.
        scaled: True if the reader is told the scale, so that millimetres may be spoken of.
    """

    scene: Scene
    question: DataQuestion
    scaled: bool
    faults: list[Fault] = field(default_factory=list)
    _topics: tuple[str, ...] = ()
    _given: str = ""
    _earlier: list[str] = field(default_factory=list)

    def run(self, steps: Sequence[str | Look]) -> list[Fault]:
        """Every false or unfounded claim, in order."""
        scene, question = self.scene, self.question
        among = [*scene.structures, *scene.absent, *scene.unclear, *question.needs]
        looks = [s for s in steps if isinstance(s, Look)]
        if question.family == IMPLICIT:
            self._topics = question.needs[:1]
        said = question.options or [text for texts in question.gold for text in texts]
        borders = [f"{end} mm" for row in _THRESHOLDS if row["rule"] in question.text for end in row["ends"]]
        self._given = " ".join((question.text, *map(scene.said, said), *question.facts, *borders)).lower()
        for sentence in sentences(steps):
            self._sentence(sentence, among, looks)
        return self.faults

    def _sentence(self, sentence: Sentence, among: Sequence[str], looks: Sequence[Look]) -> None:
        text = sentence.text
        here = find_names(text, among)
        mine = [m.name for m in here if m.name in self.scene.structures]
        shown = [looks[i].label for i in sentence.looks if looks[i].label in self.scene.structures]
        self._unknown(text, here)
        around = list(dict.fromkeys([*mine, *shown, *self._topics, *self._earlier[-3:]]))
        # The target of an implicit question goes without its name: "that of my region", "not at slice 7", "it".
        implicit = self.question.family == IMPLICIT and (not mine or _RE["mine"].search(text))
        unnamed = self.question.needs[:1] if implicit else ()
        position = 0
        for cut in [*_SEGMENT.finditer(text), None]:
            stop = cut.start() if cut else len(text)
            inner = [Mention(m.name, m.start - position, m.end - position) for m in here if position <= m.start < stop]
            self._sides(text[position:stop], inner)
            position = cut.end() if cut else stop
        position = 0
        for cut in [*_CLAUSE.finditer(text), None]:
            clause, start = text[position : cut.start() if cut else len(text)], position
            position = cut.end() if cut else len(text)
            own = [m for m in here if start <= m.start < start + len(clause) and m.name in self.scene.structures]
            local = [Mention(m.name, m.start - start, m.end - start) for m in own]
            named = list(dict.fromkeys(m.name for m in own))
            subjects = (
                named or list(dict.fromkeys([*mine, *(self._topics if _PRONOUN.search(clause) or not mine else ())])) or shown
            )
            compared = not named and _ORDER.search(text)  # numbers told before stand side by side
            every = [*around, *self._earlier]
            self._numbers(clause, text, every if compared else subjects, every if compared else around)
            self._slices(clause, [*(around if _BETWEEN.search(text) else subjects), *unnamed])
            if not _RE["denied"].search(clause) and not _RE["supposed"].search(clause):
                self._brightness(clause, local, subjects)
                self._counts(clause, subjects)
                self._beside(clause, local)
        self._compare(text, here)
        if self.question.family != IMPLICIT:  # "it" is what was looked at last, or what was named last
            self._topics = tuple(dict.fromkeys([*(shown[-1:] or self._topics[:1]), *mine[:1]]))
        self._earlier += [n for n in [*mine, *shown] if n not in self._earlier]

    def _fault(self, code: str, detail: str) -> None:
        self.faults.append(Fault(code, detail))

    # --- Structures and findings that nobody annotated.

    def _unknown(self, text: str, here: Sequence[Mention]) -> None:
        covered = [(m.start, m.end) for m in here]
        free = not _RE["denied"].search(text) and not _RE["supposed"].search(text)
        for mention in here:
            if mention.name not in self.scene.structures and free and not self._asserts_option(text, mention.name):
                self._fault("not_there", f"The text speaks of the {mention.name} as if it could be seen; it is not there.")
        for code, pattern, says in (
            ("unfounded", _BEYOND, "{!r} is more than the picture and the boxes tell; leave it out."),
            ("unknown_structure", _RE["anatomy"], "{!r} is not among the structures; speak of those alone."),
        ):
            if code == "unknown_structure" and not free:
                continue
            for match in pattern.finditer(text):
                inside = any(a <= match.start() < b for a, b in covered)
                if not inside and not re.search(rf"\b{re.escape(match[0].lower())}", self._given):
                    self._fault(code, says.format(match[0]))

    def _asserts_option(self, text: str, name: str) -> bool:
        """Whether the answer that something is missing is being given."""
        return self.question.ask in ("which_absent", "present") and bool(
            _RE["concluded"].search(text) or f" {self.question.letter}." in text
        )

    # --- Numbers.

    def _numbers(self, clause: str, whole: str, subjects: Sequence[str], around: Sequence[str]) -> None:
        for match in _MEASURED.finditer(clause):
            unit, scale = _UNITS[match[4].lower()]
            said = match[0].strip().lower()
            if unit == "mm" and re.search(r"square |cubic ", match[0]):
                unit = "mm2" if "square" in match[0] else "mm3"
                scale = scale**2 if unit == "mm2" else scale**3
            if said in self._given or (unit == "slices" and self.scene.kind == "image"):
                continue
            metric = unit in ("mm", "mm2", "mm3")
            hidden = unit == "grey" or (
                unit == "hu" and not (self.scene.hounsfield and self.question.ask.startswith("attenuation"))
            )
            if hidden or (metric and not (self.scaled and self.scene.spacing_mm)):
                self._fault("unseen_number", f"'{match[0].strip()}' cannot be read off the picture; leave it out.")
                continue
            away = bool(_AWAY.match(clause, match.end()))
            span = bool(_ACROSS.match(clause, match.end()))
            true = list(self._true(unit, clause, whole, subjects, around, away=away, span=span))
            for text in (match[2], match[3]):
                if text is None:
                    continue
                value = float(text.replace(",", "")) * (-scale if match[1] and unit == "hu" else scale)
                if not any(_agrees(value, one, unit) for one in true):
                    what = f" of the {' or the '.join(subjects[:3])}" if subjects else ""
                    self._fault("wrong_number", f"'{match[0].strip()}' is no measure{what}.")
                    break

    def _true(
        self, unit: str, clause: str, whole: str, subjects: Sequence[str], around: Sequence[str], *, away: bool, span: bool
    ) -> Iterator[float]:
        """All values that a number of a unit may have, said of some structures; a way or an extent if the word behind it tells."""
        scene = self.scene
        mine = [scene.structures[n] for n in subjects if n in scene.structures]
        meant = self.question.needs[:1] if self.question.family == IMPLICIT else ()
        near = [scene.structures[n] for n in dict.fromkeys([*around, *meant]) if n in scene.structures]
        if unit in ("mm2", "mm3", "pixels") and not away and not span:
            for s in mine:
                if scene.unit == unit or (unit == "pixels" and scene.unit == "pixels"):
                    yield s.measure
                    yield from (p.measure for p in s.parts)
                if unit == "pixels":
                    yield float(s.voxels)
                    yield from (float(p.voxels) for p in s.parts)
                    yield self._in_frame(s.measure)
                    yield from (self._in_frame(p.measure) for p in s.parts)
            if len(mine) > 1:
                yield sum(s.measure for s in mine)
                yield abs(mine[0].measure - mine[1].measure)
        if unit == "hu":
            yield from seen.attenuations(near, scene)
        if unit == "slices":
            yield from (float(s.slices[1] - s.slices[0]) for s in mine)
            yield float(scene.frame.depth)
            yield from (
                abs(a.box_model.coords[2] + a.box_model.coords[5] - b.box_model.coords[2] - b.box_model.coords[5]) / 2
                for a in mine
                for b in near
                if a is not b and scene.kind == "volume"
            )
            yield from (abs(_middle(s)[2] - scene.frame.depth / 2) for s in mine if scene.kind == "volume")
        if unit == "%":
            total = math.prod(scene.extent)
            yield from (100 * s.measure / total for s in mine)
            shares = [100 * a.measure / b.measure for a in near for b in near if a is not b]
            yield from (*shares, *(share - 100 for share in shares if share > 100))
            yield from (100 * p.measure / s.measure for s in mine for p in s.parts)
        if unit == "times":
            yield from (a.measure / b.measure for a in near for b in near if a is not b and b.measure)
        if unit in ("pixels", "slices") and re.search(r"\b(?:edge|off|miss|fit)", whole):
            off = list(self._off())
            yield from off
            if off:
                return
        if unit in ("mm", "pixels"):
            across, apart = _RE["across"].search(clause), _RE["apart"].search(clause)
            if not away and (span or across or not apart):
                yield from self._extents(mine, unit)
            if not span and (away or apart or not across or not subjects):
                yield from self._ways(mine, near, unit)

    def _in_frame(self, measure: float) -> float:
        """An area in model pixels."""
        scene = self.scene
        ratio = math.prod(
            n / e for n, e in zip((scene.frame.width, scene.frame.height, scene.frame.depth), scene.extent, strict=False)
        )
        return measure * ratio

    def _off(self) -> Iterator[float]:
        """By how much the edges of the boxes among the options miss those of the structure that is asked about."""
        about = next((self.scene.structures[n] for n in self.question.about if n in self.scene.structures), None)
        for option in self.question.options if about else ():
            numbers = [float(n) for n in re.findall(r"\d+", option)]
            if about and len(numbers) == len(about.box_model.coords):
                yield from (abs(a - b) for a, b in zip(numbers, about.box_model.coords, strict=True))

    def _extents(self, structures: Sequence[Structure], unit: str) -> Iterator[float]:
        scene = self.scene
        for s in structures:
            if unit == "mm":
                yield from (*s.diameters, *([sum(s.diameters) / 2] if s.diameters else ()))
            boxes = [(s.box_canonical, s.box_model), *((p.box_canonical, p.box_model) for p in s.parts)]
            for canonical, model in boxes:
                half = len(canonical) // 2
                sides = [b - a for a, b in zip(canonical[:half], canonical[half:], strict=True)]
                if unit == "mm" and scene.spacing_mm:
                    real = [n * step for n, step in zip(sides, scene.spacing_mm, strict=False)]
                    yield from real
                    yield math.dist(real, [0.0] * half)
                    yield math.sqrt(math.prod(real[:2]))
                if unit == "pixels":
                    yield from map(float, sides)
                    yield from (float(b - a) for a, b in zip(model.coords[:half], model.coords[half:], strict=True))

    def _ways(self, structures: Sequence[Structure], near: Sequence[Structure], unit: str) -> Iterator[float]:
        scene = self.scene
        frame = (scene.frame.width, scene.frame.height, scene.frame.depth)[: len(scene.extent)]
        to_frame = [n / e for n, e in zip(frame, scene.extent, strict=True)]
        scales = [[1.0] * len(frame)]
        if unit == "pixels":
            scales = (
                [to_frame] if scene.spacing_mm else [to_frame, *scales]
            )  # without a spacing older texts count those of the file
        points = [s.centre for s in structures]
        for scale in scales:
            for point in points:
                for other in [tuple(0.0 for _ in point), *(s.centre for s in near)]:
                    way = [(p - q) * f for p, q, f in zip(point, other, scale, strict=True)]
                    if any(way):
                        yield from map(abs, way)
                        yield math.dist(way, [0.0] * len(way))
                        yield math.dist(way[:2], [0.0] * 2)
        for a in structures:
            yield from (self._gap(a, b, unit) for b in near if a is not b)
            if unit == "mm":
                yield from (g for b in near for g in (a.gaps.get(b.name), b.gaps.get(a.name)) if g is not None)
            if unit in ("pixels", scene.unit[:2]):  # as one reads it off the boxes
                step = [1.0] * len(frame) if unit == "pixels" else [e / n for e, n in zip(scene.extent, frame, strict=True)]
                here = _middle(a)
                for there in [tuple(n / 2 for n in frame), *(_middle(b) for b in near if a is not b)]:
                    whole = (tuple(map(math.floor, here)), tuple(map(math.floor, there)))  # as places are told
                    for one, other in ((here, there), whole):
                        way = [abs(p - q) * s for p, q, s in zip(one, other, step, strict=True)]
                        yield from (*way, math.dist(way, [0.0] * len(way)), math.dist(way[:2], [0.0] * 2))

    def _gap(self, a: Structure, b: Structure, unit: str) -> float:
        """Shortest way between two boxes."""
        one, other = (a.box_canonical, b.box_canonical) if unit == "mm" else (a.box_model.coords, b.box_model.coords)
        half = len(one) // 2
        steps = self.scene.spacing_mm if unit == "mm" and self.scene.spacing_mm else (1.0,) * half
        gaps = [max(0.0, one[i] - other[half + i], other[i] - one[half + i]) * steps[i] for i in range(half)]
        return math.dist(gaps, [0.0] * half)

    def _slices(self, clause: str, subjects: Sequence[str]) -> None:
        if self.scene.kind == "image":
            return
        for match in _SLICE.finditer(clause):
            if match[0].lower() in self._given:
                continue
            low, high = int(float(match[1])), int(float(match[2] or match[1]))
            mine = [self.scene.structures[n].slices for n in subjects if n in self.scene.structures] or [
                (0, self.scene.frame.depth)
            ]
            whole = match[2] is not None
            if not any(abs(low - a) <= 1 and abs(high - (b - 1)) <= 1 if whole else a - 1 <= low <= b for a, b in mine):
                self._fault(
                    "wrong_slices", f"'{match[0]}' are not the slices of the {' or the '.join(subjects[:3]) or 'volume'}."
                )

    # --- Sides and directions.

    def _sides(self, text: str, here: Sequence[Mention]) -> None:
        """Every direction in a piece of a sentence whose relations hold for all of it."""
        meant = self.question.needs[0] if self.question.family == IMPLICIT and self.question.needs else ""
        denied = _RE["denied"].search(text) and not (meant and _MEANT.search(text))  # what tells two apart is claimed, not denied
        if denied or _RE["supposed"].search(text) or (not here and _GENERAL.search(text)):
            return
        marked, last = "", 0
        for i, mention in enumerate(here):  # the side in a name is no claim
            marked, last = f"{marked}{text[last : mention.start]}<{i}>", mention.end
        marked = _NO_SIDE.sub(" ", marked + text[last:])
        there = [m.name for m in here if m.name in self.scene.structures]
        for match in _DIRECTION.finditer(marked):
            axis = self._axis(next(w for i, (_, w) in enumerate(_DIRECTIONS) if match[f"d{i}"]))
            if axis is None:
                continue
            pairs = [
                self._pair(marked, match.start(), match.end(), [m.name for m in here], there, meant, carried)
                for carried in self._topics or ("",)
            ]
            if all(self._elsewhere(first, second, axis) for first, second in pairs):
                first, second = pairs[-1]
                told = f"the {second}" if second else f"the middle of the {self.scene.kind}"
                self._fault("wrong_side", f"'{match[0]}' is said of the {first}, which lies elsewhere as seen from {told}.")

    def _elsewhere(self, first: str, second: str, axis: tuple[int, int]) -> bool:
        """Whether a structure certainly does not lie in a direction."""
        one, other = self.scene.structures.get(first), self.scene.structures.get(second)
        if one is None or one is other or (second and other is None):
            return False
        if other is None and one.scattered and axis[0] < 2:  # what is told may be told of one part
            half, size = len(one.box_canonical) // 2, self.scene.shape[-1 - axis[0]]
            ways = [p.box_canonical[axis[0]] + p.box_canonical[half + axis[0]] - size for p in one.parts]
            return all(way * axis[1] < 0 for way in ways)
        true = one.centre[axis[0]] - (other.centre[axis[0]] if other else 0.0)
        return true * axis[1] < -SURE * self.scene.extent[axis[0]]

    def _axis(self, word: str) -> tuple[int, int] | None:
        space = "patient" if self.scene.space == "patient" else "picture"
        if space == "patient" and self.scene.kind == "volume":
            word = _TALL.get(word, word)
        axis = _AXES[space].get(word)
        return axis if axis and axis[0] < len(self.scene.extent) else None

    def _pair(
        self, text: str, start: int, end: int, every: Sequence[str], there: Sequence[str], meant: str, carried: str
    ) -> tuple[str, str]:
        """Which structure is said to lie in a direction, and as seen from which; "" for the middle of the picture."""
        match = _FROM_TO.search(text)
        if match:
            return every[int(match[2])], every[int(match[1])]
        match = _LIES_OF.search(text, start)
        if match and not re.search(r"<\d+>", text[end : match.start()]):
            second = every[int(match[1])]
            if re.search(r"\b(?:part|half|quarter|quadrant|third|side)\b", text[end : match.start()]):
                return (second if " that " in text[end : match.end()] else ""), ""
            before = [every[int(n)] for n in re.findall(r"<(\d+)>", text[:start]) if every[int(n)] != second]
            behind = [every[int(n)] for n in re.findall(r"<(\d+)>", text[match.end() :])]
            return (before or behind or [carried])[-1 if before else 0], second
        if meant and _MEANT.search(text):
            return next((n for n in there if n != meant), carried), meant
        match = _SEEN_FROM.search(text)
        if match:
            second = every[int(match[1])]
            return next((n for n in there if n != second), carried), second
        before = [every[int(n)] for n in re.findall(r"<(\d+)>", text[:start])]
        after = [every[int(n)] for n in re.findall(r"<(\d+)>", text[end:])]
        told = "further|farther" if before else r"further|farther|more(?! than \d)|nearer|going|moving"
        if re.search(rf"\b(?:{told})\b[^<]*$", text[:start], re.IGNORECASE):
            return "", ""  # than what, another sentence tells
        if not before and after and (not _PRONOUN.search(text) or _FROM_MIDDLE.search(text[:start])):
            return after[0], ""
        return (before[-1] if before else carried), ""

    # --- Brightness, counts, neighbours, comparisons.

    def _brightness(self, clause: str, here: Sequence[Mention], subjects: Sequence[str]) -> None:
        mine = [self.scene.structures[n] for n in subjects if n in self.scene.structures]
        than = re.search(r"\bthan\b", clause)
        if not mine or self.question.ask in ("brightest", "darkest") or (than and any(m.start >= than.end() for m in here)):
            return  # two structures against each other: the scene does not tell
        turned = -1 if _AROUND.search(clause) else 1
        contrasts = [s.contrast * turned for s in mine]
        for key, wrong in (
            ("brighter", max(contrasts) < -CLEAR_CONTRAST),
            ("darker", min(contrasts) > CLEAR_CONTRAST),
            ("alike", min(map(abs, contrasts)) > ALIKE),
        ):
            match = _RE[key].search(clause)
            if match and wrong:
                self._fault("wrong_brightness", f"'{match[0]}' is not true of the {mine[0].name} against what surrounds it.")

    def _counts(self, clause: str, subjects: Sequence[str]) -> None:
        mine = [self.scene.structures[n] for n in subjects if n in self.scene.structures]
        for match in _COUNT.finditer(clause) if mine and not _SO_FAR.search(clause) else ():
            word = match[1].lower()
            number = int(word) if word.isdigit() else _SMALL.get(word, 1)
            if re.search(r"(?:region|area)$", match[2].lower()) or match[0].lower() in self._given:
                continue
            if number not in {s.part_count for s in mine} and not (word == "one" and len(match[2].split()) == 1):
                self._fault("wrong_count", f"'{match[0]}' is said of the {mine[0].name}; there are {mine[0].part_count}.")

    def _beside(self, clause: str, here: Sequence[Mention]) -> None:
        for key in ("touching", "inside"):
            match = _RE[key].search(clause)
            after = [m.name for m in here if match and m.start >= match.end()][:2]
            before = [m.name for m in here if match and m.end <= match.start()][-1:] or list(self._topics)
            mine = [self.scene.structures[n] for n in before if n in self.scene.structures]
            for second in (self.scene.structures[n] for n in after if mine and n not in before):
                if not any(
                    _holds(second, s)
                    if key == "inside"
                    else self._gap(s, second, self.scene.unit[:2]) <= NEIGHBOURS / 2 or second.name in s.neighbours
                    for s in mine
                ):
                    self._fault(
                        "wrong_neighbour", f"'{match[0] if match else ''} the {second.name}' is not true of the {before[0]}."
                    )

    def _compare(self, text: str, here: Sequence[Mention]) -> None:
        structures = self.scene.structures
        for order in _ORDER.finditer(text):
            a, b = (float(order[i].replace(",", "")) for i in (1, 3))
            if (a >= b) if order[2] in ("<", "less", "smaller", "fewer") else (a <= b):
                self._fault("wrong_comparison", f"'{order[0]}' is not so.")
        if _RE["denied"].search(text) or _RE["supposed"].search(text):
            return
        mine = [m for m in here if m.name in structures]
        if not mine:
            return
        for key, sign in (("larger", 1), ("smaller", -1)):
            match = _RE[key].search(text)
            if not match:
                continue
            before = [m.name for m in mine if m.end <= match.start()]
            after = [m.name for m in mine if m.start >= match.end()]
            pair = (
                (before[-1], after[0]) if before and after else (before[0], before[1]) if len(before) == 2 and not after else None
            )
            if pair and len(before) == 2 and not after:  # "of a and b, b is larger" names the subject last
                pair = (before[1], before[0])
            number = re.search(r"(?:more|less) than$", match[0].lower())
            if (
                pair
                and pair[0] != pair[1]
                and not number
                and sign * (structures[pair[0]].measure - structures[pair[1]].measure) < 0
            ):
                self._fault("wrong_comparison", f"The {pair[0]} is not {key} than the {pair[1]}.")
        for key, best in (("largest", max), ("smallest", min)):
            match = _RE[key].search(text)
            pool = [k for o in self.question.offered if (k := names.key_of(o, structures))] or list(self._earlier)
            if (
                not match
                or len(pool) < 2
                or _SO_FAR.search(text)
                or re.search(r"\b(?:largest|smallest) (?:part|piece|focus|extent|slice|number)", text.lower())
            ):
                continue
            close = min(mine, key=lambda m: min(abs(m.end - match.start()), abs(m.start - match.end())))
            if structures[close.name].instances > 1 and 0 <= close.start - match.end() <= 1:
                continue  # "the largest polyp" of several
            if close.name in pool and structures[close.name].measure != best(structures[n].measure for n in pool):
                self._fault("wrong_comparison", f"The {close.name} is not the {key}.")


def _agrees(said: float, true: float, unit: str) -> bool:
    return abs(said - true) <= max(TOLERANCE * abs(true), LEAST_OFF.get(unit, 0.0))


def _middle(structure: Structure) -> tuple[float, ...]:
    half = len(structure.box_model.coords) // 2
    return tuple((a + b) / 2 for a, b in zip(structure.box_model.coords[:half], structure.box_model.coords[half:], strict=True))


def _holds(outer: Structure, inner: Structure) -> bool:
    """Whether the middle of one box lies in another box."""
    half = len(outer.box_canonical) // 2
    box, mine = outer.box_canonical, inner.box_canonical
    return all(2 * box[i] <= mine[i] + mine[half + i] <= 2 * box[half + i] for i in range(half))


def false_claims(scene: Scene, question: DataQuestion, steps: Sequence[str | Look], *, scaled: bool = True) -> list[Fault]:
    """What a text says that is not so, or that nobody can see.

    Args:
        scene: The scene as recorded; one that is not described holds no claim.
        question: The question that the text answers.
        steps: Text and looks in order; the labels of looks are names of structures.
        scaled: Whether the reader is told the scale; without it no metric number may be said.

    Returns:
        Faults with the codes wrong_number, unseen_number, wrong_slices, wrong_side, wrong_brightness, wrong_comparison, wrong_count,
        wrong_neighbour, not_there, unknown_structure, unfounded.
    """
    return Judge(scene, question, scaled).run(steps) if scene.described else []


# --- Whether the answer stands in front of its evidence.


def answered_early(scene: Scene, question: DataQuestion, steps: Sequence[str | Look]) -> str:
    """The sentence that gives the answer before the evidence is complete; "" if there is none.

    Evidence is complete once the last look is over and every other option that the text speaks of has been spoken of. An option that is
    a name may be said while it is looked at; what gives it away is a conclusion, a letter, or, for an option that is a value (a side, a
    range, yes), the value itself.
    """
    if not question.right:
        return ""
    found = sentences(steps)
    total = sum(len(s.looks) for s in found)
    right, letter = scene.said(question.right).lower().strip(" ."), question.letter or "(?!)"
    others = [said for o in question.offered if (said := scene.said(o).lower().strip(" .")) != right]
    named = question.ask in NAMED
    start = [scene.said(a).lower() for a in question.about if a not in question.offered][-1:]
    if start and question.ask in ("nearest", "which_direction"):
        related = {o: s.plain for s in found for o in (right, *others) if _relates(s.plain, o, start[0])}
        if others and set(related) == {right}:
            return related[right]
    last = max((next((i for i, s in enumerate(found) if _says(s.plain, o)), -1) for o in others), default=-1) if named else -1
    for i, sentence in enumerate(found):
        if sentence.before >= total and i >= last:
            break
        text = sentence.plain
        if sentence.before + len(sentence.looks) >= total and sentence.looks and i >= last:
            text = " ".join(_LOOK.split(sentence.text)[:-2:2])  # what stands in front of the last look
        sure = bool(_RE["concluded"].search(text))
        gives = bool(re.search(rf"\b(?i:option|answer|choice)\s*:?\s*(?:is\s+)?{letter}\b|\({letter}\)|\b{letter}[.!]?$", text))
        if _says(text, right) and (sure or not _RE["supposed"].search(text)):
            gives = gives or sure or _superlative(question, text)
            gives = gives or (not named and not sentence.before and not sentence.looks and right not in ("yes", "no"))
        if gives:
            return text
    return ""


NAMED = {
    *("largest", "smallest", "brightest", "darkest", "which_present", "which_absent", "which_in_quadrant", "which_at_box"),
    *("which_on_slice", "level", "nearest", "which_direction", "host", "closest", "pair"),
}
"""Kinds whose options are names of structures."""


def _says(text: str, words: str) -> bool:
    return bool(words) and bool(re.search(rf"(?<![\w-]){re.escape(words)}(?![\w-])", text.lower()))


def _relates(text: str, option: str, reference: str) -> bool:
    """Whether a sentence says how an option lies to what the question starts from."""
    return _says(text, option) and _says(text, reference) and bool(_RE["apart"].search(text))


def _superlative(question: DataQuestion, text: str) -> bool:
    """Whether a sentence says what is asked for in the words of the question's kind; of two, the comparison is the answer."""
    asked = {"largest": "largest|biggest", "smallest": "smallest", "nearest": "nearest|closest"}.get(question.ask)
    if asked and len(question.offered) == 2:
        asked += {"largest": "|larger|bigger", "smallest": "|smaller", "nearest": "|nearer|closer(?! look)"}[question.ask]
    return bool(asked and re.search(rf"\b(?:{asked})\b", text.lower()))
