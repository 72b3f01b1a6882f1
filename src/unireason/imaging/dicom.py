"""One DICOM file as a Case: a single image, a frame, or the volume of an enhanced multi-frame file.

Source: DICOM PS3.3 C.7.6.2 (Image Plane), C.7.6.3 (Image Pixel), C.7.6.16 (functional groups), C.8.3 (MR), C.8.13 (enhanced MR),
C.8.20 (segmentations).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unireason.core.errors import FormatError, GeometryError, ImageReadError
from unireason.core.types import Affine, Case, Geometry, Source

from .dicom_values import REMEDY, FrameHeader, Slices, display_notes, frame_count, frame_values, made_by, parse, stored_window
from .geometry import Plane, clusters, grid_keys, numbers, place_labels, plane, stack_planes, to_canonical, volume_geometry
from .reader import Limits, ReadOptions, decoding, file_bytes, sha256, sha256_of_files

_LISTED = 20
_CLOSE = 1e-4  # fractions that differ by less than this share of the largest are one value; whole numbers count


class _Trait(NamedTuple):
    name: str
    keywords: tuple[str, ...]  # the first that is stored counts
    unit: str = ""
    alone: bool = False  # slices that differ in it are no volume, wherever they lie
    ranked: bool = False  # the value of a slice means nothing, only its order among those at its place


_TRAITS = (
    _Trait("segment", ("ReferencedSegmentNumber",), alone=True),
    _Trait("echo", ("EchoNumbers",), alone=True),
    _Trait("echo time", ("EffectiveEchoTime", "EchoTime"), " ms", alone=True),
    _Trait("b-value", ("DiffusionBValue",), alone=True),
    _Trait("time point", ("TemporalPositionIndex", "TemporalPositionIdentifier")),
    _Trait("component", ("ComplexImageComponent",)),
    _Trait("image type", ("FrameType", "ImageType")),
    _Trait("stack", ("StackID",)),
    _Trait("inversion time", ("InversionTimes", "InversionTime"), " ms"),
    _Trait("flip angle", ("FlipAngle",), " degrees"),
    _Trait("tube voltage", ("KVP",), " kV"),
    _Trait("kernel", ("ConvolutionKernel",)),
    _Trait("thickness", ("SliceThickness",), " mm"),
    _Trait("direction", ("DiffusionDirectionality",)),
    _Trait("gradient", ("DiffusionGradientOrientation",)),
    _Trait("cardiac phase", ("NominalPercentageOfCardiacPhase",), " %"),
    _Trait("respiratory phase", ("NominalPercentageOfRespiratoryPhase",), " %"),
    _Trait("trigger time", ("NominalCardiacTriggerDelayTime", "TriggerTime"), " ms"),
    _Trait("time", ("TemporalPositionTimeOffset",), " s"),
    _Trait("time", ("FrameReferenceTime",), " ms"),
    _Trait("sequence", ("SequenceName",)),
    _Trait("acquisition", ("FrameAcquisitionNumber", "AcquisitionNumber")),
    _Trait("acquisition time", ("FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime"), ranked=True),
    _Trait("content time", ("ContentTime",), ranked=True),
    _Trait("dimension", ("DimensionIndexValues",), ranked=True),
    _Trait("instance", ("InstanceNumber",), ranked=True),
)
_GENERAL = ("Modality", "SeriesNumber")
PLANE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
"""What `unireason.imaging.geometry.plane` takes, in its order."""

KEYWORDS = frozenset((*_GENERAL, *PLANE, *(keyword for trait in _TRAITS for keyword in trait.keywords)))
"""The elements of a header that `volumes` and `unireason.imaging.geometry.plane` look at."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One slice."""

    file: Any
    frame: int | None
    uid: str
    shape: tuple[int, int]
    plane: Plane | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Members that may be one volume, and what tells them from the others: words that a user may choose by."""

    members: list[Member]
    words: tuple[str, ...]


def frame_facts(dataset: Any, count: int) -> list[dict[str, Any]]:
    """Values of `KEYWORDS` for each frame: of its own functional groups, else of the shared ones, else of the data set."""
    general = _stored(dataset, inside=False)
    for group in (dataset.get("SharedFunctionalGroupsSequence") or ())[:1]:
        general |= _stored(group)
    number = general.get("InstanceNumber")
    number = float(number) if isinstance(number, int) else 0.0
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    return [
        {**general, **(_stored(groups[n]) if n < len(groups) else {}), "InstanceNumber": (number, float(n))} for n in range(count)
    ]


def _stored(dataset: Any, *, inside: bool = True) -> dict[str, Any]:
    """Values of `KEYWORDS` in a data set and, if asked for, in the items of its sequences; one that is damaged is not known."""
    from pydicom.datadict import keyword_for_tag

    found: dict[str, Any] = {}
    for tag in tuple(dataset.keys()):
        keyword = keyword_for_tag(tag)
        try:
            if keyword in KEYWORDS and dataset[tag].value not in (None, ""):
                found[keyword] = dataset[tag].value
            elif inside and keyword.endswith("Sequence") and not keyword.startswith(("Derivation", "Referenced", "Source")):
                for item in dataset[tag].value or ():
                    found |= _stored(item)
        except (ValueError, TypeError, OverflowError, NotImplementedError):
            continue
    return found


def volumes(members: Sequence[Member]) -> list[Volume]:
    """Sort slices into volumes."""
    series: dict[tuple[Hashable, ...], list[Member]] = defaultdict(list)
    for member in members:
        loop = id(member.file) if member.plane is None and member.frame is not None else None
        series[member.uid, member.shape, member.plane is None, loop].append(member)
    found: list[tuple[list[Member], tuple[str, ...]]] = []
    for group in series.values():
        planes = [member.plane for member in group if member.plane is not None]
        if len(planes) < len(group):
            found.append((group, ()))
            continue
        grids: dict[Hashable, list[int]] = defaultdict(list)
        for n, key in enumerate(grid_keys(planes)):
            grids[key].append(n)
        heads = [planes[grid[0]] for grid in grids.values()]
        for grid in grids.values():
            words = _grid_words(planes[grid[0]], heads)
            for chosen, more in _split([group[n] for n in grid], _TRAITS):
                found.append((chosen, (*words, *more)))
    shared = {group[0].uid for group, _ in found}
    told = []
    for group, words in found:
        modality, number = (group[0].facts.get(key) for key in _GENERAL)
        general = (*((str(modality),) if modality else ()), *(() if number is None else (f"series number {number}",)))
        told.append(Volume(group, (*general, *words, *((f"UID {group[0].uid}",) if len(shared) > 1 else ()))))
    return told


def _grid_words(one: Plane, others: list[Plane]) -> tuple[str, ...]:
    """View and pixel spacing, as far as the grids of a series differ in them."""
    view = [("sagittal", "coronal", "axial")[int(np.abs(plane.normal).argmax())] for plane in (one, *others)]
    pixels = [f"pixels of {plane.spacing_mm[0]:.4g} x {plane.spacing_mm[1]:.4g} mm" for plane in (one, *others)]
    return tuple(words[0] for words in (view, pixels) if len(set(words)) > 1)


def _split(group: list[Member], traits: Sequence[_Trait]) -> list[tuple[list[Member], tuple[str, ...]]]:
    """Slices of one grid by the first trait that tells them apart, each part by the traits behind it."""
    planes = [member.plane for member in group if member.plane is not None]
    places = place_labels(planes)
    for n, trait in enumerate(traits):
        labels = _labels(trait, [_value(trait, member.facts) for member in group], places)
        if labels is None:
            continue
        parts: dict[Hashable, list[Member]] = defaultdict(list)
        for label, member in zip(labels, group, strict=True):
            parts[label].append(member)
        names = _names(trait, group, parts)
        return [
            (chosen, (*names[label], *words))
            for label in sorted(parts, key=_order)
            for chosen, words in _split(parts[label], traits[n + 1 :])
        ]
    return [(group, ())]


def _labels(trait: _Trait, values: list[Any], places: Sequence[int]) -> list[Hashable] | None:
    """To which part each slice belongs; None if this trait tells none apart."""
    keys = _keys(values) if not trait.ranked else values
    if len(set(keys)) == 1:
        return None
    there: dict[int, set[Hashable]] = defaultdict(set)
    for place, key in zip(places, keys, strict=True):
        there[place].add(key)
    counts = {len(found) for found in there.values()}
    most = max(Counter(places).values())
    if trait.alone or (max(counts) > 1 and len(set(keys)) <= most and not trait.ranked):
        return keys
    if len(counts) > 1 or counts == {1} or any(isinstance(value, str) for value in values):
        return None
    ranks = {place: sorted(found, key=_order) for place, found in there.items()}
    return [("#", ranks[place].index(key)) for place, key in zip(places, keys, strict=True)]


def _names(trait: _Trait, group: list[Member], parts: Mapping[Hashable, list[Member]]) -> dict[Hashable, tuple[str, ...]]:
    """What is said of each part: the trait that made it, and others that are the same throughout it and differ from the other parts."""
    ranked = any(isinstance(label, tuple) and label[:1] == ("#",) for label in parts)
    names: dict[Hashable, tuple[str, ...]] = dict.fromkeys(parts, ())
    if ranked:
        names = {label: (f"{trait.name} #{label[1] + 1}",) for label in parts if isinstance(label, tuple)}
    for other in _TRAITS[_TRAITS.index(trait) + ranked :]:
        if other.ranked:
            continue
        keys = dict(zip(map(id, group), _keys([_value(other, member.facts) for member in group]), strict=True))
        within = {label: {keys[id(member)] for member in part} for label, part in parts.items()}
        if all(len(found) == 1 for found in within.values()) and len(set(map(frozenset, within.values()))) == len(parts):
            firsts = {label: _value(other, part[0].facts) for label, part in parts.items()}
            for label, text in _texts(firsts).items():
                names[label] += (f"{other.name} {text}{other.unit if firsts[label] is not None else ''}",)
    return names


def _texts(values: Mapping[Hashable, Any]) -> dict[Hashable, str]:
    """Values in words; of tuples of texts, such as an image type, only what differs."""
    rows = [value for value in values.values() if isinstance(value, tuple)]
    differ = [n for n in range(min(map(len, rows), default=0)) if len({row[n] for row in rows}) > 1]
    same = len({len(row) for row in rows}) == 1 and len(rows) == len(values)

    def text(value: Any) -> str:
        if value is None:
            return "not given"
        if isinstance(value, tuple):
            kept = [value[n] for n in differ] if same and isinstance(value[0], str) else value
            return "/".join(text(item) for item in kept)
        return f"{value:.5g}" if isinstance(value, float) else str(value)

    return {label: text(value) for label, value in values.items()}


def _value(trait: _Trait, found: Mapping[str, Any]) -> Any:
    """A float, a text, a tuple of these, or None."""
    stored = next((found[keyword] for keyword in trait.keywords if keyword in found), None)
    if stored is None:
        return None
    if trait.ranked and isinstance(stored, str):  # dates and times; "10:10:10" is an older way to write one
        digits = re.sub(r"[^0-9.]", "", re.split(r"[+-]", stored)[0])
        return float(digits) if digits.replace(".", "", 1).isdigit() else None
    if isinstance(stored, str):
        return stored
    if isinstance(stored, Sequence) or hasattr(stored, "__iter__"):
        return tuple(item if item is None or isinstance(item, str) else float(item) for item in stored) or None
    return float(stored)


def _keys(values: list[Any]) -> list[Hashable]:
    """Equal keys for equal values; numbers are equal if they lie close together."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values if value is not None]
    numeric = bool(rows) and len({len(row) for row in rows}) == 1 and all(isinstance(item, float) for row in rows for item in row)
    if not numeric:
        return values
    table = np.array(rows, np.float64)
    close = 0.0 if (table == np.rint(table)).all() else _CLOSE
    labels = zip(*(clusters(column, close * float(np.abs(column).max())).tolist() for column in table.T), strict=True)
    return [None if value is None else next(labels) for value in values]


def _order(key: Hashable) -> tuple[bool, str, Any]:
    """None first, then by value; values of different types are never compared."""
    return (key is not None, type(key).__name__, 0 if key is None else key)


def choose(found: Sequence[Volume], asked: str | int | None, name: str) -> Volume:
    """The volume that was asked for, or the only one."""
    fitting = list(range(len(found)))
    if isinstance(asked, str):
        wanted = asked.strip().casefold()
        uids = [n for n in fitting if found[n].members[0].uid == asked.strip()]
        said = [n for n in fitting if set(wanted.split(", ")) <= set(_told(found[n]).casefold().split(", "))]
        counted = [int(wanted)] if wanted.isascii() and wanted.isdigit() and int(wanted) < len(found) else []
        fitting = uids or said or counted
    elif asked is not None:
        fitting = [asked] if 0 <= asked < len(found) else []
    if len(fitting) == 1:
        return found[fitting[0]]
    shown = fitting or list(range(len(found)))
    listing = "; ".join(f"{n}: {_told(found[n])}" for n in shown[:_LISTED])
    if len(shown) > _LISTED:
        listing += f"; and {len(shown) - _LISTED} more, up to number {shown[-1]}"
    if not fitting:
        raise FormatError(f"series {asked!r} is not in '{name}'", f"the number of one of: {listing}", f"choose series={shown[0]}")
    often = Counter(word for volume in found for word in volume.words)
    words = [word for word in found[fitting[-1]].words if often[word] == 1 and "'" not in word]
    example = f"series={fitting[0]}" + (f" or series='{words[0]}'" if words else "")
    raise GeometryError(f"'{name}' holds {len(fitting)} volumes ({listing})", "one", f"choose one, for instance with {example}")


def _told(volume: Volume) -> str:
    member = volume.members[0]
    count = len(volume.members)
    kind = f"slice{'s' * (count > 1)}" if member.plane is not None else f"image{'s' * (count > 1)} without a place"
    return ", ".join((*volume.words, f"{count} {kind} of {member.shape[1]} x {member.shape[0]} pixels"))


# --- Enhanced multi-frame DICOM: one object, one volume, geometry in per-frame functional groups.


_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # of regions, and of label maps


def read_multiframe(parts: Sequence[Any], source: Source, options: ReadOptions, frames: Sequence[int] | None = None) -> Case:
    """A volume from an enhanced multi-frame object."""
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
    """The slices of a file, one or several, for `unireason.imaging.dicom.volumes`."""
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
    """A volume from enhanced multi-frame files: one, all parts of a concatenation, or several that share a series."""
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
    # All parts of each concatenation must be there, once.
    there: dict[str, list[Any]] = {}
    for *_, part, _ in found:
        if part.get("ConcatenationUID"):
            there.setdefault(str(part.ConcatenationUID), []).append(part)
    for whole in there.values():
        counted = [int(part.get("InConcatenationNumber") or 0) for part in whole]
        total = max(int(part.get("InConcatenationTotalNumber") or 0) for part in whole)
        if counted != list(range(1, max(total, len(counted)) + 1)):
            raise GeometryError(
                f"'{name}' holds parts {counted} of a concatenation",
                f"each of 1 to {max(total, *counted)} once",
                "copy all its files",
            )
    starts = np.cumsum([0, *(count for _, _, count, _, _ in found)])
    first = {path: int(start) for start, (_, path, *_) in zip(starts, found, strict=False)}
    with decoding(paths[0], "DICOM", REMEDY):
        several = len(found) > 1
        source = Source(
            name if several else paths[0].name, "dicom", sha256_of_files(f[-1] for f in found) if several else found[0][-1]
        )
        return read_multiframe([part for *_, part, _ in found], source, options, [first[path] + n for path, n in chosen])


def concatenation_notes(dataset: Any) -> tuple[str, ...]:
    """A remark on a file that holds only a part of its object."""
    if not dataset.get("ConcatenationUID") or dataset.get("InConcatenationTotalNumber") == 1:
        return ()
    number, total = dataset.get("InConcatenationNumber"), dataset.get("InConcatenationTotalNumber") or "several"
    return (f"part {number} of {total} of a concatenation; read the folder for all of it",)


def frame_plane(header: FrameHeader, name: str) -> Plane:
    """Where a frame or a single image lies."""
    return plane(name, *(header.get(key) for key in PLANE))


def _stack(dataset: Any, planes: list[Plane], frames: list[int], limits: Limits) -> tuple[list[int], Affine, tuple[str, ...]]:
    """Frames in slice order, -1 for one that a segmentation left out, and the affine of the volume."""
    places, notes = [planes[n] for n in frames], tuple[str, ...]()
    if dataset.get("SOPClassUID") in _SEGMENTATIONS:
        places, notes = _filled(dataset, planes, frames, limits)
    order, affine, more = stack_planes(places)
    return [frames[n] if n < len(frames) else -1 for n in order], affine, (*notes, *more)


def _filled(dataset: Any, planes: list[Plane], frames: list[int], limits: Limits) -> tuple[list[Plane], tuple[str, ...]]:
    """Planes of the frames of one segment, then those of empty frames up to where any segment of the file reaches."""
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


# --- One DICOM file as a Case: a single image, a frame, or the volume of an enhanced multi-frame file.


def read_dicom(path: Path, options: ReadOptions) -> Case:
    """Read one DICOM file: a single image, a cine frame, or an enhanced multi-frame volume."""
    content = file_bytes(path, options.limits)
    with decoding(path, "DICOM", REMEDY):
        dataset = parse(content, path.name, options.limits)
        count = frame_count(dataset, path.name, options.limits)
        source = Source(path.name, "dicom", sha256(content), made_by(dataset))
        del content
        in_groups = "PerFrameFunctionalGroupsSequence" in dataset
        if count > 1 and in_groups and options.frame is None and FrameHeader(dataset).is_placed:
            return read_multiframe([dataset], source, options)
        if options.series not in (None, 0, "0", str(dataset.get("SeriesInstanceUID"))):
            raise FormatError(f"series {options.series!r} of one image or frame, '{path.name}'", "no choice", "leave series out")
        index = options.pick(count, f"'{path.name}'")
        header = FrameHeader(dataset, index)
        pixels, scale = frame_values(dataset, index)
        if pixels.ndim not in (2, 3) or pixels.size == 0:
            raise ImageReadError(f"'{source.name}' decodes to shape {pixels.shape}", "one image")
        window = stored_window(header, scale) if pixels.ndim == 2 else None
        notes = (*display_notes(scale), *concatenation_notes(dataset))
        if count > 1:
            notes = (*notes, f"frame {index} of {count}")
        geometry, more = _image_geometry(header, source.name, (pixels.shape[1], pixels.shape[0]), options)
        if count > 1 or "PerFrameFunctionalGroupsSequence" in dataset:
            geometry = replace(geometry, header={"frames": (index,)})
        modality = options.modality or str(dataset.get("Modality") or "")
        return Case(np.ascontiguousarray(pixels), "image", geometry, modality, source, window, (*notes, *more))


def _image_geometry(
    header: FrameHeader, name: str, sizes: tuple[int, int], options: ReadOptions
) -> tuple[Geometry, tuple[str, ...]]:
    """Placement of a single image; what is stored but unusable is left out with a note."""
    affine, spacing = None, options.spacing_mm and options.spacing_mm[:2]
    notes: tuple[str, ...] = ()
    try:
        if header.is_placed:
            where = frame_plane(header, name)
            affine, spacing = where.affine(where.normal * (where.thickness_mm or 1.0)), where.spacing_mm
        else:
            for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
                if header.get(key):
                    rows, columns = (float(v) for v in numbers(header.get(key), 2, name, key))
                    if min(rows, columns) <= 0:
                        raise GeometryError(f"{key} is {rows:g} x {columns:g}", "positive numbers")
                    spacing, notes = (columns, rows), () if key == "PixelSpacing" else (f"spacing from {key} (at the detector)",)
                    break
    except (GeometryError, ValueError, TypeError) as error:
        notes = (f"position in the patient ignored: {error}",)
    return Geometry(sizes[::-1], sizes, (0, 1), (False, False), affine, spacing), notes
