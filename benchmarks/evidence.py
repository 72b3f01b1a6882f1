"""Evidence checks of several seeds summed up: one table, one figure, and every run beside them.

The folders come from ``unireason eval evidence``; they may hold other questions of one model, or the same questions of several models that
differ in the seed of their training. All rows are pooled, intervals draw whole patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from unireason.evaluate.evidence import EvidenceRow, EvidenceRows, Rows, summary
from unireason.report.html import interval_text, percent
from unireason.report.plots import write_evidence_figure


def pool(folders: Sequence[Path]) -> Rows:
    """The rows of all folders; questions get the name of their folder in front."""
    found: Rows = {}
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        rows: list[EvidenceRow] = [replace(row, id=f"{folder}:{row.id}") for row in EvidenceRows(folder, manifest).rows.values()]
        found |= {row.key: row for row in rows}
    return found


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = ["| condition | right | 95%, patients | survival | reliance | 95% |", "|---|---|---|---|---|---|"]
    for name, part in results["conditions"].items():
        kept, lost = part.get("survival", {}).get("value"), part.get("reliance") or {}
        known = lost.get("value") is not None
        cells = [
            f"`{name}`",
            percent(part["accuracy"]),
            interval_text(part["ci95_patients"]),
            "" if kept is None else percent(kept),
            f"{lost['value']:.2f}" if known else "",
            f"{lost['ci95'][0]:.2f} to {lost['ci95'][1]:.2f}" if known else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Sum up and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of unireason eval evidence")
    parser.add_argument("--figure", type=Path, help="PNG to write")
    parser.add_argument("--markdown", action="store_true", help="print the table alone")
    args = parser.parse_args()
    rows = pool(args.folders)
    runs = [summary(pool([folder]), seed=0) for folder in args.folders]
    results = summary(rows, seed=0) | {
        "questions": sum(condition == "true" for _, condition in rows),
        "patients": len({row.patient for row in rows.values()}),
        "runs": [
            run | {"manifest": json.loads((f / "manifest.json").read_text())} for run, f in zip(runs, args.folders, strict=True)
        ],
        "machine": describe("torch", "transformers"),
    }
    if args.figure:
        write_evidence_figure(results, args.figure, runs=runs)
    print(table(results) if args.markdown else json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
