"""Masks written to files lie voxel on voxel over their sources, for other programs too."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imaging_samples import patch, ramp, write_dicom, write_nifti, write_series
from PIL import Image
from scipy.spatial.transform import Rotation

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Case
from unireason.imaging import read
from unireason.imaging.geometry import to_source, voxel_to_world, world_to_voxel
from unireason.imaging.write_masks import write_mask

PLACING = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def affine_of(turn=(20.0, -15.0, 100.0), steps=(0.7, -0.9, 2.5), origin=(-12.3, 45.6, 7.8)):
    """Oblique, flipped and anisotropic unless told otherwise."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * steps
    affine[:3, 3] = origin
    return affine


def scattered(case: Case, seed: int = 0):
    """A mask without any symmetry."""
    return np.random.default_rng(seed).random(case.geometry.shape) < 0.3


def itk_points(image: Any) -> set[tuple[float, ...]]:
    """Where SimpleITK sees the voxels that are set, LPS millimetres rounded to a hundredth."""
    stored = SimpleITK.GetArrayFromImage(image)
    places = (image.TransformIndexToPhysicalPoint([int(n) for n in reversed(p)]) for p in np.argwhere(stored))
    return {tuple(round(v, 2) + 0.0 for v in p) for p in places}


def case_points(case: Case, mask: Any) -> set[tuple[float, ...]]:
    """Where the case's own geometry sees them."""
    stored = to_source(mask, case.geometry)
    places = (voxel_to_world([n + 0.5 for n in reversed(p)], case.geometry) for p in np.argwhere(stored).tolist())
    return {tuple(round(v, 2) + 0.0 for v in p) for p in places}


def nibabel_points(path: Path) -> set[tuple[float, ...]]:
    image = nibabel.load(path)
    places = nibabel.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj))) * [-1, -1, 1]
    return {tuple(round(float(v), 2) + 0.0 for v in p) for p in places}


def write_itk(path: Path, array_zyx: Any, affine_lps: Any) -> Path:
    image = SimpleITK.GetImageFromArray(array_zyx)
    steps = np.linalg.norm(affine_lps[:3, :3], axis=0)
    image.SetSpacing(steps.tolist())
    image.SetDirection((affine_lps[:3, :3] / steps).ravel().tolist())
    image.SetOrigin(affine_lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 4), (0, 0)])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_nifti_keeps_the_header_word_for_word(tmp_path, codes, ending):
    path = write_nifti(tmp_path / "scan.nii.gz", ramp(), affine_of(), codes)
    case = read(path)
    mask = scattered(case)
    written = write_mask(tmp_path / f"mask{ending}", mask, case)
    source, copy = nibabel.load(path), nibabel.load(written)
    assert all(np.array_equal(source.header[key], copy.header[key]) for key in PLACING)
    assert np.array_equal(source.header["dim"], copy.header["dim"])
    assert np.array_equal(source.affine, copy.affine)
    assert copy.get_data_dtype() == np.uint8
    # All values of the source differ, so equal sets are equal places.
    assert set(source.get_fdata()[np.asarray(copy.dataobj) == 1]) == set(case.pixels[mask].tolist())
    one, other = SimpleITK.ReadImage(str(path)), SimpleITK.ReadImage(str(written))
    assert (one.GetSize(), one.GetSpacing(), one.GetOrigin(), one.GetDirection()) == (
        *(other.GetSize(), other.GetSpacing()),
        *(other.GetOrigin(), other.GetDirection()),
    )
    assert np.array_equal(read(written).pixels, mask)


def test_nifti_with_both_forms_different(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", ramp(), affine_of(), (1, 1))
    image = nibabel.load(path)
    image.set_qform(affine_of(turn=(0, 0, 30), origin=(1, 2, 3)), 1)
    image.set_sform(affine_of(), 4)
    nibabel.save(image, tmp_path / "two.nii")
    case = read(tmp_path / "two.nii")
    written = nibabel.load(write_mask(tmp_path / "mask.nii.gz", scattered(case), case))
    assert np.array_equal(written.header.get_qform(), image.header.get_qform())
    assert np.array_equal(written.header.get_sform(), image.header.get_sform())


def test_nifti_2_micrometres_big_endian_and_flat(tmp_path):
    image = nibabel.Nifti2Image(ramp().T, affine_of())
    image.header.set_xyzt_units("micron", "sec")
    nibabel.save(image, tmp_path / "two.nii")
    big = nibabel.Nifti1Image(ramp().T, affine_of(), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, tmp_path / "big.nii")
    nibabel.save(nibabel.Nifti1Image(ramp((1, 8, 10))[0].T, affine_of()), tmp_path / "flat.nii")
    for name in ("two", "big", "flat"):
        source = nibabel.load(tmp_path / f"{name}.nii")
        case = read(tmp_path / f"{name}.nii")
        mask = scattered(case)
        written = nibabel.load(write_mask(tmp_path / f"{name}-mask.nii.gz", mask, case))
        assert written.shape == source.shape
        assert all(np.array_equal(source.header[key], written.header[key]) for key in PLACING)
        assert isinstance(written, nibabel.Nifti2Image) == (name == "two")
        values = np.asarray(source.dataobj)[np.asarray(written.dataobj) > 0]
        assert set(values.tolist()) == set(case.pixels[mask].tolist())


def test_one_frame_of_four_dimensional_nifti(tmp_path):
    data = np.stack([ramp().T, ramp().T + 1000], axis=-1)
    nibabel.save(nibabel.Nifti1Image(data, affine_of()), tmp_path / "scan.nii.gz")
    case = read(tmp_path / "scan.nii.gz", frame=1)
    mask = scattered(case)
    written = nibabel.load(write_mask(tmp_path / "mask.nii.gz", mask, case))
    assert written.shape == data.shape[:3]
    assert set(data[..., 1][np.asarray(written.dataobj) > 0].tolist()) == set(case.pixels[mask].tolist())


def test_sheared_nifti(tmp_path):
    affine = affine_of()
    affine[:3, 2] += 0.4 * affine[:3, 0]
    path = write_nifti(tmp_path / "scan.nii.gz", ramp(), affine)
    case = read(path)
    mask = scattered(case)
    written = write_mask(tmp_path / "mask.nii.gz", mask, case)
    assert np.array_equal(nibabel.load(written).affine, nibabel.load(path).affine)
    assert nibabel_points(written) == case_points(case, mask)
    # The same from a file that is not NIfTI: no qform, because it cannot say a shear.
    other = write_mask(tmp_path / "other.nii.gz", mask, replace(case, geometry=replace(case.geometry, header={})))
    assert nibabel_points(other) == case_points(case, mask)
    assert int(nibabel.load(other).header["qform_code"]) == 0
    for ending in (".nrrd", ".mha"):
        assert itk_points(SimpleITK.ReadImage(str(write_mask(tmp_path / f"mask{ending}", mask, case)))) == case_points(case, mask)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", ["nrrd", "mha", "dicom"])
def test_other_sources_in_every_format(tmp_path, kind, ending):
    affine = affine_of()
    if kind == "dicom":
        turn = Rotation.from_euler("xyz", (20, -15, 100), degrees=True).as_matrix()
        path = write_series(
            tmp_path / "series", ramp(), tuple(turn[:, 2] * -2.5), ImageOrientationPatient=[*turn[:, 0], *turn[:, 1]]
        )
    else:
        path = write_itk(tmp_path / f"scan.{kind}", ramp(), affine)
    case = read(path)
    mask = scattered(case)
    written = write_mask(tmp_path / f"mask{ending}", mask, case, name="left kidney")
    image = SimpleITK.ReadImage(str(written))
    assert image.GetPixelID() == SimpleITK.sitkUInt8
    assert set(np.unique(SimpleITK.GetArrayViewFromImage(image))) == {0, 1}
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), to_source(mask, case.geometry))
    assert itk_points(image) == case_points(case, mask)
    tolerance = 1e-12 if ending in (".nrrd", ".mha") else 1e-5
    again = read(written)
    assert np.array_equal(again.pixels, mask)
    assert np.allclose(again.geometry.affine_lps, case.geometry.affine_lps, rtol=0, atol=tolerance)
    if ending.startswith(".nii"):
        assert nibabel_points(written) == case_points(case, mask)
        header = nibabel.load(written).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
        assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-5)


AXES = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.sampled_from(AXES),
    tilt=st.tuples(*[st.floats(-40, 40)] * 3),
    steps=st.tuples(*[st.floats(0.2, 5)] * 3),
    ending=st.sampled_from([".nii.gz", ".nrrd", ".mha"]),
    seed=st.integers(0, 2**31),
)
def test_any_grid_comes_back(tmp_path, axes, tilt, steps, ending, seed):
    order, signs = axes
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()[:, order] * np.array(signs) * steps
    affine[:3, 3] = np.random.default_rng(seed).uniform(-200, 200, 3)
    case = read(write_itk(tmp_path / "scan.nrrd", ramp((3, 4, 5)), affine))
    mask = scattered(case, seed)
    written = write_mask(tmp_path / f"mask{ending}", mask, case)
    image = SimpleITK.ReadImage(str(written))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), to_source(mask, case.geometry))
    for p in np.argwhere(to_source(mask, case.geometry)).tolist()[:5]:
        index = [int(n) for n in reversed(p)]
        assert np.allclose(
            image.TransformIndexToPhysicalPoint(index), voxel_to_world([n + 0.5 for n in index], case.geometry), atol=1e-3
        )


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yxz"])
@pytest.mark.parametrize("spacing_mm", [None, (0.5, 0.75, 3.0)])
def test_array_without_a_place(tmp_path, axes, spacing_mm):
    np.save(tmp_path / "scan.npy", ramp())
    case = read(tmp_path / "scan.npy", axes=axes, spacing_mm=spacing_mm)
    mask = scattered(case)
    steps = dict(zip("xyz", spacing_mm or (1.0, 1.0, 1.0), strict=True))
    for ending in (".nii.gz", ".nrrd", ".mha"):
        image = SimpleITK.ReadImage(str(write_mask(tmp_path / f"mask{ending}", mask, case)))
        stored = SimpleITK.GetArrayFromImage(image)
        assert set(ramp()[stored > 0].tolist()) == set(case.pixels[mask].tolist())
        assert image.GetOrigin() == (0.0, 0.0, 0.0)
        assert image.GetDirection() == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
        assert image.GetSpacing() == pytest.approx([steps[letter] for letter in reversed(axes)])
    header = nibabel.load(tmp_path / "mask.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    assert header.get_xyzt_units()[0] == ("mm" if spacing_mm else "unknown")


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_flat_sources_keep_their_plane(tmp_path, ending):
    image = SimpleITK.GetImageFromArray(ramp((8, 10)))
    image.SetSpacing((0.5, 0.25))
    image.SetOrigin((-3.5, 12.25))
    image.SetDirection((0.0, -1.0, 1.0, 0.0))
    SimpleITK.WriteImage(image, str(tmp_path / f"scan{ending}"))
    case = read(tmp_path / f"scan{ending}")
    mask = scattered(case)
    copy = SimpleITK.ReadImage(str(write_mask(tmp_path / f"mask{ending}", mask, case)))
    assert (copy.GetSpacing(), copy.GetOrigin(), copy.GetDirection()) == (
        *(image.GetSpacing(), image.GetOrigin()),
        image.GetDirection(),
    )
    assert np.array_equal(SimpleITK.GetArrayFromImage(copy), mask)


def test_single_dicom_image_with_a_place(tmp_path):
    turn = Rotation.from_euler("xyz", (20, -15, 100), degrees=True).as_matrix()
    path = write_dicom(
        tmp_path / "one.dcm",
        ramp((8, 10)),
        ImagePositionPatient=[-5.0, 6.0, 7.0],
        ImageOrientationPatient=[*turn[:, 0], *turn[:, 1]],
    )
    case = read(path)
    mask = scattered(case)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        image = SimpleITK.ReadImage(str(write_mask(tmp_path / f"mask{ending}", mask, case)))
        assert image.GetSize() == (10, 8, 1)
        assert itk_points(image) == case_points(case, mask)
        for point in itk_points(image):
            assert world_to_voxel(point, case.geometry)


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_png_lies_over_the_picture_as_shown(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(ramp((8, 10)).astype(np.uint8)).save(tmp_path / "photo.png", exif=exif)
    case = read(tmp_path / "photo.png")
    mask = scattered(case)
    written = np.asarray(Image.open(write_mask(tmp_path / "mask.png", mask, case)))
    assert written.dtype == np.uint8
    assert np.array_equal(written, np.where(mask, 255, 0))
    # NIfTI holds the pixels as they are stored.
    stored = np.asarray(nibabel.load(write_mask(tmp_path / "mask.nii.gz", mask, case)).dataobj)[..., 0].T
    assert np.array_equal(stored, to_source(mask, case.geometry))


def test_empty_mask_and_the_same_bytes_twice(tmp_path):
    case = read(write_nifti(tmp_path / "scan.nii.gz", ramp(), affine_of()))
    none = np.zeros(case.geometry.shape, bool)
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        first = write_mask(tmp_path / f"a{ending}", none, case).read_bytes()
        assert first == write_mask(tmp_path / f"b{ending}", none, case).read_bytes()
        assert not read(tmp_path / f"a{ending}").pixels.any()


def test_nothing_about_the_patient_is_copied(tmp_path):
    path = patch(write_nifti(tmp_path / "scan.nii", ramp(), affine_of()), 148, "20s", b"DOE^JOHN 1950-01-01")
    case = read(path)
    assert b"DOE" in path.read_bytes()
    assert b"DOE" not in write_mask(tmp_path / "mask.nii", scattered(case), case).read_bytes()


def test_name_is_told_and_cut(tmp_path):
    case = read(write_nifti(tmp_path / "scan.nii", ramp(), affine_of()))
    mask = scattered(case)
    written = nibabel.load(write_mask(tmp_path / "mask.nii", mask, case, name="left kidney " + "ä" * 60))
    told = bytes(written.header["descrip"].item()).decode()
    assert told.startswith("unireason mask: left kidney ää")
    assert len(told.encode()) <= 79
    image = SimpleITK.ReadImage(str(write_mask(tmp_path / "mask.seg.nrrd", mask, case, name="left\nkidney")))
    assert image.GetMetaData("Segment0_Name") == "left kidney"
    assert image.GetMetaData("Segment0_LabelValue") == "1"


@pytest.mark.parametrize("name", ["mask.png", "mask.nii.bz2", "mask", "mask.dcm", "nii"])
def test_unknown_endings(tmp_path, name):
    case = read(write_nifti(tmp_path / "scan.nii", ramp(), affine_of()))
    with pytest.raises(FormatError, match="a volume"):
        write_mask(tmp_path / name, scattered(case), case)
    assert not (tmp_path / name).exists()


def test_masks_that_do_not_fit(tmp_path):
    case = read(write_nifti(tmp_path / "scan.nii", ramp(), affine_of()))
    mask = scattered(case)
    for wrong in (mask.astype(np.uint8), to_source(mask, case.geometry), mask[0]):
        with pytest.raises(FormatError, match="a mask of type"):
            write_mask(tmp_path / "mask.nii", wrong, case)
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"):
        write_mask(tmp_path / "file" / "mask.nii", mask, case)
