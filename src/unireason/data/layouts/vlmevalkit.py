"""Export to VLMEvalKit: one TSV a split for its multiple-choice evaluation, pictures inside as base64.

A case's pictures stand in the row of its first question; later rows name that row's index instead, as VLMEvalKit allows. Several
pictures (a volume) are a Python list of texts. Options that pandas would read as a missing value get a full stop.

Source: docs/en/Development.md and ``vlmeval/dataset/image_base.py`` of VLMEvalKit.
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable
from pathlib import Path

from unireason.data.question import LETTERS
from unireason.data.records import SampleRecord
from unireason.errors import FormatError

from .entries import Entry
from .folders import stem
from .posing import picture_id

OPTIONS = 4
COLUMNS = ("index", "image", "image_path", "question", *LETTERS[:OPTIONS], "answer", "category", "l2-category", "split")
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
    count = 0
    with (folder / f"unireason_{split}.tsv").open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, COLUMNS, dialect="excel-tab", lineterminator="\n")
        table.writeheader()
        for entry in entries:
            first = count
            for sample in (s for s in entry.samples if s.task == "vqa"):
                table.writerow(_row(entry, sample, count, first))
                count += 1
    return count


def _row(entry: Entry, sample: SampleRecord, index: int, first: int) -> dict[str, str | int]:
    question = sample.question
    if len(question.options) > OPTIONS:
        raise FormatError(f"sample {sample.id} has {len(question.options)} options", f"at most {OPTIONS}")
    name = stem(entry.case.scene.case)
    names = [f"{picture_id(name, (z, None))}.png" for z in range(len(entry.pngs))]
    return {
        "index": index,
        "image": _listed([base64.b64encode(data).decode() for data in entry.pngs]) if index == first else first,
        "image_path": _listed(names),
        "question": _one_line(question.text),
        **{letter: _shown(text) for letter, text in zip(LETTERS, question.options, strict=False)},
        "answer": question.letter,
        "category": question.family,
        "l2-category": sample.kind,
        "split": sample.split,
    }


def _listed(texts: list[str]) -> str:
    """One text as it is, several as a Python list."""
    return texts[0] if len(texts) == 1 else repr(texts)


def _shown(option: str) -> str:
    text = _one_line(option)
    return f"{text}." if text in _MISSING else text


def _one_line(text: str) -> str:
    return " ".join(text.split())
