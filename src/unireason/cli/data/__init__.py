"""``unireason data``: from masks to checked training data; one file a subcommand."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

SUBCOMMANDS: tuple[str, ...] = ("inspect", "build", "check", "export", "import_")


def add_parser(subparsers: Any) -> None:
    """Add the command and its subcommands to an ``argparse`` subparsers object; each subcommand sets ``run``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data",
        help="turn masks into grounded reasoning data",
        description="Look at sources of masks, build grounded reasoning data from them, check it, bring it into other layouts.",
    )
    below = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for name in SUBCOMMANDS:
        import_module(f"unireason.cli.data.{name}").add_parser(below)
