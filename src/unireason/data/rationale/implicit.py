"""Reasoning about an implicit question: from what the reader wants, over what the picture shows beyond the clues, to the target.

Landmarks and the target are looked at, and the rival: the structure that most of the clues fit as well. A text says nothing of the
question again, measures in pixels and slices of the model frame (no profile of these questions states a scale), and names the target
in its last sentence only. Where no look is allowed, places are said in numbers instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unireason.core.types import Look
from unireason.data.names import display
from unireason.data.scene import Scene, Structure, is_lesion

from . import seen
from .wording import Said, counted, the, wordings

if TYPE_CHECKING:
    from .template import _Writer

_TEXTS = wordings("implicit_grounding")
_SAY: dict[str, tuple[str, ...]] = _TEXTS["reasoning"]
_INTENTS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile("|".join(re.escape(q).replace(r"\{c\}", ".+") for q in row["questions"])), row["openings"])
    for row in _TEXTS["intents"].values()
)
DIFFERS = re.compile(r"it differs from (.+) by its (place|brightness|shape|size|neighbours|kind)")
"""The fact that names the rival of an implicit question, and which clue does not fit it."""
RIVAL_FIRST, THREE = 0.5, 0.4
"""How often the rival is looked at before the target, and how often three findings are told."""


def differs(rival: str, by: str) -> str:
    """The fact that names the rival."""
    return f"it differs from {rival} by its {by}"


def write(writer: _Writer) -> None:
    """Write the text of an implicit question."""
    question, scene = writer.question, writer.scene
    target = question.needs[0]
    found = next((m for f in question.facts if (m := DIFFERS.fullmatch(f))), None)
    rival, by = (found[1], found[2]) if found else ("", "")
    if rival not in scene.structures:
        rival, by = _nearest(scene, target), "place"
    writer._say(next((o for p, o in _INTENTS if p.fullmatch(question.text)), _INTENTS[0][1]), kind=scene.kind)
    marks = [n for n in question.needs[1:] if n != rival and n in scene.structures]
    for number, name in enumerate(marks):
        _at(writer, "next_landmark" if number else "landmark", name)
    early = bool(rival) and writer.draw() < RIVAL_FIRST
    if early:
        _at(writer, "rival", rival)
    _at(writer, "candidate", target)
    if rival and not early:
        _findings(writer, target, marks)
        _at(writer, "rival", rival)
    if rival:
        _rule_out(writer, target, rival, by, marks)
    if early or not rival:
        _findings(writer, target, marks)
    writer._say(_SAY["conclusions"], target)


def _at(writer: _Writer, lead: str, name: str) -> None:
    """Look at a structure; without looks, say where its middle lies."""
    structure = writer.scene.structures[name]
    named = "" if lead == "candidate" else name
    parts = seen.clear_parts(structure)
    if writer.looking:
        writer._look(_SAY[lead], named, Look(name, parts[0].box_model if parts else structure.box_model))
        return
    where = "" if structure.scattered else f", with the middle at {seen.where(seen.middle_of(structure), _axes(writer.scene))}"
    writer._say(tuple(f"{text}{where}." for text in _SAY[lead]), named)


def _axes(scene: Scene) -> range:
    return range(len(scene.extent))


def _nearest(scene: Scene, target: str) -> str:
    """The structure in one piece whose middle lies nearest to that of the target; "" if there is none apart from it."""
    steps, here = seen.steps(scene), seen.middle_of(scene.structures[target])

    def way(name: str) -> float:
        there = seen.middle_of(scene.structures[name])
        return math.hypot(*((a - b) * s for a, b, s in zip(here, there, steps, strict=True)))

    others = [
        n for n in scene.outside(target) if not scene.structures[n].scattered and not gives_away_whole(target, n) and way(n)
    ]
    return min(others, key=lambda n: (way(n), n), default="")


def gives_away_whole(target: str, name: str) -> bool:
    """True if a name holds that of the target, as spelled or as texts say it: it would be told before the end."""
    return target in name or display(target) in display(name)


# --- What the target shows beyond the clues.


def _findings(writer: _Writer, target: str, marks: Sequence[str]) -> None:
    """Two or three things that the picture shows of the target and no clue has said."""
    scene, structure = writer.scene, writer.scene.structures[target]
    asked = writer.question.text
    known = {"brightness": re.search(r"\b(?:brighter|bright|darker|dark)\b", asked), "size": "%" in asked}
    known |= {
        "shape": re.search(r"longer than wide|outline|stretched|rounded", asked),
        "side": re.search(r"\bleft|right\b", asked),
    }
    near = None if any(n in marks for n in structure.neighbours) else seen.neighbours(structure, scene)
    if near and any(gives_away_whole(target, n) for n in structure.neighbours[:2]):
        near = None
    kinds: list[tuple[str, Said | None]] = [
        ("brightness", seen.brightness(structure, scene)),
        ("neighbours", near),
        ("side", _side(structure, scene)),
        ("shape", seen.shape(structure, scene)),
        ("border", seen.border(structure, scene)),
        ("extent", _extent(structure, scene)),
    ]
    said = [s for kind, s in sorted(kinds, key=lambda _: writer.draw()) if s and not known.get(kind)]
    slices = seen.slices(structure, scene)
    for one in [*([slices] if slices else []), *said][: 3 if writer.draw() < THREE else 2]:
        writer._say(one.wordings, target, **one.values)


def _extent(structure: Structure, scene: Scene) -> Said:
    """How far it reaches in the plane, in pixels."""
    x1, y1, *_ = seen.edges(structure)
    half = len(scene.extent)
    x2, y2 = seen.edges(structure)[half : half + 2]
    return Said(_SAY["extent"], structure.name, {"wide": counted(x2 - x1, "pixel"), "high": counted(y2 - y1, "pixel")})


def _side(structure: Structure, scene: Scene) -> Said | None:
    """On which side of the midline of the body it lies; nothing where no side may be told, or the picture's middle tells another."""
    side = scene.side(structure.name) if seen.own_midline(scene) else ""
    off = structure.centre[0]
    if not side or (side != "midline" and off * (off - scene.midline.offset) <= 0):
        return None
    return Said(_SAY["on_midline"], structure.name) if side == "midline" else Said(_SAY["side"], structure.name, {"side": side})


# --- Why it is not the rival.


def _rule_out(writer: _Writer, target: str, rival: str, by: str, marks: Sequence[str]) -> None:
    """What sets the target apart from its rival, by the clue that does not fit that, as far as the picture shows it; else by place."""
    scene = writer.scene
    it, other = scene.structures[target], scene.structures[rival]
    values: dict[str, str] = {}
    if by == "brightness":
        values = {"tone_it": _tone(it), "tone_other": _tone(other)}
    elif by == "shape" and (it.elongation >= 1.7) != (other.elongation >= 1.7):
        words = ("compact", "elongated")
        values = {"word_it": words[it.elongation >= 1.7], "word_other": words[other.elongation >= 1.7]}
    elif by == "size":
        unit, every = "pixels" if scene.kind == "image" else "voxels", math.prod(seen.steps(scene))
        values = {f"size_{k}": f"{seen.number(s.measure / every)} {unit}" for k, s in (("it", it), ("other", other))}
    elif by == "neighbours":
        apart = [
            n for n in marks if n in it.neighbours and n not in other.neighbours and rival not in scene.structures[n].neighbours
        ]
        values = {"mark": the(apart[0])} if apart else {}
    elif by == "kind" and is_lesion(target) and not is_lesion(rival):
        values = {"mark": ""}
    if len(set(values.values())) < len(values) or not values:
        by, values = "place", _places(it, other, scene)
    if values:
        writer._say(_SAY[f"by_{by}"], rival, **values)


def _tone(structure: Structure) -> str:
    return _SAY["tones"][2 if abs(structure.contrast) < seen.FLAT else 0 if structure.contrast > 0 else 1]


def _places(it: Structure, other: Structure, scene: Scene) -> dict[str, str]:
    """The middles along the axes on which they differ most, by the size of the picture: one, or two that count."""
    here, there = seen.middle_of(it), seen.middle_of(other)
    off = {i: abs(here[i] - there[i]) / n for i, n in enumerate(seen.sides(scene))}
    axes = [i for i in off if off[i] and off[i] >= 0.5 * max(off.values())]
    return {"here": seen.where(here, axes), "there": seen.where(there, axes)} if axes else {}
