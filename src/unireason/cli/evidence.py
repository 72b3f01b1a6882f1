"""``unireason eval evidence``: does an answer come from the image?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.store import json_text

from .ask import add_machine, profiled_model, tell_model
from .eval import PHANTOM_QUESTIONS, add_again, add_model, add_skip, add_suite, kept_answers, settings_of, suite_of

if TYPE_CHECKING:
    from unireason.evaluate.consistency import Volumes
    from unireason.evaluate.results import Found
    from unireason.report.document import Document


PAGE, FIGURE = "evidence.html", "evidence.png"
"""Names of page and figure."""


def add_evidence(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "evidence",
        help="ask again without the evidence, and say how far answers rely on it",
        description="Ask the questions of a suite with the true image, without it, and with other regions shown; say what is lost.",
        epilog="Started again with the same folder, it goes on where it stopped. Research only, not a medical device.",
    )
    add_suite(parser)
    add_model(parser)
    add_machine(parser.add_argument_group("machine"))
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("evidence"), help="where to write (default evidence)")
    add_skip(parser)
    add_again(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run_evidence)


def run_evidence(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.evaluate.evidence import evaluate, examples
    from unireason.report.document import write_html
    from unireason.report.evidence import evidence_document
    from unireason.report.html import plural
    from unireason.report.plots import write_evidence_figure

    from .ask import bar, status

    with status("opening model and questions", quiet=args.json):
        suite, count = suite_of(args)
        settings = settings_of(args, count)
        reasoner = profiled_model(args)
    tell_model(reasoner, f"{'all questions' if count is None else plural(count, 'question')} of {args.suite}", quiet=args.json)
    with kept_answers(args), bar("answers", quiet=args.json) as progress:
        found = evaluate(reasoner, suite, args.out, settings=settings, progress=progress)
    with status("writing the page", quiet=args.json):
        document = evidence_document(found.results, *examples(found, suite, reasoner))
        page = write_html(document, args.out / PAGE)
        write_evidence_figure(found.results.to_json(), args.out / FIGURE)
    print_results(args, found.results, document, page)
    return 0


def print_results(args: argparse.Namespace, results: Found, document: Document, page: Path) -> None:
    """Print what was found, as one JSON object or as the report in words, and before that what must be known of it."""
    from unireason.report.document import as_terminal
    from unireason.report.html import tell

    tell(document.cautions)
    print(json_text(results.to_json()) if args.json else f"{as_terminal(document)}\nwrote {page}")


# --- ``unireason eval consistency``: do looks at a slice and at its volume mean the same place?


CONSISTENCY_PAGE = "consistency.html"


def add_consistency(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "consistency",
        help="hold boxes on slices against cuboids in their volumes",
        description="Ask about volumes, then about one slice of each structure; compare the box with the projected cuboid and the truth.",
        epilog="Started again with the same folder, it goes on where it stopped. Research only, not a medical device.",
    )
    add_suite(parser)
    add_model(parser)
    add_machine(parser.add_argument_group("machine"))
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("consistency"), help="where to write (default consistency)"
    )
    add_skip(parser)
    add_again(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run_consistency)


def run_consistency(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.evaluate.consistency import evaluate, examples
    from unireason.report.consistency import consistency_document
    from unireason.report.document import write_html

    from .ask import bar, status

    with status("opening model and questions", quiet=args.json):
        volumes, count = _volumes(args)
        settings = settings_of(args, count)
        reasoner = profiled_model(args)
    tell_model(reasoner, "questions about volumes and their slices", quiet=args.json)
    with kept_answers(args), bar("looks", quiet=args.json) as progress:
        found = evaluate(reasoner, volumes, args.out, settings=settings, progress=progress)
    with status("writing the page", quiet=args.json):
        document = consistency_document(found.results, found.pairs, examples(found, volumes, reasoner))
        page = write_html(document, args.out / CONSISTENCY_PAGE)
    print_results(args, found.results, document, page)
    return 0


def _volumes(args: argparse.Namespace) -> tuple[Volumes, int | None]:
    """The questions, and how many at most. Of phantoms twice as many are made, since not all can be compared."""
    from unireason.evaluate.consistency import Volumes

    options = ["kind=volume"] if args.suite in ("phantom", "built") else []
    if args.suite == "phantom":
        options.append(f"questions={2 * (args.questions or PHANTOM_QUESTIONS)}")
    suite, count = suite_of(argparse.Namespace(**{**vars(args), "option": [*options, *args.option]}))
    return Volumes(suite), count
