"""Options that all commands share which ask a model about a file, and what a waiting person sees of its answer."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .progress import status

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner

_INTENDED = re.compile(r"If that is intended, read it with limits=Limits\(\w+=\d+\)")
_CHOICE = re.compile(
    r"Choose (?:one,? (?:for instance )?with )?{0}(?: (?:to|or) {0})?".format(r"(?:series|frame)=(?:\d+|'[^']*')")
)
TAIL = 70  # characters of the model's text shown while it thinks


def add_window(group: Any) -> None:
    """How intensities become grey levels."""
    group.add_argument(
        "--window", default="auto", help="auto, soft-tissue, lung, bone, brain, stored, minmax, percentile or LEVEL,WIDTH"
    )


def add_sampling(group: Any) -> None:
    """How tokens are chosen; ``asking_options`` understands them, and the window."""
    group.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    group.add_argument("--top-p", type=float, default=1.0, help="nucleus sampling")
    group.add_argument("--seed", type=int, default=0, help="seed of the first sample")
    group.add_argument("--max-new-tokens", metavar="N", type=int, help="tokens at most")


def asking_options(args: argparse.Namespace) -> dict[str, Any]:
    """Sampling, window and token limit as keyword arguments of ``Reasoner.ask`` and ``ground``.

    Raises:
        FormatError: If a sampling parameter is out of range.
    """
    from unireason.engine.sampling import Sampling

    sampling = Sampling(temperature=args.temperature, top_p=args.top_p, seed=args.seed)
    return {"sampling": sampling, "window": args.window, "max_new_tokens": args.max_new_tokens}


def tell_model(reasoner: Reasoner, doing: str, *, quiet: bool) -> None:
    """The head of what a command shows, on standard error: the model, its device, and how much it is asked."""
    if not quiet:
        print(f"{reasoner.about}: {doing}", file=sys.stderr)


def tell_copies(samples: int, temperature: float) -> None:
    """Say on standard error that several samples are one, which they are where nothing is drawn."""
    if samples > 1 and temperature == 0:
        print(
            f"note: at temperature 0 the {samples} samples of a question are the same; give --temperature 0.7 for others",
            file=sys.stderr,
        )


def add_machine(group: Any) -> None:
    """On what the model runs."""
    group.add_argument("--device", help="torch device (default: CUDA where there is one)")
    group.add_argument("--dtype", choices=("bf16", "fp32"), help="number type of the weights")
    group.add_argument("--threads", metavar="N", type=int, help="torch threads")


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


def read_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``unireason.read`` from the parsed arguments.

    Raises:
        FormatError: If the spacing is not a list of numbers, or a limit is of no known name.
    """
    from dataclasses import fields

    from unireason.errors import FormatError
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
