"""The row of a question: what stands for it, and all samples. On disk it has traces; in memory only what is summed up."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from unireason.evaluate.scoring.answers import Verdict, judge, judge_text
from unireason.evaluate.scoring.predictors import answer_probability
from unireason.evaluate.scoring.table import Row
from unireason.evaluate.scoring.voting import vote
from unireason.evaluate.suites.suite import Entry
from unireason.grounding import trace as traces
from unireason.metrics.answers import answer_words
from unireason.rewards.measures import looks_iou
from unireason.types import Trace

Line = dict[str, Any]
"""A row as plain JSON values; docs/reference/results.md lists its keys."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A row without its traces.

    Attributes:
        scored: As tables take it; its tags hold the kind of the case too.
        problem: Why it was not asked; "" if it was.
        ious: Overlap of every true look with the box that fits it (``rewards.measures.looks_iou``), 0 for a missing one.
        looked: True if the answer that stands executed a look.
        predictors: "overlap", "probability" and "agreement" of that answer; None where unknown.
        hits: For every sample whether it is right.
        seconds: Its share of the time that its case took.
        remarks: What lies outside the scope of the model (``types.ScopeCheck``).
    """

    scored: Row
    problem: str
    ious: tuple[float, ...]
    looked: bool
    predictors: Mapping[str, float | None]
    hits: tuple[bool, ...]
    seconds: float
    remarks: tuple[str, ...] = ()


def answered(line: Mapping[str, Any]) -> Answered:
    """A row without its traces, from one on disk; a ValueError, TypeError or KeyError says that it is none."""
    told = {**line["tags"], **({"kind": line["kind"]} if line["kind"] else {})}
    tags = {sys.intern(key): sys.intern(value) for key, value in told.items()}  # the same few words in all rows
    published = {sys.intern(key): value for key, value in line["published"].items()}
    texts = ("id", "patient", "said", "problem")
    if not all(isinstance(line[key], str) for key in texts) or not isinstance(line["right"], bool):
        raise TypeError("a text or a flag has another type")
    samples = line["samples"]
    return Answered(
        scored=Row(
            line["id"],
            line["patient"],
            tags,
            len(line["options"]),
            line["said"],
            line["right"],
            published,
            _mismatch(line),
        ),
        problem=line["problem"],
        ious=tuple(map(float, line["ious"])),
        looked=bool(samples) and samples[line["sample"]]["looks"] > 0,
        predictors={key: line[key] for key in ("overlap", "probability", "agreement")},
        hits=tuple(bool(sample["right"]) for sample in samples),
        seconds=float(line["seconds"]),
        remarks=tuple(map(sys.intern, samples[0].get("trace", {}).get("scope", {}).get("remarks", ()))) if samples else (),
    )


def _mismatch(line: Mapping[str, Any]) -> bool:
    """Whether letter and text of the answer that stands contradict each other, as its trace says."""
    if not line["samples"]:
        return False
    problems = line["samples"][line["sample"]].get("trace", {}).get("problems", ())
    return any(problem["code"] == "choice_text_mismatch" for problem in problems)


def make_line(entry: Entry, found: Sequence[Trace], *, votes: int, think_end: int | None) -> Line:
    """The row of a question that was asked.

    Args:
        entry: The question.
        found: Its responses, at least one.
        votes: The first so many vote for what stands; 0 takes the first response.
        think_end: See ``scoring.predictors.answer_probability``.

    Raises:
        FormatError: If a response was given other options, or the question has no readable truth.
    """
    verdicts = [judge(entry, trace) for trace in found]
    said = [verdict.said for verdict in verdicts]
    index, tied = 0, False
    if votes:
        outcome = vote(said[:votes])
        index, tied, agreement = outcome.index, bool(outcome.tied), outcome.agreement
    else:
        agreement = _agreement(said)
    ious = [looks_iou(trace, entry.looks) for trace in found]
    samples = [_sample(trace, verdict, own, think_end) for trace, verdict, own in zip(found, verdicts, ious, strict=True)]
    standing = {key: samples[index][key] for key in ("said", "right", "published", "overlap", "probability")}
    return {
        **_head(entry, found[0].frame.kind),
        **standing,
        "agreement": agreement if len(said[: votes or None]) > 1 else None,
        "tied": tied,
        "ious": ious[index],
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
        **{"ious": ious, "sample": 0, "problem": problem, "samples": [], "picture": "", "seconds": 0.0},
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
        "answers": list(entry.answers),
    }


def _agreement(said: Sequence[str]) -> float:
    """Share of the samples that say what the first one says; 0 if that cannot be read."""
    words = [answer_words(text) for text in said]
    return words.count(words[0]) / len(words) if words[0] else 0.0


def _sample(trace: Trace, verdict: Verdict, ious: Sequence[float], think_end: int | None) -> Line:
    return {
        "said": verdict.said,
        "right": verdict.right,
        "published": dict(verdict.published),
        "overlap": fmean(ious) if ious else None,
        "probability": answer_probability(trace, think_end),
        "looks": sum(look.executed for look in trace.looks),
        "trace": traces.to_json(replace(trace, tokens=None), crops="none"),
    }
