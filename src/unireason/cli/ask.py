"""``unireason ask FILE -q TEXT``: ask a scan and see the evidence."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unireason.core.errors import FormatError, GeometryError
from unireason.core.store import json_text

if TYPE_CHECKING:
    from unireason.core.types import Case, Frame, Trace
    from unireason.engine.reasoner import Reasoner
    from unireason.grounding.profile import Profile
    from unireason.report.trace import PageFindings
    from unireason.segment.expert import Expert, Prompt


# --- Places as people type them, in voxels, in the model frame or in millimetres, made into the prompt of an expert.


Space = Literal["voxel", "model", "world"]
SPACES: tuple[Space, ...] = ("voxel", "model", "world")
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed."""

    box: Numbers | None
    points: tuple[Numbers, ...]
    space: Space
    slice: int | None = None
    propagate: bool = False


def numbers(text: str, what: str) -> Numbers:
    """Numbers with commas between them."""
    from math import isfinite

    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(isfinite(v) for v in found):
        raise FormatError(f"the {what} is {text!r}", "numbers with commas between them")
    return found


def prompt_of(case: Case, typed: Typed, *, frame: Frame) -> Prompt:
    """The prompt that a case's expert understands."""
    from unireason.core.types import Box2D, Box3D
    from unireason.segment.expert import Prompt

    flat = case.kind == "image" or typed.slice is not None
    _check(case, typed, flat)
    on = () if typed.slice is None else (typed.slice + 0.5,)
    half = len(typed.box or ()) // 2
    boxes = [] if typed.box is None else [(typed.box[:half] + on, typed.box[half:] + on)]
    corners = [_mapped(low, high, typed.space, case, frame) for low, high in boxes]
    points = [_mapped(p + on, p + on, typed.space, case, frame)[0] for p in typed.points]
    index = None if typed.slice is None else _slice(typed.slice, typed.space, case, frame)
    dims = 2 if flat else 3
    shape = Box2D if dims == 2 else Box3D
    box = shape(*(*corners[0][0][:dims], *corners[0][1][:dims])) if corners else None
    return Prompt(box, tuple(p[:dims] for p in points), index, typed.propagate)


def _check(case: Case, typed: Typed, flat: bool) -> None:
    if typed.slice is not None and (case.kind == "image" or typed.space == "world"):
        came = "an image" if case.kind == "image" else "places in millimetres"
        raise FormatError(
            f"{came} with --slice", "none", "give a cuboid, or the rectangle in voxels" if case.kind != "image" else ""
        )
    if typed.propagate and typed.slice is None:
        raise FormatError("--propagate without --slice", "the slice on which the box lies")
    dims = 3 if typed.space == "world" or not flat else 2
    hint = "give --slice for a rectangle" if case.kind == "volume" and not flat and typed.space != "world" else ""
    if typed.box is not None and len(typed.box) != 2 * dims:
        raise FormatError(f"a box of {len(typed.box)} numbers", f"{2 * dims}", hint)
    wrong = [p for p in typed.points if len(p) != dims]
    if wrong:
        raise FormatError(f"a point of {len(wrong[0])} numbers", f"{dims}", hint)
    if typed.box is not None and any(b <= a for a, b in zip(typed.box[:dims], typed.box[dims:], strict=True)):
        raise FormatError(f"the box {list(typed.box)}", "the lower corner first, then the upper one")


def _mapped(low: Numbers, high: Numbers, space: Space, case: Case, frame: Frame) -> tuple[Numbers, Numbers]:
    """Canonical bounds of what lies between two corners."""
    from unireason.imaging import geometry as maps

    def canonical(corner: Sequence[float]) -> Numbers:
        if space == "model":
            return maps.model_to_canonical(corner, frame, case.geometry)
        voxel = maps.world_to_voxel(corner, case.geometry) if space == "world" else corner
        return maps.voxel_to_canonical(voxel, case.geometry)

    corners = [canonical(corner) for corner in product(*zip(low, high, strict=True))]
    return tuple(map(min, zip(*corners, strict=True))), tuple(map(max, zip(*corners, strict=True)))


def _slice(typed: int, space: Space, case: Case, frame: Frame) -> int:
    """The canonical slice of a typed one."""
    depth = case.geometry.shape[0]
    count = frame.depth if space == "model" else depth
    if not 0 <= typed < count:
        raise FormatError(f"{space} slice {typed}", f"0 to {count - 1}")
    if space == "model":
        return int((typed + 0.5) * depth / frame.depth)
    if case.geometry.order[2] != 2:
        raise GeometryError(
            "slices of this file do not run from the feet to the head", "axial slices", "give a cuboid, or --space model"
        )
    return depth - 1 - typed if case.geometry.flips[2] else typed


# --- Options of the commands that outline places with a frozen expert.


# What `segment.catalogue` offers; written out so that help loads nothing, and held against it by a test.
EXPERTS = ("classical", "medsam", "sam", "sam2", "medsam2", "sam-med2d")


def add_expert(group: Any) -> None:
    """Which expert, and its weights; ``expert_of`` understands them."""
    group.add_argument("--expert", metavar="NAME", default=EXPERTS[0], help=f"{', '.join(EXPERTS)} (default {EXPERTS[0]})")
    group.add_argument("--weights", metavar="REF", help="folder or hub id of the expert's weights; classical has none")


def expert_of(args: argparse.Namespace) -> Expert:
    """The expert that was asked for."""
    from unireason.segment.expert import make_expert

    return make_expert(args.expert, weights=args.weights, device=args.device)


# --- What a waiting person sees: a spinner with a line of text, a bar for counted work; nothing when quiet or not a terminal.


@contextmanager
def status(text: str, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error; yields a function that changes its text."""
    if quiet:
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as spinner:
        yield spinner.update


@contextmanager
def bar(text: str, total: int | None = None, *, quiet: bool) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; yields a function that takes the number done and, where it was not known before, that of all."""
    if quiet:
        yield lambda done, total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done, total=None: progress.update(task, completed=done, total=total)


# --- Options that all commands share which ask a model about a file, and what a waiting person sees of its answer.


_INTENDED = re.compile(r"If that is intended, read it with limits=Limits\(\w+=\d+\)")
_CHOICE = re.compile(
    r"Choose (?:one,? (?:for instance )?with )?{0}(?: (?:to|or) {0})?".format(r"(?:series|frame)=(?:\d+|'[^']*')")
)
PENALTY = (
    "logits of ids that were said before are weakened by it; 1 does nothing (default: the checkpoint's generation_config.json)"
)
TAIL = 70  # characters of the model's text shown while it thinks


WINDOWS = "auto, soft-tissue, lung, bone, brain, stored, minmax, percentile, published or LEVEL,WIDTH"


def add_asking(group: Any) -> None:
    """How grey levels are made and tokens chosen, and on what the model runs; ``asking_options`` understands the first two."""
    group.add_argument("--window", help=f"{WINDOWS} (default: the profile's)")
    group.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    group.add_argument("--top-p", type=float, default=1.0, help="nucleus sampling")
    group.add_argument("--repetition-penalty", metavar="P", type=float, help=PENALTY)
    group.add_argument("--seed", type=int, default=0, help="seed of the first sample")
    group.add_argument("--max-new-tokens", metavar="N", type=int, help="tokens at most")
    add_machine(group)


def asking_options(args: argparse.Namespace) -> dict[str, Any]:
    """Sampling, window and token limit as keyword arguments of ``Reasoner.ask`` and ``ground``."""
    from unireason.engine.sampling import Sampling

    sampling = Sampling(
        temperature=args.temperature, top_p=args.top_p, seed=args.seed, repetition_penalty=args.repetition_penalty
    )
    return {"sampling": sampling, "window": args.window, "max_new_tokens": args.max_new_tokens}


def tell_model(reasoner: Reasoner, doing: str, *, quiet: bool) -> None:
    """The head of what a command shows, on standard error: the model, its device, and how much it is asked."""
    if not quiet:
        print(f"{reasoner.about}: {doing}", file=sys.stderr)


def add_machine(group: Any) -> None:
    """On what the model runs."""
    group.add_argument("--device", help="torch device (default: CUDA where there is one)")
    group.add_argument("--dtype", choices=("bf16", "fp32"), help="number type of the weights")
    group.add_argument("--threads", metavar="N", type=int, help="torch threads")
    group.add_argument(
        "--engine",
        metavar="NAME",
        action="append",
        default=[],
        help="local (default), vllm in this process, or the address of a vLLM server of the same checkpoint (repeat for replicas); "
        "api for another model by a chat endpoint",
    )
    group.add_argument(
        "--base-url", metavar="URL", default="", help="OpenAI-compatible endpoint of --engine api; --model is a name there"
    )


def add_read(group: Any) -> None:
    """Options of reading a file; ``read_options`` understands them."""
    group.add_argument("--modality", help="DICOM modality code that replaces the file's, such as CT or MR")
    group.add_argument("--axes", help="axes of an npy array, slowest first, such as zyx or xyz")
    group.add_argument("--spacing", metavar="X,Y[,Z]", help="voxel size in mm, for files that carry none")
    group.add_argument("--series", help="which volume of a DICOM folder or file: number, words or UID of the list")
    group.add_argument("--frame", metavar="N", type=int, help="which frame of a 4-D volume, cine or enhanced DICOM file")
    group.add_argument("--max-voxels", metavar="N", type=int, help="raise or lower the size limit of a volume")
    group.add_argument(
        "--limit", metavar="NAME=N", action="append", default=[], help="raise or lower another limit that an error names"
    )


def add_file(parser: Any) -> None:
    """The file that a command is about; ``read_case`` understands it."""
    parser.add_argument("file", metavar="FILE", type=Path, help="image, volume, or folder with a DICOM series")


def add_model(parser: Any, about: str) -> None:
    """The model that is asked, and its prompt profile; ``load_model`` understands them."""
    parser.add_argument("--model", metavar="REF", default="phantom", help="phantom (built in), a folder or a hub id")
    parser.add_argument("--prompts", metavar="PROFILE", help=f"{about}: a TOML file or a built-in name")


def load_model(args: argparse.Namespace, *, role: str) -> Reasoner:
    """The model that was asked for; its profile takes the place of the checkpoint's as ``role``, "profile" or "grounding"."""
    from unireason.grounding.profile import load_profile

    profile = {role: load_profile(args.prompts)} if args.prompts else {}
    with status(f"loading {args.model}", quiet=args.json):
        return model_of(args, **profile)


def profiled_model(args: argparse.Namespace) -> Reasoner:
    """The model that was asked for, all of its questions in the words of ``--prompts`` and with the grey levels of ``--window``."""
    from unireason.grounding.profile import load_profile

    reasoner = model_of(args, **({"profile": load_profile(args.prompts)} if args.prompts else {}))
    if args.window:
        model = reasoner.checkpoint
        return reasoner.asking(replace(model.profile, window=args.window), replace(model.grounding, window=args.window))
    return reasoner


def is_chat(args: argparse.Namespace) -> bool:
    """Whether another model is asked by a chat endpoint."""
    return list(getattr(args, "engine", [])) == ["api"]


def model_of(args: argparse.Namespace, **profiles: Profile) -> Reasoner:
    """The model that was asked for, on the machine that was, generating by the engine that was."""
    from unireason.engine.reasoner import load

    if is_chat(args):
        from unireason.engine.chat import ChatEngine, ChatReasoner

        return ChatReasoner(ChatEngine(args.base_url, args.model), args.model, profiles.get("profile"))
    return load(args.model, device=args.device, dtype=args.dtype, threads=args.threads, engine=args.engine, **profiles)


def read_case(args: argparse.Namespace) -> Case:
    """The case of the file that was named."""
    from unireason.imaging import read

    with status("reading", quiet=args.json):
        return read(args.file, **read_options(args))


def tell_notes(notes: Iterable[str]) -> None:
    """Remarks on a file, on standard error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def read_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``unireason.read`` from the parsed arguments."""
    from dataclasses import fields

    from unireason.imaging import Limits

    found: dict[str, Any] = {"modality": args.modality, "axes": args.axes, "series": args.series, "frame": args.frame}
    if args.spacing:
        try:
            found["spacing_mm"] = tuple(float(v) for v in args.spacing.split(","))
        except ValueError as error:
            raise FormatError(f"the spacing is {args.spacing!r}", "numbers in mm such as 0.7,0.7,2.5") from error
    limits: dict[str, int] = {} if args.max_voxels is None else {"max_voxels": args.max_voxels}
    for text in args.limit:
        name, _, number = text.partition("=")
        if name not in {field.name for field in fields(Limits)} or not number.isdecimal():
            raise FormatError(f"the limit is {text!r}", f"NAME=N with a name of {', '.join(f.name for f in fields(Limits))}")
        limits[name] = int(number)
    if limits:
        found["limits"] = Limits(**limits)
    return {k: v for k, v in found.items() if v is not None}


def in_words_of(args: argparse.Namespace, message: str) -> str:
    """An error of reading with the options of the command in place of the keyword arguments of ``unireason.read``."""
    if not hasattr(args, "max_voxels"):
        return without_options(message)
    message = re.sub(r"limits=Limits\(max_voxels=(\d+)\)", r"--max-voxels \1", message)
    message = re.sub(r"limits=Limits\((\w+=\d+)\)", r"--limit \1", message)
    message = re.sub(r"\blimits\.(?=max_)", "--limit ", message)
    message = re.sub(r"\bspacing_mm\b", "--spacing", message)
    return re.sub(r"\b(modality|axes|series|frame)=(?=['\w])", r"--\1 ", message)


def without_options(message: str) -> str:
    """An error of reading, where a command reads many files alike: what is to be done to the file, for there is no option for it."""
    message = _INTENDED.sub("Make it smaller or leave it out", message)
    return _CHOICE.sub("Save the one that is meant as a file of its own", message)


@contextmanager
def thinking(*, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A spinner with the last words of the first answer; yields what takes tokens as ``on_token``."""
    with status("thinking", quiet=quiet) as say:
        written = ""

        def on_token(row: int, token: int, text: str) -> None:
            nonlocal written
            if row == 0:
                written = (written + text)[-TAIL:]
                say(f"thinking: {' '.join(written.split()).replace('[', '(').replace(']', ')')}")

        yield on_token


# --- ``unireason ask FILE -q TEXT``: ask a scan and see the evidence.


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
    add_file(parser)
    parser.add_argument(
        "-q", "--question", metavar="TEXT", action=_Question, dest="questions", help="a question; may be repeated"
    )
    parser.add_argument("-o", "--option", metavar="TEXT", action=_Option, help="an answer option of the question before it")
    add_model(parser, "prompt profile")
    group = parser.add_argument_group("how to ask")
    add_asking(group)
    group.add_argument("--slices", metavar="D", type=int, help="slices shown to the model (default: the profile's)")
    group.add_argument("--samples", metavar="N", type=int, default=1, help="answers a question (with --temperature above 0)")
    group.add_argument(
        "--crop-source",
        choices=("model", "native", "none", "published"),
        help="what looks show: regions of the model frame, of source pixels, or nothing (default: the profile's)",
    )
    group.add_argument("--max-looks", metavar="N", type=int, help="looks at most")
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


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when every question got an answer, 1 when one stayed without."""
    from unireason.engine.masks import masks_of
    from unireason.engine.reasoner import Question
    from unireason.report.folder import save_masks, save_report, save_traces
    from unireason.report.html import plural
    from unireason.report.trace import PageFindings, measured

    if not args.questions:
        raise FormatError("there is no question", "at least one -q TEXT")
    if not args.mask and (args.weights or args.expert != EXPERTS[0]):
        raise FormatError(f"the expert {args.expert} without --mask", "--mask with --expert and --weights")
    questions = [Question(text, tuple(options)) for text, options in args.questions]
    case = read_case(args)
    expert = expert_of(args) if args.mask else None
    reasoner = load_model(args, role="profile")
    samples = f", {args.samples} samples each" if args.samples > 1 else ""
    how = {"samples": args.samples, "slices": args.slices, "crop_source": args.crop_source, "max_looks": args.max_looks}
    with thinking(quiet=args.json) as on_token:
        traces = reasoner.ask_many(case, questions, on_token=on_token, **how, **asking_options(args))
    tell_model(reasoner, f"{plural(len(questions), 'question')}{samples}", quiet=args.json)
    if args.samples > 1 and args.temperature == 0:
        same = f"at temperature 0 the {args.samples} samples of a question are the same; give --temperature 0.7 for others"
        tell_notes([same])
    flat = [t for group in traces for t in group]
    findings = None
    if expert:
        with status("outlining", quiet=args.json):
            found = [measured(masks_of(trace, case, expert), case) for trace in flat]
        if args.save:
            found = [save_masks(args.save, f"trace-{n}-mask", regions, case) for n, regions in enumerate(found, start=1)]
        findings = [PageFindings(regions=regions) for regions in found]
    _print(flat, case, findings, args)
    if args.report or args.save:
        stack = reasoner.stack(case, window=args.window, slices=args.slices)
        for path, write in ((args.report, save_report), (args.save, save_traces)):
            if path:
                print(f"wrote {write(path, flat, case, stack, findings=findings)}", file=sys.stderr)
    return 0 if all(t.answer.text for t in flat) else 1


def _print(traces: Sequence[Trace], case: Case, findings: Sequence[PageFindings] | None, args: argparse.Namespace) -> None:
    from unireason.report.html import of_traces, tell
    from unireason.report.text import lines, region_lines
    from unireason.report.trace import region_json

    found = [f.regions for f in findings] if findings else [()] * len(traces)
    tell(of_traces(traces))
    if args.json:
        from unireason.grounding.trace import to_json

        written: list[dict[str, Any]] = [to_json(t, crops=args.crops) for t in traces]
        if findings is not None:
            masks = [[region_json(region) for region in regions] for regions in found]
            written = [{"trace": t, "masks": own, "scope": t["scope"]} for t, own in zip(written, masks, strict=True)]
        print(json_text(written[0] if len(written) == 1 else written))
        return
    tell_notes(case.notes)
    for trace, regions in zip(traces, found, strict=True):
        said = [line for region in regions for line in region_lines(region, case)]
        print("\n".join([*lines(trace), *said]) + "\n")
