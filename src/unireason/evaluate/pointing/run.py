"""Asks the implicit questions of a suite, those on one picture together, and keeps every answer as it comes.

A question whose picture or mask cannot be read is counted and named, and is part of no mean: it says something of the data, nothing of
the model, and a score of 0 would be taken for a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.engine.reasoner import Question, Reasoner
from unireason.engine.sampling import Sampling
from unireason.errors import FormatError, ImageReadError, SizeLimitError
from unireason.evaluate.grounding import TOLERANCE_MM, measure
from unireason.evaluate.journal import Journal, held, make_manifest, write_results
from unireason.evaluate.questions import by_case, check_frame, choose, seed_of
from unireason.evaluate.suites.pointing import PointingSuite, Truth
from unireason.evaluate.suites.suite import Entry
from unireason.grounding import trace as traces
from unireason.model import scope
from unireason.segment.expert import Expert
from unireason.types import Case, Trace

from .rows import Answer, Row, make_row, read_row, unreadable_row
from .summary import summary

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a suite is asked.

    Attributes:
        count: Questions at most; None takes all.
        seed: Of the choice of questions, of sampling and of the bootstrap.
        samples: Answers a question; its scores are their means.
        temperature: Of sampling; 0 is greedy.
        weights: SHA-256 of the expert's weights; "" for one that has none.
        again: Ask again what could not be read when the folder was written; what was answered stays.
    """

    count: int | None = None
    seed: int = 0
    samples: int = 1
    temperature: float = 0.0
    weights: str = ""
    again: bool = False

    def __post_init__(self) -> None:
        """Check that several answers may differ.

        Raises:
            FormatError: If they are to be greedy, or there are to be none.
        """
        if self.samples < 1 or (self.samples > 1 and self.temperature == 0):
            raise FormatError(
                f"{self.samples} samples at temperature {self.temperature:g}", "one sample, or several at a temperature above 0"
            )

    @property
    def asking(self) -> dict[str, Any]:
        """As keyword arguments of ``Reasoner.ground_many``; questions bring seeds of their own."""
        return {"samples": self.samples, "sampling": Sampling(temperature=self.temperature)}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What an evaluation found.

    Attributes:
        entries: The questions.
        rows: By question.
        results: As ``results.json`` has them.
    """

    entries: tuple[Entry, ...]
    rows: Mapping[str, Row]
    results: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One question with its picture and masks, as people look at it.

    Attributes:
        row: Its row.
        case: The picture.
        truth: The place that it means.
        answer: The first answer, measured again.
    """

    row: Row
    case: Case
    truth: Truth
    answer: Answer


def evaluate(
    reasoner: Reasoner,
    suite: PointingSuite,
    expert: Expert,
    folder: Path,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Found:
    """Ask the implicit questions of a suite and score the answers.

    Args:
        reasoner: The model.
        suite: Where questions come from.
        expert: Makes masks of boxes and points.
        folder: Where ``manifest.json``, ``rows.jsonl`` and ``results.json`` go. A folder with an unfinished evaluation of the same is gone
            on with: what was answered is neither asked again nor counted twice.
        settings: How; None takes every question once, greedily.
        progress: Called with the number of questions done.

    Returns:
        Questions, rows and results (docs/reference/results.md).

    Raises:
        FormatError: If there are no questions, true places are written in another frame than the model's, or the folder holds an
            evaluation of something else.
        ModelError: If a picture does not fit the model or the expert.
        UniReasonError: If a file cannot be read or written, or no question could be read.
    """
    chosen, tell = settings or Settings(), progress or (lambda done: None)
    entries = choose(suite, chosen.count, chosen.seed)
    made = _manifest(reasoner, suite, entries, expert=expert, settings=chosen)
    with held(folder):
        journal = Journal(folder, made)
        if chosen.again:
            journal.drop(lambda row: row["unreadable"] is not None)
        rows = {row["id"]: row for row in journal.read(read_row)}
        tell(len(rows))
        for case, own in by_case(entries):
            missing = [entry for entry in own if entry.id not in rows]
            if missing:
                new = _Asking(reasoner, suite, expert, chosen).rows(case, missing)
                journal.add(new)
                rows |= {row["id"]: row for row in new}
                tell(len(rows))
        results = {
            "kind": "grounding",
            "suite": suite.name,
            "rule": suite.rule,
            **summary([rows[entry.id] for entry in entries], seed=chosen.seed),
            "scope": scope.told(reasoner.checkpoint.scope, [_remarks(rows[entry.id]) for entry in entries]),
            "left_out": dict(suite.left_out),
            "manifest": made,
        }
        write_results(folder, results)
    return Found(tuple(entries), rows, results)


def _remarks(row: Row) -> list[str]:
    """What lies outside the scope of the model."""
    return row["answers"][0]["trace"].get("scope", {}).get("remarks", []) if row["answers"] else []


def shown(suite: PointingSuite, expert: Expert, found: Found, questions: Sequence[str]) -> dict[str, Shown]:
    """Questions with their pictures and masks; the masks are made again, which costs an outline and no answer.

    Args:
        suite: Where the questions came from.
        expert: The expert that was asked.
        found: What ``evaluate`` gave.
        questions: Identifiers of questions that could be read.

    Raises:
        UniReasonError: If a picture can no longer be read, or the expert cannot take it.
    """
    made: dict[str, Shown] = {}
    for name, own in by_case([entry for entry in found.entries if entry.id in set(questions)]):
        case = suite.read(name)
        truths = [suite.truth(entry) for entry in own]
        said = [traces.from_json(found.rows[entry.id]["answers"][0]["trace"]) for entry in own]
        measured = measure(case, list(zip(truths, said, strict=True)), expert)
        for entry, truth, trace, again in zip(own, truths, said, measured, strict=True):
            made[entry.id] = Shown(found.rows[entry.id], case, truth, (trace, again))
    return made


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """Who asks whom."""

    reasoner: Reasoner
    suite: PointingSuite
    expert: Expert
    settings: Settings

    def rows(self, name: str, entries: Sequence[Entry]) -> list[Row]:
        """The rows of questions about one picture, in order."""
        try:
            case = self.suite.read(name)
        except (ImageReadError, SizeLimitError) as error:
            return [unreadable_row(entry, str(error)) for entry in entries]
        truths = {entry.id: self._truth(entry) for entry in entries}
        asked = [(entry, truth) for entry in entries if isinstance(truth := truths[entry.id], Truth)]
        questions = [Question(entry.question, seed=seed_of(self.settings.seed, entry.id)) for entry, _ in asked]
        many = self.reasoner.ground_many(case, questions, **self.settings.asking)
        pairs: list[tuple[Truth, Trace]] = []
        for (entry, truth), samples in zip(asked, many, strict=True):
            check_frame(entry, samples[0].frame)
            pairs += [(truth, trace) for trace in samples]
        measured = list(zip([trace for _, trace in pairs], measure(case, pairs, self.expert), strict=True))
        size, end = self.settings.samples, self.reasoner.checkpoint.ids.think_end
        done = {
            entry.id: make_row(entry, truth, measured[n * size : (n + 1) * size], think_end=end)
            for n, (entry, truth) in enumerate(asked)
        }
        return [done[e.id] if e.id in done else unreadable_row(e, str(truths[e.id])) for e in entries]

    def _truth(self, entry: Entry) -> Truth | str:
        try:
            return self.suite.truth(entry)
        except (ImageReadError, SizeLimitError) as error:
            return str(error)


def _manifest(
    reasoner: Reasoner, suite: PointingSuite, entries: Sequence[Entry], *, expert: Expert, settings: Settings
) -> dict[str, Any]:
    wording = reasoner.checkpoint.grounding
    return {
        **make_manifest("grounding", reasoner, suite, entries, seed=settings.seed),
        "profile": {"name": wording.name, "sha256": wording.sha256},
        "samples": settings.samples,
        "temperature": settings.temperature,
        "expert": {"name": expert.name, "sha256": settings.weights},
        "tolerance_mm": TOLERANCE_MM,
    }
