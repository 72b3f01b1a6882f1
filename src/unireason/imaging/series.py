"""A folder of DICOM files: which of them belong together, in which order, and is the stack complete?

The first pass reads headers only. The second pass reads each file of the chosen series once, hashes it and decodes it into the
volume.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unireason.errors import FormatError, GeometryError, ImageReadError
from unireason.types import Affine, Case, Source

from .decode import decoding, sha256, sha256_of_files
from .dicom import read_dicom
from .dicom_values import (
    FrameHeader,
    Scale,
    Slices,
    display_notes,
    frame_count,
    frame_values,
    load,
    parse,
    plain_values,
    scale_of,
    stored_window,
)
from .geometry import to_canonical, volume_geometry
from .limits import Limits, file_bytes, file_size
from .multiframe import frame_plane, read_concatenation
from .options import ReadOptions
from .planes import Plane, has_copies, orientation_key, stack_planes

_TAGS = (
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "AcquisitionNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ConcatenationUID",
    "InConcatenationTotalNumber",
)
_SUFFIXES = ("", ".dcm", ".ima", ".dicom")


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    path: Path
    uid: str
    label: str
    acquisition: str
    shape: tuple[int, int]
    plane: Plane | None
    whole: str  # what its object is stored in: a concatenation, or this file alone if it has several frames; else ""
    header: Any
    data_at: int  # where the pixel data element begins


def read_series(folder: Path, options: ReadOptions) -> Case:
    """Read one DICOM series of a folder, subfolders included.

    Files are grouped by series and orientation (and by acquisition, where positions would repeat), sorted along the slice normal
    and checked for missing slices, copies, uneven distances and gantry tilt. The hash is the SHA-256 of the sorted hex digests
    of the files of that series.

    Args:
        folder: The folder.
        options: ``series`` chooses among several by UID or number.

    Returns:
        A volume Case; an image Case if the series is one single-frame file.

    Raises:
        ImageReadError: If there is no DICOM image, or one is damaged.
        GeometryError: If the slices do not make one regular volume, or there are several series and none was chosen.
        SizeLimitError: If files or volume are too many or too large.
    """
    entries, ignored = _scan(folder, options.limits)
    if not entries:
        raise ImageReadError(
            f"the folder '{folder.name}' holds no DICOM image", "a DICOM series", "give a file or another folder"
        )
    stack = _choose(_group(entries), options.series, folder.name)
    notes = (f"{ignored} files that are no DICOM images were ignored",) if ignored else ()
    if len(stack) == 1 and int(stack[0].header.get("InConcatenationTotalNumber") or 1) == 1:
        case = read_dicom(stack[0].path, replace(options, series=None))
        return replace(case, notes=(*case.notes, *notes))
    if stack[0].whole:
        case = read_concatenation([entry.path for entry in stack], folder.name, replace(options, series=None))
        return replace(case, notes=(*case.notes, *notes))
    planes = [entry.plane for entry in stack if entry.plane is not None]
    if len(planes) < len(stack):
        raise GeometryError(
            f"{len(stack) - len(planes)} of {len(stack)} files have no position in the patient",
            "position, orientation and pixel spacing in each",
            "give one of the files instead of the folder",
        )
    order, affine, more = stack_planes(planes)
    return _volume(folder, [stack[n] for n in order], affine, options, (*notes, *more))


def series_files(folder: Path, digest: str, limits: Limits) -> list[Path]:
    """The files from which a volume Case was read, found again by their hash.

    Args:
        folder: The folder, subfolders included.
        digest: ``Case.source.sha256`` of the volume.
        limits: Bounds on files.

    Returns:
        Paths in the order of the slices, index k of the source; empty if no series of the folder has this hash.

    Raises:
        ImageReadError: If a file is damaged.
        GeometryError: If the slices of that series do not make one volume.
        SizeLimitError: If files are too many or too large.
    """
    for stack in _group(_scan(folder, limits)[0]):
        if sha256_of_files(sha256(file_bytes(entry.path, limits)) for entry in stack) == digest:
            order = stack_planes([entry.plane for entry in stack if entry.plane is not None])[0]
            return [stack[n].path for n in order]
    return []


def _scan(folder: Path, limits: Limits) -> tuple[list[_Entry], int]:
    entries, ignored = [], 0
    for count, path in enumerate(_files(folder), 1):
        limits.check("max_files", count, f"the folder '{folder.name}'")
        entry = _entry(path, limits)
        if entry is None:
            ignored += 1
        else:
            entries.append(entry)
    return entries, ignored


def _files(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(base, name)


def _entry(path: Path, limits: Limits) -> _Entry | None:
    """Header of one file; None if it is no DICOM image."""
    with decoding(path, "DICOM"):
        if path.stat().st_size < 132 or not path.is_file():
            return None
        file_size(path, limits)
        with path.open("rb") as file:
            marked = file.read(132)[128:] == b"DICM"
        if not marked and path.suffix.lower() not in _SUFFIXES:
            return None
        try:
            with path.open("rb") as file:
                header = load(file, path.name, limits, stop_before_pixels=True, specific_tags=list(_TAGS))
                data_at = file.tell()
            if not header.get("Rows") or not header.get("Columns") or not header.get("SeriesInstanceUID"):
                return None
        except Exception:
            if marked:
                raise
            return None  # a text or other file without a suffix, parsed as DICOM on the chance that it is one
        return _described(path, header, data_at)


def _described(path: Path, header: Any, data_at: int) -> _Entry:
    frame = FrameHeader(header)
    whole = str(header.get("ConcatenationUID") or (path if int(header.get("NumberOfFrames") or 1) > 1 else ""))
    return _Entry(
        path,
        str(header.SeriesInstanceUID),
        " ".join(str(header.get(key) or "") for key in ("Modality", "SeriesNumber", "SeriesDescription")).strip(),
        str(header.get("AcquisitionNumber") or ""),
        (int(header.Rows), int(header.Columns)),
        frame_plane(frame, path.name) if frame.is_placed and not whole else None,
        whole,
        header,
        data_at,
    )


def _group(entries: list[_Entry]) -> list[list[_Entry]]:
    """Entries that may be one volume, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[_Entry]] = {}
    for entry in entries:
        turn = () if entry.plane is None else orientation_key(entry.plane)
        groups.setdefault((entry.uid, entry.shape, turn, entry.whole), []).append(entry)
    result: list[list[_Entry]] = []
    for group in groups.values():
        planes = [entry.plane for entry in group if entry.plane is not None]
        parts: dict[str, list[_Entry]] = {}
        if len(planes) == len(group) and has_copies(planes):
            for entry in group:
                parts.setdefault(entry.acquisition, []).append(entry)
        result.extend(parts.values() or [group])
    return result


def _choose(groups: list[list[_Entry]], asked: str | int | None, name: str) -> list[_Entry]:
    found = groups
    if isinstance(asked, int):
        found = groups[asked : asked + 1] if asked >= 0 else []
    elif asked is not None:
        found = [group for group in groups if group[0].uid == asked]
    if len(found) == 1:
        return found[0]
    listing = "; ".join(f"{n}: {g[0].label}, {len(g)} files, UID {g[0].uid}" for n, g in enumerate(groups[:20]))
    if asked is not None and not found:
        raise FormatError(f"series {asked!r} is not in '{name}'", f"one of {listing}")
    raise GeometryError(
        f"'{name}' holds {len(groups)} series or orientations ({listing})", "one", "choose by number, e.g. series=0, or by UID"
    )


def _volume(folder: Path, stack: list[_Entry], affine: Affine, options: ReadOptions, notes: tuple[str, ...]) -> Case:
    limits, name = options.limits, f"the series in '{folder.name}'"
    limits.check("max_total_bytes", sum(entry.path.stat().st_size for entry in stack), name)
    limits.check("max_voxels", len(stack) * stack[0].shape[0] * stack[0].shape[1], name)
    slices, scales, digests = Slices(len(stack)), [], []
    for k, entry in enumerate(stack):
        values, scale, digest = _slice(entry, limits)
        slices.put(k, values, f"'{entry.path.name}'")
        scales.append(scale)
        digests.append(digest)
    volume = slices.array()
    geometry = volume_geometry((volume.shape[2], volume.shape[1], volume.shape[0]), affine)
    source = Source(folder.name, "dicom-series", sha256_of_files(digests))
    with decoding(stack[0].path, "DICOM"):
        modality = options.modality or str(stack[0].header.get("Modality") or "")
        window = stored_window(FrameHeader(stack[0].header), scales[0])
    pixels = to_canonical(volume, geometry)
    return Case(pixels, "volume", geometry, modality, source, window, (*notes, *display_notes(scales[0])))


def _slice(entry: _Entry, limits: Limits) -> tuple[NDArray[Any], Scale, str]:
    """One file, read once: its real values, how they came about, and its hash."""
    name = entry.path.name
    content = file_bytes(entry.path, limits)
    with decoding(entry.path, "DICOM"):
        limits.check("max_pixels", entry.shape[0] * entry.shape[1], f"'{name}'")
        stored = plain_values(entry.header, content, entry.data_at)
        if stored is not None:
            scale = scale_of(FrameHeader(entry.header))
            return scale.apply(stored), scale, sha256(content)
        dataset = parse(content, name, limits)
        if frame_count(dataset, name, limits) != 1:
            raise GeometryError(f"'{name}' is one of several files and has several frames", "one frame a file", "read it alone")
        return *frame_values(dataset, 0), sha256(content)
