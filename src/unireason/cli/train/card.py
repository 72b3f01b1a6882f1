"""``unireason train card``: measure a checkpoint and write its card."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.errors import FormatError

if TYPE_CHECKING:
    from unireason.evaluate.card import Training


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "card",
        help="measure a checkpoint on held-out phantoms and write its card",
        description="Build an examination of phantom patients, ask it, write card.json, README.md and curves.png.",
        epilog="Research only, not a medical device.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="phantom (built in) or a checkpoint folder")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write; often the checkpoint's folder")
    parser.add_argument("--base", metavar="RUN", type=Path, help="run folder of its base model")
    parser.add_argument("--sft", metavar="RUN", type=Path, help="run folder of its supervised fine-tuning")
    parser.add_argument("--grpo", metavar="RUN", type=Path, help="run folder of its policy optimisation")
    parser.add_argument("--questions", metavar="N", type=int, default=600, help="questions of each kind (default 600)")
    parser.add_argument("--seed", metavar="S", type=int, help="examination (default: the one of the shipped card)")
    parser.add_argument("--json", action="store_true", help="print the card as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the card is written."""
    from unireason.cli.progress import bar
    from unireason.evaluate.card import CURVES, SEED, write_card
    from unireason.report.curves import write_curves

    folders = {"phantom": args.base, "sft": args.sft, "grpo": args.grpo}
    training = [_training(name, folder) for name, folder in folders.items() if folder is not None]
    if training:
        write_curves([line for run in training for line in run.lines], args.out / CURVES)
    seed = SEED if args.seed is None else args.seed
    with bar("questions", 3 * args.questions, quiet=args.json) as progress:
        card = write_card(args.checkpoint, args.out, questions=args.questions, seed=seed, training=training, progress=progress)
    print(card.read_text(encoding="utf-8").strip() if args.json else f"wrote {card}")
    return 0


def _training(name: str, folder: Path) -> Training:
    """What the folder of a run tells.

    Raises:
        FormatError: If it is no folder of a run.
    """
    from unireason.evaluate.card import Training
    from unireason.train.runs import journal

    try:
        table = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        settings = table["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"'{folder}' is no folder of a run ({error!r})", "run.json and log.jsonl in it") from error
    return Training(name, settings, journal.read(folder))
