"""``unireason train lessons``: the base model's lessons as a data set, to be mixed into later training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "lessons",
        help="the base model's lessons as a data set",
        description="Questions of the base of the built-in checkpoint about the patients of a phantom data set. Train on both folders, "
        "and the model keeps what the base has learned.",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="data set made by: unireason data build phantom")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the new data set")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="draws questions and wordings (default 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the data set is written."""
    from unireason.cli.progress import bar
    from unireason.data.dataset import Dataset
    from unireason.train.base.rehearsal import rehearse

    dataset = Dataset.open(args.data)
    total = int(dataset.manifest.get("counts", {}).get("cases", 0))
    with bar("cases", total, quiet=args.quiet) as progress:
        made = rehearse(dataset, args.out, seed=args.seed, progress=progress)
    from unireason.report.markup import plural

    print(f"wrote {plural(made.manifest['counts']['samples'], 'sample')} to {args.out}")
    return 0
