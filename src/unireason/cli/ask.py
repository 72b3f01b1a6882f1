"""``unireason ask FILE -q TEXT``: ask a scan and see the evidence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.files import json_text

from .asking import (
    add_machine,
    add_read,
    add_sampling,
    add_window,
    asking_options,
    read_options,
    tell_copies,
    tell_model,
    thinking,
)
from .experts import EXPERTS, add_expert, expert_of

if TYPE_CHECKING:
    from unireason.engine.reasoner import Question, Reasoner
    from unireason.report.findings import Findings
    from unireason.segment.expert import Expert
    from unireason.types import Case, Trace


class _Question(argparse.Action):
    """``-q`` opens a question."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.questions = [*(namespace.questions or []), (values, [])]


class _Option(argparse.Action):
    """``-o`` adds an option to the question before it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if not namespace.questions:
            parser.error("-o must come behind the -q that it belongs to")
        namespace.questions[-1][1].append(values)


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "ask",
        help="ask a question about an image or a volume",
        description="Ask an image or a volume. The answer comes with the regions that the model looked at.",
        epilog="Research only, not a medical device.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="image, volume, or folder with a DICOM series")
    parser.add_argument(
        "-q", "--question", metavar="TEXT", action=_Question, dest="questions", help="a question; may be repeated"
    )
    parser.add_argument("-o", "--option", metavar="TEXT", action=_Option, help="an answer option of the question before it")
    parser.add_argument("--model", metavar="REF", default="phantom", help="phantom (built in), a folder or a hub id")
    parser.add_argument("--prompts", metavar="PROFILE", help="prompt profile: a TOML file or a built-in name")
    _add_how(parser.add_argument_group("how to ask"))
    add_read(parser.add_argument_group("how to read the file"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--json",
        action="store_true",
        help="print the trace as JSON (a list for several traces); with --mask {trace, masks, scope}",
    )
    output.add_argument("--crops", choices=("none", "png"), default="none", help="put the crops into the JSON")
    output.add_argument("--report", metavar="FILE.html", type=Path, help="write a page that shows the trace")
    output.add_argument("--save", metavar="DIR", type=Path, help="write traces, pages, pictures and crops into a folder")
    masks = parser.add_argument_group("masks")
    masks.add_argument("--mask", action="store_true", help="outline what lies in every region that was looked at")
    add_expert(masks)
    parser.set_defaults(run=run)


def _add_how(group: Any) -> None:
    add_window(group)
    group.add_argument("--slices", metavar="D", type=int, help="slices shown to the model (default: the profile's)")
    group.add_argument("--samples", metavar="N", type=int, default=1, help="answers a question (with --temperature above 0)")
    add_sampling(group)
    group.add_argument(
        "--crop-source",
        choices=("model", "native", "none"),
        help="what looks show: regions of the model frame, of source pixels, or nothing (default: the profile's)",
    )
    group.add_argument("--max-looks", metavar="N", type=int, help="looks at most")
    add_machine(group)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when every question got an answer, 1 when one stayed without."""
    from unireason.engine.reasoner import Question, load
    from unireason.errors import FormatError
    from unireason.imaging import read
    from unireason.report.markup import plural

    if not args.questions:
        raise FormatError("there is no question", "at least one -q TEXT")
    if not args.mask and (args.weights or args.expert != EXPERTS[0]):
        raise FormatError(f"the expert {args.expert} without --mask", "--mask with --expert and --weights")
    questions = [Question(text, tuple(options)) for text, options in args.questions]
    profile = None
    if args.prompts:
        from unireason.grounding.prompts import load_profile

        profile = load_profile(args.prompts)
    from .progress import status

    with status("reading", quiet=args.json):
        case = read(args.file, **read_options(args))
    expert = expert_of(args) if args.mask else None
    with status(f"loading {args.model}", quiet=args.json):
        reasoner = load(args.model, device=args.device, dtype=args.dtype, profile=profile, threads=args.threads)
    samples = f", {args.samples} samples each" if args.samples > 1 else ""
    traces = _ask(reasoner, case, questions, args)
    tell_model(reasoner, f"{plural(len(questions), 'question')}{samples}", quiet=args.json)
    tell_copies(args.samples, args.temperature)
    flat = [t for group in traces for t in group]
    findings = _outline(flat, case, expert, args) if expert else None
    _print(flat, case, findings, args)
    if args.report or args.save:
        _write(reasoner, case, flat, findings, args)
    return 0 if all(t.answer.text for t in flat) else 1


def _ask(reasoner: Reasoner, case: Case, questions: Sequence[Question], args: argparse.Namespace) -> list[list[Trace]]:
    how = {"samples": args.samples, "slices": args.slices, "crop_source": args.crop_source, "max_looks": args.max_looks}
    with thinking(quiet=args.json) as on_token:
        return reasoner.ask_many(case, questions, on_token=on_token, **how, **asking_options(args))


def _outline(traces: Sequence[Trace], case: Case, expert: Expert, args: argparse.Namespace) -> list[Findings]:
    """Masks of every trace, written if a folder was named."""
    from unireason.engine.pointing import masks_of
    from unireason.report.findings import Findings
    from unireason.report.folder import save_masks
    from unireason.report.regions import measured

    from .progress import status

    with status("outlining", quiet=args.json):
        found = [measured(masks_of(trace, case, expert), case) for trace in traces]
    if args.save:
        found = [save_masks(args.save, f"trace-{n}-mask", regions, case) for n, regions in enumerate(found, start=1)]
    return [Findings(regions=regions) for regions in found]


def _print(traces: Sequence[Trace], case: Case, findings: Sequence[Findings] | None, args: argparse.Namespace) -> None:
    from unireason.report.caution import of_traces, tell
    from unireason.report.regions import region_json
    from unireason.report.text import lines, region_lines

    found = [f.regions for f in findings] if findings else [()] * len(traces)
    tell(of_traces(traces))
    if args.json:
        from unireason.grounding.trace import to_json

        written: list[dict[str, Any]] = [to_json(t, crops=args.crops) for t in traces]
        if findings is not None:
            written = [
                {"trace": t, "masks": [region_json(r) for r in rs], "scope": t["scope"]}
                for t, rs in zip(written, found, strict=True)
            ]
        print(json_text(written[0] if len(written) == 1 else written))
        return
    for note in case.notes:
        print(f"note: {note}", file=sys.stderr)
    for trace, regions in zip(traces, found, strict=True):
        said = [line for region in regions for line in region_lines(region, case)]
        print("\n".join([*lines(trace), *said]) + "\n")


def _write(
    reasoner: Reasoner, case: Case, traces: Sequence[Trace], findings: Sequence[Findings] | None, args: argparse.Namespace
) -> None:
    from unireason.report.folder import save_report, save_traces

    stack = reasoner.stack(case, window=args.window, slices=args.slices)
    written = []
    if args.report:
        written.append(save_report(args.report, traces, case, stack, findings=findings))
    if args.save:
        written.append(save_traces(args.save, traces, case, stack, findings=findings))
    for path in written:
        print(f"wrote {path}", file=sys.stderr)
