"""Values of DICOM pixels: the same by every way to them, exact, in colour as meant, and never more of them than declared."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from imaging_samples import bundled_dicom, dicom_dataset, dicom_item, enhanced_dataset, ramp, write_dicom, write_series
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

import unireason.imaging as imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError, SizeLimitError, UniReasonError
from unireason.imaging.dicom_seg import write_dicom_seg

VOLUME = ramp((5, 6, 7), np.uint16)
REAL = VOLUME.astype(int)
SQUARES = np.arange(256) ** 2 % 4096  # a modality table that is not monotone


def enhanced(path: Path, volume: Any, first_mm: float = 0.0, **elements: Any) -> Path:
    """An enhanced object of slices 2 mm apart; rescale and window stand where such an object has them."""
    positions = [[0.0, 0.0, first_mm + 2.0 * k] for k in range(len(volume))]
    enhanced_dataset(volume, positions, **elements).save_as(path, enforce_file_format=True)
    return path


def every_way(folder: Path, volume: Any, **elements: Any) -> dict[str, Any]:
    """The same slices as a series, as files alone, as frames of a loop and of enhanced objects with one frame and several."""
    series, parts = write_series(folder / "series", volume, **elements), folder / "parts"
    loop = write_dicom(folder / "loop.dcm", volume, NumberOfFrames=len(volume), ImagePositionPatient=None, **elements)
    whole = enhanced(folder / "whole.dcm", volume, **elements)
    parts.mkdir()
    one_by_one = [enhanced(parts / f"{9 - k}.dcm", volume[k : k + 1], 2.0 * k, **elements) for k in range(len(volume))]
    files = [series / f"{(k * 7 + 3) % 101:03d}.dcm" for k in range(len(volume))]
    return {
        "series": [imaging.read(series)],
        "alone": [imaging.read(path) for path in files],
        "loop": [imaging.read(loop, frame=k) for k in range(len(volume))],
        "enhanced": [imaging.read(whole)],
        "frame of enhanced": [imaging.read(whole, frame=k) for k in range(len(volume))],
        "enhanced with one frame": [imaging.read(path) for path in one_by_one],
        "series of enhanced": [imaging.read(parts)],
    }


def modality_lut(entries: Any, first: int = 0, bits: int = 16, vr: str = "US") -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 2**16, first, bits])
    item.ModalityLUTType = "US"
    values = np.asarray(entries)
    item.add_new("LUTData", vr, values.tolist() if vr == "US" else values.astype("<u2" if bits > 8 else "u1").tobytes())
    return [item]


def with_overlay(volume: Any) -> Any:
    marked = volume.copy()
    marked[:, ::2, ::2] |= 0xF000
    return marked


WAYS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "plain": (VOLUME, REAL, {}),
    "overlay bits": (
        with_overlay(VOLUME),
        REAL * 2 - 1024,
        {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -1024},
    ),
    "sign not extended": (
        ((REAL - 100) & 0xFFF).astype(np.uint16),
        REAL - 100,
        {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1},
    ),
    "sign lost among overlay bits": (
        (((REAL - 100) & 0xFFF) | 0x5000).astype(np.uint16),
        REAL - 100,
        {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1},
    ),
    "stored from the top": ((VOLUME << 4 | 9).astype(np.uint16), REAL, {"BitsStored": 12, "HighBit": 15}),
    "eight bits": (VOLUME.astype(np.uint8) | 0x80, REAL % 128, {"BitsStored": 7, "HighBit": 6}),
    "modality table": (VOLUME, SQUARES[REAL], {"ModalityLUTSequence": modality_lut(SQUARES)}),
    "modality table of words": (VOLUME, SQUARES[REAL], {"ModalityLUTSequence": modality_lut(SQUARES, vr="OW")}),
    "modality table of bytes": (
        VOLUME,
        (SQUARES % 256)[REAL],
        {"ModalityLUTSequence": modality_lut(SQUARES % 256, bits=8, vr="OW")},
    ),
    "modality table that begins later": (
        VOLUME,
        SQUARES[np.maximum(REAL - 50, 0)],
        {"ModalityLUTSequence": modality_lut(SQUARES, 50)},
    ),
    "modality table that begins below zero": (
        (REAL - 128).astype(np.int16),
        SQUARES[REAL],
        {"ModalityLUTSequence": modality_lut(SQUARES, -128)},
    ),
    "modality table longer than the pixels reach": (
        VOLUME.astype(np.uint8),
        REAL * 3,
        {"ModalityLUTSequence": modality_lut(np.arange(4096) * 3)},
    ),
    "inverted modality table": (
        VOLUME,
        SQUARES.max() - SQUARES[REAL],
        {"ModalityLUTSequence": modality_lut(SQUARES), "PhotometricInterpretation": "MONOCHROME1"},
    ),
    "padding is rescaled like the rest": (
        VOLUME,
        REAL - 24,
        {"PixelPaddingValue": 5, "RescaleSlope": 1, "RescaleIntercept": -24},
    ),
    "fractions": (VOLUME, (REAL * 0.1 - 3).astype(np.float32), {"RescaleSlope": 0.1, "RescaleIntercept": -3}),
    "more than 32 bits": ((VOLUME * 300).astype(np.uint16), REAL * 12e6, {"RescaleSlope": 40000, "RescaleIntercept": 0}),
    "inverted, 32 bits": (VOLUME.astype(np.uint32), 2.0**32 - 1 - REAL, {"PhotometricInterpretation": "MONOCHROME1"}),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_gives_the_same_values(name: str, tmp_path: Path) -> None:
    stored, expected, elements = WAYS[name]
    window = {"WindowCenter": 40, "WindowWidth": 400}
    for way, cases in every_way(tmp_path, stored, **elements, **window).items():
        pixels = np.concatenate([case.pixels.reshape(-1, *expected.shape[1:]) for case in cases])
        assert np.array_equal(pixels, expected), way
        assert all(case.window is not None and case.window[1] == 400 for case in cases), way
        assert len({case.window for case in cases}) == 1
        assert {case.geometry.spacing_mm[:2] for case in cases} == {(0.25, 0.5)}, way


@pytest.mark.parametrize("name", ["overlay bits", "sign not extended", "fractions", "more than 32 bits"])
def test_values_are_those_of_another_reader(name: str, tmp_path: Path) -> None:
    stored, _, elements = WAYS[name]
    path = write_dicom(tmp_path / "a.dcm", stored[1], **elements)
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]
    assert np.array_equal(imaging.read(path).pixels, theirs.astype(np.float32 if name == "fractions" else theirs.dtype))


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_bits_beside_the_values_are_dropped_in_every_encoding(syntax: str, tmp_path: Path) -> None:
    stored, expected, elements = WAYS["overlay bits"]
    (tmp_path / "s").mkdir()
    for k, pixels in enumerate(stored):
        dataset = dicom_dataset(pixels, ImagePositionPatient=[0, 0, 2 * k], **elements)
        if syntax == RLELossless:
            dataset.compress(syntax, encoding_plugin="pydicom")
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(tmp_path / "s" / f"{k}.dcm", enforce_file_format=True)
    assert np.array_equal(imaging.read(tmp_path / "s").pixels, expected)
    assert np.array_equal(imaging.read(tmp_path / "s" / "3.dcm").pixels, expected[3])


@pytest.mark.parametrize(
    ("slope", "intercept", "kind"),
    [
        (1, -(2**15), np.int16),
        (1, -(2**15) - 1, np.int32),
        (1, 2**15 - 1 - 100, np.int16),
        (1, 2**15 - 100, np.int32),
        (1, 2**31 - 1 - 100, np.int32),
        (1, 2**31 - 100, np.float64),
        (-1, -(2**31) + 100, np.int32),
        (-1, -(2**31) + 99, np.float64),
        (1, 3_000_000_000, np.float64),
        (0.5, 0, np.float32),
        (0.001, 4_000_000, np.float64),
        (1e300, 0, np.float64),
    ],
)
def test_the_range_decides_the_type(slope: float, intercept: float, kind: Any, tmp_path: Path) -> None:
    stored = np.array([[0, 7], [50, 100]], np.uint16)
    elements = {"RescaleSlope": str(slope), "RescaleIntercept": str(intercept)}
    pixels = imaging.read(write_dicom(tmp_path / "a.dcm", stored, **elements)).pixels
    assert pixels.dtype == kind
    assert pixels.tolist() == [[v * slope + intercept for v in row] for row in stored.tolist()]


@pytest.mark.parametrize(
    ("stored", "elements"),
    [
        (np.array([[0, 2**32 - 1]], np.uint32), {"RescaleSlope": 1, "RescaleIntercept": -10}),
        (np.array([[0, 2**32 - 1]], np.uint32), {"RescaleSlope": 0.5, "RescaleIntercept": 0}),
        (np.array([[-(2**31), 2**31 - 1]], np.int32), {"RescaleSlope": -1, "RescaleIntercept": 0}),
        (np.array([[0, 65535]], np.uint16), {"RescaleSlope": "1e10", "RescaleIntercept": "-1e13"}),
        (np.array([[0, 65535]], np.uint16), {"RescaleSlope": -40000, "RescaleIntercept": 7}),
    ],
)
def test_wide_values_do_not_wrap(stored: Any, elements: dict[str, Any], tmp_path: Path) -> None:
    pixels = imaging.read(write_dicom(tmp_path / "a.dcm", stored, **elements)).pixels
    slope, intercept = (float(elements[key]) for key in ("RescaleSlope", "RescaleIntercept"))
    assert pixels.tolist() == [[v * slope + intercept for v in row] for row in stored.tolist()]


def test_slices_of_different_types_keep_their_values(tmp_path: Path) -> None:
    stored = np.array([[[0, 2**32 - 1]]] * 3, np.uint32)
    folder = write_series(tmp_path / "s", stored)
    for k, elements in ((1, {"RescaleIntercept": -1}), (2, {"RescaleSlope": 2, "RescaleIntercept": -(2**33)})):
        write_dicom(folder / f"{(k * 7 + 3) % 101:03d}.dcm", stored[k], ImagePositionPatient=[0, 0, 2 * k], **elements)
    expected = [[[0, 2**32 - 1]], [[-1, 2**32 - 2]], [[-(2**33), -2]]]
    assert imaging.read(folder).pixels.tolist() == expected


def test_a_group_of_the_frame_goes_before_the_shared_one_and_the_data_set(tmp_path: Path) -> None:
    dataset = enhanced_dataset(VOLUME[:2], [[0, 0, 0], [0, 0, 2]], RescaleSlope=2, RescaleIntercept=-5)
    own = dicom_item(RescaleSlope=3, RescaleIntercept=1, RescaleType="US")
    dataset.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [own]
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.ModalityLUTSequence = 9, 9, modality_lut(SQUARES)
    dataset.WindowCenter, dataset.WindowWidth = 11, 12
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    case = imaging.read(tmp_path / "a.dcm")
    assert np.array_equal(case.pixels, np.stack([REAL[0] * 2 - 5, REAL[1] * 3 + 1]))
    assert case.window == (11.0, 12.0)


@pytest.mark.parametrize("count", [1, 3])
def test_objects_converted_from_single_images(count: int, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    sources = [
        dicom_dataset(
            VOLUME[k],
            **{"RescaleSlope": 2, "RescaleIntercept": -1024, "RescaleType": "HU", "WindowCenter": 40, "WindowWidth": 400},
            **{"ImagePositionPatient": [0, 0, 2 * k], "InstanceNumber": k + 1, "SOPInstanceUID": generate_uid(), "KVP": 100},
            **{"StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.3", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]},
            **dict.fromkeys(("PatientID", "PatientSex", "StudyID", "AccessionNumber"), "O"),
            **dict.fromkeys(("PatientName", "Manufacturer", "ReferringPhysicianName", "PositionReferenceIndicator"), ""),
            **{"StudyDate": "20200101", "PatientBirthDate": "19700101", "StudyTime": "101010", "AcquisitionNumber": 1},
            **{"Laterality": "L", "BodyPartExamined": "CHEST"},
        )
        for k in range(count)
    ]
    converted = highdicom.legacy.LegacyConvertedEnhancedCTImage(sources, generate_uid(), 1, generate_uid(), 1)
    converted.save_as(tmp_path / "a.dcm")
    case = imaging.read(tmp_path / "a.dcm")
    assert np.array_equal(np.atleast_3d(case.pixels).ravel(), (REAL[:count] * 2 - 1024).ravel())
    assert case.window == (40.0, 400.0)
    assert case.geometry.spacing_mm == (0.25, 0.5, 2.0)[: case.pixels.ndim]
    assert case.geometry.affine_lps is not None


def test_a_mask_of_an_enhanced_image_with_one_frame_refers_to_it(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    placed = {"StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.3", "PatientID": "p", "PatientName": "n"}
    source = enhanced(tmp_path / "a.dcm", VOLUME[:1], 4.0, **placed)
    mask = VOLUME[0] > 20
    written = pydicom.dcmread(write_dicom_seg(tmp_path / "seg.dcm", {"liver": mask}, imaging.read(source), source=source))
    assert np.array_equal(written.pixel_array.reshape(mask.shape), mask)
    group = written.PerFrameFunctionalGroupsSequence[0]
    assert group.PlanePositionSequence[0].ImagePositionPatient == [0, 0, 4]


def concatenation(folder: Path, sizes: tuple[int, ...], total: int | None, without: tuple[int, ...] = ()) -> Path:
    """One enhanced object of all slices, stored in files of these numbers of frames."""
    folder.mkdir()
    first = 0
    for number, size in enumerate(sizes, 1):
        part = enhanced_dataset(
            VOLUME[first : first + size],
            [[0.0, 0.0, 2.0 * k] for k in range(first, first + size)],
            **{"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400},
            **{"ConcatenationUID": "1.2.7", "InConcatenationNumber": number, "ConcatenationFrameOffsetNumber": first},
            **({} if total is None else {"InConcatenationTotalNumber": total}),
        )
        if number not in without:
            part.save_as(folder / f"{9 - number}.dcm", enforce_file_format=True)
        first += size
    return folder


@pytest.mark.parametrize(("sizes", "total"), [((2, 2, 1), 3), ((2, 3), None), ((1,) * 5, 5), ((5,), 1)])
def test_an_object_in_several_files_is_one_volume(sizes: tuple[int, ...], total: int | None, tmp_path: Path) -> None:
    case = imaging.read(concatenation(tmp_path / "c", sizes, total))
    assert np.array_equal(case.pixels, REAL * 2 - 1024)
    assert (case.window, case.geometry.spacing_mm, case.notes) == ((40.0, 400.0), (0.25, 0.5, 2.0), ())


def test_a_part_of_an_object_is_never_taken_for_all_of_it(tmp_path: Path) -> None:
    folder = concatenation(tmp_path / "a", (2, 2, 1), 3)
    assert "part 2 of 3" in imaging.read(folder / "7.dcm").notes[-1]
    for n, without in enumerate(((2,), (1,), (3,), (2, 3))):
        with pytest.raises(GeometryError, match="each of 1 to 3 once"):
            imaging.read(concatenation(tmp_path / f"b{n}", (2, 2, 1), 3, without))


def test_an_enhanced_loop_without_places_is_read_by_frames(tmp_path: Path) -> None:
    dataset = enhanced_dataset(VOLUME, [[0, 0, 0]] * 5, RescaleSlope=2, RescaleIntercept=-5)
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(FormatError, match="frame=0 to frame=4"):
        imaging.read(tmp_path / "a.dcm")
    case = imaging.read(tmp_path / "a.dcm", frame=4)
    assert np.array_equal(case.pixels, REAL[4] * 2 - 5)
    assert case.geometry.spacing_mm == (0.25, 0.5)


def test_surplus_frames_are_no_colour(tmp_path: Path) -> None:
    dataset = dicom_dataset(VOLUME[0])
    dataset.PixelData = VOLUME[:3].tobytes()
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(imaging.read(tmp_path / "a.dcm").pixels, VOLUME[0])


# Palettes

INDEX = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)
GREY = np.arange(256)


def write_palette(
    path: Path, data: bytes, descriptor: list[int], index: Any = INDEX, segmented: bool = False, **more: Any
) -> Path:
    syntax = more.pop("syntax", None)
    dataset = dicom_dataset(index, PhotometricInterpretation="PALETTE COLOR", **more)
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", descriptor)
        setattr(dataset, f"{'Segmented' * segmented}{colour}PaletteColorLookupTableData", data)
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    big = syntax == ExplicitVRBigEndian
    dataset.save_as(path, enforce_file_format=True, **({"little_endian": False, "implicit_vr": False} if big else {}))
    return path


WORDS, BYTES = [256, 0, 16], [256, 0, 8]
PALETTES: dict[str, tuple[bytes, list[int], dict[str, Any]]] = {
    "words": ((GREY * 256).astype("<u2").tobytes(), WORDS, {}),
    "bytes": (GREY.astype("u1").tobytes(), BYTES, {}),
    "bytes, odd number": (GREY[:255].astype("u1").tobytes() + b"\0", [255, 0, 8], {}),
    "bytes stored as words": (GREY.astype("<u2").tobytes(), BYTES, {}),
    "words that hold bytes": (GREY.astype("<u2").tobytes(), WORDS, {}),
    "words said to be bytes": ((GREY * 257).astype("<u2").tobytes(), BYTES, {}),
    "twelve bits": ((GREY * 16).astype("<u2").tobytes(), [256, 0, 12], {}),
    "implicit": ((GREY * 256).astype("<u2").tobytes(), WORDS, {"syntax": ImplicitVRLittleEndian}),
    "deflated": ((GREY * 256).astype("<u2").tobytes(), WORDS, {"syntax": DeflatedExplicitVRLittleEndian}),
    "big-endian words": ((GREY * 256).astype(">u2").tobytes(), WORDS, {"syntax": ExplicitVRBigEndian}),
    "big-endian bytes": (
        GREY.astype("<u2").reshape(-1, 2)[:, ::-1].astype("u1").tobytes(),
        BYTES,
        {"syntax": ExplicitVRBigEndian},
    ),
    "big-endian bytes stored as words": (GREY.astype(">u2").tobytes(), BYTES, {"syntax": ExplicitVRBigEndian}),
    "segments": (np.array([0, 1, 0, 1, 255, 65535], "<u2").tobytes(), WORDS, {"segmented": True}),
    "segments of bytes": (bytes([0, 1, 0, 1, 255, 255]), BYTES, {"segmented": True}),
    "big-endian segments": (
        np.array([0, 1, 0, 1, 255, 65535], ">u2").tobytes(),
        WORDS,
        {"segmented": True, "syntax": ExplicitVRBigEndian},
    ),
    "signed indices": ((GREY * 256).astype("<u2").tobytes(), [256, -100, 16], {"index": INDEX.astype(np.int16) - 100}),
}


@pytest.mark.parametrize("name", PALETTES)
def test_palettes_show_what_they_mean(name: str, tmp_path: Path) -> None:
    data, descriptor, more = PALETTES[name]
    path = write_palette(tmp_path / "p.dcm", data, descriptor, **more)
    pixels = imaging.read(path).pixels
    assert np.array_equal(pixels, np.stack([INDEX] * 3, axis=-1))
    if name in ("words", "bytes", "big-endian words", "big-endian bytes", "deflated"):
        assert np.array_equal(pixels, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).reshape(pixels.shape))


def test_wide_indices_and_their_ends(tmp_path: Path) -> None:
    index = np.array([[0, 256, 65535]], np.uint16)
    large = write_palette(tmp_path / "a.dcm", (np.arange(65536) // 256).astype("u1").tobytes(), [0, 0, 8], index)
    assert imaging.read(large).pixels[0, :, 0].tolist() == [0, 1, 255]
    later = write_palette(tmp_path / "b.dcm", np.array([9, 8, 7], "u1").tobytes() + b"\0", [3, 256, 8], index)
    assert imaging.read(later).pixels[0, :, 0].tolist() == [9, 9, 7]


@pytest.mark.parametrize("name", ["spring", "summer", "fall", "winter"])
def test_segmented_palettes_of_the_standard(name: str, tmp_path: Path) -> None:
    table = pydicom.dcmread(bundled_dicom("a").parents[1] / "palettes" / f"{name}.dcm")
    dataset = dicom_dataset(INDEX, PhotometricInterpretation="PALETTE COLOR")
    for element in table.group_dataset(0x0028):
        dataset[element.tag] = element
    dataset.Rows, dataset.Columns = INDEX.shape
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(imaging.read(tmp_path / "a.dcm").pixels, apply_color_lut(INDEX, dataset))


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 2, 0, 10, 1, 3, 40, 2, 1, 8, 0], [0, 10, 20, 30, 40, 40, 40, 40]),  # the line again, from where it ended
        ([0, 1, 7, 0, 1, 9, 2, 2, 0, 0, 1, 1, 3], [7, 9, 7, 9, 3]),  # two segments again, then on
        ([0, 2, 7, 9, 2, 1, 0, 0, 1, 2, 19], [7, 9, 7, 9, 14, 19]),  # the first segment again, then on
    ],
)
def test_segments_are_copied(codes: list[int], expected: list[int], tmp_path: Path) -> None:
    index = np.arange(len(expected), dtype=np.uint8).reshape(1, -1)
    path = write_palette(tmp_path / "a.dcm", np.array(codes, "<u2").tobytes(), [len(expected), 0, 16], index, segmented=True)
    assert imaging.read(path).pixels[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("codes", "descriptor", "segmented"),
    [
        ([1, 255, 65535], WORDS, True),
        ([0, 2, 0, 256, 2, 65535, 8, 0], WORDS, True),
        ([0, 1, 5, 9, 9, 9], WORDS, True),
        ([0, 1, 5], WORDS, True),
        ([0] * 20, WORDS, False),
    ],
)
def test_broken_palettes_are_refused(codes: list[int], descriptor: list[int], segmented: bool, tmp_path: Path) -> None:
    path = write_palette(tmp_path / "a.dcm", np.array(codes, "<u2").tobytes(), descriptor, segmented=segmented)
    with pytest.raises(ImageReadError, match="look-up table"):
        imaging.read(path)


def test_a_palette_image_without_palette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no red"):
        imaging.read(write_dicom(tmp_path / "a.dcm", INDEX, PhotometricInterpretation="PALETTE COLOR"))


# Bombs

ZEROS = bytes(2**24)


def write_deflated(path: Path, pieces: Callable[[bytes], Iterator[bytes]]) -> Path:
    """A small deflated image whose data set, given unpacked, is replaced by what ``pieces`` makes of it."""
    dataset = dicom_dataset(VOLUME[0])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    raw = path.read_bytes()
    file = io.BytesIO(raw)
    file.seek(132)
    read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = [packer.compress(piece) for piece in pieces(zlib.decompress(raw[file.tell() :], -15))]
    path.write_bytes(b"".join((raw[: file.tell()], *packed, packer.flush())))
    return path


def bomb_behind(body: bytes) -> Iterator[bytes]:
    yield body
    yield struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 48 * len(ZEROS))
    yield from [ZEROS] * 48


def bomb_before(body: bytes) -> Iterator[bytes]:
    yield struct.pack("<HH2sHI", 0x0007, 0x1001, b"OB", 0, 48 * len(ZEROS))
    yield from [ZEROS] * 48
    yield body


def bomb_as_pixels(body: bytes) -> Iterator[bytes]:
    yield body[: body.index(b"\xe0\x7f\x10\x00")] + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 48 * len(ZEROS))
    yield from [ZEROS] * 48


@pytest.mark.parametrize("pieces", [bomb_behind, bomb_before, bomb_as_pixels])
def test_deflated_files_unpack_to_no_more_than_they_declare(pieces: Any, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    path = write_deflated(tmp_path / "s" / "a.dcm", pieces)
    assert path.stat().st_size < 2**20
    code = (
        "import resource, sys, unireason.imaging as imaging, pydicom, numpy\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try: imaging.read(path)\n"
        "    except Exception as error: print(type(error).__name__)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, path, path.parent], capture_output=True, text=True, check=True)
    *errors, grown_mb = done.stdout.split()
    assert errors == ["SizeLimitError"] * 2
    assert int(grown_mb) < 300  # of the 768 MB that it claims


def test_large_deflated_images_within_the_limits_are_read(tmp_path: Path) -> None:
    pixels = np.zeros((6000, 6000), np.uint16)
    pixels[::97] = np.arange(6000)
    dataset = dicom_dataset(pixels)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.array_equal(imaging.read(tmp_path / "a.dcm").pixels, pixels)
    for name, value in (("max_file_bytes", 2**25), ("max_pixels", 2**20)):
        with pytest.raises(SizeLimitError, match=name):
            imaging.read(tmp_path / "a.dcm", limits=imaging.Limits(**{name: value}))
    (tmp_path / "a.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:-20])
    with pytest.raises(ImageReadError, match="breaks off"):
        imaging.read(tmp_path / "a.dcm")


def write_encapsulated(path: Path, dataset: Dataset, syntax: str, frame: bytes) -> Path:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_runs_are_counted_before_they_are_unpacked(tmp_path: Path) -> None:
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    small = dicom_dataset(np.zeros((10, 10), np.uint8))
    sound = header + b"\x9d\x05" + b"\x80\x80"  # a run of a hundred fives, and codes that mean nothing
    path = write_encapsulated(tmp_path / "a.dcm", small, RLELossless, sound)
    assert imaging.read(path).pixels.tolist() == [[5] * 10] * 10
    path = write_encapsulated(tmp_path / "b.dcm", small, RLELossless, header + b"\x81\x00" * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageReadError, match="run-length"):
        imaging.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_compressed_frames_of_more_samples_or_of_no_known_size_are_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(bundled_dicom("MR_small_jp2klossless.dcm"))
    syntax = dataset.file_meta.TransferSyntaxUID
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    many = frame[:40] + (16384).to_bytes(2, "big") + frame[42:]
    with pytest.raises(ImageReadError, match="16384 samples"):
        imaging.read(write_encapsulated(tmp_path / "a.dcm", dataset, syntax, many))
    with pytest.raises(ImageReadError, match="no readable size"):
        imaging.read(write_encapsulated(tmp_path / "b.dcm", dataset, syntax, b"\0" * 64))
    boxes = (
        b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0\x2djp2h\0\0\0\x16ihdr\0\0\0\x40\0\0\0\x40\0\1\x0f\7\0\0"
    )
    boxes += b"\0\0\0\x0fcolr\1\0\0\0\0\0\x11\0\0\0\0jp2c"
    path = write_encapsulated(tmp_path / "c.dcm", dataset, syntax, boxes + frame)
    assert np.array_equal(imaging.read(path).pixels, pydicom.dcmread(bundled_dicom("MR_small.dcm")).pixel_array)
    with pytest.raises(ImageReadError, match="16384 samples"):
        imaging.read(write_encapsulated(tmp_path / "d.dcm", dataset, syntax, boxes + many))


def test_fill_bytes_do_not_hide_the_size_of_a_jpeg(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(bundled_dicom("SC_rgb_jpeg_dcmtk.dcm"))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    at = next(n for n in range(len(frame)) if frame[n] == 0xFF and frame[n + 1] in (0xC0, 0xC1, 0xC2))
    large = frame[:2] + b"\xff" * 5 + frame[2 : at + 5] + struct.pack(">2H", 60000, 60000) + frame[at + 9 :]
    with pytest.raises(ImageReadError, match="60000 x 60000"):
        imaging.read(write_encapsulated(tmp_path / "a.dcm", dataset, dataset.file_meta.TransferSyntaxUID, large))


def test_every_refusal_is_an_error_of_ours(tmp_path: Path) -> None:
    video = dicom_dataset(np.zeros((10, 10), np.uint8), NumberOfFrames=3)
    path = write_encapsulated(tmp_path / "a.dcm", video, "1.2.840.10008.1.2.4.100", b"\0" * 64)
    with pytest.raises(UniReasonError, match="decoders"):
        imaging.read(path, frame=0)
