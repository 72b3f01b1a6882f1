"""``unireason eval run``: how well does a model answer the questions of a suite?"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.cli.asking import add_machine, tell_model
from unireason.files import json_text

from .suite import add_again, add_model, add_skip, add_suite, kept_answers, opened, suite_of

if TYPE_CHECKING:
    from unireason.evaluate.benchmark.settings import Settings
    from unireason.types import Case, Stack, Trace

LONGEST = 256
"""Pixels of a picture's longer side at most."""


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "run",
        help="ask the questions of a suite and say how many answers are right",
        description="Ask the questions of a suite; write answers, accuracy with intervals, calibration, grounding and a page of failures.",
        epilog="Started again with the same folder, it goes on where it stopped. Research only, not a medical device.",
    )
    add_suite(parser.add_argument_group("questions"))
    model = parser.add_argument_group("model")
    add_model(model)
    add_machine(model)
    _add_how(parser.add_argument_group("how to ask"))
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", type=Path, default=Path("run"), help="where to write (default run)")
    add_again(output)
    output.add_argument("--no-pictures", action="store_true", help="draw no picture of each question")
    output.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run)


def _add_how(group: Any) -> None:
    group.add_argument("--samples", metavar="N", type=int, help="answers a question (default 1, or as many as vote)")
    group.add_argument("--vote", metavar="K", type=int, default=0, help="the most frequent of the first K answers stands")
    group.add_argument("--temperature", type=float, help="0 is greedy (default 0 for one sample, 0.7 for several)")
    group.add_argument("--top-p", type=float, default=1.0, help="nucleus sampling")
    group.add_argument("--max-looks", metavar="N", type=int, help="looks at most")
    group.add_argument("--max-new-tokens", metavar="N", type=int, help="tokens at most")
    group.add_argument("--crop-source", choices=("model", "native", "none"), help="what a look shows (default: the profile's)")
    add_skip(group)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.cli.progress import bar, status
    from unireason.engine.reasoner import load
    from unireason.evaluate.benchmark.run import lines
    from unireason.evaluate.benchmark.run import run as ask
    from unireason.evaluate.scoring.published import EXTRACTORS
    from unireason.report.caution import of_results, tell
    from unireason.report.evaluation import write_run
    from unireason.report.markup import plural

    asked = _settings(args)
    with status("opening model and questions", quiet=args.json):
        suite, count = suite_of(args)
        reasoner = load(args.model, device=args.device, dtype=args.dtype, threads=args.threads)
    samples = f", {plural(asked.samples, 'sample')} each"
    tell_model(
        reasoner, f"{'all questions' if count is None else plural(count, 'question')} of {args.suite}{samples}", quiet=args.json
    )
    draw = None if args.no_pictures else picture
    with kept_answers(args), bar("questions", quiet=args.json) as progress:
        settings = replace(asked, count=count, opened=opened(args, suite))
        results = ask(reasoner, suite, args.out, settings=settings, draw=draw, progress=progress)
    with status("writing the page", quiet=args.json):
        rules = {name: extractor.rule for name, extractor in EXTRACTORS.items()}
        page = write_run(results, partial(lines, args.out), args.out, rules=rules)
    tell(of_results(results))
    if args.json:
        print(json_text(results))
    else:
        _tell(results, page)
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    from unireason.evaluate.benchmark.settings import Settings

    names = ("samples", "vote", "temperature", "top_p", "seed", "max_looks", "max_new_tokens", "crop_source", "skip", "again")
    return Settings.filled(count=args.questions, **{name: getattr(args, name) for name in names})


def picture(trace: Trace, case: Case, stack: Stack) -> bytes:
    """The slice that a trace opens with and its boxes, as PNG of at most 256 pixels a side."""
    from unireason.report.figures import thumbnail
    from unireason.report.pixels import png

    drawn = thumbnail(trace, case, stack, height=LONGEST)
    drawn.thumbnail((LONGEST, LONGEST))
    return png(drawn)


def _tell(results: Mapping[str, Any], page: Path) -> None:
    """The results as a table."""
    from unireason.report.bars import interval_text, percent

    def row(name: str, part: Mapping[str, Any]) -> str:
        chance = percent(part["chance"]) if "chance" in part else ""
        ends = interval_text(part["accuracy_ci95_patients"]) or "-"
        return f"{name:<30}{percent(part['accuracy']):>9}{ends:>10}{chance:>8}{part['n']:>8,}"

    scores = results["scores"]
    print(f"{'':<30}{'accuracy':>9}{'95%':>10}{'chance':>8}{'n':>8}")
    print(row("all", scores["all"]))
    for value, part in scores["by"].get("family", {}).items():
        print(row(f"  {value}"[:30], part))
    for name, part in scores["all"]["published"].items():
        print(row(f"read as {name}", part))
    _tell_more(results, percent)
    print(f"wrote {page}")


def _tell_more(results: Mapping[str, Any], percent: Callable[[float], str]) -> None:
    from unireason.report.markup import plural

    for name, part in results["calibration"].items():
        told = [
            f"{key.upper()} {part[key]:.2f}"
            for key in ("auroc", "ece")
            if part[key] is not None and (key, name) != ("ece", "overlap")
        ]
        print(f"{name} as a predictor of right answers: {', '.join(told) or 'undefined'}")
    grounding, sampling = results["grounding"], results["sampling"]
    if grounding["looks"]:
        print(f"mean box IoU {grounding['mean_box_iou']:.2f} over {plural(grounding['looks'], 'true look')}")
    if sampling:
        mean, any_right = percent(sampling["mean_accuracy"]), percent(sampling["any_right"])
        print(f"{sampling['samples']} samples: mean accuracy {mean}, any right {any_right}")
    lost, unread = results["unreadable"], results["scores"]["all"]["unread"] - results["unreadable"]
    if unread:
        print(f"{plural(unread, 'answer')} said nothing that can be read and counted as wrong")
    print(f"{percent(results['scores']['all']['mismatch_rate'])} of answers name an option by its letter and state another text")
    if lost:
        print(f"{plural(lost, 'question')} could not be asked and counted as wrong; the page says why, --again asks again")
