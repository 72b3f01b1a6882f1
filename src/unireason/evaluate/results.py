"""What evaluations found, as ``results.json`` has it (docs/reference/results.md): typed, and checked where it is made or read.

Keys that are not known here are kept, and those that files of earlier versions lack have a default.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from unireason.core.errors import FormatError, UniReasonError

Ends = Annotated[list[float], Field(min_length=2, max_length=2)]
"""An interval."""

R = TypeVar("R", bound="Found")
T = TypeVar("T")


class Found(BaseModel):
    """A part of what was found."""

    model_config = ConfigDict(extra="allow", frozen=True)
    _told: dict[str, Any] | None = PrivateAttr(None)

    @classmethod
    def of(cls: type[R], value: Any) -> R:
        """Check plain JSON values.

        Raises:
            FormatError: If something is missing or of another type; the message says where.
        """
        try:
            made = cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise FormatError(
                f"the results are incomplete or of another kind ({place}: {first['msg']})",
                "those of a finished evaluation",
                "run it to its end",
            ) from error
        made._told = value
        return made

    @classmethod
    def read(cls: type[R], path: Path) -> R:
        """Read a file; errors as :meth:`of`, and a UniReasonError if it cannot be read."""
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UniReasonError(f"'{path.name}' cannot be read ({error})", "the results of an evaluation") from error
        return cls.of(value)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: those that it was made of, keys in their order."""
        return self.model_dump(exclude_unset=True) if self._told is None else self._told


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many examples, evenly over all, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[n * (len(items) - 1) // max(1, most - 1)] for n in range(most)]


class ModelNamed(Found):
    """The checkpoint that answered."""

    name: str
    sha256: str = ""


class Manifest(Found):
    """What was asked of what."""

    suite: str = ""
    questions: int = 0
    seed: int
    checkpoint: ModelNamed


class UnreadFound(Found):
    """Questions that could not be asked, and why."""

    n: int
    questions: dict[str, str]


# --- Evidence.


class ShareFound(Found):
    """A share of questions or of what is known, with its intervals."""

    value: float | None
    ci95: Ends | None
    ci95_patients: Ends | None = None
    n: int


class ConditionFound(Found):
    """The answers under one condition."""

    accuracy: float
    ci95: Ends
    ci95_patients: Ends | None = None
    n: int
    chance: float
    mismatch_rate: float | None = None
    meaning: str
    true_accuracy: float | None = None
    survival: ShareFound | None = None
    reliance: ShareFound | None = None

    @property
    def ends(self) -> list[float] | None:
        """The interval over patients; that over questions in files that know no patients."""
        return self.ci95_patients if "ci95_patients" in self.model_fields_set else self.ci95


class EvidenceResults(Found):
    """What an evidence check found."""

    conditions: dict[str, ConditionFound]
    reliance: ShareFound
    reliance_condition: str
    patients: int | None = None
    too_few_patients: bool = False
    looked: float
    left_out: list[str]
    scope: dict[str, Any] | None = None
    unreadable: UnreadFound
    manifest: Manifest


# --- Slice-volume consistency.


class OverlapFound(Found):
    """Mean IoU over pairs; None over no pairs."""

    mean_iou: float | None
    ci95_patients: Ends | None
    at_50: float | None
    n: int


class DifferenceFound(Found):
    """How much better looks agree than with those at other patients."""

    difference: float | None
    ci95_patients: Ends | None
    n: int


class LookedFound(Found):
    """Shares of pairs with a look at the slice, at the volume, at both."""

    slice: float | None
    volume: float | None
    both: float | None


class Overlaps(Found):
    """All overlaps of a set of pairs."""

    agreement: OverlapFound
    slice_to_truth: OverlapFound
    volume_to_truth: OverlapFound
    cuboid_to_truth: OverlapFound
    other_patient: OverlapFound
    ceiling: OverlapFound


class PairsFound(Overlaps):
    """What a set of pairs says."""

    n: int
    patients: int
    too_few_patients: bool = False
    above_other_patient: DifferenceFound


class StructureFound(Overlaps):
    """What the pairs of one structure say."""

    n: int
    patients: int | None = None
    looked: LookedFound


class ConsistencyResults(PairsFound):
    """What a measurement of consistency found."""

    conditional: PairsFound
    looked: LookedFound
    crossed: float | None
    left_out: int
    mismatch_rate: float | None = None
    by_structure: dict[str, StructureFound]
    scope: dict[str, Any] | None = None
    unreadable: UnreadFound
    manifest: Manifest


# --- Implicit questions.


class MeanFound(Found):
    """The mean of a score."""

    mean: float
    ci95_patients: Ends | None


class ScoresFound(Found):
    """The means of a set of questions."""

    n: int
    patients: int
    too_few_patients: bool = False
    scores: dict[str, MeanFound]


class PointingResults(ScoresFound):
    """What an evaluation of implicit questions found."""

    suite: str
    rule: str
    headline: dict[str, float]
    found: float
    malformed: float
    problems: dict[str, int]
    unreadable: UnreadFound
    by_supercategory: dict[str, ScoresFound]
    by_category: dict[str, ScoresFound]
    calibration: dict[str, Any] | None = None
    scope: dict[str, Any] | None = None
    left_out: dict[str, int]
    manifest: Manifest
