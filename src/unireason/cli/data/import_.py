"""``unireason data import LAYOUT PATH --out DIR``: a published release becomes a data set to train and evaluate on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unireason.cli.progress import bar
from unireason.data.layouts import READABLE
from unireason.files import json_text

from .build import summary


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "import",
        help="turn a published release into a data set",
        description=(
            "Read UniMed-CoT or U-MRG-14K as downloaded and write a data set with its pictures, as data build does. Rows that cannot be "
            "learned from are listed in skipped.jsonl. Exits 1 if rows were left out because the release is not whole."
        ),
    )
    parser.add_argument("format", metavar="LAYOUT", choices=READABLE, help="unimed-cot or umrg")
    parser.add_argument("path", metavar="PATH", type=Path, help="the release")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--volumes", metavar="DIR", type=Path, help="folder of the volumes that 3D rows name (unimed-cot)")
    parser.add_argument(
        "--frame", metavar="FRAME", default="published", help="published, phantom or a checkpoint folder (default published)"
    )
    parser.add_argument(
        "--validation", metavar="SHARE", type=float, default=0.0, help="share of the training pictures held out (default 0)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the data set is there, 1 when it is there and the release is not whole."""
    import sys

    from unireason.data.frames import rule
    from unireason.data.layouts.intake import Wanted, rows_in, take_in

    wanted = Wanted(rule(args.frame), args.validation, args.volumes)
    quiet = args.json or not sys.stderr.isatty()
    with bar(f"reading {args.format}", rows_in(args.format, args.path), quiet=quiet) as progress:
        manifest = take_in(args.format, args.path, args.out, wanted=wanted, progress=progress)
    print(json_text(summary(args.out, manifest), ensure_ascii=False) if args.json else _told(args.out, manifest))
    return 1 if manifest["counts"]["broken"] else 0


def _told(out: Path, manifest: dict[str, Any]) -> str:
    from unireason.report.markup import plural

    def counted(name: str) -> str:
        return ", ".join(f"{key} {number:,}" for key, number in counts.get(name, {}).items()) or "none"

    counts = manifest["counts"]
    lines = [f"{plural(counts['samples'], 'sample')} ({counted('by_kind')}) about {plural(counts['cases'], 'case')} in {out}"]
    lines += [f"splits: {counted('by_split')}", f"for training by: {counted('stages')}"]
    if manifest["skipped"]:
        lines.append(f"{plural(manifest['skipped'], 'row')} left out, see {out / 'skipped.jsonl'}: {counted('dropped')}")
    if counts["other_crops"]:
        lines.append(
            f"{plural(counts['other_crops'], 'row')} with another number of crops than the engine cuts; its own are shown in training"
        )
    return "\n".join([*lines, f"content {manifest['content_sha256']}", f"check it with: unireason data check {out}"])
