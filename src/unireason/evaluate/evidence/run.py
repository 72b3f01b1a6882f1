"""The whole check: choose, ask, sum up, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.engine.reasoner import Reasoner
from unireason.evaluate.journal import held, make_manifest, write_results
from unireason.evaluate.questions import choose
from unireason.evaluate.suites.suite import Entry, Suite

from .ask import Check, Progress
from .reliance import summary
from .rows import RowFile, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a check found.

    Attributes:
        entries: The questions.
        rows: Answers by question and condition.
        results: As ``results.json`` has them.
    """

    entries: tuple[Entry, ...]
    rows: Rows
    results: dict[str, Any]


def evaluate(
    reasoner: Reasoner, suite: Suite, folder: Path, *, count: int | None = None, seed: int = 0, progress: Progress | None = None
) -> Found:
    """Ask the questions of a suite under all conditions and say how far the answers rely on the evidence.

    Args:
        reasoner: The model; it answers greedily.
        suite: Where questions come from.
        folder: Where ``manifest.json``, ``rows.jsonl`` and ``results.json`` go. A folder with an unfinished check of the same is gone on
            with.
        count: Questions at most; None takes all.
        seed: Of the choice of questions, random regions, pairs and resampling.
        progress: Called with the number of answers at hand, of questions times eight.

    Returns:
        Questions, answers and results (docs/reference/results.md).

    Raises:
        FormatError: If there are no questions, or the folder holds a check of something else.
        ModelError: If a case does not fit the model.
        UniReasonError: If a file cannot be read or written.
    """
    entries = choose(suite, count, seed)
    made = make_manifest("evidence", reasoner, suite, entries, seed=seed)
    with held(folder):
        file = RowFile(folder, made)
        Check(reasoner, suite, entries, file=file, seed=seed).run(progress)
        results = {**summary(file.rows, seed=seed), "manifest": made}
        write_results(folder, results)
    return Found(tuple(entries), file.rows, results)
