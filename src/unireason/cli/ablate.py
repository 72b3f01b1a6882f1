"""``unireason ablate``: train and evaluate a grid, and say which claims hold."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from unireason.errors import keeping
from unireason.files import json_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from unireason.evaluate.ablation.jobs import Job

_EVERY = 1.0  # seconds between looks at the jobs' files


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "ablate",
        help="train and evaluate a grid of runs, and say which claims hold",
        description="Train every arm of a grid with several seeds, ask each checkpoint the same questions, compare with intervals.",
        epilog="Started again with the same folder, it goes on where it stopped. Research only, not a medical device.",
    )
    parser.add_argument("config", metavar="CONFIG", type=Path, help='TOML file with kind = "ablation"')
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of all runs and of the result")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="runs at a time (default 1)")
    parser.add_argument("--list", action="store_true", help="print the commands, to be run by hand or on a cluster, and stop")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object with the results (with --list: an array), no progress"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.evaluate.ablation.config import parse
    from unireason.evaluate.ablation.jobs import plan
    from unireason.train.settings.load import read_any, read_table, resolved

    config = parse(read_table(args.config), args.config.parent)
    jobs = plan(config, args.out, lambda file, settings: resolved(read_any(file, settings)[0]))
    _check(jobs, suites=not args.list)
    if args.list:
        _list(jobs, as_json=args.json)
        return 0
    from unireason.evaluate.ablation import schedule
    from unireason.evaluate.ablation.results import summary
    from unireason.evaluate.journal import RESULTS
    from unireason.files import write_bytes
    from unireason.report.ablation import cautions, write_ablation
    from unireason.report.caution import tell

    with keeping("the same command goes on where it stopped"), Terminal(len(jobs), quiet=args.quiet or args.json) as watch:
        schedule.run(jobs, args.out, at_once=args.jobs, watch=watch)
    results = summary(config, jobs)
    text = json_text(results, indent=1)
    write_bytes(args.out / RESULTS, f"{text}\n".encode())
    page = write_ablation(results, args.out)
    tell(cautions(results))
    if args.json:
        print(json_text(results))
    else:
        _tell(results, page)
    return 0


def _check(jobs: Sequence[Job], *, suites: bool) -> None:
    """Refuse now what the evaluations would refuse when the training is over.

    Args:
        jobs: All jobs; those that have ended are not looked at.
        suites: True to open the suites as well, phantoms apart, which would be made.

    Raises:
        UniReasonError: If an argument of an evaluation is wrong, or a suite cannot be opened.
    """
    from unireason.cli import build_parser
    from unireason.cli.eval.suite import suite_of
    from unireason.errors import FormatError

    parser, found = build_parser(), dict[tuple[Any, ...], argparse.Namespace]()
    for job in (j for j in jobs if j.what == "eval" and not j.done):
        try:
            asked = parser.parse_args(job.command)
        except SystemExit as error:
            raise FormatError(f"{job.name} has arguments that are not known", "those of 'unireason eval run'") from error
        model = str(job.folder.with_name("train") / "checkpoint")
        if (asked.out, asked.model) != (job.folder, model):
            raise FormatError(f"the arguments of {job.name} name another --out or --model", "neither: the ablation sets them")
        found[asked.suite, asked.data, asked.split, tuple(asked.option)] = asked
    for asked in found.values():
        if suites and asked.suite != "phantom":
            suite_of(asked)


def _tell(results: Mapping[str, Any], page: Path) -> None:
    """The table and the claims."""
    from unireason.report.ablation import claim_texts, table

    rows = table(results)
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        )
    print("\n".join([*claim_texts(results), f"wrote {page}"]))


def _list(jobs: Sequence[Job], *, as_json: bool) -> None:
    """The commands in an order in which they can run one after the other."""
    if as_json:
        rows = [{"job": j.name, "command": ["unireason", *j.command], "needs": list(j.needs), "done": j.done} for j in jobs]
        print(json_text(rows))
        return
    for job in jobs:
        print(f"unireason {shlex.join(job.command)}{'  # done' if job.done else ''}")


class Terminal:
    """What a waiting person sees: one bar over all jobs, and under it what runs and the last line that each has printed.

    Where standard error is no terminal, such as a log file, a line for every job that begins or ends.

    Args:
        total: Jobs in all.
        quiet: True shows nothing.
    """

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total, self._loud = total, not quiet
        self._bar: Progress | None = None
        self._all: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._shown = -_EVERY

    def __enter__(self) -> Terminal:
        if self._loud and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            text = TextColumn("{task.fields[said]}", markup=False)
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), text, TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._all = self._bar.add_task("ablation", total=self._total, said=f"0/{self._total}")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begun(self, job: Job) -> None:
        """Names the job."""
        self._begun[job.name] = time.monotonic()
        if self._bar is not None:
            self._tasks[job.name] = self._bar.add_task(job.name, total=None, said="")
        elif self._loud:
            print(f"{job.name} begins", file=sys.stderr, flush=True)

    def running(self, jobs: Sequence[Job], done: int) -> None:
        """Moves the bar and shows how far each job is, once a second: that reads what the jobs have written so far."""
        if self._bar is None or self._all is None or time.monotonic() < self._shown + _EVERY:
            return
        self._shown = time.monotonic()
        self._bar.update(self._all, completed=done, said=f"{done}/{self._total}")
        for job in jobs:
            self._bar.update(self._tasks[job.name], said=_far(job))

    def ended(self, job: Job, done: int) -> None:
        """Counts the job."""
        if self._bar is not None:
            self._bar.remove_task(self._tasks.pop(job.name))
        elif self._loud:
            seconds = time.monotonic() - self._begun[job.name]
            print(f"{job.name} done in {seconds:.0f} s ({done}/{self._total})", file=sys.stderr, flush=True)


def _far(job: Job) -> str:
    """How far a job is: answers on disk, or the last line that it has printed."""
    from unireason.evaluate.ablation.schedule import last_lines

    if job.what == "eval":
        rows = job.folder / "rows.jsonl"
        return f"{rows.read_bytes().count(10)} answers" if rows.is_file() else "preparing"
    said = last_lines(job.log)
    return said[0][:90] if said and not said[0].startswith("$ ") else "preparing"
