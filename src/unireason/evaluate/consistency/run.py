"""The whole measurement: choose, ask, sum up, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.engine.reasoner import Reasoner
from unireason.evaluate.journal import held, make_manifest, write_results
from unireason.evaluate.questions import choose
from unireason.evaluate.settings import Settings
from unireason.model import scope

from .agreement import Pair, pairs, summary
from .ask import Progress, ask
from .rows import RowFile
from .volumes import Volumes, structures


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a measurement found.

    Attributes:
        pairs: All pairs whose slice was shown.
        results: As ``results.json`` has them.
    """

    pairs: tuple[Pair, ...]
    results: dict[str, Any]


def evaluate(
    reasoner: Reasoner,
    volumes: Volumes,
    folder: Path,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Found:
    """Ask about volumes and their slices and say how far the looks agree.

    Args:
        reasoner: The model; it answers greedily.
        volumes: Where questions come from.
        folder: Where ``manifest.json``, ``rows.jsonl`` and ``results.json`` go. A folder with an unfinished measurement of the same is
            gone on with.
        settings: Which questions; all by default. The seed is also that of wordings and other patients.
        progress: Called with the number of pairs at hand, and of all, at the start and after every case.

    Returns:
        Pairs and results (docs/reference/results.md).

    Raises:
        FormatError: If no question can be asked, or the folder holds something else.
        UniReasonError: If more questions cannot be asked than ``settings.skip`` allows, or a file cannot be written.
    """
    chosen = settings or Settings()
    entries = choose(volumes, chosen.count, chosen.seed)
    made = make_manifest("consistency", reasoner, volumes, entries, seed=chosen.seed)
    with held(folder):
        file = RowFile(folder, made, again=chosen.again)
        unread = ask(reasoner, volumes, entries, file=file, settings=chosen, progress=progress)
        rows = [file.rows[entry.id, name] for entry in unread.kept(entries) for name in structures(entry)]
        by_question = {row.id: row.remarks for row in rows}
        results = {
            **summary(rows, seed=chosen.seed),
            "scope": scope.told(reasoner.checkpoint.scope, list(by_question.values())),
            "unreadable": unread.told(entries),
            "manifest": made,
        }
        write_results(folder, results)
    return Found(tuple(pairs(rows, seed=chosen.seed)), results)
