"""The whole run: choose, ask, sum up, write."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import write_bytes
from unireason.core.types import Case, Stack, Trace
from unireason.engine.reasoner import Question, Reasoner
from unireason.engine.sampling import Sampling
from unireason.evaluate.results import RunResults, RunRow
from unireason.evaluate.suites.base import Entry, Suite
from unireason.grounding import trace as traces
from unireason.grounding.profile import CropSource
from unireason.metrics.answers import answer_words
from unireason.metrics.statistics import over_patients
from unireason.model import files
from unireason.rewards.outcome import looks_iou

from . import store
from .runner import Job, Runner, Unread, Waiting, asked_at_once
from .scoring import TAGS, ScoredRow, Verdict, answer_probability, breakdown, calibration, judge, judge_text, vote
from .store import (
    ROWS,
    ResultStore,
    by_case,
    check_frame,
    choose,
    held,
    make_manifest,
    read_rows,
    seed_of,
    write_results,
)

Line = dict[str, Any]
"""A row as plain JSON values; docs/reference/results.md lists its keys."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A row without its traces."""

    scored: ScoredRow
    problem: str
    ious: tuple[float, ...]
    looked: bool
    predictors: Mapping[str, float | None]
    hits: tuple[bool, ...]
    seconds: float
    remarks: tuple[str, ...] = ()


def answered(row: RunRow) -> Answered:
    """A row without its traces."""
    told = {**row.tags, **({"kind": row.kind} if row.kind else {})}
    tags = {sys.intern(key): sys.intern(value) for key, value in told.items()}  # the same few words in all rows
    published = {sys.intern(key): value for key, value in row.published.items()}
    trace = row.standing.trace if row.standing else {}
    mismatch = any(problem["code"] == "choice_text_mismatch" for problem in trace.get("problems", ()))
    remarks = row.samples[0].trace.get("scope", {}).get("remarks", ()) if row.samples else ()
    return Answered(
        scored=ScoredRow(
            *(row.id, row.patient, tags, len(row.options), row.said, row.right, published, mismatch),
            letter=row.letter,
            own=row.own_boxes,
            true=row.true_boxes,
        ),
        problem=row.problem,
        ious=tuple(row.ious),
        looked=row.looked,
        predictors={"overlap": row.overlap, "probability": row.probability, "agreement": row.agreement},
        hits=tuple(sample.right for sample in row.samples),
        seconds=row.seconds,
        remarks=tuple(map(sys.intern, remarks)),
    )


def make_line(entry: Entry, found: Sequence[Trace], *, votes: int, think_end: int | None) -> Line:
    """The row of a question that was asked."""
    verdicts = [judge(entry, trace) for trace in found]
    said = [verdict.said for verdict in verdicts]
    index, tied = 0, False
    if votes:
        outcome = vote(said[:votes])
        index, tied, agreement = outcome.index, bool(outcome.tied), outcome.agreement
    else:
        # Share of the samples that say what the first one says; 0 if that cannot be read.
        words = [answer_words(text) for text in said]
        agreement = words.count(words[0]) / len(words) if words[0] else 0.0
    ious = [looks_iou(trace, entry.looks) for trace in found]
    samples = [
        {
            "said": verdict.said,
            "right": verdict.right,
            "published": dict(verdict.published),
            "overlap": fmean(own) if own else None,
            "probability": answer_probability(trace, think_end),
            "looks": sum(look.executed for look in trace.looks),
            "trace": traces.to_json(replace(trace, tokens=None), crops="none"),
        }
        for trace, verdict, own in zip(found, verdicts, ious, strict=True)
    ]
    standing = {key: samples[index][key] for key in ("said", "right", "published", "overlap", "probability")}
    return {
        **_head(entry, found[0].frame.kind),
        **standing,
        "agreement": agreement if len(said[: votes or None]) > 1 else None,
        "tied": tied,
        "ious": ious[index],
        "own_boxes": entry.reader.own(found[index]) if entry.reader else "",
        "sample": index,
        "problem": "",
        "samples": samples,
    }


def make_unread(entry: Entry, problem: str) -> Line:
    """The row of a question whose case cannot be read or fed: it counts as wrong, its true looks as missed."""
    verdict: Verdict = judge_text(entry, "")
    ious = [0.0 for look in entry.looks if look.seen]
    return {
        **_head(entry, entry.tags.get("kind", "")),
        **{"said": "", "right": False, "published": dict(verdict.published)},
        **{"overlap": fmean(ious) if ious else None, "probability": None, "agreement": None, "tied": False},
        **{"ious": ious, "own_boxes": "", "sample": 0, "problem": problem, "samples": [], "picture": "", "seconds": 0.0},
    }


def _head(entry: Entry, kind: str) -> Line:
    return {
        "id": entry.id,
        "case": entry.case,
        "patient": entry.patient,
        "kind": kind,
        "tags": dict(entry.tags),
        "question": entry.question,
        "options": list(entry.options),
        "letter": entry.letter,
        "true_boxes": entry.reader.true if entry.reader else "",
        "answers": list(entry.answers),
    }


# --- How a run asks: how many questions, how many samples of each, what stands for a question.


TEMPERATURE = 0.7
"""Temperature of several samples if none is asked for."""


@dataclass(frozen=True, slots=True)
class RunSettings(store.AskSettings):
    """How a run asks; which questions, and how many may stay without an answer, see ``evaluate.settings.Settings``.

    Attributes:
        samples: Responses a question.
        vote: The most frequent answer of the first so many samples stands for the question; 0 for the answer of the first sample.
        sampling: How tokens are chosen; its seed is not used, see :meth:`seed_of`.
        max_looks: Looks at most; None takes the profile's.
        max_new_tokens: Sampled tokens at most; None takes the profile's.
        crop_source: What looks show: "model", "native" or "none"; None takes the profile's.
        opened: How the suite was opened, for the manifest: "data" (name of its folder), "split" and "suite_options"; plain JSON values.
    """

    samples: int = 1
    vote: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    max_looks: int | None = None
    max_new_tokens: int | None = None
    crop_source: CropSource | None = None
    opened: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges."""
        store.AskSettings.__post_init__(self)  # a class with slots is made twice, and super() knows the first one
        store.check_least(self, {"samples": 1, "vote": 0, "max_looks": 0, "max_new_tokens": 1})
        if self.vote > self.samples:
            raise FormatError(f"a vote of {self.vote} among {self.samples} samples", "at most as many as there are samples")
        if self.samples > 1 and self.sampling.temperature == 0:
            raise FormatError(
                f"{self.samples} samples at temperature 0 are all the same", "a temperature above 0", "leave it out to take 0.7"
            )

    @classmethod
    def filled(
        cls,
        *,
        samples: int | None = None,
        vote: int = 0,
        temperature: float | None = None,
        top_p: float = 1.0,
        repetition_penalty: float | None = None,
        **rest: Any,
    ) -> RunSettings:
        """Settings from what a user has said.

        Args:
            samples: None takes ``vote``, or 1.
            vote: As above.
            temperature: None takes 0 for one sample and 0.7 for several.
            top_p: See ``Sampling``, as the next.
            repetition_penalty: None takes the checkpoint's.
            **rest: Other fields of this class.

        Raises:
            FormatError: As the class, or if a sampling parameter is out of range.
        """
        several = samples if samples is not None else max(vote, 1)
        warmth = temperature if temperature is not None else TEMPERATURE if several > 1 else 0.0
        sampling = Sampling(temperature=warmth, top_p=top_p, repetition_penalty=repetition_penalty)
        return cls(samples=several, vote=vote, sampling=sampling, **rest)

    def seed_of(self, question: str) -> int:
        """Seed of the first sample to a question; it depends on the seed of the run and the question's identifier alone."""
        return seed_of(self.seed, question)

    def manifest(self) -> dict[str, Any]:
        """What of this shapes the rows, as plain JSON values."""
        return {
            "samples": self.samples,
            "vote": self.vote,
            "sampling": {k: v for k, v in asdict(self.sampling).items() if k not in ("seed", "logprobs") and v is not None},
            "limits": {"max_looks": self.max_looks, "max_new_tokens": self.max_new_tokens},
            "crop_source": self.crop_source,
            **self.opened,
        }


# --- Asks the questions of a suite and writes a row for each; what has a row is not asked again.


Progress = Callable[[int, int], None]
"""Takes how many questions are done, and how many there are."""

Draw = Callable[[Trace, Case, Stack], bytes]

PICTURES = "pictures"


class Asking:
    """One run over a suite: rows are written as answers come, and what has a row is not asked again."""

    def __init__(
        self,
        model: Reasoner,
        suite: Suite,
        entries: Sequence[Entry],
        *,
        journal: ResultStore,
        settings: RunSettings,
        folder: Path,
    ) -> None:
        """Take a model, questions of a suite (those on one case together), the rows so far, how to ask, and where pictures go."""
        self._model, self._suite, self._journal, self._settings, self._folder = model, suite, journal, settings, folder
        self._entries = list(entries)
        self._places = {entry.id: place for place, entry in enumerate(self._entries)}
        self._unread = Unread(len(self._entries), settings.skip)
        self._runner: Runner[list[Trace]] = Runner(
            self._traces, self._unread, samples=settings.samples, together=asked_at_once(model)
        )
        self._since = time.perf_counter()
        self.rows: dict[str, Answered] = {}
        for row in journal.read(lambda line: answered(RunRow.model_validate(line))):
            if row.scored.id in self.rows:
                raise UniReasonError(
                    f"the folder has two rows of question {row.scored.id!r}", "one a question", "choose another folder"
                )
            self.rows[row.scored.id] = row

    def run(self, *, draw: Draw | None = None, progress: Progress | None = None) -> None:
        """Ask all that has no row yet."""
        told, total = progress or (lambda done, total: None), len(self._entries)
        told(len(self.rows), total)
        self._since = time.perf_counter()
        for name, entries in by_case(self._entries):
            if todo := [entry for entry in entries if entry.id not in self.rows]:
                try:
                    case = self._suite.read(name)
                    encoded = self._model.encode(case)
                except UniReasonError as error:
                    self._unread.give_up(todo, error)
                else:
                    for entry in todo:
                        check_frame(entry, encoded.frame)
                    self._runner.waiting.append(Waiting(name, case, encoded, [Job(entry) for entry in todo]))
            if self._runner.is_full:
                self._ask(draw)
            if not self._runner.waiting:
                told(len(self.rows) + len(self._unread.problems), total)
        self._ask(draw)
        problems = self._unread.problems
        self._add([make_unread(entry, problems[entry.id]) for entry in self._entries if entry.id in problems])
        told(len(self.rows), total)

    def _ask(self, draw: Draw | None) -> None:
        """Ask what waits and write the rows, also of those that were answered before one too many was given up."""
        made: list[Line] = []
        try:
            for own, job, found in self._runner.answers():
                line = make_line(job.entry, found, votes=self._settings.vote, think_end=self._model.checkpoint.ids.think_end)
                line["picture"] = ""
                if draw and (drawn := draw(found[line["sample"]], own.case, own.encoded.stack)):
                    line["picture"] = f"{PICTURES}/{self._places[job.entry.id]:04d}.png"
                    write_bytes(self._folder / line["picture"], drawn)
                made.append(line)
        finally:
            now = time.perf_counter()
            each, self._since = (now - self._since) / max(1, len(made)), now
            self._add([{**line, "seconds": round(each, 4)} for line in made])

    def _traces(self, waiting: Sequence[Waiting]) -> list[list[list[Trace]]]:
        """The responses to all that waits."""
        chosen = self._settings
        asked = [
            (
                own.case,
                own.encoded,
                [Question(e.question, e.options, seed=chosen.seed_of(e.id)) for e in (job.entry for job in own.jobs)],
            )
            for own in waiting
        ]
        how = {name: getattr(chosen, name) for name in ("sampling", "samples", "max_looks", "max_new_tokens", "crop_source")}
        return self._model.ask_cases(asked, **how)

    def _add(self, lines: Sequence[Line]) -> None:
        self._journal.add(lines)
        self.rows |= {line["id"]: answered(RunRow.model_validate(line)) for line in lines}


# --- What the rows of a run say: accuracy, calibration, grounding, spread over samples. Plain JSON values.


GOOD_OVERLAP = 0.5
PREDICTORS = ("overlap", "probability", "agreement")


def summary(rows: Sequence[Answered], settings: RunSettings) -> dict[str, Any]:
    """Everything that the rows say; docs/reference/results.md explains the keys."""
    scores = breakdown([row.scored for row in rows], seed=settings.seed, by=(*TAGS, "kind"))
    seconds = sum(row.seconds for row in rows)
    # How well every predictor tells right from wrong among the questions that were asked; without those known of none.
    asked = [row for row in rows if not row.problem]
    right = [row.scored.right for row in asked]
    told = {name: calibration([row.predictors[name] for row in asked], right) for name in PREDICTORS}
    looks = [(value, row.scored.patient) for row in rows for value in row.ious]
    ious = [value for value, _ in looks]
    sampling = None
    if settings.samples > 1:  # over all samples; a question that could not be asked has none that is right
        means = [fmean(row.hits) if row.hits else 0.0 for row in rows]
        sampling = {
            "samples": settings.samples,
            "temperature": settings.sampling.temperature,
            "mean_accuracy": fmean(means),
            "mean_accuracy_ci95_patients": over_patients(means, [row.scored.patient for row in rows], seed=settings.seed),
            "any_right": fmean(any(row.hits) for row in rows),
            "all_right": fmean(bool(row.hits) and all(row.hits) for row in rows),
        }
    return {
        "n": len(rows),
        "patients": scores["all"]["patients"],
        "too_few_patients": scores["all"]["too_few_patients"],
        "samples": settings.samples,
        "vote": settings.vote,
        "scores": scores,
        "calibration": {name: own for name, own in told.items() if own["n"]},
        "grounding": {
            "looks": len(ious),
            "mean_box_iou": fmean(ious) if ious else None,
            "ci95_patients": over_patients(ious, [patient for _, patient in looks], seed=settings.seed),
            "iou_at_50": fmean(value >= GOOD_OVERLAP for value in ious) if ious else None,
            "looked": fmean(row.looked for row in rows),
        },
        "sampling": sampling,
        "unreadable": sum(bool(row.problem) for row in rows),
        "seconds": round(seconds, 3),
        "questions_a_second": round(len(rows) / seconds, 3) if seconds else None,
    }


# --- The whole run: choose, ask, sum up, write.


def run(
    reasoner: Reasoner,
    suite: Suite,
    folder: Path,
    *,
    settings: RunSettings | None = None,
    draw: Draw | None = None,
    progress: Progress | None = None,
) -> RunResults:
    """Ask the questions of a suite and say how well they were answered.

    Rows are written as they come; traces are not kept in memory.

    Args:
        reasoner: The model.
        suite: Where questions come from.
        folder: Where ``manifest.json``, ``rows.jsonl``, ``results.json`` and pictures go. A folder with an unfinished run of the same is
            gone on with; random numbers depend on the seed and the question alone, so that it makes no difference where it was broken off.
        settings: How to ask; greedily, once, all questions by default.
        draw: Makes the picture of a trace, as PNG; None makes none.
        progress: Called with the number of questions done, and of all.

    Returns:
        The results.

    Raises:
        FormatError: If there are no questions, one has no readable truth, true places are written for another model frame, or the folder
            holds a run of something else.
        UniReasonError: If more questions cannot be asked than ``settings.skip`` allows, another process has the folder, or a file cannot
            be written.
    """
    chosen = settings or RunSettings()
    entries = choose(suite, chosen.count, chosen.seed)
    for entry in entries:
        judge_text(entry, "")  # refuses a question that no answer can get right, before any is asked
    manifest = {**make_manifest("run", reasoner, suite, entries, seed=chosen.seed), **chosen.manifest()}
    with held(folder):
        journal = ResultStore(folder, manifest)
        if chosen.again:
            journal.drop(lambda line: bool(line["problem"]))
        asking = Asking(reasoner, suite, entries, journal=journal, settings=chosen, folder=folder)
        asking.run(draw=draw, progress=progress)
        results = RunResults(
            kind="run",
            suite=suite.name,
            rule=suite.rule,
            **summary([asking.rows[entry.id] for entry in entries], chosen),  # resampling depends on the order
            scope=files.told(reasoner.checkpoint.scope, [asking.rows[e.id].remarks for e in entries]),
            left_out=dict(getattr(suite, "left_out", {})),
            manifest=manifest,
        )
        write_results(folder, results.to_json())
    return results


def rows_of(folder: Path) -> Iterator[RunRow]:
    """The rows of a run, one at a time, as they are on disk; a FormatError names a line that is broken."""
    return read_rows(folder / ROWS, RunRow.model_validate)
