"""Runs over the same questions side by side: accuracy of each, and every one against a baseline. Plain JSON values.

It reads the folders that ``unireason eval run`` writes. Runs over other questions of one suite are compared on those they share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason.errors import FormatError, UniReasonError
from unireason.evaluate.benchmark.rows import answered
from unireason.evaluate.journal import RESULTS, ROWS, read_rows
from unireason.evaluate.scoring.table import TAGS, Row, breakdown, compare_runs
from unireason.metrics.intervals import bootstrap_mean
from unireason.metrics.paired import holm

BY = ("kind", *TAGS)
"""What results are broken down by."""

_COMPARED = ("question", "options", "letter", "answers")  # rows of one identifier are one question if these agree


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        name: What it is called.
        folder: Where it lies.
        results: As ``results.json`` has them.
        rows: As ``rows.jsonl`` has them, in the order of the file.
    """

    name: str
    folder: Path
    results: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]


def read_run(folder: Path, name: str = "") -> Run:
    """Read the folder of a run.

    Args:
        folder: What ``unireason eval run --out`` has written.
        name: What to call it; "" takes the name of the folder.

    Raises:
        FormatError: If the folder holds another kind of evaluation, an unfinished run, or broken files.
        UniReasonError: If a file cannot be read.
    """
    results = _results(folder)
    rows = tuple(read_rows(folder / ROWS, _whole))
    if not rows or len({row["id"] for row in rows}) != len(rows):
        raise FormatError(f"the run '{folder}' has {len(rows)} rows", "at least one, each of another question", "run it anew")
    if len(rows) != results["n"]:
        raise FormatError(f"the run '{folder}' has {len(rows)} rows", f"the {results['n']} of its results", "run it anew")
    return Run(name or folder.resolve().name, folder, results, rows)


def compare(runs: Sequence[Run], *, baseline: int = 0, seed: int = 0, resamples: int = 2000) -> dict[str, Any]:
    """Compare runs on the questions that all of them were asked.

    Args:
        runs: At least two, of one suite, with different names.
        baseline: Index of the run that all others are compared with.
        seed: Of the bootstrap, which draws whole patients.
        resamples: Its draws.

    Returns:
        The object of docs/reference/results.md, section "A comparison".

    Raises:
        FormatError: If there are fewer than two runs, names repeat, suites or rules differ, or no question is shared.
    """
    _check(runs, baseline)
    runs = shared(runs)
    scored = [[answered(row).scored for row in run.rows] for run in runs]
    first, others = runs[baseline], [n for n in range(len(runs)) if n != baseline]
    found = [compare_runs(scored[n], scored[baseline], seed=seed, by=BY, resamples=resamples) for n in others]
    corrected = holm([own["all"]["p_exact"] for own in found])
    return {
        "kind": "comparison",
        "suite": first.results["suite"],
        "rule": first.results["rule"],
        "n": len(first.rows),
        "patients": len({row["patient"] for row in first.rows}),
        "seed": seed,
        "baseline": first.name,
        "runs": [_run(run, rows, seed, resamples) for run, rows in zip(runs, scored, strict=True)],
        "comparisons": [
            {"run": runs[n].name, "baseline": first.name, **own["all"], "p_holm": p, "by": own["by"]}
            for n, own, p in zip(others, found, corrected, strict=True)
        ],
    }


def shared(runs: Sequence[Run]) -> list[Run]:
    """The runs with the rows of those questions alone that all of them were asked in the same words, in the order of the first.

    Raises:
        FormatError: If there is no such question.
    """
    tables = [{row["id"]: row for row in run.rows} for run in runs]
    same = [
        name
        for name, row in tables[0].items()
        if all(name in other and all(other[name][key] == row[key] for key in _COMPARED) for other in tables[1:])
    ]
    if not same:
        raise FormatError("the runs share no question", "runs over the same questions", "run them with the same seed")
    return [replace(run, rows=tuple(table[name] for name in same)) for run, table in zip(runs, tables, strict=True)]


def _results(folder: Path) -> dict[str, Any]:
    path = folder / RESULTS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(
            f"'{folder}' holds no {RESULTS}", "the folder of a finished run", "finish it with: unireason eval run"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UniReasonError(f"'{path}' cannot be read ({error})", "the results of a run") from error
    kind = found.get("manifest", {}).get("kind") if isinstance(found, dict) else None
    if kind != "run":
        raise FormatError(
            f"'{folder}' holds an evaluation of kind {kind!r}", 'one of kind "run"', "compare folders of: unireason eval run"
        )
    wanted = {"suite", "rule", "n", "grounding", "questions_a_second", "samples", "vote", "manifest"}
    if lost := sorted(wanted - set(found)):
        raise FormatError(f"the results in '{folder}' lack {', '.join(lost)}", "those of a finished run", "run it anew")
    return dict(found)


def _whole(row: Any) -> Mapping[str, Any]:
    """A row with all that is read of it."""
    if not isinstance(row, dict) or not isinstance(row["tags"], dict) or not isinstance(row["published"], dict):
        raise TypeError("not a row of a run")
    answered(row)
    for key in ("case", "picture", *_COMPARED):
        row[key]
    return row


def _check(runs: Sequence[Run], baseline: int) -> None:
    names = [run.name for run in runs]
    if len(runs) < 2 or not 0 <= baseline < len(runs):
        raise FormatError(f"{len(runs)} runs with run {baseline} as the baseline", "at least two, and one of them")
    if len(set(names)) != len(names):
        raise FormatError(f"the runs are called {', '.join(names)}", "different names", "name them with --names")
    for key in ("suite", "rule"):
        found = list(dict.fromkeys(str(run.results[key]) for run in runs))
        if len(found) > 1:
            raise FormatError(
                f"the runs have the {key}s {' and '.join(map(repr, found))}", f"one {key}", "compare like with like"
            )


def _run(run: Run, scored: Sequence[Row], seed: int, resamples: int) -> dict[str, Any]:
    """What the table of runs says of one."""
    results, made = run.results, run.results["manifest"]
    scores = breakdown(scored, seed=seed, by=BY, resamples=resamples)
    return {
        "name": run.name,
        "folder": str(run.folder),
        "checkpoint": made["checkpoint"],
        "profile": made["profile"],
        "samples": results["samples"],
        "vote": results["vote"],
        "asked": results["n"],
        "questions_sha256": made["questions_sha256"],
        "seed": made["seed"],
        "unreadable": sum(bool(row["problem"]) for row in run.rows),
        "questions_a_second": results["questions_a_second"],
        **scores["all"],
        "overlap": _overlap(run, seed, resamples),
        "looked": fmean(any(one["looks"] for one in _standing(row)) for row in run.rows),
        "by": scores["by"],
    }


def _overlap(run: Run, seed: int, resamples: int) -> dict[str, Any]:
    """Mean over the questions with true looks."""
    known = [(row["overlap"], row["patient"]) for row in run.rows if row["overlap"] is not None]
    values, patients = [value for value, _ in known], [patient for _, patient in known]
    several = len(set(patients)) > 1
    return {
        "n": len(known),
        "mean": fmean(values) if known else None,
        "ci95_patients": list(bootstrap_mean(values, seed=seed, clusters=patients, resamples=resamples)) if several else None,
    }


def _standing(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The response that stands for a question; none where it could not be asked."""
    samples: Sequence[Mapping[str, Any]] = row["samples"]
    return samples[row["sample"] : row["sample"] + 1]
