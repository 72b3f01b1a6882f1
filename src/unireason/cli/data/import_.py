"""``unireason data import LAYOUT PATH --out DIR``: a published release verified, listed and turned into questions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unireason.cli.progress import bar
from unireason.data.layouts import READABLE


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "import",
        help="verify a published release and list its questions",
        description="Read UniMed-CoT or U-MRG-14K as downloaded; write questions.jsonl, images/ and release.json.",
    )
    parser.add_argument("format", metavar="LAYOUT", choices=READABLE, help="unimed-cot or umrg")
    parser.add_argument("path", metavar="PATH", type=Path, help="the release")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--volumes", metavar="DIR", type=Path, help="folder of the volumes that 3D rows name (unimed-cot)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the release is whole (volumes aside), 1 when pictures are missing or its ground truth is odd."""
    import sys

    from unireason.data.layouts.intake import rows_in, take_in

    quiet = args.json or not sys.stderr.isatty()
    with bar(f"reading {args.format}", rows_in(args.format, args.path), quiet=quiet) as progress:
        report = take_in(args.format, args.path, args.out, volumes=args.volumes, progress=progress)
    if args.json:
        print(json.dumps({"folder": str(args.out), **report}, ensure_ascii=False))
    else:
        _print(args.out, report)
    return 0 if report["ok"] else 1


def _print(out: Path, report: dict[str, Any]) -> None:
    def counted(counts: dict[str, int]) -> str:
        return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "none"

    print(f"{out}: {counted(report['rows'])} (kinds: {counted(report['kinds'])})")
    for key, title in (("images_missing", "pictures missing"), ("volumes_missing", "rows without a volume")):
        if report.get(key, {}).get("count"):
            print(f"{title}: {report[key]['count']:,}, such as {', '.join(report[key]['first'][:3])}")
    if report["problems"]:
        print(f"problems: {counted(report['problems'])}")
