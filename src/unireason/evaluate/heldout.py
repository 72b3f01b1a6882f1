"""A held-out set of phantom patients with equal shares of the six families, asked by real generation and scored.

Any seed gives fresh patients that the built-in checkpoint has never seen. Looks are scored against the masks; a look that is missing
counts as zero, so that boxes cannot be made better by leaving hard ones out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unireason.data.primer.balance import Balancer, draw
from unireason.data.primer.reasoning import write
from unireason.data.primer.scene import Scene
from unireason.data.question import FAMILIES
from unireason.data.sources.phantom import Patient, generate
from unireason.data.sources.phantom_scenes import busy_slices, image_case, image_scene, volume_scene
from unireason.engine.reasoner import Question, Reasoner
from unireason.errors import FormatError, UniReasonError
from unireason.metrics.intervals import wilson
from unireason.metrics.overlap import box_iou
from unireason.types import Box, Box2D, Box3D, Case, Frame, Kind, Look, Sample, Trace

QUESTIONS_A_CASE = 3
PATIENTS_A_QUESTION = 20  # patience before a family is declared impossible


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One held-out question and what the model made of it.

    Attributes:
        case: The case.
        sample: The question with its right answer and true looks.
        trace: The model's trace.
    """

    case: Case
    sample: Sample
    trace: Trace

    @property
    def right(self) -> bool:
        """True if the chosen letter is the right one."""
        return self.trace.answer.choice == self.sample.letter

    @property
    def looked(self) -> bool:
        """True if at least one valid box was executed."""
        return any(look.executed for look in self.trace.looks)

    def ious(self) -> list[float]:
        """IoU of every true look with the model's look of the same rank; 0 where the model has none.

        Places where an absent structure would lie are no truth and are left out.
        """
        shown = [box_of(look.box_model) for look in self.trace.looks if look.executed]
        return [
            box_iou(look.box, shown[rank]) if rank < len(shown) and type(look.box) is type(shown[rank]) else 0.0
            for rank, look in enumerate(true_looks(self.sample))
            if look.seen
        ]


def true_looks(sample: Sample) -> list[Look]:
    """The looks of a sample's reasoning, in order."""
    return [part for part in sample.reasoning if isinstance(part, Look)]


def box_of(numbers: Sequence[float]) -> Box:
    """Four or six numbers as a box."""
    return Box2D(*numbers) if len(numbers) == 4 else Box3D(*numbers)


def _cases(seed: int, kind: Kind, frame_of: Callable[[Case], Frame]) -> Iterator[tuple[Case, Scene, np.random.Generator]]:
    index = 0
    while True:
        patient: Patient = generate(seed, index)
        rng = np.random.default_rng([seed, index, 3])
        if kind == "volume":
            case = patient.case()
            yield case, volume_scene(patient, frame_of(case)), rng
        else:
            k = busy_slices(patient, rng, 1)[0]
            case = image_case(patient, k)
            yield case, image_scene(patient, k, frame_of(case)), rng
        index += 1


def held_out(seed: int, count: int, kind: Kind, frame_of: Callable[[Case], Frame]) -> Iterator[tuple[Case, list[Sample]]]:
    """Cases with their questions, ``count`` in all, the six families in equal shares (the first ones get the remainder).

    Args:
        seed: Cohort seed, any non-negative integer.
        count: Questions, at least 1.
        kind: "image" (one axial slice a patient) or "volume".
        frame_of: Gives the model frame in which a case is shown.

    Yields:
        A case and one to three questions about it, each of another family.

    Raises:
        FormatError: If the seed is negative or the count below 1.
    """
    if seed < 0 or count < 1:
        raise FormatError(f"seed {seed} and {count} questions", "a seed of at least 0 and at least 1 question")
    left = {family: count // 6 + (i < count % 6) for i, family in enumerate(FAMILIES)}
    balancer = Balancer()
    for patients, (case, scene, rng) in enumerate(_cases(seed, kind, frame_of)):
        samples: list[Sample] = []
        for family in sorted(FAMILIES, key=lambda f: -left[f]):
            if left[family] and len(samples) < QUESTIONS_A_CASE and (question := draw(scene, family, rng, balancer)):
                samples.append(write(question, scene))
                left[family] -= 1
        if samples:
            yield case, samples
        if not any(left.values()):
            return
        if patients > PATIENTS_A_QUESTION * (count + 10):
            raise UniReasonError(f"no patients are left for the questions {left}")


def evaluate(
    reasoner: Reasoner, *, seed: int, count: int, kind: Kind, progress: Callable[[int], None] | None = None
) -> list[Asked]:
    """Asks a held-out set, greedily, with injected crops; the questions on one case share its encoding.

    Args:
        reasoner: The model.
        seed: Cohort seed.
        count: Questions.
        kind: "image" or "volume".
        progress: Called with the number of questions done after every case.

    Returns:
        One record a question.
    """
    done: list[Asked] = []
    for case, samples in held_out(seed, count, kind, lambda c: reasoner.encode(c).frame):
        traces = reasoner.ask_many(case, [Question(s.question, s.options) for s in samples])
        done += [Asked(case, sample, found[0]) for sample, found in zip(samples, traces, strict=True)]
        if progress:
            progress(len(done))
    return done


def summary(asked: Sequence[Asked]) -> dict[str, Any]:
    """Scores as plain JSON values.

    Returns:
        ``n``, ``accuracy``, ``accuracy_ci95`` (Wilson), ``chance`` (mean of one over the number of options), ``mean_box_iou`` (over
        true looks), ``crop_rate`` (share of answers with an executed look) and, under ``by_family``, the same for each family.

    Raises:
        UniReasonError: If nothing was asked.
    """
    if not asked:
        raise UniReasonError("no questions were asked", "at least one")
    families = {f: [a for a in asked if a.sample.family == f] for f in FAMILIES}
    return _scores(asked) | {"by_family": {f: _scores(a) for f, a in families.items() if a}}


def _scores(asked: Sequence[Asked]) -> dict[str, Any]:
    right = sum(a.right for a in asked)
    interval = wilson(right, len(asked))
    ious = [value for a in asked for value in a.ious()]
    return {
        "n": len(asked),
        "accuracy": right / len(asked),
        "accuracy_ci95": list(interval),
        "chance": float(np.mean([1 / len(a.sample.options) for a in asked])),
        "mean_box_iou": float(np.mean(ious)) if ious else None,
        "crop_rate": sum(a.looked for a in asked) / len(asked),
    }
