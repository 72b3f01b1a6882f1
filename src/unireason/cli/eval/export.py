"""``unireason eval export``: the questions of a suite for another evaluation kit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unireason.bridges import KITS
from unireason.files import json_text

from .suite import add_suite, suite_of


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "export",
        help="write a suite for VLMEvalKit or lmms-eval",
        description="Write the questions of a suite with their pictures for another evaluation kit.",
        epilog="Research only, not a medical device.",
    )
    add_suite(parser)
    parser.add_argument("--to", choices=KITS, required=True, help="the kit")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    parser.add_argument(
        "--frame",
        metavar="REF",
        help="slices and size of volumes: published, phantom or a checkpoint folder (default published; phantom: phantom)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run, model="phantom")  # whose frame phantoms have unless --frame says otherwise


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.bridges.export import export
    from unireason.cli.progress import bar, status
    from unireason.data.frames import rule

    frame = args.frame or ("phantom" if args.suite == "phantom" else "published")
    if args.suite == "phantom":
        args.option = [f"frame={frame}", *args.option]
    with status("opening the questions", quiet=args.json):
        suite, count = suite_of(args)
        total = count or sum(1 for _ in suite.entries())
    with bar("questions", total, quiet=args.json) as progress:
        done = export(suite, args.to, args.out, frame=rule(frame), count=count, progress=progress)
    if args.json:
        print(
            json_text(
                {
                    "folder": str(args.out),
                    "kit": done.kit,
                    "name": done.name,
                    "questions": done.questions,
                    "pictures": done.pictures,
                }
            )
        )
    else:
        said = ", ".join(f"{number:,} {kind}" for kind, number in done.questions.items())
        print(f"{args.out}: {done.name}, questions: {said}; {done.pictures:,} pictures")
    return 0
