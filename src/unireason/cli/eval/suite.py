"""The questions of an evaluation and the model that answers them: arguments that all kinds share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.errors import keeping

if TYPE_CHECKING:
    from unireason.evaluate.settings import Settings
    from unireason.evaluate.suites.suite import Suite

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


def settings_of(args: argparse.Namespace, count: int | None) -> Settings:
    """Settings of an evaluation that leaves out what cannot be read.

    Args:
        args: With the arguments of ``add_suite``, ``add_skip`` and ``add_again``.
        count: Questions at most, as ``suite_of`` has them.

    Raises:
        FormatError: If a number is out of range.
    """
    from unireason.evaluate.settings import Settings

    return Settings(count=count, seed=args.seed, skip=args.skip, again=args.again)


def tell_left_out(unreadable: Mapping[str, Any]) -> None:
    """Print how many questions were left out because they could not be asked, and why; nothing without any."""
    from unireason.report.markup import plural
    from unireason.report.unread import first

    if unreadable["n"]:
        print(
            f"{plural(unreadable['n'], 'question')} could not be asked and were left out; results.json says why, --again asks again"
        )
        for name, why in first(unreadable):
            print(f"  {name}: {why}")


def suite_of(args: argparse.Namespace) -> tuple[Suite, int | None]:
    """The suite, and questions at most. Phantoms are made for the model's frame, half of the questions of each kind.

    Raises:
        FormatError: If the suite, its split, an option or a number cannot be used.
        UniReasonError: If its folder, or the model of a phantom suite, cannot be used.
    """
    from unireason.errors import FormatError
    from unireason.evaluate.suites.catalogue import open_suite

    if args.seed < 0 or (args.questions is not None and args.questions < 1):
        raise FormatError(f"seed {args.seed} and {args.questions} questions", "a seed of at least 0 and at least 1 question")
    options = _options(args.option)
    if args.suite != "phantom":
        return open_suite(args.suite, args.data, split=args.split, options=options), args.questions
    count = args.questions or PHANTOM_QUESTIONS
    return open_suite(args.suite, args.data, split=args.split, options={**_phantoms(args, options, count), **options}), count


def opened(args: argparse.Namespace, suite: Suite) -> dict[str, Any]:
    """How ``suite_of`` opened a suite, for a manifest; names of folders in place of whole paths."""
    options = {key: Path(value).name if Path(value).is_absolute() else value for key, value in _options(args.option).items()}
    return {
        "data": args.data.resolve().name if args.data else "",
        "split": getattr(suite, "split", None) or args.split,
        "suite_options": options,
    }


def _phantoms(args: argparse.Namespace, options: Mapping[str, str], count: int) -> dict[str, str]:
    from unireason.model.files import locate

    each = count if options.get("kind", "both") != "both" else (count + 1) // 2
    return {"seed": str(args.seed), "questions": str(each), "frame": str(locate(args.model))}


def _options(given: list[str]) -> dict[str, str]:
    from unireason.errors import FormatError

    found = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise FormatError(f"the option {text!r}", "KEY=VALUE such as kind=volume")
        found[key] = value
    return found
