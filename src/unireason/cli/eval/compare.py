"""``unireason eval compare``: runs over the same questions side by side."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.files import json_text

if TYPE_CHECKING:
    from unireason.evaluate.comparison import Run
    from unireason.report.comparison_questions import Answers


def add_parser(subparsers: Any) -> None:
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the page is written."""
    from unireason.cli.progress import status
    from unireason.errors import FormatError
    from unireason.evaluate.comparison import compare, shared
    from unireason.evaluate.scoring.published import EXTRACTORS
    from unireason.report.caution import tell
    from unireason.report.comparison import cautions, write_comparison

    if args.seed < 0:
        raise FormatError(f"the seed {args.seed}", "at least 0")
    with status("reading the runs", quiet=args.json):
        runs = _read(args)
    with status("comparing", quiet=args.json):
        found = compare(runs, baseline=_baseline(runs, args.baseline), seed=args.seed)
        answers = answers_of(shared(runs))
        rules = {name: extractor.rule for name, extractor in EXTRACTORS.items()}
        page = write_comparison(found, answers, args.out, rules=rules)
    tell(cautions(found))
    if args.json:
        print(json_text(found))
    else:
        _tell(found, page)
    return 0


def _read(args: argparse.Namespace) -> list[Run]:
    from unireason.errors import FormatError
    from unireason.evaluate.comparison import read_run

    names = [name.strip() for name in args.names.split(",")] if args.names else [""] * len(args.runs)
    if len(names) != len(args.runs) or (args.names and not all(names)):
        raise FormatError(f"{len(args.runs)} runs and the names {args.names!r}", "one name a run, parted by commas")
    return [read_run(folder, name) for folder, name in zip(args.runs, names, strict=True)]


def answers_of(runs: Sequence[Run]) -> Answers:
    """What the page takes of runs with the same questions in the same order."""
    from unireason.evaluate.comparison import whole_rows
    from unireason.report.comparison_questions import Answers, Side

    return Answers(
        asked=[{"id": row.id, "tags": row.answer.scored.tags} for row in runs[0].rows],
        sides={
            one.name: Side(one.folder, [row.answer.scored.right for row in one.rows], partial(whole_rows, one)) for one in runs
        },
    )


def _baseline(runs: list[Run], wanted: str | None) -> int:
    """Index of the run of that name, or else of that folder."""
    from unireason.errors import FormatError

    if wanted is None:
        return 0
    for places in ([one.name for one in runs], [str(one.folder) for one in runs], [str(one.folder.resolve()) for one in runs]):
        for text in (wanted, str(Path(wanted)), str(Path(wanted).resolve())):
            if text in places:
                return places.index(text)
    raise FormatError(f"no run is called {wanted!r}", f"one of {', '.join(one.name for one in runs)}")


def _tell(found: Mapping[str, Any], page: Path) -> None:
    """The results as tables."""
    from unireason.report.bars import interval_text, percent
    from unireason.report.comparison import p_value, points
    from unireason.report.markup import plural

    width = max(8, *(len(one["name"]) for one in found["runs"])) + 2
    print(f"{plural(found['n'], 'question')} on {plural(found['patients'], 'patient')}, suite {found['suite']}")
    print(
        f"{'run':<{width}}{'accuracy':>9}{'Wilson 95%':>15}{'patients 95%':>15}{'overlap':>9}{'unread':>8}{'letter against text':>21}"
    )
    for one in found["runs"]:
        overlap = one["overlap"]["mean"]
        row = f"{one['name']:<{width}}{percent(one['accuracy'], 1):>9}{interval_text(one['accuracy_ci95'], 1):>15}"
        row += f"{interval_text(one['accuracy_ci95_patients'], 1):>15}"
        print(f"{row}{'' if overlap is None else f'{overlap:.2f}':>9}{one['unread']:>8}{percent(one['mismatch_rate'], 1):>21}")
    print(f"\nagainst {found['baseline']}\n{'run':<{width}}{'points':>9}{'patients 95%':>17}{'flip p':>11}{'Holm p':>9}")
    for own in found["comparisons"]:
        ends = " to ".join(map(points, own["interval"])) if own["interval"] else ""
        print(
            f"{own['run']:<{width}}{points(own['difference']):>9}{ends:>17}{p_value(own['p_exact']):>11}{p_value(own['p_holm']):>9}"
        )
    print(f"wrote {page}")
