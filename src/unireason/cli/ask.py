"""``unireason ask FILE -q TEXT``: ask a scan and see the evidence."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

TAIL = 70  # characters of the model's text shown while it thinks

if TYPE_CHECKING:
    from unireason.engine.reasoner import Question, Reasoner
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
    _add_read(parser.add_argument_group("how to read the file"))
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the trace as JSON (a list for several traces)")
    output.add_argument("--crops", choices=("none", "png"), default="none", help="put the crops into the JSON")
    output.add_argument("--report", metavar="FILE.html", type=Path, help="write a page that shows the trace")
    output.add_argument("--save", metavar="DIR", type=Path, help="write traces, pages, pictures and crops into a folder")
    parser.set_defaults(run=run)


def _add_how(group: Any) -> None:
    group.add_argument(
        "--window", default="auto", help="auto, soft-tissue, lung, bone, brain, stored, minmax, percentile or LEVEL,WIDTH"
    )
    group.add_argument("--slices", metavar="D", type=int, help="slices shown to the model (default: the profile's)")
    group.add_argument("--samples", metavar="N", type=int, default=1, help="answers a question (with --temperature above 0)")
    group.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    group.add_argument("--top-p", type=float, default=1.0, help="nucleus sampling")
    group.add_argument("--seed", type=int, default=0, help="seed of the first sample")
    group.add_argument(
        "--crop-source",
        choices=("model", "native"),
        default="model",
        help="cut regions from the model frame or from source pixels",
    )
    group.add_argument("--max-looks", metavar="N", type=int, help="looks at most")
    group.add_argument("--max-new-tokens", metavar="N", type=int, help="tokens at most")
    group.add_argument("--device", help="torch device (default: CUDA where there is one)")
    group.add_argument("--dtype", choices=("bf16", "fp32"), help="number type of the weights")
    group.add_argument("--threads", metavar="N", type=int, help="torch threads")


def _add_read(group: Any) -> None:
    group.add_argument("--modality", help="DICOM modality code that replaces the file's, such as CT or MR")
    group.add_argument("--axes", help="axes of an npy array, slowest first, such as zyx or xyz")
    group.add_argument("--spacing", metavar="X,Y[,Z]", help="voxel size in mm, for files that carry none")
    group.add_argument("--series", help="which series of a DICOM folder: UID or number")
    group.add_argument("--frame", metavar="N", type=int, help="which frame of a 4-D volume or cine")
    group.add_argument("--max-voxels", metavar="N", type=int, help="raise or lower the size limit")


def read_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``unireason.read`` from the parsed arguments.

    Raises:
        FormatError: If the spacing is not a list of numbers.
    """
    from dataclasses import replace

    from unireason.errors import FormatError
    from unireason.imaging import Limits

    found: dict[str, Any] = {"modality": args.modality, "axes": args.axes, "series": args.series, "frame": args.frame}
    if args.spacing:
        try:
            found["spacing_mm"] = tuple(float(v) for v in args.spacing.split(","))
        except ValueError as error:
            raise FormatError(f"the spacing is {args.spacing!r}", "numbers in mm such as 0.7,0.7,2.5") from error
    if args.max_voxels is not None:
        found["limits"] = replace(Limits(), max_voxels=args.max_voxels)
    return {k: v for k, v in found.items() if v is not None}


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when every question got an answer, 1 when one stayed without."""
    from unireason.engine.reasoner import Question, load
    from unireason.errors import FormatError
    from unireason.imaging import read

    if not args.questions:
        raise FormatError("there is no question", "at least one -q TEXT")
    questions = [Question(text, tuple(options)) for text, options in args.questions]
    profile = None
    if args.prompts:
        from unireason.grounding.prompts import load_profile

        profile = load_profile(args.prompts)
    from .progress import status

    with status("reading", quiet=args.json):
        case = read(args.file, **read_options(args))
    with status(f"loading {args.model}", quiet=args.json):
        reasoner = load(args.model, device=args.device, dtype=args.dtype, profile=profile, threads=args.threads)
    traces = _ask(reasoner, case, questions, args)
    flat = [t for group in traces for t in group]
    _print(flat, case, args)
    if args.report or args.save:
        _write(reasoner, case, flat, args)
    return 0 if all(t.answer.text for t in flat) else 1


def _ask(reasoner: Reasoner, case: Case, questions: Sequence[Question], args: argparse.Namespace) -> list[list[Trace]]:
    from unireason.engine.sampling import Sampling

    from .progress import status

    how: dict[str, Any] = {
        "sampling": Sampling(temperature=args.temperature, top_p=args.top_p, seed=args.seed),
        "samples": args.samples,
        "window": args.window,
        "slices": args.slices,
        "crop_source": args.crop_source,
    }
    how |= {k: v for k, v in (("max_looks", args.max_looks), ("max_new_tokens", args.max_new_tokens)) if v is not None}
    with status("thinking", quiet=args.json) as say:
        written = ""

        def on_token(row: int, token: int, text: str) -> None:
            nonlocal written
            if row == 0:
                written = (written + text)[-TAIL:]
                say(f"thinking: {' '.join(written.split()).replace('[', '(').replace(']', ')')}")

        return reasoner.ask_many(case, questions, on_token=on_token, **how)


def _print(traces: Sequence[Trace], case: Case, args: argparse.Namespace) -> None:
    if args.json:
        from unireason.grounding.trace import to_json

        found = [to_json(t, crops=args.crops) for t in traces]
        print(json.dumps(found[0] if len(found) == 1 else found))
        return
    from unireason.report.text import lines

    for note in case.notes:
        print(f"note: {note}", file=sys.stderr)
    for trace in traces:
        print("\n".join(lines(trace)) + "\n")


def _write(reasoner: Reasoner, case: Case, traces: Sequence[Trace], args: argparse.Namespace) -> None:
    from unireason.report.folder import save_report, save_traces

    stack = reasoner.stack(case, window=args.window, slices=args.slices)
    written = []
    if args.report:
        written.append(save_report(args.report, traces, case, stack))
    if args.save:
        written.append(save_traces(args.save, traces, case, stack))
    for path in written:
        print(f"wrote {path}", file=sys.stderr)
