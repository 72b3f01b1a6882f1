"""3D-RAD: ``test/TaskN_Name/*.csv`` (or ``3DRAD/test/...``) and the volumes that they name, anywhere in the folder.

A row names VolumeName ("test_1006_b_1.nii.gz": patient 1006, scan b, reconstruction 1), Question, Answer, QuestionType ("Open" or
"Close"), AnswerChoice and Choice A to Choice D, where "-" is empty. Volumes are found by that name whatever their ending, because the
publishers give arrays made from the scans of CT-RATE. It is not documented how the axes of these arrays run: they are read with slices
first. Reconstructions and scans of one patient count as one patient. A question about change over time is asked about its own volume
alone, as published.

Source: 3D-RAD, arXiv 2506.11147; the question files in its repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from unireason.data.item import Skipped
from unireason.data.layouts.volumes import Index
from unireason.data.sources.listing import entries, read_rows
from unireason.errors import FormatError, UniReasonError

from .listed import SHORT_RULE, About, ListedSuite, cell, choice, needed, short
from .suite import Entry

_PATIENT = re.compile(r"[A-Za-z]+_\d+")


class Rad3dSuite(ListedSuite):
    """3D-RAD."""

    name = "3d-rad"
    rule = f"Closed questions count if the answer names the letter of the right option. {SHORT_RULE}"
    folder = "the folder with test/Task1_Image_Observation and so on, and the volumes"
    splits = ("test", "train")
    modality = "CT"

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``; tasks and files in natural order."""
        place = next((p for p in (self.root / self.split, self.root / "3DRAD" / self.split) if p.is_dir()), None)
        tasks = [] if place is None else [task for task in entries(place, self.folder) if task.is_dir()]
        paths = [path for task in tasks for path in entries(task, "questions of a task") if path.suffix == ".csv"]
        if not paths:
            raise FormatError(f"'{self.root}' holds no questions in {self.split}", self.folder)
        index = self._volumes()
        root = self.root.resolve()
        for path in paths:
            task = re.sub(r"^Task\d+_", "", path.parent.name).replace("_", " ")
            for number, row in enumerate(read_rows(path)):
                where = f"row {number} of '{path.parent.name}/{path.name}'"
                name = needed(row, "VolumeName", where)
                identifier = f"{path.parent.name}/{path.stem}-{number}"
                volume, reason = index.find([name])
                if reason == "ambiguous":
                    yield Skipped(identifier, "several files have the name of its volume")
                    continue
                case = volume.resolve().relative_to(root).as_posix() if volume else name
                patient = _PATIENT.match(name)
                tags = {"family": task, "subtask": path.stem, "modality": "CT", "split": self.split}
                yield _entry(identifier, row, About(case, patient[0] if patient else "", tags), where)

    def _volumes(self) -> Index:
        try:
            return Index.of(self.root)
        except UniReasonError as error:
            raise FormatError(error.came, error.expected, "put the volumes into the folder") from error


def _entry(identifier: str, row: dict[str, str], about: About, where: str) -> Entry | Skipped:
    question = cell(row, "Question", where)
    if cell(row, "QuestionType", where) == "Open":
        return short(identifier, question, answer=cell(row, "Answer", where), about=about)
    options = [cell(row, f"Choice {letter}", where) for letter in "ABCD"]
    letter = cell(row, "AnswerChoice", where)
    return choice(identifier, question, options=["" if text == "-" else text for text in options], letter=letter, about=about)
