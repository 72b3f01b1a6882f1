"""``unireason eval evidence``: does an answer come from the image?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.store import json_text

from .ask import tell_model
from .eval import PHANTOM_QUESTIONS, add_again, add_model, add_skip, add_suite, kept_answers, settings_of, suite_of, tell_left_out

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner
    from unireason.evaluate.consistency import Pair, Volumes
    from unireason.evaluate.results import Found
    from unireason.report.consistency import Example
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
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("evidence"), help="where to write (default evidence)")
    add_skip(parser)
    add_again(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run_evidence)


def run_evidence(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.engine.reasoner import load
    from unireason.evaluate.evidence import evaluate, examples
    from unireason.report.document import write_html
    from unireason.report.evidence import evidence_document
    from unireason.report.html import plural
    from unireason.report.plots import write_evidence_figure

    from .ask import bar, status

    with status("opening model and questions", quiet=args.json):
        suite, count = suite_of(args)
        settings = settings_of(args, count)
        reasoner = load(args.model)
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


EXAMPLES, CONSISTENCY_PAGE = 12, "consistency.html"
"""Slices on the page at most, and its name."""


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
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("consistency"), help="where to write (default consistency)"
    )
    add_skip(parser)
    add_again(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run_consistency)


def run_consistency(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.engine.reasoner import load
    from unireason.evaluate.consistency import evaluate
    from unireason.report.consistency import Point, write_consistency
    from unireason.report.html import of_results, tell

    from .ask import bar, status

    with status("opening model and questions", quiet=args.json):
        volumes, count = _volumes(args)
        settings = settings_of(args, count)
        reasoner = load(args.model)
    tell_model(reasoner, "questions about volumes and their slices", quiet=args.json)
    with kept_answers(args), bar("looks", quiet=args.json) as progress:
        found = evaluate(reasoner, volumes, args.out, settings=settings, progress=progress)
    with status("writing the page", quiet=args.json):
        points = [
            Point(pair.agreement, min(pair.slice_to_truth, pair.volume_to_truth), pair.other_patient)
            for pair in found.pairs
            if pair.row.both
        ]
        page = write_consistency(
            found.results, args.out / CONSISTENCY_PAGE, points=points, examples=_examples(found.pairs, volumes, reasoner)
        )
    tell(of_results(found.results))
    if args.json:
        print(json_text(found.results))
    else:
        _consistency_tell(found.results, page)
    return 0


def _volumes(args: argparse.Namespace) -> tuple[Volumes, int | None]:
    """The questions, and how many at most. Of phantoms twice as many are made, since not all can be compared."""
    from unireason.evaluate.consistency import Volumes

    options = ["kind=volume"] if args.suite in ("phantom", "built") else []
    if args.suite == "phantom":
        options.append(f"questions={2 * (args.questions or PHANTOM_QUESTIONS)}")
    suite, count = suite_of(argparse.Namespace(**{**vars(args), "option": [*options, *args.option]}))
    return Volumes(suite), count


def _examples(pairs: Sequence[Pair], volumes: Volumes, reasoner: Reasoner) -> list[Example]:
    """Evenly over the pairs, from the least agreement to the most; a case with its structure comes once."""
    from unireason.core.errors import UniReasonError
    from unireason.data.regions import picture
    from unireason.report.consistency import Example

    single = {(pair.row.case, pair.row.structure): pair for pair in pairs}
    order = sorted(single.values(), key=lambda pair: pair.agreement)
    last = max(1, min(EXAMPLES, len(order)) - 1)
    picked = [order[n * (len(order) - 1) // last] for n in range(min(EXAMPLES, len(order)))]
    read = volumes.load(sorted({pair.row.case for pair in picked}))
    cases = {name: loaded.case for name, loaded in read if not isinstance(loaded, UniReasonError)}
    made = []
    for pair in picked:
        if pair.row.case not in cases:
            continue  # it could be read when it was asked
        row, case = pair.row, cases[pair.row.case]
        shadow, spacing = row.shadow(), case.geometry.spacing_mm or (1.0, 1.0)
        made.append(
            Example(
                structure=row.structure,
                case=row.case,
                slice=row.slice,
                question=row.question,
                picture=reasoner.stack(picture(case, row.slice)).slices[0],
                size=row.size,
                millimetres=(spacing[0], spacing[1]),
                rectangle=row.rectangle,
                shadow=None if shadow is None else shadow.coords,
                truth=row.true_rectangle,
                agreement=pair.agreement,
            )
        )
    return made


def _consistency_tell(results: Mapping[str, Any], page: Path) -> None:
    """The results as a table."""
    from unireason.evaluate.consistency import FIGURES
    from unireason.report.html import percent, plural

    def told(value: float | None, ends: Sequence[float] | None) -> tuple[str, str]:
        return "-" if value is None else f"{value:.2f}", "" if ends is None else f"{ends[0]:.2f}\u2013{ends[1]:.2f}"

    print(f"{'mean IoU':<17}{'all pairs':>10}{'95%':>13}{'both looked':>13}{'95%':>13}")
    for name in FIGURES:
        parts = [told(part[name]["mean_iou"], part[name]["ci95_patients"]) for part in (results, results["conditional"])]
        strict, whole = (f"{mean}{ends:>13}" for mean, ends in parts)
        print(f"{name.replace('_', ' '):<17}{strict:>23}{whole:>26}")
    looked, above = results["looked"], results["above_other_patient"]
    print(f"{plural(results['n'], 'pair')}, {plural(results['patients'], 'patient')}, both looked {percent(looked['both'])}")
    print(f"above other patients: {' '.join(told(above['difference'], above['ci95_patients']))}")
    print(f"{percent(results['mismatch_rate'])} of answers name an option by its letter and state another text")
    tell_left_out(results["unreadable"])
    print(f"wrote {page}")
