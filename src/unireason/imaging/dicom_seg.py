"""Masks as one DICOM segmentation: binary, one segment a mask, on the frames of the source images.

Source: DICOM PS3.3 A.51 (Segmentation IOD), C.8.20 (Segmentation Module).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason import __version__
from unireason.core.errors import FormatError, GeometryError, ImageReadError, MissingExtraError
from unireason.core.store import sha256, write_bytes
from unireason.core.types import Case

from .dicom_series import series_files
from .dicom_values import load
from .geometry import to_source
from .reader import Limits, decoding
from .write_masks import check_mask

PURPOSE = "Research use only, not a medical device"
"""What every file written says of itself; fits the 64 letters of a DICOM description."""

REMEDY = "write the masks as .nii.gz instead"
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


@dataclass(frozen=True, slots=True, eq=False)
class SourceImages:
    """What a mask in DICOM refers to."""

    datasets: tuple[Any, ...]
    frames: tuple[int, ...] | None


def source_images(case: Case, source: Path) -> SourceImages:
    """Read the headers of a case's own DICOM files again."""
    if case.source.format not in ("dicom", "dicom-multiframe", "dicom-series"):
        raise FormatError(f"a case of format '{case.source.format}'", "one read from DICOM", REMEDY)
    source, digest = Path(source), case.source.sha256
    if not source.exists():
        raise ImageReadError(f"'{source}' does not exist", "the DICOM file or folder of the case")
    if case.source.format == "dicom-series":
        paths = series_files(source, digest, Limits()) if source.is_dir() else []
    else:
        files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.name == case.source.name)
        paths = [path for path in files if sha256(path) == digest][:1]
    if not paths:
        raise FormatError(
            f"'{source.name}' holds no files with the hash of the case '{case.source.name}'",
            "the files from which the case was read, unchanged",
        )
    with decoding(source, "DICOM", REMEDY):
        headers = []
        for path in paths:
            with path.open("rb") as file:
                headers.append(load(file, path.name, Limits(), stop_before_pixels=True))
        datasets = tuple(headers)
        for path, dataset in zip(paths, datasets, strict=True):
            _complete(dataset, path.name)
        if "frames" not in case.geometry.header:
            return SourceImages(datasets, None)
        frames = tuple(int(n) for n in case.geometry.header["frames"])
        _keep(datasets[0], frames)
        return SourceImages(datasets, frames)


def _complete(dataset: Any, name: str) -> None:
    for tag in tuple(dataset.keys()):
        _conform(dataset, tag)
    missing = [key for key in _IDENTITY if not dataset.get(key)]
    if missing:
        raise ImageReadError(f"'{name}' has no {', '.join(missing)}", "the identifiers that a reference needs", REMEDY)
    for key in _MAY_BE_EMPTY:
        if key not in dataset:
            setattr(dataset, key, None)


def _conform(dataset: Any, tag: Any) -> None:
    """Leave out what old or anonymising programs write where the standard wants a date, a time, a number or a code."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR, keyword_for_tag
    from pydicom.multival import MultiValue
    from pydicom.valuerep import validate_value

    keyword = keyword_for_tag(tag)
    if not keyword or (kind := dictionary_VR(tag)) not in ("DA", "TM", "DT", "AS", "CS", "DS", "IS"):
        return
    try:
        value = dataset[tag].value
        if isinstance(value, str) and kind in ("DA", "TM"):
            value = re.sub("[./-]" if kind == "DA" else ":", "", value.strip())
            if value:
                datetime.strptime(value.split(".")[0], "%Y%m%d" if kind == "DA" else "%H%M%S"[: len(value.split(".")[0])])
            dataset[tag].value = value
        for item in value if isinstance(value, MultiValue) else [value]:
            if isinstance(item, str):  # numbers have become numbers, or raised
                validate_value(kind, item, RAISE)
        if keyword != "PatientSex" or value in ("M", "F", "O", "", None):
            return
    except (ValueError, TypeError, OverflowError):
        pass
    del dataset[tag]  # what the writer needs is there again, empty, in a moment


def _keep(dataset: Any, frames: tuple[int, ...]) -> None:
    """Drop all other frames: several at one place (echoes, times) would not make a segmentation, which has one."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        raise GeometryError(
            "the source is a loop whose frames have no places (no functional groups)", "single images or enhanced DICOM", REMEDY
        )
    if min(frames) < 0:
        raise GeometryError("the source leaves out empty frames of the volume", "a file with all of them", REMEDY)
    dataset.PerFrameFunctionalGroupsSequence = [groups[n] for n in frames]
    dataset.NumberOfFrames = len(frames)


def series_number(images: SourceImages) -> int:
    """Number of a series made from another: that of the source and a hundred."""
    number = images.datasets[0].get("SeriesNumber")
    return 100 + (int(number) if number is not None and 0 <= int(number) < 10**6 else 0)


def highdicom() -> Any:
    """The optional package that writes DICOM."""
    try:
        import highdicom as package
    except ModuleNotFoundError as error:
        raise MissingExtraError("highdicom", "dicom") from error
    return package


# --- Masks as one DICOM segmentation: binary, one segment a mask, on the frames of the source images.


_LONGEST_LABEL = 64  # DICOM value representation LO


def write_dicom_seg(path: Path, masks: Mapping[str, NDArray[np.bool_]], case: Case, *, source: Path) -> Path:
    """Write masks as DICOM-SEG.

    Patient, study, frame of reference and the place of each frame come from the source images. Frames without a voxel of any segment
    are left out, as is usual; if all are empty, all are kept. Masks may overlap. The file says that it is for research use.

    Args:
        path: Where to write, e.g. ``structures.dcm``; missing folders are made.
        masks: Label to bool mask of ``case.geometry.shape``, at least one; segment numbers follow their order, from 1.
        case: What they were drawn on, read from DICOM.
        source: The file or folder from which the case was read; its hash is checked.

    Returns:
        The path written.

    Raises:
        FormatError: If there is no mask, one does not fit, a label is empty or too long, or the source is not that of the case.
        ImageReadError: If the source cannot be referred to.
        GeometryError: If a volume has no frame of reference, or the source is a loop without functional groups (ultrasound).
        MissingExtraError: If highdicom is not installed.
        UniReasonError: If the file cannot be written.
    """
    package = highdicom()
    if not masks:
        raise FormatError("no mask to be written", "at least one")
    for label, mask in masks.items():
        check_mask(mask, case)
        if not label.strip() or len(label) > _LONGEST_LABEL or "\\" in label:
            raise FormatError(f"the label {label!r}", f"1 to {_LONGEST_LABEL} letters without a backslash")
    images = source_images(case, source)
    if case.kind == "volume" and not images.datasets[0].get("FrameOfReferenceUID"):
        raise GeometryError("the source has no FrameOfReferenceUID", "one, to place a volume in the patient", REMEDY)
    stored = [to_source(mask, case.geometry) for mask in masks.values()]
    # Slices in the order of the source index k, rows, columns, segments.
    pixels = np.stack([one[None] if one.ndim == 2 else one for one in stored], axis=-1).astype(np.uint8)
    with decoding(Path(source), "the source of a segmentation", REMEDY):
        segmentation = package.seg.Segmentation(
            source_images=list(images.datasets),
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=[_segment(package, n, label) for n, label in enumerate(masks, 1)],
            series_instance_uid=package.UID(),
            series_number=series_number(images),
            sop_instance_uid=package.UID(),
            instance_number=1,
            manufacturer="UniReason",
            manufacturer_model_name="unireason",
            software_versions=__version__,
            device_serial_number="0",
            content_label="STRUCTURES",
            content_description=PURPOSE,
            series_description=PURPOSE,
            content_qualification="RESEARCH",
            specific_character_set="ISO_IR 192",
            omit_empty_frames=bool(pixels.any()),
        )
        _renumber(segmentation, images)
        if case.kind == "image":  # whose planes need not be told, so which way the patient lies must be, known or not
            segmentation.PatientOrientation = images.datasets[0].get("PatientOrientation")
        stream = io.BytesIO()
        segmentation.save_as(stream)
    return write_bytes(path, stream.getvalue())


def _renumber(segmentation: Any, images: SourceImages) -> None:
    """Let references to frames name those of the file, of which the source given to highdicom had only some."""
    if images.frames is None:
        return
    groups = (*segmentation.SharedFunctionalGroupsSequence, *segmentation.PerFrameFunctionalGroupsSequence)
    items = [item for group in groups for step in group.get("DerivationImageSequence") or () for item in step.SourceImageSequence]
    for item in {id(item): item for item in items}.values():  # segments at one place share an item
        item.ReferencedFrameNumber = images.frames[int(item.get("ReferencedFrameNumber", 1)) - 1] + 1


def _segment(package: Any, number: int, label: str) -> Any:
    from pydicom.sr.codedict import codes

    # No code is guessed from a label: "Tissue" is what general tools write for a structure that only its label names.
    return package.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type="AUTOMATIC",
        algorithm_identification=package.AlgorithmIdentificationSequence(
            name="UniReason", family=codes.cid7162.ArtificialIntelligence, version=__version__
        ),
        tracking_id=label,
        tracking_uid=package.UID(),
    )
