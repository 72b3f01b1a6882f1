"""What a picture shows as numbers: in millimetres where the prompt states a scale, else in pixels and slices of the model frame.

Places are those of boxes, so that a reader who found the boxes can check every one of them: the middle of a box, or its edges, counted
in pixels from the left and upper edge of the picture and in slices from the first. Sizes are those of masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from unireason.data.scene import Scene, Structure

TOLERANCE = 0.06
"""By so much of its value a size in a text may differ from the mask's; a place by one pixel or slice, a distance by both."""
DIGITS = 2
"""Significant digits of a size: sizes that are compared differ by a quarter at least, so they stay apart."""
Box = tuple[float, ...]


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


def one_unit(values: Sequence[float], scene: Scene) -> tuple[str, float]:
    """The unit in which sizes that stand side by side are all said: the larger one if none of them becomes a trifle in it."""
    small, large = units(scene)
    return large if min(values) >= 0.5 * large[1] else small


def number(value: float, digits: int = DIGITS) -> str:
    """A number as one says it: some significant digits, no exponent, thousands with a comma ("1,200", "3.4")."""
    text = f"{float(f'{value:.{digits}g}'):,.{digits + 1}f}"
    return text.rstrip("0").rstrip(".")


def middle(box: Box) -> tuple[int, ...]:
    """The middle of a box in whole pixels and slices, halves rounded up."""
    half = len(box) // 2
    return tuple(int((box[i] + box[half + i] + 1) // 2) for i in range(half))


def middle_of(structure: Structure) -> tuple[int, ...]:
    """The middle of a structure's box."""
    return middle(structure.box_model.coords)


def centre_of(scene: Scene) -> tuple[int, ...]:
    """The middle of the picture, as ``middle`` counts."""
    return tuple((n + 1) // 2 for n in sides(scene))


def unit_of_distance(scene: Scene) -> str:
    """Millimetres, or pixels; "" in a volume without a scale, where pixels and slices cannot be held against each other."""
    return "mm" if scene.scale else "pixels" if scene.kind == "image" else ""


def offset(first: Structure, second: Structure, scene: Scene) -> tuple[int, ...]:
    """From the middle of the second box to that of the first, along x, y[, z], in whole millimetres, or pixels and slices."""
    shift = [a - b for a, b in zip(_exact(first), _exact(second), strict=True)]
    every = steps(scene) if scene.scale else (1.0,) * len(shift)
    return tuple(round(s * e) for s, e in zip(shift, every, strict=True))


def distance(first: Structure, second: Structure, scene: Scene) -> float:
    """Between the middles of two boxes, in ``unit_of_distance``."""
    every = steps(scene) if scene.scale else (1.0,) * len(scene.extent)
    return math.hypot(*((a - b) * e for a, b, e in zip(_exact(first), _exact(second), every, strict=True)))


def _exact(structure: Structure) -> list[float]:
    box, half = structure.box_model.coords, len(structure.box_model.coords) // 2
    return [(box[i] + box[half + i]) / 2 for i in range(half)]
