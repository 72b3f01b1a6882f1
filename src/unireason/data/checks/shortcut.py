"""Check "shortcut": can the right option be told from the text alone?

A linear classifier sees every option of every question with its clues (``clues``) but no picture, learns which options are right on
some patients, and is asked on others. What it gets right beyond chance, a model can get right without looking.

It tells what a bag of words with crossings can tell; a clue that needs real understanding of sentences may escape it.
"""

from __future__ import annotations

import hashlib
import heapq
import warnings
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data.question import IMPLICIT
from unireason.data.records import SampleRecord
from unireason.metrics.intervals import wilson

from .clues import clues, describe
from .findings import Findings

CHECK = "shortcut"
MARGIN = 0.05
"""A family fails if the lower end of its interval lies so far above chance. Anatomy itself gives a little away (which side a liver lies
on) and no real set comes out at exactly zero; five points are too little for a model to live on."""
FEW = 30
"""Fewer questions of a family are reported and not judged."""
FEW_PATIENTS = 20
"""And no family of fewer patients: how much they differ cannot be told."""
SURE = 0.999
"""And the interval of this confidence must lie above chance: choices that share a classifier vary about 1.3 times as much as independent
ones, so that among small families 95% would raise a false alarm in one of thirty; with both rules it is one of two hundred."""
CAP = 10_000
"""Questions of a family that are used; of more, a sample that depends on the questions' identifiers alone."""
FOLDS = 5

_STRENGTH = 0.1  # inverse of the L2 penalty: weak clues are shrunk, so that noise does not vote
_TELLTALES = 6
_SEED = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What the audit keeps of a question."""

    patient: str
    kind: str
    question: str
    options: tuple[str, ...]
    answer: int


@dataclass(slots=True)
class Texts:
    """Questions kept for the audit: of each family those whose identifiers hash lowest, so that the choice depends on no order."""

    cap: int = CAP
    seen: Counter[str] = field(default_factory=Counter)
    _kept: dict[str, list[tuple[int, str, Entry]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, sample: SampleRecord) -> None:
        """Offer one sample; questions without options are passed over."""
        question = sample.question
        if question.family == IMPLICIT or len(question.options) < 2:
            return
        self.seen[question.family] += 1
        digest = hashlib.blake2b(sample.id.encode(), digest_size=8).digest()
        entry = Entry(sample.patient or sample.case, sample.kind, question.text, question.options, question.answer)
        heap = self._kept[question.family]
        item = (-int.from_bytes(digest, "big"), f"{sample.id}\0{len(heap)}", entry)
        if len(heap) < self.cap:
            heapq.heappush(heap, item)
        elif item[:2] > heap[0][:2]:
            heapq.heapreplace(heap, item)

    def families(self) -> Mapping[str, list[Entry]]:
        """Kept questions by family, both in a fixed order."""
        ordered = {name: sorted(self._kept[name], key=lambda i: i[:2], reverse=True) for name in sorted(self._kept)}
        return {name: [entry for _, _, entry in items] for name, items in ordered.items()}


def check_shortcut(texts: Texts, found: Findings) -> dict[str, dict[str, Any]]:
    """Audit every family.

    Args:
        texts: The questions.
        found: Takes the families whose text tells the answer.

    Returns:
        Family to its result: "accuracy", "chance", "ci95" (two numbers), "questions" (of which "used"), "cap", "patients", "folds",
        "few" ("questions" or "patients" where there are too few of them to judge, else ""), "too_few", "margin", "ok", "longest" and
        "frequent" (accuracy of always taking the longest option, and the one most often right in the training part), "telltale" (clues
        with weights), "by_kind".
    """
    found.start(CHECK)
    results = {}
    for family, entries in texts.families().items():
        found.count(CHECK, "questions", len(entries))
        result = audit(entries)
        results[family] = {"questions": texts.seen[family], "used": len(entries), "cap": texts.cap, **result}
        if not result["ok"]:
            words = "; ".join(t["clue"] for t in result["telltale"])
            low, high = result["ci95"]
            detail = (
                f"the text alone gives {result['accuracy']:.1%} right answers (95% interval {low:.1%} to {high:.1%}) where chance gives "
                f"{result['chance']:.1%}; telling: {words}"
            )
            found.add(CHECK, detail, family=family)
    return results


def audit(entries: Sequence[Entry]) -> dict[str, Any]:
    """How well the answer is told from the text alone.

    Args:
        entries: Questions of one family; at least one.

    Returns:
        As in ``check_shortcut`` without the counts of the family. With fewer than two patients nothing can be held out: the result then
        says chance, the interval says nothing, and "folds" is 0.
    """
    chance = float(np.mean([1 / len(e.options) for e in entries]))
    questions = _questions(entries)
    patients = int(questions.groups.max()) + 1
    result: dict[str, Any] = {"chance": chance, "patients": patients, "folds": min(FOLDS, patients), "margin": MARGIN}
    if patients < 2:
        nothing: dict[str, Any] = {"longest": chance, "frequent": chance, "by_kind": {}, "telltale": []}
        return {
            **result,
            **nothing,
            "folds": 0,
            "accuracy": chance,
            "ci95": [0.0, 1.0],
            "few": "patients",
            "too_few": True,
            "ok": True,
        }
    matrix, vocabulary = _matrix(own for e in entries for own in clues(e.question, e.options))
    guesses, common = _held_out(matrix, questions, entries)
    answers = np.array([e.answer for e in entries])
    hits = guesses == answers
    few = "patients" if patients < FEW_PATIENTS else "questions" if len(entries) < FEW else ""
    low, high = _interval(hits, questions.groups)
    return {
        **result,
        "accuracy": float(hits.mean()),
        "ci95": [low, high],
        "few": few,
        "too_few": bool(few),
        "ok": bool(few) or low <= chance + MARGIN or _interval(hits, questions.groups, confidence=SURE)[0] <= chance,
        "longest": float(np.mean([_longest(e.options) for e in entries] == answers)),
        "frequent": float(np.mean(common == answers)),
        "by_kind": _by_kind(entries, hits, questions.groups),
        "telltale": _telltale(matrix, questions.right, vocabulary),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """Questions as rows of options: first row of each question, question of each row, rightness of each row, group of each question."""

    starts: NDArray[np.intp]
    owner: NDArray[np.intp]
    right: NDArray[np.int8]
    groups: NDArray[np.intp]


def _questions(entries: Sequence[Entry]) -> _Questions:
    sizes = np.array([len(e.options) for e in entries])
    starts = np.cumsum(sizes) - sizes
    right = np.zeros(int(sizes.sum()), np.int8)
    right[starts + np.array([e.answer for e in entries])] = 1
    order = {patient: n for n, patient in enumerate(sorted({e.patient for e in entries}))}
    groups = np.array([order[e.patient] for e in entries])
    return _Questions(starts, np.repeat(np.arange(len(entries)), sizes), right, groups)


def _matrix(names: Iterable[Sequence[str]]) -> tuple[Any, list[str]]:
    """Clues as a sparse matrix (options, clues) of 0 and 1; clues that come only once are left out."""
    from scipy import sparse

    index: dict[str, int] = {}
    columns, ends = array("i"), array("q", [0])
    for own in names:
        columns.extend(index.setdefault(clue, len(index)) for clue in own)
        ends.append(len(columns))
    shape = (len(ends) - 1, max(len(index), 1))
    whole = sparse.csr_matrix(
        (np.ones(len(columns)), np.frombuffer(columns, np.int32), np.frombuffer(ends, np.int64)), shape=shape
    )
    repeated = np.flatnonzero(np.asarray(whole.sum(axis=0)).ravel() > 1)
    clue_names = list(index)
    return whole[:, repeated], [clue_names[i] for i in repeated]


def _fit(matrix: Any, right: NDArray[np.int8]) -> NDArray[np.float64]:
    """Weights of a logistic regression, one a clue."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_STRENGTH, solver="lbfgs", max_iter=100, random_state=_SEED)
    with warnings.catch_warnings():
        # The audit needs the order of the options, which is settled long before the last digit of the weights.
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights: NDArray[np.float64] = model.fit(matrix, right).coef_[0]
    return weights


def _held_out(matrix: Any, questions: _Questions, entries: Sequence[Entry]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For every question two choices made without its patient: by the classifier, and the option that was right most often."""
    from sklearn.model_selection import GroupKFold

    guesses, common = np.zeros(len(entries), np.intp), np.zeros(len(entries), np.intp)
    folds = GroupKFold(min(FOLDS, int(questions.groups.max()) + 1))
    for train, test in folds.split(questions.groups, groups=questions.groups):
        rows = np.isin(questions.owner, train)
        scores = matrix @ _fit(matrix[rows], questions.right[rows])
        offered = Counter(option for q in train for option in entries[q].options)
        taken = Counter(entries[q].options[entries[q].answer] for q in train)
        for q in test:
            options = entries[q].options
            guesses[q] = np.argmax(scores[questions.starts[q] : questions.starts[q] + len(options)])
            common[q] = np.argmax([taken[o] / max(offered[o], 1) for o in options])
    return guesses, common


def _longest(options: Sequence[str]) -> int:
    return max(range(len(options)), key=lambda i: (len(options[i]), -i))


def _interval(hits: NDArray[np.bool_], groups: NDArray[np.intp], *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of the share of hits, for as many independent questions as the patients are worth.

    Questions about one patient are hit or missed together. How much they are shows in how the hits of patients vary (the variance of a
    ratio over whole patients), and with few patients that is itself uncertain (Student's t). Patients never narrow the interval.
    """
    from scipy import stats

    rate, sizes = float(hits.mean()), np.bincount(groups)
    own = sizes > 0
    left = (np.bincount(groups, weights=hits) - rate * sizes)[own]
    patients = int(own.sum())
    if patients < 2:
        return 0.0, 1.0
    spread = float((left**2).sum()) * patients / (patients - 1)
    alone = len(hits) * rate * (1 - rate)
    tail = (1 + confidence) / 2
    worth = (
        len(hits)
        / max(1.0, spread / alone if alone else 1.0)
        * float(stats.norm.ppf(tail) / stats.t.ppf(tail, patients - 1)) ** 2
    )
    if not alone:
        worth = min(worth, patients)  # all hit or all missed: nothing shows how patients vary
    trials = max(1, round(worth))
    return wilson(round(rate * trials), trials, confidence=confidence)


def _by_kind(entries: Sequence[Entry], hits: NDArray[np.bool_], groups: NDArray[np.intp]) -> dict[str, dict[str, Any]]:
    """The same choices counted for images and for volumes; a detail, not judged."""
    found = {}
    for kind in sorted({e.kind for e in entries}):
        own = np.array([e.kind == kind for e in entries])
        chance = float(np.mean([1 / len(e.options) for e in entries if e.kind == kind]))
        interval = list(_interval(hits[own], groups[own]))
        found[kind] = {"accuracy": float(hits[own].mean()), "chance": chance, "ci95": interval, "questions": int(own.sum())}
    return found


def _telltale(matrix: Any, right: NDArray[np.int8], vocabulary: Sequence[str]) -> list[dict[str, Any]]:
    """The clues that part right from wrong options most: weight times the difference of how often they come in both."""
    if not vocabulary:
        return []
    weights = _fit(matrix, right)
    often = [np.asarray(matrix[right == side].mean(axis=0)).ravel() for side in (0, 1)]
    gain = weights * (often[1] - often[0])
    order = np.lexsort((np.arange(len(gain)), -gain))[:_TELLTALES]
    return [{"clue": describe(vocabulary[i]), "weight": round(float(weights[i]), 3)} for i in order if gain[i] > 0]
