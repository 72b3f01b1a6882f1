"""The command line: one file a command.

Every command module offers ``add_parser(subparsers)``, which sets ``run``, a function of the parsed arguments that returns the exit
code: 0 done, 1 done with a negative finding, 2 bad input. A signal ends a command with 128 and its number. Heavy packages are imported by
``run``, never before.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from unireason import __version__
from unireason.core.errors import UniReasonError, terminable

from .ask import in_words_of

COMMANDS = {
    "ask": ("ask", "add_parser"),
    "ground": ("ground", "add_parser"),
    "segment": ("segment", "add_parser"),
    "demo": ("tools", "add_demo"),
    "phantom": ("tools", "add_phantom"),
    "data": ("data", "add_parser"),
    "train": ("train", "add_parser"),
    "eval": ("eval", "add_parser"),
    "ablate": ("compare", "add_ablate"),
    "plan": ("tools", "add_plan"),
    "weights": ("tools", "add_weights"),
    "doctor": ("tools", "add_doctor"),
    "conformance": ("tools", "add_conformance"),
    "profile": ("profile", "add_parser"),
}


def build_parser() -> argparse.ArgumentParser:
    """The whole parser; the reference page of the command line is made from it."""
    parser = argparse.ArgumentParser(
        prog="unireason",
        description="Ask a scan, see the evidence. Grounded reasoning over 2D and 3D medical images.",
        epilog="Research only, not a medical device. Exit codes: 0 done, 1 negative finding, 2 bad input.",
    )
    parser.add_argument("--version", action="version", version=f"unireason {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module, add in COMMANDS.values():
        getattr(import_module(f".{module}", __name__), add)(subparsers)
    return parser


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Runs one command."""
    args = (parser or build_parser()).parse_args(argv)
    try:
        with terminable():
            code = int(args.run(args))
            sys.stdout.flush()
        return code
    except UniReasonError as error:
        print(f"error: {in_words_of(args, str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads has had enough, as `head` does; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        number, kept = getattr(error, "number", signal.SIGINT), getattr(error, "kept", "")
        what = "terminated" if number == signal.SIGTERM else "interrupted"
        print(f"{kept}\n{what}" if kept else what, file=sys.stderr)
        return 128 + number
