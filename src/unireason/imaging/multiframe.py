"""Enhanced multi-frame DICOM: one object, one volume, geometry in per-frame functional groups.

Source: DICOM PS3.3 C.7.6.16 (Multi-frame Functional Groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unireason.errors import GeometryError
from unireason.types import Affine, Case, Source

from .decode import decoding, sha256, sha256_of_files
from .dicom_values import REMEDY, FrameHeader, Slices, display_notes, frame_count, frame_values, parse, stored_window
from .geometry import to_canonical, volume_geometry
from .grouping import PLANE, Member, choose, frame_facts, volumes
from .limits import Limits, file_bytes
from .options import ReadOptions
from .planes import Plane, grid_keys, plane, stack_planes

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # of regions, and of label maps


def read_multiframe(parts: Sequence[Any], source: Source, options: ReadOptions, frames: Sequence[int] | None = None) -> Case:
    """A volume from an enhanced multi-frame object.

    Frames of a segmentation that were left out because they are empty are filled in, from the first to the last of any segment.

    Args:
        parts: Its data sets, parsed and sizes checked, with per-frame functional groups: one, or all of a concatenation in order.
        source: Provenance.
        options: ``series`` picks one volume of several.
        frames: The frames of the volume, counted through all parts, if they were chosen already.

    Returns:
        A volume Case.

    Raises:
        FormatError: If there is no such volume.
        GeometryError: If frames do not make a regular stack, or there are several volumes and none was chosen.
        ImageReadError: If frames are in colour.
        SizeLimitError: If a segmentation without its empty frames stands for too large a volume.
    """
    places = [(part, n) for part in parts for n in range(int(part.get("NumberOfFrames") or 1))]
    headers = [FrameHeader(part, n) for part, n in places]
    planes = [frame_plane(header, f"frame {n}") for n, header in enumerate(headers)]
    if frames is None:
        members = [member for part in parts for member in file_members(part, source.name, None)]
        number = {id(member): n for n, member in enumerate(members)}
        frames = [number[id(member)] for member in choose(volumes(members), options.series, source.name).members]
    order, affine, notes = _stack(parts[0], planes, list(frames), options.limits)
    slices, scales = Slices(len(order)), []
    for k, n in enumerate(order):
        if n >= 0:
            values, scale = frame_values(*places[n])
            slices.put(k, values, f"frame {n} of '{source.name}'")
            scales.append(scale)
    for k in (k for k, n in enumerate(order) if n < 0):
        slices.put(k, np.zeros((parts[0].Rows, parts[0].Columns), np.uint8), source.name)
    pixels = slices.array()
    geometry = volume_geometry((pixels.shape[2], pixels.shape[1], pixels.shape[0]), affine)
    geometry = replace(geometry, header={"frames": tuple(order)})
    modality = options.modality or str(parts[0].get("Modality") or "")
    source = replace(source, format="dicom-multiframe" if len(parts) == 1 else "dicom-concatenation")
    notes = (*notes, *display_notes(scales[0]), *(concatenation_notes(parts[0]) if len(parts) == 1 else ()))
    window = stored_window(headers[max(order[0], order[-1])], scales[0])
    return Case(to_canonical(pixels, geometry), "volume", geometry, modality, source, window, notes)


def file_members(dataset: Any, name: str, file: Any) -> list[Member]:
    """The slices of a file, one or several, for `unireason.imaging.grouping.volumes`.

    Args:
        dataset: Pixels may be missing.
        name: Of the file, for messages.
        file: What the caller finds it by.

    Raises:
        GeometryError: If a plane is damaged.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    grouped = "PerFrameFunctionalGroupsSequence" in dataset
    several = count > 1 or bool(dataset.get("ConcatenationUID"))  # a part of an object may hold one frame of it
    uid, shape = str(dataset.get("SeriesInstanceUID", "")), (int(dataset.Rows), int(dataset.Columns))
    members = []
    for n, told in enumerate(frame_facts(dataset, count)):
        header = FrameHeader(dataset, n)
        where = (
            frame_plane(header, name if count == 1 else f"frame {n}") if header.is_placed and (grouped or count == 1) else None
        )
        members.append(Member(file, n if several else None, uid, shape, where, told))
    if any(member.plane is None for member in members):  # a loop: its frames are read one by one
        return [replace(member, plane=None) for member in members]
    return members


def read_parts(paths: Sequence[Path], name: str, options: ReadOptions, chosen: Sequence[tuple[Path, int]]) -> Case:
    """A volume from enhanced multi-frame files: one, all parts of a concatenation, or several that share a series.

    Args:
        paths: The files, in any order.
        name: Of the folder.
        options: Bounds and modality.
        chosen: File and frame of each slice.

    Returns:
        A volume Case; of several files, its hash is that of the set.

    Raises:
        GeometryError: If a part is missing or there twice, or as `read_multiframe`.
    """
    found = []
    options.limits.check("max_total_bytes", sum(path.stat().st_size for path in paths), f"the files in '{name}'")
    for path in paths:
        content = file_bytes(path, options.limits)
        with decoding(path, "DICOM", REMEDY):
            part = parse(content, path.name, options.limits)
            count = frame_count(part, path.name, options.limits)
            found.append((int(part.get("InConcatenationNumber") or 0), path, count, part, sha256(content)))
        del content
    found.sort(key=lambda item: item[:2])
    total = sum(count * part.Rows * part.Columns for _, _, count, part, _ in found)
    options.limits.check("max_voxels", total, f"the files in '{name}'")
    _check_parts([part for *_, part, _ in found], name)
    starts = np.cumsum([0, *(count for _, _, count, _, _ in found)])
    first = {path: int(start) for start, (_, path, *_) in zip(starts, found, strict=False)}
    with decoding(paths[0], "DICOM", REMEDY):
        several = len(found) > 1
        source = Source(
            name if several else paths[0].name, "dicom", sha256_of_files(f[-1] for f in found) if several else found[0][-1]
        )
        return read_multiframe([part for *_, part, _ in found], source, options, [first[path] + n for path, n in chosen])


def _check_parts(parts: Sequence[Any], name: str) -> None:
    """All parts of each concatenation must be there, once."""
    there: dict[str, list[Any]] = {}
    for part in parts:
        if part.get("ConcatenationUID"):
            there.setdefault(str(part.ConcatenationUID), []).append(part)
    for found in there.values():
        numbers = [int(part.get("InConcatenationNumber") or 0) for part in found]
        total = max(int(part.get("InConcatenationTotalNumber") or 0) for part in found)
        if numbers != list(range(1, max(total, len(numbers)) + 1)):
            raise GeometryError(
                f"'{name}' holds parts {numbers} of a concatenation",
                f"each of 1 to {max(total, *numbers)} once",
                "copy all its files",
            )


def concatenation_notes(dataset: Any) -> tuple[str, ...]:
    """A remark on a file that holds only a part of its object."""
    if not dataset.get("ConcatenationUID") or dataset.get("InConcatenationTotalNumber") == 1:
        return ()
    number, total = dataset.get("InConcatenationNumber"), dataset.get("InConcatenationTotalNumber") or "several"
    return (f"part {number} of {total} of a concatenation; read the folder for all of it",)


def frame_plane(header: FrameHeader, name: str) -> Plane:
    """Where a frame or a single image lies.

    Raises:
        GeometryError: If that is not told, or contradictory.
    """
    return plane(name, *(header.get(key) for key in PLANE))


def _stack(dataset: Any, planes: list[Plane], frames: list[int], limits: Limits) -> tuple[list[int], Affine, tuple[str, ...]]:
    """Frames in slice order, -1 for one that a segmentation left out, and the affine of the volume."""
    places, notes = [planes[n] for n in frames], tuple[str, ...]()
    if dataset.get("SOPClassUID") in _SEGMENTATIONS:
        places, notes = _filled(dataset, planes, frames, limits)
    order, affine, more = stack_planes(places)
    return [frames[n] if n < len(frames) else -1 for n in order], affine, (*notes, *more)


def _filled(dataset: Any, planes: list[Plane], frames: list[int], limits: Limits) -> tuple[list[Plane], tuple[str, ...]]:
    """Planes of the frames of one segment, then those of empty frames up to where any segment of the file reaches.

    The distance of slices is the stored one; if none is, or it does not fit, the smallest between two frames.
    """
    chosen, keys = [planes[n] for n in frames], grid_keys(planes)
    grid = [one for one, key in zip(planes, keys, strict=True) if key == keys[frames[0]]]
    along = np.array([one.position_mm @ chosen[0].normal for one in grid])
    first, last, gaps = grid[int(along.argmin())], grid[int(along.argmax())], np.diff(np.unique(along))
    stored = (FrameHeader(dataset).group("PixelMeasuresSequence") or {}).get("SpacingBetweenSlices")
    for step in (float(stored or 0), float(min(gaps[gaps > 0.01], default=0))):
        index = (along - along.min()) / step if step > 0.01 else np.full(len(along), 0.5)
        if np.abs(index - np.rint(index)).max() < 0.1:
            break
    else:
        return chosen, ()
    count = int(np.rint(index.max())) + 1
    limits.check("max_voxels", count * int(dataset.Rows) * int(dataset.Columns), f"the segmentation ({count} slices)")
    here = {int(np.rint((one.position_mm - first.position_mm) @ chosen[0].normal / step)) for one in chosen}
    shift = (last.position_mm - first.position_mm) / (count - 1) if count > 1 else first.normal * step
    gone = [k for k in range(count) if k not in here]
    notes = (f"{len(gone)} empty slices that the file leaves out are filled in",) if gone else ()
    return [*chosen, *(replace(first, name=f"slice {k}", position_mm=first.position_mm + k * shift) for k in gone)], notes
