"""Whether an answer to a question of a suite is right: by our reading, and beside it by the published ones.

Options: the letter of the option that the answer names, by its letter or by its text (``metrics.answers.answer_choice``).
Open questions: the answer says one of the right texts, an amount with its tolerance, or all of a set (``metrics.open_answers``).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

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
)
from unireason.metrics.open_answers import right_answer
from unireason.metrics.statistics import (
    auroc,
    calibration_error,
    compare,
    flip_interval,
    over_patients,
    reliability_bins,
    spread,
    too_few,
    wilson,
)
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


RULE = (
    "the option that the answer names by its letter or its text; for an open question the words, the amount or the names of a right "
    "answer"
)


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
    return Verdict(said, right_answer(answer, entry.gold or (entry.answers,), entry.tolerance), published)


# --- Accuracy of scored questions with intervals, in all and by tags; and two runs side by side. Plain JSON values.


TAGS = ("family", "ask", "modality", "structure", "supercategory")
"""Tags by which results are broken down; "ask" is the kind of question."""

EXPLAINED = ("family", "ask", "kind")
"""Tags by which it is told what boxes say."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One scored question.

    Attributes:
        letter: The right option; "" for an open question.
        own: The option that the boxes of the answer give; "" where they do not decide.
        true: The same of the true boxes.
    """

    id: str
    patient: str
    tags: Mapping[str, str]
    options: int
    said: str
    right: bool
    published: Mapping[str, bool | None]
    mismatch: bool = False
    letter: str = ""
    own: str = ""
    true: str = ""

    @property
    def ask(self) -> str:
        """The kind of question; "" where the data do not tell it."""
        return self.tags.get("ask", "")

    @property
    def chance(self) -> float:
        """How often guessing is right."""
        return 1 / self.options if self.options else 0.0


def make_row(entry: Entry, verdict: Verdict) -> ScoredRow:
    """The row of a question and the verdict on its answer."""
    published = dict(verdict.published)
    return ScoredRow(
        *(
            entry.id,
            entry.patient,
            dict(entry.tags),
            len(entry.options),
            verdict.said,
            verdict.right,
            published,
            verdict.mismatch,
        ),
        letter=entry.letter,
        true=entry.reader.true if entry.reader else "",
    )


def breakdown(rows: Sequence[ScoredRow], *, seed: int, by: Sequence[str] = TAGS, resamples: int = 2000) -> dict[str, Any]:
    """Accuracy in all and by tags."""
    _table_check(rows)
    found: dict[str, Any] = {"all": _scores(rows, seed, resamples) | explained(rows, seed=seed, resamples=resamples), "by": {}}
    for tag, groups in _groups(rows, by).items():
        found["by"][tag] = {value: _scores(own, seed, resamples) for value, own in groups.items()}
        if tag in EXPLAINED:
            for value, own in groups.items():
                found["by"][tag][value] |= explained(own, seed=seed, resamples=resamples)
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
        "mismatch_rate": mismatch_rate(rows),
        "chance": sum(row.chance for row in rows) / len(rows),
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


def mismatch_rate(rows: Iterable[Any]) -> float | None:
    """Share of answers to questions with options whose letter and text contradict each other; rows have ``chance`` and ``mismatch``."""
    found = [row.mismatch for row in rows if row.chance]
    return sum(found) / len(found) if found else None


def _table_check(rows: Sequence[ScoredRow]) -> None:
    if not rows:
        raise FormatError("no scored questions", "at least one")
    name, times = Counter(row.id for row in rows).most_common(1)[0]
    if times > 1:
        raise FormatError(f"question {name!r} was scored {times} times", "every question once")


# --- Why: what the boxes say that the model wrote itself, and how much of the answers no box can tell.


def explained(rows: Sequence[Any], *, seed: int, resamples: int = 2000) -> dict[str, Any]:
    """What boxes say of some questions, as plain JSON values.

    Args:
        rows: ``ScoredRow`` or whatever else has patient, ask, letter, chance, said, right, own and true.
        seed: Of the bootstrap over patients.
        resamples: Draws.

    Returns:
        ``own_boxes``: over the questions that the boxes of the answers decide (``n`` of ``asked``) the share that these boxes get
        right, that which the model got right, their gap, and the share of answers that say what the own boxes say (``follows``).
        None over none.
        ``ceiling``: the greatest evidence reliance that an ideal model could have, see :func:`ceiling`.
    """
    known = [row for row in rows if row.ask]
    return {"own_boxes": _own_boxes(known, seed, resamples), "ceiling": ceiling(known, seed=seed) if known else None}


def _own_boxes(rows: Sequence[Any], seed: int, resamples: int) -> dict[str, Any] | None:
    found = [row for row in rows if row.own]
    if not found:
        return None
    patients = [row.patient for row in found]
    own, said = [float(row.own == row.letter) for row in found], [float(row.right) for row in found]
    ahead, follows = [a - b for a, b in zip(own, said, strict=True)], [float(row.said == row.own) for row in found]
    whole = len(set(patients)) > 1
    return {
        "n": len(found),
        "asked": len(rows),
        "accuracy": sum(own) / len(own),
        "accuracy_ci95_patients": over_patients(own, patients, seed=seed, resamples=resamples),
        "model_accuracy": sum(said) / len(said),
        "gap": sum(ahead) / len(ahead),
        "gap_ci95_patients": list(flip_interval(ahead, seed=seed, clusters=patients, draws=10 * resamples)) if whole else None,
        "follows": sum(follows) / len(follows),
        "follows_ci95_patients": over_patients(follows, patients, seed=seed, resamples=resamples),
    }


def ceiling(rows: Sequence[Any], *, seed: int) -> dict[str, Any]:
    """The greatest evidence reliance that an ideal model could have on some questions.

    It answers everything right with the evidence. Without it, it still knows the place of everything from the whole picture: it answers
    from the true boxes, and guesses where they do not decide. Rows as of :func:`explained`, all with their kind.
    """
    without = [float(row.true == row.letter) if row.true else row.chance for row in rows]
    return lost_share(
        [(1.0, w, row.chance) for w, row in zip(without, rows, strict=True)], [row.patient for row in rows], seed=seed
    )


# --- Evidence reliance: which share of what is known beyond chance is lost without the evidence, with an interval over patients.


RESAMPLES = 2000
_TAIL = 0.025


def lost_share(table: Sequence[tuple[float, float, float]], patients: Sequence[str], *, seed: int) -> dict[str, Any]:
    """(a - w) / (a - c), cut to [0, 1], of one row (right with, right without, chance) a question; None where a is not above c."""
    if not table:
        return {"value": None, "ci95": None, "n": 0}
    places = {name: n for n, name in enumerate(dict.fromkeys(patients))}
    sums = np.zeros((len(places), 3))
    np.add.at(sums, [places[name] for name in patients], np.array(table, dtype=np.float64))
    value = _shares(sums.sum(axis=0)[None])[0]
    if np.isnan(value):
        return {"value": None, "ci95": None, "n": len(table)}
    if len(places) == 1:
        return {"value": float(value), "ci95": None, "n": len(table)}
    low, high = _few(sums) if too_few(len(sums)) else _resampled(sums, seed)
    low, high = min(low, float(value)), max(high, float(value))
    if low == high:
        low, high = spread(float(value), 0.0, len(sums) - 1.0, clusters=len(sums), limits=(0.0, 1.0))
    return {"value": float(value), "ci95": [low, high], "n": len(table)}


def _few(sums: NDArray[np.float64]) -> tuple[float, float]:
    """The shares that a t test over patients does not reject (Fieller's interval), inside [0, 1]; a grid of 1,000."""
    right, without, chance = sums.T
    grid = np.linspace(0, 1, 1001)[:, None]
    left = right - without - grid * (right - chance)
    means, errors = left.mean(axis=1), left.std(axis=1, ddof=1) / np.sqrt(len(sums))
    held = grid[np.abs(means) <= float(stdtrit(len(sums) - 1, 1 - _TAIL)) * errors, 0]
    return (float(held[0]), float(held[-1])) if len(held) else (1.0, 0.0)


def _resampled(sums: NDArray[np.float64], seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn = np.stack([sums[rng.integers(0, len(sums), len(sums))].sum(axis=0) for _ in range(RESAMPLES)])
    shares = _shares(drawn)
    low, high = np.quantile(np.nan_to_num(shares, nan=0.0), _TAIL), np.quantile(np.nan_to_num(shares, nan=1.0), 1 - _TAIL)
    return float(low), float(high)


def _shares(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) shares from sums (n, 3) of right with, right without and chance; NaN where right is not above chance."""
    right, without, chance = sums.T
    known = right - chance
    above = known > 1e-9 * np.maximum(right, 1)
    lost = np.clip((right - without) / np.where(above, known, 1.0), 0.0, 1.0)
    return np.where(above, lost, np.nan)


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
