"""``unireason train phantom``: make the base of the built-in checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .start import add_arguments, carry_out

if TYPE_CHECKING:
    from unireason.train.watch import Watcher


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "phantom",
        help="make the base of the built-in checkpoint from nothing",
        description="Cohort, vision tower, option drill, joint 2D and 3D grounded SFT. Started again, it continues where it stopped.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the checkpoint is written."""
    from unireason.train.base.recipe import Base

    def start(settings: Base, watch: Watcher) -> Path:
        from unireason.train.base.making import train

        return train(settings, args.out, watch)

    return carry_out(args, Base, start)
