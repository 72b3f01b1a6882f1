"""``unireason data check DIR``: is the data set what it claims to be?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from unireason.errors import UniReasonError
from unireason.files import json_text

_SHOWN = 20  # problems printed; the report has more


def add_parser(subparsers: Any) -> None:
    """Add the subcommand to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "check",
        help="check a data set against its masks",
        description=(
            "Check files, boxes, answers, balance, leakage and shortcuts of a data set; boxes and answers are recomputed from the "
            "masks of its source. Writes check.json and check.html into DIR, and the result into its README.md. Exits 1 if something "
            "is wrong."
        ),
    )
    parser.add_argument("dir", metavar="DIR", type=Path, help="folder of the data set")
    parser.add_argument("--root", metavar="PATH", type=Path, help="folder of its source (default: where it lay at the build)")
    parser.add_argument("--samples", metavar="N", type=int, help="cases recomputed from masks, spread evenly (default all)")
    parser.add_argument("--without-masks", action="store_true", help="leave the source alone; answers follow from the records")
    parser.add_argument("--html", metavar="FILE", type=Path, help="where the page goes (default DIR/check.html)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 if nothing is wrong, 1 if something is."""
    from unireason.cli.progress import bar
    from unireason.data.checks.run import check
    from unireason.data.dataset import Dataset
    from unireason.errors import FormatError

    if args.samples is not None and args.samples < 1:
        raise FormatError(f"--samples is {args.samples}", "a number from 1")
    dataset = Dataset.open(args.dir)
    source = None if args.without_masks else dataset.source(args.root)
    counts = dataset.manifest.get("counts")
    cases = counts.get("cases") if isinstance(counts, dict) else None
    with bar("checking cases", cases if isinstance(cases, int) else 0, quiet=args.quiet or args.json) as tell:
        report = check(dataset, source, samples=args.samples, progress=lambda done, total: tell(done))
    _save(args, report, dataset, source)
    if args.json:
        print(json_text(report.to_json()))
    else:
        print("\n".join(_lines(report.to_json())))
    return 0 if report.ok else 1


def _save(args: argparse.Namespace, report: Any, dataset: Any, source: Any) -> None:
    """Write the two reports; a folder that cannot be written to costs the reports, not the verdict."""
    from unireason.files import write_bytes
    from unireason.report.dataset import write

    try:
        write_bytes(args.dir / "check.json", (json_text(report.to_json(), indent=1) + "\n").encode())
        _quote(args.dir, dataset.manifest)
        write(report, dataset, source, args.html or args.dir / "check.html")
    except UniReasonError as error:
        print(f"remark: {error}", file=sys.stderr)


def _quote(folder: Path, manifest: Any) -> None:
    """Write the card again, which quotes the result; a manifest with faults, which the report names, may make no card."""
    from unireason.data.card import write_card

    try:
        write_card(folder, manifest)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        print(f"remark: the card cannot be written again ({error!r})", file=sys.stderr)


def _lines(report: dict[str, Any]) -> list[str]:
    """The report for a terminal."""
    lines = []
    for check, count in report["counts"].items():
        seen = ", ".join(f"{n:,} {what}" for what, n in report["checked"].get(check, {}).items())
        lines.append(f"{'ok   ' if not count else 'WRONG'} {check:9} {seen}{f': {count:,} problems' if count else ''}")
    for family, result in report["shortcut"].items():
        low, high = result["ci95"]
        verdict = f"too few {result['few']}" if result["too_few"] else "ok" if result["ok"] else "TELLS"
        numbers = f"{result['accuracy']:6.1%} from text alone ({low:.1%} to {high:.1%}), chance {result['chance']:.1%}"
        lines.append(f"      {family or 'family not told':22} {numbers}, {verdict}")
    for problem in report["problems"][:_SHOWN]:
        about = next((f" {problem[k]}" for k in ("sample", "case", "file", "family") if k in problem), "")
        lines.append(f"- {problem['check']}{about}: {problem['detail']}")
    lines += [f"remark: {remark['detail']}" for remark in report["remarks"][:_SHOWN]]
    hidden = sum(report["counts"].values()) - len(report["problems"][:_SHOWN])
    lines += [f"- and {hidden:,} more"] if hidden > 0 else []
    return [*lines, "ok" if report["ok"] else "not ok"]
