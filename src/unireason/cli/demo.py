"""``unireason demo``: the main job on phantom patients, with the built-in checkpoint."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.files import Scratch, json_text

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner
    from unireason.evaluate.heldout import Asked

SHOWN = 6  # traces of each kind that get a page
PARTS = ("right anterior", "left anterior", "right posterior", "left posterior")


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "demo",
        help="ask and score phantom patients with the built-in checkpoint",
        description="Read phantom patients from files, build an examination, ask 2D and 3D questions, score them, write pages.",
        epilog="Research only, not a medical device.",
    )
    parser.add_argument("--seed", type=int, default=0, help="which examination; nothing was trained on its patients (default 0)")
    parser.add_argument("--questions", metavar="N", type=int, default=60, help="questions of each kind, 2D and 3D (default 60)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("demo"), help="where to write (default demo)")
    parser.add_argument("--model", metavar="REF", default="phantom", help="phantom (built in), a folder or a hub id")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the scores")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.data.frames import rule
    from unireason.engine.reasoner import load
    from unireason.errors import FormatError
    from unireason.evaluate.card import KINDS
    from unireason.evaluate.heldout import EXAM, evaluate, make_exam, summary
    from unireason.model.files import locate
    from unireason.model.scope import told
    from unireason.report.caution import of_results, tell

    from .progress import bar, status

    if args.questions < 1 or args.seed < 0:
        raise FormatError(f"seed {args.seed} and {args.questions} questions", "a seed of at least 0 and at least 1 question")
    begun = time.perf_counter()
    with status("loading the model", quiet=args.json):
        reasoner = load(args.model)
    _files(reasoner, args)
    found: dict[str, list[Asked]] = {}
    with Scratch(EXAM) as folder:
        with status("building the examination", quiet=args.json):
            exam = make_exam(args.seed, args.questions, folder / "exam", frame=rule(str(locate(args.model))))
        for key, kind in KINDS:
            with bar(f"{key} questions", args.questions, quiet=args.json) as progress:
                found[key] = evaluate(reasoner, exam, kind=kind, count=args.questions, progress=progress)
    scores: dict[str, Any] = {key: summary(asked) for key, asked in found.items()}
    scores["checkpoint"] = {"name": reasoner.checkpoint.name, "sha256": reasoner.checkpoint.sha256}
    scores["seconds"] = round(time.perf_counter() - begun, 1)
    scores["scope"] = told(reasoner.checkpoint.scope, [one.trace.scope.remarks for asked in found.values() for one in asked])
    _pages(reasoner, found, scores, args.out)
    tell(of_results({**scores["2d"], "scope": scores["scope"]}))
    if args.json:
        print(json_text(scores))
    else:
        _table(scores, args.out)
    return 0


def _files(reasoner: Reasoner, args: argparse.Namespace) -> None:
    """One patient of each format, read back from its files and asked as a user would; prints the traces."""
    from unireason.data.ask.phrases import KINDS, PHRASES, TERMS
    from unireason.data.sources.phantom_files import FORMATS, write_patients
    from unireason.imaging import read
    from unireason.report.text import lines

    inside = {"nifti": "image.nii.gz", "dicom": "dicom", "png": "image.png"}
    for form in FORMATS:
        folder = write_patients(args.out / "patients" / form, count=1, seed=args.seed, form=form)[0]
        name = _largest(json.loads((folder / "structures.json").read_text()))
        case = read(folder / inside[form])
        wording = {"kind": KINDS[case.kind][0], "x": f"the {name}", "terms": TERMS["patient"][0]}
        trace = reasoner.ask(case, PHRASES["quadrant"][0].format(**wording), options=PARTS)
        if not args.json:
            print(f"{folder / inside[form]}\n" + "\n".join(lines(trace)) + "\n")


def _largest(record: dict[str, Any]) -> str:
    """The largest structure of a patient whose name does not tell its side."""
    unsided = [s for s in record["structures"] if not s["name"].startswith(("left", "right"))]
    return str(max(unsided or record["structures"], key=lambda s: s.get("volume_mm3") or s.get("area_mm2"))["name"])


def _pages(reasoner: Reasoner, found: dict[str, list[Asked]], scores: dict[str, Any], out: Path) -> None:
    from unireason.files import write_bytes
    from unireason.grounding.trace import to_json
    from unireason.report.figures import write_overlay
    from unireason.report.folder import shown_pictures
    from unireason.report.index import Entry, write_index
    from unireason.report.page import write

    entries, records = [], []
    (out / "traces").mkdir(parents=True, exist_ok=True)
    for key, asked in found.items():
        for number, item in enumerate(asked):
            question = item.sample.question
            expected = {"letter": question.letter, "family": question.family, "patient": item.sample.patient}
            records.append({"kind": key, "right": item.right, "expected": expected, "trace": to_json(item.trace)})
            if number < SHOWN:
                stack = reasoner.stack(item.case)
                name = f"traces/{key}-{number:02d}"
                pictures = shown_pictures(stack)
                write(item.trace, item.case, stack, out / f"{name}.html", frame_pictures=pictures, expected=question.letter)
                write_overlay(item.trace, item.case, stack, out / f"{name}.png")
                entry = Entry(item.trace, item.case, stack, href=f"{name}.html", correct=item.right, family=question.family)
                entries.append(entry)
    write_bytes(out / "traces.json", (json_text({"scores": scores, "traces": records}) + "\n").encode())
    write_index(entries, out / "report.html", title="UniReason demo on phantom patients", summary=scores)


def _table(scores: dict[str, Any], out: Path) -> None:
    from unireason.report.bars import interval_text

    for key in ("2d", "3d"):
        part = scores[key]
        ends = interval_text(part["accuracy_ci95_patients"], 1)
        iou = "-" if part["mean_box_iou"] is None else f"{part['mean_box_iou']:.2f}"
        print(
            f"{key}: {part['accuracy']:.1%} of {part['n']} right (95% {ends or 'unknown'}), "
            f"box IoU {iou}, answers with a look {part['crop_rate']:.1%}, "
            f"letter against text {part['mismatch_rate']:.1%}"
        )
        for family, row in part["by_family"].items():
            print(f"    {family:24s} {row['accuracy']:6.1%} of {row['n']:3d}   chance {row['chance']:.0%}")
    print(f"report: {out / 'report.html'}\ntraces: {out / 'traces.json'}\nseconds: {scores['seconds']}")
    print(f"look at one yourself: {_next(out)}")
    print("Research only, not a medical device.", file=sys.stderr)


def _next(out: Path) -> str:
    """The command that asks the demo's own patient, page included."""
    image = next((out / "patients" / "nifti").glob("*/image.nii.gz"))
    return shlex.join(
        [
            "unireason",
            "ask",
            str(image),
            "-q",
            "Is the spleen present?",
            "-o",
            "yes",
            "-o",
            "no",
            "--report",
            str(out / "spleen.html"),
        ]
    )
