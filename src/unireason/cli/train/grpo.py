"""``unireason train grpo``: group-relative policy optimisation on grounded rollouts."""

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
        "grpo",
        help="reinforce right answers on grounded rollouts",
        description="Group-relative policy optimisation (GRPO) on grounded rollouts. Started again, it continues where it stopped.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the checkpoint is written."""
    from unireason.train.settings.grpo import Grpo

    def start(settings: Grpo, watch: Watcher) -> Path:
        from unireason.train.grpo import train

        return train(settings, args.out, watch)

    return carry_out(args, Grpo, start)
