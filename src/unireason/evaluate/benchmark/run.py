"""The whole run: choose, ask, sum up, write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unireason.engine.reasoner import Reasoner
from unireason.evaluate.journal import ROWS, Journal, held, make_manifest, read_rows, write_results
from unireason.evaluate.questions import choose
from unireason.evaluate.scoring.answers import judge_text
from unireason.evaluate.suites.suite import Suite
from unireason.model import scope

from .ask import Asking, Draw, Progress
from .rows import Line
from .settings import Settings
from .summary import summary


def run(
    reasoner: Reasoner,
    suite: Suite,
    folder: Path,
    *,
    settings: Settings | None = None,
    draw: Draw | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask the questions of a suite and say how well they were answered.

    Rows are written as they come; traces are not kept in memory.

    Args:
        reasoner: The model.
        suite: Where questions come from.
        folder: Where ``manifest.json``, ``rows.jsonl``, ``results.json`` and pictures go. A folder with an unfinished run of the same is
            gone on with; random numbers depend on the seed and the question alone, so that it makes no difference where it was broken off.
        settings: How to ask; greedily, once, all questions by default.
        draw: Makes the picture of a trace, as PNG; None makes none.
        progress: Called with the number of questions done, and of all.

    Returns:
        The results (docs/reference/results.md).

    Raises:
        FormatError: If there are no questions, one has no readable truth, true places are written for another model frame, or the folder
            holds a run of something else.
        UniReasonError: If more questions cannot be asked than ``settings.skip`` allows, another process has the folder, or a file cannot
            be written.
    """
    chosen = settings or Settings()
    entries = choose(suite, chosen.count, chosen.seed)
    for entry in entries:
        judge_text(entry, "")  # refuses a question that no answer can get right, before any is asked
    manifest = {**make_manifest("run", reasoner, suite, entries, seed=chosen.seed), **chosen.manifest()}
    with held(folder):
        journal = Journal(folder, manifest)
        if chosen.again:
            journal.drop(lambda line: bool(line["problem"]))
        asking = Asking(reasoner, suite, entries, journal=journal, settings=chosen)
        asking.run(folder, draw=draw, progress=progress)
        results = {
            "kind": "run",
            "suite": suite.name,
            "rule": suite.rule,
            **summary([asking.rows[entry.id] for entry in entries], chosen),  # resampling depends on the order
            "scope": scope.told(reasoner.checkpoint.scope, [asking.rows[e.id].remarks for e in entries]),
            "left_out": dict(getattr(suite, "left_out", {})),
            "manifest": manifest,
        }
        write_results(folder, results)
    return results


def lines(folder: Path) -> Iterator[Line]:
    """The rows of a run, one at a time, as they are on disk.

    Raises:
        FormatError: If a line is broken.
        UniReasonError: If there is no such file.
    """

    def whole(row: Any) -> Line:
        if not isinstance(row, dict):
            raise TypeError("no object")
        return row

    return read_rows(folder / ROWS, whole)
