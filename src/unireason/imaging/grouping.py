"""Which slices make one volume: told apart by series, grid, and whatever differs between slices that lie at one place.

A member is a file with one frame or a frame of a file with several, so that folders and enhanced files obey the same rule.
Source: DICOM PS3.3 C.7.6.16 (functional groups), C.8.3 (MR), C.8.13 (enhanced MR), C.8.20 (segmentations).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from unireason.errors import FormatError, GeometryError

from .planes import Plane, clusters, grid_keys, place_labels

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
"""What `unireason.imaging.planes.plane` takes, in its order."""

KEYWORDS = frozenset((*_GENERAL, *PLANE, *(keyword for trait in _TRAITS for keyword in trait.keywords)))
"""The elements of a header that `volumes` and `unireason.imaging.planes.plane` look at."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One slice.

    Attributes:
        file: What the caller needs to find its file again.
        frame: Its number in the file from 0; None if the file is taken as a whole.
        uid: SeriesInstanceUID.
        shape: Rows and columns.
        plane: Where it lies, if that is known.
        facts: Values of `KEYWORDS`, as far as they are stored.
    """

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
    """Values of `KEYWORDS` for each frame: of its own functional groups, else of the shared ones, else of the data set.

    Args:
        dataset: pydicom data set of a file with or without functional groups.
        count: Its frames.
    """
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
    """Sort slices into volumes.

    Args:
        members: Slices in any order.

    Returns:
        The volumes, series in order of first appearance, those of one series by grid and then by value.
    """
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
    return [
        Volume(group, (*_series_words(group[0]), *words, *((f"UID {group[0].uid}",) if len(shared) > 1 else ())))
        for group, words in found
    ]


def _series_words(member: Member) -> tuple[str, ...]:
    modality, number = (member.facts.get(key) for key in _GENERAL)
    return (*((str(modality),) if modality else ()), *(() if number is None else (f"series number {number}",)))


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
    """To which part each slice belongs; None if this trait tells none apart.

    Few values are the names of volumes. More values than slices at any place (trigger times that drift from slice to slice) say only
    which comes first, second and so on at each place, and only if that is the same number everywhere.
    """
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
    """The volume that was asked for, or the only one.

    Args:
        found: What there is.
        asked: A number in ``found``, the UID of a series, or words of the list that only one volume has; None for the only one.
        name: File or folder, for messages.

    Raises:
        FormatError: If there is no such volume.
        GeometryError: If there are several.
    """
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
