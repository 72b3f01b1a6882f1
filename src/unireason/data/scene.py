"""The scene: everything that question writing and annotation may know about one image or volume. It holds no pixels.

Boxes are half-open and integer. ``canonical`` boxes are (x1, y1[, z1], x2, y2[, z2]) indices of the canonical array. Directions are
patient directions where the file tells the orientation (``space == "patient"``): x to the patient's left, y to the back, z to the
head. Plain pictures have none (``space == "picture"``): x to the right edge of the picture, y downwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unireason.core.types import Box, Frame, Kind

Point = tuple[int, ...]
Space = Literal["patient", "picture"]


@dataclass(frozen=True, slots=True)
class Part:
    """One connected component of a structure (8- or 26-connected)."""

    box_canonical: tuple[int, ...]
    box_model: Box
    measure: float
    voxels: int


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure in one image or volume."""

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
        described: False if it is not known what the case shows: there are no structures then, and nothing is called absent or unclear.
        scale: The line by which the prompt tells how large pixels are; "" if it does not, and then no text may measure in millimetres.
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
    scale: str = ""


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
        options: Option texts; empty for IMPLICIT.
        answer: Index of the right option; -1 for IMPLICIT.
        facts: One finding an option: why it is right or wrong, as a short clause ("it holds 120 ml"); may be empty.
        needs: Names of structures in the scene whose boxes the answer needs, in the order to look at them, at least one; () if that
            is not known.
    """

    family: str
    ask: str
    about: tuple[str, ...]
    text: str
    options: tuple[str, ...]
    answer: int
    facts: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def letter(self) -> str:
        """Letter of the right option; "" for IMPLICIT."""
        return LETTERS[self.answer] if self.answer >= 0 else ""

    @property
    def right(self) -> str:
        """Text of the right option; "" for IMPLICIT."""
        return self.options[self.answer] if self.answer >= 0 else ""


# --- Structure names: readable, sided or not, lesion or organ, and the group they belong to.

_LESION = re.compile(
    r"\b(lesions?|tumou?rs?|cancer|carcinoma|nodules?|mass(es)?|cysts?|metasta\w+|o?edema|infarct\w*|h(a)?emorrhage\w*|polyps?|melanoma|"
    r"plaques?|effusion|pneumothorax|fractures?|aneurysms?|stones?|neoplasm\w*|infection|consolidation|gtv|necrosis|necrotic\w*|"
    r"enhancing)\b"
)
SIDES = ("left", "right")

GROUPS: tuple[tuple[str, str], ...] = (
    (r"lung|trachea|bronch|airway|pleura", "thorax"),
    (
        r"heart|atri(um|al)|ventric(le|ular)|myocardi|aort|vein|vena|arter|vessel|portal|pulmonary|cava|carotid",
        "heart and vessels",
    ),
    (r"brain|cerebr|hippocamp|thalam|putamen|caudate|white matter|gr[ae]y matter|amygdala|pallid|skull|ventricle", "head"),
    (r"liver|spleen|pancrea|stomach|gall ?bladder|duoden|bowel|colon|intestin|o?esophag|rectum", "abdomen"),
    (r"kidney|adrenal|bladder|prostat|uter|ureter|ovar|semina|urethra", "pelvis and urinary tract"),
    (r"vertebra|spine|rib|bone|femur|hip|sacrum|scapula|clavic|humer|stern|skull|tibia|cartilage|disc|mandib", "skeleton"),
    (r"muscle|glute|iliopsoas|autochthon|fat", "muscle and fat"),
    (r"eye|optic|retina|macula|fovea|disc|cup|lens|vitre", "eye"),
    (r"skin|naev|nev(us|i)|mole", "skin"),
    (r"breast|thyroid|node|gland|parotid", "glands and nodes"),
)


def readable(raw: str) -> str:
    """One spelling: lower case, blanks, the side in front ("kidney_left" and "Kidney, Left" become "left kidney").

    Args:
        raw: Name as a data set spells it; "" gives "".
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raw)
    words = re.sub(r"[_\-,;/()\s]+", " ", text).strip().lower().split()
    for side in SIDES:
        if side in words:
            rest = [w for w in words if w != side]
            return " ".join([side, *rest]) if rest else side
    for short, side in (("l", "left"), ("r", "right")):
        if len(words) > 1 and words[-1] == short:
            return " ".join([side, *words[:-1]])
    return " ".join(words)


def side_of(name: str) -> str:
    """ "left", "right", or "" if the name tells no side."""
    first = name.split(" ", 1)[0]
    return first if first in SIDES else ""


def base(name: str) -> str:
    """The name without its side."""
    return name.split(" ", 1)[1] if side_of(name) and " " in name else name


def counterpart(name: str) -> str:
    """The same structure on the other side; "" if the name tells no side."""
    side = side_of(name)
    return f"{'right' if side == 'left' else 'left'} {base(name)}" if side else ""


def is_lesion(name: str) -> bool:
    """True for the names of lesions, so that questions about lesions may be asked."""
    return bool(_LESION.search(name))


def group(name: str) -> str:
    """The super-category of a structure ("abdomen", "skeleton", "lesion", "other")."""
    if is_lesion(name):
        return "lesion"
    return next((title for pattern, title in GROUPS if re.search(pattern, name)), "other")
