"""``unireason segment FILE --box …``: a frozen expert alone, from a box or points to a mask on the grid of the file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError
from unireason.core.store import json_text

from .ask import SPACES, Typed, add_expert, add_file, add_read, expert_of, numbers, prompt_of, read_case, status, tell_notes

if TYPE_CHECKING:
    from unireason.core.types import Case
    from unireason.segment.expert import Prompt, Segmentation


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "segment",
        help="outline what lies in a box",
        description=(
            "Outline the structure in a box or under points, in an image or a volume, with a frozen expert; no model reasons. Exits 1 if "
            "nothing was found."
        ),
        epilog="Where the first number is negative write --box=-40,… and --point=-40,…. Research only, not a medical device.",
    )
    add_file(parser)
    where = parser.add_argument_group("where")
    where.add_argument("--box", metavar="X1,Y1[,Z1],X2,Y2[,Z2]", help="lower corner, upper corner; half-open")
    where.add_argument(
        "--point", metavar="X,Y[,Z]", action="append", default=[], dest="points", help="a place inside; may be repeated"
    )
    where.add_argument(
        "--space",
        choices=SPACES,
        default="voxel",
        help="voxel (the file's own index order, default), model (the frame of the built-in profile) or world (LPS mm)",
    )
    where.add_argument("--slice", metavar="K", type=int, help="slice of a volume, in the same space, on which a rectangle lies")
    where.add_argument("--propagate", action="store_true", help="follow what is found on that slice through the volume")
    how = parser.add_argument_group("how to outline")
    add_expert(how)
    how.add_argument("--device", help="torch device of the expert (default: CUDA where there is one)")
    add_read(parser.add_argument_group("how to read the file"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", metavar="MASK", type=Path, help="file to write: .nii.gz, .nii, .nrrd, .mha, for images also .png"
    )
    output.add_argument(
        "--dicom", action="store_true", help="of a DICOM source also a segmentation and a measurement report, beside the mask"
    )
    output.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 if a mask was found, 1 if it is empty."""
    from unireason.data.frames import rule
    from unireason.segment.expert import checked

    if args.dicom and args.out is None:
        raise FormatError("--dicom without a place to write to", "--out MASK")
    box = None if args.box is None else numbers(args.box, "box")
    points = tuple(numbers(text, "point") for text in args.points)
    typed = Typed(box, points, args.space, args.slice, args.propagate)
    case = read_case(args)
    prompt = checked(case, prompt_of(case, typed, frame=rule("phantom").frame(case.geometry.shape)))
    with status(f"outlining with {args.expert}", quiet=args.json):
        (found,) = expert_of(args).segment(case, [prompt])
    if args.out is not None:
        from unireason.imaging.write_masks import write_mask

        write_mask(args.out, found.mask, case)
    result = _result(case, prompt, found, args)
    if args.dicom and found.mask.any():
        from unireason.report.grounded import write_dicom

        result["dicom"] = [str(p) for p in write_dicom(args.out, found.mask, result["statistics"], case, source=args.file)]
    print(json_text(result) if args.json else "\n".join(_lines(result)))
    if not args.json:
        tell_notes(case.notes)
    return 0 if found.mask.any() else 1


def _result(case: Case, prompt: Prompt, found: Segmentation, args: argparse.Namespace) -> dict[str, Any]:
    """Plain JSON values. Boxes and points are in the file's own index order, slices are canonical."""
    from scipy.ndimage import find_objects

    from unireason.imaging.geometry import canonical_box_to_voxel, canonical_to_voxel, voxel_to_world_bounds
    from unireason.metrics.regions import region_statistics

    asked = None
    if prompt.box is not None:
        box, k = prompt.box.coords, prompt.slice  # a rectangle on a slice is one slice thick
        asked = canonical_box_to_voxel(box if k is None else (*box[:2], float(k), *box[2:], float(k + 1)), case.geometry)
    blocks = find_objects(found.mask.astype("uint8"))
    around = blocks[0][::-1] if blocks else ()
    ends = [float(end) for end in (*(s.start for s in around), *(s.stop for s in around))]
    level = () if prompt.slice is None else (prompt.slice + 0.5,)
    return {
        "file": case.source.name,
        "expert": args.expert,
        "box_voxel": asked,
        "box_world_mm": None if asked is None else voxel_to_world_bounds(asked, case.geometry),
        "points_voxel": [canonical_to_voxel((*point, *level), case.geometry) for point in prompt.points],
        "slice": prompt.slice,
        "propagated": prompt.propagate,
        "mask": None if args.out is None else str(args.out),
        "score": found.score,
        "gaps": list(found.gaps),
        "notes": list(found.notes),
        "mask_box_voxel": canonical_box_to_voxel(tuple(ends), case.geometry) if ends else None,
        "statistics": region_statistics(found.mask, case),
    }


def _lines(result: dict[str, Any]) -> list[str]:
    """The result as text."""
    from unireason.report.html import plural

    size = result["statistics"]
    measures = {"volume_ml": "ml", "area_mm2": "mm2", "diameter_mm": "mm across", "mean": "mean intensity"}
    told = [f"{size[key]:.4g} {unit}" for key, unit in measures.items() if size.get(key) is not None]
    found = ", ".join([plural(size["voxels"], "voxel"), *told])
    lines = [
        f"{result['expert']}: {found}; score {result['score']:.2f}" if size["voxels"] else f"{result['expert']}: nothing found"
    ]
    lines += [f"  {note}" for note in result["notes"]]
    return [*lines, *(f"  wrote {path}" for path in (result["mask"], *result.get("dicom", ())) if path)]
