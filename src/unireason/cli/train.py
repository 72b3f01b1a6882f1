"""``unireason train``: tune checkpoints."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError, MissingExtraError, UniReasonError, keeping
from unireason.core.store import json_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from unireason.core.types import Scored
    from unireason.train.config import Grpo


TRAINERS = {
    "sft": (
        "fine-tune on grounded reasoning",
        "Supervised fine-tuning (SFT) on grounded reasoning. Started again, it continues where it stopped.",
    ),
    "grpo": (
        "reinforce right answers on grounded rollouts",
        "Group-relative policy optimisation (GRPO) on grounded rollouts. Started again, it continues where it stopped.",
    ),
}
MOVED = {
    kind: f"python -m recipes.phantom {now}, in the source tree"
    for kind, now in {"phantom": "base", "lessons": "lessons", "card": "card"}.items()
}


def add_parser(subparsers: Any) -> None:
    """Add the command and its kinds to an ``argparse`` subparsers object; each kind sets ``run``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("train", help="train a model", description="Train a model.")
    below = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for kind, (brief, description) in TRAINERS.items():
        trainer = below.add_parser(kind, help=brief, description=description)
        add_arguments(trainer)
        if kind == "grpo":
            trainer.add_argument(
                "--engine",
                choices=("local", "verl"),
                default="local",
                help="who trains: this package (default), or verl on a cluster",
            )
        trainer.set_defaults(run=run)
    for kind, place in MOVED.items():  # "+" lets the old options pass, so that they reach the sentence
        gone = below.add_parser(kind, description=f"Moved: {place}.", add_help=False, prefix_chars="+")
        gone.add_argument("old", nargs="*", help=argparse.SUPPRESS)
        gone.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the checkpoint is written."""
    if args.what in MOVED:
        raise FormatError(f"'unireason train {args.what}' has moved", MOVED[args.what])
    from unireason.train.config import KINDS

    return carry_out(args, KINDS[args.what], f"unireason.train.{args.what}")


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
    parser.add_argument(
        "--prompts", metavar="PROFILE", help="prompt profile: a TOML file or a built-in name; model.profile says the same"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings as TOML and stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, no progress")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def carry_out(args: argparse.Namespace, kind: type[Any], trainer: str) -> int:
    """Read the settings, train by the module of that name, which is imported when it is needed, and say what came out."""
    from unireason.core.config import to_toml
    from unireason.train.config import read

    words = [f"model.profile={json_text(args.prompts)}"] if args.prompts else []
    settings = read(args.config, kind, [*args.overrides, *words])
    if getattr(args, "engine", "local") == "verl":
        return by_verl(args, settings)
    if args.dry_run:
        print(to_toml(settings), end="")
        return 0
    # A run must not scatter its files over a data set, whose check would fail for them, or over a checkpoint.
    for name, what in (("manifest.json", "a data set"), ("config.json", "a checkpoint")):
        if (args.out / name).exists():
            raise FormatError(f"'{args.out}' holds {what}", "a new folder, or that of the same run", "choose another --out")
    with (
        keeping("the same command goes on from the last saved state"),
        TrainTerminal(args.out, quiet=args.quiet, as_json=args.json) as watch,
    ):
        checkpoint = import_module(trainer).train(settings, args.out, watch)
    watch.summary(checkpoint)
    return 0


def by_verl(args: argparse.Namespace, settings: Grpo) -> int:
    """Write verl's configuration and start it; with --dry-run only print the configuration. Its exit code."""
    import subprocess
    from importlib.util import find_spec

    from unireason.cluster import verl_run

    if args.dry_run:
        print(json_text(verl_run.configuration(settings, args.out), indent=1))
        return 0
    if find_spec("verl") is None:
        raise MissingExtraError("verl", "verl")
    verl_run.write(settings, args.out)
    return subprocess.run(verl_run.command(args.out, settings), check=False).returncode


# --- What a person sees of a run: a bar with the numbers that matter, curves after each evaluation, pages of rollouts, the way on.


SHOWN = ("reward", "crop_rate", "loss", "tokens_right", "eval_accuracy")
"""Values told beside the bar, where a run has them."""
EVERY = 10.0  # seconds between two lines where there is no terminal
MOST_SKIPPED = 5  # skipped cases told one by one


class TrainTerminal:
    """A watcher for the command line; a context manager, which ends the bar."""

    def __init__(self, out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
        self._out, self._json = out, as_json
        self._main = os.environ.get("RANK", "0") == "0"
        self._loud = self._main and not quiet and not as_json
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._begun: tuple[int, float] | None = None  # first step of this process, and when it was done
        self._told = -math.inf
        self._steps, self._skipped, self._last = 0, 0, dict[str, float]()

    def __enter__(self) -> TrainTerminal:
        if self._loud and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.fields[values]}")
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), text, TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("preparing", total=None, values="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begun(self, facts: str) -> None:
        """Says on what the run goes, from what and with what."""
        if self._loud:
            self._say(facts)

    def step(self, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """Moves the bar; after an evaluation the curves are drawn anew."""
        self._steps = step
        self._last |= values
        if not self._main:
            return
        now = time.monotonic()
        first = self._begun is None
        self._begun = self._begun or (step, now)
        evaluated = any(name.startswith("eval_") for name in values)
        if self._bar is not None and self._task is not None:
            if first:  # steps of an earlier process must not count as fast ones
                self._bar.reset(self._task, total=total, completed=step, description=stage)
            self._bar.update(self._task, completed=step, total=total, description=stage, values=_words(values))
        elif self._loud and (first or evaluated or step == total or now - self._told >= EVERY):
            self._told = now
            self._say(f"{stage} {step}/{total}  {_words(values)}{self._left(step, total, now)}")
        if evaluated:
            self._curves()

    def resumed(self, stage: str, step: int, total: int, remark: str) -> None:
        """Says where the run goes on, also where no progress is shown."""
        if self._main:
            done = f"all {total} steps are done" if step >= total else f"goes on from step {step} of {total}"
            self._say(f"{stage}: {done}")
            if remark:
                self._say(f"note: {remark}")

    def skipped(self, case: str, reason: str) -> None:
        """Counts the case; the first ones are told."""
        self._skipped += 1
        if self._loud and self._skipped <= MOST_SKIPPED:
            more = "; further ones are only counted" if self._skipped == MOST_SKIPPED else ""
            self._say(f"skipped {case}: {reason}{more}")

    def traces(self, step: int, scored: Sequence[Scored]) -> None:
        """Writes the page of these rollouts."""
        if self._main:
            from unireason.report.rollouts import write_rollouts

            self._written(lambda: write_rollouts(scored, self._out / "rollouts", step))

    def done(self, checkpoint: Path) -> None:
        """Draws the curves of the whole run."""
        if self._main:
            self._curves()

    def summary(self, checkpoint: Path) -> None:
        """The last lines on standard output: where everything is and how to ask the checkpoint, or one JSON object."""
        if not self._main:
            return
        if not self._steps:
            self._recall()
        if self._json:
            last = {name: value if math.isfinite(value) else None for name, value in self._last.items()}
            found = {"checkpoint": str(checkpoint), "steps": self._steps, "skipped": self._skipped, "last": last}
            print(json_text(found))
            return
        from unireason.report.html import plural

        if self._skipped:
            print(f"{plural(self._skipped, 'case')} could not be read")
        for name in ("curves.png", "rollouts/index.html"):
            if (self._out / name).is_file():
                print(f"wrote {self._out / name}")
        print(f"wrote {checkpoint}\nask it: unireason ask FILE -q QUESTION --model {checkpoint}")

    def _recall(self) -> None:
        """The numbers of a run that had been finished before this process began."""
        from unireason.train.log import RESERVED, read

        for line in read(self._out):
            self._steps = line["step"]
            self._last |= {name: math.nan if value is None else value for name, value in line.items() if name not in RESERVED}

    def _curves(self) -> None:
        from unireason.report.plots import write_curves
        from unireason.train.log import read

        self._written(lambda: write_curves(read(self._out), self._out / "curves.png"))

    def _written(self, write: Any) -> None:
        """Pictures and pages are for looking at: one that cannot be written must not stop the run."""
        try:
            write()
        except UniReasonError as error:
            self._say(f"warning: {error}")

    def _left(self, step: int, total: int, now: float) -> str:
        begun, when = self._begun or (step, now)
        if step == begun or step >= total:
            return ""
        seconds = round((now - when) / (step - begun) * (total - step))
        return f"  {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _words(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {values[name]:.3f}" for name in SHOWN if name in values)
