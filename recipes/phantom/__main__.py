"""``python -m recipes.phantom base|lessons|card``: make the base of the built-in checkpoint, its lessons, and the card."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from unireason import cli as unireason
from unireason.cli.ask import bar
from unireason.cli.train import add_arguments, carry_out
from unireason.core.errors import FormatError

from . import card
from .recipe import Base


def build_parser() -> argparse.ArgumentParser:
    """The parser of all three."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.phantom",
        description="Make the built-in checkpoint: its base, the base's lessons, its card.",
        epilog="Research only, not a medical device. Exit codes: 0 done, 2 bad input.",
    )
    below = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    base = below.add_parser(
        "base",
        help="make the base of the built-in checkpoint from nothing",
        description="Cohort, vision tower, option drill, joint 2D and 3D grounded SFT. Started again, it continues where it stopped.",
    )
    add_arguments(base)
    base.set_defaults(run=run_base)

    lessons = below.add_parser(
        "lessons",
        help="the base model's lessons as a data set",
        description="Questions of the base of the built-in checkpoint about the patients of a phantom data set. Train on both folders, "
        "and the model keeps what the base has learned.",
    )
    lessons.add_argument("data", metavar="DATA", type=Path, help="data set made by: unireason data build phantom")
    lessons.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the new data set")
    lessons.add_argument("--seed", metavar="S", type=int, default=0, help="draws questions and wordings (default 0)")
    lessons.add_argument("--quiet", action="store_true", help="no progress bar")
    lessons.set_defaults(run=run_lessons)

    measured = below.add_parser(
        "card",
        help="measure a checkpoint on held-out phantoms and write its card",
        description="Build an examination of phantom patients, ask it, write card.json, README.md and curves.png.",
        epilog="Research only, not a medical device.",
    )
    measured.add_argument("checkpoint", metavar="CHECKPOINT", help="phantom (built in) or a checkpoint folder")
    measured.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write; often the checkpoint's folder")
    measured.add_argument("--base", metavar="RUN", type=Path, help="run folder of its base model")
    measured.add_argument("--sft", metavar="RUN", type=Path, help="run folder of its supervised fine-tuning")
    measured.add_argument("--grpo", metavar="RUN", type=Path, help="run folder of its policy optimisation")
    measured.add_argument("--questions", metavar="N", type=int, default=600, help="questions of each kind (default 600)")
    measured.add_argument("--seed", metavar="S", type=int, help="examination (default: the one of the shipped card)")
    measured.add_argument("--json", action="store_true", help="print the card as one JSON object")
    measured.set_defaults(run=run_card)
    return parser


def run_base(args: argparse.Namespace) -> int:
    """Train the base; 0 when the checkpoint is written."""
    return carry_out(args, Base, "recipes.phantom.making")


def run_lessons(args: argparse.Namespace) -> int:
    """Write the lessons; 0 when the data set is written."""
    from unireason.data.dataset import Dataset
    from unireason.report.html import plural

    from .rehearsal import rehearse

    dataset = Dataset.open(args.data)
    total = int(dataset.manifest.get("counts", {}).get("cases", 0))
    with bar("cases", total, quiet=args.quiet) as progress:
        made = rehearse(dataset, args.out, seed=args.seed, progress=progress)
    print(f"wrote {plural(made.manifest['counts']['samples'], 'sample')} to {args.out}")
    return 0


def run_card(args: argparse.Namespace) -> int:
    """Measure a checkpoint; 0 when the card is written."""
    from unireason.report.plots import write_curves
    from unireason.train import log

    training = []
    for name, folder in (("phantom", args.base), ("sft", args.sft), ("grpo", args.grpo)):
        if folder is None:
            continue
        try:
            settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(f"'{folder}' is no folder of a run ({error!r})", "run.json and log.jsonl in it") from error
        training.append(card.Training(name, settings, log.read(folder)))
    if training:
        write_curves([line for run in training for line in run.lines], args.out / card.CURVES)
    seed = card.SEED if args.seed is None else args.seed
    with bar("questions", 3 * args.questions, quiet=args.json) as progress:
        made = card.write_card(
            args.checkpoint, args.out, questions=args.questions, seed=seed, training=training, progress=progress
        )
    print(made.read_text(encoding="utf-8").strip() if args.json else f"wrote {made}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of them, with the exit codes of ``unireason``."""
    return unireason.main(argv, build_parser())


if __name__ == "__main__":
    sys.exit(main())
