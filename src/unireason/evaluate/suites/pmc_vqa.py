"""PMC-VQA: ``test_2.csv`` (version 2), ``test_clean.csv`` and ``test.csv`` (version 1) beside the folder of pictures.

A row names Figure_path, Question, Choice A to Choice D and the answer. Version 1 gives its text as Answer (older files: Anwser) and its
letter as Answer_label; in version 2 the column Answer is read as a letter if it is one, else as the text of an option, with its letter
in front or without. Choices may begin with their own letter ("A:Diffuse uptake"), which is taken off; a small one ("a:") only where all
do, as "a. carotis" is a name. Pictures lie in ``images``, ``images_2`` or ``figures``, as copies call
the folder. Pictures of one article, told by the PMC number in their names, count as one patient.

Source: X. Zhang et al., PMC-VQA, arXiv 2305.10415.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from unireason.data.item import Skipped
from unireason.data.sources.listing import read_rows, relative

from .listed import CHOICE_RULE, About, ListedSuite, cell, choice, matching_letter, needed, plain_letter
from .suite import Entry

_FILES = {"test_2": "test_2.csv", "test_clean": "test_clean.csv", "test": "test.csv"}
_PICTURES = ("images", "images_2", "figures")
_ARTICLE = re.compile(r"PMC\d+")


class PmcVqaSuite(ListedSuite):
    """PMC-VQA."""

    name = "pmc-vqa"
    rule = CHOICE_RULE
    folder = f"the folder with test_2.csv and one of {', '.join(_PICTURES)}"
    splits = tuple(_FILES)

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        path = self.root / _FILES[self.split]
        places = [name for name in _PICTURES if (self.root / name).is_dir()] or ["images"]
        for number, row in enumerate(read_rows(path)):
            where = f"row {number} of '{path.name}'"
            picture = relative(needed(row, "Figure_path", where))
            found = next((name for name in places if self.place(f"{name}/{picture}").is_file()), places[0])
            article = _ARTICLE.match(picture)
            about = About(f"{found}/{picture}", article[0] if article else "", {"split": self.split})
            options = _without_letters([cell(row, f"Choice {letter}", where) for letter in "ABCD"])
            letter = _letter(row, options, where)
            identifier = cell(row, "index", where) or f"{path.stem}-{number}"
            yield choice(identifier, cell(row, "Question", where), options=options, letter=letter, about=about)


def _without_letters(texts: list[str]) -> list[str]:
    """Choices without the letters that they begin with."""
    begun = [
        re.match(rf"({letter})\s{{0,3}}[:.)]\s{{0,3}}", text, re.IGNORECASE) for letter, text in zip("ABCD", texts, strict=True)
    ]
    small = all(begun)
    return [
        text[match.end() :] if match and (small or match[1].isupper()) else text for match, text in zip(begun, texts, strict=True)
    ]


def _letter(row: Mapping[str, str], options: list[str], where: str) -> str:
    label = cell(row, "Answer_label", where)
    if label:
        return label
    answer = cell(row, "Answer", where) or cell(row, "Anwser", where)
    return plain_letter(answer) or matching_letter(options, answer)
