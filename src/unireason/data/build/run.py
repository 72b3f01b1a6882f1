"""One build from start to end; started again after a kill, it goes on with what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.data.annotate.protocol import Annotator
from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.item import Item, Skipped, Source
from unireason.data.sources.catalogue import open_source
from unireason.errors import UniReasonError

from .choose import choose, survey
from .config import BuildConfig
from .gather import gather
from .pool import Engine, LocalPool
from .units import Ask, Draft, Write, forget
from .work import FOLDER, Unit, Work, read_json

STAGES = ("list", "draft", "survey", "ask", "select", "write", "gather")


@dataclass(frozen=True, slots=True)
class Hands:
    """Who does the work. Nothing in here changes the result.

    Attributes:
        engine: Runs the units of the maps.
        writing: Runs the units of the last map where it must be another, as for an annotator that keeps its own concurrency;
            None takes ``engine``.
        progress: Called with stage, items done, items in all (0 while unknown).
    """

    engine: Engine
    writing: Engine | None = None
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None


def build(config: BuildConfig, out: Path, *, annotator: Annotator, hands: Hands | None = None) -> dict[str, Any]:
    """Build a data set, or go on with one that was begun.

    Args:
        config: What to build.
        out: Folder of the data set; created if missing.
        annotator: Writes the reasoning; its name and settings belong into ``config``.
        hands: Who does the work; None means this process.

    Returns:
        The manifest.

    Raises:
        UniReasonError: If the source cannot be used, the folder holds something else, cannot be written or is in use.
    """
    work = Work(out / FOLDER)
    try:
        if (out / MANIFEST).exists():
            return _finished(config, out, work)
        _own(out)
        source = open_source(config.source, config.root, options=config.options)
        with work.alone():
            # Another process may have finished between the look above and the lock.
            if (out / MANIFEST).exists():
                return _finished(config, out, work)
            manifest = _build(config, work, source, annotator=annotator, doing=hands or Hands(LocalPool(1)))
        work.remove()
        return manifest
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise UniReasonError(
            f"the build in '{out}' stopped ({reason})",
            "a folder that may be written, on a disk with room",
            "put that right and start again: what is done is kept",
        ) from error


def _build(config: BuildConfig, work: Work, source: Source, *, annotator: Annotator, doing: Hands) -> dict[str, Any]:
    """All stages, each of which does what is not yet done."""
    units = _plan(config, work, source, doing)
    total = sum(unit.count for unit in units)
    doing.progress("list", total, total)

    def run(stage: str, engine: Engine, function: Draft | Ask | Write) -> None:
        done = 0
        doing.progress(stage, 0, total)
        for count in engine(function, units):
            done += count
            doing.progress(stage, done, total)

    def ordered(stage: str) -> Callable[[int], None]:
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            doing.progress(stage, done, total)

        return tell

    run("draft", doing.engine, Draft(config, work.folder))
    _some(work, units)
    survey(config, work, units, ordered("survey"))
    forget()
    run("ask", doing.engine, Ask(config, work.folder))
    choose(config, work, units, ordered("select"))
    again = config.annotator == "llm"
    run("write", doing.writing or doing.engine, Write(config, work.folder, annotator, again))
    return gather(config, work, units, source=source, progress=ordered("gather"))


def _finished(config: BuildConfig, out: Path, work: Work) -> dict[str, Any]:
    """The manifest of a build that was finished before."""
    dataset = Dataset.open(out)
    if dataset.manifest.get("config") != config.to_json():
        raise _another(out)
    if dataset.origin is not None and str(dataset.origin) != config.place:
        raise _elsewhere(out, str(dataset.origin))
    work.remove()
    return dict(dataset.manifest)


def _another(out: Path) -> UniReasonError:
    return UniReasonError(
        f"'{out}' holds a data set built with other settings",
        "an empty folder, or the same settings",
        "choose another --out",
    )


def _elsewhere(out: Path, root: str) -> UniReasonError:
    return UniReasonError(
        f"'{out}' holds a data set built from '{root}'", "an empty folder, or the same source", "choose another --out"
    )


def _own(out: Path) -> None:
    """Refuse a folder that holds files of somebody else."""
    if out.is_dir() and not (out / FOLDER).is_dir() and any(out.iterdir()):
        raise UniReasonError(f"the folder '{out}' is not empty", "a new or empty folder", "choose another --out")
    if out.exists() and not out.is_dir():
        raise UniReasonError(f"'{out}' is a file", "a folder", "choose another --out")


def _plan(config: BuildConfig, work: Work, source: Source, hands: Hands) -> list[Unit]:
    """The units, listed once and then taken from the plan."""
    if not work.plan.exists():
        hands.progress("list", 0, 0)
        try:
            work.write_plan(config.identity(), _told(source.items(), hands), unit_items=config.unit_items, place=config.place)
        except UniReasonError:
            work.discard()
            raise
    plan = work.read_plan()
    if plan.identity != config.identity():
        raise _another(work.folder.parent)
    if plan.place != config.place:
        raise _elsewhere(work.folder.parent, plan.place)
    return list(plan.units)


def _told(items: Iterable[Item | Skipped], hands: Hands) -> Iterable[Item | Skipped]:
    for number, item in enumerate(items, start=1):
        if number % 1000 == 0:
            hands.progress("list", number, 0)
        yield item


def _some(work: Work, units: list[Unit]) -> None:
    """Fail if not a single item could be read."""
    first = ""
    for unit in units:
        draft = read_json(work.draft(unit))
        if draft["cases"]:
            return
        first = first or f"{draft['skipped'][0][0]}: {draft['skipped'][0][1]}"
    work.discard()
    raise UniReasonError(
        f"not one item of the source could be used. First: {first}", "", "look at it with: unireason data inspect"
    )
