"""A phantom patient becomes a scene: every structure with its box in the model frame, its place in the patient and its size.

The scene is all that the lessons know; they never see pixels. One pass over the label map finds all boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.data.extract.boxes import model_box
from unireason.data.sources.phantom import BY_NAME, Patient, axial
from unireason.data.sources.phantom_slices import NAMES
from unireason.types import Box, Frame

SMALLEST_IMAGE, SMALLEST_VOLUME = 30, 8  # model pixels, model voxels


@dataclass(frozen=True, slots=True)
class Region:
    """One structure as seen in one image or volume.

    Attributes:
        name: Structure name.
        box: Tight integer box in the model frame.
        centre_mm: Centre of the canonical box relative to the centre of the picture, along patient left, back (and head).
        measure_mm: Area in mm2 (image) or volume in mm3 (volume) of the mask.
        size: Twice the square root of the model pixels (image) or model voxels (volume), rounded: a number to compare by.
        voxels: Number of mask voxels in the source.
    """

    name: str
    box: Box
    centre_mm: tuple[float, ...]
    measure_mm: float
    size: int
    voxels: int


@dataclass(frozen=True, slots=True)
class Scene:
    """One image or volume, described.

    Attributes:
        patient: Patient identifier.
        frame: The model frame of all boxes.
        extent_mm: Full size of the picture along x, y (and z).
        regions: Structures present, by name; too small ones are in ``unclear``.
        absent: Annotated structures without a single voxel, with the box where they would lie.
        unclear: Names of structures too small to ask about.
        lesion_organ: The organ that holds the lesion, "" if none.
        lesion_brighter: Contrast of the lesion against its organ.
    """

    patient: str
    frame: Frame
    extent_mm: tuple[float, ...]
    regions: Mapping[str, Region]
    absent: Mapping[str, Box]
    unclear: tuple[str, ...] = ()
    lesion_organ: str = ""
    lesion_brighter: bool = False


def regions(
    labels: NDArray[np.integer], names: Mapping[int, str], *, frame: Frame, spacing_mm: tuple[float, ...], smallest: int
) -> tuple[dict[str, Region], tuple[str, ...]]:
    """Finds all structures of a label map in one pass.

    Args:
        labels: (Z, Y, X) or (Y, X) integer label map, canonical axes; 0 is background.
        names: Label value to structure name; other values are ignored.
        frame: Model frame of the boxes.
        spacing_mm: Voxel size along x, y (, z).
        smallest: Structures below this many model pixels (image) or model voxels (volume) are only listed as unclear.

    Returns:
        Structures by name, and the names of those too small. Both empty for an empty map.
    """
    found: dict[str, Region] = {}
    unclear: list[str] = []
    sizes = np.array(labels.shape[::-1], float)
    spacing = np.array(spacing_mm[: labels.ndim], float)
    grid = np.array([frame.width, frame.height, frame.depth][: labels.ndim], float)
    counts = np.bincount(labels.ravel())
    for value, block in enumerate(ndimage.find_objects(labels), start=1):
        if block is None or value not in names:
            continue
        low = np.array([s.start for s in block[::-1]], float)
        high = np.array([s.stop for s in block[::-1]], float)
        model_voxels = float(counts[value]) * float(np.prod(grid / sizes))
        if model_voxels < smallest:
            unclear.append(names[value])
            continue
        found[names[value]] = Region(
            name=names[value],
            box=model_box(low, high, sizes, frame),
            centre_mm=tuple(float(c) for c in ((low + high) / 2 - sizes / 2) * spacing),
            measure_mm=float(counts[value]) * float(np.prod(spacing)),
            size=max(1, round(2 * float(np.sqrt(model_voxels)))),
            voxels=int(counts[value]),
        )
    return found, tuple(unclear)


def volume_scene(patient: Patient, frame: Frame) -> Scene:
    """The whole volume of a patient, described in a model frame."""
    return _scene(patient, patient.labels, frame, SMALLEST_VOLUME)


def image_scene(patient: Patient, k: int, frame: Frame) -> Scene:
    """Axial slice ``k`` of a patient, described in a model frame."""
    return _scene(patient, axial(patient, k)[1], frame, SMALLEST_IMAGE)


def _scene(patient: Patient, labels: NDArray[np.uint8], frame: Frame, smallest: int) -> Scene:
    spacing = patient.spacing_mm[: labels.ndim]
    found, unclear = regions(labels, NAMES, frame=frame, spacing_mm=spacing, smallest=smallest)
    absent = {n: _expected(patient, n, frame) for n in BY_NAME if n not in found and n not in unclear}
    lesion = patient.lesion if "lesion" in found else None
    return Scene(
        patient=patient.id,
        frame=frame,
        extent_mm=tuple(n * s for n, s in zip(labels.shape[::-1], spacing, strict=True)),
        regions=found,
        absent=absent,
        unclear=unclear,
        lesion_organ=lesion.organ if lesion and lesion.organ in found else "",
        lesion_brighter=bool(lesion and lesion.brighter),
    )


def _expected(patient: Patient, name: str, frame: Frame) -> Box:
    """The model box of the place where an organ lies or would lie."""
    cx, cy, cz, rx, ry, rz = patient.expected_mm[name]
    shape = patient.voxels.shape[::-1]
    n = 2 if frame.kind == "image" else 3
    spacing, sizes = np.array(patient.spacing_mm[:n]), np.array(shape[:n], float)
    centre, radii = np.array([cx, cy, cz][:n]), np.array([rx, ry, rz][:n])
    return model_box((centre - radii) / spacing + sizes / 2, (centre + radii) / spacing + sizes / 2, sizes, frame)
