"""Masks as one DICOM segmentation: binary, one segment a mask, on the frames of the source images.

Source: DICOM PS3.3 A.51 (Segmentation IOD), C.8.20 (Segmentation Module).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason import __version__
from unireason.errors import FormatError, GeometryError
from unireason.files import write_bytes
from unireason.imaging.decode import decoding
from unireason.imaging.geometry import to_source
from unireason.types import Case

from .dicom_source import PURPOSE, REMEDY, SourceImages, highdicom, series_number, source_images
from .masks import check_mask

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
    pixels = _frames(masks, case)
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


def _frames(masks: Mapping[str, NDArray[np.bool_]], case: Case) -> NDArray[np.uint8]:
    """uint8 (slices in the order of the source index k, rows, columns, segments)."""
    stored = [to_source(mask, case.geometry) for mask in masks.values()]
    return np.stack([one[None] if one.ndim == 2 else one for one in stored], axis=-1).astype(np.uint8)


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
