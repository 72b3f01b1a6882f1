"""Whether an answer to a question of a suite is right: by our reading, and beside it by the published ones.

Options: the letter of the option that the answer names, by its letter or by its text (``metrics.answers.answer_choice``).
Open questions: the answer is one of the right texts after normalisation (``metrics.answers.same_text``).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from unireason.core.errors import FormatError
from unireason.core.types import Trace
from unireason.evaluate.suites.base import Entry
from unireason.grounding.profile import letters_of
from unireason.metrics.answers import (
    THINK_END,
    THINK_START,
    answer_choice,
    answer_part,
    answer_words,
    contradicts,
    published_inference_choice,
    published_reward_choice,
    same_text,
)
from unireason.metrics.statistics import auroc, calibration_error, compare, over_patients, reliability_bins, too_few, wilson
from unireason.rewards.outcome import looks_iou


def box_overlap(entry: Entry, trace: Trace) -> float | None:
    """Mean overlap of the boxes of the reasoning with the true looks, as ``rewards.measures.looks_iou``."""
    found = looks_iou(trace, entry.looks)
    return fmean(found) if found else None


def answer_probability(trace: Trace, think_end: int | None) -> float | None:
    """Probability with which the model sampled its answer, given its reasoning: of all that it sampled behind ``</think>``."""
    tokens = trace.tokens
    if tokens is None or not tokens.logprobs or think_end not in tokens.response:
        return None
    start = len(tokens.response) - tokens.response[::-1].index(think_end)
    own = [value for value, sampled in zip(tokens.logprobs[start:], tokens.sampled[start:], strict=True) if sampled]
    total = sum(own)
    return None if not own or math.isnan(total) else min(1.0, math.exp(total))


def calibration(values: Sequence[float | None], right: Sequence[bool], *, count: int = 10) -> dict[str, Any]:
    """How well one predictor tells right from wrong, as plain JSON values."""
    if len(values) != len(right):
        raise FormatError(f"{len(values)} values and {len(right)} answers", "one an answer")
    known = [(value, hit) for value, hit in zip(values, right, strict=True) if value is not None]
    numbers, hits = [value for value, _ in known], [hit for _, hit in known]
    bins = reliability_bins(numbers, hits, count=count)
    return {
        "n": len(known),
        "missing": len(values) - len(known),
        "auroc": auroc(numbers, hits),
        "ece": calibration_error(bins),
        "bins": [asdict(own) | {"interval": list(own.interval)} for own in bins],
    }


# --- Published ways to read an answer, defects kept: to compare with published figures, and for nothing else.


_SPECIAL = re.compile(r"<\|[a-z_]{1,40}\|>")


@dataclass(frozen=True, slots=True)
class Extractor:
    """One published reading."""

    rule: str
    right: Callable[[Entry, str], bool | None]


def published_verdicts(entry: Entry, raw_text: str) -> dict[str, bool | None]:
    """What every published extractor makes of one response."""
    text = _SPECIAL.sub("", raw_text)
    before, closed, _ = text.partition(THINK_END)
    if closed and THINK_START not in before:
        text = THINK_START + text
    return {name: extractor.right(entry, text) for name, extractor in EXTRACTORS.items()}


def _llava_med(entry: Entry, text: str) -> bool | None:
    gold = entry.answers[0].strip().casefold() if entry.answers else ""
    if gold not in ("yes", "no"):
        return None
    said = re.sub(r"\bnone\b", "0", (answer_part(text) or "").lower())
    if gold in said:
        return True
    # The script adds nothing to its list here: a wrong yes or no falls out of the count.
    return None if "yes" in said or "no" in said else False


EXTRACTORS: Mapping[str, Extractor] = {
    "unireason_med": Extractor(
        "the first letter A to D behind the word 'answer', else the first with a full stop, else one that ends the text",
        lambda entry, text: published_inference_choice(text) == entry.letter if entry.letter else None,
    ),
    "unireason_med_reward": Extractor(
        "the first single letter A to D of the text without closed think blocks, the article 'a' included",
        lambda entry, text: published_reward_choice(text) == entry.letter if entry.letter else None,
    ),
    "m3d": Extractor(
        "right if the right letter with a full stop occurs anywhere in the answer, also inside a word",
        lambda entry, text: f"{entry.letter}." in (answer_part(text) or "") if entry.letter else None,
    ),
    "llava_med_closed": Extractor(
        "yes/no questions only: right if the right word occurs anywhere ('no' also in 'normal'); not counted if only the wrong one does",
        _llava_med,
    ),
}
"""Published extractors by name.

Source: ``unireason_med*``: released inference script and reward of arXiv 2606.11740. ``m3d``: released closed-ended scorer of arXiv
2404.00578. ``llava_med_closed``: released scorer of arXiv 2306.00890. The last two know no reasoning and are given what stands behind it.
"""


# --- Our reading.


RULE = "the option that the answer names by its letter or its text; for an open question the same words as a right answer"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer says and whether that is right."""

    said: str
    right: bool
    published: Mapping[str, bool | None]
    mismatch: bool = False


def judge(entry: Entry, trace: Trace) -> Verdict:
    """Judge the answer of a trace."""
    if trace.options != entry.options:
        raise FormatError(
            f"the response to question {entry.id!r} was given the options {trace.options}", f"{entry.options}", "ask it again"
        )
    return _verdict(entry, trace.answer.text, trace.raw_text)


def judge_text(entry: Entry, response: str) -> Verdict:
    """Judge a response that is known as text alone.

    Args:
        entry: The question.
        response: The whole response, or the answer alone; an unclosed think block has no answer.

    Returns:
        The verdict.

    Raises:
        FormatError: If the question has no readable truth.
    """
    return _verdict(entry, answer_part(response) or "", response)


def _verdict(entry: Entry, answer: str, response: str) -> Verdict:
    """The verdict; a question that no answer could get right is refused."""
    if entry.options and entry.letter not in tuple(letters_of(entry.options)):
        raise FormatError(
            f"question {entry.id!r} has {len(entry.options)} options and the letter {entry.letter!r}", "one of theirs"
        )
    if not entry.options and (entry.letter or not entry.answers):
        raise FormatError(f"question {entry.id!r} has no options", "texts that count as right, and no letter")
    published = published_verdicts(entry, response)
    if entry.options:
        letters = letters_of(entry.options)
        said = answer_choice(answer, letters, entry.options) or ""
        return Verdict(said, said == entry.letter, published, contradicts(answer, letters, entry.options))
    said = answer.strip() if answer_words(answer) else ""
    return Verdict(said, any(same_text(answer, text) for text in entry.answers), published)


# --- Accuracy of scored questions with intervals, in all and by tags; and two runs side by side. Plain JSON values.


TAGS = ("family", "modality", "structure", "supercategory")
"""Tags by which results are broken down."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One scored question."""

    id: str
    patient: str
    tags: Mapping[str, str]
    options: int
    said: str
    right: bool
    published: Mapping[str, bool | None]
    mismatch: bool = False


def make_row(entry: Entry, verdict: Verdict) -> ScoredRow:
    """The row of a question and the verdict on its answer."""
    published = dict(verdict.published)
    return ScoredRow(
        entry.id, entry.patient, dict(entry.tags), len(entry.options), verdict.said, verdict.right, published, verdict.mismatch
    )


def breakdown(rows: Sequence[ScoredRow], *, seed: int, by: Sequence[str] = TAGS, resamples: int = 2000) -> dict[str, Any]:
    """Accuracy in all and by tags."""
    _table_check(rows)
    found: dict[str, Any] = {"all": _scores(rows, seed, resamples), "by": {}}
    for tag, groups in _groups(rows, by).items():
        found["by"][tag] = {value: _scores(own, seed, resamples) for value, own in groups.items()}
    return found


def compare_runs(
    first: Sequence[ScoredRow], second: Sequence[ScoredRow], *, seed: int, by: Sequence[str] = TAGS, draws: int = 20_000
) -> dict[str, Any]:
    """Two runs over the same questions, in all and by tags."""
    _table_check(first)
    _table_check(second)
    other = {row.id: row.right for row in second}
    apart = {row.id for row in first} ^ set(other)
    if apart:
        raise FormatError(
            f"{len(apart)} questions were answered in one run only, such as {min(apart)!r}",
            "two runs over the same questions",
            "run both on the same suite to the end",
        )

    def scores(rows: Sequence[ScoredRow]) -> dict[str, Any]:
        patients = [row.patient for row in rows]
        found = compare([row.right for row in rows], [other[row.id] for row in rows], seed=seed, clusters=patients, draws=draws)
        count = len(set(patients))
        interval = list(found.interval) if count > 1 else None
        return {**asdict(found), "interval": interval, "patients": count, "too_few_patients": too_few(count)}

    groups = _groups(first, by)
    return {"all": scores(first), "by": {tag: {value: scores(own) for value, own in groups[tag].items()} for tag in groups}}


def _groups(rows: Sequence[ScoredRow], by: Sequence[str]) -> dict[str, dict[str, list[ScoredRow]]]:
    found: dict[str, dict[str, list[ScoredRow]]] = {}
    for tag in by:
        groups: dict[str, list[ScoredRow]] = {}
        for row in rows:
            if tag in row.tags:
                groups.setdefault(row.tags[tag], []).append(row)
        if groups:
            found[tag] = {value: groups[value] for value in sorted(groups)}
    return found


def _scores(rows: Sequence[ScoredRow], seed: int, resamples: int) -> dict[str, Any]:
    patients = [row.patient for row in rows]
    names = sorted({name for row in rows for name in row.published})
    published = {
        name: [(row.published[name], row.patient) for row in rows if row.published.get(name) is not None] for name in names
    }
    return {
        "patients": len(set(patients)),
        "too_few_patients": too_few(len(set(patients))),
        "unread": sum(not row.said for row in rows),
        "mismatch_rate": sum(row.mismatch for row in rows) / len(rows),
        "chance": sum(1 / row.options for row in rows if row.options) / len(rows),
        **_share([(row.right, row.patient) for row in rows], seed, resamples),
        "published": {name: _share(counted, seed, resamples) for name, counted in published.items() if counted},
    }


def _share(verdicts: Sequence[tuple[Any, str]], seed: int, resamples: int) -> dict[str, Any]:
    """Accuracy and both intervals of verdicts, each with its patient."""
    right = [float(verdict) for verdict, _ in verdicts]
    return {
        "n": len(right),
        "accuracy": sum(right) / len(right),
        "accuracy_ci95": list(wilson(int(sum(right)), len(right))),
        "accuracy_ci95_patients": over_patients(right, [own for _, own in verdicts], seed=seed, resamples=resamples),
    }


def _table_check(rows: Sequence[ScoredRow]) -> None:
    if not rows:
        raise FormatError("no scored questions", "at least one")
    name, times = Counter(row.id for row in rows).most_common(1)[0]
    if times > 1:
        raise FormatError(f"question {name!r} was scored {times} times", "every question once")


# --- Self-consistency: the answer that most of several samples to one question give, and how far they agree.


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a vote."""

    index: int
    said: str
    agreement: float
    tied: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]


def vote(said: Sequence[str]) -> Vote:
    """Let the samples to one question vote.

    Source: X. Wang et al., Self-Consistency, arXiv 2203.11171, section 2 (majority vote); the tie rule is ours.
    """
    if not said:
        raise FormatError("a vote without samples", "at least one")
    places: dict[tuple[str, ...], list[int]] = {}
    for place, text in enumerate(said):
        if words := answer_words(text):
            places.setdefault(words, []).append(place)
    if not places:
        return Vote(0, "", 0.0, (), ())
    ranked = sorted(places.values(), key=len, reverse=True)  # stable: the order first said stays among equals
    winner = ranked[0]
    return Vote(
        index=winner[0],
        said=said[winner[0]],
        agreement=len(winner) / len(said),
        tied=tuple(said[other[0]] for other in ranked[1:] if len(other) == len(winner)),
        counts=tuple((said[own[0]], len(own)) for own in places.values()),
    )
