"""A built data set written in the layouts of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unireason.data.dataset import Dataset
from unireason.data.records import SPLITS
from unireason.errors import FormatError, UniReasonError

from . import WRITABLE, llamafactory, umrg, unimed_cot, verl, vlmevalkit
from .album import Album
from .entries import Entry, entries
from .folders import whole

Progress = Callable[[int], None]

_READMES = {"llamafactory": llamafactory.README, "verl": verl.README, "vlmevalkit": vlmevalkit.README}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        layout: One of WRITABLE.
        rows: Rows by split, and by table where the layout has several ("train/sft").
        pictures: Picture files written; pictures inside tables are counted as rows.
    """

    layout: str
    rows: dict[str, int]
    pictures: int


def export(
    dataset: Dataset,
    layout: str,
    out: Path,
    *,
    split: str | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a data set in another layout.

    Args:
        dataset: The data set.
        layout: One of WRITABLE.
        out: A new or empty folder; it takes its place when everything is written.
        split: One split; None takes all, except that UniMed-CoT, whose layout knows no splits, takes "train".
        root: Folder of the source, for data sets that refer to it.
        progress: Called with the number of cases done so far.

    Raises:
        FormatError: If layout or split are unknown, the split is empty, or a sample does not fit the layout.
        UniReasonError: If the folder is taken, or a picture cannot be had.
    """
    if layout not in WRITABLE:
        raise FormatError(f"the layout {layout!r} is unknown", ", ".join(WRITABLE))
    splits = _splits(dataset, layout, split)
    done = _Counter(progress)
    with whole(out) as folder:
        album, rows = Album(folder), dict[str, int]()
        for name in splits:
            rows |= _write(layout, folder, name, done.through(entries(dataset, name, root=root)), album)
        if not any(rows.values()):
            raise UniReasonError(
                f"no question of {', '.join(splits)} fits the layout {layout}",
                "implicit questions about images" if layout == "umrg" else "questions with options",
                "choose another split or layout",
            )
        if layout in _READMES:
            (folder / "README.md").write_text(_READMES[layout], encoding="utf-8")
    return Exported(layout, rows, album.count)


def _splits(dataset: Dataset, layout: str, split: str | None) -> list[str]:
    """The splits to write: those asked for that have samples."""
    asked: Sequence[str] = (split,) if split else ("train",) if layout == "unimed-cot" else SPLITS
    found = [name for name in asked if dataset.files("samples", name)]
    if not found:
        raise FormatError(f"the data set has no samples of {', '.join(asked)}", "a split with samples", "choose another --split")
    return found


def _write(layout: str, folder: Path, split: str, cases: Iterator[Entry], album: Album) -> dict[str, int]:
    if layout == "unimed-cot":
        rows = (row for entry in cases for row in unimed_cot.from_entry(entry))
        return {f"{split}/{table}": count for table, count in unimed_cot.write(folder, rows, prefix=split).items()}
    if layout == "umrg":
        return {split: umrg.write(folder / "data", (row for entry in cases for row in umrg.from_entry(entry)), prefix=split)}
    if layout == "llamafactory":
        return {split: llamafactory.write(folder, split, cases, album=album)}
    if layout == "verl":
        return {split: verl.write(folder, split, cases, album=album)}
    return {split: vlmevalkit.write(folder, split, cases)}


class _Counter:
    """Counts cases as they pass, over several splits."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done = progress, 0

    def through(self, cases: Iterator[Entry]) -> Iterator[Entry]:
        for entry in cases:
            yield entry
            self._done += 1
            if self._progress:
                self._progress(self._done)
