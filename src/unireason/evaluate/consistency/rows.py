"""One row a pair of a question and a structure: what was looked at, and where it really is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.evaluate.keyed import KeyedRows
from unireason.metrics.consistency import Consistency, projection, slice_volume
from unireason.types import Box2D, Box3D

Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One pair; all boxes are canonical and half-open.

    Attributes:
        id: The question.
        structure: The structure.
        case: The volume.
        patient: Its patient.
        question: What was asked of the volume.
        slice_question: What was asked of the slice; "" if nothing was, because the structure is too small there.
        slice: Canonical index of the slice.
        size: Canonical voxels of the volume along x and y.
        true_rectangle: (x1, y1, x2, y2) on the slice.
        true_cuboid: (x1, y1, z1, x2, y2, z2).
        rectangle: Looked at on the slice; None for no look.
        cuboid: Looked at in the volume; None for no look.
        said: What the model wrote about the volume.
        slice_said: What it wrote about the slice.
        remarks: What lies outside the scope of the model (``types.ScopeCheck``).
    """

    id: str
    structure: str
    case: str
    patient: str
    question: str
    slice_question: str
    slice: int
    size: tuple[int, int]
    true_rectangle: Numbers
    true_cuboid: Numbers
    rectangle: Numbers | None
    cuboid: Numbers | None
    said: str
    slice_said: str
    remarks: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Question and structure."""
        return self.id, self.structure

    @property
    def asked(self) -> bool:
        """True if the slice was shown."""
        return bool(self.slice_question)

    @property
    def both(self) -> bool:
        """True if both looks are there."""
        return self.rectangle is not None and self.cuboid is not None

    def measured(self) -> Consistency:
        """The pair measured."""
        return slice_volume(
            None if self.rectangle is None else Box2D(*self.rectangle),
            None if self.cuboid is None else Box3D(*self.cuboid),
            slice_index=self.slice,
            true_rectangle=Box2D(*self.true_rectangle),
            true_cuboid=Box3D(*self.true_cuboid),
        )

    def shadow(self) -> Box2D | None:
        """The cuboid's x-y projection."""
        return None if self.cuboid is None else projection(Box3D(*self.cuboid))


class RowFile(KeyedRows[Row]):
    """The rows of a measurement, in memory and on disk."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], *, again: bool = False) -> None:
        """Open or begin; see ``keyed.KeyedRows``."""
        super().__init__(folder, manifest, _row, again=again)


def _row(table: Any) -> Row:
    lists = ("size", "true_rectangle", "true_cuboid", "rectangle", "cuboid", *(("remarks",) if "remarks" in table else ()))
    return Row(**{**table, **{name: None if table[name] is None else tuple(table[name]) for name in lists}})
