"""Where a structure that is absent would lie in a scene, and what lies there instead: typed facts, no sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unireason.core.types import Box
from unireason.data.names import base, counterpart, known, related, side_of
from unireason.data.regions import model_box
from unireason.data.scene import Scene, Structure, held

from .distractors import MOST_OTHERS, Peers, ends_of, tells_position

LEAST_PATIENTS = 2
"""So many other patients must agree at least."""
LANDMARKS = 4
"""So many landmarks, those nearest to the structure in the other patient, carry its box over."""
MOST_SPREAD = 0.15
"""Of the picture: how far the centres may differ from patient to patient."""
LEAST_SHOWN = 0.3
"""Of its box: what must lie in the picture, or its level counts as not shown."""
INSTEAD, MOST_INSTEAD = 0.1, 3
"""Least share of the place that something fills to be named, and how many are."""
_AXIS = {"right": (0, -1), "left": (0, 1), "anterior": (1, -1), "posterior": (1, 1), "inferior": (2, -1), "superior": (2, 1)}
_LEVELS = {"head": 0, "eye": 0, "thorax": 2, "abdomen": 3, "pelvis and urinary tract": 4}
_LEVEL = re.compile(r"([ctls])(\d+) vertebra")
_FIRST = {"c": 0, "t": 7, "l": 19, "s": 24}
Corners = NDArray[np.float64]  # (2, axes): lower and upper corner along x, y[, z], in millimetres or pixels


@dataclass(frozen=True, slots=True)
class Expected:
    """Where an absent structure would lie.

    Attributes:
        name: The structure.
        by: What tells: "patients" (boxes in other patients, carried over by landmarks that both have), "organ" (it would lie in the
            organ that is there), "counterpart" (the other side, mirrored at the midline), "vertebrae" (those above and below),
            "landmarks" (the table of names), "level" (nothing of its region is shown), "" if nothing does.
        box: The place in the model frame; None where it is not in the picture or only roughly known.
        shown: Whether the place is in the picture: "yes", "no", or "" if that is not known.
        beyond: Where it is not shown: behind which border it lies, "superior" or "inferior"; "" if not known.
        landmarks: Structures of the scene that tell, nearest first: what to look at.
        relations: Of the table of names, (relation, landmark): ("inferior", "liver") is below the liver.
        instead: Structures of the scene that fill the place, most of it first.
        patients: How many other patients tell.
    """

    name: str
    by: Literal["patients", "organ", "counterpart", "vertebrae", "landmarks", "level", ""] = ""
    box: Box | None = None
    shown: Literal["yes", "no", ""] = ""
    beyond: str = ""
    landmarks: tuple[str, ...] = ()
    relations: tuple[tuple[str, str], ...] = ()
    instead: tuple[str, ...] = ()
    patients: int = 0


def expected_place(scene: Scene, name: str, peers: Peers | None = None) -> Expected:
    """Where an absent structure would lie in a scene.

    Args:
        scene: The scene.
        name: A structure that is not in it.
        peers: Scenes of other patients; None leaves them out.

    Returns:
        The place as far as it can be told; ``by`` is "" where nothing tells it.
    """
    relations = tuple(_relations(scene, name))
    ways = (_by_vertebrae(scene, name), _by_patients(scene, name, peers), _mirrored(scene, name))
    organ = _in_organ(scene, name)
    # A lesion is looked for in its organ, a part of something first in its own place.
    for found in (organ, *ways) if known(name).kind == "lesion" else (*ways, organ):
        if found is not None:
            return replace(found, relations=relations)
    if relations:
        marks = tuple(dict.fromkeys(mark for _, mark in relations))
        return _placed(scene, Expected(name, "landmarks", landmarks=marks, relations=relations), _beside(scene, relations))
    beyond = _beyond(scene, name)
    return Expected(name, "level", shown="no", beyond=beyond) if beyond else Expected(name)


def _corners(scene: Scene, structure: Structure) -> Corners:
    """The box of a structure in the unit of the scene's extent."""
    sizes = np.array(scene.shape[::-1], float)
    corners: Corners = np.array(structure.box_canonical, float).reshape(2, -1) / sizes * np.array(scene.extent)
    return corners


def _placed(scene: Scene, found: Expected, corners: Corners | None) -> Expected:
    """A place with its box, and what lies there; one that lies outside the picture is not shown."""
    if corners is None:
        return found
    extent = np.array(scene.extent)
    inside = np.clip(corners, 0, extent)
    sizes = np.maximum(corners[1] - corners[0], 1e-6)
    if float(np.prod((inside[1] - inside[0]) / sizes)) < LEAST_SHOWN:
        beyond = ""
        if scene.space == "patient" and len(extent) == 3:
            beyond = "superior" if corners[1, 2] > extent[2] else "inferior" if corners[0, 2] < 0 else ""
        return replace(found, shown="no", beyond=beyond)
    grid = np.array(scene.shape[::-1], float)
    low, high = inside / extent * grid
    box = model_box(low, high, grid, scene.frame)
    place = tuple(int(v) for v in box.coords)
    filled = {
        n: max(held(place, tuple(int(v) for v in p.box_model.coords)) for p in s.shown) for n, s in scene.structures.items()
    }
    instead = sorted(
        (n for n, share in filled.items() if share >= INSTEAD), key=lambda n: (-round(filled[n], 1), scene.structures[n].voxels)
    )
    return replace(found, box=box, shown="yes", instead=tuple(instead[:MOST_INSTEAD]))


def _in_organ(scene: Scene, name: str) -> Expected | None:
    """In the organ of a lesion, or in what the structure is a part of, if that is there as a whole."""
    me = known(name)
    wanted = me.site or me.part_of
    if not wanted:
        return None
    side = f"{me.side} " if me.side else ""
    organs = [n for n in scene.structures if known(n).kind != "lesion" and known(n).what == known(wanted).what]
    organs = [n for n in organs if n.startswith(side)] or organs
    if not organs:
        return None
    organ = organs[0]
    found = Expected(name, "organ", scene.structures[organ].box_model, "yes", landmarks=tuple(organs), instead=(organ,))
    return replace(found, box=None) if scene.structures[organ].scattered else found


def _by_patients(scene: Scene, name: str, peers: Peers | None) -> Expected | None:
    """The boxes of other patients, each carried over by the landmarks nearest to it that this scene has too."""
    if peers is None:
        return None
    told: dict[str, tuple[float, Corners, list[str]]] = {}
    here = lru_cache(lambda mark: ends_of(scene, mark)[2])
    for places in islice(peers.of(scene, name), MOST_OTHERS):
        patient = places.scene.patient
        if patient in told or places.scene.structures[name].scattered:
            continue
        marks = [n for n in places.boxed if n in scene.structures and _landmark(n, name) and not scene.structures[n].scattered]
        away = {n: places.distance(n, name) for n in marks}
        marks = sorted(marks, key=away.__getitem__)[:LANDMARKS]
        if not marks:
            continue
        weights = [1 / (away[n] + 0.02 * max(scene.extent)) for n in marks]
        shifts = [[a - b for a, b in zip(here(n), places.ends(n)[2], strict=True)] for n in marks]
        shift = [sum(w * s for w, s in zip(weights, along, strict=True)) / sum(weights) for along in zip(*shifts, strict=True)]
        # Where landmarks want different shifts, the other patient is built otherwise, or mirrored.
        unlike = max(abs(s - m) for one in shifts for s, m in zip(one, shift, strict=True))
        told[patient] = (unlike, np.array([[c + s for c, s in zip(e, shift, strict=True)] for e in places.ends(name)[:2]]), marks)
    if len(told) < LEAST_PATIENTS:
        return None
    best = sorted(told.values(), key=lambda entry: entry[0])[: max(LEAST_PATIENTS, len(told) // 2)]
    every = np.array([corners for _, corners, _ in best])
    middle: Corners = np.median(every, axis=0)
    spread = np.median(np.abs(every.mean(axis=1) - middle.mean(axis=0)), axis=0) / np.array(scene.extent)
    if float(spread.max()) > MOST_SPREAD:
        return None
    used = Counter(mark for _, _, marks in best for mark in marks)
    away = {n: float(np.linalg.norm(middle.mean(axis=0) - _middle(scene, n))) for n in used}
    marks = sorted(used, key=lambda n: (-used[n], away[n]))[:LANDMARKS]
    return _placed(scene, Expected(name, "patients", landmarks=tuple(marks), patients=len(best)), middle)


@lru_cache(maxsize=2**16)
def _landmark(mark: str, name: str) -> bool:
    """True if a structure may tell where another lies: no lesion, none of its kin, no word for a place in its name."""
    return known(mark).kind != "lesion" and not related(mark, name) and not tells_position(mark)


def _middle(scene: Scene, name: str) -> NDArray[np.float64]:
    """The middle of a structure's box."""
    middle: NDArray[np.float64] = _corners(scene, scene.structures[name]).mean(axis=0)
    return middle


def _mirrored(scene: Scene, name: str) -> Expected | None:
    """The other side's box, mirrored at the midline."""
    other = scene.structures.get(counterpart(name))
    if other is None or other.scattered or scene.space != "patient" or scene.midline.found in ("", "picture"):
        return None
    corners = _corners(scene, other)
    middle = scene.midline.canonical / scene.shape[-1] * scene.extent[0]
    corners[:, 0] = 2 * middle - corners[::-1, 0]
    return _placed(scene, Expected(name, "counterpart", landmarks=(other.name,)), corners)


def _number(name: str) -> int:
    """Place of a vertebra from the skull down; -1 for anything else."""
    match = _LEVEL.fullmatch(known(name).what)
    return _FIRST[match[1]] + int(match[2]) if match else -1


def _by_vertebrae(scene: Scene, name: str) -> Expected | None:
    """Between the vertebrae above and below, or next to the last one that is there."""
    mine, found = _number(name), {n: _number(n) for n in scene.structures}
    if mine < 0 or len(scene.extent) < 3 or scene.space != "patient":
        return None
    above = max((n for n, number in found.items() if 0 <= number < mine), key=found.__getitem__, default="")
    below = min((n for n, number in found.items() if number > mine), key=found.__getitem__, default="")
    ends = {n: _corners(scene, scene.structures[n]) for n in (above, below) if n}
    if not ends:
        return None
    if above and below:
        step = (mine - found[above]) / (found[below] - found[above])
        corners = ends[above] + step * (ends[below] - ends[above])
    else:
        last = above or below
        corners = ends[last].copy()
        corners[:, 2] += (found[last] - mine) * (corners[1, 2] - corners[0, 2])
    return _placed(scene, Expected(name, "vertebrae", landmarks=tuple(ends)), corners)


def _relations(scene: Scene, name: str) -> Iterator[tuple[str, str]]:
    """Relations of the table whose landmark is there, on the same side if it has one."""
    for relation, landmark in known(name).near.items():
        found = [n for n in scene.structures if known(n).what == known(base(landmark)).what or n == landmark]
        side = side_of(landmark) or side_of(name)
        found = [n for n in found if side_of(n) in ("", side)] if side else found
        if found:
            yield relation, found[0]


def _beside(scene: Scene, relations: Iterable[tuple[str, str]]) -> Corners | None:
    """A rough place: beside each landmark, as large as a third of it; None where no relation can be drawn."""
    if scene.space != "patient":
        return None
    middles, halves = [], []
    for relation, mark in relations:
        corners = _corners(scene, scene.structures[mark])
        axis, sign = _AXIS.get(relation, (-1, 0))
        if scene.structures[mark].scattered or not 0 <= axis < len(scene.extent):
            continue
        middle, half = corners.mean(axis=0), (corners[1] - corners[0]) / 2
        middle[axis] += sign * half[axis]
        middles.append(middle)
        halves.append(half / 3)
    if not middles:
        return None
    middle, half = np.mean(middles, axis=0), np.mean(halves, axis=0)
    return np.array([middle - half, middle + half])


def _beyond(scene: Scene, name: str) -> str:
    """ "superior" or "inferior" if all that is there lies far from the region of the structure; "" otherwise."""
    mine = _LEVELS.get(known(name).group)
    levels = [level for n in scene.structures if (level := _LEVELS.get(known(n).group)) is not None]
    if mine is None or not levels:
        return ""
    return "superior" if mine <= min(levels) - 2 else "inferior" if mine >= max(levels) + 2 else ""
