"""The DICOM images from which a case was read, found again: a mask in DICOM refers to them and takes patient and study from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unireason.errors import FormatError, GeometryError, ImageReadError, MissingExtraError
from unireason.files import sha256
from unireason.imaging.decode import decoding
from unireason.imaging.dicom_values import load
from unireason.imaging.limits import Limits
from unireason.imaging.series import series_files
from unireason.types import Case

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
    """What a mask in DICOM refers to.

    Attributes:
        datasets: pydicom data sets without pixels: one a slice in the order of the source index k; or one file with several frames, cut
            down to those of the case in that order.
        frames: For one file with several frames: their numbers in the file, from 0, in the order of k; else None.
    """

    datasets: tuple[Any, ...]
    frames: tuple[int, ...] | None


def source_images(case: Case, source: Path) -> SourceImages:
    """Read the headers of a case's own DICOM files again.

    Args:
        case: Read from DICOM.
        source: The file or folder from which it was read.

    Returns:
        The data sets; patient and study elements that may be empty but are missing are there and empty.

    Raises:
        FormatError: If the case does not come from DICOM, or ``source`` holds other files (told by their hash).
        ImageReadError: If a file is damaged, or misses the identifiers that a reference needs.
        GeometryError: If the slices of the series do not make one volume, or the file is a loop without functional groups.
    """
    if case.source.format not in ("dicom", "dicom-multiframe", "dicom-series"):
        raise FormatError(f"a case of format '{case.source.format}'", "one read from DICOM", REMEDY)
    paths = _paths(case, Path(source))
    if not paths:
        raise FormatError(
            f"'{Path(source).name}' holds no files with the hash of the case '{case.source.name}'",
            "the files from which the case was read, unchanged",
        )
    with decoding(Path(source), "DICOM", REMEDY):
        datasets = tuple(_header(path) for path in paths)
        for path, dataset in zip(paths, datasets, strict=True):
            _complete(dataset, path.name)
        if "frames" not in case.geometry.header:
            return SourceImages(datasets, None)
        frames = tuple(int(n) for n in case.geometry.header["frames"])
        _keep(datasets[0], frames)
        return SourceImages(datasets, frames)


def _paths(case: Case, source: Path) -> list[Path]:
    if not source.exists():
        raise ImageReadError(f"'{source}' does not exist", "the DICOM file or folder of the case")
    if case.source.format == "dicom-series":
        return series_files(source, case.source.sha256, Limits()) if source.is_dir() else []
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.name == case.source.name)
    return [path for path in files if sha256(path) == case.source.sha256][:1]


def _header(path: Path) -> Any:
    with path.open("rb") as file:
        return load(file, path.name, Limits(), stop_before_pixels=True)


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
    """Leave out what old or anonymising programs write where the standard wants a date, a time, a number or a code.

    Dates and times as they were written before DICOM (2001.12.31, 10:10:10) are understood.
    """
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
    """The optional package that writes DICOM.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import highdicom as package
    except ModuleNotFoundError as error:
        raise MissingExtraError("highdicom", "dicom") from error
    return package
