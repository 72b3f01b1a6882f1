"""``unireason data inspect SOURCE [PATH]``: what a source holds, what is wrong with it, and a contact sheet."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.cli.asking import without_options
from unireason.files import json_text

if TYPE_CHECKING:
    from unireason.data.item import Source
    from unireason.data.sources.survey import Survey
    from unireason.report.contact import Tile

# What `data.sources.catalogue` offers; written out so that help loads nothing, and held against it by a test.
SOURCES = ("phantom", "pair", "nnunet", "msd", "amos", "totalsegmentator", "sa-med2d", "m3d-seg", "slake")
_EPILOG = """options of the sources (--option KEY=VALUE):
  phantom           patients, seed
  pair              images, masks, labels, modality, spacing, axes, patient, title, licence
  nnunet, msd       channel, patient
  m3d-seg           axes
patient is a regular expression that finds the patient in a case name. Sources of mask files also take ignore-unnamed=yes."""
_TILES = 12
_SHOWN_PROBLEMS, _SHOWN_STRUCTURES = 20, 60


def add_parser(subparsers: Any) -> None:
    """Add the subcommand to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "inspect",
        help="look at a source of masks",
        description="Print what a source of images and masks holds and what is wrong with it, and draw a contact sheet.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help=f"kind of source: {', '.join(SOURCES)}")
    parser.add_argument("path", metavar="PATH", type=Path, nargs="?", help="folder of the source; none for phantom")
    parser.add_argument(
        "--option", metavar="KEY=VALUE", action="append", default=[], help="option of the source; may be repeated"
    )
    add_ignore_unnamed(parser)
    parser.add_argument("--limit", metavar="N", type=int, default=64, help="items to load, spread evenly (default 64)")
    parser.add_argument(
        "--sheet", metavar="FILE", type=Path, default=Path("contact-sheet.png"), help="PNG to write (default contact-sheet.png)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def add_ignore_unnamed(parser: argparse.ArgumentParser) -> None:
    """Add the flag of commands that read masks of a source."""
    parser.add_argument(
        "--ignore-unnamed", action="store_true", help="take mask values without a name for background (default: an error)"
    )


def source_options(args: argparse.Namespace) -> dict[str, str]:
    """The options of the source that the arguments give.

    Raises:
        FormatError: If one is no KEY=VALUE.
    """
    from unireason.data.sources.labels import IGNORE
    from unireason.data.sources.options import pairs

    return pairs(args.option) | ({IGNORE: "yes"} if args.ignore_unnamed else {})


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when items could be read, 1 when all that were tried failed."""
    from unireason.cli.progress import bar, status
    from unireason.data.sources.catalogue import open_source
    from unireason.data.sources.survey import Even, listed, look_into
    from unireason.errors import FormatError
    from unireason.report.contact import Tile, tile

    if args.limit < 1:
        raise FormatError(f"--limit is {args.limit}", "at least 1")
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
    written = _write_sheet(source, found, tiles, args.sheet)
    about = {"source": source.name, "title": source.title, "licence": source.licence, "sheet": str(written)}
    print(json_text(about | found.to_json()) if args.json else "\n".join(_lines(about, found)))
    return 1 if found.failed and not found.loaded else 0


def _write_sheet(source: Source, found: Survey, tiles: list[Tile], path: Path) -> Path:
    from unireason.files import write_bytes
    from unireason.report.contact import sheet
    from unireason.report.pixels import png

    lines = [
        f"source {source.name} · {_counted(found.items, 'item')} of {_counted(found.patients, 'patient')} · licence {source.licence}",
        f"{len(tiles)} shown; {_counted(found.skipped + found.failed, 'problem')}",
    ]
    return write_bytes(path, png(sheet(tiles, title=source.title, lines=lines)))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _lines(about: Mapping[str, str], found: Survey) -> list[str]:
    """The findings as text."""
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
        lines.append(f"  no spacing   {_counted(found.unspaced, 'item')}: sizes are told in pixels or voxels")
    lines += [*_structures(found), *_values(found), *_problems(found)]
    return [*lines, f"  contact sheet: {about['sheet']}"]


def _tally(counts: Mapping[str, int], nameless: str = "") -> str:
    return ", ".join(f"{n:,} {key or nameless}" for key, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _ranges(pairs: list[list[float]], form: str) -> str:
    ends = [(form.format(low), form.format(high)) for low, high in pairs]
    return " x ".join(low if low == high else f"{low}-{high}" for low, high in ends)


def _structures(found: Survey) -> list[str]:
    ranked = sorted(found.structures.items(), key=lambda entry: (-entry[1][0], entry[0]))
    width = max((len(name) for name, _ in ranked[:_SHOWN_STRUCTURES]), default=0)
    lines = [f"  structures   {len(ranked)} annotated; present in, of items on which annotated:"]
    lines += [f"    {name:<{width}}  {present:>4} of {annotated}" for name, (present, annotated) in ranked[:_SHOWN_STRUCTURES]]
    return [*lines, *([f"    ... and {len(ranked) - _SHOWN_STRUCTURES} more"] if len(ranked) > _SHOWN_STRUCTURES else [])]


def _values(found: Survey) -> list[str]:
    """What the values in the masks mean; those without a name come first."""
    rows = sorted(found.legend(), key=lambda row: row[1] is not None)
    if not rows:
        return []
    width = max(len(str(value)) for value, _, _ in rows)
    named = [(str(value), "(without a name)" if name is None else name or "(no structure)", n) for value, name, n in rows]
    lines = [f"  mask values  {len(rows)}; value, name, items looked into that hold it:"]
    lines += [f"    {value:>{width}}  {name}  {n:,}" for value, name, n in named[:_SHOWN_STRUCTURES]]
    return [
        *lines,
        *([f"    ... and {len(rows) - _SHOWN_STRUCTURES} more (see --json)"] if len(rows) > _SHOWN_STRUCTURES else []),
    ]


def _problems(found: Survey) -> list[str]:
    count = found.skipped + found.failed
    if not count:
        return ["  problems     none"]
    lines = [f"  problems     {count:,}:"]
    lines += [f"    {item}: {without_options(reason)}" for item, reason in found.problems[:_SHOWN_PROBLEMS]]
    return [*lines, *([f"    ... and {count - _SHOWN_PROBLEMS:,} more (see --json)"] if count > _SHOWN_PROBLEMS else [])]
