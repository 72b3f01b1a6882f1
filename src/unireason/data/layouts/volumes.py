"""Volumes for the rows of the release that carry none: found by name in a folder of the user's and read as cases.

The 3D rows name their volumes, if at all, in ``image_ids`` or somewhere in ``extra_info``. These names are only compared with names of
files, never opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.errors import ImageReadError, UniReasonError
from unireason.types import Case

from .unimed_cot import RlRow, SftRow

ENDINGS = (".nii.gz", ".nii", ".npy", ".npz", ".nrrd", ".mha", ".mhd")
_NUMBERED = re.compile(r"\d{3}")
_MAX_FILES, _MAX_NAMES, _MAX_DEPTH = 5_000_000, 64, 6


@dataclass(frozen=True, slots=True)
class Resolved:
    """A row and its volume.

    Attributes:
        row: The row.
        path: The volume; None if it was not found.
        names: The names under which it was looked for.
        reason: Why there is none: "no name", "not found" or "ambiguous"; "" if there is one.
    """

    row: SftRow | RlRow
    path: Path | None
    names: tuple[str, ...]
    reason: str = ""

    def case(self, **options: Any) -> Case:
        """Read the volume.

        Args:
            **options: See ``imaging.read``; arrays may need ``axes``.

        Raises:
            ImageReadError: If it was not found or cannot be read.
            UniReasonError: See ``imaging.read``.
        """
        from unireason.imaging import read

        if self.path is None:
            raise ImageReadError(
                f"the row has no volume ({self.reason})",
                f"one of the names {list(self.names[:3])}",
                "point --volumes to its folder",
            )
        return read(self.path, **options)


def resolve_volumes(rows: Iterable[SftRow | RlRow], folder: Path) -> Iterator[Resolved]:
    """Find the volumes of rows.

    Args:
        rows: Rows of the release without pictures, in any number; they are streamed.
        folder: Where the volumes lie, at any depth.

    Yields:
        Every row with its volume, or the reason why there is none.

    Raises:
        UniReasonError: If there is no such folder, or it holds no volume.
    """
    shelf = Index.of(folder)
    for row in rows:
        names = names_of(row)
        path, reason = shelf.find(names)
        yield Resolved(row, path, names, reason)


@dataclass(frozen=True, slots=True)
class Index:
    """Volume files by stem.

    Attributes:
        by_stem: Lower-case stem of the file, or name of a folder that holds one volume only, to the files.
    """

    by_stem: Mapping[str, tuple[Path, ...]]

    @classmethod
    def of(cls, folder: Path) -> Index:
        """List a folder; links that lead out of it are left out.

        Raises:
            UniReasonError: If there is no such folder, it holds no volume, or more than five million.
        """
        if not folder.is_dir():
            raise UniReasonError(f"'{folder}' is not a folder", "the folder of the volumes", "check --volumes")
        root, stems = folder.resolve(), dict[str, list[Path]]()
        count = 0
        for place, below, names in os.walk(folder):
            below.sort()
            volumes = [Path(place, name) for name in sorted(names) if name.lower().endswith(ENDINGS)]
            volumes = [path for path in volumes if path.resolve().is_relative_to(root)]
            count += len(volumes)
            if count > _MAX_FILES:
                raise UniReasonError(f"'{folder.name}' holds more than {_MAX_FILES:,} volumes", "", "point to a smaller folder")
            for path in volumes:
                stems.setdefault(_stem(path.name), []).append(path)
            if len(volumes) == 1 and Path(place) != folder and _stem(volumes[0].name) != Path(place).name.lower():
                stems.setdefault(Path(place).name.lower(), []).append(volumes[0])
        if not count:
            raise UniReasonError(f"'{folder.name}' holds no volume", f"files ending in {', '.join(ENDINGS)}", "check --volumes")
        return cls({key: tuple(paths) for key, paths in stems.items()})

    def find(self, names: Iterable[str]) -> tuple[Path | None, str]:
        """The volume of the first name that has one, and the reason why there is none.

        Where several files have the name, the one wins whose folders agree with the name's for longest; a tie is "ambiguous". A
        stem without a number of three digits ("series") is no name of its own: the folder in front of it must agree too, if the
        name has one.
        """
        reason = "no name"
        for name in names:
            parts = [part.lower() for part in name.replace("\\", "/").split("/") if part]
            candidates = self.by_stem.get(_stem(parts[-1]), ()) if parts else ()
            least = 1 if len(parts) > 1 and not _NUMBERED.search(_stem(parts[-1])) else 0
            agreeing = sorted(
                (pair for path in candidates if (pair := (_agreement(path, parts[:-1]), path))[0] >= least),
                key=lambda pair: (-pair[0], pair[1]),
            )
            if agreeing and (len(agreeing) == 1 or agreeing[0][0] > agreeing[1][0]):
                return agreeing[0][1], ""
            reason = "ambiguous" if agreeing or reason == "ambiguous" else "not found"
        return None, reason


def names_of(row: SftRow | RlRow) -> tuple[str, ...]:
    """Everything in a row that may name its volume: ``image_ids``, then texts of ``extra_info``, those with a volume's ending first.

    Texts of ``extra_info`` with neither a volume's ending nor a digit ("train"), with line breaks, or above 300 characters are no
    names; at most 64 are kept.
    """
    said = list(row.image_ids)
    if isinstance(row, RlRow):
        texts = [t for t in _texts(row.extra_info, _MAX_DEPTH) if t.lower().endswith(ENDINGS) or any(c.isdigit() for c in t)]
        said += sorted(texts, key=lambda text: not text.lower().endswith(ENDINGS))
    plain = (text.strip() for text in said if len(text) <= 300 and "\n" not in text)
    return tuple(dict.fromkeys(text for text in plain if text))[:_MAX_NAMES]


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner, depth - 1)


def _stem(name: str) -> str:
    low = name.lower()
    return next((low[: -len(ending)] for ending in ENDINGS if low.endswith(ending)), low)


def _agreement(path: Path, folders: list[str]) -> int:
    """How many folders above the file agree, counted from the file upwards."""
    count = 0
    for mine, theirs in zip(reversed(path.parts[:-1]), reversed(folders), strict=False):
        if mine.lower() != theirs:
            break
        count += 1
    return count
