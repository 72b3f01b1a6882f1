"""How well are implicit questions grounded? Checkpoints asked the same held-out questions about images, masks by a frozen expert.

``ask`` puts one checkpoint through an examination, greedily or as a policy samples, and keeps its answers with their scores; ``compare``
sets several against a common start, with intervals over patients, and prints the table of results by super-category and category. Split in
two so that checkpoints can be asked side by side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.paired import gains, read
from unireason.core.errors import UniReasonError
from unireason.core.store import write_bytes
from unireason.data.dataset_card import harmless
from unireason.evaluate.heldout import make_grounding_exam
from unireason.evaluate.pointing import LIMITS, SCORES, TOLERANCE_MM, GroundingSettings, evaluate
from unireason.evaluate.suites.grounding import BuiltImplicitSuite
from unireason.metrics.statistics import over_patients, too_few

SEED = 20261205


def ask(args: argparse.Namespace) -> None:
    """Ask held-out implicit questions and write one row each; of several samples a question the row holds the means.

    ``--exam`` is a folder in which an examination is made, or lies already.
    """
    from unireason.engine.reasoner import load
    from unireason.segment.expert import make_expert

    suite = BuiltImplicitSuite(make_grounding_exam(SEED, args.questions, args.exam), split=None, count=args.questions)
    expert = make_expert(args.expert, weights=args.weights)
    how = GroundingSettings(seed=SEED, samples=args.drawn, temperature=1.0) if args.drawn else GroundingSettings(seed=SEED)
    found = evaluate(load(args.checkpoint, threads=1), suite, expert, args.out.with_suffix(".answers"), settings=how)
    named = ("id", "case", "patient", "category", "supercategory")
    rows = [{**{name: row[name] for name in named}, **row["scores"]} for row in found.rows.values()]
    write_bytes(args.out, (json.dumps(rows) + "\n").encode())


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of all scores with 95% intervals, over all questions and for each super-category and category."""
    if not rows:
        raise UniReasonError("no questions were asked", "at least one")
    found = _means(rows)
    for key in ("supercategory", "category"):
        names = sorted({row[key] for row in rows})
        found[f"by_{key}"] = {name: _means([row for row in rows if row[key] == name]) for name in names}
    return found


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    patients = [row["patient"] for row in rows]
    count = len(set(patients))
    found: dict[str, Any] = {"questions": len(rows), "patients": count, "too_few_patients": too_few(count)}
    for name in SCORES:
        values = [row[name] for row in rows]
        interval = over_patients(values, patients, seed=0, limits=LIMITS.get(name))
        found[name] = {"mean": float(np.mean(values)), "ci95": interval}
    return found


def compare(start: Path, runs: Sequence[Path]) -> dict[str, Any]:
    """All scores of every checkpoint, named by its file, and what each run and all runs together gained."""
    base, answers = read(start, runs)
    names = [path.stem for path in (start, *runs)]
    if len(set(names)) < len(names):
        raise SystemExit("two files of answers have the same name")
    models = {name: summary(rows) for name, rows in zip(names, (base, *answers), strict=True)}
    return {
        "questions": len(base),
        "tolerance_mm": TOLERANCE_MM,
        "models": models,
        "gain": {key: gains(base, answers, key) for key in SCORES} if answers else {},
        "tables": {"all": table(models)} | {key: table_by(models, key) for key in ("supercategory", "category")},
        "machine": describe("torch", "transformers", "scipy"),
    }


# --- The form of the published leaderboard: a model a row, a score a column.


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
"""Scores of ``evaluate.pointing`` and how they are headed; shares in percent, distances in millimetres."""


def table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """All scores of several models over all questions, each with its 95% interval.

    Source: MedReasoner, arXiv 2508.08177, form of the table of results.
    """
    rows = [[name, str(found["questions"]), *(_interval(found[c], c) for c in COLUMNS)] for name, found in models.items()]
    return _markdown(["Model", "Questions", *COLUMNS.values()], rows)


def table_by(models: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """The means of several models for each super-category or category."""
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
    lines = [head, ["---"] * len(head), *(list(map(harmless, row)) for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _interval(found: Mapping[str, Any], column: str) -> str:
    if found["ci95"] is None:  # one patient tells nothing of others
        return _number(found["mean"], column)
    low, high = (_number(v, column) for v in found["ci95"])
    return f"{_number(found['mean'], column)} ({low} to {high})"


def _number(value: float, column: str) -> str:
    return f"{value:.2f}" if column == "hd95_mm" else f"{100 * value:.2f}"


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    asking = steps.add_parser("ask")
    asking.add_argument("checkpoint")
    asking.add_argument("--exam", type=Path, required=True, help="folder of the examination; made if missing")
    asking.add_argument("--questions", type=int, default=300)
    asking.add_argument("--drawn", type=int, default=0, metavar="N", help="N answers at temperature 1 in place of a greedy one")
    asking.add_argument("--expert", default="classical", help="frozen expert that makes the masks")
    asking.add_argument("--weights", help="of the expert: a folder or a hub id")
    asking.add_argument("--out", type=Path, required=True)
    comparing = steps.add_parser("compare")
    comparing.add_argument("start", type=Path)
    comparing.add_argument("runs", type=Path, nargs="*")
    comparing.add_argument("--markdown", action="store_true", help="print the tables alone")
    args = parser.parse_args()
    if args.step == "ask":
        ask(args)
        return
    found = compare(args.start, args.runs)
    print("\n".join(found["tables"].values()) if args.markdown else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
