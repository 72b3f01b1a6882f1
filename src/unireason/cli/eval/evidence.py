"""``unireason eval evidence``: does an answer come from the image?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.cli.asking import tell_model
from unireason.files import json_text

from .suite import add_again, add_model, add_skip, add_suite, kept_answers, settings_of, suite_of, tell_left_out

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner
    from unireason.evaluate.evidence.run import Found
    from unireason.evaluate.suites.suite import Entry, Suite
    from unireason.report.evidence import Flip

FLIPS, SURVIVORS, PAGE, FIGURE = 12, 6, "evidence.html", "evidence.png"
"""Questions on the page at most, and names of page and figure."""


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "evidence",
        help="ask again without the evidence, and say how far answers rely on it",
        description="Ask the questions of a suite with the true image, without it, and with other regions shown; say what is lost.",
        epilog="Started again with the same folder, it goes on where it stopped. Research only, not a medical device.",
    )
    add_suite(parser)
    add_model(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("evidence"), help="where to write (default evidence)")
    add_skip(parser)
    add_again(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.cli.progress import bar, status
    from unireason.engine.reasoner import load
    from unireason.evaluate.evidence.run import evaluate
    from unireason.report.caution import of_results, tell
    from unireason.report.evidence import write_evidence
    from unireason.report.evidence_figure import write_evidence_figure
    from unireason.report.markup import plural

    with status("opening model and questions", quiet=args.json):
        suite, count = suite_of(args)
        settings = settings_of(args, count)
        reasoner = load(args.model)
    tell_model(reasoner, f"{'all questions' if count is None else plural(count, 'question')} of {args.suite}", quiet=args.json)
    with kept_answers(args), bar("answers", quiet=args.json) as progress:
        found = evaluate(reasoner, suite, args.out, settings=settings, progress=progress)
    with status("writing the page", quiet=args.json):
        flips, survivors = _flips(found, suite, reasoner)
        page = write_evidence(found.results, args.out / PAGE, flips=flips, survivors=survivors)
        write_evidence_figure(found.results, args.out / FIGURE)
    tell(of_results(found.results))
    if args.json:
        print(json_text(found.results))
    else:
        _tell(found.results, page)
    return 0


def _flips(found: Found, suite: Suite, reasoner: Reasoner) -> tuple[list[Flip], list[Flip]]:
    """Questions that were right under "true" and wrong, or right again, under the headline condition; those that looked come first."""
    from unireason.evaluate.evidence.conditions import HEADLINE

    picked: dict[bool, list[Entry]] = {True: [], False: []}
    for entry in found.entries:
        once, again = found.rows[entry.id, "true"], found.rows.get((entry.id, HEADLINE))
        if once.right and again is not None and once.looks:
            picked[again.right].append(entry)
    flips, survivors = _spread(picked[False], FLIPS), _spread(picked[True], SURVIVORS)
    wanted = {entry.id for entry in (*flips, *survivors)}
    made: dict[str, Flip] = {}
    pictures: dict[str, Any] = {}
    for entry in found.entries:
        if entry.id in wanted:
            if entry.case not in pictures:
                pictures[entry.case] = reasoner.stack(suite.read(entry.case)).slices
            made[entry.id] = _flip(entry, found, pictures[entry.case])
    return [made[e.id] for e in flips], [made[e.id] for e in survivors]


def _spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    """At most so many, evenly over the list."""
    return [entries[n * len(entries) // count] for n in range(count)] if len(entries) > count else list(entries)


def _flip(entry: Entry, found: Found, pictures: Any) -> Flip:
    from unireason.evaluate.evidence.conditions import CONDITIONS, HEADLINE
    from unireason.report.evidence import Flip

    rows = {name: found.rows[entry.id, name] for name in CONDITIONS if (entry.id, name) in found.rows}
    return Flip(
        question=entry.question,
        options=entry.options,
        gold=entry.letter or entry.answers[0],
        case=entry.case,
        answers={name: (row.said, row.right) for name, row in rows.items()},
        frame=rows["true"].frame,
        pictures=pictures,
        mismatches=frozenset(name for name, row in rows.items() if row.mismatch),
        asked=rows["true"].looks[0],
        instead=rows[HEADLINE].seen[0] if rows[HEADLINE].seen else (),
    )


def _tell(results: Mapping[str, Any], page: Path) -> None:
    """The results as a table."""
    from unireason.report.bars import interval_text, percent

    print(f"{'condition':<15}{'accuracy':>9}{'95%':>10}{'n':>6}{'survival':>10}{'reliance':>10}")
    for name, part in results["conditions"].items():
        kept, lost = part.get("survival", {}).get("value"), part.get("reliance", {}).get("value")
        told = "" if lost is None else f"{lost:.2f}"
        row = f"{name:<15}{percent(part['accuracy']):>9}{interval_text(part['ci95_patients']) or '-':>10}{part['n']:>6}"
        print(f"{row}{'' if kept is None else percent(kept):>10}{told:>10}")
    print(f"chance {percent(results['conditions']['true']['chance'])}, answers with a look {percent(results['looked'])}")
    print(
        f"{percent(results['conditions']['true']['mismatch_rate'])} of answers name an option by its letter and state another text"
    )
    found = results["reliance"]
    words = "undefined, accuracy is not above chance" if found["value"] is None else f"{found['value']:.2f}"
    if found["ci95"]:
        words += " (95% {:.2f}\u2013{:.2f})".format(*found["ci95"])
    print(f"evidence reliance ({results['reliance_condition']}): {words}")
    tell_left_out(results["unreadable"])
    print(f"wrote {page}")
