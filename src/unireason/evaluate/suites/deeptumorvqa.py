"""DeepTumorVQA, version 2: ``benchmark/test_qa.json`` beside volumes or slices.

Volumes are ``benchmark/ct/BDMAP_*/ct.nii.gz``, slices ``benchmark/images_2d/whole/BDMAP_*.png``. A question names qid, image_id,
question, mc_question, correct_option, organ, question_type and question_subtype. Its options stand in mc_question alone, behind "A:",
"B:" and so on; they are told apart by these marks, and a question where that fails is left out. What the publishers' prompt adds for
measurements (voxel spacing, shape, sex and age as text) is not added here.

Source: Y. Chen et al., arXiv 2505.18915; data card of tumor-vqa/DeepTumorVQA_2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from unireason.data.item import Skipped
from unireason.data.sources.listing import read_json
from unireason.errors import FormatError

from .listed import CHOICE_RULE, About, ListedSuite, cell, choice, needed
from .suite import Entry

_INDEX = "benchmark/test_qa.json"
_FILES = {"volume": "benchmark/ct/{}/ct.nii.gz", "image": "benchmark/images_2d/whole/{}.png"}


class DeepTumorVqaSuite(ListedSuite):
    """DeepTumorVQA; the option ``input`` is "volume" or "image" (the publishers' slice)."""

    name = "deeptumorvqa"
    rule = CHOICE_RULE
    folder = f"the folder with {_INDEX}"
    known: ClassVar = {"input": tuple(_FILES)}
    modality = "CT"

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        rows = read_json(self.root / _INDEX).get("questions")
        if not isinstance(rows, list):
            raise FormatError(f"'{_INDEX}' has no list of questions", "an object with 'questions'")
        for number, row in enumerate(rows):
            where = f"question {number} of '{_INDEX}'"
            image = needed(row, "image_id", where)
            tags = {
                "family": cell(row, "question_type", where),
                "subtype": cell(row, "question_subtype", where),
                "structure": cell(row, "organ", where),
                "modality": "CT",
                "split": self.split,
            }
            about = About(_FILES[self._options["input"]].format(image), image, tags)
            question, options = divided(needed(row, "mc_question", where), cell(row, "question", where))
            letter = cell(row, "correct_option", where)
            yield choice(cell(row, "qid", where) or str(number), question, options=options, letter=letter, about=about)


def divided(text: str, question: str) -> tuple[str, tuple[str, ...]]:
    """A question and its options.

    Args:
        text: Question and options in one, the options behind "A:", "B:" and so on ("A." and "A)" count too).
        question: The question alone, where ``text`` begins with it; else it is what stands in front of the first mark.

    Returns:
        (question, options); no options if there are no marks.
    """
    marks: list[re.Match[str]] = []
    start = len(question) if question and text.startswith(question) else 0
    for letter in "ABCDEFGHIJ":
        mark = re.compile(rf"(?:(?<=\s)|^){letter}[:.)]\s").search(text, marks[-1].end() if marks else start)
        if mark is None:
            break
        marks.append(mark)
    if not marks:
        return text.strip(), ()
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return text[: marks[0].start()].strip(), tuple(text[m.end() : end].strip() for m, end in zip(marks, ends, strict=True))
