"""UniMed-CoT, as ``unireason data import unimed-cot`` takes it in: ``questions.jsonl`` beside ``images``.

The release has no split for evaluation: its questions are those that models were trained on, so figures on them tell how well a model
learnt and not how well it does on others. Places in its reasoning are another model's, not true ones, so there are no looks. Rows without
options or without a letter are left out, and so are rows with several pictures. Rows without pictures need their volumes: the option
``volumes`` is the folder that was given to the import. The data do not name patients.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from unireason.data.item import Skipped, inside
from unireason.data.layouts.intake import QUESTIONS
from unireason.data.sources.listing import read_text
from unireason.errors import FormatError

from .listed import CHOICE_RULE, About, ListedSuite, cell, choice
from .suite import Entry

_VOLUME = "volume:"
_MAX_BYTES = 1 << 30


class UnimedCotSuite(ListedSuite):
    """UniMed-CoT; the split is the table, "rl" or "sft"."""

    name = "unimed-cot"
    rule = CHOICE_RULE
    folder = "a folder made by unireason data import unimed-cot"
    splits = ("rl", "sft")
    known: ClassVar = {"volumes": ()}

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``; those of the other table are no part of the suite."""
        path = self.root / QUESTIONS
        if not path.is_file():
            raise FormatError(
                f"'{self.root}' has no {QUESTIONS}", self.folder, "take the release in with: unireason data import unimed-cot"
            )
        for number, line in enumerate(read_text(path, _MAX_BYTES).rstrip("\n").split("\n"), start=1):
            where = f"line {number} of '{QUESTIONS}'"
            row = _parsed(line, where)
            if cell(row, "table", where) == self.split:
                yield self._entry(row, where)

    def _entry(self, row: Mapping[str, Any], where: str) -> Entry | Skipped:
        identifier = cell(row, "id", where)
        images, options = (row.get(key, []) for key in ("images", "options"))
        if not all(isinstance(found, list) and all(isinstance(v, str) for v in found) for found in (images, options)):
            raise FormatError(f"{where} has images or options that are no lists of text", self.folder)
        if len(images) > 1:
            return Skipped(identifier, "it has several pictures")
        volume = cell(row, "volume", where)
        if not images and not (volume and self._options["volumes"]):
            return Skipped(identifier, "it has no picture and no volume")
        case = images[0] if images else f"{_VOLUME}{volume}"
        tags = {"dataset": cell(row, "origin", where), "kind": cell(row, "kind", where), "split": self.split}
        question, letter = cell(row, "question", where), cell(row, "letter", where)
        return choice(identifier, question, options=options, letter=letter, about=About(case, tags=tags))

    def place(self, case: str) -> Path:
        """A picture of the import, or a volume of the option ``volumes``."""
        if case.startswith(_VOLUME):
            return inside(Path(self._options["volumes"]), case.removeprefix(_VOLUME))
        return inside(self.root, case)


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON", "a line as the import wrote it") from error
    if not isinstance(row, dict):
        raise FormatError(f"{where} holds a {type(row).__name__}", "an object")
    return row
