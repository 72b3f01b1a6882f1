"""The scene: everything that question writing and annotation may know about one image or volume. It holds no pixels.

Boxes are half-open and integer. ``canonical`` boxes are (x1, y1[, z1], x2, y2[, z2]) indices of the canonical array. Directions are
patient directions where the file tells the orientation (``space == "patient"``): x to the patient's left, y to the back, z to the
head. Plain pictures have none (``space == "picture"``): x to the right edge of the picture, y downwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from unireason.core.types import Box, Frame, Kind

from .names import SIDES as SIDES
from .names import base as base
from .names import counterpart as counterpart
from .names import display, is_pair, known, related
from .names import group as group
from .names import is_lesion as is_lesion
from .names import readable as readable
from .names import side_of as side_of

Point = tuple[int, ...]
Space = Literal["patient", "picture"]

SPECK = 0.01
"""Components below this share of the structure are not counted."""
SCATTERED = 0.8
"""A structure whose largest part holds less than this has no one place and no one box."""
MOST_SHOWN = 6
"""So many parts of a scattered structure are looked at."""


@dataclass(frozen=True, slots=True)
class Part:
    """One connected component of a structure (8- or 26-connected)."""

    box_canonical: tuple[int, ...]
    box_model: Box
    measure: float
    voxels: int


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure in one image or volume.

    Attributes:
        diameters: Of a lesion with a known spacing: the longest way across its largest part on the slice where that is largest, and
            the way across at right angles to it, in millimetres; else ().
        widest: Of a volume: the model slice on which most of it lies, and the first and last one that show at least 80% as much.
        gaps: Of a lesion with a known spacing: shortest way from voxel to voxel to the structures that are near, in millimetres.
        touching: Those of them that no voxel parts from the lesion.
        grey: Mean grey level as shown, of 0 to 255, the standard deviation away from the edge (-1 if too little lies there), and
            the share shown black or white; () if it is not known.
        outline: Of a lesion: length over width and solidity of its largest part on the slice where that is largest; () if it is small.
    """

    name: str
    box_canonical: tuple[int, ...]
    box_voxel: tuple[int, ...]
    box_model: Box
    voxels: int
    measure: float
    centre: tuple[float, ...]
    side: str
    parts: tuple[Part, ...]
    part_count: int
    neighbours: tuple[str, ...]
    slices: tuple[int, int]
    borders: tuple[str, ...]
    contrast: float
    elongation: float
    points: tuple[Point, Point]
    diameters: tuple[float, ...] = ()
    widest: tuple[int, ...] = ()
    gaps: Mapping[str, float] = field(default_factory=dict)
    touching: tuple[str, ...] = ()
    grey: tuple[float, ...] = ()
    outline: tuple[float, ...] = ()

    @property
    def scattered(self) -> bool:
        """True if no part holds most of it, or it is a pair: it has no one place and no one box, and is looked at part by part."""
        whole = bool(self.parts) and self.parts[0].voxels >= SCATTERED * self.voxels and not is_pair(self.name)
        return self.part_count > 1 and not whole

    @property
    def shown(self) -> tuple[Part, ...]:
        """The parts to look at, largest first, specks left out: those of a scattered structure; else one part, the whole of it."""
        if not self.scattered:
            return (Part(self.box_canonical, self.box_model, self.measure, self.voxels),)
        return tuple(p for p in self.parts if p.voxels >= SPECK * self.voxels)[:MOST_SHOWN]

    @property
    def instances(self) -> int:
        """How many lesions a kind of lesion comes to, specks not counted; 0 for what is no lesion."""
        return self.part_count if is_lesion(self.name) else 0


@dataclass(frozen=True, slots=True)
class Midline:
    """Where the middle of what is shown lies along x: left and right of the patient are told by it alone.

    Attributes:
        found: By what: "spine", "body" or "paired organs"; "macula" in a fundus image with optic disc and macula, where it parts nasal
            from temporal; "picture", the picture's middle, in data sets of versions 1 and 2; "" if nothing tells.
        offset: Its place from the middle of the picture along the scene's first direction, as in ``Structure.centre``.
        canonical: Its canonical index along x.
    """

    found: Literal["spine", "body", "paired organs", "macula", "picture", ""] = "picture"
    offset: float = 0.0
    canonical: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One image or volume, described.

    Attributes:
        case: Case identifier, unique in the data set.
        patient: Patient identifier; "" if it is not known.
        kind: "image" or "volume".
        modality: DICOM modality code, "" if unknown.
        frame: The model frame of all model boxes.
        shape: Canonical shape, (Z, Y, X) or (Y, X).
        spacing_mm: Voxel size along x, y (and z); None if unknown.
        extent: Size of the picture along x, y (and z) in millimetres (pixels if the spacing is unknown).
        space: In which terms directions hold.
        unit: "mm3", "mm2" or "pixels".
        structures: Those present and large enough to ask about, by name, names in alphabetical order.
        absent: Annotated structures without a single voxel.
        unclear: Structures present but too small to ask about, or cut off to a sliver.
        midline: The middle of the body.
        described: False if it is not known what the case shows: there are no structures then, and nothing is called absent or unclear.
        scale: The line by which the prompt tells how large pixels are; "" if it does not, and then no text may measure in millimetres.
        hounsfield: Of a CT in Hounsfield units: those shown as black and as white; () for all others.
    """

    case: str
    patient: str
    kind: Kind
    modality: str
    frame: Frame
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    extent: tuple[float, ...]
    space: Space
    unit: str
    structures: Mapping[str, Structure]
    absent: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    described: bool = True
    midline: Midline = Midline()
    scale: str = ""
    hounsfield: tuple[float, ...] = ()

    @property
    def midline_model(self) -> float:
        """The midline along x of the model frame."""
        return self.midline.canonical * self.frame.width / self.shape[-1]

    @property
    def terms(self) -> str:
        """In which terms directions are said, the key of DIRECTIONS, HALVES and TOWARDS.

        "patient", "picture", "depth" (ultrasound), "nasal left" and "nasal right" (a fundus image, by where the nose is in the picture).
        """
        if self.space == "patient":
            return "patient"
        gate = GATES.get(self.modality)
        if gate == "retina" and self.midline.found == "macula":
            disc = next(s.centre[0] for s in self.structures.values() if known(s.name).what == "optic disc")
            return "nasal left" if disc < self.midline.offset else "nasal right"
        return "depth" if gate == "depth" else "picture"

    @property
    def side_words(self) -> tuple[str, str] | None:
        """Words for what lies towards smaller and larger x of the midline; None where no side may be told.

        ("right", "left") of the patient where the midline is known, ("nasal", "temporal") or the other way round in a fundus image that
        tells, ("left", "right") as displayed in other pictures, nothing in endoscopy, dermoscopy, pathology.
        """
        hidden = GATES.get(self.modality) == "none" or (self.space == "patient" and not self.midline.found)
        return None if hidden else HALVES[self.terms][0]

    def said(self, option: str) -> str:
        """An option as a text says it: the display of a structure that is there or absent; anything else stays."""
        return display(option) if option in self.structures or option in self.absent or option in self.unclear else option

    def side(self, name: str) -> str:
        """On which side of the midline a structure lies, in ``side_words``; "midline" near it, "" where no side may be told."""
        words, structure = self.side_words, self.structures[name]
        if words is None or structure.scattered:
            return ""
        return told_side(structure.centre[0] - self.midline.offset, self.extent[0], words)

    def outside(self, target: str) -> list[str]:
        """Structures whose boxes neither hold the target, or a part of it, nor lie in it: where a look may go astray."""
        boxes = [p.box_canonical for p in self.structures[target].shown]
        return [
            n
            for n, s in self.structures.items()
            if n != target
            and not related(n, target)
            and not any(max(held(b, p.box_canonical), held(p.box_canonical, b)) > MOST_SHARED for b in boxes for p in s.shown)
        ]


GATES: dict[str, Literal["patient", "none", "retina", "depth"]] = {
    **dict.fromkeys(("ES", "XC", "SM", "GM"), "none"),  # endoscopy, dermoscopy and photographs, pathology, microscopy
    "OP": "retina",
    "US": "depth",
}
"""What x and y may mean, by modality code: no side at all, nasal and temporal, depth; sides of the patient with all others."""
_X = {
    "patient": ("right", "left"),
    "picture": ("left", "right"),
    "nasal left": ("nasal", "temporal"),
    "nasal right": ("temporal", "nasal"),
}
_ASIDE = {"left": "to the left", "right": "to the right", "nasal": "towards the nose", "temporal": "towards the temple"}
_TERMS: dict[str, tuple[str, str]] = {  # by ``Scene.terms``: the row of _X, and what y is
    "patient": ("patient", "patient"),
    "picture": ("picture", "picture"),
    "depth": ("picture", "depth"),
    "nasal left": ("nasal left", "picture"),
    "nasal right": ("nasal right", "picture"),
}
_Y = {
    "patient": (("anterior", "posterior"), ("anterior", "posterior"), ("to the front", "to the back")),
    "picture": (("above", "below"), ("upper", "lower"), ("up", "down")),
    "depth": (("superficial", "deep"), ("superficial", "deep"), ("towards the probe", "away from the probe")),
}
_Z = {
    "patient": (("inferior", "superior"), ("inferior", "superior"), ("towards the feet", "towards the head")),
    "picture": (None, ("first", "last"), ("towards the first slice", "towards the last slice")),
}
Words = dict[str, tuple[tuple[str, str], ...]]
DIRECTIONS: Words = {
    terms: (_X[x], _Y[y][0], *(both for both in (_Z["patient" if terms == "patient" else "picture"][0],) if both))
    for terms, (x, y) in _TERMS.items()
}
"""Words for where one thing lies from another, by ``Scene.terms`` and axis: towards smaller and larger values. Volumes without directions
have none along z."""
HALVES: Words = {
    terms: (_X[x], _Y[y][1], _Z["patient" if terms == "patient" else "picture"][1]) for terms, (x, y) in _TERMS.items()
}
"""Words for the halves of a picture, in the same order."""
TOWARDS: Words = {
    terms: ((_ASIDE[_X[x][0]], _ASIDE[_X[x][1]]), _Y[y][2], _Z["patient" if terms == "patient" else "picture"][2])
    for terms, (x, y) in _TERMS.items()
}
"""Words for a way along an axis, in the same order."""
MIDLINE = 0.02
"""Dead zone: a centre within 2% of the picture's width from the midline lies on it."""
MOST_SHARED = 0.3
"""A look that goes astray shares at most so much of either box with the target."""


def told_side(offset: float, extent: float, words: tuple[str, str]) -> str:
    """ "midline", or the word for the side on which something lies, by its offset from the midline."""
    return "midline" if abs(offset) <= MIDLINE * extent else words[offset > 0]


def held(inner: tuple[int, ...], outer: tuple[int, ...]) -> float:
    """Share of one box that lies in another; boxes half-open, whole numbers, not empty."""
    half = len(inner) // 2
    common, whole = 1, 1
    for i in range(half):
        common *= max(0, min(inner[half + i], outer[half + i]) - max(inner[i], outer[i]))
        whole *= inner[half + i] - inner[i]
    return common / whole


# --- A question about a scene, with what it takes to check it against the masks again.

FAMILIES = (
    "structure_localisation",
    "spatial_localisation",
    "existence_verification",
    "size_comparison",
    "spatial_relation",
    "lesion_analysis",
)
IMPLICIT = "implicit_grounding"
"""Family of UMRG questions: no options, a box and two points as the answer."""

LETTERS = "ABCDEFGHIJ"
OFFERED = {
    **dict.fromkeys(("largest", "smallest", "brightest", "darkest", "which_present"), 0),
    **dict.fromkeys(("nearest", "closest", "which_in_quadrant"), 1),
}
"""Kinds whose open form names what there is to choose from, and how many other arguments stand in front."""


def family_name(family: str) -> str:
    """A family for a reader; "not told" for "", as of a release that does not tell."""
    return family.replace("_", " ") or "not told"


@dataclass(frozen=True, slots=True)
class DataQuestion:
    """One question with its facts.

    Attributes:
        family: One of FAMILIES, or IMPLICIT; "" if a release does not tell.
        ask: Kind of question inside the family ("quadrant", "largest", ...), see docs/reference/questions.md; "" if it is not known.
        about: Its arguments as text: structure names, a direction, a box in grammar form.
        text: The question as asked.
        options: Option texts; empty for IMPLICIT and for an open question.
        answer: Index of the right option; -1 where there are none.
        facts: One finding for each that is ``offered``, else one in all: why it is right or wrong, as a short clause
            ("it holds 120 ml"); may be empty.
        needs: Names of structures in the scene whose boxes the answer needs, in the order to look at them, at least one; () if that
            is not known.
        gold: Of an open question all that has to be named, and of each the texts that count, first the one to be said; () for all others.
        tolerance: By how much an amount may be off, in the unit in which ``gold`` gives it.
    """

    family: str
    ask: str
    about: tuple[str, ...]
    text: str
    options: tuple[str, ...]
    answer: int
    facts: tuple[str, ...]
    needs: tuple[str, ...]
    gold: tuple[tuple[str, ...], ...] = ()
    tolerance: float = 0.0

    @property
    def letter(self) -> str:
        """Letter of the right option; "" where there are none."""
        return LETTERS[self.answer] if self.answer >= 0 else ""

    @property
    def right(self) -> str:
        """Text of the right option, or the answer to an open question; "" for IMPLICIT."""
        if self.gold:
            *front, last = (texts[0] for texts in self.gold)
            return f"{', '.join(front)} and {last}" if front else last
        return self.options[self.answer] if self.answer >= 0 else ""

    @property
    def offered(self) -> tuple[str, ...]:
        """What there is to choose from: the options, or the structures that the text of an open question names for it."""
        return self.about[OFFERED[self.ask] :] if self.gold and self.ask in OFFERED else self.options
