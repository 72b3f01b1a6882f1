import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from imaging_samples import bundled_dicom, dicom_dataset, ramp, write_dicom, write_enhanced
from pydicom.uid import JPEG2000Lossless, RLELossless

import unireason.imaging as imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError, SizeLimitError
from unireason.imaging.geometry import voxel_to_world, voxel_to_world_bounds

PIXELS = ramp((4, 5), np.uint16)


def test_rescale_window_and_placement(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm",
        PIXELS,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        WindowCenter=[40, 1],
        WindowWidth=[400, 2],
        ImagePositionPatient=[10, 20, 30],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )
    case = imaging.read(path)
    assert np.array_equal(case.pixels, PIXELS.astype(int) * 2 - 1024)
    assert case.pixels.dtype == np.int16
    assert (case.kind, case.modality, case.window) == ("image", "CT", (40.0, 400.0))
    assert case.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # PixelSpacing 0.5 (rows) x 0.25 (columns): x runs to the back by 0.25 mm, y to the feet by 0.5 mm.
    assert case.geometry.spacing_mm == (0.25, 0.5)
    assert voxel_to_world((2.5, 1.5), case.geometry) == (10.0, 20.5, 29.5)
    # one slice (2 mm) thick along the normal (-1, 0, 0), centred on the plane
    assert voxel_to_world_bounds((2, 1, 3, 2), case.geometry) == (9.0, 20.375, 29.25, 11.0, 20.625, 29.75)


def test_monochrome1_is_turned_round(tmp_path: Path) -> None:
    values = np.array([[0, 100], [200, 255]], np.uint8)
    options = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "DX", "WindowCenter": 200, "WindowWidth": 100}
    case = imaging.read(write_dicom(tmp_path / "a.dcm", values, **options))
    assert case.pixels.tolist() == [[255, 155], [55, 0]]
    assert case.window == (55.0, 100.0)
    assert "MONOCHROME1" in case.notes[0]
    # What the window showed black before (stored 250 and more) is now white's opposite end: grey levels are mirrored.
    same = imaging.read(write_dicom(tmp_path / "b.dcm", values, **{**options, "PhotometricInterpretation": "MONOCHROME2"}))
    mirrored = 255 - imaging.serialize(same).slices.astype(int)
    assert np.abs(imaging.serialize(case).slices - mirrored).max() <= 1


def test_monochrome1_with_signed_and_rescaled_values(tmp_path: Path) -> None:
    values = np.array([[-2048, 0, 2047]], np.int16)
    options = {
        "PhotometricInterpretation": "MONOCHROME1",
        "BitsStored": 12,
        "HighBit": 11,
        "RescaleSlope": 2,
        "RescaleIntercept": 10,
    }
    case = imaging.read(write_dicom(tmp_path / "a.dcm", values, **options))
    # rescaled -4086, 10, 4104; mirrored about the middle of the 12-bit range, so the ends change places
    assert case.pixels.tolist() == [[4104, 8, -4086]]


def test_colour_and_palette(tmp_path: Path) -> None:
    colour = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    dataset = dicom_dataset(colour[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    dataset.PixelData = colour.tobytes()
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(imaging.read(tmp_path / "a.dcm").pixels, colour)
    red = np.arange(256, dtype=np.uint16)[::-1] * 257
    tables = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    data = {
        f"{name}PaletteColorLookupTableData": (red // n).astype("<u2").tobytes()
        for n, name in ((1, "Red"), (2, "Green"), (4, "Blue"))
    }
    index = np.array([[0, 255], [128, 1]], np.uint8)
    case = imaging.read(write_dicom(tmp_path / "p.dcm", index, PhotometricInterpretation="PALETTE COLOR", **tables, **data))
    assert case.pixels[0, 0].tolist() == [255, 127, 63]
    assert case.pixels[0, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "name", ["MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_bigendian", "MR_small_implicit"]
)
def test_lossless_transfer_syntaxes_give_the_same_values(name: str) -> None:
    expected = pydicom.dcmread(bundled_dicom("MR_small.dcm")).pixel_array
    case = imaging.read(bundled_dicom(f"{name}.dcm"))
    assert np.array_equal(case.pixels, expected)
    assert case.modality == "MR"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("JPGExtended.dcm", (1024, 256)),
        ("JPEG2000.dcm", (1024, 256)),
        ("SC_rgb_small_odd_jpeg.dcm", (3, 3, 3)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100, 3)),
        ("SC_rgb_rle.dcm", (100, 100, 3)),
        ("JPEGLSNearLossless_16.dcm", (50, 10)),
    ],
)
def test_other_transfer_syntaxes_are_read(name: str, shape: tuple[int, ...]) -> None:
    assert imaging.read(bundled_dicom(name)).pixels.shape == shape


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_round_trip(syntax: str, tmp_path: Path) -> None:
    dataset = dicom_dataset(ramp((64, 80), np.uint16), RescaleSlope=1, RescaleIntercept=-7)
    dataset.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "pylibjpeg")
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(imaging.read(tmp_path / "a.dcm").pixels, ramp((64, 80)) - 7)


def test_compressed_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(bundled_dicom("MR_small_jp2klossless.dcm"))
    at = dataset.PixelData.index(b"\xff\x4f\xff\x51")
    raw = bytearray(dataset.PixelData)
    raw[at + 8 : at + 16] = (60000).to_bytes(4, "big") * 2
    dataset.PixelData = bytes(raw)
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(ImageReadError, match="60000 x 60000"):
        imaging.read(tmp_path / "a.dcm")


def test_spacing_without_position(tmp_path: Path) -> None:
    bare = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    case = imaging.read(write_dicom(tmp_path / "a.dcm", PIXELS, **bare, ImagerPixelSpacing=[0.2, 0.1], Modality="DX"))
    assert (case.geometry.affine_lps, case.geometry.spacing_mm) == (None, (0.1, 0.2))
    assert "at the detector" in case.notes[0]
    case = imaging.read(write_dicom(tmp_path / "b.dcm", PIXELS, **bare))
    assert (case.geometry.affine_lps, case.geometry.spacing_mm, case.notes) == (None, None, ())


def test_unusable_placement_is_left_out_with_a_note(tmp_path: Path) -> None:
    case = imaging.read(write_dicom(tmp_path / "a.dcm", PIXELS, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    assert case.geometry.affine_lps is None
    assert "position in the patient ignored" in case.notes[0]


def test_cine_needs_a_frame(tmp_path: Path) -> None:
    frames = ramp((3, 4, 5), np.uint16)
    path = write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=3, Modality="US")
    with pytest.raises(FormatError, match="3 frames"):
        imaging.read(path)
    case = imaging.read(path, frame=2)
    assert (case.kind, case.notes) == ("image", ("frame 2 of 3",))
    assert np.array_equal(case.pixels, frames[2])


def test_enhanced_multi_frame_is_sorted_and_rescaled(tmp_path: Path) -> None:
    volume = ramp((4, 5, 6), np.uint16)
    order = [2, 0, 3, 1]
    path = write_enhanced(tmp_path / "a.dcm", volume[order], [[1, 2, 3.0 * k] for k in order])
    case = imaging.read(path)
    assert (case.kind, case.modality, case.source.format) == ("volume", "MR", "dicom-multiframe")
    assert np.array_equal(case.pixels, volume.astype(int) * 2 - 5)
    assert case.geometry.spacing_mm == (0.25, 0.5, 3.0)
    assert case.window == (100.0, 50.0)
    assert voxel_to_world((0.5, 0.5, 1.5), case.geometry) == (1.0, 2.0, 6.0 - 3.0)


def test_enhanced_multi_frame_with_time_points(tmp_path: Path) -> None:
    volume = ramp((4, 5, 6), np.uint16)
    path = write_enhanced(tmp_path / "a.dcm", volume, [[0, 0, 0], [0, 0, 2], [0, 0, 0], [0, 0, 2]], temporal=[1, 1, 2, 2])
    with pytest.raises(GeometryError, match=r"2 volumes.*time point 1.*series=0"):
        imaging.read(path)
    assert np.array_equal(imaging.read(path, series=1).pixels, volume[2:].astype(int) * 2 - 5)


def test_enhanced_multi_frame_with_a_gap(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "a.dcm", ramp((4, 5, 6), np.uint16), [[0, 0, z] for z in (0, 2, 4, 8)])
    with pytest.raises(GeometryError, match="slices are missing"):
        imaging.read(path)


def test_refusals(tmp_path: Path) -> None:
    report = dicom_dataset(PIXELS)
    del report.PixelData
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    with pytest.raises(ImageReadError, match="no pixel data"):
        imaging.read(tmp_path / "report.dcm")
    with pytest.raises(SizeLimitError, match="max_pixels=20"):
        imaging.read(write_dicom(tmp_path / "a.dcm", PIXELS), limits=imaging.Limits(max_pixels=19))
    short = dicom_dataset(PIXELS, Rows=4000)
    short.save_as(tmp_path / "short.dcm", enforce_file_format=True)
    with pytest.raises(ImageReadError):
        imaging.read(tmp_path / "short.dcm")


def test_without_a_preamble(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", PIXELS)
    (tmp_path / "b.dcm").write_bytes(path.read_bytes()[132:])
    assert np.array_equal(imaging.read(tmp_path / "b.dcm").pixels, PIXELS)
