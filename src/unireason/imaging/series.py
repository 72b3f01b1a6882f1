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

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError, GeometryError, ImageReadError
from unireason.types import Affine, Case, Source

from .decode import DICOM_HEAD, decoding, is_dicom, sha256, sha256_of_files
from .dicom import read_dicom
from .dicom_values import REMEDY, Scale, display_notes, frame_count, parse, scale_of, stored_values, stored_window
from .geometry import to_canonical, volume_geometry
from .grouping import KEYWORDS, PLANE, Member, choose, facts, volumes
from .limits import Limits, file_bytes, file_size
from .multiframe import frame_members, read_multiframe
from .options import ReadOptions
from .planes import plane, stack_planes

_TAGS = (
    *sorted(KEYWORDS),
    "SOPClassUID",
    "SeriesInstanceUID",
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
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_SUFFIXES = (".dcm", ".ima", ".dicom")


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    path: Path
    shape: tuple[int, int]
    frames: int
    header: Any
    data_at: int  # where the pixel data element begins


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    values: NDArray[Any]
    scale: Scale
    digest: str


def read_series(folder: Path, options: ReadOptions) -> Case:
    """Read one volume or image of a folder with DICOM files, subfolders included.

    Slices are sorted into volumes by `unireason.imaging.grouping.volumes`, in order along the normal, and checked for missing slices,
    copies, uneven distances and gantry tilt. The hash is the SHA-256 of the sorted hex digests of the files of that volume.

    Args:
        folder: The folder.
        options: ``series`` chooses among several by number, UID or words of the list; ``frame`` picks a frame of a file with several.

    Returns:
        A volume Case; an image Case if it is a single image or frame.

    Raises:
        ImageReadError: If there is no DICOM image, or one is damaged.
        GeometryError: If the slices do not make one regular volume, or there are several volumes and none was chosen.
        FormatError: If there is no such volume, or ``frame`` was given and no file has several.
        SizeLimitError: If files or volume are too many or too large.
    """
    members, ignored = _scan(folder, options.limits)
    if not members:
        raise ImageReadError(
            f"the folder '{folder.name}' holds no DICOM image", "a DICOM series", "give a file or another folder"
        )
    notes = (f"{ignored} files that are no DICOM images were ignored",) if ignored else ()
    only = options.frame is not None and options.series is None and len({member.file.path for member in members}) == 1
    chosen = members if only else choose(volumes(members), options.series, folder.name).members
    stack: list[_Entry] = list({id(member.file): member.file for member in chosen}.values())
    if len(stack) == 1:
        case = _one_file(chosen, options)
        return replace(case, notes=(*case.notes, *notes))
    if options.frame is not None:
        raise FormatError(
            f"frame {options.frame} of a series of {len(stack)} files", "no frame: each holds one", "leave frame out"
        )
    planes = [member.plane for member in chosen if member.plane is not None]
    if len(planes) < len(stack):
        raise GeometryError(
            f"{len(stack) - len(planes)} of {len(stack)} files have no position in the patient",
            "position, orientation and pixel spacing in each",
            "give one of the files instead of the folder",
        )
    order, affine, more = stack_planes(planes)
    return _volume(folder, [stack[n] for n in order], affine, options, (*notes, *more))


def _one_file(chosen: list[Member], options: ReadOptions) -> Case:
    """A single image, a frame of a file with several, or the volume that some of its frames make."""
    entry: _Entry = chosen[0].file
    frames = [member.frame for member in chosen if member.frame is not None]
    if options.frame is not None and options.series is not None and 0 < len(frames) < entry.frames:
        raise FormatError(
            f"frame {options.frame} and series {options.series!r} of '{entry.path.name}'",
            "one of the two: frames are counted through the whole file",
            "leave series out",
        )
    if options.frame is not None or not frames or chosen[0].plane is None:
        return read_dicom(entry.path, replace(options, series=None))
    content = file_bytes(entry.path, options.limits)
    with decoding(entry.path, "DICOM", REMEDY):
        dataset = parse(content, entry.path.name)
        frame_count(dataset, entry.path.name, options.limits)
        return read_multiframe(dataset, Source(entry.path.name, "dicom", sha256(content)), options, frames)


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
    for volume in volumes(_scan(folder, limits)[0]):
        stack: list[_Entry] = [member.file for member in volume.members if member.frame is None]
        if stack and sha256_of_files(sha256(file_bytes(entry.path, limits)) for entry in stack) == digest:
            order = stack_planes([member.plane for member in volume.members if member.plane is not None])[0]
            return [stack[n].path for n in order]
    return []


def _scan(folder: Path, limits: Limits) -> tuple[list[Member], int]:
    members, ignored = [], 0
    for count, path in enumerate(_files(folder), 1):
        limits.check("max_files", count, f"the folder '{folder.name}'")
        entry = _entry(path, limits)
        if entry is None:
            ignored += 1
        else:
            members.extend(_members(entry))
    return members, ignored


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
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(DICOM_HEAD)
            if not is_dicom(head):
                if path.suffix.lower() in _SUFFIXES:
                    raise ImageReadError(
                        f"'{path.name}' is named like DICOM but holds none",
                        "a DICOM file",
                        "copy it again, or remove it from the folder",
                    )
                return None
            file_size(path, limits)
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
            data_at = file.tell()
        if not header.get("Rows") or not header.get("Columns") or not header.get("SeriesInstanceUID"):
            return None
        return _Entry(path, (int(header.Rows), int(header.Columns)), int(header.get("NumberOfFrames") or 1), header, data_at)


def _members(entry: _Entry) -> list[Member]:
    """The slices of one file."""
    with decoding(entry.path, "DICOM"):
        if entry.frames > 1 and "PerFrameFunctionalGroupsSequence" in entry.header:
            return frame_members(entry.header, entry.path.name, entry)
        told = facts([entry.header])
        where = plane(entry.path.name, *(told.get(key) for key in PLANE)) if all(key in told for key in PLANE[:3]) else None
        if entry.frames > 1:  # a loop; its frames are told apart by the frame option
            return [Member(entry, n, str(entry.header.SeriesInstanceUID), entry.shape, None, told) for n in range(entry.frames)]
        return [Member(entry, None, str(entry.header.SeriesInstanceUID), entry.shape, where, told)]


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
    source = Source(folder.name, "dicom-series", sha256_of_files(digests))
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
