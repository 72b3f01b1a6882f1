"""What checks find, gathered in bounded memory: every finding counts, the first ones of each check are kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_KEPT = 50
"""Problems of one check that are kept with their words; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: Name of the check ("boxes").
        about: What ``id`` names: "case", "sample", "file", "family", or "" for the whole data set.
        id: The case, sample, file or family; "" for the whole.
        detail: What is there and what was expected, one sentence.
    """

    check: str
    about: str
    id: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """``{"check", <about>, "detail"}`` as plain values; without the middle one for the whole data set."""
        return {"check": self.check, **({self.about: self.id} if self.about else {}), "detail": self.detail}


@dataclass(slots=True)
class Findings:
    """Gathers what the checks find.

    Attributes:
        kept: The first problems of each check, in the order found.
        counts: Number of problems of each check that ran, 0 included.
        checked: How much each check looked at, as words for the report ("412 looks").
        remarks: What a reader should know and is no fault.
    """

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: list[Finding] = field(default_factory=list)

    def start(self, check: str) -> None:
        """Note that a check runs, so that it is listed even if it finds nothing."""
        self.counts[check] += 0
        self.checked.setdefault(check, {})

    def count(self, check: str, what: str, number: int = 1) -> None:
        """Add to what a check looked at."""
        seen = self.checked.setdefault(check, {})
        seen[what] = seen.get(what, 0) + number

    def add(self, check: str, detail: str, **about: str) -> None:
        """Add one problem.

        Args:
            check: Name of the check.
            detail: What is there and what was expected.
            about: At most one of case, sample, file, family with its name.
        """
        self.counts[check] += 1
        if self.counts[check] <= MOST_KEPT:
            self.kept.append(_finding(check, detail, about))

    def remark(self, check: str, detail: str, **about: str) -> None:
        """Add something worth knowing that is no fault; the first of each check are kept."""
        if sum(r.check == check for r in self.remarks) < MOST_KEPT:
            self.remarks.append(_finding(check, detail, about))


def _finding(check: str, detail: str, about: dict[str, str]) -> Finding:
    kind, name = next(iter(about.items()), ("", ""))
    return Finding(check, kind, name, detail)
