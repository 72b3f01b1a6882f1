"""``unireason eval``: measure a model on questions; one file a kind of measurement."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

KINDS: tuple[str, ...] = ("run", "evidence", "export", "consistency", "ground", "compare")


def add_parser(subparsers: Any) -> None:
    """Add the command and its kinds to an ``argparse`` subparsers object; each kind sets ``run``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("eval", help="measure a model", description="Measure a model.")
    below = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name in KINDS:
        import_module(f"unireason.cli.eval.{name}").add_parser(below)
