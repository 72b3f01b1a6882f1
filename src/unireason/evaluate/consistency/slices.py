"""The slice that is shown of a structure, the truth about both, and the question asked of the slice."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unireason.data.ask.dice import Dice
from unireason.data.ask.existence import present
from unireason.data.ask.place import Places
from unireason.data.extract.boxes import Found, find
from unireason.data.extract.describe import describe
from unireason.data.extract.slices import axial
from unireason.data.frames import FrameRule
from unireason.data.item import Loaded
from unireason.data.scene import Scene
from unireason.engine.reasoner import Question
from unireason.errors import FormatError
from unireason.types import Box2D, Box3D


@dataclass(frozen=True, slots=True)
class Target:
    """One structure of one volume; boxes are canonical.

    Attributes:
        structure: Its name.
        slice: Canonical index of the slice on which it is largest.
        rectangle: Its tight box on that slice.
        cuboid: Its tight box in the volume.
        question: What is asked of the slice; None if the structure is too small there to be asked about.
    """

    structure: str
    slice: int
    rectangle: Box2D
    cuboid: Box3D
    question: Question | None


def targets(loaded: Loaded, names: Iterable[str], rule: FrameRule, *, case: str, seed: int) -> dict[str, Target]:
    """The slice, the truth and the question of every structure, by name.

    Args:
        loaded: A volume with its masks.
        names: Structures; none gives an empty dictionary.
        rule: How images become model frames.
        case: Identifier of the volume.
        seed: Of wordings.

    Raises:
        FormatError: If a structure has no mask.
    """
    found = {structure.name: structure for structure in find(loaded.layers)}
    missing = sorted(set(names) - set(found))
    if missing:
        raise FormatError(f"the case {case!r} has no mask of {', '.join(missing)}", "the masks that the data set was built from")
    scenes: dict[int, Scene] = {}
    made = {}
    for name in names:
        k, rectangle = _largest(found[name])
        if k not in scenes:
            scenes[k] = describe(axial(loaded, k), rule, case=f"{case}/{k}")
        low, high = found[name].corners
        made[name] = Target(name, k, rectangle, Box3D(*low, *high), _question(scenes[k], name, f"{seed} {case} {name}"))
    return made


def _largest(found: Found) -> tuple[int, Box2D]:
    """The slice with most voxels, the lowest of equals, and the tight box there."""
    mask = found.mask()
    z, y, x = (part.start for part in found.block)
    k = int(np.argmax(np.count_nonzero(mask, axis=(1, 2))))
    rows, columns = (np.flatnonzero(mask[k].any(axis=axis)) for axis in (1, 0))
    return z + k, Box2D(*(int(v) for v in (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)))


def _question(scene: Scene, name: str, seed: str) -> Question | None:
    """Whether the structure can be seen, in the words of the questions about images."""
    dice = Dice(np.random.default_rng(zlib.crc32(seed.encode())))
    asked = next((question for question in present(Places(scene), dice) if question.about == (name,)), None)
    return None if asked is None else Question(asked.text, asked.options)
