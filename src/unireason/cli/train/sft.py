"""``unireason train sft``: supervised fine-tuning on grounded reasoning."""

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
        "sft",
        help="fine-tune on grounded reasoning",
        description="Supervised fine-tuning (SFT) on grounded reasoning. Started again, it continues where it stopped.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the checkpoint is written."""
    from unireason.train.settings.sft import Sft

    def start(settings: Sft, watch: Watcher) -> Path:
        from unireason.train.sft import train

        return train(settings, args.out, watch)

    return carry_out(args, Sft, start)
