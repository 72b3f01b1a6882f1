"""Asks the same questions under all conditions; those on one case share its encoding, and what was answered before is not asked again.

The cases are gone through twice: first for the true and the blank picture, then, with all answers under "true" at hand, for all that needs
the regions that were looked at, or other cases. Several cases go through the network together. Answers are greedy, so a model that never
looked is fed the same under a condition that only changes looks: its answer is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from unireason.engine.case import EncodedCase
from unireason.engine.reasoner import Question
from unireason.evaluate.questions import by_case, check_frame
from unireason.evaluate.scoring.answers import judge
from unireason.evaluate.suites.suite import Entry, Suite
from unireason.evaluate.together import is_enough
from unireason.grounding import trace as traces
from unireason.types import Case, Stack, Trace

from . import conditions
from .conditions import Shown
from .rows import Row, RowFile

Progress = Callable[[int], None]
_LOOKS = ("random_region", "no_region", "given_region")  # change looks, and need no other question


class Model(Protocol):
    """A model whose looks can be answered with other regions: ``engine.reasoner.Reasoner``."""

    @property
    def engine(self) -> Any:
        """Has ``encode(stack)``."""
        ...

    def stack(self, case: Case) -> Stack:
        """The pictures of a case."""
        ...

    def ask_shown(self, asked: Sequence[tuple[Case, EncodedCase, Question, Any]], **how: Any) -> list[Trace]:
        """See ``Reasoner.ask_shown``."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One question under one condition, with the answer to its looks."""

    entry: Entry
    condition: str
    shown: Shown


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Pictures that wait to be asked about.

    Attributes:
        name: The case that they are of.
        case: The same.
        encoded: The pictures.
        jobs: What is asked.
    """

    name: str
    case: Case
    encoded: EncodedCase
    jobs: Sequence[Job]


class Check:
    """One run of the check."""

    def __init__(self, model: Model, suite: Suite, entries: Sequence[Entry], *, file: RowFile, seed: int) -> None:
        """Take a model, questions of a suite (those on one case together), where answers go, and the seed of all that is drawn."""
        self._model, self._suite, self._entries, self._file, self._seed = model, suite, list(entries), file, seed
        self._progress: Progress = lambda done: None
        self._waiting: list[Seen] = []

    @property
    def total(self) -> int:
        """Questions times conditions."""
        return len(self._entries) * len(conditions.CONDITIONS)

    def run(self, progress: Progress | None = None) -> None:
        """Answer all that has not been answered yet.

        Args:
            progress: Called with the number of answers at hand after every few cases, and with ``total`` at the end.

        Raises:
            FormatError: If a question has no readable truth, or true places for another model frame.
            ModelError: If a case does not fit the model.
            UniReasonError: If a case cannot be read or an answer cannot be written.
        """
        self._progress = progress or self._progress
        for name, entries in by_case(self._entries):
            self._first(name, entries)
        self._ask()
        regions, hosts = self._regions(), self._hosts()
        guests: dict[str, list[Entry]] = {}
        for entry in self._entries:
            if entry.case in hosts:
                guests.setdefault(hosts[entry.case], []).append(entry)
        for name, entries in by_case(self._entries):
            self._again(name, entries, guests=guests.get(name, []), regions=regions)
        self._ask()
        self._progress(self.total)

    def _true(self, entry: Entry) -> Row:
        return self._file.rows[entry.id, "true"]

    def _first(self, name: str, entries: Sequence[Entry]) -> None:
        """The true picture and the blank one."""
        todo = self._todo([(e, n) for n in ("true", "blank") for e in entries])
        if not todo:
            return
        case = self._suite.read(name)
        stack = self._model.stack(case)
        for condition, shown in (("true", stack), ("blank", conditions.blank(stack))):
            self._put(name, case, shown, [Job(e, n, Shown()) for e, n in todo if n == condition])

    def _again(
        self, name: str, entries: Sequence[Entry], *, guests: Sequence[Entry], regions: Mapping[str, conditions.Plans]
    ) -> None:
        """Other regions, questions about other cases put to this one, filled regions."""
        wanted = [(e, n) for n in _LOOKS for e in entries if n != "given_region" or e.looks]
        wanted += [(e, "shuffled") for e in entries if e.id in regions or not self._true(e).looks]
        todo = self._looked(self._todo(wanted + [(e, "blanked") for e in entries]))
        visits = self._todo([(e, "other") for e in guests])
        if not (todo or visits):
            return
        case = self._suite.read(name)
        stack = self._model.stack(case)
        jobs = [Job(e, n, Shown()) for e, n in visits]
        self._put(name, case, stack, jobs + [Job(e, n, self._hook(e, n, regions)) for e, n in todo if n != "blanked"])
        filled: dict[tuple[Any, ...], list[Job]] = {}
        for entry, condition in todo:
            if condition == "blanked":
                filled.setdefault(self._true(entry).looks, []).append(Job(entry, condition, Shown()))
        for looks, own in filled.items():
            self._put(name, case, conditions.blanked(stack, self._true(own[0].entry).frame, looks), own)

    def _hook(self, entry: Entry, condition: str, regions: Mapping[str, conditions.Plans]) -> Shown:
        frame = self._true(entry).frame
        if condition == "shuffled":
            return conditions.shuffled(regions[entry.id])
        if condition == "random_region":
            return conditions.random_region(entry, frame, self._seed)
        if condition == "no_region":
            return conditions.no_region()
        check_frame(entry, frame)
        return conditions.given_region(entry, frame)

    def _todo(self, pairs: Sequence[tuple[Entry, str]]) -> list[tuple[Entry, str]]:
        return [(e, n) for e, n in pairs if (e.id, n) not in self._file.rows]

    def _looked(self, pairs: Sequence[tuple[Entry, str]]) -> list[tuple[Entry, str]]:
        """Those whose model looked under "true"; the answers of the others are taken over."""
        still = [(e, n) for e, n in pairs if not self._true(e).looks]
        if still:
            self._add([replace(self._true(e), condition=n, trace=None) for e, n in still])
        return [(e, n) for e, n in pairs if self._true(e).looks]

    def _hosts(self) -> dict[str, str]:
        """For every case the one whose pictures are shown in its place: same kind and frame, another patient."""
        patients = {e.case: e.patient for e in self._entries}
        frames = {e.case: self._true(e).frame for e in self._entries}
        return conditions.partners(list(patients), lambda one, other: patients[one] == patients[other], frames, self._seed)

    def _regions(self) -> dict[str, conditions.Plans]:
        """For every question under which the model looked the regions of another one in the same frame."""
        looked = {e.id: self._true(e) for e in self._entries if self._true(e).looks}
        frames = {name: row.frame for name, row in looked.items()}
        paired = conditions.partners(
            list(looked), lambda one, other: set(looked[one].looks) & set(looked[other].looks) != set(), frames, self._seed
        )
        return {name: looked[other].looks for name, other in paired.items()}

    def _put(self, name: str, case: Case, shown: Stack, jobs: Sequence[Job]) -> None:
        """Let questions wait; all are asked once there are enough."""
        if jobs:
            self._waiting.append(Seen(name, case, self._model.engine.encode(shown), jobs))
            if is_enough([(own.case, own.encoded) for own in self._waiting], sum(len(own.jobs) for own in self._waiting)):
                self._ask()

    def _ask(self) -> None:
        """Ask what waits."""
        if not self._waiting:
            return
        jobs = [(own, job) for own in self._waiting for job in own.jobs]
        asked = [(own.case, own.encoded, Question(job.entry.question, job.entry.options), job.shown) for own, job in jobs]
        found = self._model.ask_shown(asked)
        self._waiting = []
        self._add([_row(job, trace, own.name) for (own, job), trace in zip(jobs, found, strict=True)])

    def _add(self, rows: Sequence[Row]) -> None:
        self._file.add(rows)
        self._progress(len(self._file.rows))


def _row(job: Job, trace: Trace, shown: str) -> Row:
    entry, verdict = job.entry, judge(job.entry, trace)
    return Row(
        id=entry.id,
        condition=job.condition,
        case=entry.case,
        patient=entry.patient,
        chance=1 / len(entry.options) if entry.options else 0.0,
        right=verdict.right,
        said=verdict.said,
        frame=trace.frame,
        looks=tuple(job.shown.asked),
        seen=tuple(job.shown.shown),
        shown=shown,
        trace=traces.to_json(replace(trace, tokens=None), crops="none"),
    )
