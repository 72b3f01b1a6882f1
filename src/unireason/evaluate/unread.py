"""Questions that cannot be asked because their case cannot be read or fed: why, and not more of them than a share of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unireason.errors import UniReasonError
from unireason.evaluate.suites.suite import Entry

SKIP = 0.01
"""Share of questions that may be lost unless another one is asked for."""


class Unread:
    """Questions that an evaluation has given up.

    Attributes:
        problems: Why, by question, in the order in which they were given up.
    """

    def __init__(self, total: int, share: float, known: Mapping[str, str] | None = None) -> None:
        """Take the number of all questions, the share of them that may be lost, and those given up before."""
        self._total, self._share = total, share
        self.problems: dict[str, str] = dict(known or {})

    def give_up(self, entries: Sequence[Entry], error: UniReasonError) -> None:
        """Give up questions.

        Args:
            entries: Of one case, at least one; of those given up before the first reason stays.
            error: Why.

        Raises:
            UniReasonError: If they are too many now.
        """
        for entry in entries:
            self.problems.setdefault(entry.id, str(error))
        if len(self.problems) > self._share * self._total:
            raise UniReasonError(
                f"{len(self.problems)} of {self._total} questions cannot be asked; of {entries[0].case!r}: {error}",
                f"at most {self._share:.1%}",
                "repair the files and start again, or allow a larger share (--skip); what was answered is kept",
            ) from error

    def kept(self, entries: Sequence[Entry]) -> list[Entry]:
        """Questions that were not given up."""
        return [entry for entry in entries if entry.id not in self.problems]

    def told(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """How many were given up (``n``), and why by question (``questions``), in the order of all questions, as plain JSON values."""
        return {"n": len(self.problems), "questions": {e.id: self.problems[e.id] for e in entries if e.id in self.problems}}
