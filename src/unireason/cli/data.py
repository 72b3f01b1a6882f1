"""``unireason data``: from masks to checked training data."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.core.errors import FormatError, UniReasonError, keeping
from unireason.core.store import json_text
from unireason.data.formats import READABLE, WRITABLE
from unireason.data.sources import NAMES as SOURCES

from .ask import bar, status, without_options

if TYPE_CHECKING:
    from unireason.data.survey import Survey


def add_parser(subparsers: Any) -> None:
    """Add the command and its subcommands to an ``argparse`` subparsers object; each subcommand sets ``run``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data",
        help="turn masks into grounded reasoning data",
        description="Look at sources of masks, build grounded reasoning data from them, check it, bring it into other layouts.",
    )
    below = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for add in (add_inspect, add_build, add_check, add_export, add_import):
        add(below)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], *, quiet: bool = True) -> None:
    """Add what every subcommand takes last, and what it runs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if quiet:
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def _source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that read masks of a source."""
    parser.add_argument(
        "--option", metavar="KEY=VALUE", action="append", default=[], help="option of the source; may be repeated"
    )
    parser.add_argument(
        "--names",
        metavar="FILE",
        type=Path,
        help="TOML file of names of structures, on top of the known ones (docs/reference/names.md)",
    )
    parser.add_argument(
        "--ignore-unnamed", action="store_true", help="take mask values without a name for background (default: an error)"
    )


# --- ``unireason data check DIR``: is the data set what it claims to be?


_SHOWN = 20  # problems printed; the report has more


def add_check(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "check",
        help="check a data set against its masks",
        description=(
            "Check files, boxes, answers, balance, leakage and shortcuts of a data set; boxes and answers are recomputed from the "
            "masks of its source. Writes check.json and check.html into DIR, and the result into its README.md. Exits 1 if something "
            "is wrong."
        ),
    )
    parser.add_argument("dir", metavar="DIR", type=Path, help="folder of the data set")
    parser.add_argument("--root", metavar="PATH", type=Path, help="folder of its source (default: where it lay at the build)")
    parser.add_argument("--samples", metavar="N", type=int, help="cases recomputed from masks, spread evenly (default all)")
    parser.add_argument("--without-masks", action="store_true", help="leave the source alone; answers follow from the records")
    parser.add_argument("--html", metavar="FILE", type=Path, help="where the page goes (default DIR/check.html)")
    _finish(parser, run_check)


def run_check(args: argparse.Namespace) -> int:
    """Run the command; 0 if nothing is wrong, 1 if something is."""
    from unireason.core.store import write_bytes
    from unireason.data.checks.run import check
    from unireason.data.dataset import Dataset
    from unireason.data.dataset_card import write_card
    from unireason.report.dataset import write

    if args.samples is not None and args.samples < 1:
        raise FormatError(f"--samples is {args.samples}", "a number from 1")
    dataset = Dataset.open(args.dir)
    source = None if args.without_masks else dataset.source(args.root)
    counts = dataset.manifest.get("counts")
    cases = counts.get("cases") if isinstance(counts, dict) else None
    with bar("checking cases", cases if isinstance(cases, int) else 0, quiet=args.quiet or args.json) as tell:
        report = check(dataset, source, samples=args.samples, progress=lambda done, total: tell(done))
    # A folder that cannot be written to costs the reports, not the verdict.
    try:
        write_bytes(args.dir / "check.json", (json_text(report.to_json(), indent=1) + "\n").encode())
        try:
            write_card(args.dir, dataset.manifest)  # it quotes the result
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            # A manifest with faults, which the report names, may make no card.
            print(f"remark: the card cannot be written again ({error!r})", file=sys.stderr)
        write(report, dataset, source, args.html or args.dir / "check.html")
    except UniReasonError as error:
        print(f"remark: {error}", file=sys.stderr)
    print(json_text(report.to_json()) if args.json else "\n".join(_lines(report.to_json())))
    return 0 if report.ok else 1


def _lines(report: dict[str, Any]) -> list[str]:
    """The report for a terminal."""
    lines = []
    for check, count in report["counts"].items():
        seen = ", ".join(f"{n:,} {what}" for what, n in report["checked"].get(check, {}).items())
        unjudged = check == "shortcut" and report["shortcut"] and all(r["too_few"] for r in report["shortcut"].values())
        lines.append(
            f"{'WRONG' if count else 'open ' if unjudged else 'ok   '} {check:9} {seen}{f': {count:,} problems' if count else ''}"
        )
    for family, result in report["shortcut"].items():
        low, high = result["ci95"]
        verdict = f"too few {result['few']}" if result["too_few"] else "ok" if result["ok"] else "TELLS"
        numbers = f"{result['accuracy']:6.1%} from text alone ({low:.1%} to {high:.1%}), chance {result['chance']:.1%}"
        lines.append(f"      {family or 'family not told':22} {numbers}, {verdict}")
    early, two = report["answer_before_evidence"], report["two_options"]
    if early:
        worst = ", ".join(f"{family} {share:.0%}" for family, share in early.items() if share and family != "all")
        lines.append(
            f"      the answer stands before its evidence in {early['all']:.1%} of the texts{f' ({worst})' if worst else ''}"
        )
    if sum(two.values()):
        count = ", ".join(f"{n:,} {what}" for n, what in ((two["more"], "with more than two options"), (two["two"], "with two")))
        lines.append(f"      questions: {count}, {two['yes, no and sides']:,} yes or no or sides")
    for problem in report["problems"][:_SHOWN]:
        about = next((f" {problem[k]}" for k in ("sample", "case", "file", "family") if k in problem), "")
        lines.append(f"- {problem['check']}{about}: {problem['detail']}")
    lines += [f"remark: {remark['detail']}" for remark in report["remarks"][:_SHOWN]]
    hidden = sum(report["counts"].values()) - len(report["problems"][:_SHOWN])
    lines += [f"- and {hidden:,} more"] if hidden > 0 else []
    return [*lines, "ok" if report["ok"] else "not ok"]


# --- ``unireason data inspect SOURCE [PATH]``: what a source holds, what is wrong with it, and a contact sheet.


_EPILOG = """options of the sources (--option KEY=VALUE):
  phantom           patients, seed, version (1 or 2), views (of version 2: volume, slice, film, echo)
  pair              images, masks, labels, modality, spacing, axes, patient, title, licence
  nnunet, msd       channel, patient
  m3d-seg           axes
patient is a regular expression that finds the patient in a case name. Sources of mask files also take ignore-unnamed=yes."""
_TILES = 12
_SHOWN_PROBLEMS, _SHOWN_STRUCTURES = 20, 60


def add_inspect(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "inspect",
        help="look at a source of masks",
        description="Print what a source of images and masks holds and what is wrong with it, and draw a contact sheet.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help=f"kind of source: {', '.join(SOURCES)}")
    parser.add_argument("path", metavar="PATH", type=Path, nargs="?", help="folder of the source; none for phantom")
    _source_options(parser)
    parser.add_argument("--limit", metavar="N", type=int, default=64, help="items to load, spread evenly (default 64)")
    parser.add_argument(
        "--sheet", metavar="FILE", type=Path, default=Path("contact-sheet.png"), help="PNG to write (default contact-sheet.png)"
    )
    _finish(parser, run_inspect)


def source_options(args: argparse.Namespace) -> dict[str, str]:
    """The options of the source that the arguments give."""
    from unireason.data.sources.base import pairs
    from unireason.data.sources.labels import IGNORE

    return pairs(args.option) | ({IGNORE: "yes"} if args.ignore_unnamed else {})


def run_inspect(args: argparse.Namespace) -> int:
    """Run the command; 0 when items could be read, 1 when all that were tried failed."""
    from unireason.core.store import write_bytes
    from unireason.data import names
    from unireason.data.sources.base import open_source
    from unireason.data.survey import Even, listed, look_into
    from unireason.report.contact import Tile, sheet, tile
    from unireason.report.html import plural, png

    if args.limit < 1:
        raise FormatError(f"--limit is {args.limit}", "at least 1")
    names.use({} if args.names is None else names.read_own(args.names))
    source = open_source(args.source, args.path, options=source_options(args))
    quiet = args.json or args.quiet
    with status(f"listing {source.name}", quiet=quiet):
        found, items = listed(source, limit=args.limit)
    kept = Even[Tile](_TILES)
    with bar("looking into items", len(items), quiet=quiet) as tell:
        for done, loaded in enumerate(look_into(found, source, items), start=1):
            if loaded is not None:
                kept.add(tile(loaded) if kept.wants_next() else None)
            tell(done)
    tiles = kept.chosen()
    lines = [
        f"source {source.name} · {plural(found.items, 'item')} of {plural(found.patients, 'patient')} · licence {source.licence}",
        f"{len(tiles)} shown; {plural(found.skipped + found.failed, 'problem')}",
    ]
    written = write_bytes(args.sheet, png(sheet(tiles, title=source.title, lines=lines)))
    about = {"source": source.name, "title": source.title, "licence": source.licence, "sheet": str(written)}
    print(json_text(about | found.to_json()) if args.json else "\n".join(_inspect_lines(about, found)))
    return 1 if found.failed and not found.loaded else 0


def _inspect_lines(about: Mapping[str, str], found: Survey) -> list[str]:
    """The findings as text."""
    from unireason.data.names import UNKNOWN, table_of
    from unireason.report.html import plural

    lines = [
        f"{about['title']} ({about['source']}), licence {about['licence']}",
        f"  items        {found.items:,} ({_tally(found.kinds)}), {found.skipped:,} skipped",
        f"  patients     {found.patients:,}",
        f"  modalities   {_tally(found.modalities, 'unknown')}",
    ]
    if set(found.splits) - {""}:
        lines.append(f"  its splits   {_tally(found.splits, 'none')}")
    lines.append(f"  loaded       {found.loaded:,} of {found.loaded + found.failed:,} tried")
    for kind, sizes in sorted(found.sizes.items()):
        lines.append(f"  {kind + ' size':<12} {_ranges(sizes, '{:.0f}')}")
    for kind, spacing in sorted(found.spacing_mm.items()):
        lines.append(f"  {'spacing':<12} {_ranges(spacing, '{:.3g}')} mm ({kind}s)")
    if found.unspaced:
        lines.append(f"  no spacing   {plural(found.unspaced, 'item')}: sizes are told in pixels or voxels")
    ranked = sorted(found.structures.items(), key=lambda entry: (-entry[1][0], entry[0]))
    width = max((len(name) for name, _ in ranked[:_SHOWN_STRUCTURES]), default=0)
    told = [f"{name:<{width}}  {present:>4} of {annotated}" for name, (present, annotated) in ranked]
    lines.append(f"  structures   {len(ranked)} annotated; present in, of items on which annotated:")
    lines += _first(told, _SHOWN_STRUCTURES, "")
    shown = table_of([name for name, _ in ranked])
    unknown = [n["raw"] for n in shown if n["kind"] == UNKNOWN]
    other = [f"{n['raw']}  {n['display']}" for n in shown if n["display"] != n["raw"]]
    if other:
        lines.append(f"  names        {len(other)} are said otherwise than spelled:")
        lines += _first(other, _SHOWN_STRUCTURES, " (see --json)")
    if unknown:
        lines.append(
            f"  not known    {plural(len(unknown), 'name')}, said as spelled and taken for no lesion; --names FILE can tell more:"
        )
        lines += _first(unknown, _SHOWN_STRUCTURES, " (see --json)")
    # What the values in the masks mean; those without a name come first.
    values = sorted(found.legend(), key=lambda entry: entry[1] is not None)
    if values:
        width = max(len(str(value)) for value, _, _ in values)
        named = [(str(value), "(without a name)" if name is None else name or "(no structure)", n) for value, name, n in values]
        lines.append(f"  mask values  {len(values)}; value, name, items looked into that hold it:")
        lines += _first([f"{value:>{width}}  {name}  {n:,}" for value, name, n in named], _SHOWN_STRUCTURES, " (see --json)")
    count = found.skipped + found.failed
    lines.append(f"  problems     {count:,}:" if count else "  problems     none")
    if count:
        lines += [f"    {item}: {without_options(reason)}" for item, reason in found.problems[:_SHOWN_PROBLEMS]]
        lines += [f"    ... and {count - _SHOWN_PROBLEMS:,} more (see --json)"] if count > _SHOWN_PROBLEMS else []
    return [*lines, f"  contact sheet: {about['sheet']}"]


def _first(lines: list[str], most: int, where: str) -> list[str]:
    """The first lines, and how many more there are."""
    shown = [f"    {line}" for line in lines[:most]]
    return [*shown, f"    ... and {len(lines) - most} more{where}"] if len(lines) > most else shown


def _tally(counts: Mapping[str, int], nameless: str = "") -> str:
    return ", ".join(f"{n:,} {key or nameless}" for key, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _ranges(pairs: list[list[float]], form: str) -> str:
    ends = [(form.format(low), form.format(high)) for low, high in pairs]
    return " x ".join(low if low == high else f"{low}-{high}" for low, high in ends)


# --- ``unireason data build SOURCE [PATH]``: masks become a grounded reasoning data set.


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


def add_build(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "build",
        help="build a data set from masks",
        description="Build a grounded reasoning data set from images or volumes with masks. Started again, it goes on where it stopped.",
    )
    parser.add_argument("source", metavar="SOURCE", help="kind of source; see: unireason data inspect --help")
    parser.add_argument("path", metavar="PATH", type=Path, nargs="?", help="folder of the source; none for phantom")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the data set")
    _source_options(parser)
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
        "--implicit-volumes", metavar="N", type=int, default=0, help="the same a volume, answered by a cuboid (default 0)"
    )
    parser.add_argument(
        "--open", metavar="SHARE", type=float, default=0.0, help="share of the questions asked without options (default 0)"
    )
    parser.add_argument(
        "--most", metavar="N", type=int, help="most questions with options of each kind, 2D and 3D (default no limit)"
    )
    parser.add_argument(
        "--splits", metavar="T,V,T", default="0.8,0.1,0.1", help="shares of train, validation and test, by patient"
    )
    parser.add_argument("--embed", action="store_true", help="store pictures and masks in the data set")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where the processes run (default local)")
    group = parser.add_argument_group("reasoning")
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
    group.add_argument(
        "--vision", action="store_true", help="llm: send the picture along, with the boxes of structures drawn on it"
    )
    group.add_argument("--told", action="store_true", help="llm: tell the right answer, which the model has to find otherwise")
    group.add_argument("--request", metavar="JSON", default="{}", help="llm: further fields of every request, as a JSON object")
    group.add_argument("--budget-tokens", metavar="N", type=int, help="llm: stop asking after so many tokens")
    group.add_argument("--budget-requests", metavar="N", type=int, help="llm: stop asking after so many replies")
    _finish(parser, run_build)


def run_build(args: argparse.Namespace) -> int:
    """Run the command; 0 when the data set is there."""
    from unireason.data.pipeline import Hands, LocalPool, build

    config, annotator = read_config(args), _annotator(args)
    engine: Any = LocalPool(args.workers)
    if args.engine == "ray":
        from unireason.cluster.ray_units import RayData

        engine = RayData(args.workers)
    with _stages(quiet=args.json or args.quiet) as progress:
        # A service is asked by one process, which keeps its own number of requests in flight and its own budget.
        writing = LocalPool(1) if args.annotator == "llm" else None
        with keeping(f"what is done is kept in '{args.out}'; the same command goes on with the rest"):
            manifest = build(config, args.out, annotator=annotator, hands=Hands(engine, writing, progress))
    print(json_text(summary(args.out, manifest)) if args.json else _told(args.out, manifest))
    return 0


def _slices(source: str, options: dict[str, str]) -> int:
    """Slices of a volume taken as images where it is not said; phantoms of version 2 have pictures of their own."""
    return 0 if options.get("version") == "2" else DEFAULT_SLICES.get(source, 0)


def read_config(args: argparse.Namespace) -> Any:
    """The build that the arguments describe."""
    from unireason.data.build_store import BuildConfig
    from unireason.data.frames import rule
    from unireason.data.names import read_own

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
        slices=_slices(args.source, options) if args.slices is None else args.slices,
        questions=args.questions,
        implicit=args.implicit,
        implicit_volumes=args.implicit_volumes,
        open=args.open,
        most=args.most,
        shares=shares,  # type: ignore[arg-type]  # checked by the config
        embed=args.embed,
        annotator=args.annotator,
        annotation=_annotation(args),
        names={} if args.names is None else read_own(args.names),
    )


def _annotator(args: argparse.Namespace) -> Any:
    if args.annotator == "template":
        from unireason.data.rationale.template import TemplateAnnotator

        return TemplateAnnotator()
    from unireason.data.rationale.llm import LlmAnnotator

    if not args.endpoint or not args.model:
        raise FormatError("--annotator llm was asked for", "--endpoint URL and --model NAME", "give both")
    return LlmAnnotator(args.endpoint, args.model, settings=_llm_settings(args))


def _llm_settings(args: argparse.Namespace) -> Any:
    """Settings out of the arguments that were given; what was not keeps its default."""
    from unireason.data.rationale.prompt import LlmSettings

    names = ("cache", "concurrency", "budget_tokens", "budget_requests", "temperature", "max_tokens")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    try:
        extra = json.loads(args.request)
    except ValueError as error:
        raise FormatError(f"--request is {args.request!r} ({error})", "a JSON object") from error
    if not isinstance(extra, dict):
        raise FormatError(f"--request is {args.request!r}", "a JSON object")
    return LlmSettings(key_env=args.key_env, extra=extra, blind=not args.told, vision=args.vision, **given)


def _annotation(args: argparse.Namespace) -> dict[str, Any]:
    """What of the annotator's settings shapes the result."""
    if args.annotator == "template":
        return {}
    import hashlib

    from unireason.data.rationale.prompt import VERSION, chat_url

    settings = _llm_settings(args)
    # Another endpoint may call another model by the same name; its address itself is nobody's business who gets the data set.
    endpoint = hashlib.sha256(chat_url(args.endpoint).encode()).hexdigest()[:16]
    rules = {name: getattr(settings, name) for name in ("budget_tokens", "budget_requests", "repair", "blind", "vision")}
    asked = {"endpoint_sha256": endpoint, "model": args.model, "prompt": VERSION}
    return {**asked, **settings.sampling(), **rules, "rules": asdict(settings.rules)}


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
    return {"out": str(out), **{key: manifest[key] for key in ("counts", "skipped", "content_sha256")}}


def _told(out: Path, manifest: Mapping[str, Any]) -> str:
    from unireason.report.html import plural

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


# --- ``unireason data export DIR --format LAYOUT --out DIR2``: a data set in the layout of a trainer or evaluator.


SPLITS = ("train", "validation", "test")


def add_export(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "export",
        help="write a data set in another layout",
        description="Write a built data set in the layout of UniMed-CoT, U-MRG-14K, LLaMA-Factory, verl or VLMEvalKit.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a data set made by: unireason data build")
    parser.add_argument("--format", choices=WRITABLE, required=True, help="the layout")
    parser.add_argument("--out", metavar="DIR2", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--split", choices=SPLITS, help="one split (default: all; unimed-cot: train)")
    parser.add_argument("--root", metavar="PATH", type=Path, help="where the source lies now, if pictures are not embedded")
    parser.add_argument(
        "--agent-name", metavar="NAME", default="", help="agent_name of rows of unimed-cot and verl (default: their own)"
    )
    _finish(parser, run_export, quiet=False)


def run_export(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.data.dataset import Dataset
    from unireason.data.formats.exporters import export

    dataset = Dataset.open(args.folder)
    cases = dataset.manifest.get("counts", {}).get("cases_by_split", {})
    chosen = [args.split] if args.split else ["train"] if args.format == "unimed-cot" else list(cases)
    total = sum(int(cases.get(name, 0)) for name in chosen)
    quiet = args.json or not sys.stderr.isatty()
    with bar(f"writing {args.format}", total, quiet=quiet) as progress:
        done = export(dataset, args.format, args.out, split=args.split, root=args.root, agent=args.agent_name, progress=progress)
    if args.json:
        print(json_text({"folder": str(args.out), "format": done.layout, "rows": done.rows, "pictures": done.pictures}))
    else:
        said = ", ".join(f"{number:,} {name}" for name, number in done.rows.items())
        print(f"{args.out}: {said}" + (f", {done.pictures:,} picture files" if done.pictures else ""))
    return 0


# --- ``unireason data import LAYOUT PATH --out DIR``: a published release becomes a data set to train and evaluate on.


def add_import(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "import",
        help="turn a published release into a data set",
        description=(
            "Read UniMed-CoT or U-MRG-14K as downloaded and write a data set with its pictures, as data build does. Rows that cannot be "
            "learned from are listed in skipped.jsonl. Exits 1 if rows were left out because the release is not whole."
        ),
    )
    parser.add_argument("format", metavar="LAYOUT", choices=READABLE, help="unimed-cot or umrg")
    parser.add_argument("path", metavar="PATH", type=Path, help="the release")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--volumes", metavar="DIR", type=Path, help="folder of the volumes that 3D rows name (unimed-cot)")
    parser.add_argument(
        "--frame", metavar="FRAME", default="published", help="published, phantom or a checkpoint folder (default published)"
    )
    parser.add_argument(
        "--validation", metavar="SHARE", type=float, default=0.0, help="share of the training pictures held out (default 0)"
    )
    _finish(parser, run_import, quiet=False)


def run_import(args: argparse.Namespace) -> int:
    """Run the command; 0 when the data set is there, 1 when it is there and the release is not whole."""
    from unireason.data.formats.importer import Wanted, rows_in, take_in
    from unireason.data.frames import rule

    wanted = Wanted(rule(args.frame), args.validation, args.volumes)
    quiet = args.json or not sys.stderr.isatty()
    with bar(f"reading {args.format}", rows_in(args.format, args.path), quiet=quiet) as progress:
        manifest = take_in(args.format, args.path, args.out, wanted=wanted, progress=progress)
    print(json_text(summary(args.out, manifest), ensure_ascii=False) if args.json else _import_told(args.out, manifest))
    return 1 if manifest["counts"]["broken"] else 0


def _import_told(out: Path, manifest: dict[str, Any]) -> str:
    from unireason.grounding.profile import PROFILE_FILE
    from unireason.report.html import plural

    def counted(name: str) -> str:
        return ", ".join(f"{key} {number:,}" for key, number in counts.get(name, {}).items()) or "none"

    counts = manifest["counts"]
    lines = [f"{plural(counts['samples'], 'sample')} ({counted('by_kind')}) about {plural(counts['cases'], 'case')} in {out}"]
    lines += [f"splits: {counted('by_split')}", f"for training by: {counted('stages')}"]
    if (out / PROFILE_FILE).exists():
        lines.append(f"asked as its rows ask: {out / PROFILE_FILE} (train with --set model.profile={out})")
    if manifest["skipped"]:
        lines.append(f"{plural(manifest['skipped'], 'row')} left out, see {out / 'skipped.jsonl'}: {counted('dropped')}")
    if counts["other_crops"]:
        lines.append(
            f"{plural(counts['other_crops'], 'row')} with another number of crops than the engine cuts; its own are shown in training"
        )
    return "\n".join([*lines, f"content {manifest['content_sha256']}", f"check it with: unireason data check {out}"])
