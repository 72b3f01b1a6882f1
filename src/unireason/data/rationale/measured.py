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
    writer._say(writer.verdicts("side_count"), number=number_word(number))


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
    length = chain["measure"] == "length"
    value = _length(writer.scene.structures[name], writer.scene) if length else writer.scene.structures[name].diameters[0]
    said = seen.number(value, 3)
    writer._say(writer.texts("length" if length else "long_axis"), name, value=f"{said} mm")
    for label, end in zip(chain["labels"], chain["ends"], strict=False):
        if value <= end:
            writer._relate(writer._than(f"{said} mm", f"{end:g} mm", -1), "label_fits", option=label)
            return
        writer._relate(writer._than(f"{said} mm", f"{end:g} mm", 1), "label_passed", option=label)
    writer._say(writer.verdicts("last_label"), option=chain["labels"][-1])


def _length(structure: Structure, scene: Scene) -> float:
    low, high = structure.box_canonical[2], structure.box_canonical[5]
    return (high - low) * (scene.spacing_mm or (1.0,) * 3)[2]


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
}
