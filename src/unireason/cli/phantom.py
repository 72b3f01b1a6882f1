"""``unireason phantom DIR``: write phantom patients as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unireason.files import json_text

FORMATS = ("nifti", "dicom", "png")


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "phantom",
        help="write synthetic patients with exact masks",
        description="Write synthetic CT-like patients, one folder each: image, labels and structures.json.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to write; created if missing")
    parser.add_argument("--patients", metavar="N", type=int, default=4, help="how many (default 4)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="cohort; the same seed gives the same files (default 0)")
    parser.add_argument("--format", choices=FORMATS, default="nifti", help="nifti, dicom (a CT series) or png (one axial slice)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when all patients are there."""
    from unireason.data.sources.phantom_files import write_patients
    from unireason.report.markup import plural

    folders = write_patients(args.folder, count=args.patients, seed=args.seed, form=args.format)
    if args.json:
        print(
            json_text(
                {"folder": str(args.folder), "patients": [f.name for f in folders], "format": args.format, "seed": args.seed}
            )
        )
    else:
        names = ", ".join([*(f.name for f in folders[:3]), *(["..."] if len(folders) > 3 else [])])
        print(f"{plural(len(folders), 'patient')} in {args.folder}: {names}")
    return 0
