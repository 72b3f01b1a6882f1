"""Accuracy of scored questions with intervals, in all and by tags; and two runs side by side. Plain JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unireason.errors import FormatError
from unireason.evaluate.suites.suite import Entry
from unireason.metrics.intervals import over_patients, too_few, wilson
from unireason.metrics.paired import compare

from .answers import Verdict

TAGS = ("family", "modality", "structure", "supercategory")
"""Tags by which results are broken down."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scored question.

    Attributes:
        id: Of the question.
        patient: Whom it is about.
        tags: What the suite tells of it.
        options: Number of options; 0 for an open question.
        said: What the answer says; "" if it cannot be read.
        right: True if that is right.
        published: Right, wrong or None (not counted) by published extractors.
        mismatch: True if its letter and its text contradict each other.
    """

    id: str
    patient: str
    tags: Mapping[str, str]
    options: int
    said: str
    right: bool
    published: Mapping[str, bool | None]
    mismatch: bool = False


def make_row(entry: Entry, verdict: Verdict) -> Row:
    """The row of a question and the verdict on its answer."""
    published = dict(verdict.published)
    return Row(
        entry.id, entry.patient, dict(entry.tags), len(entry.options), verdict.said, verdict.right, published, verdict.mismatch
    )


def breakdown(rows: Sequence[Row], *, seed: int, by: Sequence[str] = TAGS, resamples: int = 2000) -> dict[str, Any]:
    """Accuracy in all and by tags.

    Args:
        rows: Scored questions, each once.
        seed: Of the bootstrap.
        by: Tags to group by. A row without a tag is in no group of it.
        resamples: Draws of the bootstrap.

    Returns:
        ``all`` and, under ``by``, tag and value in alphabetical order: groups with ``n`` questions, ``patients``, ``too_few_patients``
        (below 20, where intervals over patients are made for few), ``unread`` answers,
        ``mismatch_rate`` (share of answers whose letter and text contradict each other),
        ``chance`` (mean of one over the number of options; an open question counts 0), ``accuracy``, ``accuracy_ci95`` (Wilson, questions
        taken as independent), ``accuracy_ci95_patients`` (whole patients; None for one) and ``published``: for every
        extractor that counts a question of the group its ``n``, ``accuracy`` and both intervals. A tag that no row has is left out.

    Raises:
        FormatError: If there are no rows, or a question comes twice.
    """
    _check(rows)
    found: dict[str, Any] = {"all": _scores(rows, seed, resamples), "by": {}}
    for tag, groups in _groups(rows, by).items():
        found["by"][tag] = {value: _scores(own, seed, resamples) for value, own in groups.items()}
    return found


def compare_runs(
    first: Sequence[Row], second: Sequence[Row], *, seed: int, by: Sequence[str] = TAGS, draws: int = 20_000
) -> dict[str, Any]:
    """Two runs over the same questions, in all and by tags.

    Args:
        first: Scored questions of one run, each once.
        second: The same questions in any order, answered by the other.
        seed: Of the flips of whole patients.
        by: Tags to group by, as the first run gives them.
        draws: Sign flips that are tried where there are too many to try all.

    Returns:
        ``all`` and, under ``by``, tag and value: the fields of :class:`unireason.metrics.paired.Comparison`, the interval as a list, or
        None where the group has one patient; ``patients``, ``too_few_patients``.

    Raises:
        FormatError: If a run has no rows or a question twice, or the questions differ.
    """
    _check(first)
    _check(second)
    other = {row.id: row.right for row in second}
    apart = {row.id for row in first} ^ set(other)
    if apart:
        raise FormatError(
            f"{len(apart)} questions were answered in one run only, such as {min(apart)!r}",
            "two runs over the same questions",
            "run both on the same suite to the end",
        )

    def scores(rows: Sequence[Row]) -> dict[str, Any]:
        patients = [row.patient for row in rows]
        found = compare([row.right for row in rows], [other[row.id] for row in rows], seed=seed, clusters=patients, draws=draws)
        count = len(set(patients))
        interval = list(found.interval) if count > 1 else None
        return {**asdict(found), "interval": interval, "patients": count, "too_few_patients": too_few(count)}

    groups = _groups(first, by)
    return {"all": scores(first), "by": {tag: {value: scores(own) for value, own in groups[tag].items()} for tag in groups}}


def _groups(rows: Sequence[Row], by: Sequence[str]) -> dict[str, dict[str, list[Row]]]:
    found: dict[str, dict[str, list[Row]]] = {}
    for tag in by:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if tag in row.tags:
                groups.setdefault(row.tags[tag], []).append(row)
        if groups:
            found[tag] = {value: groups[value] for value in sorted(groups)}
    return found


def _scores(rows: Sequence[Row], seed: int, resamples: int) -> dict[str, Any]:
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


def _check(rows: Sequence[Row]) -> None:
    if not rows:
        raise FormatError("no scored questions", "at least one")
    name, times = Counter(row.id for row in rows).most_common(1)[0]
    if times > 1:
        raise FormatError(f"question {name!r} was scored {times} times", "every question once")
