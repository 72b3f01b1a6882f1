"""What the right answer to a kind of question is, worked out again from facts.

The rules are those of docs/reference/questions.md, written down here a second time on purpose: this file shares no code with the one
that writes questions. Where the source is at hand the facts come from its masks (``facts.MaskFacts``), else from the record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from unireason.core.types import Box, Box2D, Box3D
from unireason.data import names
from unireason.data.scene import DataQuestion, Scene
from unireason.grounding import grammar
from unireason.metrics.boxes import box_iou

from .facts import Facts, rounded_like

SAME, OTHER = 0.99, 0.5
"""A box is that of a structure from the first IoU on, and certainly not below the second; in between it is neither right nor wrong."""
LEAST_CONTRAST = 2.0
"""Grey levels below which a structure is neither brighter nor darker than its surroundings."""

T = TypeVar("T")
Verdicts = list[bool | None]
"""One an option: right, wrong, or too near to tell."""

# Word to axis and sign, by the space of directions.
_WORDS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "patient": {
        **{"right": (0, -1), "left": (0, 1), "anterior": (1, -1)},
        **{"posterior": (1, 1), "inferior": (2, -1), "superior": (2, 1)},
    },
    "picture": {
        **{"left": (0, -1), "right": (0, 1), "upper": (1, -1)},
        **{"lower": (1, 1), "above": (1, -1), "below": (1, 1)},
    },
}
_UNITS = {"mm2": 1.0, "cm2": 100.0, "mm3": 1.0, "ml": 1000.0}
_RANGE = re.compile(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)(?: (\w+|%))?")
_INTEGERS = re.compile(r"\[\d+(?:,\d+)*\]")


class CannotTellError(Exception):
    """The question, its arguments or an option is not what its kind should have."""


def judge(question: DataQuestion, facts: Facts) -> Verdicts:
    """Whether each option of a question is right; options say structures by key or as texts say them."""
    rule = RULES.get((question.family, question.ask))
    if rule is None:
        raise CannotTellError(f"no such kind of question in {question.family}")
    scene = facts.scene
    known = (*scene.structures, *scene.absent, *scene.unclear)
    keys = tuple(o if o in known else names.key_of(o, known) or o for o in question.options)
    return rule(replace(question, options=keys), facts)


def named(name: str, facts: Facts) -> bool:
    """Whether a name is that of a structure, there or absent."""
    return name in facts.scene.structures or name in facts.scene.absent


def there(name: str, facts: Facts) -> str:
    """The name of a structure that is there and clear."""
    if name not in facts.scene.structures or name not in facts.present():
        raise CannotTellError(f"'{name}' is not there")
    return name


def _exists(name: str, facts: Facts) -> bool:
    """Whether a structure is there; it must be annotated and clear."""
    if name in facts.scene.unclear or not named(name, facts):
        raise CannotTellError(f"'{name}' is neither there nor annotated and absent")
    return name in facts.present()


def _argument(question: DataQuestion, place: int = 0) -> str:
    if len(question.about) <= place:
        raise CannotTellError("an argument is missing")
    return question.about[place]


def side(word: str, facts: Facts) -> tuple[int, int]:
    """Axis and sign of a word for a direction."""
    known = dict(_WORDS[facts.scene.space])
    if facts.scene.modality == "US" and facts.scene.space == "picture":
        known = {"left": (0, -1), "right": (0, 1), "superficial": (1, -1), "deep": (1, 1)}
    if facts.scene.midline.found == "macula":
        nasal = -1 if _middle_of("optic disc", facts) < _middle_of("macula", facts) else 1
        known = {"nasal": (0, nasal), "temporal": (0, -nasal), **{w: a for w, a in known.items() if a[0]}}
    if facts.scene.modality in ("ES", "XC", "SM", "GM"):
        known = {w: a for w, a in known.items() if a[0]}
    if word not in known:
        raise CannotTellError(f"'{word}' is no direction of a {facts.scene.space}")
    return known[word]


def _from_middle(name: str, facts: Facts, *, across: bool) -> tuple[float, ...]:
    """The centre of a structure, in patient terms from the body's midline along x; ``across`` if a side is asked for."""
    scene, centre = facts.scene, facts.centre(name)
    if scene.midline.found == "macula":
        return (centre[0] - _middle_of("macula", facts), *centre[1:])
    if scene.space == "picture":
        return centre
    if across and not scene.midline.found:
        raise CannotTellError("no midline of the body tells left from right")
    return (centre[0] - scene.midline.offset, *centre[1:])


def _middle_of(what: str, facts: Facts) -> float:
    """Where the centre of a structure lies along x, by what its name means."""
    found = [n for n in facts.scene.structures if names.known(n).what == what]
    if not found:
        raise CannotTellError(f"there is no {what}")
    return facts.centre(found[0])[0]


def _lies_in(name: str, part: str, facts: Facts) -> bool:
    """Whether the centre of a structure has the signs of both words of a part."""
    sides = [side(word, facts) for word in part.split()]
    centre = _from_middle(there(name, facts), facts, across=any(axis == 0 for axis, _ in sides))
    if len(sides) != 2 or max(axis for axis, _ in sides) >= len(centre):
        raise CannotTellError(f"'{part}' is no part")
    return all(centre[axis] * sign > 0 for axis, sign in sides)


def _quadrant(question: DataQuestion, facts: Facts) -> Verdicts:
    if question.ask == "lesion_quadrant":
        _lesion(question, facts)
    return [_lies_in(_argument(question), option, facts) for option in question.options]


def _which_in_quadrant(question: DataQuestion, facts: Facts) -> Verdicts:
    return [_lies_in(option, _argument(question), facts) for option in question.options]


def _is_box_of(name: str, box: Box, facts: Facts) -> bool | None:
    exact = facts.box(there(name, facts))
    if len(exact.coords) != len(box.coords):
        raise CannotTellError(f"a box of {len(box.coords)} numbers")
    overlap = box_iou(box, rounded_like(exact, facts.scene.frame, box))
    return True if overlap >= SAME else False if overlap < OTHER else None


def _box(question: DataQuestion, facts: Facts) -> Verdicts:
    verdicts: Verdicts = []
    for option in question.options:
        numbers = [int(n) for n in re.findall(r"\d+", option)]
        if not _INTEGERS.fullmatch(option) or len(numbers) not in (4, 6):
            raise CannotTellError(f"'{option}' is no box")
        box: Box = Box2D(*numbers) if len(numbers) == 4 else Box3D(*numbers)
        verdicts.append(_is_box_of(_argument(question), box, facts))
    return verdicts


def _which_at_box(question: DataQuestion, facts: Facts) -> Verdicts:
    found = grammar.parse(_argument(question))
    if len(found.boxes) != 1 or found.problems:
        raise CannotTellError("the argument is no box")
    numbers = ",".join(grammar.number_text(v) for v in found.boxes[0].box.coords)
    if numbers not in question.text.replace(" ", ""):
        raise CannotTellError("the box of the argument is not in the question's text")
    return [_is_box_of(option, found.boxes[0].box, facts) for option in question.options]


def _slices(question: DataQuestion, facts: Facts) -> Verdicts:
    box = facts.slices(there(_argument(question), facts))
    verdicts: Verdicts = []
    for option in question.options:
        match = _RANGE.fullmatch(option)
        if not match or match[3]:
            raise CannotTellError(f"'{option}' is no range of slices")
        verdicts.append((int(match[1]), int(match[2]) + 1) == box)
    return verdicts


def _present(question: DataQuestion, facts: Facts) -> Verdicts:
    exists = _exists(_argument(question), facts)
    if set(question.options) != {"yes", "no"}:
        raise CannotTellError("the options are not yes and no")
    return [(option == "yes") == exists for option in question.options]


def _which_there(question: DataQuestion, facts: Facts) -> Verdicts:
    return [_exists(option, facts) == (question.ask == "which_present") for option in question.options]


def _best(values: Sequence[float], best: float) -> Verdicts:
    """The one option with the best value; none can be told if two share it."""
    winners = [abs(v - best) <= 1e-9 * max(abs(best), 1.0) for v in values]
    return [None if w and sum(winners) > 1 else w for w in winners]


def _extreme(question: DataQuestion, facts: Facts) -> Verdicts:
    sizes = [facts.measure(there(option, facts)) for option in question.options]
    return _best(sizes, max(sizes) if question.ask == "largest" else min(sizes))


def _model_pixel(scene: Scene) -> float:
    """Area or volume of one pixel or voxel of the model frame, in the scene's unit."""
    frame = (scene.frame.width, scene.frame.height, scene.frame.depth)
    sides = [n * s / m for n, s, m in zip(scene.shape[::-1], scene.spacing_mm or (1.0,) * 3, frame, strict=False)]
    return math.prod(sides)


def _how_large(question: DataQuestion, facts: Facts) -> Verdicts:
    name = _lesion(question, facts) if question.ask == "lesion_extent" else there(_argument(question), facts)
    size, unit = facts.measure(name), facts.scene.unit
    scales = {word: _UNITS[word] for word in {"mm2": ("mm2", "cm2"), "mm3": ("mm3", "ml")}.get(unit, ())}
    scales["pixels" if facts.scene.kind == "image" else "voxels"] = _model_pixel(facts.scene)
    verdicts: Verdicts = []
    for option in question.options:
        match = _RANGE.fullmatch(option)
        if not match or match[3] not in scales:
            raise CannotTellError(f"'{option}' is no range of sizes in {unit}")
        scale = scales[match[3]]
        verdicts.append(float(match[1]) * scale <= size < float(match[2]) * scale)
    return verdicts


def _direction(question: DataQuestion, facts: Facts) -> Verdicts:
    a, b = (facts.centre(there(_argument(question, i), facts)) for i in (0, 1))
    offset = [p - q for p, q in zip(a, b, strict=True)]
    axis = max(range(len(offset)), key=lambda i: abs(offset[i]))
    sides = [side(option, facts) for option in question.options]
    return [where == axis and sign * offset[axis] > 0 for where, sign in sides]


def _which_direction(question: DataQuestion, facts: Facts) -> Verdicts:
    axis, sign = side(_argument(question), facts)
    start = facts.centre(there(_argument(question, 1), facts))
    if axis >= len(start):
        raise CannotTellError(f"'{_argument(question)}' is no direction of an image")
    return [sign * (facts.centre(there(option, facts))[axis] - start[axis]) > 0 for option in question.options]


def _nearest(question: DataQuestion, facts: Facts) -> Verdicts:
    start = facts.centre(there(_argument(question), facts))
    if _argument(question) in question.options:
        raise CannotTellError("the structure itself is among the options")
    ways = [
        sum((p - q) ** 2 for p, q in zip(facts.centre(there(option, facts)), start, strict=True)) ** 0.5
        for option in question.options
    ]
    return _best(ways, min(ways))


def _lesion(question: DataQuestion, facts: Facts) -> str:
    name = there(_argument(question), facts)
    if not names.is_lesion(name):
        raise CannotTellError(f"'{name}' is no lesion")
    return name


def _host(question: DataQuestion, facts: Facts) -> Verdicts:
    organs = [n for n in facts.around(_lesion(question, facts)) if not names.is_lesion(n)]
    for option in question.options:
        there(option, facts)
    return [organs[:1] == [option] for option in question.options]


def _brightness(question: DataQuestion, facts: Facts) -> Verdicts:
    contrast = facts.contrast(_lesion(question, facts))
    if set(question.options) == {"brighter", "darker"}:  # data sets of older versions
        if abs(contrast) < LEAST_CONTRAST:
            return [None] * len(question.options)
        return [(option == "brighter") == (contrast > 0) for option in question.options]
    return [_within_ends(_one_of(option, DEGREES), contrast, LEAST_CONTRAST) for option in question.options]


DEGREES: Mapping[str, tuple[float, float]] = {
    "clearly brighter": (40, math.inf),
    "slightly brighter": (8, 40),
    "about as bright": (-8, 8),
    "slightly darker": (-40, -8),
    "clearly darker": (-math.inf, -40),
}
"""Grey levels by which something is brighter than its surroundings, by how that is called."""


def _one_of(option: str, known: Mapping[str, T]) -> T:
    if option not in known:
        raise CannotTellError(f"'{option}' is none of {', '.join(known)}")
    return known[option]


def _within_ends(ends: tuple[float, float], value: float, slack: float) -> bool | None:
    """Whether a value lies between two ends; None if it is too near to one of them to tell."""
    if any(abs(value - end) < slack for end in ends):
        return None
    return ends[0] < value < ends[1]


def _by_grey(question: DataQuestion, facts: Facts) -> Verdicts:
    found = [facts.tone(there(option, facts)) for option in question.options]
    if not all(found):
        raise CannotTellError("the grey level of an option is not known")
    sign = 1 if question.ask == "brightest" else -1
    values = [sign * one[0] for one in found]
    return _best(values, max(values))


_HU = re.compile(r"(-?\d+) to (-?\d+) HU( higher| lower)?")


def _attenuation(question: DataQuestion, facts: Facts) -> Verdicts:
    window = facts.scene.hounsfield
    told = bool(window) and all(re.search(rf"(?<!\d){end:g} HU", question.text) for end in window)
    value = facts.attenuation(there(_argument(question), facts))
    between = question.ask == "attenuation_difference"
    if between and value is not None:
        other = facts.attenuation(there(_argument(question, 1), facts))
        value = None if other is None else value - other
    if value is None or not told:
        raise CannotTellError("the picture is no CT in Hounsfield units, or the text does not tell its window")
    verdicts: Verdicts = []
    for option in question.options:
        match = _HU.fullmatch(option)
        if not match or bool(match[3]) != between:
            raise CannotTellError(f"'{option}' is no range of Hounsfield units")
        ends = sorted(float(v) * (-1 if match[3] == " lower" else 1) for v in match.group(1, 2))
        verdicts.append(_within_ends((ends[0], ends[1]), value, 1.0))
    return verdicts


def _evenness(question: DataQuestion, facts: Facts) -> Verdicts:
    one, other = (facts.tone(there(_argument(question, i), facts)) for i in (0, 1))
    if len(one) < 2 or len(other) < 2 or min(one[1], other[1]) <= 0:
        raise CannotTellError("how far grey levels spread is not known")
    known = {"more even": (-math.inf, 1 / 1.3), "about as even": (1 / 1.3, 1.3), "less even": (1.3, math.inf)}
    return [_within_ends(_one_of(option, known), one[1] / other[1], 0.05) for option in question.options]


def _shape(question: DataQuestion, facts: Facts) -> Verdicts:
    found = facts.outline(_lesion(question, facts))
    if not found:
        raise CannotTellError("the outline is not known")
    long, filled = found
    known = {"round": (0.0, 1.35), "oval": (1.35, 2.0), "elongated": (2.0, math.inf), "irregular": (0.0, math.inf)}
    verdicts: Verdicts = []
    for option in question.options:
        fits = _within_ends(_one_of(option, known), long, 0.05)
        uneven = _within_ends((0.0, 0.84), filled, 0.02)
        verdicts.append(uneven if option == "irregular" else None if uneven is None else not uneven and fits)
    return verdicts


def _count(question: DataQuestion, facts: Facts) -> Verdicts:
    number = facts.components(_lesion(question, facts))
    if not all(option.isdecimal() for option in question.options):
        raise CannotTellError("an option is no number")
    return [int(option) == number for option in question.options]


def _lesion_side(question: DataQuestion, facts: Facts) -> Verdicts:
    centre = _from_middle(_lesion(question, facts), facts, across=True)
    sides = [side(option, facts) for option in question.options]
    if any(axis != 0 for axis, _ in sides):
        raise CannotTellError("an option is no side")
    return [sign * centre[0] > 0 for _, sign in sides]


def _within(question: DataQuestion, value: float | None, unit: str) -> Verdicts:
    """Ranges of an amount that is known."""
    if value is None:
        raise CannotTellError("the amount is not known")
    verdicts: Verdicts = []
    for option in question.options:
        match = _RANGE.fullmatch(option)
        if not match or match[3] != unit:
            raise CannotTellError(f"'{option}' is no range in {unit}")
        verdicts.append(float(match[1]) <= value < float(match[2]))
    return verdicts


def _diameter(question: DataQuestion, facts: Facts) -> Verdicts:
    both = facts.diameters(_lesion(question, facts))
    return _within(question, both[question.ask == "short_diameter"] if both else None, "mm")


def _burden(question: DataQuestion, facts: Facts) -> Verdicts:
    lesion, organ = _lesion(question, facts), there(_argument(question, 1), facts)
    return _within(question, 100 * facts.measure(lesion) / facts.measure(organ), "%")


def _gap(question: DataQuestion, facts: Facts) -> Verdicts:
    return _within(question, facts.gap(_lesion(question, facts), there(_argument(question, 1), facts)), "mm")


def _closest(question: DataQuestion, facts: Facts) -> Verdicts:
    lesion = _lesion(question, facts)
    ways = [facts.gap(lesion, there(option, facts)) for option in question.options]
    known = [w for w in ways if w is not None]
    if len(known) < len(ways):
        raise CannotTellError("the way to an option is not known")
    return _best(known, min(known))


def _contact(question: DataQuestion, facts: Facts) -> Verdicts:
    lesion, other = _lesion(question, facts), there(_argument(question, 1), facts)
    way, touches = facts.gap(lesion, other), facts.touches(lesion, other)
    if way is None:
        raise CannotTellError("the way is not known")
    known = {"up to 10 mm apart": (-math.inf, 10.0), "10 to 30 mm apart": (10.0, 30.0), "more than 30 mm apart": (30.0, math.inf)}
    apart = {option: _one_of(option, known) for option in question.options if option != "in contact"}
    return [not touches and _within_ends(apart[o], way, 0.5) if o in apart else touches for o in question.options]


def _which_on_slice(question: DataQuestion, facts: Facts) -> Verdicts:
    match = re.fullmatch(r"slice (\d+)", _argument(question))
    if not match or match[0] not in question.text:
        raise CannotTellError("the argument is no slice, or the text does not name it")
    verdicts: Verdicts = []
    for option in question.options:
        first, end = facts.slices(there(option, facts))
        verdicts.append(first <= int(match[1]) < end)
    return verdicts


def _level(question: DataQuestion, facts: Facts) -> Verdicts:
    if facts.scene.kind != "volume" or facts.scene.space != "patient":
        raise CannotTellError("levels are those of volumes with patient directions")
    middle = [sum(facts.slices(there(n, facts))) / 2 for n in (_argument(question), *question.options)]
    if not all(re.fullmatch(r"[CTLS]\d+ vertebra", names.display(option)) for option in question.options):
        raise CannotTellError("an option is no vertebra")
    ways = [abs(m - middle[0]) for m in middle[1:]]
    return _best([-w for w in ways], -min(ways))


def _pair_share(question: DataQuestion, facts: Facts) -> Verdicts:
    small, large = sorted(facts.measure(there(_argument(question, i), facts)) for i in (0, 1))
    return _within(question, 100 * (large / small - 1), "%")


def _widest(question: DataQuestion, facts: Facts) -> Verdicts:
    most = facts.widest(there(_argument(question), facts))
    if most < 0 or not all(option.isdecimal() for option in question.options):
        raise CannotTellError("an option is no slice, or there are none")
    return [int(option) == most for option in question.options]


def _pair(question: DataQuestion, facts: Facts) -> Verdicts:
    sizes = {name: facts.measure(there(name, facts)) for name in question.about}
    if len(sizes) != 2 or not set(question.options) <= {*sizes, "about equal"}:
        raise CannotTellError("the options are not two organs or 'about equal'")
    small, large = sorted(sizes.values())
    if 1.1 < large / small < 1.2:
        return [None] * len(question.options)
    equal = large <= 1.1 * small
    return [equal if option == "about equal" else not equal and sizes[option] == large for option in question.options]


def _singles(question: DataQuestion, facts: Facts) -> list[tuple[tuple[float, ...], int]]:
    """From the middle of the picture, or the body's along x, to the middle of every lesion of a kind in canonical pixels; its voxels."""
    scene = facts.scene
    if scene.space == "patient" and not scene.midline.found:
        raise CannotTellError("no midline of the body tells left from right")
    across = scene.midline.canonical if scene.space == "patient" else scene.shape[-1] / 2
    than = (across, scene.shape[-2] / 2)
    boxes = facts.instance_boxes(_lesion(question, facts))
    return [(tuple((low[i] + high[i]) / 2 - than[i] for i in (0, 1)), voxels) for low, high, voxels in boxes]


def _count_side(question: DataQuestion, facts: Facts) -> Verdicts:
    axis, sign = side(_argument(question, 1), facts)
    if axis != 0 or not all(option.isdecimal() for option in question.options):
        raise CannotTellError("the argument is no side, or an option is no number")
    number = sum(off[0] * sign > 0 for off, _ in _singles(question, facts))
    return [int(option) == number for option in question.options]


def _largest_place(question: DataQuestion, facts: Facts) -> Verdicts:
    found = sorted(_singles(question, facts), key=lambda one: -one[1])
    if not found or found[0][1] in [voxels for _, voxels in found[1:]]:
        raise CannotTellError("none of the lesions is the largest")
    verdicts: Verdicts = []
    for option in question.options:
        sides = [side(word, facts) for word in option.split()]
        if sorted(axis for axis, _ in sides) != [0, 1]:
            raise CannotTellError(f"'{option}' is no part")
        verdicts.append(all(found[0][0][axis] * sign > 0 for axis, sign in sides))
    return verdicts


_NODULES = (("below 6 mm", 6), ("6 to 8 mm", 8), ("above 8 mm", math.inf))
_GRADES: Mapping[str, tuple[str, str, tuple[tuple[str, float], ...]]] = {
    "spleen length by the Lugano classification": ("spleen", "length", (("not enlarged", 130), ("enlarged", math.inf))),
    # In data sets built before these thresholds were held against their sources.
    "grades of spleen size by length": (
        "spleen",
        "length",
        (("not enlarged", 110), ("moderately enlarged", 200), ("massively enlarged", math.inf)),
    ),
    "T categories of kidney tumours by size alone": (
        "kidney|renal",
        "diameter",
        (("T1a", 40), ("T1b", 70), ("T2a", 100), ("T2b", math.inf)),
    ),
    "T categories of lung tumours by size alone": (
        "lung|pulmonary",
        "diameter",
        (("T1a", 10), ("T1b", 20), ("T1c", 30), ("T2a", 40), ("T2b", 50), ("T3", 70), ("T4", math.inf)),
    ),
    "T categories of pancreatic tumours by size alone": ("pancrea", "diameter", (("T1", 20), ("T2", 40), ("T3", math.inf))),
    "T categories of breast tumours by size alone": ("breast", "diameter", (("T1", 20), ("T2", 50), ("T3", math.inf))),
    "size classes of lung nodules by mean diameter": ("lung nodule|pulmonary nodule", "mean", _NODULES),
    "size classes of lung nodules": ("lung nodule|pulmonary nodule", "diameter", _NODULES),
}
"""Rule to the structure it is about, what is measured, and labels with the millimetres that each ends at."""


def _grade(question: DataQuestion, facts: Facts) -> Verdicts:
    name = there(_argument(question), facts)
    rule = next((r for r in _GRADES if r in question.text), "")
    what, measure, labels = _GRADES.get(rule, ("", "", ()))
    if not rule or not re.search(what, name):
        raise CannotTellError(f"no rule for '{name}' is named in the text")
    ways = facts.diameters(name)
    across = (sum(ways) / 2 if measure == "mean" else ways[0]) if ways else None
    value = facts.length(name) if measure == "length" else across
    if value is None or not set(question.options) <= {label for label, _ in labels}:
        raise CannotTellError("the measure is not known, or an option is no label of the rule")
    right = next(label for label, end in labels if value <= end)
    return [option == right for option in question.options]


RULES: Mapping[tuple[str, str], Callable[[DataQuestion, Facts], Verdicts]] = {
    ("structure_localisation", "quadrant"): _quadrant,
    ("structure_localisation", "box"): _box,
    ("structure_localisation", "slices"): _slices,
    ("spatial_localisation", "which_in_quadrant"): _which_in_quadrant,
    ("spatial_localisation", "which_at_box"): _which_at_box,
    ("existence_verification", "present"): _present,
    ("existence_verification", "which_present"): _which_there,
    ("existence_verification", "which_absent"): _which_there,
    ("size_comparison", "largest"): _extreme,
    ("size_comparison", "smallest"): _extreme,
    ("size_comparison", "how_large"): _how_large,
    ("spatial_relation", "direction"): _direction,
    ("spatial_relation", "nearest"): _nearest,
    ("spatial_relation", "which_direction"): _which_direction,
    ("lesion_analysis", "host"): _host,
    ("lesion_analysis", "brightness"): _brightness,
    ("lesion_analysis", "attenuation_difference"): _attenuation,
    ("lesion_analysis", "contact"): _contact,
    ("lesion_analysis", "evenness"): _evenness,
    ("lesion_analysis", "shape"): _shape,
    ("lesion_analysis", "count"): _count,
    ("lesion_analysis", "lesion_side"): _lesion_side,
    ("lesion_analysis", "lesion_quadrant"): _quadrant,
    ("lesion_analysis", "lesion_extent"): _how_large,
    ("lesion_analysis", "long_diameter"): _diameter,
    ("lesion_analysis", "short_diameter"): _diameter,
    ("lesion_analysis", "burden"): _burden,
    ("lesion_analysis", "gap"): _gap,
    ("lesion_analysis", "closest"): _closest,
    ("lesion_analysis", "count_side"): _count_side,
    ("lesion_analysis", "largest_place"): _largest_place,
    ("structure_localisation", "widest"): _widest,
    ("structure_localisation", "level"): _level,
    ("spatial_localisation", "which_on_slice"): _which_on_slice,
    ("size_comparison", "pair"): _pair,
    ("size_comparison", "pair_share"): _pair_share,
    ("size_comparison", "brightest"): _by_grey,
    ("size_comparison", "darkest"): _by_grey,
    ("size_comparison", "attenuation"): _attenuation,
    ("size_comparison", "grade"): _grade,
}
