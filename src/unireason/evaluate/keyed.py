"""The rows of an evaluation that asks a question in several ways, one row each: on disk, and in memory by question and way.

A question that cannot be asked has a row of another form, with its ``problem``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from unireason.evaluate.suites.suite import Entry

from .journal import Journal

Key = tuple[str, str]


class Keyed(Protocol):
    """A row; a dataclass of plain JSON values."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> Key:
        """Question, and the way in which it was asked."""
        ...


R = TypeVar("R", bound=Keyed)


@dataclass(frozen=True, slots=True)
class Lost:
    """The row of a question that could not be asked: the question, its case, its patient, and why."""

    id: str
    case: str
    patient: str
    problem: str


class KeyedRows(Generic[R]):
    """Rows that survive a kill.

    Attributes:
        rows: By key, in the order written.
        unread: By question why it could not be asked.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Mapping[str, Any],
        parse: Callable[[Any], R],
        *,
        again: bool = False,
        brief: Callable[[R], R] = lambda row: row,
    ) -> None:
        """Open the rows of a folder, or begin them.

        Args:
            folder: Where ``rows.jsonl`` and ``manifest.json`` are or will be.
            manifest: See ``journal.Journal``.
            parse: See ``Journal.read``; and its inverse is ``dataclasses.asdict``.
            again: Forget what could not be asked.
            brief: What is kept of a row in memory, under the same key; by default all.

        Raises:
            FormatError: If the folder holds something else, or a line is broken.
            UniReasonError: If the folder cannot be used.
        """
        self._journal, self._parse, self._brief = Journal(folder, manifest), parse, brief
        if again:
            self._journal.drop(_is_lost)
        self.rows: dict[Key, R] = {}
        self.unread: dict[str, str] = {}
        for row in self._journal.read(lambda line: Lost(**line) if _is_lost(line) else parse(line)):
            if isinstance(row, Lost):
                self.unread[row.id] = row.problem
            else:
                self.rows[row.key] = brief(row)

    def add(self, rows: Iterable[R]) -> None:
        """Append rows.

        Raises:
            UniReasonError: If they cannot be written.
        """
        new = list(rows)
        self._journal.add(asdict(row) for row in new)
        self.rows |= {row.key: self._brief(row) for row in new}

    def drop(self, keys: Collection[Key]) -> None:
        """Take rows out.

        Args:
            keys: Of rows; none writes nothing.

        Raises:
            UniReasonError: If the rest cannot be written.
        """
        if keys:
            self._journal.drop(lambda line: not _is_lost(line) and self._parse(line).key in keys)
            self.rows = {own: row for own, row in self.rows.items() if own not in keys}

    def give_up(self, entries: Sequence[Entry], problems: Mapping[str, str]) -> None:
        """Append what could not be asked, unless it is there.

        Args:
            entries: All questions.
            problems: Why, by question.

        Raises:
            UniReasonError: If it cannot be written.
        """
        lost = [e for e in entries if e.id in problems and e.id not in self.unread]
        self._journal.add(asdict(Lost(e.id, e.case, e.patient, problems[e.id])) for e in lost)
        self.unread |= {e.id: problems[e.id] for e in lost}


def _is_lost(line: Any) -> bool:
    return "problem" in line
