"""AMOS22: ``imagesTr``, ``imagesVa``, ``imagesTs`` with ``labels..`` of the same file names; CT and MR mixed.

Which of the two a case is follows from its number: up to 410 (training), 409 (validation) and 500 (test) it is CT, above that MR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.data.item import Item, Loaded, MaskRef, Skipped
from unireason.errors import FormatError

from .labels import IGNORE, load_files
from .listing import images, kind_of, plain_text, read_json, unique
from .options import check, folder, yes
from .structures import legend

_SPLITS = (("Tr", "train", 410), ("Va", "validation", 409), ("Ts", "test", 500))
_SPELLING = {"postcava": "inferior vena cava", "prostate/uterus": "prostate or uterus"}
_LABELS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "postcava", "pancreas",
    "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AmosSource:
    """AMOS22.

    Attributes:
        root: The folder with ``imagesTr``.
        ignore_unnamed: True to take mask values without a name for background.
    """

    root: Path
    ignore_unnamed: bool = False

    name = "amos"
    title = "AMOS22"
    licence = "CC-BY-4.0"

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> AmosSource:
        """The source for a command line.

        Raises:
            FormatError: If no folder was given or an option cannot be used.
        """
        check(cls.name, options, (IGNORE,))
        return cls(folder(cls.name, root, "the folder with imagesTr"), yes(options, IGNORE))

    def items(self) -> Iterator[Item | Skipped]:
        """Cases with labels: training, validation, test.

        Raises:
            UniReasonError: If there is no folder of images, no case, or dataset.json cannot be used.
        """
        empty = True
        for found in unique(self._cases(self._names())):
            empty = False
            yield found
        if empty:
            raise FormatError(f"'{self.root}' holds no case", "imagesTr, imagesVa or imagesTs with amos_0001.nii.gz")

    def _cases(self, names: dict[int, str]) -> Iterator[Item | Skipped]:
        for suffix, split, last_ct in _SPLITS:
            if not (self.root / f"images{suffix}").is_dir():
                continue
            shown = images(self.root / f"images{suffix}", "the folder of images")
            labels = images(self.root / f"labels{suffix}", "the folder of labels") if self._labelled(suffix) else {}
            for case in dict.fromkeys([*shown, *labels]):
                if case not in labels:
                    yield Skipped(case, f"it has no label file in labels{suffix}")
                elif case not in shown:
                    yield Skipped(case, f"it has no image file in images{suffix}")
                else:
                    yield self._item(shown[case], labels[case], names, (split, last_ct))

    def _labelled(self, suffix: str) -> bool:
        return (self.root / f"labels{suffix}").is_dir()

    def _names(self) -> dict[int, str]:
        """Labels of dataset.json; those of the challenge if the file is not there."""
        table: Any = dict(enumerate(_LABELS, start=1))
        if (self.root / "dataset.json").exists():
            table = read_json(self.root / "dataset.json").get("labels")
            if not isinstance(table, dict):
                raise FormatError("dataset.json has no usable 'labels'", "values with names")
        plain = {_spelled(k): _spelled(v) for k, v in table.items()}
        names = legend(plain)
        if not any(names.values()):
            raise FormatError("dataset.json names no structure besides the background", "at least one")
        return names

    def _item(self, image: Path, label: Path, names: dict[int, str], part: tuple[str, int]) -> Item | Skipped:
        case = label.name.split(".")[0]
        number = re.search(r"(\d{1,9})$", case)
        if number is None:
            return Skipped(case, "its name does not end in a number, which would tell CT from MR")
        return Item(
            id=case,
            patient=case,
            kind=kind_of(image.name),
            image=image.relative_to(self.root).as_posix(),
            masks=(MaskRef(label.relative_to(self.root).as_posix(), names),),
            annotated=tuple(sorted({name for name in names.values() if name})),
            modality="CT" if int(number[1]) <= part[1] else "MR",
            split=part[0],
        )

    def load(self, item: Item) -> Loaded:
        """Read one case.

        Raises:
            UniReasonError: If a file is missing, damaged, or the label lies on another grid than the image.
        """
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed)


def _spelled(value: Any) -> Any:
    return _SPELLING.get(plain_text({"name": value}, "name").lower(), value)
