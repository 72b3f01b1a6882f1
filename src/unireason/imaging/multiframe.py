"""Enhanced multi-frame DICOM: one object, one volume, geometry in per-frame functional groups.

Source: DICOM PS3.3 C.7.6.16 (Multi-frame Functional Groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unireason.errors import GeometryError
from unireason.types import Case, Source

from .decode import decoding, sha256, sha256_of_files
from .dicom_values import REMEDY, FrameHeader, Slices, display_notes, frame_count, frame_values, parse, stored_window
from .geometry import to_canonical, volume_geometry
from .limits import file_bytes
from .options import ReadOptions
from .planes import Plane, has_copies, orientation_key, plane, stack_planes

# What tells apart frames at one place: (functional group, element).
_REPEATS = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
)


def read_multiframe(parts: Sequence[Any], source: Source, options: ReadOptions) -> Case:
    """A volume from an enhanced multi-frame object.

    Args:
        parts: Its data sets, parsed and sizes checked, with per-frame functional groups: one, or all of a concatenation in order.
        source: Provenance.
        options: ``series`` picks one stack of several by number.

    Returns:
        A volume Case.

    Raises:
        GeometryError: If frames have no positions, or do not make a regular stack.
        ImageReadError: If frames are in colour.
    """
    places = [(part, n) for part in parts for n in range(int(part.get("NumberOfFrames") or 1))]
    headers = [FrameHeader(part, n) for part, n in places]
    planes = [frame_plane(header, f"frame {n + 1}") for n, header in enumerate(headers)]
    chosen = _choose(_stacks(planes, headers), options.series, source.name)
    order, affine, notes = stack_planes([planes[n] for n in chosen])
    frames = [chosen[n] for n in order]
    slices, scales = Slices(len(frames)), []
    for k, n in enumerate(frames):
        values, scale = frame_values(*places[n])
        slices.put(k, values, f"frame {n + 1} of '{source.name}'")
        scales.append(scale)
    pixels = slices.array()
    geometry = volume_geometry((pixels.shape[2], pixels.shape[1], pixels.shape[0]), affine)
    geometry = replace(geometry, header={"frames": tuple(frames)})
    modality = options.modality or str(parts[0].get("Modality") or "")
    source = Source(source.name, "dicom-multiframe" if len(parts) == 1 else "dicom-concatenation", source.sha256)
    notes = (*notes, *display_notes(scales[0]), *(concatenation_notes(parts[0]) if len(parts) == 1 else ()))
    window = stored_window(headers[frames[0]], scales[0])
    return Case(to_canonical(pixels, geometry), "volume", geometry, modality, source, window, notes)


def read_concatenation(paths: Sequence[Path], name: str, options: ReadOptions) -> Case:
    """A volume from one enhanced object that was stored in several files.

    Args:
        paths: The files, in any order.
        name: Of the folder.
        options: As for `read_multiframe`.

    Returns:
        A volume Case, whose hash is that of the set of files.

    Raises:
        GeometryError: If a part is missing or there twice, or as `read_multiframe`.
    """
    found, digests = [], []
    options.limits.check("max_total_bytes", sum(path.stat().st_size for path in paths), f"the concatenation in '{name}'")
    for path in paths:
        content = file_bytes(path, options.limits)
        with decoding(path, "DICOM", REMEDY):
            part = parse(content, path.name, options.limits)
            found.append((int(part.get("InConcatenationNumber") or 0), frame_count(part, path.name, options.limits), part))
        digests.append(sha256(content))
        del content
    found.sort(key=lambda item: item[0])
    options.limits.check(
        "max_voxels", sum(n * part.Rows * part.Columns for _, n, part in found), f"the concatenation in '{name}'"
    )
    numbers = [number for number, _, _ in found]
    total = max(int(part.get("InConcatenationTotalNumber") or 0) for _, _, part in found)
    if numbers != list(range(1, max(total, len(numbers)) + 1)):
        raise GeometryError(
            f"'{name}' holds parts {numbers} of a concatenation",
            f"each of 1 to {max(total, *numbers)} once",
            "copy all its files",
        )
    with decoding(paths[0], "DICOM", REMEDY):
        source = Source(name, "dicom-concatenation", sha256_of_files(digests))
        return read_multiframe([part for _, _, part in found], source, options)


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
    keys = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    return plane(name, *(header.get(key) for key in keys))


def _stacks(planes: list[Plane], headers: list[FrameHeader]) -> list[list[int]]:
    """Frame numbers of each stack: by orientation, then by whatever tells apart frames at one place."""
    stacks: dict[tuple[Any, ...], list[int]] = {}
    for n, one in enumerate(planes):
        stacks.setdefault(orientation_key(one), []).append(n)
    result = list(stacks.values())
    for sequence, key in _REPEATS:
        finer: list[list[int]] = []
        for stack in result:
            parts: dict[str, list[int]] = {}
            for n in stack:
                label = str((headers[n].group(sequence) or {}).get(key)) if has_copies([planes[m] for m in stack]) else ""
                parts.setdefault(label, []).append(n)
            finer.extend(parts.values())
        result = finer
    return result


def _choose(stacks: list[list[int]], asked: str | int | None, name: str) -> list[int]:
    if len(stacks) == 1 and asked in (None, 0):
        return stacks[0]
    if isinstance(asked, int) and 0 <= asked < len(stacks):
        return stacks[asked]
    sizes = ", ".join(f"{n}: {len(stack)} frames" for n, stack in enumerate(stacks))
    raise GeometryError(
        f"'{name}' holds {len(stacks)} stacks ({sizes})", "one", "choose one by its number with series=0 and so on"
    )
