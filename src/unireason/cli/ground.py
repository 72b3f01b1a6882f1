"""``unireason ground FILE -q TEXT``: an implicit question answered by a place, outlined by a frozen expert."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError
from unireason.core.store import json_text

from .ask import (
    add_asking,
    add_expert,
    add_file,
    add_model,
    add_read,
    asking_options,
    expert_of,
    load_model,
    read_case,
    status,
    tell_model,
    tell_notes,
    thinking,
)

if TYPE_CHECKING:
    from unireason.core.types import Case


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "ground",
        help="find the place that a question describes, and outline it",
        description="Ask an image, a slice or a whole volume an implicit question. A model answers it by a box and two points, and a "
        "frozen expert outlines what lies there. The mask has the grid of the file.",
        epilog="Research only, not a medical device. Exit codes: 0 found, 1 no usable box, 2 bad input.",
    )
    add_file(parser)
    parser.add_argument("-q", "--question", metavar="TEXT", required=True, help="describes a structure; it need not name it")
    add_model(parser, "prompt profile of implicit questions")
    parser.add_argument(
        "--slice",
        metavar="K",
        type=int,
        help="of a volume: index along the axis of the file that runs nearest to feet-head, from 0 (default: the middle)",
    )
    parser.add_argument("--propagate", action="store_true", help="follow the mask into the other slices of a volume")
    parser.add_argument("--volume", action="store_true", help="ask about a whole volume; the answer is a cuboid and two points")
    add_expert(parser.add_argument_group("expert"))
    add_asking(parser.add_argument_group("how to ask"))
    add_read(parser.add_argument_group("how to read the file"))
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--out", metavar="DIR", type=Path, help="write mask, picture, page, trace and statistics into a folder")
    output.add_argument("--dicom", action="store_true", help="of a DICOM source also a segmentation and a measurement report")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when a place was found, 1 when the answer holds no usable box."""
    from unireason.data.regions import picture
    from unireason.engine.masks import masks_of, target
    from unireason.report.grounded import GroundedPage, grounded_json, save, save_dicom
    from unireason.report.html import of_traces, tell
    from unireason.report.text import lines, region_lines, target_lines
    from unireason.report.trace import measured

    if args.dicom and not args.out:
        raise FormatError("--dicom without a folder to write to", "--out DIR")
    case = read_case(args)
    k, note = _slice(case, args)
    expert = expert_of(args)
    reasoner = load_model(args, role="grounding")
    begun = time.perf_counter()
    shown = case if k is None else picture(case, k)
    with thinking(quiet=args.json) as on_token:
        trace = reasoner.ground(shown, args.question, on_token=on_token, **asking_options(args))
    answered = time.perf_counter()
    with status("outlining", quiet=args.json):
        marked = masks_of(trace, case, expert, slice=k, propagate=args.propagate)
    seconds = {"answer": round(answered - begun, 3), "mask": round(time.perf_counter() - answered, 3)}
    found = GroundedPage(trace, case, target(trace, case, slice=k), measured(marked, case), expert.name, seconds)
    tell_model(reasoner, "1 question", quiet=args.json)
    notes = [*case.notes, *note]
    if args.out:
        found = save(found, args.out, window=args.window or reasoner.checkpoint.grounding.window, notes=notes)
        if args.dicom:
            save_dicom(found, args.out, source=args.file)
    tell(of_traces([found.trace]))
    if args.json:
        print(json_text(grounded_json(found, folder=args.out, notes=notes)))
    else:
        tell_notes(notes)
        said = [line for region in found.regions for line in region_lines(region, case)]
        print("\n".join([*lines(found.trace), *target_lines(found.target), *said]))
        if args.out:
            print(f"wrote {args.out}", file=sys.stderr)
    return 0 if found.target.model.box else 1


def _slice(case: Case, args: argparse.Namespace) -> tuple[int | None, list[str]]:
    """The canonical slice of a volume that is asked about, and what is to be said of it."""
    if case.kind == "image":
        if args.slice is not None or args.propagate or args.volume:
            came = "a slice was named, or is to be left, or a volume asked about, and the file is an image"
            raise FormatError(came, "none of --slice, --propagate and --volume")
        return None, []
    if args.volume:
        if args.slice is not None or args.propagate:
            raise FormatError("--volume with --slice or --propagate", "the whole volume, or one of its slices")
        return None, []
    depth, flipped = case.geometry.shape[0], case.geometry.flips[2]
    wanted = depth // 2 if args.slice is None else args.slice
    if not 0 <= wanted < depth:
        raise FormatError(f"slice {wanted} was asked for", f"0 to {depth - 1}")
    axis = "ijk"[case.geometry.order[2]]
    chosen = "" if args.slice is not None else ", the middle one; --slice chooses another"
    return depth - 1 - wanted if flipped else wanted, [f"asked about slice {axis} = {wanted} of 0 to {depth - 1}{chosen}"]
