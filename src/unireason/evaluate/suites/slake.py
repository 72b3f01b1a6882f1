"""SLAKE: questions in ``train.json``, ``validate.json`` (or ``validation.json``) and ``test.json`` about ``imgs/xmlabN/source.jpg``.

A row names img_name, question, answer, q_lang ("en" or "zh"), answer_type, content_type, modality and location. The data do not say which
pictures belong to one patient, so each counts as one. Boxes of ``detection.json`` are not given as looks: the questions do not say which
of them an answer needs.

Source: B. Liu et al., SLAKE, ISBI 2021, arXiv 2102.09542.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from unireason.data.item import Skipped
from unireason.data.sources.listing import read_json, relative
from unireason.data.sources.structures import modality_code
from unireason.errors import FormatError

from .listed import SHORT_RULE, About, ListedSuite, cell, needed, short
from .suite import Entry

_FILES = {"test": ("test.json",), "validation": ("validate.json", "validation.json"), "train": ("train.json",)}


class SlakeSuite(ListedSuite):
    """SLAKE; the option ``language`` is "en" (English questions), "zh" or "all"."""

    name = "slake"
    rule = SHORT_RULE
    folder = "the folder with test.json and imgs"
    splits = tuple(_FILES)
    known: ClassVar = {"language": ("en", "zh", "all")}

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``; those in other languages are no part of the suite."""
        path = next((self.root / name for name in _FILES[self.split] if (self.root / name).is_file()), None)
        if path is None:
            raise FormatError(f"'{self.root}' has no {' or '.join(_FILES[self.split])}", self.folder)
        wanted = self._options["language"]
        for number, row in enumerate(read_json(path, list)):
            where = f"row {number} of '{path.name}'"
            language = cell(row, "q_lang", where)
            if wanted not in ("all", language):
                continue
            said = cell(row, "modality", where)
            tags = {
                "family": cell(row, "content_type", where),
                "modality": modality_code(said) or said,
                "region": cell(row, "location", where),
                "answer_type": cell(row, "answer_type", where),
                "language": language,
                "split": self.split,
            }
            about = About(f"imgs/{relative(needed(row, 'img_name', where))}", tags=tags)
            identifier = cell(row, "qid", where) or f"{path.stem}-{number}"
            yield short(identifier, cell(row, "question", where), answer=cell(row, "answer", where), about=about)
