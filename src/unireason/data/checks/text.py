"""Check "shortcut": can the right option be told from the text alone?

A linear classifier sees every option of every question with its clues (``clues``) but no picture, learns which options are right on
some patients, and is asked on others. What it gets right beyond chance, a model can get right without looking.

It tells what a bag of words with crossings can tell; a clue that needs real understanding of sentences may escape it.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import re
import warnings
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data import names
from unireason.data.claims import answered_early, false_claims
from unireason.data.records import SPLITS, CaseRecord, SampleRecord
from unireason.data.scene import FAMILIES, IMPLICIT, LETTERS, Scene
from unireason.metrics.statistics import wilson

from .facts import CheckFindings

BALANCE = "balance"
MOST_TWO = 0.3
"""Of the questions that are neither yes or no nor about a side, so many may have two options: half of them is luck."""
_PAIRS = (frozenset(("yes", "no")), frozenset(("left", "right")), frozenset(("nasal", "temporal")))
DEVIATIONS = 4.0
TRIFLE = 0.01
RARE = 10
"""A family may be so many times rarer than the commonest one, measured by how many cases allow it."""
BALANCE_FEW_PATIENTS = 10
"""Below so many patients an empty split is no fault."""
LEAST_PATIENTS = 20
"""Below so many patients a lean of the answers is no fault: it may be theirs."""
FEW_QUESTIONS = 30


@dataclass(slots=True)
class BalanceTally:
    """Counts of a data set, filled case by case and sample by sample."""

    table: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    letters: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    yes: Counter[tuple[str, str]] = field(default_factory=Counter)
    leans: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    allows: Counter[str] = field(default_factory=Counter)
    cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    structures: Counter[str] = field(default_factory=Counter)
    undescribed: int = 0
    two: Counter[str] = field(default_factory=Counter)

    def add_case(self, case: CaseRecord) -> None:
        """Count one case."""
        scene = case.scene
        self.undescribed += not scene.described
        self.cases[scene.kind, case.split] += 1
        self.modalities[scene.modality or "unknown"] += 1
        self.structures.update(list(scene.structures))
        lesion = any(names.is_lesion(name) for name in scene.structures)
        several = len(scene.structures) >= 4
        either = bool(scene.structures) and bool(scene.absent)
        for family in FAMILIES:
            ok = {"lesion_analysis": lesion, "existence_verification": either}.get(family, several)
            self.allows[family] += ok

    def add_sample(self, sample: SampleRecord) -> None:
        """Count one sample."""
        question = sample.question
        self.table[question.family, sample.kind, sample.split] += 1
        if not question.options:
            return
        self.letters[len(question.options), question.answer, question.family] += 1
        said = frozenset(o.strip(" .").lower() for o in question.options)
        self.two["yes, no and sides" if said in _PAIRS else "two" if len(said) == 2 else "more"] += 1
        if {o.strip(" .").lower() for o in question.options} == {"yes", "no"}:
            right = question.right.strip(" .").lower()
            self.yes[question.family, right] += 1
            self.leans[question.family][sample.patient or sample.case] += 1 if right == "yes" else -1

    def to_json(self) -> dict[str, dict[str, int]]:
        """Plain counts for a report: "families" by family/kind/split, "letters" by options/letter, "cases" by kind/split, "modalities",
        "structures", names sorted."""
        letters: Counter[str] = Counter()
        for (size, place, _), n in self.letters.items():
            letters[f"{size}/{LETTERS[place]}"] += n
        return {
            "families": dict(sorted(("/".join(key), n) for key, n in self.table.items())),
            "letters": dict(sorted(letters.items())),
            "cases": dict(sorted(("/".join(key), n) for key, n in self.cases.items())),
            "modalities": dict(sorted(self.modalities.items())),
            "structures": dict(sorted(self.structures.items())),
        }


def check_balance(tally: BalanceTally, patients: int, found: CheckFindings) -> None:
    """Judge the counts."""
    found.start(BALANCE)
    found.count(BALANCE, "questions", sum(tally.letters.values()))
    _letters(tally, patients, found)
    _yes_and_no(tally, found)
    _families(tally, patients, found)
    free = tally.two["two"] + tally.two["more"]
    if free and tally.two["two"] > free * MOST_TWO and uneven(tally.two["two"], free, MOST_TWO):
        _lean(
            found,
            0 if tally.undescribed else patients,
            f"{tally.two['two']} of {free} questions that are neither yes or no nor sides have two options",
        )
    _splits(tally, patients, found)


def uneven(count: int, total: int, share: float, *, worth: float = 1.0) -> bool:
    """True if ``count`` of ``total`` is further from its expected share than fair drawing explains; see the module."""
    reach = DEVIATIONS * math.sqrt(max(worth, 1.0) * total * share * (1 - share))
    return abs(count - total * share) > max(reach, TRIFLE * total)


def _lean(found: CheckFindings, patients: int, detail: str, **about: str) -> None:
    """A lean as a fault, or as a remark where there are too few patients to tell."""
    if patients >= LEAST_PATIENTS:
        found.add(BALANCE, detail, **about)
    else:
        found.remark(BALANCE, f"{detail}; too few patients to judge ({patients})" if patients else detail, **about)


def _letters(tally: BalanceTally, patients: int, found: CheckFindings) -> None:
    for family in ("", *FAMILIES):
        counts: Counter[tuple[int, int]] = Counter()
        for (size, place, name), n in tally.letters.items():
            if family in ("", name):
                counts[size, place] += n
        for size in sorted({s for s, _ in counts}):
            total = sum(counts[size, p] for p in range(size))
            for place in range(size):
                if uneven(counts[size, place], total, 1 / size):
                    where = {"family": family} if family else {}
                    share = f"{counts[size, place]} of {total}, expected about {total / size:.0f}"
                    _lean(found, patients, f"of {size} options, {LETTERS[place]} is right {share}", **where)


def _yes_and_no(tally: BalanceTally, found: CheckFindings) -> None:
    for family in sorted({f for f, _ in tally.yes}):
        yes, no, leans = tally.yes[family, "yes"], tally.yes[family, "no"], tally.leans[family]
        # If each patient leant either way by chance, the sum of their leans would vary by the sum of their squares.
        worth = sum(lean**2 for lean in leans.values()) / (yes + no)
        if uneven(yes, yes + no, 0.5, worth=worth):
            _lean(found, len(leans), f"the right answer is yes {yes} times and no {no} times", family=family)


def _families(tally: BalanceTally, patients: int, found: CheckFindings) -> None:
    """Families against each other, each measured by the cases that allow it."""
    counts = {f: sum(n for (name, _, _), n in tally.table.items() if name == f) for f in FAMILIES}
    if not sum(counts.values()) and tally.undescribed == sum(tally.cases.values()):
        return  # a release that tells no families
    total = sum(counts.values())
    for family in (f for f in FAMILIES if not counts[f]):
        can = tally.allows[family] * RARE >= sum(tally.cases.values()) and total >= FEW_QUESTIONS
        detail = f"no question; {tally.allows[family]} cases would allow one"
        (found.add if can and patients >= LEAST_PATIENTS else found.remark)(BALANCE, detail, family=family)
    rates = {f: counts[f] / tally.allows[f] for f in FAMILIES if counts[f] and tally.allows[f]}
    best = max(rates.values(), default=0.0)
    for family, rate in rates.items():
        if rate * RARE < best and total >= FEW_QUESTIONS and tally.allows[family] >= FEW_QUESTIONS:
            detail = f"{counts[family]} questions from {tally.allows[family]} cases that allow it"
            found.add(BALANCE, f"{detail}, less than a tenth of the commonest family's rate", family=family)


def _splits(tally: BalanceTally, patients: int, found: CheckFindings) -> None:
    for split in SPLITS:
        if any(s == split and n for (_, s), n in tally.cases.items()):
            continue
        # A release has the splits that were published.
        report = found.add if patients >= BALANCE_FEW_PATIENTS and not tally.undescribed else found.remark
        report(BALANCE, f"the split {split} is empty" + (f", with {patients} patients in all" if patients else ""))


# --- Check "claims": whether reasoning is true of the case, shows its evidence first, and states nothing that cannot be seen.

CLAIMS = "claims"


@dataclass(slots=True)
class ClaimTally:
    """Reasoning held against its scene, sample by sample."""

    texts: Counter[str] = field(default_factory=Counter)
    early: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, scene: Scene, sample: SampleRecord, found: CheckFindings) -> None:
        """Judge one text; one without reasoning is passed over."""
        question = sample.question
        if not sample.annotator or not sample.reasoning:
            return
        found.count(CLAIMS, "texts")
        self.texts[question.family] += 1
        early = answered_early(scene, question, sample.reasoning)
        self.early[question.family] += bool(early)
        faults = false_claims(scene, question, sample.reasoning, scaled=bool(sample.scale))
        self.faults.update(f.code for f in faults)
        for fault in faults[:1]:
            found.add(CLAIMS, f"{fault.code}: {fault.detail}", sample=sample.id)
        if early:
            found.remark(CLAIMS, f"the answer stands in front of its evidence: {early[:120]!r}", sample=sample.id)

    def early_shares(self) -> dict[str, float]:
        """Share of texts that give the answer before the evidence, by family; "all" for all of them."""
        shares = {family: self.early[family] / n for family, n in sorted(self.texts.items())}
        total = sum(self.texts.values())
        return {**shares, **({"all": sum(self.early.values()) / total} if total else {})}


# --- What a reader of the text alone sees in an option: its words, its place, its length, its rank, and all that with the question.

_WORD = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_CROSSED_WORDS = 40  # words of a question that are crossed with an option's; longer questions are cut


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, each once, in order of first appearance."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))


def clues(question: str, options: Sequence[str]) -> list[list[str]]:
    """Clues of every option."""
    asked = list(dict.fromkeys("#" if w[0].isdigit() else w for w in words(question)))[:_CROSSED_WORDS]
    spoken = [words(o) for o in options]
    numbers = [tuple(map(float, _NUMBER.findall(o))) for o in options]
    measures: dict[str, list[float]] = {"length": [len(o) for o in options], **_measures(numbers)}
    measures["kinship"] = [sum(len({*mine} & {*theirs}) for theirs in spoken) for mine in spoken]
    found = []
    for place, mine in enumerate(spoken):
        own = [f"place|{place}|{len(options)}"]
        own += [f"word|{w}" for w in mine]
        own += [f"pair|{a}|{b}" for a, b in pairwise(mine)]
        own += [f"cross|{q}|{w}" for q in asked for w in mine]
        if not numbers[place]:
            own += [f"beside|{options[place]}|{other}" for n, other in enumerate(options) if n != place]
        own += [f"asked|{w in asked}" for w in mine[:1]]
        own += [f"rank|{name}|{r}" for name, values in measures.items() for r in _rank(values, place)]
        own += [
            f"turn|{q}|{name}|{r}" for q in asked for name, v in measures.items() if name != "kinship" for r in _rank(v, place)
        ]
        found.append(list(dict.fromkeys(own)))
    return found


def _measures(numbers: Sequence[tuple[float, ...]]) -> dict[str, list[float]]:
    """Quantities by which options can be ranked, if all of them hold equally many numbers."""
    counts = {len(n) for n in numbers}
    if len(counts) != 1 or counts == {0}:
        return {}
    found = {f"number {i + 1}": [n[i] for n in numbers] for i in range(min(counts.pop(), 6))}
    if len(found) in (4, 6):
        half = len(found) // 2
        found["size"] = [math.prod(max(n[half + i] - n[i], 0.0) for i in range(half)) for n in numbers]
    return found


def _rank(values: Sequence[float], place: int) -> list[str]:
    """ "most" or "least" if the value stands alone at an end, or its rank in between; nothing if all are equal."""
    mine = values[place]
    below, above = sum(v < mine for v in values), sum(v > mine for v in values)
    if below + above == 0:
        return []
    if above == 0 and below == len(values) - 1:
        return ["most"]
    if below == 0 and above == len(values) - 1:
        return ["least"]
    return [f"{below} below"]


_CLUES = {
    "word": "'{0}'",
    "pair": "'{0} {1}'",
    "cross": "'{1}' where the question says '{0}'",
    "beside": "'{0}' beside '{1}'",
}


def describe(clue: str) -> str:
    """A clue in words for a report."""
    kind, *parts = clue.split("|")
    if kind in _CLUES:
        return _CLUES[kind].format(*parts)
    if kind == "place":
        return f"letter {LETTERS[int(parts[0])]} of {parts[1]}"
    if kind == "asked":
        return "its first word is in the question" if parts[0] == "True" else "its first word is not in the question"
    if kind == "rank":
        return _ranked(parts[0], parts[1])
    return f"{_ranked(parts[1], parts[2])} where the question says '{parts[0]}'"


def _ranked(name: str, rank: str) -> str:
    titles = {
        "length": ("the longest option", "the shortest option", "length"),
        "kinship": ("shares most words with the others", "shares fewest words with the others", "shared words"),
        "size": ("the largest box", "the smallest box", "box size"),
    }
    most, least, between = titles.get(name, (f"the largest {name}", f"the smallest {name}", name))
    return {"most": most, "least": least}.get(rank, f"{between}: {rank}")


# --- Check "shortcut": can the right option be told from the text alone?

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
_TREE_CLUES, _TREE_QUESTIONS = 200, 3000
_SEED = 0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What the audit keeps of a question."""

    patient: str
    kind: str
    question: str
    options: tuple[str, ...]
    answer: int


@dataclass(slots=True)
class AuditTexts:
    """Questions kept for the audit: of each family those whose identifiers hash lowest, so that the choice depends on no order."""

    cap: int = CAP
    seen: Counter[str] = field(default_factory=Counter)
    _kept: dict[str, list[tuple[int, str, AuditEntry]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, sample: SampleRecord) -> None:
        """Offer one sample; questions without options are passed over."""
        question = sample.question
        if question.family == IMPLICIT or len(question.options) < 2:
            return
        self.seen[question.family] += 1
        digest = hashlib.blake2b(sample.id.encode(), digest_size=8).digest()
        entry = AuditEntry(sample.patient or sample.case, sample.kind, question.text, question.options, question.answer)
        heap = self._kept[question.family]
        item = (-int.from_bytes(digest, "big"), f"{sample.id}\0{len(heap)}", entry)
        if len(heap) < self.cap:
            heapq.heappush(heap, item)
        elif item[:2] > heap[0][:2]:
            heapq.heapreplace(heap, item)

    def families(self) -> Mapping[str, list[AuditEntry]]:
        """Kept questions by family, both in a fixed order."""
        ordered = {name: sorted(self._kept[name], key=lambda i: i[:2], reverse=True) for name in sorted(self._kept)}
        return {name: [entry for _, _, entry in items] for name, items in ordered.items()}


def check_shortcut(texts: AuditTexts, found: CheckFindings) -> dict[str, dict[str, Any]]:
    """Audit every family."""
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


def audit(entries: Sequence[AuditEntry]) -> dict[str, Any]:
    """How well the answer to questions of one family is told from the text alone.

    With fewer than two patients nothing can be held out: the result then says chance, the interval says nothing, and "folds" is 0.
    """
    chance = float(np.mean([1 / len(e.options) for e in entries]))
    questions = _questions(entries)
    patients = int(questions.groups.max()) + 1
    result: dict[str, Any] = {"chance": chance, "patients": patients, "folds": min(FOLDS, patients), "margin": MARGIN}
    if patients < 2:
        result |= {"longest": chance, "frequent": chance, "by_kind": {}, "telltale": []}
        return result | {"folds": 0, "accuracy": chance, "ci95": [0.0, 1.0], "few": "patients", "too_few": True, "ok": True}
    matrix, vocabulary = _matrix(own for e in entries for own in clues(e.question, e.options))
    guesses, common = _held_out(matrix, questions, entries)
    answers = np.array([e.answer for e in entries])
    hits = guesses == answers
    grown = _trees(matrix, questions, entries)
    tree_hits = grown == answers
    few = "patients" if patients < FEW_PATIENTS else "questions" if len(entries) < FEW else ""
    low, high = _interval(hits, questions.groups)
    return {
        **result,
        "accuracy": float(hits.mean()),
        "ci95": [low, high],
        "few": few,
        "too_few": bool(few),
        "ok": bool(few) or all(_by_luck(h, questions.groups, chance) for h in (hits, tree_hits)),
        "trees": {"accuracy": float(tree_hits.mean()), "ci95": list(_interval(tree_hits, questions.groups))},
        "longest": float(np.mean([np.argmax([len(o) for o in e.options]) for e in entries] == answers)),
        "frequent": float(np.mean(common == answers)),
        "by_kind": _by_kind(entries, hits, questions.groups),
        "telltale": _telltale(matrix, questions.right, vocabulary),
    }


def _by_luck(hits: NDArray[np.bool_], groups: NDArray[np.intp], chance: float) -> bool:
    """Whether so many hits may have come by chance, a small margin granted."""
    return _interval(hits, groups)[0] <= chance + MARGIN or _interval(hits, groups, confidence=SURE)[0] <= chance


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """Questions as rows of options: first row of each question, question of each row, rightness of each row, group of each question."""

    starts: NDArray[np.intp]
    owner: NDArray[np.intp]
    right: NDArray[np.int8]
    groups: NDArray[np.intp]


def _questions(entries: Sequence[AuditEntry]) -> _Questions:
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


def _held_out(matrix: Any, questions: _Questions, entries: Sequence[AuditEntry]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
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


def _trees(matrix: Any, questions: _Questions, entries: Sequence[AuditEntry]) -> NDArray[np.intp]:
    """For every question the choice of boosted trees grown without its patient: they see what only crossings of clues tell."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import GroupKFold

    often = np.asarray(matrix.sum(axis=0)).ravel()
    dense = matrix[:, np.lexsort((np.arange(len(often)), -often))[:_TREE_CLUES]].toarray().astype(np.uint8)
    choices = np.zeros(len(entries), np.intp)
    for train, test in GroupKFold(min(FOLDS, int(questions.groups.max()) + 1)).split(questions.groups, groups=questions.groups):
        learned = np.isin(questions.owner, train[:_TREE_QUESTIONS] if len(train) > _TREE_QUESTIONS else train)
        model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, min_samples_leaf=10, random_state=_SEED)
        if len(set(questions.right[learned])) < 2:
            continue
        scores = model.fit(dense[learned], questions.right[learned]).predict_proba(dense)[:, 1]
        for q in test:
            start = questions.starts[q]
            choices[q] = np.argmax(scores[start : start + len(entries[q].options)])
    return choices


def _interval(hits: NDArray[np.bool_], groups: NDArray[np.intp], *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of the share of hits, for as many independent questions as the patients are worth."""
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


def _by_kind(entries: Sequence[AuditEntry], hits: NDArray[np.bool_], groups: NDArray[np.intp]) -> dict[str, dict[str, Any]]:
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
