"""Tables for VLMEvalKit: a TSV with pictures inside as base64; of a data set one a split for its multiple-choice evaluation.

A case's pictures stand in the row of its first question; later rows name that row's index instead, as VLMEvalKit allows. Several
pictures (a volume) are a Python list of texts. Options and answers that pandas would read as a missing value get a
full stop.

Source: docs/en/Development.md and ``vlmeval/dataset/image_base.py`` of VLMEvalKit.
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from unireason.data.question import LETTERS
from unireason.data.records import SampleRecord
from unireason.errors import FormatError

from .entries import Entry
from .folders import stem
from .posing import picture_id

OPTIONS = 4


def _columns(options: int) -> tuple[str, ...]:
    return ("index", "image", "image_path", "question", *LETTERS[:options], "answer", "category", "l2-category", "split")


COLUMNS = _columns(OPTIONS)
README = """# Data for VLMEvalKit

Copy a TSV of this folder to `$LMUData` (as a rule `~/LMUData`) and name it: `--data unireason_test`. VLMEvalKit takes a TSV with
options for a custom multiple-choice set.

* `category` is the question family, `l2-category` image or volume. A volume is a list of pictures in slice order.
* VLMEvalKit asks in its own words and may store pictures as JPEG: scores with it are not those of `unireason evaluate`.
"""

# What pandas.read_csv takes for a missing value, compared exactly.
_MISSING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"),
    *("NaN", "None", "n/a", "nan", "null"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One question of a table.

    Attributes:
        question: The question, without options.
        options: Option texts in order A, B, ...; none in a table of open questions.
        answer: The right letter, or the right text of an open question.
        category: Any name; VLMEvalKit reports accuracy for each.
        level: A second name, for the column "l2-category".
        split: Name of the split.
    """

    question: str
    options: tuple[str, ...]
    answer: str
    category: str
    level: str
    split: str


class Table:
    """Writes rows case by case."""

    def __init__(self, out: TextIO, options: int = OPTIONS) -> None:
        """Write the head of the table.

        Args:
            out: An empty file, opened with ``newline=""``.
            options: Columns for options, 0 to 10. VLMEvalKit takes a table without any for open questions.
        """
        self._letters = LETTERS[:options]
        self._table = csv.DictWriter(out, _columns(options), dialect="excel-tab", lineterminator="\n")
        self._table.writeheader()
        self.count = 0

    def add(self, pictures: Sequence[tuple[str, bytes]], rows: Iterable[Row]) -> None:
        """Write the questions on one case.

        Args:
            pictures: File name and PNG file of its pictures, in slice order; VLMEvalKit unpacks them under these names, once.
            rows: Its questions.

        Raises:
            FormatError: If a question has more options than the table has columns.
        """
        first = self.count
        names = _listed([name for name, _ in pictures])
        for row in rows:
            if len(row.options) > len(self._letters):
                raise FormatError(
                    f"the question {row.question[:200]!r} has {len(row.options)} options", f"at most {len(self._letters)}"
                )
            self._table.writerow(
                {
                    "index": self.count,
                    "image": first if self.count > first else _listed([base64.b64encode(png).decode() for _, png in pictures]),
                    "image_path": names,
                    "question": _one_line(row.question),
                    **{letter: _shown(text) for letter, text in zip(self._letters, row.options, strict=False)},
                    "answer": _shown(row.answer),
                    "category": row.category,
                    "l2-category": row.level,
                    "split": row.split,
                }
            )
            self.count += 1


def write(folder: Path, split: str, entries: Iterable[Entry]) -> int:
    """Write one split as ``unireason_<split>.tsv``; implicit questions have no options and are left out.

    Args:
        folder: Folder of the export.
        split: Name of the split.
        entries: Its cases.

    Returns:
        Rows written.

    Raises:
        FormatError: If a question has more than four options.
    """
    with (folder / f"unireason_{split}.tsv").open("w", encoding="utf-8", newline="") as out:
        table = Table(out)
        for entry in entries:
            name = stem(entry.case.scene.case)
            pictures = [(f"{picture_id(name, (z, None))}.png", png) for z, png in enumerate(entry.pngs)]
            table.add(pictures, [_row(sample) for sample in entry.samples if sample.task == "vqa"])
    return table.count


def _row(sample: SampleRecord) -> Row:
    question = sample.question
    return Row(question.text, question.options, question.letter, question.family, sample.kind, sample.split)


def _listed(texts: list[str]) -> str:
    """One text as it is, several as a Python list."""
    return texts[0] if len(texts) == 1 else repr(texts)


def _shown(said: str) -> str:
    text = _one_line(said)
    return f"{text}." if text in _MISSING else text


def _one_line(text: str) -> str:
    return " ".join(text.split())
