"""The whole check: choose, ask, sum up, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.engine.reasoner import Reasoner
from unireason.evaluate.journal import held, make_manifest, write_results
from unireason.evaluate.questions import choose
from unireason.evaluate.settings import Settings
from unireason.evaluate.suites.suite import Entry, Suite
from unireason.model import scope

from .ask import Check, Progress
from .conditions import CONDITIONS
from .reliance import summary
from .rows import RowFile, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a check found.

    Attributes:
        entries: The questions that could be asked.
        rows: Answers by question and condition.
        results: As ``results.json`` has them.
    """

    entries: tuple[Entry, ...]
    rows: Rows
    results: dict[str, Any]


def evaluate(
    reasoner: Reasoner, suite: Suite, folder: Path, *, settings: Settings | None = None, progress: Progress | None = None
) -> Found:
    """Ask the questions of a suite under all conditions and say how far the answers rely on the evidence.

    Args:
        reasoner: The model; it answers greedily.
        suite: Where questions come from.
        folder: Where ``manifest.json``, ``rows.jsonl`` and ``results.json`` go. A folder with an unfinished check of the same is gone on
            with.
        settings: Which questions; all by default. The seed is also that of random regions and pairs.
        progress: Called with the number of answers at hand, and with that of questions times eight.

    Returns:
        Questions, answers and results (docs/reference/results.md).

    Raises:
        FormatError: If there are no questions, or the folder holds a check of something else.
        UniReasonError: If more questions cannot be asked than ``settings.skip`` allows, or a file cannot be written.
    """
    chosen = settings or Settings()
    entries = choose(suite, chosen.count, chosen.seed)
    made = make_manifest("evidence", reasoner, suite, entries, seed=chosen.seed)
    with held(folder):
        file = RowFile(folder, made, again=chosen.again)
        check = Check(reasoner, suite, entries, file=file, settings=chosen)
        check.run(progress)
        kept = check.unread.kept(entries)
        keys = [(entry.id, name) for entry in kept for name in CONDITIONS]  # resampling depends on the order
        rows = {key: file.rows[key] for key in keys if key in file.rows}
        remarks = [rows[entry.id, "true"].remarks for entry in kept]
        results = {
            **summary(rows, seed=chosen.seed),
            "scope": scope.told(reasoner.checkpoint.scope, remarks),
            "unreadable": check.unread.told(entries),
            "manifest": made,
        }
        write_results(folder, results)
    return Found(tuple(kept), rows, results)
