"""OmniMedVQA, the part with open access: ``QA_information/Open-access/*.json`` beside ``Images``.

A row names question_id, dataset, image_path, question, question_type, modality_type, gt_answer (the text of the right option) and
option_A to option_D, of which the last ones may be missing. The data do not say which images belong to one patient, so each counts as
one.

Source: Y. Hu et al., OmniMedVQA, CVPR 2024, arXiv 2402.09181.
"""

from __future__ import annotations

from collections.abc import Iterator

from unireason.data.item import Skipped
from unireason.data.sources.listing import entries, read_json, relative
from unireason.data.sources.structures import modality_code
from unireason.errors import FormatError

from .listed import CHOICE_RULE, About, ListedSuite, cell, choice, matching_letter, needed
from .suite import Entry

_INDEX = "QA_information/Open-access"


class OmniMedVqaSuite(ListedSuite):
    """OmniMedVQA."""

    name = "omnimedvqa"
    rule = CHOICE_RULE
    folder = f"the folder with {_INDEX} and Images"
    splits = ("open-access",)

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``; files in natural order."""
        paths = [path for path in entries(self.root / _INDEX, "the questions with open access") if path.suffix == ".json"]
        if not paths:
            raise FormatError(f"'{_INDEX}' holds no JSON file", self.folder)
        for path in paths:
            for number, row in enumerate(read_json(path, list)):
                where = f"row {number} of '{path.name}'"
                said = cell(row, "modality_type", where)
                tags = {
                    "family": cell(row, "question_type", where),
                    "modality": modality_code(said.partition("(")[0]) or said,
                    "dataset": cell(row, "dataset", where) or path.stem,
                    "split": self.split,
                }
                about = About(relative(needed(row, "image_path", where)), tags=tags)
                options = [cell(row, f"option_{letter}", where) for letter in "ABCD"]
                letter = matching_letter(options, cell(row, "gt_answer", where))
                identifier = cell(row, "question_id", where) or f"{path.stem}-{number}"
                yield choice(identifier, cell(row, "question", where), options=options, letter=letter, about=about)
