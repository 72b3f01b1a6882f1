"""A phantom patient becomes a scene: every structure with its box in the model frame, its place in the patient and its size.

The scene is all that the lessons know; they never see pixels. One pass over the label map finds all boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.types import Box, Frame
from unireason.data.regions import model_box
from unireason.data.sources.phantom import BY_NAME, SLICE_NAMES, Patient, axial

SMALLEST_IMAGE, SMALLEST_VOLUME = 30, 8  # model pixels, model voxels


@dataclass(frozen=True, slots=True)
class LessonRegion:
    """One structure as seen in one image or volume."""

    name: str
    box: Box
    centre_mm: tuple[float, ...]
    measure_mm: float
    size: int
    voxels: int


@dataclass(frozen=True, slots=True)
class LessonScene:
    """One image or volume, described."""

    patient: str
    frame: Frame
    extent_mm: tuple[float, ...]
    regions: Mapping[str, LessonRegion]
    absent: Mapping[str, Box]
    unclear: tuple[str, ...] = ()
    lesion_organ: str = ""
    lesion_brighter: bool = False


def regions(
    labels: NDArray[np.integer], names: Mapping[int, str], *, frame: Frame, spacing_mm: tuple[float, ...], smallest: int
) -> tuple[dict[str, LessonRegion], tuple[str, ...]]:
    """Finds all structures of a label map in one pass."""
    found: dict[str, LessonRegion] = {}
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
        found[names[value]] = LessonRegion(
            name=names[value],
            box=model_box(low, high, sizes, frame),
            centre_mm=tuple(float(c) for c in ((low + high) / 2 - sizes / 2) * spacing),
            measure_mm=float(counts[value]) * float(np.prod(spacing)),
            size=max(1, round(2 * float(np.sqrt(model_voxels)))),
            voxels=int(counts[value]),
        )
    return found, tuple(unclear)


def volume_scene(patient: Patient, frame: Frame) -> LessonScene:
    """The whole volume of a patient, described in a model frame."""
    return _scene(patient, patient.labels, frame, SMALLEST_VOLUME)


def image_scene(patient: Patient, k: int, frame: Frame) -> LessonScene:
    """Axial slice ``k`` of a patient, described in a model frame."""
    return _scene(patient, axial(patient, k)[1], frame, SMALLEST_IMAGE)


def _scene(patient: Patient, labels: NDArray[np.uint8], frame: Frame, smallest: int) -> LessonScene:
    spacing = patient.spacing_mm[: labels.ndim]
    found, unclear = regions(labels, SLICE_NAMES, frame=frame, spacing_mm=spacing, smallest=smallest)
    absent = {n: _expected(patient, n, frame) for n in BY_NAME if n not in found and n not in unclear}
    lesion = patient.lesion if "lesion" in found else None
    return LessonScene(
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
