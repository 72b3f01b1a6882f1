"""What a source gives: items by reference, and an item loaded into a case with its masks.

An item names files and never holds pixels, so that millions of them may be listed, sent to workers and written down. Paths
are relative to the source's folder and are checked to stay inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, ImageReadError
from unireason.core.types import Case, Kind


@dataclass(frozen=True, slots=True)
class MaskRef:
    """One mask file of an item.

    Attributes:
        path: Relative to the source's folder, with forward slashes; "" if the mask is not a file (phantoms).
        names: Value in the file to structure name; "" for a value that is known and no structure. A binary mask has the one key 1.
        binary: True if the file shows one structure, whatever its value is.
        detail: What else the source needs to read it ("shape=1,256,256,32", "colour"), in its own words.
    """

    path: str
    names: Mapping[int, str]
    binary: bool = False
    detail: str = ""

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of its structures, each once."""
        return tuple(dict.fromkeys(name for name in self.names.values() if name))


@dataclass(frozen=True, slots=True)
class Item:
    """One annotated image or volume, by reference.

    Attributes:
        id: Unique inside the source and the same on every machine.
        patient: Patient identifier, unique inside the source; splits are by patient.
        kind: "image" or "volume".
        image: Path of the image, relative to the source's folder, with forward slashes; for phantoms "seed/index".
        masks: Mask files; they may overlap.
        annotated: Names of all structures that the source annotates on such an item, present or not. Only these may be
            called absent.
        modality: DICOM modality code, "" if unknown.
        spacing_mm: Voxel size along x, y (and z) if the source knows it and the file does not.
        read: Further options of ``imaging.read`` ("frame", "axes"), as sorted pairs.
        split: The source's own split name, "" if none. It is kept as a remark: our split is by patient.
        extra: Remarks of the source as plain text values.
    """

    id: str
    patient: str
    kind: Kind
    image: str
    masks: tuple[MaskRef, ...]
    annotated: tuple[str, ...]
    modality: str = ""
    spacing_mm: tuple[float, ...] | None = None
    read: tuple[tuple[str, Any], ...] = ()
    split: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a source that cannot be used.

    Attributes:
        id: Item, file or row.
        reason: What came and what was expected, one sentence.
    """

    id: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Masks that do not overlap, as one label map.

    Attributes:
        labels: Unsigned integer (Z, Y, X) or (Y, X) on the canonical grid of the case; 0 is background.
        names: Label value to structure name; values without a name are ignored.
    """

    labels: NDArray[np.unsignedinteger[Any]]
    names: Mapping[int, str]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An item in memory.

    Attributes:
        item: The item.
        case: Its pixels and geometry.
        layers: Masks; a structure lies in exactly one layer.
        values: What the values of its mask files mean: (value, name) to whether it occurs. The name is None for a value without one,
            "" for one that is known and no structure. Empty where that is the same as in the layers.
        stated: What the source states of structures beyond their masks: name to kind ("texture", "spots", "margin",
            "calcification") to what it is.
    """

    item: Item
    case: Case
    layers: tuple[Layer, ...]
    values: Mapping[tuple[int, str | None], bool] = field(default_factory=dict)
    stated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class UnnamedError(FormatError):
    """A mask holds values that nobody named: what they show would be called absent.

    Attributes:
        values: As in ``Loaded``.
    """

    values: Mapping[tuple[int, str | None], bool] = MappingProxyType({})


class CaseSource(Protocol):
    """Where items come from. Instances are small, picklable and read nothing until asked.

    Attributes:
        name: Short name ("sa-med2d", "nnunet", ...), as on the command line.
        title: Name of the data set, for cards ("SA-Med2D-20M", or the name in its dataset.json).
        licence: Licence of the data as far as known, for cards; "unknown" else.
        root: The folder; an empty path for phantoms.
    """

    @property
    def name(self) -> str:
        """Short name, as on the command line."""

    @property
    def title(self) -> str:
        """Name of the data set."""

    @property
    def licence(self) -> str:
        """Licence of the data."""

    @property
    def root(self) -> Path:
        """The folder."""

    def items(self) -> Iterator[Item | Skipped]:
        """All items in a fixed order that is the same on every machine, unusable ones as Skipped.

        Raises:
            UniReasonError: If the source as a whole is not what it claims to be (no such folder, no index, no item).
        """

    def load(self, item: Item) -> Loaded:
        """Read one item.

        Raises:
            UniReasonError: If a file is missing, damaged or does not fit the others; the builder then skips the item.
        """


def inside(root: Path, relative: str) -> Path:
    """The file of a relative path, refusing to leave the folder.

    Args:
        root: The source's folder.
        relative: Path from a data file, untrusted.

    Returns:
        The path; it need not exist.

    Raises:
        FormatError: If the path is absolute, empty, holds ".." or a null byte, or leads outside through a link.
    """
    pure = PurePosixPath(relative.replace("\\", "/"))
    if not relative or "\0" in relative or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]:
        raise FormatError(f"the path {relative!r} in a data file", "a relative path inside the data set's folder")
    target = root / pure
    if not target.resolve().is_relative_to(root.resolve()):
        raise FormatError(f"the path {relative!r} leads out of the data set's folder", "a file inside it")
    return target


def check_masks(case: Case, labels: NDArray[Any], what: str) -> None:
    """Refuse masks on another grid than their image."""
    grid = case.pixels.shape[:3] if case.kind == "volume" else case.pixels.shape[:2]
    if labels.shape != grid:
        raise ImageReadError(
            f"the mask {what} has the shape {labels.shape}", f"{grid} as its image", "resample it onto the image"
        )
