"""Implicit questions, answered by a model and outlined by a frozen expert: how well box, points and mask hit what was meant.

Every question counts. A score that an answer leaves nothing to compute from is 0 (the distance of surfaces: the diagonal of the picture):
without a usable box there is no overlap of boxes and no mask by the box, without two points in the picture no overlap of circles,
without any no mask by the points. The mask of an answer is what ``unireason ground`` makes of it: the box with the points that there are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from unireason.data.dataset import Dataset
from unireason.data.item import Loaded
from unireason.data.pictures import structure_mask
from unireason.data.records import SampleRecord
from unireason.engine.pointing import Place, Target, target
from unireason.errors import FormatError, UniReasonError
from unireason.evaluate.suites.pointing import Mask, Points, Truth
from unireason.metrics.circles import pdice, pdice_released
from unireason.metrics.intervals import Interval, over_patients, too_few
from unireason.metrics.overlap import box_iou, mask_dice
from unireason.metrics.surface import surface_distances
from unireason.segment.expert import Expert, Prompt
from unireason.types import Box2D, Case, Trace

from .heldout import check_frame, held_out_implicit, read_items

TOLERANCE_MM = 2.0
"""Distance of surfaces that still counts as agreement, if nothing else is said."""

SCORES = ("iou", "pdice", "pdice_released", "dice_points", "dice_box", "dice_both", "nsd", "hd95_mm", "found")
"""Names of the scores of a question; docs/reference/grounding-metrics.md says what each is."""

LIMITS: Mapping[str, Interval] = {"hd95_mm": (0.0, math.inf), "pdice_released": (0.0, 2.0)}
"""What a score may be; the others are shares."""

Answer = tuple[SampleRecord, Trace]


class Grounder(Protocol):
    """A model that answers implicit questions: ``engine.reasoner.Reasoner``."""

    def ground_many(self, case: Case, questions: Sequence[str], **how: Any) -> list[list[Trace]]:
        """For every question its traces."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One answer against the truth.

    Attributes:
        scores: One number for each of ``SCORES``, all finite.
        place: Where the answer points.
        mask: What the expert makes of box and points together, canonical; None without a usable box.
    """

    scores: Mapping[str, float]
    place: Target
    mask: Mask | None


@dataclass(frozen=True, slots=True, eq=False)
class Grounded:
    """One implicit question and what was made of it.

    Attributes:
        sample: The question with its true box, points and category.
        trace: The model's answer.
        scores: One number for each of ``SCORES``, all finite.
    """

    sample: SampleRecord
    trace: Trace
    scores: Mapping[str, float]

    def row(self) -> dict[str, Any]:
        """Plain JSON values: id, case, patient, category, supercategory, the scores, and the answer as text."""
        named = {name: getattr(self.sample, name) for name in ("id", "case", "patient", "category", "supercategory")}
        return {**named, **self.scores, "text": self.trace.raw_text}


def evaluate(
    reasoner: Grounder,
    dataset: Dataset,
    expert: Expert,
    *,
    count: int,
    split: str | None = None,
    progress: Callable[[int], None] | None = None,
    **how: Any,
) -> list[Grounded]:
    """Ask held-out implicit questions, greedily if nothing else is said, and score what comes back.

    Args:
        reasoner: The model.
        dataset: Where they come from; built for the way in which the model sees pictures.
        expert: Makes masks of boxes and points.
        count: Questions; see :func:`unireason.evaluate.heldout.held_out_implicit`.
        split: The same.
        progress: Called with the number of records done after every case.
        **how: Fields of ``engine.reasoner.AskOptions``, such as ``samples`` and ``sampling``.

    Returns:
        One record an answer: of several samples those of one question in a row.

    Raises:
        FormatError: If the data set was built for another model frame.
        ModelError: If a case does not fit the model or the expert.
        UniReasonError: If there are no questions or a case cannot be read.
    """
    by_case: defaultdict[str, list[SampleRecord]] = defaultdict(list)
    for sample in held_out_implicit(dataset, count, split):
        by_case[sample.case].append(sample)
    done: list[Grounded] = []
    for record, loaded in read_items(dataset, list(by_case)):
        samples = by_case[record.scene.case]
        traces = reasoner.ground_many(loaded.case, [s.question.text for s in samples], **how)
        answers = [(sample, trace) for sample, found in zip(samples, traces, strict=True) for trace in found]
        for _, trace in answers:
            check_frame(record, trace.frame)
        done += score(loaded, answers, expert)
        if progress:
            progress(len(done))
    return done


def score(loaded: Loaded, answers: Sequence[Answer], expert: Expert, *, tolerance_mm: float = TOLERANCE_MM) -> list[Grounded]:
    """Score answers about one image; the expert sees all of its boxes and points at once.

    Args:
        loaded: The image with its masks.
        answers: Questions with their traces, whose frame is that of the questions' boxes.
        expert: Makes masks of boxes and points.
        tolerance_mm: Of the surface score; pixels where the spacing is unknown.

    Returns:
        One record an answer, in order.

    Raises:
        FormatError: If a question is not an implicit one about this image, or its structure has no mask.
        ModelError: If the expert cannot take the case.
    """
    asked = []
    for sample, trace in answers:
        truth = structure_mask(loaded, sample.category)
        if sample.box is None or sample.points is None or not truth.any():
            raise FormatError(f"the question {sample.id!r} about {sample.category!r}", "one about a structure of the image")
        asked.append((Truth(sample.box, sample.points, truth, (trace.frame.width, trace.frame.height)), trace))
    found = measure(loaded.case, asked, expert, tolerance_mm=tolerance_mm)
    return [Grounded(sample, trace, own.scores) for (sample, trace), own in zip(answers, found, strict=True)]


def measure(
    case: Case, answers: Sequence[tuple[Truth, Trace]], expert: Expert, *, tolerance_mm: float = TOLERANCE_MM
) -> list[Measured]:
    """Hold answers about one picture against the places that were meant; the expert sees all of their boxes and points at once.

    Args:
        case: The picture.
        answers: True places with the traces of the answers. A place that is written on another grid than the model frame is laid on it.
        expert: Makes masks of boxes and points.
        tolerance_mm: Of the surface score; pixels where the spacing is unknown.

    Returns:
        One record an answer, in order.

    Raises:
        FormatError: If a trace does not belong to the picture, or a true mask has another shape.
        ModelError: If the expert cannot take the case.
    """
    places = [target(trace, case) for _, trace in answers]
    masks = _masks(case, places, expert)
    done = []
    for (truth, trace), place, found in zip(answers, places, masks, strict=True):
        scores = _places(*truth.on(trace.frame), place.model)
        scores |= {f"dice_{name}": 0.0 if mask is None else mask_dice(truth.mask, mask) for name, mask in found.items()}
        scores |= _surfaces(truth.mask, found["both"], case, tolerance_mm)
        done.append(Measured(scores, place, found["both"]))
    return done


def summary(done: Sequence[Grounded | Mapping[str, Any]]) -> dict[str, Any]:
    """Means of all scores with 95% intervals, over all questions and for each super-category and category.

    Args:
        done: Records, or their rows as read back from JSON.

    Returns:
        ``questions``, ``patients``, ``too_few_patients``, one ``{"mean": ..., "ci95": [low, high]}`` for each of ``SCORES`` (over
        patients; None for one), and ``by_supercategory`` and ``by_category`` with the same for each.

    Raises:
        UniReasonError: If nothing was asked.
    """
    rows = [d.row() if isinstance(d, Grounded) else d for d in done]
    if not rows:
        raise UniReasonError("no questions were asked", "at least one")
    found = _means(rows)
    for key in ("supercategory", "category"):
        names = sorted({row[key] for row in rows})
        found[f"by_{key}"] = {name: _means([row for row in rows if row[key] == name]) for name in names}
    return found


def _masks(case: Case, places: Sequence[Target], expert: Expert) -> list[dict[str, Mask | None]]:
    """For every answer the expert's masks by points, by box and by both; None where there is nothing to ask it with."""
    asked: list[dict[str, Prompt]] = []
    for place in (p.canonical for p in places):
        prompts = {"points": Prompt(points=place.points)} if place.points else {}
        if place.box is not None:
            box = Box2D(*place.box)
            prompts |= {"box": Prompt(box), "both": Prompt(box, place.points)}
        asked.append(prompts)
    flat = [prompt for prompts in asked for prompt in prompts.values()]
    outlined = iter(expert.segment(case, flat) if flat else [])
    found = [{name: next(outlined).mask for name in prompts} for prompts in asked]
    return [{name: masks.get(name) for name in ("points", "box", "both")} for masks in found]


def _places(box: Box2D, points: Points, answer: Place) -> dict[str, float]:
    """Scores of box and points in the model frame."""
    two = answer.points if len(answer.points) == 2 else None
    return {
        "iou": 0.0 if answer.box is None else box_iou(box, Box2D(*answer.box)),
        "pdice": 0.0 if two is None else pdice(points, two),
        "pdice_released": 0.0 if two is None else pdice_released(points, two),
    }


def _surfaces(truth: Mask, mask: Mask | None, case: Case, tolerance_mm: float) -> dict[str, float]:
    """Scores of the mask of the whole answer."""
    steps = case.geometry.spacing_mm or (1.0, 1.0)
    if mask is None or not mask.any():
        diagonal = math.hypot(*(n * s for n, s in zip(truth.shape[::-1], steps, strict=True)))
        return {"nsd": 0.0, "hd95_mm": diagonal, "found": 0.0}
    distances = surface_distances(truth, mask, spacing_mm=steps)
    return {"nsd": distances.nsd(tolerance_mm), "hd95_mm": distances.hausdorff_mm(), "found": 1.0}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    patients = [row["patient"] for row in rows]
    count = len(set(patients))
    found: dict[str, Any] = {"questions": len(rows), "patients": count, "too_few_patients": too_few(count)}
    for name in SCORES:
        values = [row[name] for row in rows]
        interval = over_patients(values, patients, seed=0, limits=LIMITS.get(name))
        found[name] = {"mean": float(np.mean(values)), "ci95": interval}
    return found
