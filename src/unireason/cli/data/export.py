"""``unireason data export DIR --format LAYOUT --out DIR2``: a data set in the layout of a trainer or evaluator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unireason.cli.progress import bar
from unireason.data.layouts import WRITABLE
from unireason.files import json_text

SPLITS = ("train", "validation", "test")


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "export",
        help="write a data set in another layout",
        description="Write a built data set in the layout of UniMed-CoT, U-MRG-14K, LLaMA-Factory, verl or VLMEvalKit.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a data set made by: unireason data build")
    parser.add_argument("--format", choices=WRITABLE, required=True, help="the layout")
    parser.add_argument("--out", metavar="DIR2", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--split", choices=SPLITS, help="one split (default: all; unimed-cot: train)")
    parser.add_argument("--root", metavar="PATH", type=Path, help="where the source lies now, if pictures are not embedded")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    import sys

    from unireason.data.dataset import Dataset
    from unireason.data.layouts.export import export

    dataset = Dataset.open(args.folder)
    cases = dataset.manifest.get("counts", {}).get("cases_by_split", {})
    chosen = [args.split] if args.split else ["train"] if args.format == "unimed-cot" else list(cases)
    total = sum(int(cases.get(name, 0)) for name in chosen)
    quiet = args.json or not sys.stderr.isatty()
    with bar(f"writing {args.format}", total, quiet=quiet) as progress:
        done = export(dataset, args.format, args.out, split=args.split, root=args.root, progress=progress)
    if args.json:
        print(json_text({"folder": str(args.out), "format": done.layout, "rows": done.rows, "pictures": done.pictures}))
    else:
        said = ", ".join(f"{number:,} {name}" for name, number in done.rows.items())
        print(f"{args.out}: {said}" + (f", {done.pictures:,} picture files" if done.pictures else ""))
    return 0
