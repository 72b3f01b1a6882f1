"""What the rows of a run say: accuracy, calibration, grounding, spread over samples. Plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from unireason.evaluate.scoring.predictors import calibration
from unireason.evaluate.scoring.table import TAGS, breakdown
from unireason.metrics.intervals import over_patients

from .rows import Answered
from .settings import Settings

GOOD_OVERLAP = 0.5
PREDICTORS = ("overlap", "probability", "agreement")


def summary(rows: Sequence[Answered], settings: Settings) -> dict[str, Any]:
    """Everything that the rows say; docs/reference/results.md explains the keys.

    Args:
        rows: Every question once.
        settings: How they were asked.

    Raises:
        FormatError: If there are no rows, or a question comes twice.
    """
    scores = breakdown([row.scored for row in rows], seed=settings.seed, by=(*TAGS, "kind"))
    seconds = sum(row.seconds for row in rows)
    return {
        "n": len(rows),
        "patients": scores["all"]["patients"],
        "too_few_patients": scores["all"]["too_few_patients"],
        "samples": settings.samples,
        "vote": settings.vote,
        "scores": scores,
        "calibration": _calibrations(rows),
        "grounding": _grounding(rows, settings.seed),
        "sampling": _sampling(rows, settings) if settings.samples > 1 else None,
        "unreadable": sum(bool(row.problem) for row in rows),
        "seconds": round(seconds, 3),
        "questions_a_second": round(len(rows) / seconds, 3) if seconds else None,
    }


def _calibrations(rows: Sequence[Answered]) -> dict[str, Any]:
    """How well every predictor tells right from wrong among the questions that were asked; without those known of none."""
    asked = [row for row in rows if not row.problem]
    right = [row.scored.right for row in asked]
    found = {name: calibration([row.predictors[name] for row in asked], right) for name in PREDICTORS}
    return {name: own for name, own in found.items() if own["n"]}


def _grounding(rows: Sequence[Answered], seed: int) -> dict[str, Any]:
    pairs = [(value, row.scored.patient) for row in rows for value in row.ious]
    values, patients = [value for value, _ in pairs], [patient for _, patient in pairs]
    return {
        "looks": len(values),
        "mean_box_iou": fmean(values) if values else None,
        "ci95_patients": over_patients(values, patients, seed=seed),
        "iou_at_50": fmean(value >= GOOD_OVERLAP for value in values) if values else None,
        "looked": fmean(row.looked for row in rows),
    }


def _sampling(rows: Sequence[Answered], settings: Settings) -> dict[str, Any]:
    """Over all samples; a question that could not be asked has none that is right."""
    means = [fmean(row.hits) if row.hits else 0.0 for row in rows]
    return {
        "samples": settings.samples,
        "temperature": settings.sampling.temperature,
        "mean_accuracy": fmean(means),
        "mean_accuracy_ci95_patients": over_patients(means, [row.scored.patient for row in rows], seed=settings.seed),
        "any_right": fmean(any(row.hits) for row in rows),
        "all_right": fmean(bool(row.hits) and all(row.hits) for row in rows),
    }
