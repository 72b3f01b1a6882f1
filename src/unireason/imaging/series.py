"""A folder of DICOM files: which of them belong together, in which order, and is the stack complete?

The first pass reads headers only. The second pass reads each file of the chosen series once, hashes it and decodes it into the
volume.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError, GeometryError, ImageReadError
from unireason.types import Affine, Case, Source

from .decode import decoding, sha256, sha256_of_files
from .dicom import read_dicom
from .dicom_values import Scale, display_notes, frame_count, made_by, parse, scale_of, stored_values, stored_window
from .geometry import to_canonical, volume_geometry
from .limits import Limits, file_bytes, file_size
from .options import ReadOptions
from .planes import Plane, has_copies, orientation_key, plane, stack_planes

_TAGS = (
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ManufacturerModelName",
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
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
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
    header: Any
    data_at: int  # where the pixel data element begins


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    values: NDArray[Any]
    scale: Scale
    digest: str


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
    if len(stack) == 1:
        from dataclasses import replace

        case = read_dicom(stack[0].path, replace(options, series=None))
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
    import pydicom

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
                header = pydicom.dcmread(file, stop_before_pixels=True, force=not marked, specific_tags=list(_TAGS))
                data_at = file.tell()
            if not header.get("Rows") or not header.get("Columns") or not header.get("SeriesInstanceUID"):
                return None
        except Exception:
            if marked:
                raise
            return None  # a text or other file without a suffix, parsed as DICOM on the chance that it is one
        return _described(path, header, data_at)


def _described(path: Path, header: Any, data_at: int) -> _Entry:
    placed = header.get("ImagePositionPatient") and header.get("ImageOrientationPatient") and header.get("PixelSpacing")
    keys = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    return _Entry(
        path,
        str(header.SeriesInstanceUID),
        " ".join(str(header.get(key) or "") for key in ("Modality", "SeriesNumber", "SeriesDescription")).strip(),
        str(header.get("AcquisitionNumber") or ""),
        (int(header.Rows), int(header.Columns)),
        plane(path.name, *(header.get(key) for key in keys)) if placed else None,
        header,
        data_at,
    )


def _group(entries: list[_Entry]) -> list[list[_Entry]]:
    """Entries that may be one volume, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[_Entry]] = {}
    for entry in entries:
        turn = () if entry.plane is None else orientation_key(entry.plane)
        groups.setdefault((entry.uid, entry.shape, turn), []).append(entry)
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
    first = _slice(stack[0], limits)
    volume: NDArray[Any] = np.empty((len(stack), *first.values.shape), first.values.dtype)
    volume = _stored(volume, 0, first.values, stack[0].path.name)
    digests = [first.digest]
    for k, entry in enumerate(stack[1:], 1):
        one = _slice(entry, limits)
        digests.append(one.digest)
        volume = _stored(volume, k, one.values, entry.path.name)
    geometry = volume_geometry((volume.shape[2], volume.shape[1], volume.shape[0]), affine)
    marks = {made_by(entry.header) for entry in stack}
    source = Source(folder.name, "dicom-series", sha256_of_files(digests), marks.pop() if len(marks) == 1 else "")
    with decoding(stack[0].path, "DICOM"):
        modality = options.modality or str(stack[0].header.get("Modality") or "")
        window = stored_window(stack[0].header, first.scale)
    pixels = to_canonical(volume, geometry)
    return Case(pixels, "volume", geometry, modality, source, window, (*notes, *display_notes(first.scale)))


def _slice(entry: _Entry, limits: Limits) -> _Slice:
    """One file, read once: its decoded values and its hash."""
    name = entry.path.name
    content = file_bytes(entry.path, limits)
    with decoding(entry.path, "DICOM"):
        limits.check("max_pixels", entry.shape[0] * entry.shape[1], f"'{name}'")
        stored = _plain_values(entry, content)
        if stored is None:
            dataset = parse(content, name)
            if frame_count(dataset, name, limits) != 1:
                raise GeometryError(
                    f"'{name}' is one of several files and has several frames", "one frame a file", "read it alone"
                )
            stored = stored_values(dataset)
        scale = scale_of(entry.header)
        return _Slice(scale.apply(stored), scale, sha256(content))


def _plain_values(entry: _Entry, content: bytes) -> NDArray[Any] | None:
    """Grey values that lie in the file as they are, at the place that the first pass found; None for everything else.

    Parsing 200 slices a second time would cost as much as all the rest.
    """
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    header, bits = entry.header, entry.header.get("BitsAllocated")
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    plain = syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) and bits in (8, 16)
    grey = header.get("SamplesPerPixel") == 1 and str(header.get("PhotometricInterpretation")).startswith("MONOCHROME")
    if not (plain and grey) or int(header.get("NumberOfFrames") or 1) != 1:
        return None
    start = entry.data_at + (8 if syntax == ImplicitVRLittleEndian else 12)
    head = content[entry.data_at : start]
    length = entry.shape[0] * entry.shape[1] * bits // 8
    declared = int.from_bytes(head[-4:], "little")
    if head[:4] != b"\xe0\x7f\x10\x00" or declared not in (length, length + length % 2) or len(content) < start + length:
        return None
    kind = ("i" if header.get("PixelRepresentation") else "u") + str(bits // 8)
    return np.frombuffer(content, f"<{kind}", entry.shape[0] * entry.shape[1], start).reshape(entry.shape)


def _stored(volume: NDArray[Any], k: int, values: NDArray[Any], name: str) -> NDArray[Any]:
    """The volume with slice ``k`` filled in, widened if the values need it."""
    if values.shape != volume.shape[1:] or values.ndim != 2:
        raise ImageReadError(f"'{name}' decodes to shape {values.shape}", f"grey pixels of shape {volume.shape[1:]}")
    needed = np.result_type(volume.dtype, values.dtype)
    if needed != volume.dtype:
        volume = volume.astype(np.float32 if needed.kind == "f" else needed)
    volume[k] = values
    return volume
