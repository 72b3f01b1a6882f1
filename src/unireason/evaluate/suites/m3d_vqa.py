"""M3D-VQA: ``M3D_VQA_test.csv`` (or ``M3D-VQA/M3D_VQA_test.csv``) beside the volumes of M3D-Cap.

A row names Image Path, Question Type (1 plane, 2 phase, 3 organ, 4 abnormality, 5 location), Question, Choice A to Choice D, Answer and
Answer Choice. Volumes are arrays of 1 x 32 x 256 x 256 from 0 to 1; orientation, spacing and Hounsfield units were lost. They are looked
for where the row says and, from ``ct_case`` or ``ct_quizze`` on, in ``M3D_Cap_npy``, ``M3D_Cap`` and the folder itself: copies differ in
the folders in front. Quiz cases are copies of ordinary ones, so both count as one patient.

Source: F. Bai et al., M3D, arXiv 2404.00578.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from unireason.data.item import Skipped
from unireason.data.sources.listing import read_rows, relative
from unireason.data.sources.m3d import patient_of
from unireason.errors import FormatError

from .listed import SHORT_RULE, About, ListedSuite, cell, choice, needed, short
from .suite import Entry

_FILES = {"test": "M3D_VQA_test.csv", "test5k": "M3D_VQA_test5k.csv", "validation": "M3D_VQA_val.csv"}
_TYPES = {"1": "plane", "2": "phase", "3": "organ", "4": "abnormality", "5": "location"}
_CASES = ("ct_case", "ct_quizze")


class M3dVqaSuite(ListedSuite):
    """M3D-VQA; the option ``form`` is "choice" (with the four options) or "open" (without them)."""

    name = "m3d-vqa"
    rule = f"Asked with options, an answer counts if it names the letter of the right one. Asked openly: {SHORT_RULE}"
    folder = "the folder with M3D_VQA_test.csv and the volumes of M3D-Cap"
    splits = tuple(_FILES)
    known: ClassVar = {"form": ("choice", "open")}

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        name = _FILES[self.split]
        path = next((p for p in (self.root / name, self.root / "M3D-VQA" / name) if p.is_file()), None)
        if path is None:
            raise FormatError(f"'{self.root}' has no {name}", self.folder)
        for number, row in enumerate(read_rows(path)):
            where = f"row {number} of '{name}'"
            image = relative(needed(row, "Image Path", where))
            kind = cell(row, "Question Type", where)
            about = About(self._volume(image), patient_of(image), {"family": _TYPES.get(kind, kind), "split": self.split})
            identifier, question = f"{path.stem}-{number}", cell(row, "Question", where)
            if self._options["form"] == "open":
                yield short(identifier, question, answer=cell(row, "Answer", where), about=about)
                continue
            options = [cell(row, f"Choice {letter}", where) for letter in "ABCD"]
            yield choice(identifier, question, options=options, letter=cell(row, "Answer Choice", where), about=about)

    def _volume(self, image: str) -> str:
        """Where the volume lies, relative to the folder; the path as given if it is nowhere."""
        start = next((image.index(f"{name}/") for name in _CASES if f"{name}/" in image), None)
        tail = image if start is None else image[start:]
        places = (image, f"M3D_Cap_npy/{tail}", f"M3D_Cap/{tail}", tail)
        return next((place for place in places if self.place(place).is_file()), image)
