"""What evaluations found, as ``results.json`` has it (docs/reference/results.md): typed, and checked where it is made or read.

Keys that are not known here are kept, and those that files of earlier versions lack have a default.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

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
            raise FormatError(
                f"the results are incomplete or of another kind ({place_of(error)})",
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
        except OSError as error:
            raise UniReasonError(f"'{path.name}' cannot be read ({error.strerror})", "the results of an evaluation") from error
        except ValueError as error:
            raise FormatError(f"'{path.name}' is broken ({error})", "the results of an evaluation") from error
        return cls.of(value)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: those that it was made of, keys in their order."""
        return self.model_dump(exclude_unset=True) if self._told is None else self._told


def place_of(error: ValidationError) -> str:
    """What is wrong first and where, without the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


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


class OwnBoxes(Found):
    """What the boxes of the answers say, over the ``n`` of ``asked`` questions that they decide."""

    n: int
    asked: int
    accuracy: float
    accuracy_ci95_patients: Ends | None
    model_accuracy: float
    gap: float
    gap_ci95_patients: Ends | None
    follows: float
    follows_ci95_patients: Ends | None


class KindFound(Found):
    """What an evidence check says of one kind of question."""

    n: int
    patients: int
    accuracy: float
    ci95_patients: Ends | None
    chance: float
    mismatch_rate: float | None
    reliance: ShareFound
    own_boxes: OwnBoxes | None
    ceiling: ShareFound


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
    ceiling: ShareFound | None = None  # folders of earlier versions lack these four
    own_boxes: OwnBoxes | None = None
    by_kind: dict[str, KindFound] = Field(default_factory=dict)
    kind_unknown: int = 0
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


# --- A run over a suite: its rows and its results.


class Accuracy(Found):
    """Right answers among ``n``, with the Wilson interval and that over patients."""

    n: int
    accuracy: float
    accuracy_ci95: Ends
    accuracy_ci95_patients: Ends | None


class GroupScores(Accuracy):
    """What is said of a group of questions; ``published`` has the same by published reading.

    What boxes say (``own_boxes``, ``ceiling``) is told of groups by family and kind; None where no box decides, or no kind is known.
    """

    patients: int
    too_few_patients: bool = False
    unread: int
    mismatch_rate: float | None = None  # folders of earlier versions lack it
    chance: float
    published: dict[str, Accuracy]
    own_boxes: OwnBoxes | None = None
    ceiling: ShareFound | None = None


class RunScores(Found):
    """Of all questions, and by tag and value."""

    all: GroupScores
    by: dict[str, dict[str, GroupScores]]


class Calibration(Found):
    """How well a predictor tells right from wrong answers."""

    n: int
    missing: int
    auroc: float | None
    ece: float | None
    bins: list[dict[str, Any]]


class RunBoxes(Found):
    """Overlap of looks with the true ones; a missing look counts 0."""

    looks: int
    mean_box_iou: float | None
    ci95_patients: Ends | None
    iou_at_50: float | None
    looked: float


class RunSamples(Found):
    """What several samples a question say."""

    samples: int
    temperature: float
    mean_accuracy: float
    mean_accuracy_ci95_patients: Ends | None
    any_right: float
    all_right: float


class RunAsked(Found):
    """What of the results of a run tells what was asked of what."""

    scope: dict[str, Any] | None = None
    manifest: dict[str, Any]


class RunResults(RunAsked):
    """What a run found."""

    kind: Literal["run"]
    suite: str
    rule: str
    n: int
    patients: int
    too_few_patients: bool = False
    samples: int
    vote: int
    scores: RunScores
    calibration: dict[str, Calibration]
    grounding: RunBoxes
    sampling: RunSamples | None
    unreadable: int
    seconds: float
    questions_a_second: float | None
    left_out: dict[str, int]


class RunSample(Found):
    """One response of a row."""

    said: str
    right: bool
    published: dict[str, bool | None]
    overlap: float | None
    probability: float | None
    looks: int
    trace: dict[str, Any]


class RunRow(Found):
    """A line of ``rows.jsonl`` of a run: a question with its responses, none if it could not be asked."""

    id: str
    case: str
    patient: str
    kind: str
    tags: dict[str, str]
    question: str
    options: list[str]
    letter: str
    answers: list[str]
    said: str
    right: bool
    published: dict[str, bool | None]
    overlap: float | None
    probability: float | None
    agreement: float | None
    tied: bool
    ious: list[float]
    own_boxes: str = ""  # folders of earlier versions lack both
    true_boxes: str = ""
    sample: int
    problem: str
    samples: list[RunSample]
    picture: str
    seconds: float

    @property
    def standing(self) -> RunSample | None:
        """The sample that stands for the question; None where it could not be asked."""
        return self.samples[self.sample] if self.samples else None

    @property
    def looked(self) -> bool:
        """Whether a look of the answer that stands was carried out."""
        return self.standing is not None and self.standing.looks > 0


# --- Runs side by side.


class OverlapMean(Found):
    """Mean overlap of the questions with true looks."""

    n: int
    mean: float | None
    ci95_patients: Ends | None


class RunCompared(GroupScores):
    """One of the runs, over the questions that all were asked."""

    name: str
    folder: str
    checkpoint: dict[str, Any]
    profile: dict[str, Any]
    samples: int
    vote: int
    asked: int
    questions_sha256: str
    seed: int
    scope: dict[str, Any] | None
    unreadable: int
    questions_a_second: float | None
    overlap: OverlapMean
    looked: float
    by: dict[str, dict[str, GroupScores]]


class PairScores(Found):
    """A run and the baseline over the same questions."""

    n: int
    first: float
    second: float
    only_first: int
    only_second: int
    p_exact: float
    p_mid: float
    difference: float
    interval: Ends | None
    patients: int
    too_few_patients: bool


class RunAgainst(PairScores):
    """A run against the baseline, in all and by tag and value; ``p_holm`` is corrected for all such comparisons."""

    run: str
    baseline: str
    p_holm: float
    by: dict[str, dict[str, PairScores]]


class ComparisonResults(Found):
    """What a comparison found."""

    kind: Literal["comparison"]
    suite: str
    rule: str
    n: int
    patients: int
    too_few_patients: bool
    seed: int
    baseline: str
    runs: list[RunCompared]
    comparisons: list[RunAgainst]


# --- An ablation.


class ArmScores(Found):
    """An arm over the questions of a kind, over all seeds."""

    n: int
    patients: int
    too_few_patients: bool = False
    chance: float
    accuracy: float
    ci95: Ends
    seeds: list[float]
    looked: float
    mean_box_iou: float | None
    mean_box_iou_ci95: Ends | None
    mean_box_iou_seeds: list[float] | None


class ArmExposure(Found):
    """Training samples that an arm was shown, with those of the arms before; kinds are None where the data decide."""

    samples: int
    image: int | None
    volume: int | None


class ArmResults(Found):
    """An arm; a kind without questions is left out."""

    name: str
    title: str
    image: ArmScores | None = None
    volume: ArmScores | None = None
    all: ArmScores
    steps: int
    samples_a_step: int
    exposure: ArmExposure


class ArmDifference(Found):
    """Accuracy of an arm minus that of the reference."""

    arm: str
    than: str
    on: str
    difference: float
    ci95: Ends
    seeds: list[float]


class ClaimVerdict(Found):
    """A claim and what became of it."""

    text: str
    better: str
    than: str
    on: str
    difference: float
    ci95: Ends
    seeds: list[float]
    verdict: Literal["holds", "does not hold", "undecided"]


class AblationResults(Found):
    """What an ablation found."""

    kind: Literal["ablation"]
    reference: str
    seeds: list[int]
    arms: list[ArmResults]
    differences: list[ArmDifference]
    claims: list[ClaimVerdict]
    scope: dict[str, Any] | None
    manifest: dict[str, Any]
