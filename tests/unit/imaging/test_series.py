import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from imaging_samples import ramp, write_dicom, write_enhanced, write_series

import unireason.imaging as imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError, SizeLimitError
from unireason.imaging.geometry import canonical_to_voxel, voxel_to_world

VOLUME = ramp((6, 4, 5), np.uint16)


def position(folder: Path, k: int) -> Path:
    """The file of slice ``k`` of `write_series`."""
    return folder / f"{(k * 7 + 3) % 101:03d}.dcm"


def test_sorted_by_position_not_by_name(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME, RescaleSlope=1, RescaleIntercept=-10, WindowCenter=1, WindowWidth=2)
    case = imaging.read(folder)
    assert np.array_equal(case.pixels, VOLUME.astype(int) - 10)
    assert (case.kind, case.modality, case.source.format, case.source.name) == ("volume", "CT", "dicom-series", "s")
    assert case.geometry.spacing_mm == (0.25, 0.5, 2.0)
    assert (case.window, case.notes) == ((1.0, 2.0), ())


def test_hash_depends_on_content_alone(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    first = imaging.read(folder).source.sha256
    for n, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"z{n}.dcm")
    assert imaging.read(folder).source.sha256 == first
    write_dicom(next(folder.iterdir()), VOLUME[0] + 1, ImagePositionPatient=[0, 0, 12])
    with pytest.raises(GeometryError):
        imaging.read(folder)


def test_sagittal_series_becomes_canonical(tmp_path: Path) -> None:
    # Columns run to the back, rows to the feet, slices from left to right.
    turn = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    case = imaging.read(write_series(tmp_path / "s", VOLUME, (-2, 0, 0), **turn))
    # normal = y x (-z) = -x, so slices sorted along it go to the right: x is flipped, z (rows) is flipped.
    assert (case.geometry.order, case.geometry.flips, case.geometry.shape) == ((2, 0, 1), (True, False, True), (4, 5, 6))
    assert np.array_equal(case.pixels, VOLUME.transpose(1, 2, 0)[::-1, :, ::-1])
    x, y, z = 5, 3, 3  # slice 0, column 3, row 0
    assert voxel_to_world(canonical_to_voxel((x + 0.5, y + 0.5, z + 0.5), case.geometry), case.geometry) == (0.0, 0.75, 0.0)


def test_missing_slice(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    position(folder, 3).unlink()
    with pytest.raises(GeometryError, match=r"slices are missing: 4 mm between .* where 2 mm is usual \(about 1 missing"):
        imaging.read(folder)


def test_duplicate_slice(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    shutil.copy(position(folder, 2), folder / "copy.dcm")
    with pytest.raises(GeometryError, match=r"1 slices lie where another one lies.*copy.dcm"):
        imaging.read(folder)


def test_uneven_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    write_dicom(position(folder, 3), VOLUME[3], ImagePositionPatient=[0, 0, 6.6])
    with pytest.raises(GeometryError, match="uneven"):
        imaging.read(folder)
    write_dicom(position(folder, 3), VOLUME[3], ImagePositionPatient=[0, 0, 6.05])  # rounding of positions is harmless
    assert imaging.read(folder).geometry.spacing_mm[2] == pytest.approx(2.0)


def test_gantry_tilt(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME, (0, 0.35, 1.97))
    with pytest.raises(GeometryError, match=r"10 degrees off their normal \(gantry tilt\).*dcm2niix"):
        imaging.read(folder)


def test_oblique_series_is_not_tilt(tmp_path: Path) -> None:
    c, s = np.cos(0.2), np.sin(0.2)
    turn = {"ImageOrientationPatient": [1, 0, 0, 0, c, s]}
    case = imaging.read(write_series(tmp_path / "s", VOLUME, (0, -2 * s, 2 * c), **turn))
    assert case.geometry.spacing_mm == pytest.approx((0.25, 0.5, 2.0))


def test_monochrome1_series(tmp_path: Path) -> None:
    case = imaging.read(write_series(tmp_path / "s", VOLUME, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(case.pixels, 65535 - VOLUME.astype(int))
    assert "MONOCHROME1" in case.notes[0]


def test_several_series_must_be_chosen(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    write_series(folder / "other", VOLUME + 100, SeriesInstanceUID="1.2.4", SeriesDescription="later")
    with pytest.raises(GeometryError, match=r"2 volumes.*0: CT, .*UID 1.2.3, 6 slices.*; 1: .*UID 1.2.4, 6 sl.*series=0") as told:
        imaging.read(folder)
    assert "later" not in str(told.value)  # free text, which may name the patient
    assert np.array_equal(imaging.read(folder, series="1.2.4").pixels, VOLUME + 100)
    assert np.array_equal(imaging.read(folder, series=0).pixels, VOLUME)
    for wrong in ("1.2.5", 2, -1):
        with pytest.raises(FormatError, match="is not in"):
            imaging.read(folder, series=wrong)


def test_localizer_of_another_orientation_is_told_apart(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    write_dicom(folder / "zz.dcm", VOLUME[0], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    with pytest.raises(GeometryError, match=r"2 volumes .*axial.*sagittal"):
        imaging.read(folder)
    assert imaging.read(folder, series=0).pixels.shape == VOLUME.shape


def test_acquisitions_at_the_same_places_are_told_apart(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME, AcquisitionNumber=1)
    write_series(folder / "b", VOLUME + 50, AcquisitionNumber=2)
    assert np.array_equal(imaging.read(folder, series=1).pixels, VOLUME + 50)


def test_other_files_are_ignored_with_a_note(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    (folder / "README").write_text("no DICOM at all" * 20)
    (folder / "note.txt").write_text("x" * 300)
    (folder / "tiny").write_bytes(b"a")
    assert imaging.read(folder).notes == ("3 files that are no DICOM images were ignored",)


def test_damaged_file_is_an_error_not_a_gap(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    path = position(folder, 2)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ImageReadError, match=f"'{path.name}'"):
        imaging.read(folder)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no DICOM image"):
        imaging.read(tmp_path)
    (tmp_path / "a.txt").write_text("x" * 500)
    with pytest.raises(ImageReadError, match="no DICOM image"):
        imaging.read(tmp_path)


def test_positions_are_needed(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME[:2])
    for n in (0, 1):
        write_dicom(
            folder / f"{n}x.dcm", VOLUME[n], ImageOrientationPatient=None, ImagePositionPatient=None, SeriesInstanceUID="9"
        )
    with pytest.raises(GeometryError, match="2 of 2 files have no position"):
        imaging.read(folder, series="9")


def test_a_single_file_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_dicom(tmp_path / "a" / "1.dcm", VOLUME[0])
    assert imaging.read(tmp_path / "a").kind == "image"
    (tmp_path / "b").mkdir()
    write_enhanced(tmp_path / "b" / "1.dcm", VOLUME, [[0, 0, 2.0 * k] for k in range(6)])
    assert imaging.read(tmp_path / "b").kind == "volume"


def test_no_slice_is_lost_for_a_missing_uid_or_a_cut_header(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME, SeriesInstanceUID="")
    assert np.array_equal(np.sort(imaging.read(folder).pixels, axis=None), np.sort(VOLUME, axis=None))
    path = position(folder, 5)
    path.write_bytes(path.read_bytes()[:420])
    with pytest.raises(ImageReadError, match="within its header"):
        imaging.read(folder)


def test_limits(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME)
    for field, value in (("max_files", 2), ("max_voxels", 119), ("max_total_bytes", 999)):
        with pytest.raises(SizeLimitError, match=field) as error:
            imaging.read(folder, limits=imaging.Limits(**{field: value}))
        advised = re.search(rf"limits=Limits\({field}=(\d+)\)", str(error.value))
        assert imaging.read(folder, limits=imaging.Limits(**{field: int(advised[1])})).pixels.shape == VOLUME.shape


def test_mixed_scales_are_widened(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", VOLUME, RescaleSlope=1, RescaleIntercept=0)
    write_dicom(position(folder, 2), VOLUME[2], ImagePositionPatient=[0, 0, 4], RescaleSlope=0.5, RescaleIntercept=0)
    case = imaging.read(folder)
    assert np.array_equal(case.pixels[2], VOLUME[2] * 0.5)
    assert np.array_equal(case.pixels[3], VOLUME[3])
