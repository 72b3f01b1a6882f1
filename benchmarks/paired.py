"""What runs gained over their common start: answers to the same questions, compared pairwise with intervals over patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unireason.metrics.statistics import flip_interval

Rows = list[dict[str, Any]]


def read(start: Path, runs: Sequence[Path]) -> tuple[Rows, list[Rows]]:
    """The answers of a start and of its runs, one row a question with "id" and "patient".

    Raises:
        SystemExit: If they are to different questions.
    """
    base = json.loads(start.read_text())
    answers = [json.loads(path.read_text()) for path in runs]
    if any([row["id"] for row in rows] != [row["id"] for row in base] for rows in answers):
        raise SystemExit("the answers are to different questions")
    return base, answers


def gains(base: Rows, answers: Sequence[Rows], key: str) -> dict[str, Any]:
    """Differences of a score, with 95% intervals: of every run against the start, and of the runs' mean against it."""
    mean = [{key: float(np.mean([rows[i][key] for rows in answers]))} for i in range(len(base))]
    return {"runs": [_gain(rows, base, key) for rows in answers], "mean": _gain(mean, base, key)}


def _gain(rows: Rows, base: Rows, key: str) -> dict[str, Any]:
    values, others = [row[key] for row in rows], [row[key] for row in base]
    ahead = [a - b for a, b in zip(values, others, strict=True)]
    low, high = flip_interval(ahead, seed=0, clusters=[row["patient"] for row in base])
    return {"difference": float(np.mean(values) - np.mean(others)), "ci95": [low, high]}
