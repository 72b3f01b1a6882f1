"""What was measured of the segments of a DICOM segmentation, as a structured report that a picture archive can read.

Source: DICOM PS3.16 TID 1500 (Measurement Report), TID 1410 and 1411 (planar and volumetric regions), CID 7469, CID 7464.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unireason import __version__
from unireason.core.errors import FormatError, GeometryError
from unireason.core.store import write_bytes
from unireason.core.types import Case

from .dicom_seg import PURPOSE, REMEDY, SourceImages, highdicom, series_number, source_images
from .reader import decoding

Statistics = Mapping[str, Any]
_DERIVED = (("mean", "Mean"), ("sd", "StandardDeviation"), ("min", "Minimum"), ("max", "Maximum"))


def write_dicom_report(path: Path, statistics: Mapping[str, Statistics], case: Case, *, source: Path, segmentation: Path) -> Path:
    """Write the statistics of regions as a TID 1500 measurement report.

    A region refers to its segment of a DICOM segmentation written before by `write_dicom_seg`; one of an image refers to the frame too.
    Volume (cm³, the same as ml) or area (mm²), the largest diameter (mm) and mean, standard deviation, minimum and maximum of the
    values are told, as far as they are known. Values of CT are named attenuation in Hounsfield units, those of MR signal intensity,
    all others "Pixel value" (private code), without a unit. The report is neither complete, final nor verified, and says that it is
    for research use.

    Args:
        path: Where to write, e.g. ``measurements.dcm``; missing folders are made.
        statistics: Label of a segment to its statistics, as `unireason.metrics.regions.region_statistics` gives them. Empty regions are
            left out.
        case: What was measured, read from DICOM.
        source: The file or folder from which the case was read; its hash is checked.
        segmentation: The file written by `write_dicom_seg`.

    Returns:
        The path written.

    Raises:
        FormatError: If nothing is left to be told, a label is no segment, or source or segmentation are not those of the case.
        ImageReadError: If source or segmentation cannot be read or referred to.
        GeometryError: If the case has no millimetres: the standard wants a size for every region.
        MissingExtraError: If highdicom is not installed.
        UniReasonError: If the file cannot be written.
    """
    package = highdicom()
    from pydicom.uid import generate_uid

    told = {label: values for label, values in statistics.items() if values["voxels"]}
    if not told:
        raise FormatError("no region with a voxel to be reported", "at least one")
    if case.geometry.spacing_mm is None:
        raise GeometryError(
            "the case has no voxel size", "one, to give sizes in millimetres", "write the statistics as JSON instead"
        )
    images = source_images(case, source)
    segments = _Segments(Path(segmentation), images)
    missing = [label for label in told if label not in segments.numbers]
    if missing:
        raise FormatError(f"the segmentation has no segment {missing}", f"some of {list(segments.numbers)}")
    with decoding(Path(source), "the source of a report", REMEDY):
        groups = [_group(package, label, values, case, images, segments) for label, values in told.items()]
        device = package.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=["unireason", __version__]), name="UniReason", model_name=f"unireason {__version__}"
        )
        observer = package.sr.ObserverContext(observer_type=_code("Device", "DCM"), observer_identifying_attributes=device)
        content = package.sr.MeasurementReport(
            observation_context=package.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=_code("ImagingProcedure"),
            imaging_measurements=groups,
        )
        stream = io.BytesIO()
        package.sr.ComprehensiveSR(
            evidence=[*images.datasets, segments.dataset],
            content=content[0],
            series_instance_uid=package.UID(),
            series_number=series_number(images) + 1,
            sop_instance_uid=package.UID(),
            instance_number=1,
            manufacturer="UniReason",
            manufacturer_model_name="unireason",
            software_versions=__version__,
            series_description=PURPOSE,
            content_qualification="RESEARCH",
            specific_character_set="ISO_IR 192",
        ).save_as(stream)
    return write_bytes(path, stream.getvalue())


class _Segments:
    """A segmentation read back: numbers of its segments by label, and its frames."""

    def __init__(self, path: Path, images: SourceImages) -> None:
        import pydicom

        with decoding(path, "a DICOM segmentation"):
            self.dataset = pydicom.dcmread(path, stop_before_pixels=True)
            self.numbers = {str(item.SegmentLabel): int(item.SegmentNumber) for item in self.dataset.SegmentSequence}
            series = str(self.dataset.ReferencedSeriesSequence[0].SeriesInstanceUID)
        if series != str(images.datasets[0].SeriesInstanceUID):
            raise FormatError(
                f"'{path.name}' segments the series {series}", f"{images.datasets[0].SeriesInstanceUID}, that of the case"
            )

    def frame(self, number: int) -> int:
        """The first frame of a segment, counted from 1."""
        shared = self.dataset.SharedFunctionalGroupsSequence[0]
        for n, group in enumerate(self.dataset.PerFrameFunctionalGroupsSequence, 1):
            # What is the same for all frames, as with a single segment, stands in the shared groups.
            holder = group if "SegmentIdentificationSequence" in group else shared
            if int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber) == number:
                return n
        raise FormatError(f"segment {number} of the segmentation has no frame", "one with a voxel")


def _group(package: Any, label: str, values: Statistics, case: Case, images: SourceImages, segments: _Segments) -> Any:
    """The measurements of one region, TID 1411 for a volume and TID 1410 for an image."""
    sr, seg, number = package.sr, segments.dataset, segments.numbers[label]
    shared: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=package.UID(), identifier=label),
        "finding_type": _code("Tissue"),
        "algorithm_id": sr.AlgorithmIdentification(name="UniReason", version=__version__, parameters=[PURPOSE]),
        "measurements": list(_measurements(sr, values, case)),
    }
    if case.kind == "volume":
        series = sr.SourceSeriesForSegmentation(images.datasets[0].SeriesInstanceUID)
        segment = sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, number, source_series=series)
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)
    frames = None if images.frames is None else [n + 1 for n in images.frames]
    image = sr.SourceImageForSegmentation(images.datasets[0].SOPClassUID, images.datasets[0].SOPInstanceUID, frames)
    frame = sr.ReferencedSegmentationFrame(seg.SOPClassUID, seg.SOPInstanceUID, segments.frame(number), number, image)
    del (
        frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    )  # a frame of a segmentation is of one segment; PS3.3 C.17.5 wants one
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **shared)


def _measurements(sr: Any, values: Statistics, case: Case) -> Iterator[Any]:
    sizes = (
        (values["volume_ml"], _code("Volume"), _unit("CubicCentimeter")),
        (values["area_mm2"], _code("Area"), _unit("SquareMillimeter")),
        (values["diameter_mm"], _code("Diameter"), _unit("Millimeter")),
    )
    for value, name, unit in sizes:
        if value is not None:
            yield sr.Measurement(name, value, unit)
    name, unit = _intensity(case)
    for key, derivation in _DERIVED:
        if values[key] is not None:
            yield sr.Measurement(name, values[key], unit, derivation=_code(derivation))


def _intensity(case: Case) -> tuple[Any, Any]:
    """Code and unit of the case's own values."""
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    if case.modality == "CT":
        return codes.DCM.AttenuationCoefficient, _unit("HounsfieldUnit")
    if case.modality == "MR":
        return codes.DCM.MRSignalIntensity, _unit("NoUnits")
    return Code("pixel-value", "99UNIREASON", "Pixel value"), _unit("NoUnits")


def _code(name: str, scheme: str = "SCT") -> Any:
    from pydicom.sr.codedict import codes

    return getattr(getattr(codes, scheme), name)


def _unit(name: str) -> Any:
    return _code(name, "UCUM")
