"""Asks the same questions under all conditions; those on one case share its encoding, and what was answered before is not asked again.

The cases are gone through twice: first for the true and the blank picture, then, with all answers under "true" at hand, for all that needs
the regions that were looked at, or other cases. Several cases go through the network together. Answers are greedy, so a model that never
looked is fed the same under a condition that only changes looks: its answer is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from unireason.engine.case import EncodedCase
from unireason.engine.reasoner import Question
from unireason.errors import UniReasonError
from unireason.evaluate.questions import check_frame
from unireason.evaluate.scoring.answers import judge
from unireason.evaluate.settings import Settings
from unireason.evaluate.suites.suite import Entry, Suite
from unireason.evaluate.together import is_enough
from unireason.evaluate.unread import Unread
from unireason.grounding import trace as traces
from unireason.types import Case, Stack, Trace

from . import conditions
from .conditions import Shown
from .rows import Row, RowFile

Progress = Callable[[int, int], None]
"""Takes how many answers are at hand, and how many there will be: questions times conditions."""

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
    """One question under one condition, with what makes the answer to its looks."""

    entry: Entry
    condition: str
    hook: Callable[[], Shown] = Shown


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
    """One run of the check.

    All conditions are compared over the same questions, so one that cannot be asked under one of them is left out of all. A case that
    cannot be read is nobody's other patient: the next one in the order stands in, and all other pairs stay as they are.

    Attributes:
        unread: Questions that were given up.
    """

    def __init__(self, model: Model, suite: Suite, entries: Sequence[Entry], *, file: RowFile, settings: Settings) -> None:
        """Take a model, questions of a suite (those on one case together), where answers go, and how to ask."""
        self._model, self._suite, self._entries, self._file, self._seed = model, suite, list(entries), file, settings.seed
        self._cases: dict[str, list[Entry]] = {}
        for entry in self._entries:
            self._cases.setdefault(entry.case, []).append(entry)
        self._progress: Progress = lambda done, total: None
        self._waiting: list[Seen] = []
        self.unread = Unread(len(self._entries), settings.skip, file.unread)

    def run(self, progress: Progress | None = None) -> None:
        """Answer all that has not been answered yet.

        Questions that cannot be asked get their rows at the very end: a check that is started again tries them again.

        Args:
            progress: Called with the number of answers at hand, and of all, at the start, after every few cases and at the end.

        Raises:
            FormatError: If a question has no readable truth, or true places for another model frame.
            UniReasonError: If too many questions cannot be asked, or an answer cannot be written.
        """
        self._progress = progress or self._progress
        self._tell()
        for name in self._cases:
            self._first(name)
        self._ask()
        lost = -1
        while lost != len(self.unread.problems):  # what is lost only now is taken out of the pairs, and they are asked again
            lost = len(self.unread.problems)
            self._second()
        self._file.give_up(self._entries, self.unread.problems)
        total = self._total
        self._progress(total, total)

    @property
    def _total(self) -> int:
        return len(self._entries) * len(conditions.CONDITIONS)

    def _tell(self) -> None:
        self._progress(len(self._file.rows), self._total)

    def _true(self, entry: Entry) -> Row:
        return self._file.rows[entry.id, "true"]

    def _first(self, name: str) -> None:
        """The true picture and the blank one."""
        todo = self._todo([(e, n) for n in ("true", "blank") for e in self.unread.kept(self._cases[name])])
        opened = self._open(name) if todo else None
        if opened:
            case, stack = opened
            for condition, shown in (("true", stack), ("blank", conditions.blank(stack))):
                self._put(name, case, shown, [Job(e, n) for e, n in todo if n == condition])

    def _second(self) -> None:
        """All that needs the answers under "true"; what was answered under another pairing, with other cases to read, is asked again."""
        regions, hosts = self._regions(), self._hosts()
        self._file.drop({key for key, row in self._file.rows.items() if _is_stale(row, hosts, regions)})
        guests: dict[str, list[Entry]] = {}
        for entry in self.unread.kept(self._entries):
            if entry.case in hosts:
                guests.setdefault(hosts[entry.case], []).append(entry)
        for name in self._cases:
            self._again(name, guests=guests.get(name, []), regions=regions)
        self._ask()

    def _again(self, name: str, *, guests: Sequence[Entry], regions: Mapping[str, conditions.Plans]) -> None:
        """Other regions, questions about other cases put to this one, filled regions."""
        entries = self.unread.kept(self._cases[name])
        wanted = [(e, n) for n in _LOOKS for e in entries if n != "given_region" or e.looks]
        wanted += [(e, "shuffled") for e in entries if e.id in regions or not self._true(e).looks]
        todo = self._looked(self._todo(wanted + [(e, "blanked") for e in entries]))
        visits = self._todo([(e, "other") for e in guests])
        opened = self._open(name) if todo or visits else None
        if not opened:
            return
        case, stack = opened
        jobs = [Job(e, n) for e, n in visits]
        self._put(name, case, stack, jobs + [Job(e, n, self._hook(e, n, regions)) for e, n in todo if n != "blanked"])
        filled: dict[tuple[Any, ...], list[Job]] = {}
        for entry, condition in todo:
            if condition == "blanked":
                filled.setdefault(self._true(entry).looks, []).append(Job(entry, condition))
        for looks, own in filled.items():
            self._put(name, case, conditions.blanked(stack, self._true(own[0].entry).frame, looks), own)

    def _open(self, name: str) -> tuple[Case, Stack] | None:
        """A case and its pictures; None if it cannot be read: then its questions are given up."""
        try:
            case = self._suite.read(name)
            return case, self._model.stack(case)
        except UniReasonError as error:
            self.unread.give_up(self._cases[name], error)
            return None

    def _hook(self, entry: Entry, condition: str, regions: Mapping[str, conditions.Plans]) -> Callable[[], Shown]:
        """Makes what answers the looks."""
        frame = self._true(entry).frame
        if condition == "shuffled":
            return partial(conditions.shuffled, regions[entry.id])
        if condition == "random_region":
            return partial(conditions.random_region, entry, frame, self._seed)
        if condition == "no_region":
            return conditions.no_region
        return partial(conditions.given_region, entry, frame)

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
        kept = self.unread.kept(self._entries)
        patients = {e.case: e.patient for e in kept}
        frames = {e.case: self._true(e).frame for e in kept}
        return conditions.partners(list(patients), lambda one, other: patients[one] == patients[other], frames, self._seed)

    def _regions(self) -> dict[str, conditions.Plans]:
        """For every question under which the model looked the regions of another one in the same frame."""
        looked = {e.id: self._true(e) for e in self.unread.kept(self._entries) if self._true(e).looks}
        frames = {name: row.frame for name, row in looked.items()}
        paired = conditions.partners(
            list(looked), lambda one, other: set(looked[one].looks) & set(looked[other].looks) != set(), frames, self._seed
        )
        return {name: looked[other].looks for name, other in paired.items()}

    def _put(self, name: str, case: Case, shown: Stack, jobs: Sequence[Job]) -> None:
        """Let questions wait; all are asked once there are enough. Where the pictures do not fit the model, the case is given up."""
        if not jobs:
            return
        try:
            encoded = self._model.engine.encode(shown)
        except UniReasonError as error:
            self.unread.give_up(self._cases[name], error)
            return
        for job in jobs:
            if job.condition == "true":
                check_frame(job.entry, encoded.frame)
        self._waiting.append(Seen(name, case, encoded, jobs))
        if is_enough([(own.case, own.encoded) for own in self._waiting], sum(len(own.jobs) for own in self._waiting)):
            self._ask()

    def _ask(self) -> None:
        """Ask what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._answer([(own, job) for own in waiting for job in own.jobs])

    def _answer(self, jobs: Sequence[tuple[Seen, Job]]) -> None:
        """Ask and write the rows; where one job does not fit the model, all are asked by themselves, and its question is given up."""
        shown = [job.hook() for _, job in jobs]
        asked = [
            (own.case, own.encoded, Question(job.entry.question, job.entry.options), hook)
            for (own, job), hook in zip(jobs, shown, strict=True)
        ]
        try:
            found = self._model.ask_shown(asked)
        except UniReasonError as error:
            if len(jobs) == 1:
                self.unread.give_up([jobs[0][1].entry], error)
            else:
                for job in jobs:
                    self._answer([job])
            return
        self._add([_row(job, trace, hook, own.name) for (own, job), trace, hook in zip(jobs, found, shown, strict=True)])

    def _add(self, rows: Sequence[Row]) -> None:
        self._file.add(rows)
        self._tell()


def _is_stale(row: Row, hosts: Mapping[str, str], regions: Mapping[str, conditions.Plans]) -> bool:
    """Whether an answer was given to pictures or regions of a partner that is not the partner any more."""
    if row.condition == "other":
        return hosts.get(row.case) != row.shown
    if row.condition != "shuffled" or not row.seen:  # without a look there was no partner
        return False
    others = regions.get(row.id, ())
    return not others or any(seen != others[rank % len(others)] for rank, seen in enumerate(row.seen))


def _row(job: Job, trace: Trace, hook: Shown, shown: str) -> Row:
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
        looks=tuple(hook.asked),
        seen=tuple(hook.shown),
        shown=shown,
        trace=traces.to_json(replace(trace, tokens=None), crops="none"),
        remarks=trace.scope.remarks,
    )
