"""Runs over the same questions side by side: accuracy of each, and every one against a baseline. Plain JSON values.

It reads the folders that ``unireason eval run`` writes, and keeps of a row what is summed up: traces are read again where they are
shown. Runs over other questions of one suite are compared on those they share.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text
from unireason.metrics.statistics import holm, over_patients, too_few

from .benchmark import Answered, answered
from .results import ComparisonResults, OverlapMean, RunAgainst, RunCompared, RunResults, RunRow
from .scoring import TAGS, ScoredRow, breakdown, compare_runs
from .store import RESULTS, ROWS, read_rows

BY = ("kind", *TAGS)
"""What results are broken down by."""


@dataclass(frozen=True, slots=True)
class ComparedReply:
    """A row of a run without its traces."""

    asked: bytes
    answer: Answered

    @property
    def id(self) -> str:
        """The question."""
        return self.answer.scored.id


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """A finished run.

    Attributes:
        name: What it is called.
        folder: Where it lies.
        results: What ``results.json`` holds.
        rows: What is kept of ``rows.jsonl``, in the order of the file.
    """

    name: str
    folder: Path
    results: RunResults
    rows: tuple[ComparedReply, ...]


def read_run(folder: Path, name: str = "") -> ComparedRun:
    """Read the folder of a run.

    Args:
        folder: What ``unireason eval run --out`` has written.
        name: What to call it; "" takes the name of the folder.

    Raises:
        FormatError: If the folder holds another kind of evaluation, an unfinished run, or broken files.
        UniReasonError: If a file cannot be read.
    """
    results = _results(folder)
    rows = tuple(read_rows(folder / ROWS, reply))
    if not rows or len({row.id for row in rows}) != len(rows):
        raise FormatError(f"the run '{folder}' has {len(rows)} rows", "at least one, each of another question", "run it anew")
    if len(rows) != results.n:
        raise FormatError(f"the run '{folder}' has {len(rows)} rows", f"the {results.n} of its results", "run it anew")
    return ComparedRun(name or folder.resolve().name, folder, results, rows)


def compare(runs: Sequence[ComparedRun], *, baseline: int = 0, seed: int = 0, resamples: int = 2000) -> ComparisonResults:
    """Compare runs on the questions that all of them were asked.

    Args:
        runs: At least two, of one suite, with different names.
        baseline: Index of the run that all others are compared with.
        seed: Of the bootstrap of runs and the flips of comparisons, both of whole patients.
        resamples: Draws of the bootstrap; ten times as many flips are tried where there are too many to try all.

    Raises:
        FormatError: If there are fewer than two runs, names repeat, suites or rules differ, or no question is shared.
    """
    names = [run.name for run in runs]
    if len(runs) < 2:
        raise FormatError(f"a comparison of {', '.join(names) or 'no run'} with nothing", "at least two runs")
    if not 0 <= baseline < len(runs):
        raise FormatError(f"{len(runs)} runs with run {baseline} as the baseline", "one of them")
    if len(set(names)) != len(names):
        raise FormatError(f"the runs are called {', '.join(names)}", "different names", "name them with --names")
    for key, own in (("suite", [run.results.suite for run in runs]), ("rule", [run.results.rule for run in runs])):
        various = list(dict.fromkeys(own))
        if len(various) > 1:
            raise FormatError(
                f"the runs have the {key}s {' and '.join(map(repr, various))}", f"one {key}", "compare like with like"
            )
    runs = shared(runs)
    scored = [[row.answer.scored for row in run.rows] for run in runs]
    first, others = runs[baseline], [n for n in range(len(runs)) if n != baseline]
    found = [compare_runs(scored[n], scored[baseline], seed=seed, by=BY, draws=10 * resamples) for n in others]
    corrected = holm([own["all"]["p_exact"] for own in found])
    patients = len({row.patient for row in scored[baseline]})
    return ComparisonResults(
        kind="comparison",
        suite=first.results.suite,
        rule=first.results.rule,
        n=len(first.rows),
        patients=patients,
        too_few_patients=too_few(patients),
        seed=seed,
        baseline=first.name,
        runs=[_run(run, rows, seed, resamples) for run, rows in zip(runs, scored, strict=True)],
        comparisons=[
            RunAgainst(run=runs[n].name, baseline=first.name, **own["all"], p_holm=p, by=own["by"])
            for n, own, p in zip(others, found, corrected, strict=True)
        ],
    )


def shared(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """The runs with the rows of those questions alone that all of them were asked in the same words, in the order of the first.

    Raises:
        FormatError: If there is no such question.
    """
    tables = [{row.id: row for row in run.rows} for run in runs]
    same = [
        name for name, row in tables[0].items() if all(name in other and other[name].asked == row.asked for other in tables[1:])
    ]
    if not same:
        raise FormatError("the runs share no question", "runs over the same questions", "run them with the same seed")
    return [replace(run, rows=tuple(table[name] for name in same)) for run, table in zip(runs, tables, strict=True)]


def whole_rows(run: ComparedRun, wanted: Collection[str]) -> Iterator[RunRow]:
    """The rows of some questions with their traces, one at a time in the order of the file.

    Args:
        run: The run.
        wanted: Identifiers of questions; one that the run was not asked is passed over.

    Raises:
        FormatError: If a line is broken.
        UniReasonError: If the file cannot be read.
    """

    def own(line: Any) -> RunRow | None:
        return RunRow.model_validate(line) if line["id"] in wanted else None

    return (row for row in read_rows(run.folder / ROWS, own) if row is not None)


def _results(folder: Path) -> RunResults:
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
    return RunResults.of(found)


def reply(line: Any) -> ComparedReply:
    """What is kept of a row, from one on disk; a ValueError says that it is none."""
    row = RunRow.model_validate(line)
    asked = json_text(
        [row.answers, row.letter, row.options, row.question]
    )  # rows of one identifier are one question if these agree
    return ComparedReply(blake2b(asked.encode(), digest_size=16).digest(), answered(row))


def _run(run: ComparedRun, scored: Sequence[ScoredRow], seed: int, resamples: int) -> RunCompared:
    """What the table of runs says of one."""
    results, made = run.results, run.results.manifest
    scores = breakdown(scored, seed=seed, by=BY, resamples=resamples)
    # Over the questions with true looks.
    found = [(row.answer.predictors["overlap"], row.answer.scored.patient) for row in run.rows]
    known = [(value, patient) for value, patient in found if value is not None]
    overlaps, patients = [value for value, _ in known], [patient for _, patient in known]
    interval = over_patients(overlaps, patients, seed=seed, resamples=resamples)
    return RunCompared(
        name=run.name,
        folder=str(run.folder),
        checkpoint=made["checkpoint"],
        profile=made["profile"],
        samples=results.samples,
        vote=results.vote,
        asked=results.n,
        questions_sha256=made["questions_sha256"],
        seed=made["seed"],
        scope=results.scope,
        unreadable=sum(bool(row.answer.problem) for row in run.rows),
        questions_a_second=results.questions_a_second,
        **scores["all"],
        overlap=OverlapMean(n=len(known), mean=fmean(overlaps) if known else None, ci95_patients=interval),
        looked=fmean(row.answer.looked for row in run.rows),
        by=scores["by"],
    )
