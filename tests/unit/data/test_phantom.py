from __future__ import annotations

import numpy as np
import pytest

from unireason.data.sources.phantom import BY_NAME, LESION_LABEL, ORGANS, SPINE_LABEL, TRAINING_STREAM, generate, radiograph


@pytest.fixture(scope="module")
def cohort():
    return [generate(11, i) for i in range(24)]


def test_same_numbers_same_patient():
    a, b = generate(5, 3), generate(5, 3)
    assert np.array_equal(a.voxels, b.voxels)
    assert np.array_equal(a.labels, b.labels)
    assert not np.array_equal(generate(5, 4).voxels[:20, :90, :90], a.voxels[:20, :90, :90])


def test_training_patients_are_never_a_users():
    mine, theirs = generate(5, 3), generate(5, 3, stream=TRAINING_STREAM)
    assert mine.id != theirs.id
    assert mine.voxels.shape != theirs.voxels.shape or not np.array_equal(mine.voxels, theirs.voxels)


def test_intensities_follow_the_organs(cohort):
    for patient in cohort:
        for organ in ORGANS:
            inside = patient.voxels[patient.labels == organ.label]
            if inside.size > 50:
                assert abs(float(inside.mean()) - organ.hu) < 60, organ.name
        assert patient.voxels[patient.labels == SPINE_LABEL].mean() > 400


def test_right_organs_lie_right_unless_mirrored(cohort):
    """LPS: x grows to the patient's left, so a liver in its usual place has a small x."""
    for patient in cohort:
        where = np.argwhere(patient.labels == BY_NAME["liver"].label)
        if len(where) > 200:
            usual = where[:, 2].mean() < patient.labels.shape[2] / 2
            assert usual != patient.mirrored
        kidney = np.argwhere(patient.labels == BY_NAME["left kidney"].label)
        if len(kidney) > 50:
            assert kidney[:, 2].mean() > patient.labels.shape[2] / 2


def test_lesions_lie_inside_their_organ(cohort):
    carriers = [p for p in cohort if p.lesion]
    assert len(carriers) > len(cohort) // 2
    for patient in carriers:
        mask = patient.labels == LESION_LABEL
        inside = float(patient.voxels[mask].mean())
        around = BY_NAME[patient.lesion.organ].hu
        assert (inside > around) == patient.lesion.brighter


def test_geometry_is_anisotropic_and_sometimes_oblique(cohort):
    for patient in cohort:
        assert np.allclose(np.linalg.norm(patient.affine_lps[:3, :3], axis=0), patient.spacing_mm)
        assert patient.spacing_mm[2] > 1.5 * patient.spacing_mm[0]
    oblique = [np.abs(p.affine_lps[:3, :3] - np.diag(np.diag(p.affine_lps[:3, :3]))).max() > 1e-6 for p in cohort]
    assert any(oblique)
    assert not all(oblique)


def test_radiograph_shows_lungs_dark_and_spine_bright(cohort):
    film, labels = radiograph(cohort[0])
    assert film.shape == labels.shape
    lungs = np.isin(labels, (1, 2))
    middle = film[:, film.shape[1] // 2 - 2 : film.shape[1] // 2 + 2]
    assert lungs.any()
    assert film[lungs].mean() < middle.mean()
