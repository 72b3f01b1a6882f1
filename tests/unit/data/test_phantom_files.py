from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK

import unireason
from unireason.data.sources.phantom import AXIS_CODES, generate, write_patients
from unireason.imaging import geometry


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("patients")
    count = {"nifti": len(AXIS_CODES), "dicom": 2, "png": 2}
    return {form: write_patients(root / form, count=n, seed=9, form=form) for form, n in count.items()}


def test_nifti_patients_read_back_in_canonical_order(written):
    for index, folder in enumerate(written["nifti"]):
        patient, case = generate(9, index), unireason.read(folder / "image.nii.gz")
        assert np.array_equal(case.pixels, patient.voxels)
        centre = np.array(patient.voxels.shape[::-1]) / 2
        expected = (patient.affine_lps @ [*(centre - 0.5), 1.0])[:3]
        voxel = geometry.canonical_to_voxel(tuple(centre), case.geometry)
        assert np.allclose(geometry.voxel_to_world(voxel, case.geometry), expected, atol=1e-3)


@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_boxes_are_in_the_files_own_index_order(written, form):
    for folder in written[form]:
        record = json.loads((folder / "structures.json").read_text())
        labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "labels.nii.gz"))).transpose()
        assert record["structures"]
        for entry in [*record["structures"], *record["lesions"]]:
            where = np.argwhere(labels == entry["label"])
            assert entry["box_voxel"] == [*where.min(axis=0).tolist(), *(where.max(axis=0) + 1).tolist()]
            spacing = SimpleITK.ReadImage(str(folder / "labels.nii.gz")).GetSpacing()
            assert np.isclose(entry["volume_mm3"], len(where) * np.prod(spacing), rtol=1e-4)


def test_dicom_series_equals_the_patient(written):
    for index, folder in enumerate(written["dicom"]):
        patient, case = generate(9, index), unireason.read(folder / "dicom")
        assert case.modality == "CT"
        assert np.array_equal(case.pixels, patient.voxels)
        assert np.allclose(case.geometry.affine_lps, patient.affine_lps, atol=1e-4)


def test_png_boxes(written):
    for folder in written["png"]:
        record = json.loads((folder / "structures.json").read_text())
        labels = unireason.read(folder / "labels.png").pixels
        for entry in record["structures"]:
            y, x = np.nonzero(labels == entry["label"])
            assert entry["box_voxel"] == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_existing_folders_are_left_alone_and_partial_ones_replaced(tmp_path):
    (tmp_path / ".phantom-1-00000.partial").mkdir()
    first = write_patients(tmp_path, count=1, seed=1, form="png")[0]
    stamp = (first / "image.png").stat().st_mtime_ns
    write_patients(tmp_path, count=1, seed=1, form="png")
    assert (first / "image.png").stat().st_mtime_ns == stamp
    assert [p.name for p in tmp_path.iterdir()] == ["phantom-1-00000"]


@pytest.mark.parametrize("wrong", [{"count": 0}, {"form": "jpeg"}, {"seed": -1}])
def test_bad_requests(tmp_path, wrong):
    with pytest.raises(unireason.UniReasonError):
        write_patients(tmp_path, **({"count": 1, "seed": 0, "form": "png"} | wrong))
