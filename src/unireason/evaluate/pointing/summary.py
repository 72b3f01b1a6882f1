"""What the rows of implicit questions come to: means with intervals, flawed answers, and whether a number tells good answers from bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from unireason.errors import UniReasonError
from unireason.evaluate.grounding import LIMITS, SCORES
from unireason.evaluate.scoring.predictors import calibration
from unireason.metrics.intervals import over_patients, too_few
from unireason.metrics.overlap import box_iou
from unireason.types import Box2D

from .rows import Row

HEADLINE = ("iou", "pdice_released", "dice_both")
"""The scores of the published leaderboard, in its order; its names are IoU, pDice and Dice."""

HIT_IOU = 0.5
"""Overlap with the true box from which an answer counts as a hit, for calibration alone."""


def summary(rows: Iterable[Row], *, seed: int) -> dict[str, Any]:
    """The results of an evaluation but for what was asked of what.

    Args:
        rows: Of all questions. Those that could not be read are counted and are part of no mean.
        seed: Of the bootstrap.

    Returns:
        Plain JSON values, listed in docs/reference/results.md.

    Raises:
        UniReasonError: If no question could be read.
    """
    every = list(rows)
    done = [row for row in every if row["unreadable"] is None]
    lost = {row["id"]: row["unreadable"] for row in every if row["unreadable"] is not None}
    if not done:
        example = next(iter(lost.values()), "there are none")
        raise UniReasonError(f"of {len(every)} questions none could be asked ({example})", "pictures with their masks")
    answers = [answer for row in done for answer in row["answers"]]
    problems = Counter(code for answer in answers for code in answer["problems"])
    whole = _scores(done, seed)
    return {
        "headline": {name: whole["scores"][name]["mean"] for name in HEADLINE},
        **whole,
        "answers": len(answers),
        "found": fmean(answer["scores"]["found"] for answer in answers),
        "malformed": fmean(answer["malformed"] for answer in answers),
        "problems": dict(sorted(problems.items())),
        "unreadable": {"n": len(lost), "questions": lost},
        **{f"by_{key}": _groups(done, key, seed) for key in ("supercategory", "category")},
        "calibration": _calibration(done),
    }


def _scores(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    patients = [row["patient"] for row in rows]
    found = {}
    for name in SCORES:
        values = [row["scores"][name] for row in rows]
        interval = over_patients(values, patients, seed=seed, limits=LIMITS.get(name))
        found[name] = {"mean": fmean(values), "ci95_patients": interval}
    count = len(set(patients))
    return {"n": len(rows), "patients": count, "too_few_patients": too_few(count), "scores": found}


def _groups(rows: Sequence[Row], key: str, seed: int) -> dict[str, Any]:
    names = sorted({row[key] for row in rows if row[key]})
    return {name: _scores([row for row in rows if row[key] == name], seed) for name in names}


def _calibration(rows: Sequence[Row]) -> dict[str, Any]:
    """Do the probability of an answer and, of several, their agreement tell whether the box is a hit?"""
    answers = [answer for row in rows for answer in row["answers"]]
    hits = [answer["scores"]["iou"] >= HIT_IOU for answer in answers]
    found: dict[str, Any] = {"hit": f"the box has an IoU of at least {HIT_IOU} with the true one"}
    if any(answer["probability"] is not None for answer in answers):
        found["answer_probability"] = calibration([answer["probability"] for answer in answers], hits)
    if all(len(row["answers"]) > 1 for row in rows):
        found["agreement"] = calibration([_agreement(row) for row in rows], [row["scores"]["iou"] >= HIT_IOU for row in rows])
    return found


def _agreement(row: Row) -> float:
    """Mean IoU of the answers' boxes with each other; one that is missing agrees with none."""
    boxes = [None if answer["box"] is None else Box2D(*answer["box"]) for answer in row["answers"]]
    return fmean(0.0 if a is None or b is None else box_iou(a, b) for a, b in combinations(boxes, 2))
