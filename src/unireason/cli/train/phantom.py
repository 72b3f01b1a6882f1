"""``unireason train phantom``: make the built-in checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    phantom = subparsers.add_parser(
        "phantom",
        help="make the built-in checkpoint from nothing",
        description="Cohort, vision tower, option drill, joint 2D and 3D grounded SFT. Started again, it continues where it stopped.",
    )
    phantom.add_argument("--config", metavar="FILE.toml", type=Path, help="recipe (default: the recipe's own values)")
    phantom.add_argument("--out", metavar="DIR", type=Path, required=True, help="run folder; the checkpoint is DIR/checkpoint")
    phantom.add_argument("--questions", metavar="N", type=int, default=600, help="held-out questions of each kind for the card")
    phantom.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    phantom.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the checkpoint and its card are written."""
    from dataclasses import asdict

    from unireason.train.recipe import Recipe, read_recipe, train

    recipe = read_recipe(args.config) if args.config else Recipe()
    if args.dry_run:
        print(json.dumps(asdict(recipe), indent=2))
        return 0

    def report(stage: str, step: int, total: int, values: dict[str, float]) -> None:
        if step % 50 == 0 or step == total:
            print(f"{stage} {step}/{total} " + " ".join(f"{k} {v:.3f}" for k, v in values.items()), flush=True)

    checkpoint = train(recipe, args.out, report)
    from unireason.evaluate.card import write_card
    from unireason.report.curves import write_curves
    from unireason.train.runs.journal import read

    print(f"wrote {write_curves(read(args.out), args.out / 'curves.png')}")
    print(f"wrote {write_card(checkpoint, args.out, questions=args.questions)}")
    return 0
