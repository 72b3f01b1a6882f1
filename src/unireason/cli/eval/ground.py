"""``unireason eval ground``: how well are implicit questions answered by a place, and outlined by a frozen expert?"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.cli.asking import add_machine, tell_model
from unireason.cli.experts import add_expert, expert_of
from unireason.files import json_text

from .suite import add_again, kept_answers

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner
    from unireason.evaluate.pointing.run import Found, Settings
    from unireason.evaluate.suites.pointing import PointingSuite
    from unireason.report.pointing import Pointed
    from unireason.segment.expert import Expert

WORST, BEST, PAGE, TEXT = 12, 6, "report.html", "report.md"
"""Questions on the page at most, and the names of the pages."""

_OF_ONE_CATEGORY = 2


def add_parser(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "ground",
        help="ask implicit questions, and score boxes, points and masks",
        description="Ask the implicit questions of a suite, let a frozen expert outline the answers, and hold both against the truth.",
        epilog="Started again with the same folder, it goes on where it stopped. Research only, not a medical device.",
    )
    parser.add_argument("--suite", metavar="NAME", default="phantom", help="phantom (default), built or u-mrg")
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of the suite's files; for u-mrg also one Parquet file")
    parser.add_argument("--split", default="", help="split of the suite (default: test)")
    parser.add_argument("--model", metavar="REF", default="phantom", help="phantom (built in), a folder or a hub id")
    parser.add_argument(
        "--prompts", metavar="PROFILE", help="prompt profile of implicit questions: a TOML file or a built-in name"
    )
    parser.add_argument("--questions", metavar="N", type=int, help="questions at most (phantom: default 300; else all)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="seed of all that is drawn (default 0)")
    parser.add_argument(
        "--samples", metavar="N", type=int, default=1, help="answers a question (default 1); scores are their means"
    )
    parser.add_argument("--temperature", metavar="T", type=float, default=0.0, help="of sampling; 0 is greedy (default)")
    parser.add_argument("--max-new-tokens", metavar="N", type=int, help="tokens at most an answer (default: the profile's)")
    add_expert(parser.add_argument_group("expert"))
    add_machine(parser.add_argument_group("machine"))
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("grounding"), help="where to write (default grounding)")
    add_again(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.cli.progress import bar, status
    from unireason.errors import FormatError
    from unireason.evaluate.leaderboard import COLUMNS
    from unireason.evaluate.pointing.run import evaluate
    from unireason.files import write_bytes
    from unireason.report.caution import of_results, tell
    from unireason.report.markup import plural
    from unireason.report.pointing import pointing_markdown, write_pointing

    if args.seed < 0 or (args.questions is not None and args.questions < 1):
        raise FormatError(f"seed {args.seed} and {args.questions} questions", "a seed of at least 0 and at least 1 question")
    settings = _settings(args)
    expert = expert_of(args)
    with status("opening model and questions", quiet=args.json):
        suite = _suite(args)
        total = settings.count or sum(1 for _ in suite.entries())
        reasoner = _reasoner(args)
    tell_model(reasoner, f"{plural(total, 'question')} of {args.suite}, {plural(args.samples, 'sample')} each", quiet=args.json)
    with kept_answers(args), bar("questions", total, quiet=args.json) as progress:
        found = evaluate(reasoner, suite, expert, args.out, settings=settings, progress=progress)
    with status("writing the page", quiet=args.json):
        worst, best = _pictures(found, reasoner, suite, expert)
        page = write_pointing(found.results, args.out / PAGE, titles=COLUMNS, worst=worst, best=best)
        write_bytes(args.out / TEXT, pointing_markdown(found.results, titles=COLUMNS).encode())
    tell(of_results(found.results))
    if args.json:
        print(json_text(found.results))
    else:
        _tell(found.results, COLUMNS, page)
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    """How the suite is asked. Phantoms are made as many as are wanted, so that none has to be chosen."""
    from unireason.evaluate.pointing.run import Settings

    count = None if args.suite == "phantom" else args.questions
    return Settings(count, args.seed, args.samples, args.temperature, _hash(args), args.again, args.max_new_tokens)


def _hash(args: argparse.Namespace) -> str:
    """SHA-256 over the hashes of the expert's files of weights; "" without weights."""
    from hashlib import sha256

    from unireason.files import sha256 as of_file

    if args.expert == "classical" or args.weights is None:
        return ""
    from unireason.segment.networks.loading import folder_of

    files = sorted(folder_of(args.weights).glob("*.safetensors"))
    return sha256("".join(of_file(path) for path in files).encode()).hexdigest()


def _reasoner(args: argparse.Namespace) -> Reasoner:
    from unireason.engine.reasoner import load
    from unireason.grounding.prompts import load_profile

    grounding = load_profile(args.prompts) if args.prompts else None
    return load(args.model, device=args.device, dtype=args.dtype, grounding=grounding, threads=args.threads)


def _suite(args: argparse.Namespace) -> PointingSuite:
    """The suite. Phantoms are made for the model's frame."""
    from unireason.evaluate.suites.pointing import open_pointing
    from unireason.model.files import locate

    if args.suite != "phantom":
        return open_pointing(args.suite, args.data, split=args.split)
    options = {"seed": str(args.seed), "frame": str(locate(args.model))}
    options |= {"questions": str(args.questions)} if args.questions else {}
    return open_pointing(args.suite, args.data, split=args.split, options=options)


def _pictures(found: Found, reasoner: Reasoner, suite: PointingSuite, expert: Expert) -> tuple[list[Pointed], list[Pointed]]:
    """The worst and the best answers by the mask, then by box and points, few of one category; of few answers half are worst."""
    from unireason.evaluate.pointing.run import shown
    from unireason.grounding import umrg
    from unireason.report.pointing import Pointed
    from unireason.report.scene import aspect_of

    scored = [row for row in found.rows.values() if row["unreadable"] is None]
    ranked = sorted(scored, key=lambda row: (*(row["answers"][0]["scores"][n] for n in ("dice_both", "iou", "pdice")), row["id"]))
    best = _varied(ranked[::-1], min(BEST, len(ranked) // 2))
    worst = [name for name in _varied(ranked, WORST + BEST) if name not in best][:WORST]
    made = {}
    for name, one in shown(suite, expert, found, [*worst, *best]).items():
        trace, measured = one.answer
        made[name] = Pointed(
            row=one.row,
            frame=trace.frame,
            stack=reasoner.stack(one.case),
            aspect=aspect_of(one.case.geometry),
            truth=one.truth.mask,
            mask=measured.mask,
            thought=(umrg.read(trace.raw_text).think or trace.raw_text).strip(),
        )
    return [made[name] for name in worst], [made[name] for name in best]


def _varied(rows: Sequence[Mapping[str, Any]], most: int) -> list[str]:
    """The first so many, at most two of one category."""
    taken: Counter[str] = Counter()
    chosen: list[str] = []
    for row in rows:
        if len(chosen) < most and taken[row["category"]] < _OF_ONE_CATEGORY:
            taken[row["category"]] += 1
            chosen.append(row["id"])
    return chosen


def _tell(results: Mapping[str, Any], titles: Mapping[str, str], page: Path) -> None:
    """The results as a table."""
    from unireason.report.markup import plural

    print(f"{'':<18}{'mean':>8}  95% over patients")
    for name, title in titles.items():
        own = results["scores"][name]
        factor = 1 if name == "hd95_mm" else 100
        ends = own["ci95_patients"]
        interval = "" if ends is None else f"{factor * ends[0]:.2f} to {factor * ends[1]:.2f}"
        print(f"{title:<18}{factor * own['mean']:>8.2f}  {interval}")
    lost = results["unreadable"]["n"]
    asked = f"{plural(results['n'], 'question')}, {plural(results['patients'], 'patient')}"
    print(f"{asked}; shares in percent; malformed {100 * results['malformed']:.1f}%")
    if lost:
        print(f"{plural(lost, 'question')} could not be read and counted in no mean; results.json says why, --again asks again")
    if results["left_out"]:
        print("not asked: " + ", ".join(f"{n} because {reason}" for reason, n in results["left_out"].items()))
    print(f"wrote {page}")
