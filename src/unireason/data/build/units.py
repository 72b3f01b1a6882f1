"""What is done to a unit of items: draft (masks to scenes), ask (scenes to candidate questions), write (chosen questions to rows)."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from unireason.data.annotate.protocol import Annotation, Annotator, Dropped, Task
from unireason.data.ask.families import candidates
from unireason.data.ask.implicit import implicit
from unireason.data.ask.peers import Peers
from unireason.data.extract.describe import describe
from unireason.data.extract.slices import axial, busy
from unireason.data.item import Loaded, UnnamedError
from unireason.data.names import group
from unireason.data.pictures import embedded
from unireason.data.question import IMPLICIT, Question
from unireason.data.records import (
    CaseRecord,
    ImageRecord,
    SampleRecord,
    case_from_row,
    case_row,
    image_row,
    sample_row,
    scene_from_row,
)
from unireason.data.scene import Scene
from unireason.data.select.duplicates import perceptual_hash
from unireason.data.sources.catalogue import open_source
from unireason.errors import UniReasonError

from .config import BuildConfig
from .gather import write_table
from .work import Unit, Work, read_json, write_json

CANDIDATES = 12  # a family and case
UNITS_A_BLOCK = 4  # patients exchange boxes and sizes inside a block


@dataclass(frozen=True, slots=True)
class Draft:
    """Drafts units: the first map of a build. Picklable.

    Attributes:
        config: The build.
        folder: Its work folder.
    """

    config: BuildConfig
    folder: Path

    def __call__(self, unit: Unit) -> int:
        """Draft one unit unless that is done already; returns its number of items."""
        work = Work(self.folder)
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
class Ask:
    """Asks about the scenes of units: the second map of a build. Picklable.

    Attributes:
        config: The build.
        folder: Its work folder, in which the survey is done.
    """

    config: BuildConfig
    folder: Path

    def __call__(self, unit: Unit) -> int:
        """Write the candidate questions of one unit unless that is done already; returns its number of items."""
        work = Work(self.folder)
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


class Shelf:
    """What a worker reads again and again while it asks, kept in bounded number."""

    def __init__(self, work: Work) -> None:
        """Read the plan and the peers."""
        self._work = work
        self._units = work.units()
        rows = read_json(work.peers)
        self.peers = Peers(scene_from_row(row) for row in rows) if rows else None
        self._scenes: OrderedDict[int, list[Scene]] = OrderedDict()

    def scenes(self, unit: Unit) -> list[Scene]:
        """The scenes of a unit."""
        found = self._scenes.get(unit.number)
        if found is None:
            found = self._scenes[unit.number] = [scene_from_row(row) for row in read_json(self._work.draft(unit))["cases"]]
            while len(self._scenes) > 2 * UNITS_A_BLOCK:
                self._scenes.popitem(last=False)
        return found

    def near(self, unit: Unit) -> list[Scene]:
        """Scenes of the block of units to which a unit belongs; the same for all of them, so that each scene lends once."""
        first = unit.number // UNITS_A_BLOCK * UNITS_A_BLOCK
        return [scene for other in self._units[first : first + UNITS_A_BLOCK] for scene in self.scenes(other)]


def forget() -> None:
    """Let go of what was read for an earlier build."""
    _shelf.cache_clear()


@lru_cache(maxsize=1)
def _shelf(folder: Path, identity: str) -> Shelf:
    """The shelf of a build; kept, because every unit of a worker needs it."""
    return Shelf(Work(folder))


@dataclass(frozen=True, slots=True)
class Write:
    """Writes the rows of units: the third map of a build. Picklable.

    Attributes:
        config: The build.
        folder: Its work folder.
        annotator: Who writes the reasoning.
        again: True to go through finished units too: a budget counts what was spent on them. Their replies are kept on disk.
    """

    config: BuildConfig
    folder: Path
    annotator: Annotator
    again: bool = False

    def __call__(self, unit: Unit) -> int:
        """Write the rows of one unit unless that is done already; returns its number of items."""
        work = Work(self.folder)
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


def sample_id(case: str, question: Question) -> str:
    """16 hex digits that name a question on a case."""
    text = "\0".join((case, question.family, question.text, *question.options, *question.about))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def question_from_json(values: dict[str, Any]) -> Question:
    """A question from plain values."""
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Question(**plain)


def _sample(case: CaseRecord, task: Task, found: Annotation) -> SampleRecord:
    question, scene = task.question, case.scene
    record = SampleRecord(task.id, scene.case, scene.patient, case.split, scene.kind, question, found.reasoning, found.annotator)
    return replace(record, **_target(question, scene)) if question.family == IMPLICIT else record


def _target(question: Question, scene: Scene) -> dict[str, Any]:
    """What an implicit question is after."""
    target = scene.structures[question.needs[0]]
    return {"box": target.box_model, "points": target.points, "category": target.name, "supercategory": group(target.name)}
