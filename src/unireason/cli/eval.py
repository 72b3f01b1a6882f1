"""``unireason eval``: measure a model on questions; one file a kind of measurement."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.bridges import KITS
from unireason.core.errors import keeping
from unireason.core.store import json_text

from .ask import PENALTY, WINDOWS, add_expert, add_machine, expert_of, is_chat, model_of, profiled_model, tell_model

if TYPE_CHECKING:
    from unireason.core.types import Case, Stack, Trace
    from unireason.evaluate.store import AskSettings
    from unireason.evaluate.suites.base import Suite


def add_parser(subparsers: Any) -> None:
    """Add the command and its kinds to an ``argparse`` subparsers object; each kind sets ``run``."""
    parser: argparse.ArgumentParser = subparsers.add_parser("eval", help="measure a model", description="Measure a model.")
    below = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    from .compare import add_compare
    from .evidence import add_consistency, add_evidence

    for add in (add_run, add_evidence, add_export, add_consistency, add_ground, add_compare):
        add(below)


# --- The questions of an evaluation and the model that answers them: arguments that all kinds share.


PHANTOM_QUESTIONS = 500


def add_suite(group: Any) -> None:
    """Which questions; ``suite_of`` understands them."""
    group.add_argument("--suite", metavar="NAME", default="phantom", help="which questions (default phantom)")
    group.add_argument("--data", metavar="DIR", type=Path, help="folder of the suite's files")
    group.add_argument("--split", default="", help="split of the suite (default: the one meant for evaluation)")
    group.add_argument(
        "--option",
        metavar="K=V",
        action="append",
        default=[],
        help="an option of the suite, such as kind=volume; may be repeated",
    )
    group.add_argument("--questions", metavar="N", type=int, help="questions at most (phantom: default 500; else all)")
    group.add_argument("--seed", metavar="S", type=int, default=0, help="seed of all that is drawn (default 0)")


def add_model(group: Any) -> None:
    """Which model."""
    group.add_argument("--model", metavar="REF", default="phantom", help="phantom (built in), a folder or a hub id")
    group.add_argument("--prompts", metavar="PROFILE", help="prompt profile: a TOML file or a built-in name")
    group.add_argument("--window", help=f"{WINDOWS} (default: the profile's)")


def add_skip(group: Any) -> None:
    """How many questions may stay without an answer."""
    group.add_argument(
        "--skip", metavar="SHARE", type=float, default=0.01, help="share of questions whose case may be unreadable (default 0.01)"
    )


def add_again(group: Any) -> None:
    """Whether those are asked that could not be asked before."""
    group.add_argument("--again", action="store_true", help="ask again what could not be read; what was answered stays")


def kept_answers(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Around the asking: one who interrupts it is told what is kept."""
    return keeping(f"the answers so far are kept in '{args.out}'; the same command goes on with the rest")


def settings_of(args: argparse.Namespace, count: int | None) -> AskSettings:
    """Settings of an evaluation that leaves out what cannot be read."""
    from unireason.evaluate.store import AskSettings

    return AskSettings(count=count, seed=args.seed, skip=args.skip, again=args.again)


def suite_of(args: argparse.Namespace) -> tuple[Suite, int | None]:
    """The suite, and questions at most. Phantoms are made for the model's frame, half of the questions of each kind."""
    from unireason.core.errors import FormatError
    from unireason.evaluate.suites.base import open_suite
    from unireason.model.files import underneath

    if args.seed < 0 or (args.questions is not None and args.questions < 1):
        raise FormatError(f"seed {args.seed} and {args.questions} questions", "a seed of at least 0 and at least 1 question")
    options = _options(args.option)
    if args.suite != "phantom":
        return open_suite(args.suite, args.data, split=args.split, options=options), args.questions
    count = args.questions or PHANTOM_QUESTIONS
    each = count if options.get("kind", "both") != "both" else (count + 1) // 2
    made = {
        "seed": str(args.seed),
        "questions": str(each),
        "frame": "published" if is_chat(args) else str(underneath(args.model)),
    }
    return open_suite(args.suite, args.data, split=args.split, options={**made, **options}), count


def opened(args: argparse.Namespace, suite: Suite) -> dict[str, Any]:
    """How ``suite_of`` opened a suite, for a manifest; names of folders in place of whole paths."""
    options = {key: Path(value).name if Path(value).is_absolute() else value for key, value in _options(args.option).items()}
    return {
        "data": args.data.resolve().name if args.data else "",
        "split": getattr(suite, "split", None) or args.split,
        "suite_options": options,
    }


def _options(given: list[str]) -> dict[str, str]:
    from unireason.core.errors import FormatError

    found = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise FormatError(f"the option {text!r}", "KEY=VALUE such as kind=volume")
        found[key] = value
    return found


# --- ``unireason eval run``: how well does a model answer the questions of a suite?


LONGEST = 256
"""Pixels of a picture's longer side at most."""


def add_run(subparsers: Any) -> None:
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
    group = parser.add_argument_group("how to ask")
    group.add_argument("--samples", metavar="N", type=int, help="answers a question (default 1, or as many as vote)")
    group.add_argument("--vote", metavar="K", type=int, default=0, help="the most frequent of the first K answers stands")
    group.add_argument("--temperature", type=float, help="0 is greedy (default 0 for one sample, 0.7 for several)")
    group.add_argument("--top-p", type=float, default=1.0, help="nucleus sampling")
    group.add_argument("--repetition-penalty", metavar="P", type=float, help=PENALTY)
    group.add_argument("--max-looks", metavar="N", type=int, help="looks at most")
    group.add_argument("--max-new-tokens", metavar="N", type=int, help="tokens at most")
    group.add_argument(
        "--crop-source", choices=("model", "native", "none", "published"), help="what a look shows (default: the profile's)"
    )
    add_skip(group)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", type=Path, default=Path("run"), help="where to write (default run)")
    add_again(output)
    output.add_argument("--no-pictures", action="store_true", help="draw no picture of each question")
    output.add_argument("--json", action="store_true", help="print one JSON object with the results")
    parser.set_defaults(run=run_run)


def run_run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.evaluate.benchmark import RunSettings, rows_of
    from unireason.evaluate.benchmark import run as ask
    from unireason.evaluate.scoring import EXTRACTORS
    from unireason.report.html import plural
    from unireason.report.run import PAGE, write_run

    from .ask import bar, status
    from .evidence import print_results

    drawn = ("samples", "vote", "temperature", "top_p", "repetition_penalty", "seed", "max_looks", "max_new_tokens")
    names = (*drawn, "crop_source", "skip", "again")
    asked = RunSettings.filled(count=args.questions, **{name: getattr(args, name) for name in names})
    with status("opening model and questions", quiet=args.json):
        suite, count = suite_of(args)
        reasoner = profiled_model(args)
    samples = f", {plural(asked.samples, 'sample')} each"
    tell_model(
        reasoner, f"{'all questions' if count is None else plural(count, 'question')} of {args.suite}{samples}", quiet=args.json
    )
    draw = None if args.no_pictures else picture
    with kept_answers(args), bar("questions", quiet=args.json) as progress:
        given = {"prompts": Path(args.prompts).name if args.prompts else "", "window": args.window}
        told = {**{name: value for name, value in given.items() if value}, **opened(args, suite)}
        settings = replace(asked, count=count, opened=told)
        results = ask(reasoner, suite, args.out, settings=settings, draw=draw, progress=progress)
    with status("writing the page", quiet=args.json):
        rules = {name: extractor.rule for name, extractor in EXTRACTORS.items()}
        report = write_run(results, partial(rows_of, args.out), args.out, rules=rules)
    print_results(args, results, report, args.out / PAGE)
    return 0


def picture(trace: Trace, case: Case, stack: Stack) -> bytes:
    """The slice that a trace opens with and its boxes, as PNG of at most 256 pixels a side."""
    from unireason.report.html import png
    from unireason.report.pictures import thumbnail

    drawn = thumbnail(trace, case, stack, height=LONGEST)
    drawn.thumbnail((LONGEST, LONGEST))
    return png(drawn)


# --- ``unireason eval ground``: how well are implicit questions answered by a place, and outlined by a frozen expert?


PAGE, TEXT = "report.html", "report.md"


def add_ground(subparsers: Any) -> None:
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
    parser.set_defaults(run=run_ground)


def run_ground(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.core.errors import FormatError
    from unireason.core.store import write_bytes
    from unireason.evaluate.pointing import GroundingSettings, evaluate, examples
    from unireason.evaluate.suites.grounding import open_pointing
    from unireason.grounding.profile import load_profile
    from unireason.model.files import underneath
    from unireason.report.document import as_markdown, write_html
    from unireason.report.html import plural
    from unireason.report.pointing import pointing_document

    from .ask import bar, status
    from .evidence import print_results

    if args.seed < 0 or (args.questions is not None and args.questions < 1):
        raise FormatError(f"seed {args.seed} and {args.questions} questions", "a seed of at least 0 and at least 1 question")
    count = None if args.suite == "phantom" else args.questions  # phantoms are made as many as are wanted: none has to be chosen
    settings = GroundingSettings(count, args.seed, args.samples, args.temperature, _hash(args), args.again, args.max_new_tokens)
    expert = expert_of(args)
    with status("opening model and questions", quiet=args.json):
        options = {}
        if args.suite == "phantom":  # made for the model's frame
            options = {"seed": str(args.seed), "frame": "published" if is_chat(args) else str(underneath(args.model))}
            options |= {"questions": str(args.questions)} if args.questions else {}
        suite = open_pointing(args.suite, args.data, split=args.split, options=options)
        total = settings.count or sum(1 for _ in suite.entries())
        reasoner = model_of(args, **({"grounding": load_profile(args.prompts)} if args.prompts else {}))
    tell_model(reasoner, f"{plural(total, 'question')} of {args.suite}, {plural(args.samples, 'sample')} each", quiet=args.json)
    with kept_answers(args), bar("questions", total, quiet=args.json) as progress:
        found = evaluate(reasoner, suite, expert, args.out, settings=settings, progress=progress)
    with status("writing the page", quiet=args.json):
        document = pointing_document(found.results, *examples(found, suite, expert, reasoner))
        page = write_html(document, args.out / PAGE)
        write_bytes(args.out / TEXT, as_markdown(document).encode())
    print_results(args, found.results, document, page)
    return 0


def _hash(args: argparse.Namespace) -> str:
    """SHA-256 over the hashes of the expert's files of weights; "" without weights."""
    from hashlib import sha256

    from unireason.core.store import sha256 as of_file

    if args.expert == "classical" or args.weights is None:
        return ""
    from unireason.segment.networks import folder_of

    files = sorted(folder_of(args.weights).glob("*.safetensors"))
    return sha256("".join(of_file(path) for path in files).encode()).hexdigest()


# --- ``unireason eval export``: the questions of a suite for another evaluation kit.


def add_export(subparsers: Any) -> None:
    """Add the kind to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "export",
        help="write a suite for VLMEvalKit or lmms-eval",
        description="Write the questions of a suite with their pictures for another evaluation kit.",
        epilog="Research only, not a medical device.",
    )
    add_suite(parser)
    parser.add_argument("--to", choices=KITS, required=True, help="the kit")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    parser.add_argument(
        "--frame",
        metavar="REF",
        help="slices and size of volumes: published, phantom or a checkpoint folder (default published; phantom: phantom)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_export, model="phantom")  # whose frame phantoms have unless --frame says otherwise


def run_export(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.bridges.export import export
    from unireason.data.frames import rule

    from .ask import bar, status

    frame = args.frame or ("phantom" if args.suite == "phantom" else "published")
    if args.suite == "phantom":
        args.option = [f"frame={frame}", *args.option]
    with status("opening the questions", quiet=args.json):
        suite, count = suite_of(args)
        total = count or sum(1 for _ in suite.entries())
    with bar("questions", total, quiet=args.json) as progress:
        done = export(suite, args.to, args.out, frame=rule(frame), count=count, progress=progress)
    if args.json:
        told = {"kit": done.kit, "name": done.name, "questions": done.questions, "pictures": done.pictures}
        print(json_text({"folder": str(args.out), **told}))
    else:
        said = ", ".join(f"{number:,} {kind}" for kind, number in done.questions.items())
        print(f"{args.out}: {done.name}, questions: {said}; {done.pictures:,} pictures")
    return 0
