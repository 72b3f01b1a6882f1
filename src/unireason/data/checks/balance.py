"""Check "balance": no letter, no yes or no, and no family is favoured, and no split is empty.

A count of right answers is held against fair drawing: it may leave its expectation by four standard deviations (once in 16,000 fair
draws) or by one percent of the questions, whichever is more, so that small sets are not blamed for chance and large ones not for trifles.
Yes and no are drawn by patients: what is there in one case of a patient is there in the next. With few patients a lean is told and not
blamed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from unireason.data import names
from unireason.data.question import FAMILIES, IMPLICIT, LETTERS
from unireason.data.records import SPLITS, CaseRecord, SampleRecord

from .findings import Findings

CHECK = "balance"
DEVIATIONS = 4.0
TRIFLE = 0.01
RARE = 10
"""A family may be so many times rarer than the commonest one, measured by how many cases allow it."""
FEW_PATIENTS = 10
"""Below so many patients an empty split is no fault."""
LEAST_PATIENTS = 20
"""Below so many patients a lean of the answers is no fault: it may be theirs."""
FEW_QUESTIONS = 30


@dataclass(slots=True)
class Tally:
    """Counts of a data set, filled case by case and sample by sample.

    Attributes:
        table: Samples by (family, kind, split).
        letters: Questions by (number of options, place of the right one, family).
        yes: Questions between yes and no by (family, right option).
        leans: Of these the number of yes less that of no, by family and patient.
        allows: Cases that allow a family.
        cases: Cases by (kind, split).
        modalities: Cases by modality.
        structures: Cases by structure.
        undescribed: Cases of which it is not known what they show.
    """

    table: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    letters: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    yes: Counter[tuple[str, str]] = field(default_factory=Counter)
    leans: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    allows: Counter[str] = field(default_factory=Counter)
    cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)
    structures: Counter[str] = field(default_factory=Counter)
    undescribed: int = 0

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
        if question.family == IMPLICIT:
            return
        self.letters[len(question.options), question.answer, question.family] += 1
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


def check_balance(tally: Tally, patients: int, found: Findings) -> None:
    """Judge the counts.

    Args:
        tally: Of the whole data set.
        patients: How many there are.
        found: Takes what is wrong.
    """
    found.start(CHECK)
    found.count(CHECK, "questions", sum(tally.letters.values()))
    _letters(tally, patients, found)
    _yes_and_no(tally, found)
    _families(tally, found)
    _splits(tally, patients, found)


def uneven(count: int, total: int, share: float, *, worth: float = 1.0) -> bool:
    """True if ``count`` of ``total`` is further from its expected share than fair drawing explains; see the module.

    Args:
        count: Right answers of one kind.
        total: All answers.
        share: Expected share.
        worth: How much more answers vary than if each were drawn alone.
    """
    reach = DEVIATIONS * math.sqrt(max(worth, 1.0) * total * share * (1 - share))
    return abs(count - total * share) > max(reach, TRIFLE * total)


def _lean(found: Findings, patients: int, detail: str, **about: str) -> None:
    """A lean as a fault, or as a remark where there are too few patients to tell."""
    if patients >= LEAST_PATIENTS:
        found.add(CHECK, detail, **about)
    else:
        found.remark(CHECK, f"{detail}; too few patients to judge ({patients})", **about)


def _letters(tally: Tally, patients: int, found: Findings) -> None:
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


def _yes_and_no(tally: Tally, found: Findings) -> None:
    for family in sorted({f for f, _ in tally.yes}):
        yes, no, leans = tally.yes[family, "yes"], tally.yes[family, "no"], tally.leans[family]
        # If each patient leant either way by chance, the sum of their leans would vary by the sum of their squares.
        worth = sum(lean**2 for lean in leans.values()) / (yes + no)
        if uneven(yes, yes + no, 0.5, worth=worth):
            _lean(found, len(leans), f"the right answer is yes {yes} times and no {no} times", family=family)


def _families(tally: Tally, found: Findings) -> None:
    """Families against each other, each measured by the cases that allow it."""
    counts = {f: sum(n for (name, _, _), n in tally.table.items() if name == f) for f in FAMILIES}
    if not sum(counts.values()) and tally.undescribed == sum(tally.cases.values()):
        return  # a release that tells no families
    total = sum(counts.values())
    for family in (f for f in FAMILIES if not counts[f]):
        can = tally.allows[family] * RARE >= sum(tally.cases.values()) and total >= FEW_QUESTIONS
        detail = f"no question; {tally.allows[family]} cases would allow one"
        (found.add if can else found.remark)(CHECK, detail, family=family)
    rates = {f: counts[f] / tally.allows[f] for f in FAMILIES if counts[f] and tally.allows[f]}
    best = max(rates.values(), default=0.0)
    for family, rate in rates.items():
        if rate * RARE < best and total >= FEW_QUESTIONS and tally.allows[family] >= FEW_QUESTIONS:
            detail = f"{counts[family]} questions from {tally.allows[family]} cases that allow it"
            found.add(CHECK, f"{detail}, less than a tenth of the commonest family's rate", family=family)


def _splits(tally: Tally, patients: int, found: Findings) -> None:
    for split in SPLITS:
        if any(s == split and n for (_, s), n in tally.cases.items()):
            continue
        # A release has the splits that were published.
        report = found.add if patients >= FEW_PATIENTS and not tally.undescribed else found.remark
        report(CHECK, f"the split {split} is empty" + (f", with {patients} patients in all" if patients else ""))
