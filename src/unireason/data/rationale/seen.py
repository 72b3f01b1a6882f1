"""What a picture shows as numbers: in millimetres where the prompt states a scale, else in pixels and slices of the model frame.

Places are those of boxes, so that a reader who found the boxes can check every one of them: the middle of a box, or its edges, counted
in pixels from the left and upper edge of the picture and in slices from the first. Sizes are those of masks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from unireason.data.scene import Part, Scene, Structure
from unireason.grounding.crop import MIN_SIDE

from .wording import Said, counted, is_plural, listed, the, wordings

TOLERANCE = 0.06
"""By so much of its value a size in a text may differ from the mask's; a place by one pixel or slice, a distance by both."""
DIGITS = 2
"""Significant digits of a size: sizes that are compared differ by a quarter at least, so they stay apart."""
Box = tuple[float, ...]
AXES = ("x", "y", "slice")


def sides(scene: Scene) -> tuple[int, ...]:
    """The model frame along x, y[, z]."""
    return (scene.frame.width, scene.frame.height, scene.frame.depth)[: len(scene.extent)]


def steps(scene: Scene) -> tuple[float, ...]:
    """Size of a model pixel along x, y[, z], in the scene's unit."""
    return tuple(e / n for e, n in zip(scene.extent, sides(scene), strict=True))


def size(structure: Structure, scene: Scene) -> float:
    """Area or volume in mm2 or mm3 where a scale is told, else in pixels or voxels of the model frame."""
    return structure.measure if scene.scale else structure.measure / math.prod(steps(scene))


def units(scene: Scene) -> tuple[tuple[str, float], tuple[str, float]]:
    """The unit of sizes and a larger one with its factor; both are the same where no scale is told."""
    if scene.scale:
        return (("mm2", 1.0), ("cm2", 100.0)) if scene.kind == "image" else (("mm3", 1.0), ("ml", 1000.0))
    name = "pixels" if scene.kind == "image" else "voxels"
    return (name, 1.0), (name, 1.0)


def one_unit(values: Sequence[float], scene: Scene, least: float = 0.5) -> tuple[str, float]:
    """The unit in which sizes that stand side by side are all said: the larger one if all of them come to ``least`` in it."""
    small, large = units(scene)
    return large if min(values) >= least * large[1] else small


def said_size(structure: Structure, scene: Scene) -> str:
    """The size of a structure in the unit that fits it."""
    value = size(structure, scene)
    unit, scale = one_unit([value], scene)
    return f"{number(value / scale)} {unit}"


def number(value: float, digits: int = DIGITS) -> str:
    """A number as options are written too: some significant digits, no exponent ("1200", "3.4")."""
    text = f"{float(f'{value:.{digits}g}'):.{digits + 1}f}"
    return text.rstrip("0").rstrip(".")


def middle(box: Box) -> tuple[int, ...]:
    """The middle of a box in whole pixels and slices: half the sum of its ends, rounded down."""
    half = len(box) // 2
    return tuple(int((box[i] + box[half + i]) // 2) for i in range(half))


def middle_of(structure: Structure) -> tuple[int, ...]:
    """The middle of a structure's box."""
    return middle(structure.box_model.coords)


def centre_of(scene: Scene) -> tuple[int, ...]:
    """The middle of the picture, as ``middle`` counts; along x that of the body where sides are the patient's."""
    across = int(scene.midline_model) if own_midline(scene) else scene.frame.width // 2
    return (across, *(n // 2 for n in sides(scene)[1:]))


def own_midline(scene: Scene) -> bool:
    """True if the sides of a scene are told from a midline of the body, or the macula, not from the picture's middle."""
    return scene.midline.found not in ("", "picture")


def unit_of_distance(scene: Scene) -> str:
    """Millimetres, or pixels; "" in a volume without a scale, where pixels and slices cannot be held against each other."""
    return "mm" if scene.scale else "pixels" if scene.kind == "image" else ""


def offset(first: Structure, second: Structure, scene: Scene) -> tuple[int, ...]:
    """From the middle of the second box to that of the first, along x, y[, z], in whole millimetres, or pixels and slices."""
    shift = [a - b for a, b in zip(middle_of(first), middle_of(second), strict=True)]
    every = steps(scene) if scene.scale else (1.0,) * len(shift)
    return tuple(round(s * e) for s, e in zip(shift, every, strict=True))


def distance(first: Structure, second: Structure, scene: Scene) -> float:
    """Between the middles of two boxes, in ``unit_of_distance``."""
    every = steps(scene) if scene.scale else (1.0,) * len(scene.extent)
    return math.hypot(*((a - b) * e for a, b, e in zip(_exact(first), _exact(second), every, strict=True)))


def _exact(structure: Structure) -> list[float]:
    box, half = structure.box_model.coords, len(structure.box_model.coords) // 2
    return [(box[i] + box[half + i]) / 2 for i in range(half)]


def where(place: Sequence[int], axes: Sequence[int]) -> str:
    """A place in words: "x 74 and y 30", "slice 6"."""
    return listed([at(i, place[i]) for i in axes])


def reference(scene: Scene, axes: Sequence[int]) -> str:
    """From where sides are told: the middle of the picture, along x the midline of the body where sides are the patient's."""
    place, rest = centre_of(scene), list(axes)
    found = []
    if 0 in rest and own_midline(scene):
        rest.remove(0)
        line = "macula" if scene.midline.found == "macula" else "midline of the body"
        found = [f"the {line} at {at(0, place[0])}"]
    return listed(found + ([f"the middle of the {scene.kind} at {where(place, rest)}"] if rest else []))


def at(axis: int, value: int) -> str:
    """A place along one axis in words."""
    return f"{AXES[axis]} {value}"


def span(axis: int, box: Sequence[int]) -> str:
    """How far a box reaches along an axis; slices are counted with the last one."""
    half = len(box) // 2
    if axis == 2 and box[5] - box[2] == 1:
        return f"slice {box[2]}"
    return f"slices {box[2]} to {box[5] - 1}" if axis == 2 else f"{AXES[axis]} {box[axis]} to {box[half + axis]}"


# --- Parts of structures, and boxes held against each other.


def clear(box: Box) -> bool:
    """True if a look can cut a box out."""
    half = len(box) // 2
    return all(box[half + i] - box[i] >= MIN_SIDE for i in range(2))


def clear_parts(structure: Structure) -> list[Part]:
    """The parts of a scattered structure that can be looked at, largest first; none if it hangs together."""
    return [part for part in structure.shown if structure.scattered and clear(part.box_model.coords)]


# --- What is not there: the fact that a question keeps of it, in a form that can be read again.

MISSING = "it is not there"
_ABSENT = re.compile(rf"{MISSING}(?:; its place is \[([\d,]+)\](?:, filled by (.+))?|; its (level|place) is not shown)?")


@dataclass(frozen=True, slots=True)
class Absence:
    """Where something that is not there would lie.

    Attributes:
        box: The place in the model frame; () if it is not known or not shown.
        instead: Structures that lie there.
        outside: "level" or "place" if that is not shown; "" otherwise.
    """

    box: tuple[int, ...] = ()
    instead: tuple[str, ...] = ()
    outside: str = ""

    @property
    def fact(self) -> str:
        """As a clause; ``absence`` reads it."""
        if self.box:
            filled = f", filled by {', '.join(self.instead)}" if self.instead else ""
            return f"{MISSING}; its place is [{','.join(map(str, self.box))}]{filled}"
        return f"{MISSING}; its {self.outside} is not shown" if self.outside else MISSING


def absence(fact: str) -> Absence:
    """The absence that a fact tells; an empty one for any other fact."""
    match = _ABSENT.fullmatch(fact)
    if not match:
        return Absence()
    box = tuple(map(int, match[1].split(","))) if match[1] else ()
    return Absence(box, tuple(match[2].split(", ")) if match[2] else (), match[3] or "")


def numbers(text: str) -> list[int]:
    """The whole numbers of a text, such as those of a box."""
    return [int(v) for v in re.findall(r"\d+", text)]


def edges(structure: Structure) -> list[int]:
    """The numbers of a structure's box."""
    return [int(v) for v in structure.box_model.coords]


def worst_edge(box: Sequence[int], true: Sequence[int]) -> int | None:
    """Which number of a box is off by the largest share of the true box's side; None if all agree."""
    half = len(true) // 2
    off = [abs(a - b) / max(1, true[half + i % half] - true[i % half]) for i, (a, b) in enumerate(zip(box, true, strict=True))]
    return off.index(max(off)) if max(off) > 0 else None


def share(inner: Box, outer: Box) -> float:
    """How much of one box lies in another."""
    half, common = len(inner) // 2, 1.0
    for i in range(half):
        overlap = min(inner[half + i], outer[half + i]) - max(inner[i], outer[i])
        common *= max(0.0, overlap) / max(1.0, inner[half + i] - inner[i])
    return common


# --- What a look finds, in words.

BESIDE = 0.8
"""What holds so much of a box, or lies in it so far, is not beside it."""
FLAT, CLEAR = 8.0, 40.0
"""Contrast in grey levels of 0 to 255: below the one it is none, above the other it is clear."""
_FINDING: dict[str, tuple[str, ...]] = wordings("reasoning")["finding"]


DEGREES = ("clearly brighter", "slightly brighter", "about as bright", "slightly darker", "clearly darker")
"""How bright something is against what surrounds it, as options say it."""
EVENNESS = ("more even", "about as even", "less even")


def hounsfield(structure: Structure, scene: Scene) -> float:
    """Mean Hounsfield units of a structure of a CT, read off its mean grey level in the window shown."""
    low, high = scene.hounsfield
    return low + structure.grey[0] / 255 * (high - low)


def attenuations(structures: Sequence[Structure], scene: Scene) -> list[float]:
    """Mean Hounsfield units of some structures, and by how much those of any two differ."""
    found = [hounsfield(s, scene) for s in structures if s.grey and scene.hounsfield]
    return [*found, *(sign * (a - b) for a in found for b in found if a > b for sign in (1, -1))]


def window(scene: Scene) -> str:
    """The window shown, as a question tells it."""
    low, high = scene.hounsfield
    return f"black is {number(low, 4)} HU, white is {number(high, 4)} HU"


def brightness(structure: Structure, scene: Scene) -> Said:
    """Contrast against a ring around it."""
    if abs(structure.contrast) < FLAT:
        return Said(_FINDING["brightness_none"], structure.name)
    word, opposite = ("brighter", "darker") if structure.contrast > 0 else ("darker", "brighter")
    degree = "clearly " if abs(structure.contrast) >= CLEAR else ""
    return Said(_FINDING["brightness"], structure.name, {"degree": degree, "word": word, "opposite": opposite})


def slices(structure: Structure, scene: Scene) -> Said | None:
    """Which model slices of a volume it touches, counted from 0 as in boxes; nothing for an image."""
    first, last = structure.slices[0], structure.slices[1] - 1
    if scene.kind == "image":
        return None
    if first == last:
        return Said(_FINDING["slices_one"], structure.name, {"first": str(first)})
    values = {"first": str(first), "last": str(last), "count": counted(last - first + 1, "slice")}
    return Said(_FINDING["slices_many"], structure.name, values)


def border(structure: Structure, scene: Scene) -> Said | None:
    """Whether the picture may cut it off; nothing if it touches no border."""
    if not structure.borders:
        return None
    aside = [b for b in structure.borders if scene.space == "patient" and b in ("left", "right")]
    rest = [b for b in structure.borders if b not in aside]
    found = [f"the {listed(rest)} {'border' if len(rest) == 1 else 'borders'} of the {scene.kind}"] if rest else []
    found += [f"the border{'' if rest else f' of the {scene.kind}'} on the patient's {b}" for b in aside]
    return Said(_FINDING["border"], structure.name, {"where": listed(found)})


def neighbours(structure: Structure, scene: Scene) -> Said | None:
    """What lies beside it, at most two names; nothing if nothing is near."""
    box = structure.box_model.coords
    others = {n: scene.structures[n].box_model.coords for n in structure.neighbours if n in scene.structures}
    # What lies inside it, or round it, does not lie beside it.
    near = [n for n, other in others.items() if max(share(box, other), share(other, box)) < BESIDE][:2]
    if not near:
        return None
    lie = "lie" if len(near) > 1 or is_plural(near[0]) else "lies"
    return Said(_FINDING["neighbours"], structure.name, {"near": listed([the(name) for name in near]), "lie": lie})


def shape(structure: Structure, scene: Scene) -> Said | None:
    """Whether it is round or long; nothing in between."""
    if 1.35 < structure.elongation < 2.0:
        return None
    return Said(_FINDING["shape"], structure.name, {"word": "elongated" if structure.elongation >= 2.0 else "compact"})
