"""``unireason eval compare``: runs over the same questions side by side."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from unireason.core.errors import keeping
from unireason.core.store import json_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from unireason.evaluate.ablation import AblationJob
    from unireason.evaluate.comparison import ComparedRun
    from unireason.report.comparison import Answers


def add_compare(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "compare",
        help="put runs over the same questions side by side",
        description="Compare runs of `unireason eval run` on the questions they share: accuracies, differences, questions where they part.",
        epilog="Differences come with an interval over patients and a corrected p value. Research only, not a medical device.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a finished run, at least two")
    parser.add_argument("--names", metavar="A,B,…", help="what the runs are called, in their order (default: their folders)")
    parser.add_argument("--baseline", metavar="RUN", help="name or folder of the run to compare with (default: the first)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="seed of resampling and sign flips (default 0)")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("comparison.html"), help="page to write")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run_compare)


def run_compare(args: argparse.Namespace) -> int:
    """Run the command; 0 when the page is written."""
    from unireason.core.errors import FormatError
    from unireason.evaluate.comparison import compare, read_run, shared
    from unireason.evaluate.scoring import EXTRACTORS
    from unireason.report.comparison import comparison_document
    from unireason.report.document import write_html

    from .ask import status
    from .evidence import print_results

    if args.seed < 0:
        raise FormatError(f"the seed {args.seed}", "at least 0")
    with status("reading the runs", quiet=args.json):
        names = [name.strip() for name in args.names.split(",")] if args.names else [""] * len(args.runs)
        if len(names) != len(args.runs) or (args.names and not all(names)):
            raise FormatError(f"{len(args.runs)} runs and the names {args.names!r}", "one name a run, parted by commas")
        runs = [read_run(folder, name) for folder, name in zip(args.runs, names, strict=True)]
    with status("comparing", quiet=args.json):
        found = compare(runs, baseline=_baseline(runs, args.baseline), seed=args.seed)
        rules = {name: extractor.rule for name, extractor in EXTRACTORS.items()}
        report = comparison_document(found, answers_of(shared(runs)), rules=rules)
        page = write_html(report, args.out)
    print_results(args, found, report, page)
    return 0


def answers_of(runs: Sequence[ComparedRun]) -> Answers:
    """What the page takes of runs with the same questions in the same order."""
    from unireason.evaluate.comparison import whole_rows
    from unireason.report.comparison import Answers, Side

    return Answers(
        asked=[(row.id, row.answer.scored.tags) for row in runs[0].rows],
        sides={
            one.name: Side(one.folder, [row.answer.scored.right for row in one.rows], partial(whole_rows, one)) for one in runs
        },
    )


def _baseline(runs: list[ComparedRun], wanted: str | None) -> int:
    """Index of the run of that name, or else of that folder."""
    from unireason.core.errors import FormatError

    if wanted is None:
        return 0
    for places in ([one.name for one in runs], [str(one.folder) for one in runs], [str(one.folder.resolve()) for one in runs]):
        for text in (wanted, str(Path(wanted)), str(Path(wanted).resolve())):
            if text in places:
                return places.index(text)
    raise FormatError(f"no run is called {wanted!r}", f"one of {', '.join(one.name for one in runs)}")


# --- ``unireason ablate``: train and evaluate a grid, and say which claims hold.


_EVERY = 1.0  # seconds between looks at the jobs' files


def add_ablate(subparsers: Any) -> None:
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
    parser.set_defaults(run=run_ablate)


def run_ablate(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.core.config import read_table, resolved
    from unireason.evaluate.ablation import parse, plan
    from unireason.train.config import read_any

    config = parse(read_table(args.config), args.config.parent)
    jobs = plan(config, args.out, lambda file, settings: resolved(read_any(file, settings)[0]))
    _check(jobs, suites=not args.list)
    if args.list:
        _list(jobs, as_json=args.json)
        return 0
    from unireason.core.store import write_bytes
    from unireason.evaluate import ablation
    from unireason.report.ablation import NAME, write_ablation

    from .evidence import print_results

    with (
        keeping("the same command goes on where it stopped"),
        AblationTerminal(len(jobs), quiet=args.quiet or args.json) as watch,
    ):
        ablation.run(jobs, args.out, at_once=args.jobs, watch=watch)
    results = ablation.summary(config, jobs)
    write_bytes(args.out / "results.json", f"{json_text(results.to_json(), indent=1)}\n".encode())
    report = write_ablation(results, args.out)
    print_results(args, results, report, args.out / f"{NAME}.html")
    return 0


def _check(jobs: Sequence[AblationJob], *, suites: bool) -> None:
    """Refuse now what the evaluations would refuse when the training is over."""
    from unireason.core.errors import FormatError

    from . import build_parser
    from .eval import suite_of

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


def _list(jobs: Sequence[AblationJob], *, as_json: bool) -> None:
    """The commands in an order in which they can run one after the other."""
    if as_json:
        rows = [{"job": j.name, "command": ["unireason", *j.command], "needs": list(j.needs), "done": j.done} for j in jobs]
        print(json_text(rows))
        return
    for job in jobs:
        print(f"unireason {shlex.join(job.command)}{'  # done' if job.done else ''}")


class AblationTerminal:
    """What a waiting person sees: one bar over all jobs, and under it what runs and the last line that each has printed."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total, self._loud = total, not quiet
        self._bar: Progress | None = None
        self._all: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._shown = -_EVERY

    def __enter__(self) -> AblationTerminal:
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

    def begun(self, job: AblationJob) -> None:
        """Names the job."""
        self._begun[job.name] = time.monotonic()
        if self._bar is not None:
            self._tasks[job.name] = self._bar.add_task(job.name, total=None, said="")
        elif self._loud:
            print(f"{job.name} begins", file=sys.stderr, flush=True)

    def running(self, jobs: Sequence[AblationJob], done: int) -> None:
        """Moves the bar and shows how far each job is, once a second: that reads what the jobs have written so far."""
        if self._bar is None or self._all is None or time.monotonic() < self._shown + _EVERY:
            return
        self._shown = time.monotonic()
        self._bar.update(self._all, completed=done, said=f"{done}/{self._total}")
        for job in jobs:
            self._bar.update(self._tasks[job.name], said=_far(job))

    def ended(self, job: AblationJob, done: int) -> None:
        """Counts the job."""
        if self._bar is not None:
            self._bar.remove_task(self._tasks.pop(job.name))
        elif self._loud:
            seconds = time.monotonic() - self._begun[job.name]
            print(f"{job.name} done in {seconds:.0f} s ({done}/{self._total})", file=sys.stderr, flush=True)


def _far(job: AblationJob) -> str:
    """How far a job is: answers on disk, or the last line that it has printed."""
    from unireason.evaluate.ablation import last_lines

    if job.what == "eval":
        rows = job.folder / "rows.jsonl"
        return f"{rows.read_bytes().count(10)} answers" if rows.is_file() else "preparing"
    said = last_lines(job.log)
    return said[0][:90] if said and not said[0].startswith("$ ") else "preparing"
