"""One build from start to end: list, draft, survey, ask, select, write, gather. Started again after a kill, it goes on with what is
missing.

Draft, ask and write go through the units of the source in any order, on any number of processes; what lies between them sees all
units in order.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unireason.core.errors import UniReasonError
from unireason.core.types import Frame
from unireason.data.questions.distractors import Dice, PeerChoice, Peers
from unireason.data.questions.families import candidates
from unireason.data.questions.referring import implicit
from unireason.data.questions.wording import freely
from unireason.data.rationale import prompt
from unireason.data.rationale.template import Annotation, Annotator, Dropped, Task
from unireason.data.sources.base import open_source

from . import names
from .build_store import (
    FOLDER,
    BuildConfig,
    BuildFolder,
    BuildTally,
    BuildUnit,
    command,
    question_from_json,
    read_json,
    seal,
    write_json,
)
from .dataset import MANIFEST, ORIGIN, Dataset
from .dataset_card import CARD
from .frames import embedded, marked, model_pictures
from .item import CaseSource, Item, Loaded, Skipped, UnnamedError
from .measure import describe
from .parquet import TABLES, rows, table_writers, write_table
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


# --- The stages in order. Those with a unit as last argument are maps, bound to a build by ``partial``; each does nothing for what is
# done already, and returns the number of items of its unit.


STAGES = ("list", "draft", "survey", "ask", "select", "write", "gather")
CANDIDATES = 12  # a family and case
MOST_CLOCK = 0.1  # of the implicit questions speak of the clock
UNITS_A_BLOCK = 4  # patients exchange boxes and sizes inside a block
LEAST_PATIENTS = 8
"""With fewer there are no peers: hardly an option would be left."""


def draft(config: BuildConfig, folder: Path, unit: BuildUnit) -> int:
    """Masks to scenes: items, and slices cut out of them, become cases without a split."""
    work = BuildFolder(folder)
    if work.unit("drafts", unit).exists():
        return unit.count
    names.use(config.names)
    source = open_source(config.source, config.root, options=config.options)
    cases: list[dict[str, Any]] = []
    skipped: list[list[str]] = []
    images: list[ImageRecord] = []

    def add(loaded: Loaded, name: str, k: int) -> None:
        scene = describe(loaded, config.frame, case=name, patient=loaded.item.patient)
        case = CaseRecord(
            scene=scene,
            source=config.source,
            item=loaded.item.id,
            image=loaded.item.image,
            slice=k,
            sha256=loaded.case.source.sha256,
            phash=perceptual_hash(loaded.case),
            split="",
            window=config.frame.window,
        )
        if config.embed:
            images.extend(embedded(loaded, scene, config.frame))
        cases.append(case_row(case))

    for item in work.read_items(unit):
        name = f"{config.source}:{item.id}"
        try:
            loaded = source.load(item)
            add(loaded, name, -1)
        except UnnamedError:
            raise  # not this file is wrong but what was said about all of them: leaving out what holds it would hide that
        except UniReasonError as error:
            skipped.append([item.id, str(error)])
            continue
        cut = () if item.kind == "image" else busy(loaded, config.slices, generator(config.seed, name, "slices"))
        for k in cut:
            try:
                add(axial(loaded, k), f"{name}:z{k:04d}", k)
            except UniReasonError as error:
                skipped.append([f"{item.id}:z{k:04d}", str(error)])
    if config.embed:
        write_table(work.pictures(unit), "images", [image_row(i) for i in images])
    write_json(work.unit("drafts", unit), {"cases": cases, "skipped": skipped})
    return unit.count


def survey(config: BuildConfig, work: BuildFolder, units: Sequence[BuildUnit]) -> Iterator[int]:
    """Look at all scenes: who belongs to which split, and whose scenes serve as peers."""
    if work.splits.exists():
        return
    numbers: dict[str, int] = {}
    hashed: list[str] = []
    owners: list[int] = []
    peers = PeerChoice(config.seed)
    for unit in units:
        for row in read_json(work.unit("drafts", unit))["cases"]:
            number = numbers.setdefault(row["patient"], len(numbers))
            if row["phash"]:
                hashed.append(row["phash"])
                owners.append(number)
            peers.offer(scene_from_row(row))
        yield unit.count
    patients = list(numbers)
    write_json(work.peers, [scene_row(scene) for scene in peers.chosen()] if len(patients) >= LEAST_PATIENTS else [])
    groups = grouped(patients, duplicates(hashed, owners, near=config.near))
    write_json(work.splits, assign(patients, seed=config.seed, source=config.source, shares=config.shares, groups=groups))


def ask(config: BuildConfig, folder: Path, unit: BuildUnit) -> int:
    """Scenes to candidate questions."""
    work = BuildFolder(folder)
    if work.unit("asked", unit).exists():
        return unit.count
    names.use(config.names)
    identity = config.identity()
    units, peers = _shared(folder, identity)
    # The block is the same for all units of it, so that each scene lends once.
    first = unit.number // UNITS_A_BLOCK * UNITS_A_BLOCK
    block = units[first : first + UNITS_A_BLOCK]
    beside = peers and peers.beside([scene for other in block for scene in _scenes(folder, identity, other)])
    asked = []
    for scene in _scenes(folder, identity, unit):
        questions = candidates(scene, generator(config.seed, scene.case, "questions"), each=CANDIDATES, peers=beside)
        targets = implicit(scene, generator(config.seed, scene.case, "implicit"))
        asked.append([asdict(q) for q in (*questions, *targets)])
    write_json(work.unit("asked", unit), asked)
    return unit.count


@lru_cache(maxsize=1)
def _shared(folder: Path, identity: str) -> tuple[list[BuildUnit], Peers | None]:
    """Units and peers of a build, which every unit of a worker needs."""
    work = BuildFolder(folder)
    found = read_json(work.peers)
    return work.units(), Peers(map(scene_from_row, found)) if found else None


@lru_cache(maxsize=2 * UNITS_A_BLOCK)
def _scenes(folder: Path, identity: str, unit: BuildUnit) -> list[Scene]:
    """The scenes of a unit of a build."""
    return [scene_from_row(row) for row in read_json(BuildFolder(folder).unit("drafts", unit))["cases"]]


def choose(config: BuildConfig, work: BuildFolder, units: Sequence[BuildUnit]) -> Iterator[int]:
    """Choose the questions of all units."""
    if work.selected.exists():
        return
    splits = read_json(work.splits)
    # One selector a kind: a balance over both would let one kind's lean hide the other's.
    selectors = {kind: Selector(FAMILIES, each_case=config.questions, seed=config.seed) for kind in ("image", "volume")}
    counts: Counter[str] = Counter()
    for unit in units:
        chosen, used = [], []
        drafts, asked = read_json(work.unit("drafts", unit))["cases"], read_json(work.unit("asked", unit))
        for row, offered in zip(drafts, asked, strict=True):
            kind = row["kind"]
            questions = [question_from_json(q) for q in offered]
            room = config.questions if config.most is None else min(config.questions, config.most - counts[kind])
            width, height, depth = row["frame"]
            picked = selectors[kind].choose(questions, Frame(width, height, depth, kind), most=room)
            counts[kind] += len(picked)
            wanted = config.implicit_of(kind) if picked or config.questions == 0 else 0
            targets = [i for i, q in enumerate(questions) if q.family == IMPLICIT]
            for i in sorted(targets, key=lambda i: "o'clock" in questions[i].text)[:wanted]:
                clock = "o'clock" in questions[i].text
                if not clock or counts["clock"] + 1 <= MOST_CLOCK * (counts["implicit"] + 1):
                    counts.update({"clock": int(clock), "implicit": 1})
                    picked.append(i)
            chosen.append(picked)
            used.append(splits[row["patient"]])
        write_json(work.unit("choices", unit), {"chosen": chosen, "splits": used})
        yield unit.count
    write_json(work.selected, {kind: counts[kind] for kind in selectors})


def write(config: BuildConfig, folder: Path, annotator: Annotator, again: bool, unit: BuildUnit) -> int:
    """Chosen questions to rows with their reasoning; with ``again`` those that are done are done anew."""
    work = BuildFolder(folder)
    if work.unit("rows", unit).exists() and not again:
        return unit.count
    names.use(config.names)
    drafts, asked, choice = (read_json(work.unit(stage, unit)) for stage in ("drafts", "asked", "choices"))
    cases = [replace(case_from_row(row), split=s) for row, s in zip(drafts["cases"], choice["splits"], strict=True)]
    pairs = [
        (case, _asked(config, case.scene, question_from_json(questions[i])))
        for case, questions, chosen in zip(cases, asked, choice["chosen"], strict=True)
        for i in chosen
    ]
    tasks = [Task(sample_id(case.scene.case, q), q, case.scene, looks=config.frame.looks) for case, q in pairs]
    if config.annotation.get("vision"):
        tasks = _drawn(config, work, unit, [case for case, _ in pairs], tasks)
    written = annotator.annotate(tasks)
    samples = [
        sample_row(_sample(case, task, found))
        for (case, _), task, found in zip(pairs, tasks, written, strict=True)
        if isinstance(found, Annotation)
    ]
    dropped = Counter(found.reason for found in written if isinstance(found, Dropped))
    kept = {row["case"] for row in samples}
    made = {
        "cases": [case_row(c) for c in cases if c.scene.case in kept],
        "samples": samples,
        "dropped": dict(sorted(dropped.items())),
        "skipped": drafts["skipped"],
    }
    write_json(work.unit("rows", unit), made)
    return unit.count


def _asked(config: BuildConfig, scene: Scene, question: DataQuestion) -> DataQuestion:
    """A chosen question as it is put: some of them without their options."""
    dice = Dice(generator(config.seed, scene.case, question.text, "open")) if config.open else None
    return (freely(question, scene, dice) or question) if dice and dice.uniform(0, 1) < config.open else question


def _drawn(
    config: BuildConfig, work: BuildFolder, unit: BuildUnit, cases: Sequence[CaseRecord], tasks: Sequence[Task]
) -> list[Task]:
    """Tasks with their pictures, for an annotator that looks at them."""
    source = open_source(config.source, config.root, options=config.options)
    items = {item.id: item for item in work.read_items(unit)}
    drawn: list[Task] = []
    loaded: Loaded | None = None
    for number, (case, task) in enumerate(zip(cases, tasks, strict=True)):
        if loaded is None or loaded.item.id != case.item:
            loaded = source.load(items[case.item])
        if number == 0 or case is not cases[number - 1]:
            pictures = model_pictures((loaded if case.slice < 0 else axial(loaded, case.slice)).case, config.frame)
        drawn.append(replace(task, picture=marked(pictures, prompt.marks(task))))
    return drawn


def _sample(case: CaseRecord, task: Task, found: Annotation) -> SampleRecord:
    scene = case.scene
    question = replace(task.question, options=tuple(scene.said(o) for o in task.question.options))
    record = SampleRecord(
        task.id, scene.case, scene.patient, case.split, scene.kind, question, found.reasoning, found.annotator, scale=scene.scale
    )
    if question.family != IMPLICIT:
        return record
    target = scene.structures[question.needs[0]]  # what it is after
    found_at: dict[str, Any] = {"box": target.box_model, "points": target.points}
    return replace(record, **found_at, category=target.name, supercategory=group(target.name))


def gather(
    config: BuildConfig, work: BuildFolder, units: Sequence[BuildUnit], *, tally: BuildTally, skipped: list[list[str]]
) -> Iterator[int]:
    """Finished rows in order become shards; they are counted, and what was skipped is noted."""
    # What an interrupted gathering left, whole or not, is no part of this one.
    for folder in (work.out, *(work.folder.parent / table for table in TABLES)):
        shutil.rmtree(folder, ignore_errors=True)
    shards = table_writers(work.out, config.shard_rows, openly=config.open > 0)
    for unit in units:
        done = read_json(work.unit("rows", unit))
        for table in ("cases", "samples"):
            for row in done[table]:
                shards[table, row["split"]].add(row)
        kept = {row["id"]: row["split"] for row in done["cases"]}
        for row in rows(work.pictures(unit), "images") if config.embed else ():
            if row["case"] in kept:
                shards["images", kept[row["case"]]].add(row)
        tally.add(done)
        skipped += done["skipped"]
        yield unit.count
    for shard in shards.values():
        shard.close()


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on nothing but a seed and names."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def sample_id(case: str, question: DataQuestion) -> str:
    """16 hex digits that name a question on a case."""
    text = "\0".join((case, question.family, question.text, *question.options, *question.about))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- One build.


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
        if out.is_dir() and not work.folder.is_dir() and any(out.iterdir()):
            raise UniReasonError(f"the folder '{out}' is not empty", "a new or empty folder", "choose another --out")
        if out.exists() and not out.is_dir():
            raise UniReasonError(f"'{out}' is a file", "a folder", "choose another --out")
        source = open_source(config.source, config.root, options=config.options)
        with work.alone():
            # Another process may have finished between the look above and the lock.
            if (out / MANIFEST).exists():
                return _finished(config, out, work)
            manifest = _build(config, work, source, annotator=annotator, hands=hands or Hands(LocalPool(1)))
        work.remove()
        return manifest
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise UniReasonError(
            f"the build in '{out}' stopped ({reason})",
            "a folder that may be written, on a disk with room",
            "put that right and start again: what is done is kept",
        ) from error


def _build(config: BuildConfig, work: BuildFolder, source: CaseSource, *, annotator: Annotator, hands: Hands) -> dict[str, Any]:
    """All stages, each of which does what is not yet done."""

    def listed() -> Iterator[Item | Skipped]:
        for number, item in enumerate(source.items(), start=1):
            if number % 1000 == 0:
                hands.progress("list", number, 0)
            yield item

    if not work.plan.exists():
        hands.progress("list", 0, 0)
        try:
            work.write_plan(config.identity(), listed(), unit_items=config.unit_items, place=config.place)
        except UniReasonError:
            work.discard()
            raise
    plan = work.read_plan()
    _same(config, work.folder.parent, plan.identity == config.identity(), plan.place)
    units = plan.units
    total = sum(unit.count for unit in units)
    hands.progress("list", total, total)

    def told(stage: str, counts: Iterable[int]) -> None:
        done = 0
        for count in counts:
            done += count
            hands.progress(stage, done, total)

    def mapped(stage: str, engine: Engine, function: UnitFunction) -> None:
        hands.progress(stage, 0, total)
        told(stage, engine(function, units))

    mapped("draft", hands.engine, partial(draft, config, work.folder))
    if not any(read_json(work.unit("drafts", unit))["cases"] for unit in units):
        item, reason = read_json(work.unit("drafts", units[0]))["skipped"][0]
        work.discard()
        raise UniReasonError(
            f"not one item of the source could be used. First: {item}: {reason}", "", "look at it with: unireason data inspect"
        )
    told("survey", survey(config, work, units))
    # What was read for an earlier build of the same name.
    _shared.cache_clear()
    _scenes.cache_clear()
    mapped("ask", hands.engine, partial(ask, config, work.folder))
    told("select", choose(config, work, units))
    again = config.annotator == "llm"
    mapped("write", hands.writing or hands.engine, partial(write, config, work.folder, annotator, again))
    tally, skipped = BuildTally(), [list(entry) for entry in plan.skipped]
    told("gather", gather(config, work, units, tally=tally, skipped=skipped))

    counts = tally.to_json()
    if not counts["samples"]:
        dropped = ", ".join(f"{reason} {number}" for reason, number in counts.get("dropped", {}).items())
        if not dropped:  # a later try brings some if an annotator dropped them; else nothing is kept
            work.discard()
        raise UniReasonError(
            f"not one question could be {f'answered (dropped: {dropped})' if dropped else 'asked'}",
            "at least one",
            "look at the source with: unireason data inspect, and at --questions and --implicit",
        )
    # Manifest and card beside the tables; then everything moves to its place, the manifest last.
    about = {"title": source.title, "licence": source.licence, "command": command(config), "counts": counts}
    manifest = seal(work.out, config.to_json(), about, skipped=skipped, root=config.place)
    for name in (*manifest["files"], CARD, ORIGIN, MANIFEST):
        target = work.folder.parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (work.out / name).replace(target)
    return manifest


def _finished(config: BuildConfig, out: Path, work: BuildFolder) -> dict[str, Any]:
    """The manifest of a build that was finished before."""
    dataset = Dataset.open(out)
    place = config.place if dataset.origin is None else str(dataset.origin)
    _same(config, out, dataset.manifest.get("config") == config.to_json(), place)
    work.remove()
    return dict(dataset.manifest)


def _same(config: BuildConfig, out: Path, settings: bool, place: str) -> None:
    """Refuse to go on with what was built with other settings, or from another place."""
    if not settings:
        expected = "an empty folder, or the same settings"
        raise UniReasonError(f"'{out}' holds a data set built with other settings", expected, "choose another --out")
    if place != config.place:
        expected = "an empty folder, or the same source"
        raise UniReasonError(f"'{out}' holds a data set built from '{place}'", expected, "choose another --out")
