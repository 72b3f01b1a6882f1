"""VQA-RAD: ``VQA_RAD Dataset Public.json`` beside ``VQA_RAD Image Folder``.

A row names qid, qid_linked_id, image_name, image_organ, question, question_type, answer, answer_type and phrase_type. The test split is
that of the publishers: rows whose phrase_type begins with "test". A question and its paraphrase share ``qid_linked_id``, kept as the tag
"linked", and are about the same image; so intervals over images never part them.

Source: J. J. Lau et al., Scientific Data 5 (2018) 180251.
"""

from __future__ import annotations

from collections.abc import Iterator

from unireason.data.item import Skipped
from unireason.data.sources.listing import read_json, relative
from unireason.errors import FormatError

from .listed import SHORT_RULE, About, ListedSuite, cell, needed, short
from .suite import Entry

_INDEX, _PICTURES = "VQA_RAD Dataset Public.json", "VQA_RAD Image Folder"


class VqaRadSuite(ListedSuite):
    """VQA-RAD."""

    name = "vqa-rad"
    rule = SHORT_RULE
    folder = f"the folder with '{_INDEX}' and '{_PICTURES}'"
    splits = ("test", "train")

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        if not (self.root / _INDEX).is_file():
            raise FormatError(f"'{self.root}' has no '{_INDEX}'", self.folder)
        for number, row in enumerate(read_json(self.root / _INDEX, list)):
            where = f"row {number} of '{_INDEX}'"
            phrase = needed(row, "phrase_type", where)
            if (self.split == "test") != phrase.startswith("test"):
                continue
            tags = {
                "family": cell(row, "question_type", where),
                "region": cell(row, "image_organ", where),
                "answer_type": cell(row, "answer_type", where),
                "phrase": phrase.removeprefix("test_"),
                "linked": cell(row, "qid_linked_id", where),
                "split": self.split,
            }
            about = About(f"{_PICTURES}/{relative(needed(row, 'image_name', where))}", tags=tags)
            identifier = cell(row, "qid", where) or str(number)
            yield short(identifier, cell(row, "question", where), answer=cell(row, "answer", where), about=about)
