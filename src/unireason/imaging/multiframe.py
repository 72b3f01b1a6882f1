"""Enhanced multi-frame DICOM: one file, one volume, geometry in per-frame functional groups.

Source: DICOM PS3.3 C.7.6.16 (Multi-frame Functional Groups).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import GeometryError, ImageReadError
from unireason.types import Case, Source

from .dicom_values import Scale, display_notes, scale_of, stored_values, stored_window
from .geometry import to_canonical, volume_geometry
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


def read_multiframe(dataset: Any, source: Source, options: ReadOptions) -> Case:
    """A volume from an enhanced multi-frame data set.

    Args:
        dataset: Parsed, sizes checked, with per-frame functional groups.
        source: Provenance.
        options: ``series`` picks one stack of several by number.

    Returns:
        A volume Case.

    Raises:
        GeometryError: If frames have no positions, or do not make a regular stack.
        ImageReadError: If the groups do not fit the number of frames.
    """
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(groups) != int(dataset.NumberOfFrames):
        raise ImageReadError(f"'{source.name}' has {len(groups)} functional groups", f"{dataset.NumberOfFrames}, one a frame")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    planes = [_plane(group, shared, f"frame {n + 1}") for n, group in enumerate(groups)]
    chosen = _choose(_stacks(planes, groups, shared), options.series, source.name)
    order, affine, notes = stack_planes([planes[n] for n in chosen])
    frames = [chosen[n] for n in order]
    stored = stored_values(dataset)
    if stored.ndim != 3:
        raise ImageReadError(f"'{source.name}' decodes to shape {stored.shape}", "grey frames")
    scales = [scale_of(dataset, _group(groups[n], shared, "PixelValueTransformationSequence")) for n in frames]
    pixels = _real(stored, frames, scales)
    geometry = volume_geometry((pixels.shape[2], pixels.shape[1], pixels.shape[0]), affine)
    geometry = replace(geometry, header={"frames": tuple(frames)})
    view = _group(groups[frames[0]], shared, "FrameVOILUTSequence")
    window = None if view is None else stored_window(view, scales[0])
    modality = options.modality or str(dataset.get("Modality") or "")
    source = replace(source, format="dicom-multiframe")
    notes = (*notes, *display_notes(scales[0]))
    return Case(to_canonical(pixels, geometry), "volume", geometry, modality, source, window, notes)


def _group(group: Any, shared: Any, key: str) -> Any:
    """A functional group's item: the frame's own, else the shared one, else None."""
    for holder in (group, shared):
        if holder is not None and holder.get(key):
            return holder.get(key)[0]
    return None


def _value(group: Any, shared: Any, sequence: str, key: str) -> Any:
    item = _group(group, shared, sequence)
    return None if item is None else item.get(key)


def _plane(group: Any, shared: Any, name: str) -> Plane:
    return plane(
        name,
        _value(group, shared, "PlanePositionSequence", "ImagePositionPatient"),
        _value(group, shared, "PlaneOrientationSequence", "ImageOrientationPatient"),
        _value(group, shared, "PixelMeasuresSequence", "PixelSpacing"),
        _value(group, shared, "PixelMeasuresSequence", "SliceThickness"),
    )


def _stacks(planes: list[Plane], groups: list[Any], shared: Any) -> list[list[int]]:
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
                label = str(_value(groups[n], shared, sequence, key)) if has_copies([planes[m] for m in stack]) else ""
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


def _real(stored: NDArray[Any], frames: list[int], scales: list[Scale]) -> NDArray[Any]:
    if all(scale == scales[0] for scale in scales):
        return scales[0].apply(stored if frames == list(range(len(stored))) else stored[frames])
    return np.stack([scale.apply(stored[n]).astype(np.float32) for n, scale in zip(frames, scales, strict=True)])
