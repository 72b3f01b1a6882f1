"""What the trainers share: their arguments, and a run from its settings to its last line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from unireason.errors import FormatError, keeping

if TYPE_CHECKING:
    from unireason.train.watch import Watcher

S = TypeVar("S")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a run that is described by a TOML file."""
    parser.add_argument("--config", metavar="FILE.toml", type=Path, help="settings of the run; without one --set gives them")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="run folder; the checkpoint is DIR/checkpoint")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="one setting in place of the file's, such as run.steps=20; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings as TOML and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, no progress")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def carry_out(args: argparse.Namespace, kind: type[S], train: Callable[[S, Watcher], Path]) -> int:
    """Read the settings, train, and say what came out.

    Args:
        args: Parsed arguments of :func:`add_arguments`.
        kind: Dataclass of the settings.
        train: The trainer; it is given the settings and a watcher, and returns the checkpoint folder.

    Returns:
        0; a run that cannot be finished raises.
    """
    from unireason.train.settings.load import read, to_toml

    settings = read(args.config, kind, args.overrides)
    if args.dry_run:
        print(to_toml(settings), end="")
        return 0
    _refuse_taken(args.out)
    from .watcher import Terminal

    with (
        keeping("the same command goes on from the last saved state"),
        Terminal(args.out, quiet=args.quiet, as_json=args.json) as watch,
    ):
        checkpoint = train(settings, watch)
    watch.summary(checkpoint)
    return 0


def _refuse_taken(out: Path) -> None:
    """A run must not scatter its files over a data set, whose check would fail for them, or over a checkpoint."""
    for name, what in (("manifest.json", "a data set"), ("config.json", "a checkpoint")):
        if (out / name).exists():
            raise FormatError(f"'{out}' holds {what}", "a new folder, or that of the same run", "choose another --out")
