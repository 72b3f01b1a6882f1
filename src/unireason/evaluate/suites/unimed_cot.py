"""UniMed-CoT, as ``unireason data import unimed-cot`` takes it in.

The release has no split for evaluation: its questions are those that models were trained on, so figures on them tell how well a model
learnt and not how well it does on others. Places in its reasoning are another model's, not true ones, so there are no looks. The data do
not name patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from unireason.data.dataset import Dataset
from unireason.errors import FormatError

from .built import BuiltSuite
from .listed import check_options


class UnimedCotSuite(BuiltSuite):
    """UniMed-CoT; the split is the table, "rl" or "sft"."""

    name = "unimed-cot"
    stages: ClassVar = {"rl": "grpo", "sft": "sft"}

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> UnimedCotSuite:
        """The suite for a command line.

        Args:
            root: A folder made by ``unireason data import unimed-cot``.
            split: "rl" (also for "") or "sft".
            options: None.

        Raises:
            UniReasonError: If there is no such folder, the split is unknown, or there are options.
        """
        check_options(cls.name, options, {})
        if root is None or not root.is_dir():
            given = "no folder" if root is None else f"'{root}', which is no folder"
            raise FormatError(f"the suite '{cls.name}' was given {given}", "a folder made by unireason data import unimed-cot")
        if split and split not in cls.stages:
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", f"one of {', '.join(cls.stages)}")
        dataset = Dataset.open(root)
        if dataset.layout != cls.name:
            came = f"'{root}' was {f'imported from {dataset.layout}' if dataset.layout else 'built'}"
            raise FormatError(came, "a folder made by unireason data import unimed-cot")
        return cls(dataset, split=None, stage=cls.stages[split or "rl"])
