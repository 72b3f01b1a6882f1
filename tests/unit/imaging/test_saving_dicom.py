"""DICOM segmentations and reports, read back by pydicom and highdicom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from imaging_samples import dicom_dataset, ramp, write_dicom, write_enhanced, write_nifti, write_series
from pydicom.uid import DigitalXRayImageStorageForPresentation, UltrasoundMultiFrameImageStorage, generate_uid
from scipy.spatial.transform import Rotation

from unireason.core.errors import FormatError, GeometryError, ImageReadError, MissingExtraError, SizeLimitError
from unireason.core.types import Case
from unireason.imaging import read
from unireason.imaging.dicom_seg import write_dicom_seg
from unireason.imaging.dicom_sr import write_dicom_report
from unireason.imaging.geometry import to_source, voxel_to_world

highdicom = pytest.importorskip("highdicom")

PLACED = {"StudyInstanceUID": "1.2.840.1", "FrameOfReferenceUID": "1.2.840.2", "PatientID": "P7", "PatientName": "Doe^Jane"}
TURNS = {"axial": (0, 0, 0), "oblique": (20, -15, 100), "sagittal": (0, 90, 0), "upside down": (180, 0, 0)}


def series(folder: Path, turn: str = "oblique", towards: int = 1, **elements: Any) -> Path:
    """An anisotropic series whose files lie along (or against) the normal of their planes."""
    axes = Rotation.from_euler("xyz", TURNS[turn], degrees=True).as_matrix()
    step = tuple(axes[:, 2] * 2.5 * towards)
    return write_series(folder, ramp(), step, ImageOrientationPatient=[*axes[:, 0], *axes[:, 1]], **{**PLACED, **elements})


def masks_of(case: Case) -> dict[str, Any]:
    """Two that overlap; the second lies on two slices only."""
    rng = np.random.default_rng(0)
    small = np.zeros(case.geometry.shape, bool)
    small[..., 1:3, 1:3] = True
    if case.kind == "volume":
        small[2:] = False
    return {"left kidney": rng.random(case.geometry.shape) < 0.3, "lesion": small}


def measured(masks: dict[str, Any], case: Case) -> dict[str, dict[str, Any]]:
    """Made-up statistics: a report must tell what it is given, whatever it is."""
    flat = case.kind == "image"
    return {
        label: {
            **{"voxels": int(mask.sum()), "volume_ml": None if flat else 10.0 + n, "area_mm2": 20.0 + n if flat else None},
            **{"diameter_mm": 30.5 + n, "mean": 40.0 + n, "sd": 5.0, "min": -7.0, "max": None},
        }
        for n, (label, mask) in enumerate(masks.items())
    }


def world_points(path: Path, number: int) -> set[tuple[float, ...]]:
    """Where the voxels of a segment lie, from nothing but the elements of the file (PS3.3 C.7.6.2.1.1)."""
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    rows, columns = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    points = set()
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            for y, x in np.argwhere(frame):
                points.add(tuple(round(float(v), 2) + 0.0 for v in origin + axes[0] * columns * x + axes[1] * rows * y))
    return points


def case_points(case: Case, mask: Any) -> set[tuple[float, ...]]:
    places = np.argwhere(to_source(mask, case.geometry)).tolist()
    found = (voxel_to_world([n + 0.5 for n in reversed(p)], case.geometry) for p in places)
    return {tuple(round(v, 2) + 0.0 for v in p) for p in found}


def numbers(path: Path) -> list[dict[str, tuple[float, str]]]:
    """For each region: name (and derivation) of a measurement to its value and unit."""
    report = highdicom.sr.srread(path)
    groups = [*report.content.get_volumetric_roi_measurement_groups(), *report.content.get_planar_roi_measurement_groups()]
    found = []
    for group in groups:
        told = {}
        for one in group.get_measurements():
            name = one.name.meaning if one.derivation is None else f"{one.name.meaning} {one.derivation.meaning}"
            told[name] = (one.value, one.unit.value)
        found.append(told)
    return found


@pytest.mark.parametrize("towards", [1, -1])
@pytest.mark.parametrize("turn", TURNS)
def test_series(tmp_path, turn, towards):
    source = series(tmp_path / "series", turn, towards)
    case = read(source)
    masks = masks_of(case)
    written = write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source)
    for number, mask in enumerate(masks.values(), 1):
        assert world_points(written, number) == case_points(case, mask)
    segmentation = highdicom.seg.segread(written)
    uids = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(source.iterdir())]
    volume = segmentation.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in uids], assert_missing_frames_are_empty=True
    )
    for one, frame in zip(uids, volume, strict=True):
        k = next(k for k, values in enumerate(ramp()) if np.array_equal(values, pydicom.dcmread(one.filename).pixel_array))
        k = k if towards == 1 else len(ramp()) - 1 - k  # the reader sorts along the normal
        for n, mask in enumerate(masks.values()):
            assert np.array_equal(frame[..., n] > 0, to_source(mask, case.geometry)[k])


def test_what_the_file_says_of_itself(tmp_path):
    source = series(tmp_path / "series")
    case = read(source)
    dataset = pydicom.dcmread(write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=source))
    assert dataset.SegmentationType == "BINARY"
    assert [(s.SegmentNumber, s.SegmentLabel) for s in dataset.SegmentSequence] == [(1, "left kidney"), (2, "lesion")]
    assert dataset.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "UniReason"
    assert "Research use" in dataset.ContentDescription
    assert dataset.ContentQualification == "RESEARCH"
    assert (dataset.PatientID, dataset.PatientName, dataset.StudyInstanceUID) == ("P7", "Doe^Jane", "1.2.840.1")
    assert dataset.FrameOfReferenceUID == "1.2.840.2"
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3"
    # The second segment holds two frames, not six.
    held = [g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in dataset.PerFrameFunctionalGroupsSequence]
    assert (held.count(1), held.count(2)) == (6, 2)


def test_only_empty_masks_are_written_whole(tmp_path):
    source = series(tmp_path / "series")
    case = read(source)
    none = {"a": np.zeros(case.geometry.shape, bool)}
    dataset = pydicom.dcmread(write_dicom_seg(tmp_path / "seg.dcm", none, case, source=source))
    assert int(dataset.NumberOfFrames) == 6
    assert not dataset.pixel_array.any()
    with pytest.raises(FormatError, match="no region"):
        write_dicom_report(tmp_path / "sr.dcm", measured(none, case), case, source=source, segmentation=tmp_path / "seg.dcm")


def test_one_series_of_several_in_a_folder(tmp_path):
    series(tmp_path / "both", "axial", SeriesInstanceUID="1.2.5")
    for n, path in enumerate(sorted(series(tmp_path / "other").iterdir())):
        path.rename(tmp_path / "both" / f"other{n}.dcm")
    case = read(tmp_path / "both", series="1.2.3")
    masks = masks_of(case)
    written = write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=tmp_path / "both")
    assert world_points(written, 1) == case_points(case, masks["left kidney"])
    assert pydicom.dcmread(written).ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3"


def enhanced(path: Path, order: list[int], temporal: list[int] | None = None) -> Path:
    """Frames stored in another order than their positions, with what a reference needs."""
    write_enhanced(path, ramp()[order], [[0.0, 0.0, 2.0 * k] for k in order], temporal)
    dataset = pydicom.dcmread(path)
    for key, value in PLACED.items():
        setattr(dataset, key, value)
    dataset.save_as(path)
    return path


def test_enhanced_multiframe_stored_out_of_order(tmp_path):
    source = enhanced(tmp_path / "enhanced.dcm", [3, 0, 5, 1, 4, 2])
    case = read(source)
    masks = masks_of(case)
    written = write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source)
    for number, mask in enumerate(masks.values(), 1):
        assert world_points(written, number) == case_points(case, mask)
    report = write_dicom_report(tmp_path / "sr.dcm", measured(masks, case), case, source=source, segmentation=written)
    assert numbers(report)[0]["MR signal intensity Mean"] == (40.0, "1")


def test_one_stack_of_an_enhanced_multiframe(tmp_path):
    source = enhanced(tmp_path / "enhanced.dcm", [0, 1, 2, 0, 1, 2], [1, 1, 1, 2, 2, 2])
    case = read(source, series=1)
    masks = {"a": np.ones(case.geometry.shape, bool)}
    dataset = pydicom.dcmread(write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source))
    used = {
        int(image.ReferencedFrameNumber)
        for group in dataset.PerFrameFunctionalGroupsSequence
        for image in group.DerivationImageSequence[0].SourceImageSequence
    }
    assert used == {4, 5, 6}


@pytest.mark.parametrize("placed", [True, False])
def test_single_image(tmp_path, placed):
    """A radiograph has a detector, no place in the patient; a single CT slice has one."""
    gone = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    kind = {} if placed else {**gone, "SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX"}
    elements = {key: value for key, value in PLACED.items() if placed or key != "FrameOfReferenceUID"}
    source = write_dicom(tmp_path / "one.dcm", ramp((8, 10)), **elements, **kind)
    case = read(source)
    masks = masks_of(case)
    written = write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source)
    dataset = pydicom.dcmread(written)
    assert np.array_equal(dataset.pixel_array.reshape(-1, 8, 10) > 0, np.stack(list(masks.values())))
    if placed:
        assert world_points(written, 1) == case_points(case, masks["left kidney"])
    report = write_dicom_report(tmp_path / "sr.dcm", measured(masks, case), case, source=source, segmentation=written)
    told = numbers(report)
    assert told[1]["Area"] == (21.0, "mm2")
    assert told[0]["Attenuation Coefficient Mean" if placed else "Pixel value Mean"][0] == 40.0
    group = highdicom.sr.srread(report).content.get_planar_roi_measurement_groups()[1]
    (frame,) = (item for item in group[0].ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121214")
    assert frame.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert frame.ReferencedSOPSequence[0].ReferencedFrameNumber == 2
    assert "ReferencedSegmentNumber" not in frame.ReferencedSOPSequence[0]  # either one or the other


def test_one_region_of_a_single_image(tmp_path):
    """What all frames share stands elsewhere in the file."""
    source = write_dicom(tmp_path / "one.dcm", ramp((8, 10)), **PLACED)
    case = read(source)
    masks = {"lesion": masks_of(case)["lesion"]}
    written = write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source)
    report = write_dicom_report(tmp_path / "sr.dcm", measured(masks, case), case, source=source, segmentation=written)
    assert numbers(report)[0]["Area"] == (20.0, "mm2")


def test_one_slice_of_an_enhanced_multiframe(tmp_path):
    source = enhanced(tmp_path / "enhanced.dcm", [3, 0, 5, 1, 4, 2])
    case = read(source)
    mask = np.zeros(case.geometry.shape, bool)
    mask[0, 2:5, 3:7] = True
    dataset = pydicom.dcmread(write_dicom_seg(tmp_path / "seg.dcm", {"a": mask}, case, source=source))
    groups = (*dataset.SharedFunctionalGroupsSequence, *dataset.PerFrameFunctionalGroupsSequence)
    (holder,) = (group for group in groups if "DerivationImageSequence" in group)
    assert holder.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 2
    assert np.array_equal(dataset.pixel_array > 0, mask[0])


def test_report_of_a_series(tmp_path):
    source = series(tmp_path / "series")
    case = read(source)
    masks = {**masks_of(case), "nothing": np.zeros(case.geometry.shape, bool)}
    segmentation = write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source)
    path = write_dicom_report(tmp_path / "sr.dcm", measured(masks, case), case, source=source, segmentation=segmentation)
    assert numbers(path) == [
        {
            **{"Volume": (10.0 + n, "cm3"), "Diameter": (30.5 + n, "mm")},
            **{"Attenuation Coefficient Mean": (40.0 + n, "[hnsf'U]")},
            **{"Attenuation Coefficient Standard Deviation": (5.0, "[hnsf'U]")},
            **{"Attenuation Coefficient Minimum": (-7.0, "[hnsf'U]")},
        }
        for n in (0, 1)
    ]
    dataset = pydicom.dcmread(path)
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (dataset.CompletionFlag, dataset.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    assert "Research use" in dataset.SeriesDescription
    assert dataset.PatientID == "P7"
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["left kidney", "lesion"]
    told = pydicom.dcmread(segmentation)
    for number, group in enumerate(groups, 1):
        reference = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == told.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
    evidence = {
        str(one.ReferencedSOPInstanceUID)
        for study in dataset.CurrentRequestedProcedureEvidenceSequence
        for part in study.ReferencedSeriesSequence
        for one in part.ReferencedSOPSequence
    }
    assert str(told.SOPInstanceUID) in evidence


def test_report_needs_a_segment_of_the_same_series(tmp_path):
    source = series(tmp_path / "series")
    case = read(source)
    masks = masks_of(case)
    segmentation = write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source)
    told = measured(masks, case)
    with pytest.raises(FormatError, match="no segment"):
        write_dicom_report(tmp_path / "a.dcm", {"spleen": told["lesion"]}, case, source=source, segmentation=segmentation)
    other = series(tmp_path / "other", SeriesInstanceUID="1.2.9")
    with pytest.raises(FormatError, match=r"segments the series 1\.2\.3"):
        write_dicom_report(tmp_path / "a.dcm", told, read(other), source=other, segmentation=segmentation)
    with pytest.raises(ImageReadError):
        write_dicom_report(tmp_path / "a.dcm", told, case, source=source, segmentation=source / "003.dcm")
    assert not (tmp_path / "a.dcm").exists()


def test_report_without_millimetres(tmp_path):
    gone = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    source = write_dicom(tmp_path / "one.dcm", ramp((8, 10)), **{**PLACED, **gone})
    case = read(source)
    with pytest.raises(GeometryError, match="no voxel size"):
        write_dicom_report(tmp_path / "a.dcm", measured(masks_of(case), case), case, source=source, segmentation=source)


def test_sources_that_cannot_be_referred_to(tmp_path):
    nifti = read(write_nifti(tmp_path / "scan.nii", ramp()))
    with pytest.raises(FormatError, match="read from DICOM"):
        write_dicom_seg(tmp_path / "seg.dcm", masks_of(nifti), nifti, source=tmp_path / "scan.nii")
    source = series(tmp_path / "series", FrameOfReferenceUID="")
    case = read(source)
    with pytest.raises(GeometryError, match="FrameOfReferenceUID"):
        write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=source)
    source = write_dicom(tmp_path / "one.dcm", ramp((8, 10)))
    case = read(source)
    with pytest.raises(ImageReadError, match="StudyInstanceUID"):
        write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=source)
    assert not (tmp_path / "seg.dcm").exists()


def test_another_source_is_told_by_its_hash(tmp_path):
    source, other = series(tmp_path / "series"), series(tmp_path / "other", "axial")
    case = read(source)
    for wrong in (other, sorted(source.iterdir())[0]):
        with pytest.raises(FormatError, match="no files with the hash"):
            write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=wrong)
    one = write_dicom(tmp_path / "one.dcm", ramp((8, 10)), **PLACED)
    flat = read(one)
    write_dicom(one, ramp((8, 10)) + 1, **PLACED)
    with pytest.raises(FormatError, match="no files with the hash"):
        write_dicom_seg(tmp_path / "seg.dcm", masks_of(flat), flat, source=one)
    with pytest.raises(ImageReadError, match="does not exist"):
        write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=tmp_path / "gone")


@pytest.mark.parametrize("label", ["", "  ", "x" * 65, "a\\b"])
def test_labels_that_dicom_cannot_hold(tmp_path, label):
    source = series(tmp_path / "series")
    case = read(source)
    with pytest.raises(FormatError, match="label"):
        write_dicom_seg(tmp_path / "seg.dcm", {label: np.ones(case.geometry.shape, bool)}, case, source=source)


def test_letters_beyond_ascii(tmp_path):
    """The source knows one alphabet, the label another."""
    source = series(tmp_path / "series", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    case = read(source)
    mask = np.ones(case.geometry.shape, bool)
    written = write_dicom_seg(tmp_path / "seg.dcm", {"左腎 größe": mask}, case, source=source)
    told = measured({"左腎 größe": mask}, case)
    report = write_dicom_report(tmp_path / "sr.dcm", told, case, source=source, segmentation=written)
    assert pydicom.dcmread(written).SegmentSequence[0].SegmentLabel == "左腎 größe"
    assert [str(pydicom.dcmread(path).PatientName) for path in (written, report)] == ["Müller^Jörg"] * 2
    (group,) = highdicom.sr.srread(report).content.get_volumetric_roi_measurement_groups()
    assert group.tracking_identifier == "左腎 größe"


def faults(path: Path) -> list[str]:
    """What dciodvfy finds against the standard."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy found: apt-get install dicom3tools")
    done = subprocess.run([program, "-new", path], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def written(tmp_path: Path, source: Path, **options: Any) -> tuple[Any, Any]:
    """Two masks and an empty one, and a report on them, both without fault."""
    case = read(source, **options)
    masks = {**masks_of(case), "nothing": np.zeros(case.geometry.shape, bool)}
    seg = write_dicom_seg(tmp_path / "out" / "seg.dcm", masks, case, source=source)
    told = measured({label: mask for label, mask in masks.items() if mask.any()}, case)
    report = write_dicom_report(tmp_path / "out" / "sr.dcm", told, case, source=source, segmentation=seg)
    assert (faults(seg), faults(report)) == ([], [])
    return pydicom.dcmread(seg), pydicom.dcmread(report)


def test_a_series_passes_dciodvfy(tmp_path):
    written(tmp_path, series(tmp_path / "series", "axial", StudyDate="20200101", StudyTime="101010"))


@pytest.mark.parametrize("kind", ["1", "1.1", "1.2", "2", "6.1", "7"])
@pytest.mark.parametrize("orientation", [None, ["L", "F"], ""])
def test_images_pass_dciodvfy(tmp_path, kind, orientation):
    """Radiographs, mammograms, a CT slice, ultrasound, secondary captures."""
    gone = {} if kind == "2" else dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    told = {} if orientation is None else {"PatientOrientation": orientation}
    frame = {"FrameOfReferenceUID": "1.2.840.2"} if kind == "2" else {}
    elements = {key: value for key, value in PLACED.items() if key != "FrameOfReferenceUID"} | gone | told | frame
    source = write_dicom(tmp_path / "one.dcm", ramp((8, 10)), SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{kind}", **elements)
    seg, _ = written(tmp_path, source)
    assert list(seg.PatientOrientation or ()) == list(orientation or ())


def test_a_frame_of_an_enhanced_file_passes_dciodvfy(tmp_path):
    seg, _ = written(tmp_path, enhanced(tmp_path / "enhanced.dcm", [3, 0, 5, 1, 4, 2]), frame=2)
    groups = (*seg.SharedFunctionalGroupsSequence, *seg.PerFrameFunctionalGroupsSequence)
    items = [i for group in groups for step in group.get("DerivationImageSequence") or () for i in step.SourceImageSequence]
    assert {int(item.ReferencedFrameNumber) for item in items} == {3}


def test_each_segment_refers_to_the_frame_it_lies_on(tmp_path):
    source = enhanced(tmp_path / "enhanced.dcm", [3, 0, 5, 1, 4, 2])
    case = read(source)
    seg = pydicom.dcmread(write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=source))
    told = pydicom.dcmread(source).PerFrameFunctionalGroupsSequence
    for group in seg.PerFrameFunctionalGroupsSequence:
        (item,) = group.DerivationImageSequence[0].SourceImageSequence
        there = told[int(item.ReferencedFrameNumber) - 1].PlanePositionSequence[0].ImagePositionPatient
        assert list(there) == list(group.PlanePositionSequence[0].ImagePositionPatient)


@pytest.mark.parametrize(
    ("key", "stored", "expected"),
    [
        ("StudyTime", "10:10:10", "101010"),
        ("StudyTime", "10:10", "1010"),
        ("StudyTime", "256161", None),
        ("StudyDate", "1999.12.31", "19991231"),
        ("StudyDate", "19993112", None),
        ("PatientBirthDate", "19XX0101", None),
        ("PatientBirthDate", "1950", None),
        ("PatientBirthDate", "00000000", None),
        ("PatientSex", "female", None),
        ("PatientSex", "F", "F"),
        ("PatientAge", "44 years", None),
    ],
)
def test_odd_dates_times_and_codes_of_the_source(tmp_path, monkeypatch, key, stored, expected):
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
    source = write_dicom(tmp_path / "one.dcm", ramp((8, 10)), **PLACED, **{key: stored})
    monkeypatch.undo()
    for dataset in written(tmp_path, source):
        assert (str(dataset.get(key) or "") or None) == expected
        assert dataset.PatientID == "P7"


def test_segments_are_read_back_at_their_places(tmp_path):
    """Empty frames are left out of the file: those of a segment at every third slice lie three times as far apart."""
    source = series(tmp_path / "series", "axial")
    case = read(source)
    masks = {label: np.zeros(case.geometry.shape, bool) for label in ("every third", "last", "one")}
    masks["every third"][[0, 3], 2:4, 2:4] = True
    masks["last"][[4, 5], 1:3, 1:3] = True
    masks["one"][2, 5:, 5:] = True
    path = write_dicom_seg(tmp_path / "back" / "seg.dcm", masks, case, source=source)
    for place in (path, path.parent):
        with pytest.raises(GeometryError, match=r"3 volumes.*segment 1, 2 slices.*segment 3, 1 slice .*series='segment 3'"):
            read(place)
        for number, mask in enumerate(masks.values(), 1):
            back = read(place, series=f"segment {number}")
            assert np.array_equal(back.pixels > 0, mask)
            assert np.allclose(back.geometry.affine_lps, case.geometry.affine_lps)
            assert "filled in" in back.notes[0]
    with pytest.raises(GeometryError, match="leaves out empty frames"):  # a mask on it would have nothing to refer to
        write_dicom_seg(tmp_path / "again.dcm", {"a": back.pixels > 0}, back, source=path)


def test_segments_of_an_oblique_series_are_read_back(tmp_path):
    source = series(tmp_path / "series", "oblique")
    case = read(source)
    masks = {"a": np.zeros(case.geometry.shape, bool)}
    masks["a"].flat[:: case.pixels.size // 7] = True
    back = read(write_dicom_seg(tmp_path / "seg.dcm", masks, case, source=source))
    assert case_points(back, back.pixels > 0) == case_points(case, masks["a"])


def test_a_segmentation_does_not_unpack_beyond_the_limits(tmp_path):
    source = series(tmp_path / "series", "axial")
    case = read(source)
    path = write_dicom_seg(tmp_path / "seg.dcm", {"a": np.ones(case.geometry.shape, bool)}, case, source=source)
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 2.5e8]
    dataset.save_as(path)
    with pytest.raises(SizeLimitError, match="max_voxels"):
        read(path)


def test_no_mask_and_one_that_does_not_fit(tmp_path):
    source = series(tmp_path / "series")
    case = read(source)
    with pytest.raises(FormatError, match="no mask"):
        write_dicom_seg(tmp_path / "seg.dcm", {}, case, source=source)
    with pytest.raises(FormatError, match="a mask of type"):
        write_dicom_seg(tmp_path / "seg.dcm", {"a": np.ones((2, 2), bool)}, case, source=source)


def test_cine_frame_without_a_place(tmp_path):
    """Frames of an ultrasound loop have no functional groups to refer to."""
    gone = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    dataset = dicom_dataset(ramp((4, 8, 10)), **{**gone, "StudyInstanceUID": generate_uid(), "NumberOfFrames": 4})
    dataset.SOPClassUID, dataset.Modality = UltrasoundMultiFrameImageStorage, "US"
    dataset.save_as(tmp_path / "cine.dcm", enforce_file_format=True)
    case = read(tmp_path / "cine.dcm", frame=2)
    with pytest.raises(GeometryError, match="loop"):
        write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=tmp_path / "cine.dcm")


def test_without_highdicom(tmp_path, monkeypatch):
    source = series(tmp_path / "series")
    case = read(source)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"unireason\[dicom\]"):
        write_dicom_seg(tmp_path / "seg.dcm", masks_of(case), case, source=source)
