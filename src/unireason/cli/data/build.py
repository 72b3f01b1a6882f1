"""``unireason data build SOURCE [PATH]``: masks become a grounded reasoning data set."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unireason.errors import FormatError, keeping
from unireason.files import json_text

from .inspect import add_ignore_unnamed, source_options

DEFAULT_FRAME = {"phantom": "phantom"}
DEFAULT_SLICES = {"phantom": 1}
STAGES = {
    "list": "listing the source",
    "draft": "masks to scenes",
    "survey": "splits and peers",
    "ask": "asking",
    "select": "choosing questions",
    "write": "writing the reasoning",
    "gather": "putting it together",
}


def add_parser(subparsers: Any) -> None:
    """Add the subcommand to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "build",
        help="build a data set from masks",
        description="Build a grounded reasoning data set from images or volumes with masks. Started again, it goes on where it stopped.",
    )
    parser.add_argument("source", metavar="SOURCE", help="kind of source; see: unireason data inspect --help")
    parser.add_argument("path", metavar="PATH", type=Path, nargs="?", help="folder of the source; none for phantom")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the data set")
    parser.add_argument(
        "--option", metavar="KEY=VALUE", action="append", default=[], help="option of the source; may be repeated"
    )
    add_ignore_unnamed(parser)
    parser.add_argument("--patients", metavar="N", type=int, help="patients of the phantom source (default 50)")
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="cohort of the phantoms, splits, questions, wording (default 0)"
    )
    parser.add_argument(
        "--frame", metavar="FRAME", help="published, phantom or a checkpoint folder (default published; phantoms: phantom)"
    )
    parser.add_argument("--slices", metavar="N", type=int, help="slices of every volume taken as images (default 0; phantoms: 1)")
    parser.add_argument("--questions", metavar="N", type=int, default=3, help="questions with options a case (default 3)")
    parser.add_argument("--implicit", metavar="N", type=int, default=1, help="implicit grounding questions an image (default 1)")
    parser.add_argument(
        "--most", metavar="N", type=int, help="most questions with options of each kind, 2D and 3D (default no limit)"
    )
    parser.add_argument(
        "--splits", metavar="T,V,T", default="0.8,0.1,0.1", help="shares of train, validation and test, by patient"
    )
    parser.add_argument("--embed", action="store_true", help="store pictures and masks in the data set")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where the processes run (default local)")
    _add_annotator(parser.add_argument_group("reasoning"))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def _add_annotator(group: Any) -> None:
    group.add_argument("--annotator", choices=("template", "llm"), default="template", help="who writes it (default template)")
    group.add_argument("--endpoint", metavar="URL", help="llm: base address of an OpenAI-compatible service, ending in /v1")
    group.add_argument("--model", metavar="NAME", help="llm: name of the model there")
    group.add_argument(
        "--key-env", metavar="VAR", default="", help="llm: environment variable that holds the key (default: no key)"
    )
    group.add_argument("--cache", metavar="DIR", type=Path, help="llm: where replies are kept (default: the user's cache folder)")
    group.add_argument("--concurrency", metavar="N", type=int, help="llm: requests in flight (default 8)")
    group.add_argument("--temperature", metavar="T", type=float, help="llm: sampling temperature (default 0.7)")
    group.add_argument("--max-tokens", metavar="N", type=int, help="llm: longest reply (default 1024)")
    group.add_argument("--request", metavar="JSON", default="{}", help="llm: further fields of every request, as a JSON object")
    group.add_argument("--budget-tokens", metavar="N", type=int, help="llm: stop asking after so many tokens")
    group.add_argument("--budget-requests", metavar="N", type=int, help="llm: stop asking after so many replies")


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the data set is there."""
    from unireason.data.build.pool import LocalPool
    from unireason.data.build.run import Hands, build

    config, annotator = read_config(args), _annotator(args)
    with _stages(quiet=args.json or args.quiet) as progress:
        # A service is asked by one process, which keeps its own number of requests in flight and its own budget.
        writing = LocalPool(1) if args.annotator == "llm" else None
        with keeping(f"what is done is kept in '{args.out}'; the same command goes on with the rest"):
            manifest = build(config, args.out, annotator=annotator, hands=Hands(_engine(args), writing, progress))
    print(json_text(summary(args.out, manifest)) if args.json else _told(args.out, manifest))
    return 0


def read_config(args: argparse.Namespace) -> Any:
    """The build that the arguments describe.

    Raises:
        FormatError: If an argument cannot be used.
    """
    from unireason.data.build.config import BuildConfig
    from unireason.data.frames import rule

    options = source_options(args)
    if args.source == "phantom":
        options = {"patients": str(50 if args.patients is None else args.patients), "seed": str(args.seed)} | options
    elif args.patients is not None:
        raise FormatError("--patients was given", "the source phantom", "leave it out; a source on disk has the patients it has")
    try:
        shares = tuple(float(s) for s in args.splits.split(","))
    except ValueError as error:
        raise FormatError(f"--splits is {args.splits!r}", "three numbers such as 0.8,0.1,0.1") from error
    return BuildConfig(
        source=args.source,
        root=args.path,
        options=options,
        frame=rule(args.frame or DEFAULT_FRAME.get(args.source, "published")),
        seed=args.seed,
        slices=DEFAULT_SLICES.get(args.source, 0) if args.slices is None else args.slices,
        questions=args.questions,
        implicit=args.implicit,
        most=args.most,
        shares=shares,  # type: ignore[arg-type]  # checked by the config
        embed=args.embed,
        annotator=args.annotator,
        annotation=_annotation(args),
    )


def _engine(args: argparse.Namespace) -> Any:
    if args.engine == "ray":
        from unireason.cluster.ray_units import RayData

        return RayData(args.workers)
    from unireason.data.build.pool import LocalPool

    return LocalPool(args.workers)


def _annotator(args: argparse.Namespace) -> Any:
    if args.annotator == "template":
        from unireason.data.annotate.template import TemplateAnnotator

        return TemplateAnnotator()
    from unireason.data.annotate.llm import LlmAnnotator

    if not args.endpoint or not args.model:
        raise FormatError("--annotator llm was asked for", "--endpoint URL and --model NAME", "give both")
    return LlmAnnotator(args.endpoint, args.model, settings=_llm_settings(args))


def _llm_settings(args: argparse.Namespace) -> Any:
    """Settings out of the arguments that were given; what was not keeps its default."""
    from unireason.data.annotate.settings import LlmSettings

    names = ("cache", "concurrency", "budget_tokens", "budget_requests", "temperature", "max_tokens")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    return LlmSettings(key_env=args.key_env, extra=_json_object(args.request), **given)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise FormatError(f"--request is {text!r} ({error})", "a JSON object") from error
    if not isinstance(value, dict):
        raise FormatError(f"--request is {text!r}", "a JSON object")
    return value


def _annotation(args: argparse.Namespace) -> dict[str, Any]:
    """What of the annotator's settings shapes the result."""
    if args.annotator == "template":
        return {}
    import hashlib

    from unireason.data.annotate.settings import chat_url

    settings = _llm_settings(args)
    # Another endpoint may call another model by the same name; its address itself is nobody's business who gets the data set.
    endpoint = hashlib.sha256(chat_url(args.endpoint).encode()).hexdigest()[:16]
    rules = {"budget_tokens": settings.budget_tokens, "budget_requests": settings.budget_requests, "repair": settings.repair}
    return {"endpoint_sha256": endpoint, "model": args.model, **settings.sampling(), **rules, "rules": asdict(settings.rules)}


@contextmanager
def _stages(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar a stage."""
    if quiet:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(STAGES[stage], total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield tell


def summary(out: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--json`` prints: folder, counts, items skipped, content hash."""
    return {
        "out": str(out),
        "counts": manifest["counts"],
        "skipped": manifest["skipped"],
        "content_sha256": manifest["content_sha256"],
    }


def _told(out: Path, manifest: Mapping[str, Any]) -> str:
    from unireason.report.markup import plural

    counts = manifest["counts"]
    kinds = ", ".join(f"{n} of {kind}s" for kind, n in counts.get("by_kind", {}).items())
    splits = ", ".join(f"{split} {n}" for split, n in counts.get("by_split", {}).items())
    lines = [
        f"{plural(counts['samples'], 'sample')} ({kinds}) about {plural(counts['cases'], 'case')} in {out}",
        f"splits by patient: {splits}",
    ]
    lines += [f"{family.replace('_', ' ')}: {n}" for family, n in counts.get("by_family", {}).items()]
    if manifest["skipped"]:
        lines.append(f"{plural(manifest['skipped'], 'item')} could not be used: see {out / 'skipped.jsonl'}")
    if counts.get("dropped"):
        lines.append(f"dropped: {', '.join(f'{reason} {n}' for reason, n in counts['dropped'].items())}")
    return "\n".join([*lines, f"content {manifest['content_sha256']}", f"check it with: unireason data check {out}"])
