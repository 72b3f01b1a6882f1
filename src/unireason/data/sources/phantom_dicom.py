"""A phantom patient as a DICOM CT series, one file a slice, with positions, orientation, rescale and window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unireason.types import PHANTOM

from .phantom import Patient

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT = -1024


def _uid(patient: Patient, *parts: object) -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix="1.2.826.0.1.3680043.8.498.", entropy_srcs=[patient.id, *map(str, parts)]))


def _number(value: float) -> str:
    """A decimal string of at most 16 characters (DICOM PS3.5 section 6.2, DS)."""
    for digits in range(12, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"


def _slice(patient: Patient, k: int) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT_IMAGE_STORAGE
    meta.MediaStorageSOPInstanceUID = _uid(patient, "slice", k)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    affine = patient.affine_lps
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    data.SOPClassUID, data.SOPInstanceUID = CT_IMAGE_STORAGE, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(patient, "study"), _uid(patient, "series")
    data.FrameOfReferenceUID = _uid(patient, "frame")
    data.PatientID, data.PatientName, data.Modality = patient.id, "PHANTOM^" + patient.id.upper(), "CT"
    data.Manufacturer, data.ManufacturerModelName = "UniReason", PHANTOM
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20260101", "120000", "1", ""
    data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = "synthetic phantom, not a patient", 1, k + 1
    data.ImageOrientationPatient = [_number(v) for v in (*columns[:, 0], *columns[:, 1])]
    data.ImagePositionPatient = [_number(v) for v in (affine @ np.array([0, 0, k, 1.0]))[:3]]
    data.PixelSpacing = [_number(patient.spacing_mm[1]), _number(patient.spacing_mm[0])]
    data.SliceThickness = _number(patient.spacing_mm[2])
    data.WindowCenter, data.WindowWidth = "40", "400"
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = "1", str(INTERCEPT), "HU"
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.Rows, data.Columns = patient.voxels.shape[1:]
    data.PixelData = (patient.voxels[k].astype(np.int32) - INTERCEPT).astype("<u2").tobytes()
    return data


def write_series(patient: Patient, folder: Path) -> None:
    """Writes all slices into an existing folder, as ``slice-0000.dcm`` and so on.

    Args:
        patient: The patient; its slices lie along the positive normal of the image plane.
        folder: Existing folder.

    Source: DICOM PS3.3 sections C.7.6.2 (Image Plane) and C.8.2.1 (CT Image).
    """
    for k in range(patient.voxels.shape[0]):
        _slice(patient, k).save_as(folder / f"slice-{k:04d}.dcm", enforce_file_format=True)
