"""A published release verified, listed and turned into questions that an evaluation can ask.

The masks from which the release was made are not in it, so scenes cannot be had back: the result is not a data set of ours but a folder
with ``questions.jsonl`` (one question a line), ``images/`` and ``release.json`` (what was found). Fields: docs/reference/layouts.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from unireason.errors import FormatError

from . import READABLE, umrg, unimed_cot
from .folders import base_name, stem, whole
from .recover import Recovered, from_rl, from_sft
from .unimed_cot import RlRow, SftRow
from .volumes import Index, names_of

QUESTIONS, RELEASE, IMAGES = "questions.jsonl", "release.json", "images"
Progress = Callable[[int], None]
_LISTED = 20


def take_in(
    layout: str, path: Path, out: Path, *, volumes: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Read a release and write its questions.

    Args:
        layout: One of READABLE.
        path: The release.
        out: A new or empty folder.
        volumes: Folder of the volumes of rows that carry none (UniMed-CoT only).
        progress: Called with the number of rows done so far.

    Returns:
        What ``release.json`` says: layout, rows by table, kinds, images and volumes found and missing, problems by code, ok.

    Raises:
        FormatError: If the layout is unknown or the release has another one.
        UniReasonError: If a folder cannot be read or written.
    """
    if layout not in READABLE:
        raise FormatError(f"the layout {layout!r} is unknown", ", ".join(READABLE))
    tell = progress or (lambda done: None)
    with whole(out) as folder, (folder / QUESTIONS).open("w", encoding="utf-8", newline="\n") as lines:
        (folder / IMAGES).mkdir()
        read = _umrg(path, folder, lines, tell) if layout == "umrg" else _unimed_cot(path, folder, lines, volumes, tell)
        report = {"layout": layout, **read}
        (folder / RELEASE).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def rows_in(layout: str, path: Path) -> int:
    """How many rows ``take_in`` will pass, for a progress bar.

    Raises:
        FormatError: If there are no such files, or one is damaged.
    """
    from .tables import row_count

    files = umrg.files_of(path) if layout == "umrg" else [f for fs in unimed_cot.files_of(path).values() for f in fs]
    return sum(row_count(file) for file in files)


def _unimed_cot(path: Path, folder: Path, lines: TextIO, volumes: Path | None, tell: Progress) -> dict[str, Any]:
    index = Index.of(volumes) if volumes else None
    named = _extract(path, folder / IMAGES, tell)
    tally = _Tally(pictures=len(named))
    for done, (table, row, found) in enumerate(_recovered(path), start=len(named) + 1):
        record: dict[str, Any] = {"table": table, **found.to_json(), "images": [named[i] for i in found.image_ids if i in named]}
        bare = found.kind == "volume" and not any(i in named for i in row.image_ids)
        tally.add(table, found, [] if bare else [i for i in row.image_ids if i not in named])
        record |= {"volume": "", "names": list(names_of(row)) if bare else []}
        if bare:
            volume, reason = index.find(record["names"]) if index else (None, "not looked for")
            tally.add_volume(found, volume, reason)
            record["volume"] = volume.relative_to(volumes).as_posix() if volume and volumes else ""
        lines.write(json.dumps(record, ensure_ascii=False) + "\n")
        tell(done)
    return tally.to_json()


def _recovered(path: Path) -> Iterator[tuple[str, SftRow | RlRow, Recovered]]:
    for number, sft in enumerate(unimed_cot.read_sft(path, strict=False)):
        yield "sft", sft, from_sft(sft, f"sft-{number}")
    for number, rl in enumerate(unimed_cot.read_rl(path, strict=False)):
        yield "rl", rl, from_rl(rl, f"rl-{number}")


def _extract(path: Path, folder: Path, tell: Progress) -> dict[str, str]:
    """Write all pictures under their base names; identifier to file name. Equal names of different pictures are told apart."""
    named: dict[str, str] = {}
    taken: set[str] = set()
    for row in unimed_cot.read_images(path, strict=False):
        if row.image_id in named:
            raise FormatError(f"two pictures have the identifier {row.image_id!r}", "one", "download the release again")
        name = row.path if row.path.lower() not in taken else f"{stem(row.image_id)}-{row.path}"
        taken.add(name.lower())
        (folder / name).write_bytes(row.bytes)
        named[row.image_id] = f"{IMAGES}/{name}"
        tell(len(named))
    return named


class _Tally:
    """Counts of a release."""

    def __init__(self, *, pictures: int) -> None:
        self.pictures = pictures
        self._rows: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()
        self._volumes: Counter[str] = Counter()
        self._lost: dict[str, None] = {}
        self._missing: dict[str, None] = {}
        self._whole = 0

    def add(self, table: str, found: Recovered, lost: list[str]) -> None:
        """Count one row and the pictures that it names and the release lacks."""
        self._rows[table] += 1
        self._kinds[found.kind] += 1
        self._problems.update(found.problems)
        self._whole += found.sample is not None
        self._lost.update(dict.fromkeys(lost))

    def add_volume(self, found: Recovered, volume: Path | None, reason: str) -> None:
        """Count a row without pictures."""
        self._volumes["found" if volume else reason] += 1
        if volume is None:
            self._missing[found.id] = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; lists hold the first few."""
        return {
            "ok": not self._lost,
            "rows": {**dict(sorted(self._rows.items())), "images": self.pictures},
            "kinds": dict(sorted(self._kinds.items())),
            "whole_samples": self._whole,
            "images_missing": {"count": len(self._lost), "first": list(self._lost)[:_LISTED]},
            "without_pictures": dict(sorted(self._volumes.items())),
            "volumes_missing": {"count": len(self._missing), "first": list(self._missing)[:_LISTED]},
            "problems": dict(sorted(self._problems.items())),
        }


def _umrg(path: Path, folder: Path, lines: TextIO, tell: Progress) -> dict[str, Any]:
    count = 0
    categories: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    for count, row in enumerate(umrg.read(path, strict=False), start=1):
        name = f"{stem(row.id)}-{count:06d}"
        files = {}
        for what, stored in (("image", row.images[0]), ("mask", row.masks[0])):
            ending = Path(base_name(stored.path, "picture")).suffix or ".png"
            files[what] = f"{IMAGES}/{name}-{what}{ending}"
            (folder / files[what]).write_bytes(stored.bytes)
        categories[row.category] += 1
        groups[row.supercategory] += 1
        flaws = _flaws(row)
        problems.update(flaws)
        record: dict[str, Any] = {"id": row.id, "kind": "image", "question": row.question, "box": list(row.box), **files}
        record |= {"points": [list(p) for p in row.points], "category": row.category, "supercategory": row.supercategory}
        lines.write(json.dumps(record | {"problems": flaws}, ensure_ascii=False) + "\n")
        tell(count)
    return {
        "ok": not problems,
        "rows": {"umrg": count},
        "kinds": {"image": count},
        "categories": dict(sorted(categories.items())),
        "supercategories": dict(sorted(groups.items())),
        "problems": dict(sorted(problems.items())),
    }


def _flaws(row: umrg.UmrgRow) -> list[str]:
    """What is odd about the ground truth of a row."""
    x1, y1, x2, y2 = row.box
    outside = any(not (x1 <= x <= x2 and y1 <= y <= y2) for x, y in row.points)
    codes = {"empty_box": x2 <= x1 or y2 <= y1, "point_outside_box": outside, "same_points": row.points[0] == row.points[1]}
    codes["pictures_and_masks_differ"] = len(row.images) != len(row.masks)
    return [code for code, holds in codes.items() if holds]
