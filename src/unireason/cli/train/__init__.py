"""``unireason train``: make and tune checkpoints; one file a kind of training."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

KINDS: tuple[str, ...] = ("phantom", "lessons", "sft", "grpo", "card")


def add_parser(subparsers: Any) -> None:
    """Add the command and its kinds to an ``argparse`` subparsers object; each kind sets ``run``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("train", help="train a model", description="Train a model.")
    below = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name in KINDS:
        import_module(f"unireason.cli.train.{name}").add_parser(below)
