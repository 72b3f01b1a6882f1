"""Reasoning about what is measured: diameters, shares, gaps, slices, pairs, single lesions, published thresholds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from unireason.core.types import Look
from unireason.data.records import box_of
from unireason.data.scene import Scene, Structure

from . import seen
from .wording import instance, listed, number_word, the, wordings

if TYPE_CHECKING:
    from .template import _Writer

_RANGE = re.compile(r"([\d.]+) to ([\d.]+) (\S+)")
ALIKE = "about equal"


def ranges(writer: _Writer, value: float, said: str) -> None:
    """An amount against each range on offer."""
    for option in writer.question.options:
        match = _RANGE.fullmatch(option)
        low, high = (match[1], match[2]) if match else ("", "")
        if match and value < float(low):
            writer._relate(writer._than(said, low, -1), "range_above", option=option)
        elif match and value >= float(high):
            writer._relate(writer._than(said, high, 1), "range_below", option=option)
        else:
            both = f"{writer._than(said, low, 1)} and {writer._than('', high, -1).strip()}"
            writer._relate(both, "range_fits", option=option)


def diameter(writer: _Writer) -> None:
    """The lesion, its way across, and the ranges."""
    name, short = writer.question.about[0], writer.question.ask == "short_diameter"
    writer._show(name)
    value = writer.scene.structures[name].diameters[short]
    said = seen.number(value, 3)
    writer._say(writer.texts("short_axis" if short else "long_axis"), name, value=f"{said} mm")
    ranges(writer, value, said)


def burden(writer: _Writer) -> None:
    """Organ and lesion with their sizes, the share, and the ranges."""
    lesion, organ = writer.question.about[:2]
    _, said = writer._sizes((organ, lesion))
    for name, value in zip((organ, lesion), said, strict=True):
        writer._show(name, most=2)
        writer._size(name, value)
    structures = writer.scene.structures
    share = 100 * structures[lesion].measure / structures[organ].measure
    percent = seen.number(share, 3)
    writer._say(writer.texts("share"), lesion, other=the(organ), value=f"{percent}%")
    ranges(writer, share, percent)


def gap(writer: _Writer) -> None:
    """Both structures, the way between them, and the ranges."""
    lesion, other = writer.question.about[:2]
    for name in (lesion, other):
        writer._show(name, most=2)
    value = writer.scene.structures[lesion].gaps[other]
    said = seen.number(value, 3)
    writer._say(writer.texts("gap"), lesion, other=the(other), value=f"{said} mm")
    ranges(writer, value, said)


def closest(writer: _Writer) -> None:
    """The lesion, every option with the way to it, and the ways against each other."""
    lesion, names = writer.question.about[0], writer.question.offered
    writer._show(lesion, most=1)
    values = [writer.scene.structures[lesion].gaps[n] for n in names]
    said = [f"{seen.number(v)} mm" for v in values]
    for name, way in zip(names, said, strict=True):
        writer._show(name, most=1)
        writer._say(writer.texts("gap"), lesion, other=the(name), value=way)
    writer._rank(names, said, values, most=False, words=("nearer", "nearest"))


def widest(writer: _Writer) -> None:
    """The structure, its largest slice, and the slices on offer."""
    name = writer.question.about[0]
    most = writer.scene.structures[name].widest[0]
    writer._show(name)
    writer._say(writer.texts("most_of_it"), name, slice=str(most))
    for option in writer.question.options:
        sign = (int(option) > most) - (int(option) < most)
        then = ("slice_before", "slice_fits", "slice_behind")[sign + 1]
        writer._relate(writer._than(option, str(most), sign), then, option=option)


def pair(writer: _Writer) -> None:
    """Both organs with their sizes, and by how much they differ."""
    names = writer.question.about[:2]
    values, said = writer._sizes(names, 3)
    for name, value in zip(names, said, strict=True):
        writer._show(name, most=1)
        writer._size(name, value)
    small, large = sorted(values)
    sign = 0 if said[0] == said[1] else 1 if values[0] > values[1] else -1
    relation = writer._than(said[0], said[1], sign)
    if writer.question.right == ALIKE:
        writer._relate(relation, "pair_alike")
    else:
        name = names[values[1] > values[0]]
        writer._relate(relation, "bigger_of_pair", name, value=f"{seen.number(100 * (large / small - 1))}%")


def _each(writer: _Writer, name: str) -> list[tuple[int, ...]]:
    """Boxes of the lesions of a kind, one by one."""
    structure = writer.scene.structures[name]
    return [tuple(map(int, p.box_model.coords)) for p in structure.parts[: structure.part_count]]


def _look(writer: _Writer, name: str, index: int, box: tuple[int, ...]) -> None:
    lead = writer.leads("instance_next" if index else "instance_first")
    look = Look(name, box_of(box))
    writer._look(lead, name, look, nth=_ORDER[index], one=instance(name)[0], kind=writer.scene.kind)


_ORDER = ("first", "second", "third", "fourth", "fifth", "sixth")


def count_side(writer: _Writer) -> None:
    """Every lesion against the middle, and the count."""
    name, word = writer.question.about[:2]
    scene = writer.scene
    centre = seen.centre_of(scene)[0]
    far = word == (scene.side_words or ("", ""))[1]
    writer._say(writer.texts("centre"), reference=seen.reference(scene, [0]), kind=scene.kind)
    number = 0
    for index, box in enumerate(_each(writer, name)):
        _look(writer, name, index, box)
        middle = seen.middle(box)[0]
        counts = (middle > centre) == far
        number += counts
        relation = writer._than(seen.at(0, middle), str(centre), 1 if middle > centre else -1)
        writer._relate(relation, "counts" if counts else "counts_not")
    writer._say(writer.verdicts("side_count"), number=number_word(number) if number else "none")


def largest_place(writer: _Writer) -> None:
    """Every lesion with its size, the largest of them, and its place."""
    name, scene = writer.question.about[0], writer.scene
    structure = scene.structures[name]
    values = [_part_size(p.measure, scene) for p in structure.parts[: structure.part_count]]
    unit, scale = seen.one_unit(values, scene)
    said = [f"{seen.number(v / scale)} {unit}" for v in values]
    boxes = _each(writer, name)
    for index, box in enumerate(boxes):
        _look(writer, name, index, box)
        writer._say(writer.texts("instance_size"), name, value=said[index])
    writer._relate(writer._than(said[0], said[1], 1), "largest_one")
    middle, than = seen.middle(boxes[0]), seen.centre_of(scene)
    writer._say(writer.texts("centre"), reference=seen.reference(scene, [0, 1]), kind=scene.kind)
    relations = [writer._than(seen.at(i, middle[i]), str(than[i]), 1 if middle[i] > than[i] else -1) for i in (0, 1)]
    writer._relate(listed(relations), "in_part", part=writer.question.right)


def _part_size(measure: float, scene: Scene) -> float:
    """Area or volume of a part as ``seen.size`` tells that of the whole."""
    return measure if scene.scale else measure / math.prod(seen.steps(scene))


def grade(writer: _Writer) -> None:
    """The rule, the measure, threshold after threshold, and the label."""
    name = writer.question.about[0]
    chain = next(c for c in wordings("thresholds")["chain"] if c["rule"] in writer.question.text)
    writer._say(writer.verdicts("rule"), rule=chain["rule"])
    writer._show(name)
    structure, measure = writer.scene.structures[name], chain["measure"]
    if measure == "length":
        value = _length(structure, writer.scene)
    else:
        value = structure.diameters[0] if measure == "diameter" else sum(structure.diameters) / 2
    said = seen.number(value, 3)
    writer._say(writer.texts({"length": "length", "mean": "mean_axis"}.get(measure, "long_axis")), name, value=f"{said} mm")
    for label, end in zip(chain["labels"], chain["ends"], strict=False):
        if value <= end:
            writer._relate(writer._than(f"{said} mm", f"{end:g} mm", -1), "label_fits", option=label)
            return
        writer._relate(writer._than(f"{said} mm", f"{end:g} mm", 1), "label_passed", option=label)
    writer._say(writer.verdicts("last_label"), option=chain["labels"][-1])


def _length(structure: Structure, scene: Scene) -> float:
    low, high = structure.box_canonical[2], structure.box_canonical[5]
    return (high - low) * (scene.spacing_mm or (1.0,) * 3)[2]


# --- What structures look like.


def brightness(writer: _Writer) -> None:
    """The lesion, its grey against that around, and how that is called."""
    name = writer.question.about[0]
    structure = writer.scene.structures[name]
    writer._show(name)
    lighter, right = structure.contrast > 0, writer.question.right
    if right == seen.DEGREES[2]:
        said = seen.brightness(structure, writer.scene)
        writer._say(said.wordings, name, **said.values)
        writer._say(writer.verdicts("grey_alike"), name)
        return
    tone = "lighter" if lighter else "darker"
    strength = right.partition(" ")[0] if right in seen.DEGREES else "clearly" if abs(structure.contrast) >= seen.CLEAR else ""
    writer._say(writer.texts("grey"), name, degree=f"{strength} ".lstrip(), tone=tone)
    if right in seen.DEGREES:
        writer._say(writer.verdicts("grey_degree"), name, word=right)
    else:
        writer._say(writer.verdicts("grey"), name, tone=tone, word=right)


def by_grey(writer: _Writer) -> None:
    """Every option with its mean grey level, and the levels against each other."""
    names, most = writer.question.offered, writer.question.ask == "brightest"
    values = [writer.scene.structures[n].grey[0] for n in names]
    said = [f"{v:.0f}" for v in values]
    rooms = writer._rooms(names)
    for name, value in zip(names, said, strict=True):
        writer._show(name, most=rooms[name])
        writer._say(writer.texts("mean_grey"), name, value=value)
    writer._rank(names, said, values, most=most, words=("brighter", "brightest") if most else ("darker", "darkest"))


def attenuation(writer: _Writer) -> None:
    """The structure, its mean grey as Hounsfield units, and the ranges."""
    name = writer.question.about[0]
    writer._show(name)
    value = _mean_hu(writer, name)
    for option in writer.question.options:
        low, high = (int(v) for v in _SPAN.findall(option))
        _span(writer, option, value, low, high)


def attenuation_difference(writer: _Writer) -> None:
    """Organ and lesion with their means, the difference, and the ranges."""
    lesion, organ = writer.question.about[:2]
    values = []
    for name in (organ, lesion):
        writer._show(name, most=2)
        values.append(_mean_hu(writer, name))
    apart = values[1] - values[0]
    way = "higher" if apart > 0 else "lower"
    writer._say(writer.texts("hu_apart"), lesion, other=the(organ), value=f"{abs(apart)} HU {way}")
    for option in writer.question.options:
        if option.endswith(way):
            low, high = (int(v) for v in _SPAN.findall(option))
            _span(writer, option, abs(apart), low, high)
        else:
            relation = writer._than(str(values[1]), str(values[0]), 1 if apart > 0 else -1)
            writer._relate(relation, "hu_other_way", option=option)


_SPAN = re.compile(r"-?\d+")


def _mean_hu(writer: _Writer, name: str) -> int:
    value = round(seen.hounsfield(writer.scene.structures[name], writer.scene))
    grey = f"{writer.scene.structures[name].grey[0]:.0f}"
    writer._say(writer.texts("mean_hu"), name, grey=grey, value=f"{value} HU")
    return value


def _span(writer: _Writer, option: str, value: int, low: int, high: int) -> None:
    """A whole number against the ends of a range."""
    if low <= value <= high:
        relation = f"{writer._than(str(value), str(low), 1)} and {writer._than('', str(high), -1).strip()}"
        writer._relate(relation, "range_fits", option=option)
    elif value < low:
        writer._relate(writer._than(str(value), str(low), -1), "range_above", option=option)
    else:
        writer._relate(writer._than(str(value), str(high), 1), "range_below", option=option)


def evenness(writer: _Writer) -> None:
    """Organ and lesion with the spread of their grey levels, and what that says of each option."""
    lesion, organ = writer.question.about[:2]
    spread = {n: round(writer.scene.structures[n].grey[1]) for n in (organ, lesion)}
    for name, value in spread.items():
        writer._show(name, most=2)
        writer._say(writer.texts("spread"), name, value=str(value))
    sign = (spread[lesion] > spread[organ]) - (spread[lesion] < spread[organ])
    relation = writer._than(str(spread[lesion]), str(spread[organ]), sign)
    writer._relate(relation, "this_even", option=writer.question.right)


def shape(writer: _Writer) -> None:
    """The lesion, its length and how it fills its outline, the rule, and each shape."""
    name = writer.question.about[0]
    writer._show(name)
    long, filled = writer.scene.structures[name].outline
    borders = wordings("thresholds")["outline"]
    share, ratio, solid = f"{filled:.2f}", seen.number(long, 3), f"{borders['solidity']:g}"
    writer._say(writer.texts("length_width"), name, ratio=ratio, share=share)
    bounds = {"round": (0.0, borders["round"]), "oval": (borders["round"], borders["elongated"])}
    said = {"filled": solid, "round": f"{borders['round']:g}", "long": f"{borders['elongated']:g}"}
    writer._say(writer.verdicts("shape_rule"), **said)
    for option in writer.question.options:
        low, high = bounds.get(option, (borders["elongated"], math.inf))
        if filled < borders["solidity"]:
            then = "solid_fits" if option == "irregular" else "too_hollow"
            writer._relate(writer._than(share, solid, -1), then, name, option=option)
        elif option == "irregular":
            writer._relate(writer._than(share, solid, 1), "solid_not", name, option=option)
        elif long < low:
            writer._relate(writer._than(ratio, f"{low:g}", -1), "too_short", name, option=option)
        elif long >= high:
            writer._relate(writer._than(ratio, f"{high:g}", 1), "too_long", name, option=option)
        elif low and high < math.inf:
            both = f"{writer._than(ratio, f'{low:g}', 1)} and {writer._than('', f'{high:g}', -1).strip()}"
            writer._relate(both, "shape_fits", name, option=option)
        else:
            bound, sign = (low, 1) if low else (high, -1)
            writer._relate(writer._than(ratio, f"{bound:g}", sign), "shape_fits", name, option=option)


# --- Contact, slices and levels.


def contact(writer: _Writer) -> None:
    """Both structures, what lies between them, and what that says of each option."""
    lesion, other = writer.question.about[:2]
    for name in (lesion, other):
        writer._show(name, most=2)
    structure = writer.scene.structures[lesion]
    if other in structure.touching:
        writer._say(writer.texts("no_gap"), lesion, other=the(other))
        writer._say(writer.verdicts("touching"), lesion)
        return
    value = structure.gaps[other]
    said = seen.number(value, 3)
    writer._say(writer.texts("gap"), lesion, other=the(other), value=f"{said} mm")
    for option in writer.question.options:
        ends = [float(v) for v in re.findall(r"\d+", option)]
        if not ends:
            writer._say(writer.verdicts("room_between"), lesion)
            continue
        low = 0.0 if option.startswith("up to") else ends[0]
        high = math.inf if option.startswith("more") else ends[-1]
        if value > high:
            writer._relate(writer._than(said, f"{high:g}", 1), "apart_less", option=option)
        elif value < low:
            writer._relate(writer._than(said, f"{low:g}", -1), "apart_more", option=option)
        else:
            bound, sign = (high, -1) if high < math.inf else (low, 1)
            writer._relate(writer._than(said, f"{bound:g}", sign), "apart_fits", option=option)


def which_on_slice(writer: _Writer) -> None:
    """Every option with its slices against the one in question."""
    k = int(writer.question.about[0].split()[-1])
    for name in writer.question.options:
        first, last = writer.scene.structures[name].slices[0], writer.scene.structures[name].slices[1] - 1
        writer._show(name, most=1)
        writer._say(writer.texts("reach"), name, first=str(first), last=str(last))
        if k > last:
            writer._relate(writer._than(str(k), str(last), 1), "slice_behind_it", name)
        elif k < first:
            writer._relate(writer._than(str(k), str(first), -1), "slice_before_it", name)
        else:
            relation = (
                f"{writer._than(str(k), str(first), (k > first) - (k < first))} and {writer._than('', str(last), -1).strip()}"
            )
            writer._relate(relation, "on_slice", name)
    writer._say(writer.verdicts("only_on_slice"), writer.question.right)


def level(writer: _Writer) -> None:
    """The structure and every vertebra with the slice of its middle, and the ways against each other."""
    about, names = writer.question.about[0], writer.question.options
    boxes = {n: writer.scene.structures[n].box_model.coords for n in (about, *names)}
    for name in (about, *names):
        writer._show(name, most=1)
        writer._say(writer.texts("at_slice"), name, slice=str(seen.middle(boxes[name])[2]))
    values = [abs(seen.middle(boxes[n])[2] - seen.middle(boxes[about])[2]) for n in names]
    said = [f"{v} slice{'' if v == 1 else 's'}" for v in values]
    writer._rank(names, said, values, most=False, words=("nearer", "nearest"))


def pair_share(writer: _Writer) -> None:
    """Both organs with their sizes, by how much the larger one is larger, and the ranges."""
    names = writer.question.about[:2]
    values, said = writer._sizes(names, 3)
    for name, value in zip(names, said, strict=True):
        writer._show(name, most=1)
        writer._size(name, value)
    small, large = sorted(values)
    percent = seen.number(100 * (large / small - 1), 3)
    relation = writer._than(said[0], said[1], 1 if values[0] > values[1] else -1)
    writer._relate(relation, "bigger_of_pair", names[values[1] > values[0]], value=f"{percent}%")
    ranges(writer, 100 * (large / small - 1), percent)


SCRIPTS: dict[str, Callable[[_Writer], None]] = {
    "long_diameter": diameter,
    "short_diameter": diameter,
    "burden": burden,
    "gap": gap,
    "closest": closest,
    "widest": widest,
    "pair": pair,
    "count_side": count_side,
    "largest_place": largest_place,
    "grade": grade,
    "brightness": brightness,
    "brightest": by_grey,
    "darkest": by_grey,
    "attenuation": attenuation,
    "attenuation_difference": attenuation_difference,
    "evenness": evenness,
    "shape": shape,
    "contact": contact,
    "which_on_slice": which_on_slice,
    "level": level,
    "pair_share": pair_share,
}
