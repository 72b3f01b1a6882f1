"""One build from start to end; started again after a kill, it goes on with what is missing."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unireason.core.errors import UniReasonError
from unireason.core.types import Frame
from unireason.data.questions.distractors import PeerChoice, Peers
from unireason.data.questions.families import candidates
from unireason.data.questions.referring import implicit
from unireason.data.rationale.template import Annotation, Annotator, Dropped, Task
from unireason.data.sources.base import open_source

from .build_store import FOLDER, BuildConfig, BuildFolder, BuildUnit, gather, read_json, write_json
from .dataset import MANIFEST, Dataset
from .frames import embedded
from .item import CaseSource, Item, Loaded, Skipped, UnnamedError
from .measure import describe
from .parquet import write_table
from .records import (
    CaseRecord,
    ImageRecord,
    SampleRecord,
    case_from_row,
    case_row,
    image_row,
    sample_row,
    scene_from_row,
    scene_row,
)
from .regions import axial, busy
from .scene import FAMILIES, IMPLICIT, DataQuestion, Scene, group
from .select import Selector, assign, duplicates, grouped, perceptual_hash

# --- Units on the cores of one machine: a process pool that keeps little in flight and never outlives its parent.


UnitFunction = Callable[[BuildUnit], int]
"""Does one unit and returns the number of items done; picklable."""


class Engine(Protocol):
    """Runs a function on all units, in any order and on any machine that sees the same files."""

    def __call__(self, function: UnitFunction, units: Iterable[BuildUnit]) -> Iterator[int]:
        """Yields what the function returned, as units finish."""
        ...


class LocalPool:
    """``workers`` processes of one thread each; one worker means this very process."""

    def __init__(self, workers: int) -> None:
        """Set the number of processes."""
        if workers < 1:
            raise UniReasonError(f"{workers} workers were asked for", "at least 1")
        self.workers = workers

    def __call__(self, function: UnitFunction, units: Iterable[BuildUnit]) -> Iterator[int]:
        """See ``Engine``."""
        if self.workers == 1:
            yield from map(function, units)
            return
        context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
        with ProcessPoolExecutor(self.workers, mp_context=context, initializer=start_worker) as pool:
            try:
                yield from self._flow(pool, function, iter(units))
            except BrokenProcessPool as error:
                raise UniReasonError(
                    "a worker process died", "", "it may have run out of memory: try fewer workers; what is done is kept"
                ) from error
            except (KeyboardInterrupt, GeneratorExit):  # nobody waits for units that are half done: they leave nothing behind
                for worker in set(multiprocessing.active_children()) - others:
                    worker.kill()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _flow(self, pool: ProcessPoolExecutor, function: UnitFunction, units: Iterator[BuildUnit]) -> Iterator[int]:
        """Keeps two units a worker in flight, so that a list of millions costs no memory."""
        flying: set[Future[int]] = set()
        while True:
            while len(flying) < 2 * self.workers and (unit := next(units, None)) is not None:
                flying.add(pool.submit(function, unit))
            if not flying:
                return
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def start_worker() -> None:
    """Prepare a worker process: one thread for numerical libraries, and an end as soon as its parent is gone, which alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


# --- What is done to a unit of items: draft (masks to scenes), ask (scenes to candidate questions), write (chosen questions to
# rows).


CANDIDATES = 12  # a family and case
UNITS_A_BLOCK = 4  # patients exchange boxes and sizes inside a block


@dataclass(frozen=True, slots=True)
class DraftUnit:
    """Drafts units: the first map of a build. Picklable."""

    config: BuildConfig
    folder: Path

    def __call__(self, unit: BuildUnit) -> int:
        """Draft one unit unless that is done already; returns its number of items."""
        work = BuildFolder(self.folder)
        if work.draft(unit).exists():
            return unit.count
        source = open_source(self.config.source, self.config.root, options=self.config.options)
        cases: list[dict[str, Any]] = []
        skipped: list[list[str]] = []
        images: list[ImageRecord] = []
        for item in work.read_items(unit):
            name = f"{self.config.source}:{item.id}"
            try:
                loaded = source.load(item)
                cases.append(self._case(loaded, name, -1, images))
            except UnnamedError:
                raise  # not this file is wrong but what was said about all of them: leaving out what holds it would hide that
            except UniReasonError as error:
                skipped.append([item.id, str(error)])
                continue
            for k in self._slices(loaded, name):
                try:
                    cases.append(self._case(axial(loaded, k), slice_name(name, k), k, images))
                except UniReasonError as error:
                    skipped.append([slice_name(item.id, k), str(error)])
        if self.config.embed:
            write_table(work.pictures(unit), "images", [image_row(i) for i in images])
        write_json(work.draft(unit), {"cases": cases, "skipped": skipped})
        return unit.count

    def _slices(self, loaded: Loaded, name: str) -> Sequence[int]:
        """Numbers of the slices that are cut out of an item."""
        if loaded.item.kind == "image":
            return ()
        return busy(loaded, self.config.slices, generator(self.config.seed, name, "slices"))

    def _case(self, loaded: Loaded, name: str, k: int, images: list[ImageRecord]) -> dict[str, Any]:
        scene = describe(loaded, self.config.frame, case=name, patient=loaded.item.patient)
        record = CaseRecord(
            scene=scene,
            source=self.config.source,
            item=loaded.item.id,
            image=loaded.item.image,
            slice=k,
            sha256=loaded.case.source.sha256,
            phash=perceptual_hash(loaded.case),
            split="",
            window=self.config.frame.window,
        )
        if self.config.embed:
            images += embedded(loaded, scene, self.config.frame)
        return case_row(record)


@dataclass(frozen=True, slots=True)
class AskUnit:
    """Asks about the scenes of units: the second map of a build. Picklable."""

    config: BuildConfig
    folder: Path

    def __call__(self, unit: BuildUnit) -> int:
        """Write the candidate questions of one unit unless that is done already; returns its number of items."""
        work = BuildFolder(self.folder)
        if work.asked(unit).exists():
            return unit.count
        shelf = _shelf(self.folder, self.config.identity())
        scenes = shelf.scenes(unit)
        peers = shelf.peers and shelf.peers.beside(shelf.near(unit))
        asked = []
        for scene in scenes:
            questions = candidates(scene, generator(self.config.seed, scene.case, "questions"), each=CANDIDATES, peers=peers)
            targets = implicit(scene, generator(self.config.seed, scene.case, "implicit"))
            asked.append([asdict(q) for q in (*questions, *targets)])
        write_json(work.asked(unit), asked)
        return unit.count


class SceneShelf:
    """What a worker reads again and again while it asks, kept in bounded number."""

    def __init__(self, work: BuildFolder) -> None:
        """Read the plan and the peers."""
        self._work = work
        self._units = work.units()
        rows = read_json(work.peers)
        self.peers = Peers(scene_from_row(row) for row in rows) if rows else None
        self._scenes: OrderedDict[int, list[Scene]] = OrderedDict()

    def scenes(self, unit: BuildUnit) -> list[Scene]:
        """The scenes of a unit."""
        found = self._scenes.get(unit.number)
        if found is None:
            found = self._scenes[unit.number] = [scene_from_row(row) for row in read_json(self._work.draft(unit))["cases"]]
            while len(self._scenes) > 2 * UNITS_A_BLOCK:
                self._scenes.popitem(last=False)
        return found

    def near(self, unit: BuildUnit) -> list[Scene]:
        """Scenes of the block of units to which a unit belongs; the same for all of them, so that each scene lends once."""
        first = unit.number // UNITS_A_BLOCK * UNITS_A_BLOCK
        return [scene for other in self._units[first : first + UNITS_A_BLOCK] for scene in self.scenes(other)]


def forget() -> None:
    """Let go of what was read for an earlier build."""
    _shelf.cache_clear()


@lru_cache(maxsize=1)
def _shelf(folder: Path, identity: str) -> SceneShelf:
    """The shelf of a build; kept, because every unit of a worker needs it."""
    return SceneShelf(BuildFolder(folder))


@dataclass(frozen=True, slots=True)
class WriteUnit:
    """Writes the rows of units: the third map of a build. Picklable."""

    config: BuildConfig
    folder: Path
    annotator: Annotator
    again: bool = False

    def __call__(self, unit: BuildUnit) -> int:
        """Write the rows of one unit unless that is done already; returns its number of items."""
        work = BuildFolder(self.folder)
        if work.rows(unit).exists() and not self.again:
            return unit.count
        draft, asked, choice = (read_json(path(unit)) for path in (work.draft, work.asked, work.choice))
        cases = [replace(case_from_row(row), split=s) for row, s in zip(draft["cases"], choice["splits"], strict=True)]
        pairs = [
            (case, question_from_json(questions[i]))
            for case, questions, chosen in zip(cases, asked, choice["chosen"], strict=True)
            for i in chosen
        ]
        tasks = [Task(sample_id(case.scene.case, q), q, case.scene) for case, q in pairs]
        written = self.annotator.annotate(tasks)
        samples = [
            sample_row(_sample(case, task, found))
            for (case, _), task, found in zip(pairs, tasks, written, strict=True)
            if isinstance(found, Annotation)
        ]
        dropped = Counter(found.reason for found in written if isinstance(found, Dropped))
        kept = {row["case"] for row in samples}
        rows = {
            "cases": [case_row(c) for c in cases if c.scene.case in kept],
            "samples": samples,
            "dropped": dict(sorted(dropped.items())),
            "skipped": draft["skipped"],
        }
        write_json(work.rows(unit), rows)
        return unit.count


def slice_name(name: str, k: int) -> str:
    """Identifier of a slice cut out of what has the name."""
    return f"{name}:z{k:04d}"


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on nothing but a seed and names."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def sample_id(case: str, question: DataQuestion) -> str:
    """16 hex digits that name a question on a case."""
    text = "\0".join((case, question.family, question.text, *question.options, *question.about))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def question_from_json(values: dict[str, Any]) -> DataQuestion:
    """A question from plain values."""
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return DataQuestion(**plain)


def _sample(case: CaseRecord, task: Task, found: Annotation) -> SampleRecord:
    question, scene = task.question, case.scene
    record = SampleRecord(task.id, scene.case, scene.patient, case.split, scene.kind, question, found.reasoning, found.annotator)
    return replace(record, **_target(question, scene)) if question.family == IMPLICIT else record


def _target(question: DataQuestion, scene: Scene) -> dict[str, Any]:
    """What an implicit question is after."""
    target = scene.structures[question.needs[0]]
    return {"box": target.box_model, "points": target.points, "category": target.name, "supercategory": group(target.name)}


# --- The two passes in order: the survey of all scenes (splits, peers), and the choice of questions.


LEAST_PATIENTS = 8
"""With fewer there are no peers: hardly an option would be left."""

Progress = Callable[[int], None]


def survey(config: BuildConfig, work: BuildFolder, units: Sequence[BuildUnit], progress: Progress) -> None:
    """Look at all scenes: who belongs to which split, and whose scenes serve as peers; does nothing if that is done."""
    if work.splits.exists():
        return
    numbers: dict[str, int] = {}
    hashed: list[str] = []
    owners: list[int] = []
    peers = PeerChoice(config.seed)
    for unit in units:
        for row in read_json(work.draft(unit))["cases"]:
            number = numbers.setdefault(row["patient"], len(numbers))
            if row["phash"]:
                hashed.append(row["phash"])
                owners.append(number)
            peers.offer(scene_from_row(row))
        progress(unit.count)
    patients = list(numbers)
    write_json(work.peers, [scene_row(scene) for scene in peers.chosen()] if len(patients) >= LEAST_PATIENTS else [])
    groups = grouped(patients, duplicates(hashed, owners, near=config.near))
    write_json(work.splits, assign(patients, seed=config.seed, source=config.source, shares=config.shares, groups=groups))


def choose(config: BuildConfig, work: BuildFolder, units: Sequence[BuildUnit], progress: Progress) -> None:
    """Choose the questions of all units; does nothing if that is done."""
    if work.selected.exists():
        return
    splits = read_json(work.splits)
    # One selector a kind: a balance over both would let one kind's lean hide the other's.
    selectors = {kind: Selector(FAMILIES, each_case=config.questions, seed=config.seed) for kind in ("image", "volume")}
    counts: Counter[str] = Counter()
    for unit in units:
        chosen, used = [], []
        for row, asked in zip(read_json(work.draft(unit))["cases"], read_json(work.asked(unit)), strict=True):
            kind = row["kind"]
            questions = [question_from_json(q) for q in asked]
            room = config.questions if config.most is None else min(config.questions, config.most - counts[kind])
            width, height, depth = row["frame"]
            picked = selectors[kind].choose(questions, Frame(width, height, depth, kind), most=room)
            counts[kind] += len(picked)
            wanted = config.implicit if picked or config.questions == 0 else 0
            picked += [i for i, q in enumerate(questions) if q.family == IMPLICIT][:wanted]
            chosen.append(picked)
            used.append(splits[row["patient"]])
        write_json(work.choice(unit), {"chosen": chosen, "splits": used})
        progress(unit.count)
    write_json(work.selected, dict(counts))


# --- One build from start to end; started again after a kill, it goes on with what is missing.


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
    work = BuildFolder(out / FOLDER)
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


def _build(config: BuildConfig, work: BuildFolder, source: CaseSource, *, annotator: Annotator, doing: Hands) -> dict[str, Any]:
    """All stages, each of which does what is not yet done."""
    units = _plan(config, work, source, doing)
    total = sum(unit.count for unit in units)
    doing.progress("list", total, total)

    def run(stage: str, engine: Engine, function: DraftUnit | AskUnit | WriteUnit) -> None:
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

    run("draft", doing.engine, DraftUnit(config, work.folder))
    _some(work, units)
    survey(config, work, units, ordered("survey"))
    forget()
    run("ask", doing.engine, AskUnit(config, work.folder))
    choose(config, work, units, ordered("select"))
    again = config.annotator == "llm"
    run("write", doing.writing or doing.engine, WriteUnit(config, work.folder, annotator, again))
    return gather(config, work, units, source=source, progress=ordered("gather"))


def _finished(config: BuildConfig, out: Path, work: BuildFolder) -> dict[str, Any]:
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


def _plan(config: BuildConfig, work: BuildFolder, source: CaseSource, hands: Hands) -> list[BuildUnit]:
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


def _some(work: BuildFolder, units: list[BuildUnit]) -> None:
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
