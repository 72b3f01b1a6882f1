"""The scene: everything that question writing and annotation may know about one image or volume. It holds no pixels.

Boxes are half-open and integer. ``canonical`` boxes are (x1, y1[, z1], x2, y2[, z2]) indices of the canonical array. Directions are
patient directions where the file tells the orientation (``space == "patient"``): x to the patient's left, y to the back, z to the
head. Plain pictures have none (``space == "picture"``): x to the right edge of the picture, y downwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unireason.types import Box, Frame, Kind

Point = tuple[int, ...]
Space = Literal["patient", "picture"]


@dataclass(frozen=True, slots=True)
class Part:
    """One connected component of a structure (8- or 26-connected).

    Attributes:
        box_canonical: Tight box, canonical indices.
        box_model: The same in the model frame.
        measure: Area or volume in the scene's unit.
        voxels: Number of mask voxels.
    """

    box_canonical: tuple[int, ...]
    box_model: Box
    measure: float
    voxels: int


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure in one image or volume.

    Attributes:
        name: Readable name (``names.readable``).
        box_canonical: Tight box, canonical indices.
        box_voxel: The same in the file's own index order (i, j[, k]).
        box_model: The same in the model frame, rounded to whole pixels, at least one a side.
        voxels: Number of mask voxels.
        measure: Area or volume in the scene's unit.
        centre: Centre of mass relative to the centre of the picture, in millimetres (pixels if the spacing is unknown), along
            the scene's directions; for oblique volumes turned into the patient's axes.
        side: "left", "right" or "midline" of the picture's centre, in patient terms; "" if space is "picture".
        parts: Connected components, largest first; at most 32 are listed.
        part_count: How many there are, specks below 1% of the structure not counted.
        neighbours: Structures within 5 mm (or 5 pixels), nearest first, at most 8.
        slices: Half-open range of model slices of ``box_model``; (0, 1) for an image.
        borders: Borders of the picture that the mask touches, in the scene's directions ("left", "right", "anterior",
            "posterior", "inferior", "superior"; pictures: "left", "right", "top", "bottom"): it may be cut off there.
        contrast: Mean grey level inside minus mean grey level of a ring around it, in grey levels of 0-255 after windowing.
        elongation: Longest over shortest axis (square roots of the eigenvalues of the scatter in mm), at least 1.
        points: Two key points inside the mask in the model frame, (x, y[, z]), apart and on different parts of the structure; see
            ``extract.keypoints``.
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
