"""Single axial slices of phantom patients, and the names of what their labels show."""

from __future__ import annotations

import numpy as np

from unireason.types import PHANTOM, Case, Geometry, Source

from .phantom import LESION_LABEL, ORGANS, Patient, axial

NAMES = {o.label: o.name for o in ORGANS} | {LESION_LABEL: "lesion"}


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
    return Case(pixels, "image", geometry, "CT", Source(f"{patient.id}-{k:03d}", "phantom", "", PHANTOM))


def busy_slices(patient: Patient, rng: np.random.Generator, count: int) -> list[int]:
    """Draws axial slices in favour of those that show many structures; at least three where there are such."""
    shown = np.array([len(np.intersect1d(np.unique(s), list(NAMES))) for s in patient.labels])
    lesion = (patient.labels == LESION_LABEL).any(axis=(1, 2))
    weight = np.where(shown >= min(3, shown.max()), shown + 2.0 * lesion, 0.0)
    pick = min(count, int(np.count_nonzero(weight)))
    return [int(k) for k in rng.choice(len(weight), size=pick, replace=False, p=weight / weight.sum())]
