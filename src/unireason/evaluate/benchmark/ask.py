"""Asks the questions of a suite and writes a row for each; what has a row is not asked again.

Questions on one case share its encoding; several cases go through the network together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from unireason.engine.case import EncodedCase
from unireason.engine.reasoner import Question
from unireason.errors import UniReasonError
from unireason.evaluate.journal import Journal
from unireason.evaluate.questions import by_case, check_frame
from unireason.evaluate.suites.suite import Entry, Suite
from unireason.evaluate.together import is_enough
from unireason.evaluate.unread import Unread
from unireason.files import write_bytes
from unireason.types import Case, Stack, Trace

from .rows import Answered, Line, answered, make_line, make_unread
from .settings import Settings

Progress = Callable[[int, int], None]
"""Takes how many questions are done, and how many there are."""

Draw = Callable[[Trace, Case, Stack], bytes]

PICTURES = "pictures"


class Model(Protocol):
    """What is asked: ``engine.reasoner.Reasoner``."""

    @property
    def checkpoint(self) -> Any:
        """Has ``ids.think_end``."""
        ...

    def encode(self, case: Case) -> EncodedCase:
        """The case as the model sees it."""
        ...

    def ask_cases(self, asked: Sequence[tuple[Case, EncodedCase, Sequence[Question]]], **how: Any) -> list[list[list[Trace]]]:
        """See ``Reasoner.ask_cases``."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A case made ready to be asked, with its questions."""

    case: Case
    encoded: EncodedCase
    entries: list[Entry]


class Asking:
    """One run over a suite.

    Attributes:
        rows: What has been answered, by question.
    """

    def __init__(self, model: Model, suite: Suite, entries: Sequence[Entry], *, journal: Journal, settings: Settings) -> None:
        """Take a model, questions of a suite (those on one case together), the rows so far, and how to ask."""
        self._model, self._suite, self._journal, self._settings = model, suite, journal, settings
        self._entries = list(entries)
        self._places = {entry.id: place for place, entry in enumerate(self._entries)}
        self._unread = Unread(len(self._entries), settings.skip)
        self._since = time.perf_counter()
        self.rows: dict[str, Answered] = {}
        for row in journal.read(answered):
            if row.scored.id in self.rows:
                raise UniReasonError(
                    f"the folder has two rows of question {row.scored.id!r}", "one a question", "choose another folder"
                )
            self.rows[row.scored.id] = row

    def run(self, folder: Path, *, draw: Draw | None = None, progress: Progress | None = None) -> None:
        """Ask all that has no row yet.

        Questions whose case cannot be read or fed get their rows at the very end: a run that is started again tries them again.

        Args:
            folder: Where pictures go.
            draw: Makes the picture of a trace, as PNG; None makes none.
            progress: Called with the number of questions done, and of all, at the start and after every few cases.

        Raises:
            FormatError: If true places are written for another model frame.
            UniReasonError: If too many questions cannot be asked, or a row or a picture cannot be written.
        """
        told, total = progress or (lambda done, total: None), len(self._entries)
        told(len(self.rows), total)
        waiting: list[Ready] = []
        self._since = time.perf_counter()
        for name, entries in by_case(self._entries):
            todo = [entry for entry in entries if entry.id not in self.rows]
            ready = self._ready(name, todo) if todo else None
            if ready:
                waiting.append(ready)
            asked = self._settings.samples * sum(len(own.entries) for own in waiting)
            if is_enough([(own.case, own.encoded) for own in waiting], asked):
                self._ask(waiting, folder, draw)
                waiting = []
            if not waiting:
                told(len(self.rows) + len(self._unread.problems), total)
        if waiting:
            self._ask(waiting, folder, draw)
        problems = self._unread.problems
        self._add([make_unread(entry, problems[entry.id]) for entry in self._entries if entry.id in problems])
        told(len(self.rows), total)

    def _ready(self, name: str, entries: list[Entry]) -> Ready | None:
        try:
            case = self._suite.read(name)
            encoded = self._model.encode(case)
        except UniReasonError as error:
            self._unread.give_up(entries, error)
            return None
        for entry in entries:
            check_frame(entry, encoded.frame)
        return Ready(case, encoded, entries)

    def _ask(self, waiting: Sequence[Ready], folder: Path, draw: Draw | None) -> None:
        """Ask cases together and write their rows, also of those that were answered before one too many was given up."""
        made: list[Line] = []
        try:
            for ready, entry, found in self._found(waiting):
                line = make_line(entry, found, votes=self._settings.vote, think_end=self._model.checkpoint.ids.think_end)
                drawn = draw(found[line["sample"]], ready.case, ready.encoded.stack) if draw else None
                made.append({**line, "picture": self._picture(folder, entry, drawn)})
        finally:
            now = time.perf_counter()
            each, self._since = (now - self._since) / max(1, len(made)), now
            self._add([{**line, "seconds": round(each, 4)} for line in made])

    def _found(self, waiting: Sequence[Ready]) -> Iterator[tuple[Ready, Entry, list[Trace]]]:
        """Questions with their responses; where one does not fit the model, all are asked by themselves, and it is given up."""
        try:
            found = self._responses(waiting)
        except UniReasonError as error:
            if [len(ready.entries) for ready in waiting] == [1]:
                self._unread.give_up(waiting[0].entries, error)
                return
        else:
            for ready, own in zip(waiting, found, strict=True):
                yield from ((ready, entry, traces) for entry, traces in zip(ready.entries, own, strict=True))
            return
        for ready in waiting:
            for entry in ready.entries:
                yield from self._found([Ready(ready.case, ready.encoded, [entry])])

    def _responses(self, waiting: Sequence[Ready]) -> list[list[list[Trace]]]:
        chosen = self._settings
        return self._model.ask_cases(
            [
                (own.case, own.encoded, [Question(e.question, e.options, seed=chosen.seed_of(e.id)) for e in own.entries])
                for own in waiting
            ],
            sampling=chosen.sampling,
            samples=chosen.samples,
            max_looks=chosen.max_looks,
            max_new_tokens=chosen.max_new_tokens,
            crop_source=chosen.crop_source,
        )

    def _picture(self, folder: Path, entry: Entry, data: bytes | None) -> str:
        if not data:
            return ""
        name = f"{PICTURES}/{self._places[entry.id]:04d}.png"
        write_bytes(folder / name, data)
        return name

    def _add(self, lines: Sequence[Line]) -> None:
        self._journal.add(lines)
        self.rows |= {line["id"]: answered(line) for line in lines}
