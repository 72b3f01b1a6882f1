"""The whole check: choose, ask, sum up, write."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Case, Frame, Problem, Stack, Trace
from unireason.engine.reasoner import Question, Reasoner
from unireason.evaluate.suites.base import Entry, Suite
from unireason.grounding import crop
from unireason.grounding import trace as traces
from unireason.metrics.statistics import over_patients, too_few, wilson
from unireason.model import files
from unireason.rewards.outcome import Elsewhere

from .results import EvidenceResults, evenly
from .runner import Job, Runner, Unread, Waiting, asked_at_once
from .scoring import RESAMPLES, explained, judge, lost_share, mismatch_rate
from .store import (
    AskSettings,
    KeyedRows,
    by_case,
    check_frame,
    choose,
    held,
    make_manifest,
    shuffle_key,
    write_results,
)

CONDITIONS: Mapping[str, str] = {
    "true": "the picture as it is; every look shows what its box asks for",
    "blank": "every picture of the case is one grey, the mean of all its pixels after windowing",
    "other": "the pictures of another patient",
    "random_region": "every look shows a random region of the same size, IoU at most 0.1",
    "no_region": "looks show nothing: the box stands and the text goes on behind it",
    "given_region": "each look shows the true region that it hits best",
    "shuffled": "each look shows a region that the model looked at for another question",
    "blanked": "the regions looked at under true are filled, inside the picture, with the mean of a ring around them",
}
"""Names of the conditions, in the order of the table, and what is fed under each."""

REMOVED = ("blank", "other", "random_region", "no_region", "shuffled", "blanked")
"""Conditions that take evidence away."""

HEADLINE = "random_region"
"""The condition of the headline figure; docs/explanation/evidence.md says why."""

_LEAST_RING, _RING_SHARE = 2, 0.25  # pixels; share of a region's shorter side

Plans = Sequence[crop.Plan]


class EvidenceShown:
    """Answers the looks of one response with other regions and remembers both."""

    def __init__(self, choose: Callable[[int, crop.Plan], crop.Plan] = lambda _, asked: asked) -> None:
        """Take a function of the rank of a look, from 0, and of what it asks for; by default that is shown."""
        self.asked: list[crop.Plan] = []
        self.shown: list[crop.Plan] = []
        self._choose = choose

    def __call__(self, plan: crop.Plan) -> crop.Plan:
        """What is shown in place of a plan."""
        other = self._choose(len(self.asked), plan)
        self.asked.append(plan)
        self.shown.append(other)
        return other


def random_region(entry: Entry, frame: Frame, seed: int) -> EvidenceShown:
    """Random low-overlap regions; those of a question depend on the seed and its identifier alone."""
    move = Elsewhere(frame, np.random.default_rng([seed, *entry.id.encode()]))
    return EvidenceShown(lambda _, asked: move(asked))


def no_region() -> EvidenceShown:
    """Nothing is shown."""
    return EvidenceShown(lambda _, asked: ())


def given_region(entry: Entry, frame: Frame) -> EvidenceShown:
    """The true region, of those not shown yet, that a look hits best; the next if it hits none. Further looks show what they ask for."""
    planned = [crop.plan(look.box, frame) for look in entry.looks]
    left = [plan for plan in planned if not isinstance(plan, Problem)]

    def choose(_: int, asked: crop.Plan) -> crop.Plan:
        if not left:
            return asked
        return left.pop(max(range(len(left)), key=lambda n: _iou(left[n], asked)))

    return EvidenceShown(choose)


def shuffled(others: Plans) -> EvidenceShown:
    """The regions of another question, from the first again when there are fewer of them."""
    return EvidenceShown(lambda rank, _: others[rank % len(others)])


def partners(names: Sequence[str], same: Callable[[str, str], bool], kinds: Mapping[str, Hashable], seed: int) -> dict[str, str]:
    """Pair every name with the next of its kind, in an order drawn by the seed, that is not the same."""
    order = sorted(names, key=lambda name: shuffle_key(seed, name))
    found: dict[str, str] = {}
    for kind in {kinds[name] for name in order}:
        ring = [name for name in order if kinds[name] == kind]
        for place, name in enumerate(ring):
            others = (ring[(place + step) % len(ring)] for step in range(1, len(ring)))  # no copy: rings may be long
            partner = next((other for other in others if not same(name, other)), None)
            if partner is not None:
                found[name] = partner
    return found


def _iou(one: crop.Plan, other: crop.Plan) -> float:
    """IoU of two regions in pixels of all slices."""
    shared = 0
    for index, (x1, y1, x2, y2) in one:
        for slice_, (u1, v1, u2, v2) in other:
            if slice_ == index:
                shared += max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
    whole = sum((x2 - x1) * (y2 - y1) for _, (x1, y1, x2, y2) in (*one, *other))
    return shared / (whole - shared)


def blank(stack: Stack) -> Stack:
    """A stack of one grey: the mean of all pixels and colours of all slices, rounded."""
    grey = round(float(stack.slices.mean()))
    return replace(stack, slices=np.full_like(stack.slices, grey), native=np.full_like(stack.native, grey))


def blanked(stack: Stack, frame: Frame, plans: Plans) -> Stack:
    """A stack whose regions are filled, slice by slice, with the mean of a ring around them."""
    slices, native = stack.slices.copy(), stack.native.copy()
    planes = native if stack.kind == "volume" else native[None]
    rects: dict[int, set[crop.Rect]] = {}
    for index, rect in (piece for plan in plans for piece in plan):
        rects.setdefault(index, set()).add(rect)
    for index, own in rects.items():
        _fill(slices[index], own, frame)
        for plane in range(*stack.coverage[index]):
            _fill(planes[plane], own, frame)
    return replace(stack, slices=slices, native=native)


def _fill(picture: NDArray[np.uint8], rects: set[crop.Rect], frame: Frame) -> None:
    """Fill rectangles of the model frame in a picture of any size, in place."""
    height, width = picture.shape[:2]
    across, down = width / frame.width, height / frame.height
    spans = [  # every pixel that a rectangle touches
        (math.floor(x1 * across), math.floor(y1 * down), math.ceil(x2 * across), math.ceil(y2 * down))
        for x1, y1, x2, y2 in sorted(rects)
    ]
    inside = np.zeros((height, width), np.bool_)
    for x1, y1, x2, y2 in spans:
        inside[y1:y2, x1:x2] = True
    before = picture.copy()
    for x1, y1, x2, y2 in spans:
        reach = max(_LEAST_RING, round(_RING_SHARE * min(x2 - x1, y2 - y1)))
        ring = np.zeros_like(inside)
        ring[max(0, y1 - reach) : y2 + reach, max(0, x1 - reach) : x2 + reach] = True
        ring &= ~inside
        around = before[ring] if ring.any() else before.reshape(-1, *before.shape[2:])
        picture[y1:y2, x1:x2] = np.rint(around.mean(axis=0)).astype(np.uint8)


# --- The answers of a check: one row for every question and condition, kept so that a killed check goes on.


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One question under one condition; ``ask`` is its kind, ``own`` and ``true`` are as in ``ScoredRow``."""

    id: str
    condition: str
    case: str
    patient: str
    chance: float
    right: bool
    said: str
    frame: Frame
    looks: tuple[crop.Plan, ...]
    seen: tuple[crop.Plan, ...]
    shown: str
    trace: Mapping[str, Any] | None
    mismatch: bool = False
    remarks: tuple[str, ...] = ()
    ask: str = ""
    letter: str = ""
    own: str = ""
    true: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Question and condition."""
        return self.id, self.condition

    @property
    def replaced(self) -> int:
        """Looks that showed something else than they asked for."""
        return sum(a != b for a, b in zip(self.looks, self.seen, strict=True))


Rows = dict[tuple[str, str], EvidenceRow]


class EvidenceRows(KeyedRows[EvidenceRow]):
    """The answers of a check, on disk and, without their traces, in memory."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], *, again: bool = False) -> None:
        """Open or begin; see ``keyed.KeyedRows``."""
        super().__init__(folder, manifest, _evidence_row, again=again, brief=lambda row: replace(row, trace=None))


def _evidence_row(table: Any) -> EvidenceRow:
    def plans(found: Any) -> tuple[crop.Plan, ...]:
        return tuple(tuple((int(z), (int(x1), int(y1), int(x2), int(y2))) for z, (x1, y1, x2, y2) in plan) for plan in found)

    plain = {"frame": Frame(**table["frame"]), "remarks": tuple(table.get("remarks", ()))}
    return EvidenceRow(**{**table, **{name: plans(table[name]) for name in ("looks", "seen")}, **plain})


# --- Asks the same questions under all conditions; those on one case share its encoding, and what was answered before is not
# asked again.


Progress = Callable[[int, int], None]
"""Takes how many answers are at hand, and how many there will be: questions times conditions."""

_LOOKS = ("random_region", "no_region", "given_region")  # change looks, and need no other question


class EvidenceCheck:
    """One run of the check."""

    def __init__(
        self,
        model: Reasoner,
        suite: Suite,
        entries: Sequence[Entry],
        *,
        file: EvidenceRows,
        settings: AskSettings,
        conditions: Sequence[str] = tuple(CONDITIONS),
    ) -> None:
        """Take a model, questions of a suite (those on one case together), where answers go, how to ask, and under which conditions."""
        self._conditions = conditions
        self._model, self._suite, self._entries, self._file, self._seed = model, suite, list(entries), file, settings.seed
        self._cases: dict[str, list[Entry]] = {}
        for entry in self._entries:
            self._cases.setdefault(entry.case, []).append(entry)
        self._progress: Progress = lambda done, total: None
        self.unread = Unread(len(self._entries), settings.skip, file.unread)
        self._runner: Runner[tuple[Trace, EvidenceShown]] = Runner(self._traces, self.unread, together=asked_at_once(model))

    def run(self, progress: Progress | None = None) -> None:
        """Answer all that has not been answered yet."""
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
        total = len(self._entries) * len(self._conditions)
        self._progress(total, total)

    def _tell(self) -> None:
        self._progress(len(self._file.rows), len(self._entries) * len(self._conditions))

    def _true(self, entry: Entry) -> EvidenceRow:
        return self._file.rows[entry.id, "true"]

    def _first(self, name: str) -> None:
        """The true picture and the blank one."""
        todo = self._todo([(e, n) for n in ("true", "blank") for e in self.unread.kept(self._cases[name])])
        opened = self._open(name) if todo else None
        if opened:
            case, stack = opened
            for condition, shown in (("true", stack), ("blank", blank(stack))):
                self._put(name, case, shown, [Job(e, n) for e, n in todo if n == condition])

    def _second(self) -> None:
        """All that needs the answers under "true"; what was answered under another pairing, with other cases to read, is asked again."""
        kept = self.unread.kept(self._entries)
        # For every question under which the model looked the regions of another one in the same frame.
        looked = {e.id: self._true(e) for e in kept if self._true(e).looks}
        frames = {name: row.frame for name, row in looked.items()}
        paired = partners(
            list(looked), lambda one, other: bool(set(looked[one].looks) & set(looked[other].looks)), frames, self._seed
        )
        regions = {name: looked[other].looks for name, other in paired.items()}
        # For every case the one whose pictures are shown in its place: same kind and frame, another patient.
        patients = {e.case: e.patient for e in kept}
        frames = {e.case: self._true(e).frame for e in kept}
        hosts = partners(list(patients), lambda one, other: patients[one] == patients[other], frames, self._seed)
        self._file.drop({key for key, row in self._file.rows.items() if _is_stale(row, hosts, regions)})
        guests: dict[str, list[Entry]] = {}
        for entry in kept:
            if entry.case in hosts:
                guests.setdefault(hosts[entry.case], []).append(entry)
        for name in self._cases:
            self._again(name, guests=guests.get(name, []), regions=regions)
        self._ask()

    def _again(self, name: str, *, guests: Sequence[Entry], regions: Mapping[str, Plans]) -> None:
        """Other regions, questions about other cases put to this one, filled regions."""
        entries = self.unread.kept(self._cases[name])
        wanted = [(e, n) for n in _LOOKS for e in entries if n != "given_region" or e.looks]
        wanted += [(e, "shuffled") for e in entries if e.id in regions or not self._true(e).looks]
        todo = self._todo(wanted + [(e, "blanked") for e in entries])
        # Where the model did not look under "true", its answer is taken over.
        if still := [(e, n) for e, n in todo if not self._true(e).looks]:
            self._add([replace(self._true(e), condition=n, trace=None) for e, n in still])
            todo = [(e, n) for e, n in todo if self._true(e).looks]
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
            self._put(name, case, blanked(stack, self._true(own[0].entry).frame, looks), own)

    def _open(self, name: str) -> tuple[Case, Stack] | None:
        """A case and its pictures; None if it cannot be read: then its questions are given up."""
        try:
            case = self._suite.read(name)
            return case, self._model.stack(case)
        except UniReasonError as error:
            self.unread.give_up(self._cases[name], error)
            return None

    def _hook(self, entry: Entry, condition: str, regions: Mapping[str, Plans]) -> Callable[[], EvidenceShown]:
        """Makes what answers the looks."""
        frame = self._true(entry).frame
        if condition == "shuffled":
            return partial(shuffled, regions[entry.id])
        if condition == "random_region":
            return partial(random_region, entry, frame, self._seed)
        if condition == "no_region":
            return no_region
        return partial(given_region, entry, frame)

    def _todo(self, pairs: Sequence[tuple[Entry, str]]) -> list[tuple[Entry, str]]:
        return [(e, n) for e, n in pairs if n in self._conditions and (e.id, n) not in self._file.rows]

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
            if job.way == "true":
                check_frame(job.entry, encoded.frame)
        self._runner.waiting.append(Waiting(name, case, encoded, jobs))
        if self._runner.is_full:
            self._ask()

    def _traces(self, waiting: Sequence[Waiting]) -> list[list[tuple[Trace, EvidenceShown]]]:
        """The answers to all that waits, each with what answered its looks."""
        shown = [[job.hook() if job.hook else EvidenceShown() for job in own.jobs] for own in waiting]
        asked = [
            (own.case, own.encoded, Question(job.entry.question, job.entry.options), hook)
            for own, hooks in zip(waiting, shown, strict=True)
            for job, hook in zip(own.jobs, hooks, strict=True)
        ]
        found = iter(self._model.ask_shown(asked))
        return [[(next(found), hook) for hook in hooks] for hooks in shown]

    def _ask(self) -> None:
        """Ask what waits and write the rows, also of those that were answered before one too many was given up."""
        rows = []
        try:
            for own, job, (trace, hook) in self._runner.answers():
                entry, verdict = job.entry, judge(job.entry, trace)
                rows.append(
                    EvidenceRow(
                        id=entry.id,
                        condition=job.way,
                        case=entry.case,
                        patient=entry.patient,
                        chance=1 / len(entry.options) if entry.options else 0.0,
                        right=verdict.right,
                        said=verdict.said,
                        frame=trace.frame,
                        looks=tuple(hook.asked),
                        seen=tuple(hook.shown),
                        shown=own.name,
                        trace=traces.to_json(replace(trace, tokens=None), crops="none"),
                        mismatch=verdict.mismatch,
                        remarks=trace.scope.remarks,
                        ask=entry.tags.get("ask", ""),
                        letter=entry.letter,
                        own=entry.reader.own(trace) if entry.reader else "",
                        true=entry.reader.true if entry.reader else "",
                    )
                )
        finally:
            self._add(rows)

    def _add(self, rows: Sequence[EvidenceRow]) -> None:
        self._file.add(rows)
        self._tell()


def _is_stale(row: EvidenceRow, hosts: Mapping[str, str], regions: Mapping[str, Plans]) -> bool:
    """Whether an answer was given to pictures or regions of a partner that is not the partner any more."""
    if row.condition == "other":
        return hosts.get(row.case) != row.shown
    if row.condition != "shuffled" or not row.seen:  # without a look there was no partner
        return False
    others = regions.get(row.id, ())
    return not others or any(seen != others[rank % len(others)] for rank, seen in enumerate(row.seen))


# --- What the answers under all conditions say: accuracy, survival and evidence reliance, with intervals over patients.


Pairs = Sequence[tuple[EvidenceRow, EvidenceRow]]


def reliance(pairs: Pairs, *, seed: int) -> dict[str, Any]:
    """Evidence reliance: which share of what the model knows beyond chance is lost without the evidence."""
    table = [(float(with_it.right), float(without.right), with_it.chance) for with_it, without in pairs]
    return lost_share(table, [row.patient for row, _ in pairs], seed=seed)


def summary(rows: Rows, *, seed: int) -> dict[str, Any]:
    """Everything that the answers say, as plain JSON values."""
    by_name = {name: [row for row in rows.values() if row.condition == name] for name in CONDITIONS}
    if not by_name["true"]:
        raise FormatError("no question was asked", "at least one")
    conditions = {name: _condition(name, found, rows, seed) for name, found in by_name.items() if found}
    headline = conditions[HEADLINE]["reliance"] if HEADLINE in conditions else reliance((), seed=seed)
    kinds: dict[str, list[EvidenceRow]] = {}
    for row in by_name["true"]:
        kinds.setdefault(row.ask, []).append(row)
    told = explained(by_name["true"], seed=seed)
    return {
        "conditions": conditions,
        "reliance": headline,
        "ceiling": told["ceiling"],
        "own_boxes": told["own_boxes"],
        "by_kind": {ask: _kind(kinds[ask], rows, seed) for ask in sorted(kinds) if ask},
        "kind_unknown": len(kinds.get("", ())),
        "reliance_condition": HEADLINE,
        "patients": (patients := len({row.patient for row in by_name["true"]})),
        "too_few_patients": too_few(patients),
        "looked": float(np.mean([bool(row.looks) for row in by_name["true"]])),
        "left_out": [name for name in CONDITIONS if name not in conditions],
    }


def _condition(name: str, found: Sequence[EvidenceRow], rows: Rows, seed: int) -> dict[str, Any]:
    right = [row.right for row in found]
    patients = [row.patient for row in found]
    out: dict[str, Any] = {
        "accuracy": sum(right) / len(right),
        "ci95": list(wilson(sum(right), len(right))),
        "ci95_patients": over_patients([float(one) for one in right], patients, seed=seed, resamples=RESAMPLES),
        "n": len(right),
        "chance": float(np.mean([row.chance for row in found])),
        "mismatch_rate": mismatch_rate(found),
        "meaning": CONDITIONS[name],
    }
    if name == "true":
        return out
    pairs = [(rows[row.id, "true"], row) for row in found]
    kept = [again for once, again in pairs if once.right]
    before = [float(again.right) for again in kept]
    out["true_accuracy"] = sum(once.right for once, _ in pairs) / len(pairs)
    out["survival"] = {
        "value": sum(before) / len(before) if before else None,
        "ci95": list(wilson(int(sum(before)), len(before))),
        "ci95_patients": over_patients(before, [again.patient for again in kept], seed=seed, resamples=RESAMPLES),
        "n": len(before),
    }
    if name in REMOVED:
        # Where a look still showed what it asked for, the evidence was not taken away: such a question tells nothing.
        out["reliance"] = reliance([(once, again) for once, again in pairs if is_removed(again)], seed=seed)
    return out


def _kind(found: Sequence[EvidenceRow], rows: Rows, seed: int) -> dict[str, Any]:
    """What is said of one kind of question, by its answers under "true"."""
    again = [(row, rows[row.id, HEADLINE]) for row in found if (row.id, HEADLINE) in rows]
    patients = [row.patient for row in found]
    return {
        "n": len(found),
        "patients": len(set(patients)),
        "accuracy": sum(row.right for row in found) / len(found),
        "ci95_patients": over_patients([float(row.right) for row in found], patients, seed=seed, resamples=RESAMPLES),
        "chance": float(np.mean([row.chance for row in found])),
        "mismatch_rate": mismatch_rate(found),
        "reliance": reliance([pair for pair in again if is_removed(pair[1])], seed=seed),
        **explained(found, seed=seed),
    }


def is_removed(row: EvidenceRow) -> bool:
    """Whether the condition of an answer took away what there was to take: no look showed what it asked for."""
    return row.condition in ("blank", "other", "blanked") or row.replaced == len(row.looks)


# --- The whole check: choose, ask, sum up, write.


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceFound:
    """What a check found.

    Attributes:
        entries: The questions that could be asked.
        rows: Answers by question and condition.
        results: What ``results.json`` has.
    """

    entries: tuple[Entry, ...]
    rows: Rows
    results: EvidenceResults


def evaluate(
    reasoner: Reasoner,
    suite: Suite,
    folder: Path,
    *,
    settings: AskSettings | None = None,
    conditions: Sequence[str] = tuple(CONDITIONS),
    progress: Progress | None = None,
) -> EvidenceFound:
    """Ask the questions of a suite under all conditions and say how far the answers rely on the evidence.

    Args:
        reasoner: The model; it answers greedily.
        suite: Where questions come from.
        folder: Where ``manifest.json``, ``rows.jsonl`` and ``results.json`` go. A folder with an unfinished check of the same is gone on
            with.
        settings: Which questions; all by default. The seed is also that of random regions and pairs.
        conditions: Conditions, "true" among them; all by default.
        progress: Called with the number of answers at hand, and with that of questions times conditions.

    Returns:
        Questions, answers and results (docs/reference/results.md).

    Raises:
        FormatError: If there are no questions, or the folder holds a check of something else.
        UniReasonError: If more questions cannot be asked than ``settings.skip`` allows, or a file cannot be written.
    """
    chosen = settings or AskSettings()
    entries = choose(suite, chosen.count, chosen.seed)
    made = make_manifest("evidence", reasoner, suite, entries, seed=chosen.seed)
    if tuple(conditions) != tuple(CONDITIONS):
        made["conditions"] = list(conditions)
    with held(folder):
        file = EvidenceRows(folder, made, again=chosen.again)
        check = EvidenceCheck(reasoner, suite, entries, file=file, settings=chosen, conditions=conditions)
        check.run(progress)
        kept = check.unread.kept(entries)
        keys = [(entry.id, name) for entry in kept for name in CONDITIONS]  # resampling depends on the order
        rows = {key: file.rows[key] for key in keys if key in file.rows}
        remarks = [rows[entry.id, "true"].remarks for entry in kept]
        results = EvidenceResults.of(
            {
                **summary(rows, seed=chosen.seed),
                "scope": files.told(reasoner.checkpoint.scope, remarks),
                "unreadable": check.unread.told(entries),
                "manifest": made,
            }
        )
        write_results(folder, results.to_json())
    return EvidenceFound(tuple(kept), rows, results)


# --- Examples: questions whose answers flipped without the evidence, or did not.


FLIPS, SURVIVORS = 24, 12
"""Examples at most."""

Piece = tuple[int, crop.Rect]
"""A slice and a rectangle (x1, y1, x2, y2) on it, model frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Flip:
    """One question with its answers under all conditions.

    Attributes:
        entry: The question.
        rows: Its answers by condition.
        pictures: uint8 (D, H, W) or (D, H, W, 3), what the model saw.
    """

    entry: Entry
    rows: Mapping[str, EvidenceRow]
    pictures: NDArray[np.uint8]

    @property
    def asked(self) -> Sequence[Piece]:
        """What its first look asked for, slice by slice; nothing if it never looked."""
        looks = self.rows["true"].looks
        return looks[0] if looks else ()

    @property
    def instead(self) -> Sequence[Piece]:
        """What that look showed under the headline condition."""
        again = self.rows.get(HEADLINE)
        return again.seen[0] if again is not None and again.seen else ()


def examples(found: EvidenceFound, suite: Suite, reasoner: Reasoner) -> tuple[list[Flip], list[Flip]]:
    """Questions with looks, right under "true" and wrong, or right again, under the headline condition; evenly over all there are."""
    picked: dict[bool, list[Entry]] = {True: [], False: []}
    for entry in found.entries:
        once, again = found.rows[entry.id, "true"], found.rows.get((entry.id, HEADLINE))
        if once.right and again is not None and once.looks:
            picked[again.right].append(entry)
    chosen = [evenly(picked[False], FLIPS), evenly(picked[True], SURVIVORS)]
    wanted = {entry.id for own in chosen for entry in own}
    made: dict[str, Flip] = {}
    for name, together in by_case([entry for entry in found.entries if entry.id in wanted]):
        pictures = reasoner.stack(suite.read(name)).slices
        for entry in together:
            rows = {condition: found.rows[entry.id, condition] for condition in CONDITIONS if (entry.id, condition) in found.rows}
            made[entry.id] = Flip(entry, rows, pictures)
    flips, survivors = ([made[entry.id] for entry in own] for own in chosen)
    return flips, survivors
