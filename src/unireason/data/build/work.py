"""The work folder of a build: the plan, and what is done so far. It lies inside the data set's folder and goes when all is done.

Every file is written beside its place and renamed, so a file that exists is whole, and a build that was killed continues from what
is there.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.data.item import Item, MaskRef, Skipped
from unireason.errors import UniReasonError
from unireason.files import write_bytes

FOLDER = ".work"
IMAGES_A_VOLUME = 8
"""So many images are as much work as a volume."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Some consecutive items.

    Attributes:
        number: From 0, in order.
        offset: Where its first item starts in ``items.jsonl``, in bytes.
        count: How many items it has.
    """

    number: int
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Work:
    """The work folder.

    Attributes:
        folder: Its path.
    """

    folder: Path

    def draft(self, unit: Unit) -> Path:
        """Scenes of a unit."""
        return self.folder / "drafts" / f"{unit.number:06d}.json.gz"

    def pictures(self, unit: Unit) -> Path:
        """Embedded pictures of a unit, all of them."""
        return self.folder / "drafts" / f"{unit.number:06d}.parquet"

    def asked(self, unit: Unit) -> Path:
        """Candidate questions of a unit."""
        return self.folder / "asked" / f"{unit.number:06d}.json.gz"

    def choice(self, unit: Unit) -> Path:
        """Splits and chosen questions of a unit."""
        return self.folder / "choices" / f"{unit.number:06d}.json.gz"

    def rows(self, unit: Unit) -> Path:
        """Finished rows of a unit."""
        return self.folder / "rows" / f"{unit.number:06d}.json.gz"

    @property
    def plan(self) -> Path:
        """Configuration, units and what was skipped while listing."""
        return self.folder / "plan.json.gz"

    @property
    def peers(self) -> Path:
        """Scenes by which wrong options become plausible."""
        return self.folder / "peers.json.gz"

    @property
    def splits(self) -> Path:
        """Split of every patient; the last file of the survey."""
        return self.folder / "splits.json.gz"

    @property
    def selected(self) -> Path:
        """Exists when all choices are made."""
        return self.folder / "selected.json.gz"

    @property
    def out(self) -> Path:
        """Where the data set is put together."""
        return self.folder / "out"

    def write_plan(self, identity: str, items: Iterable[Item | Skipped], *, unit_items: int) -> None:
        """List a source: ``items.jsonl`` and the plan that divides it into units of ``unit_items`` volumes, or eight times as many images.

        Raises:
            UniReasonError: If the source lists nothing, or one identifier twice.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        units: list[list[int]] = []
        skipped: list[list[str]] = []
        seen: set[str] = set()
        filled = 0
        partial = self.folder / "items.jsonl.partial"
        with partial.open("wb") as out:
            for item in items:
                if isinstance(item, Skipped):
                    skipped.append([item.id, item.reason])
                    continue
                if item.id in seen:
                    skipped.append([item.id, "another item of the source has the same identifier"])
                    continue
                seen.add(item.id)
                size = 1 if item.kind == "image" else IMAGES_A_VOLUME
                if not units or filled + size > unit_items * IMAGES_A_VOLUME:
                    units.append([out.tell(), 0])
                    filled = 0
                units[-1][1] += 1
                filled += size
                out.write(json.dumps(item_to_json(item), ensure_ascii=False).encode() + b"\n")
        if not units:
            first = f", first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
            raise UniReasonError(f"the source has no usable item ({len(skipped)} were skipped{first})", "at least one")
        partial.replace(self.folder / "items.jsonl")
        write_json(self.plan, {"identity": identity, "units": units, "skipped": skipped})

    def units(self) -> list[Unit]:
        """The units of the plan, in order."""
        return [Unit(number, offset, count) for number, (offset, count) in enumerate(read_json(self.plan)["units"])]

    def read_items(self, unit: Unit) -> Iterator[Item]:
        """The items of a unit."""
        with (self.folder / "items.jsonl").open("rb") as file:
            file.seek(unit.offset)
            for _ in range(unit.count):
                yield item_from_json(json.loads(file.readline()))

    def remove(self) -> None:
        """Throw the work folder away; nothing happens if there is none."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def discard(self) -> None:
        """Throw the work folder away, and the data set's folder with it if that is empty then."""
        self.remove()
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()


def item_to_json(item: Item) -> dict[str, Any]:
    """An item as plain values."""
    values = {name: getattr(item, name) for name in item.__slots__}
    values["masks"] = [[m.path, sorted(m.names.items()), m.binary, m.detail] for m in item.masks]
    values["extra"] = dict(item.extra)
    return values


def item_from_json(values: dict[str, Any]) -> Item:
    """The inverse of ``item_to_json``."""
    spacing = values["spacing_mm"]
    return Item(
        **{name: values[name] for name in ("id", "patient", "kind", "image", "modality", "split", "extra")},
        masks=tuple(
            MaskRef(path, {int(k): v for k, v in names}, binary, detail) for path, names, binary, detail in values["masks"]
        ),
        annotated=tuple(values["annotated"]),
        spacing_mm=None if spacing is None else tuple(spacing),
        read=tuple((name, value) for name, value in values["read"]),
    )


def write_json(path: Path, value: Any) -> None:
    """Write plain values as compressed JSON, at once; equal values give equal bytes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    write_bytes(path, gzip.compress(text.encode(), compresslevel=1, mtime=0))


def read_json(path: Path) -> Any:
    """The inverse of ``write_json``."""
    return json.loads(gzip.decompress(path.read_bytes()))
