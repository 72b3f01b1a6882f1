"""A folder of DICOM files: which of them belong together, in which order, and is the stack complete?

The first pass reads headers only. The second pass reads each file of the chosen series once, hashes it and decodes it into the
volume.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError, GeometryError, ImageReadError
from unireason.core.types import Affine, Case, Source

from .dicom import KEYWORDS, Member, choose, file_members, read_dicom, read_parts, volumes
from .dicom_values import (
    FrameHeader,
    Slices,
    display_notes,
    frame_count,
    frame_values,
    load,
    made_by,
    parse,
    plain_values,
    scale_of,
    stored_window,
)
from .geometry import stack_planes, to_canonical, volume_geometry
from .reader import DICOM_HEAD, Limits, ReadOptions, decoding, file_bytes, file_size, is_dicom, sha256, sha256_of_files

_TAGS = (
    *sorted(KEYWORDS),
    *("SOPClassUID", "SeriesInstanceUID", "ManufacturerModelName", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope"),
    *("RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "ConcatenationUID"),
)
_SUFFIXES = (".dcm", ".ima", ".dicom")


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    path: Path
    shape: tuple[int, int]
    header: Any
    data_at: int  # where the pixel data element begins


def read_series(folder: Path, options: ReadOptions) -> Case:
    """Read one volume or image of a folder with DICOM files, subfolders included."""
    members, ignored = _scan(folder, options.limits)
    if not members:
        raise ImageReadError(
            f"the folder '{folder.name}' holds no DICOM image", "a DICOM series", "give a file or another folder"
        )
    notes = (f"{ignored} files that are no DICOM images were ignored",) if ignored else ()
    only = options.frame is not None and options.series is None and len({member.file.path for member in members}) == 1
    chosen = members if only else choose(volumes(members), options.series, folder.name).members
    if len(chosen) == 1 or any(member.frame is not None for member in chosen):
        case = _frames(chosen, members, folder.name, options)
        return replace(case, notes=(*case.notes, *notes))
    stack: list[_Entry] = [member.file for member in chosen]
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


def _frames(chosen: list[Member], members: list[Member], name: str, options: ReadOptions) -> Case:
    """A single image, a frame of a file with several, or the volume that frames make."""
    files = {member.file.path for member in chosen}
    if options.frame is not None and options.series is not None and len(chosen) < sum(m.file.path in files for m in members):
        raise FormatError(
            f"frame {options.frame} and series {options.series!r} of '{name}'",
            "one of the two: frames are counted through a whole file",
            "leave series out",
        )
    if chosen[0].plane is None or (len(files) == 1 and (chosen[0].frame is None or options.frame is not None)):
        return read_dicom(chosen[0].file.path, replace(options, series=None))
    if options.frame is not None:
        raise FormatError(f"frame {options.frame} of {len(files)} files", "no frame: they make one volume", "leave frame out")
    split = {str(member.file.header.get("ConcatenationUID")) for member in chosen} - {"None"}
    files |= {member.file.path for member in members if str(member.file.header.get("ConcatenationUID")) in split}
    return read_parts(sorted(files), name, options, [(member.file.path, member.frame or 0) for member in chosen])


def series_files(folder: Path, digest: str, limits: Limits) -> list[Path]:
    """The files from which a volume Case was read, found again by their hash."""
    for volume in volumes(_scan(folder, limits)[0]):
        stack: list[_Entry] = [member.file for member in volume.members if member.frame is None]
        if stack and sha256_of_files(sha256(file_bytes(entry.path, limits)) for entry in stack) == digest:
            order = stack_planes([member.plane for member in volume.members if member.plane is not None])[0]
            return [stack[n].path for n in order]
    return []


def _scan(folder: Path, limits: Limits) -> tuple[list[Member], int]:
    members, ignored, files = list[Member](), 0, list[Path]()
    for base, folders, names in os.walk(folder):
        folders.sort()
        files += [Path(base, name) for name in sorted(names) if not name.startswith(".")]
    limits.check("max_files", len(files), f"the folder '{folder.name}'")
    for path in files:
        entry = _entry(path, limits)
        if entry is None:
            ignored += 1
        else:
            with decoding(path, "DICOM"):
                members.extend(file_members(entry.header, path.name, entry))
    return members, ignored


def _entry(path: Path, limits: Limits) -> _Entry | None:
    """Header of one file; None if it is no DICOM image."""
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
            header = load(file, path.name, limits, stop_before_pixels=True, specific_tags=list(_TAGS))
            data_at = file.tell()
        if not header.get("Rows") or not header.get("Columns"):
            if "Image Storage" in getattr(header.get("SOPClassUID"), "name", ""):
                raise ImageReadError(
                    f"'{path.name}' is an image that ends within its header", "", "copy it again, or remove it from the folder"
                )
            return None
        return _Entry(path, (int(header.Rows), int(header.Columns)), header, data_at)


def _volume(folder: Path, stack: list[_Entry], affine: Affine, options: ReadOptions, notes: tuple[str, ...]) -> Case:
    limits, name = options.limits, f"the series in '{folder.name}'"
    limits.check("max_total_bytes", sum(entry.path.stat().st_size for entry in stack), name)
    limits.check("max_voxels", len(stack) * stack[0].shape[0] * stack[0].shape[1], name)
    slices, scales, digests = Slices(len(stack)), [], []
    for k, entry in enumerate(stack):
        own = entry.path.name
        content = file_bytes(entry.path, limits)  # read once
        with decoding(entry.path, "DICOM"):
            limits.check("max_pixels", entry.shape[0] * entry.shape[1], f"'{own}'")
            values = plain_values(entry.header, content, entry.data_at)
            if values is not None:
                scale = scale_of(FrameHeader(entry.header))
                values = scale.apply(values)
            else:
                dataset = parse(content, own, limits)
                if frame_count(dataset, own, limits) != 1:
                    raise GeometryError(
                        f"'{own}' is one of several files and has several frames", "one frame a file", "read it alone"
                    )
                values, scale = frame_values(dataset, 0)
        slices.put(k, values, f"'{own}'")
        scales.append(scale)
        digests.append(sha256(content))
    volume = slices.array()
    geometry = volume_geometry((volume.shape[2], volume.shape[1], volume.shape[0]), affine)
    marks = {made_by(entry.header) for entry in stack}
    source = Source(folder.name, "dicom-series", sha256_of_files(digests), marks.pop() if len(marks) == 1 else "")
    with decoding(stack[0].path, "DICOM"):
        modality = options.modality or str(stack[0].header.get("Modality") or "")
        window = stored_window(FrameHeader(stack[0].header), scales[0])
    pixels = to_canonical(volume, geometry)
    return Case(pixels, "volume", geometry, modality, source, window, (*notes, *display_notes(scales[0])))
