"""Enhanced multi-frame DICOM: one file, one volume, geometry in per-frame functional groups.

Source: DICOM PS3.3 C.7.6.16 (Multi-frame Functional Groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import ImageReadError
from unireason.types import Affine, Case, Source

from .dicom_values import Scale, display_notes, scale_of, stored_values, stored_window
from .geometry import to_canonical, volume_geometry
from .grouping import PLANE, Member, choose, facts, volumes
from .limits import Limits
from .options import ReadOptions
from .planes import Plane, grid_keys, plane, stack_planes

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # of regions, and of label maps


def read_multiframe(dataset: Any, source: Source, options: ReadOptions, frames: Sequence[int] | None = None) -> Case:
    """A volume from an enhanced multi-frame data set.

    Frames of a segmentation that were left out because they are empty are filled in, from the first to the last of any segment.

    Args:
        dataset: Parsed, sizes checked, with per-frame functional groups and a plane in each.
        source: Provenance.
        options: ``series`` picks one volume of several.
        frames: The frames of the volume, if they were chosen already.

    Returns:
        A volume Case.

    Raises:
        FormatError: If there is no such volume.
        GeometryError: If frames do not make a regular stack, or there are several volumes and none was chosen.
        ImageReadError: If the groups do not fit the number of frames.
        SizeLimitError: If a segmentation without its empty frames stands for too large a volume.
    """
    members = frame_members(dataset, source.name)
    if frames is None:
        frames = [member.frame or 0 for member in choose(volumes(members), options.series, source.name).members]
    planes = [member.plane for member in members if member.plane is not None]
    order, affine, notes = _stack(dataset, planes, list(frames), options.limits)
    stored = stored_values(dataset)
    if stored.ndim != 3:
        raise ImageReadError(f"'{source.name}' decodes to shape {stored.shape}", "grey frames")
    shared, groups = shared_group(dataset), list(dataset.PerFrameFunctionalGroupsSequence)
    frames = [n for n in order if n >= 0]
    scales = [scale_of(dataset, _group(groups[n], shared, "PixelValueTransformationSequence")) for n in frames]
    pixels = _real(stored, frames, scales)
    if len(frames) < len(order):
        filled = np.zeros((len(order), *pixels.shape[1:]), pixels.dtype)
        filled[np.array(order) >= 0] = pixels
        pixels = filled
    geometry = volume_geometry((pixels.shape[2], pixels.shape[1], pixels.shape[0]), affine)
    geometry = replace(geometry, header={"frames": tuple(order)})
    view = _group(groups[frames[0]], shared, "FrameVOILUTSequence")
    window = None if view is None else stored_window(view, scales[0])
    modality = options.modality or str(dataset.get("Modality") or "")
    source = Source(source.name, "dicom-multiframe", source.sha256)
    notes = (*notes, *display_notes(scales[0]))
    return Case(to_canonical(pixels, geometry), "volume", geometry, modality, source, window, notes)


def _group(group: Any, shared: Any, key: str) -> Any:
    """A functional group's item: the frame's own, else the shared one, else None."""
    for holder in (group, shared):
        if holder is not None and holder.get(key):
            return holder.get(key)[0]
    return None


def shared_group(dataset: Any) -> Any:
    """The functional groups that all frames share, or None."""
    return (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]


def frame_members(dataset: Any, name: str, file: Any = None) -> list[Member]:
    """The frames of an enhanced file, for `unireason.imaging.grouping.volumes`.

    Args:
        dataset: With per-frame functional groups; pixels may be missing.
        name: Of the file, for messages.
        file: What the caller finds it by.

    Raises:
        GeometryError: If a plane is damaged.
        ImageReadError: If the groups do not fit the number of frames.
    """
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(groups) != int(dataset.NumberOfFrames):
        raise ImageReadError(f"'{name}' has {len(groups)} functional groups", f"{dataset.NumberOfFrames}, one a frame")
    general = {key: dataset.get(key) for key in ("Modality", "SeriesNumber") if dataset.get(key) is not None}
    shared = facts([shared_group(dataset) or ()])
    uid, shape = str(dataset.get("SeriesInstanceUID", "")), (int(dataset.Rows), int(dataset.Columns))
    members = []
    for n, group in enumerate(groups):
        told = {**general, **shared, **facts([group]), "InstanceNumber": float(n)}
        where = plane(f"frame {n}", *(told.get(key) for key in PLANE)) if any(key in told for key in PLANE[:2]) else None
        members.append(Member(file, n, uid, shape, where, told))
    if any(member.plane is None for member in members):  # a loop: its frames are read one by one
        return [replace(member, plane=None) for member in members]
    return members


def frame_header(dataset: Any, index: int) -> Any:
    """A data set in which the functional groups of one frame stand where a file with one frame has them."""
    from pydicom.dataset import Dataset

    flat = Dataset()
    flat.file_meta = dataset.file_meta
    flat.set_original_encoding(*dataset.original_encoding)
    flat.update({element.tag: element for element in dataset})
    for group in (shared_group(dataset), dataset.PerFrameFunctionalGroupsSequence[index]):
        for sequence in group or ():
            if sequence.VR == "SQ" and sequence.keyword not in ("DerivationImageSequence", "ReferencedImageSequence"):
                flat.update({element.tag: element for item in sequence.value for element in item})
    return flat


def _stack(dataset: Any, planes: list[Plane], frames: list[int], limits: Limits) -> tuple[list[int], Affine, tuple[str, ...]]:
    """Frames in slice order, -1 for one that a segmentation left out, and the affine of the volume."""
    places, notes = [planes[n] for n in frames], ()
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
    stored = shared_group(dataset) and facts([shared_group(dataset)]).get("SpacingBetweenSlices")
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


def _real(stored: NDArray[Any], frames: list[int], scales: list[Scale]) -> NDArray[Any]:
    if all(scale == scales[0] for scale in scales):
        return scales[0].apply(stored if frames == list(range(len(stored))) else stored[frames])
    return np.stack([scale.apply(stored[n]).astype(np.float32) for n, scale in zip(frames, scales, strict=True)])
