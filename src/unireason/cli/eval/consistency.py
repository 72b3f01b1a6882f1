"""``unireason eval consistency``: do looks at a slice and at its volume mean the same place?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.cli.asking import tell_model
from unireason.files import json_text

from .suite import (
    PHANTOM_QUESTIONS,
    add_again,
    add_model,
    add_skip,
    add_suite,
    kept_answers,
    settings_of,
    suite_of,
    tell_left_out,
)

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner
    from unireason.evaluate.consistency.agreement import Pair
    from unireason.evaluate.consistency.volumes import Volumes
    from unireason.report.consistency import Example

EXAMPLES, PAGE = 12, "consistency.html"
"""Slices on the page at most, and its name."""


def add_parser(subparsers: Any) -> None:
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.cli.progress import bar, status
    from unireason.engine.reasoner import load
    from unireason.evaluate.consistency.run import evaluate
    from unireason.report.caution import of_results, tell
    from unireason.report.consistency import Point, write_consistency

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
            found.results, args.out / PAGE, points=points, examples=_examples(found.pairs, volumes, reasoner)
        )
    tell(of_results(found.results))
    if args.json:
        print(json_text(found.results))
    else:
        _tell(found.results, page)
    return 0


def _volumes(args: argparse.Namespace) -> tuple[Volumes, int | None]:
    """The questions, and how many at most. Of phantoms twice as many are made, since not all can be compared."""
    from unireason.evaluate.consistency.volumes import Volumes

    options = ["kind=volume"] if args.suite in ("phantom", "built") else []
    if args.suite == "phantom":
        options.append(f"questions={2 * (args.questions or PHANTOM_QUESTIONS)}")
    suite, count = suite_of(argparse.Namespace(**{**vars(args), "option": [*options, *args.option]}))
    return Volumes(suite), count


def _examples(pairs: Sequence[Pair], volumes: Volumes, reasoner: Reasoner) -> list[Example]:
    """Evenly over the pairs, from the least agreement to the most; a case with its structure comes once."""
    from unireason.data.extract.slices import picture
    from unireason.errors import UniReasonError
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


def _tell(results: Mapping[str, Any], page: Path) -> None:
    """The results as a table."""
    from unireason.evaluate.consistency.agreement import FIGURES
    from unireason.report.bars import percent
    from unireason.report.markup import plural

    print(f"{'mean IoU':<17}{'all pairs':>10}{'95%':>13}{'both looked':>13}{'95%':>13}")
    for name in FIGURES:
        strict, whole = (f"{_two(part[name]['mean_iou'])}{_range(part[name]['ci95_patients']):>13}" for part in _parts(results))
        print(f"{name.replace('_', ' '):<17}{strict:>23}{whole:>26}")
    looked, above = results["looked"], results["above_other_patient"]
    print(f"{plural(results['n'], 'pair')}, {plural(results['patients'], 'patient')}, both looked {percent(looked['both'])}")
    print(f"above other patients: {_two(above['difference'])} {_range(above['ci95_patients'])}")
    print(f"{percent(results['mismatch_rate'])} of answers name an option by its letter and state another text")
    tell_left_out(results["unreadable"])
    print(f"wrote {page}")


def _parts(results: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return results, results["conditional"]


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f}\u2013{ends[1]:.2f}"
