"""Grounding results side by side, in the form of the published leaderboard: a model a row, a score a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unireason.errors import UniReasonError

COLUMNS: Mapping[str, str] = {
    "iou": "IoU",
    "pdice": "pDice",
    "pdice_released": "pDice (released)",
    "dice_points": "Dice, points",
    "dice_box": "Dice, box",
    "dice_both": "Dice, both",
    "nsd": "NSD",
    "hd95_mm": "HD95, mm",
    "found": "mask found",
}
"""Scores of ``evaluate.grounding.summary`` and how they are headed; shares in percent, distances in millimetres."""

_MILLIMETRES = ("hd95_mm",)


def table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """All scores of several models over all questions, each with its 95% interval.

    Args:
        models: By name, what ``evaluate.grounding.summary`` gave.

    Returns:
        A Markdown table, shares in percent.

    Raises:
        UniReasonError: If there is no model.

    Source: MedReasoner, arXiv 2508.08177, form of the table of results.
    """
    rows = [[name, str(found["questions"]), *(_interval(found[c], c) for c in COLUMNS)] for name, found in models.items()]
    return _markdown(["Model", "Questions", *COLUMNS.values()], rows)


def table_by(models: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """The means of several models for each super-category or category.

    Args:
        models: By name, what ``evaluate.grounding.summary`` gave.
        key: "supercategory" or "category".

    Returns:
        A Markdown table, shares in percent; groups in alphabetical order, models in the order given. A dash where a model was not
        asked about a group.

    Raises:
        UniReasonError: If there is no model.
    """
    groups = sorted({group for found in models.values() for group in found[f"by_{key}"]})
    rows = []
    for group in groups:
        for name, found in models.items():
            of = found[f"by_{key}"].get(group)
            means = [_number(of[c]["mean"], c) if of else "-" for c in COLUMNS]
            rows.append([group, name, str(of["questions"]) if of else "0", *means])
    return _markdown([key.capitalize().replace("Super", "Super-"), "Model", "Questions", *COLUMNS.values()], rows)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        raise UniReasonError("a table of no models", "at least one summary")
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _interval(found: Mapping[str, Any], column: str) -> str:
    if found["ci95"] is None:  # one patient tells nothing of others
        return _number(found["mean"], column)
    low, high = (_number(v, column) for v in found["ci95"])
    return f"{_number(found['mean'], column)} ({low} to {high})"


def _number(value: float, column: str) -> str:
    return f"{value:.2f}" if column in _MILLIMETRES else f"{100 * value:.2f}"
