"""Phantom patients as cases with scenes: whole volumes and single axial slices."""

from __future__ import annotations

import numpy as np

from unireason.data.primer.scene import Scene, model_box, regions
from unireason.types import Box, Case, Frame, Geometry, Source

from .phantom import BY_NAME, LESION_LABEL, ORGANS, Patient, axial

NAMES = {o.label: o.name for o in ORGANS} | {LESION_LABEL: "lesion"}
SMALLEST_IMAGE, SMALLEST_VOLUME = 30, 8  # model pixels, model voxels


def _expected(patient: Patient, name: str, frame: Frame) -> Box:
    """The model box of the place where an organ lies or would lie."""
    cx, cy, cz, rx, ry, rz = patient.expected_mm[name]
    shape = patient.voxels.shape[::-1]
    n = 2 if frame.kind == "image" else 3
    spacing, sizes = np.array(patient.spacing_mm[:n]), np.array(shape[:n], float)
    centre, radii = np.array([cx, cy, cz][:n]), np.array([rx, ry, rz][:n])
    return model_box((centre - radii) / spacing + sizes / 2, (centre + radii) / spacing + sizes / 2, sizes, frame)


def _scene(patient: Patient, labels: np.ndarray, frame: Frame, smallest: int) -> Scene:
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


def volume_scene(patient: Patient, frame: Frame) -> Scene:
    """The whole volume of a patient, described in a model frame."""
    return _scene(patient, patient.labels, frame, SMALLEST_VOLUME)


def image_scene(patient: Patient, k: int, frame: Frame) -> Scene:
    """Axial slice ``k`` of a patient, described in a model frame."""
    return _scene(patient, axial(patient, k)[1], frame, SMALLEST_IMAGE)


def image_case(patient: Patient, k: int) -> Case:
    """Axial slice ``k`` as an image Case in Hounsfield units, placed in the patient."""
    pixels, _ = axial(patient, k)
    shift = np.eye(4)
    shift[2, 3] = k
    geometry = Geometry(
        shape=pixels.shape,
        source_shape=pixels.shape[::-1],
        order=(0, 1),
        flips=(False, False),
        affine_lps=patient.affine_lps @ shift,
        spacing_mm=patient.spacing_mm[:2],
    )
    return Case(pixels, "image", geometry, "CT", Source(f"{patient.id}-{k:03d}", "phantom", ""))


def busy_slices(patient: Patient, rng: np.random.Generator, count: int) -> list[int]:
    """Draws axial slices in favour of those that show many structures; at least three where there are such."""
    shown = np.array([len(np.intersect1d(np.unique(s), list(NAMES))) for s in patient.labels])
    lesion = (patient.labels == LESION_LABEL).any(axis=(1, 2))
    weight = np.where(shown >= min(3, shown.max()), shown + 2.0 * lesion, 0.0)
    pick = min(count, int(np.count_nonzero(weight)))
    return [int(k) for k in rng.choice(len(weight), size=pick, replace=False, p=weight / weight.sum())]
