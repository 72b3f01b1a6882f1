"""U-MRG-14K as published: ``test-*.parquet``, pictures and masks inside, implicit questions answered by a box and two points.

Equal pictures are one case, named by the hash of their file. The data do not say which pictures belong to one patient, so each counts
as one. Boxes and points are pixels of the picture. As in the published evaluation the first picture and the first mask of a row count.

Source: Z. Yan et al., MedReasoner, arXiv 2508.08177.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from unireason.data.layouts import umrg
from unireason.data.layouts.stored import read_mask, read_stored
from unireason.data.layouts.umrg import UmrgRow
from unireason.errors import FormatError, UniReasonError
from unireason.types import Box2D, Case

from .listed import check_options
from .pointing import RULE, Truth
from .suite import Entry

_SPLITS = ("test", "train", "validation")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a question stands: its file and the number of its row."""

    path: Path
    row: int


class UmrgSuite:
    """U-MRG-14K.

    Attributes:
        root: The folder, or one of its files.
        split: Which questions.
        left_out: After ``entries`` has come to its end: questions that it left out, by reason.
    """

    name = "u-mrg"
    rule = RULE

    def __init__(self, root: Path, *, split: str) -> None:
        """Keep where and what; nothing is read."""
        self.root, self.split = root, split
        self.left_out: Mapping[str, int] = {}
        self._places: dict[str, _Place] = {}  # by question
        self._first: dict[str, str] = {}  # by case: its first question
        self._stream: Iterator[UmrgRow] = iter(())
        self._at: tuple[_Place, UmrgRow] | None = None
        self._seen: tuple[str, tuple[int, int]] = ("", (0, 0))  # the last picture: its case, height and width

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> UmrgSuite:
        """The suite for a command line.

        Args:
            root: The folder with ``test-*.parquet`` or ``data/test-*.parquet``; or one Parquet file, which is taken whatever its name.
            split: "test" (also for ""), "train" or "validation": what the names of the files begin with.
            options: None.

        Raises:
            FormatError: If there is no such folder, the split is unknown, or there are options.
        """
        check_options(cls.name, options, {})
        if root is None or not root.exists():
            given = "no folder" if root is None else f"'{root}', which is not there"
            raise FormatError(f"the suite '{cls.name}' was given {given}", "the folder with data/test-*.parquet")
        if split and split not in _SPLITS:
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", f"one of {', '.join(_SPLITS)}")
        return cls(root, split=split or _SPLITS[0])

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; cases in the order in which the files hold them first."""
        left_out: Counter[str] = Counter()
        cases: dict[str, list[Entry]] = {}
        names: Counter[str] = Counter()
        for path in self._files():
            for number, row in enumerate(umrg.read_file(path, strict=False)):
                reason = _flaw(row)
                if reason:
                    left_out[reason] += 1
                    continue
                name = row.id or f"{path.stem}-{number}"
                names[name] += 1
                entry = _entry(row, name if names[name] == 1 else f"{name}~{names[name]}", self.split)
                self._places[entry.id] = _Place(path, number)
                self._first.setdefault(entry.case, entry.id)
                cases.setdefault(entry.case, []).append(entry)
        if not cases:
            raise UniReasonError(
                f"the suite '{self.name}' has no question that can be asked", "rows as published", "check the folder"
            )
        yield from (entry for own in cases.values() for entry in own)
        self.left_out = dict(left_out)

    def read(self, case: str) -> Case:
        """See ``Suite.read``."""
        if case not in self._first:
            raise UniReasonError(f"the suite '{self.name}' has no picture {case[:80]!r}", "one of its entries")
        found = read_stored(self._row(self._first[case]).images[0].bytes, "picture")
        height, width = found.geometry.shape
        self._seen = (case, (height, width))
        return found

    def truth(self, entry: Entry) -> Truth:
        """See ``PointingSuite.truth``. Reading on in the order of the entries costs least."""
        if self._seen[0] != entry.case:
            self.read(entry.case)
        row, (height, width) = self._row(entry.id), self._seen[1]
        mask = read_mask(row.masks[0].bytes, (height, width))
        return Truth(Box2D(*row.box), row.points, mask, (width, height))

    def _files(self) -> list[Path]:
        found = umrg.files_of(self.root)
        files = found if self.root.is_file() else [path for path in found if path.name.startswith(self.split)]
        if not files:
            raise FormatError(
                f"'{self.root.name}' holds {found[0].name} and no file of the split {self.split}",
                f"{self.split}-*.parquet",
                "complete the folder, or name another split or one file",
            )
        return files

    def _row(self, question: str) -> UmrgRow:
        if question not in self._places:
            raise UniReasonError(f"the suite '{self.name}' has no question {question[:80]!r}", "one of its entries")
        place = self._places[question]
        if self._at is not None and self._at[0] == place:
            return self._at[1]
        follows = self._at is not None and self._at[0] == _Place(place.path, place.row - 1)
        if not follows:
            self._stream = umrg.read_file(place.path, strict=False, start=place.row)
        row = next(self._stream, None)
        if row is None:
            raise FormatError(f"'{place.path.name}' has changed", "the file of which the questions were listed")
        self._at = (place, row)
        return row


def _flaw(row: UmrgRow) -> str:
    """Why a row cannot be asked; "" if it can."""
    x1, y1, x2, y2 = row.box
    if not row.question.strip():
        return "it has no text"
    return "its true box is empty" if x2 <= x1 or y2 <= y1 else ""


def _entry(row: UmrgRow, name: str, split: str) -> Entry:
    case = sha256(row.images[0].bytes).hexdigest()
    tags = {"category": row.category, "supercategory": row.supercategory, "structure": row.category, "split": split}
    kept = {key: value for key, value in tags.items() if value}
    return Entry(name, case, case, row.question.strip(), (), (row.category,), tags=kept)
