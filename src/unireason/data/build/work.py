"""The work folder of a build: the plan, and what is done so far. It lies inside the data set's folder and goes when all is done.

Every file is written beside its place and renamed, so a file that exists is whole, and a build that was killed continues from what
is there.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import zlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.data.item import Item, MaskRef, Skipped
from unireason.errors import FormatError, UniReasonError
from unireason.files import json_text, lock_folder, write_bytes

FOLDER = ".work"
LOCK = "lock"
ITEMS = "items.jsonl"
OWN = {"drafts", "asked", "choices", "rows", "out", LOCK, ITEMS, f"{ITEMS}.partial"}
"""What lies in a work folder, besides files that end in ``.json.gz`` and hidden ones, which are half-written."""
_SLICE = re.compile(r".:z\d{4,}$")
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
class Plan:
    """What is to be done.

    Attributes:
        identity: Of the configuration.
        place: Where the source lies.
        units: In order.
        skipped: Identifier and reason of what could not be listed.
    """

    identity: str
    place: str
    units: tuple[Unit, ...]
    skipped: tuple[tuple[str, str], ...]


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

    def write_plan(self, identity: str, items: Iterable[Item | Skipped], *, unit_items: int, place: str = "") -> None:
        """List a source: ``items.jsonl`` and the plan that divides it into units of ``unit_items`` volumes, or eight times as many images.

        ``place`` tells where the source lies.

        Items with an identifier that came before, or that cannot be written down, are skipped with that reason.

        Raises:
            UniReasonError: If the source lists nothing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        units: list[list[int]] = []
        skipped: list[list[str]] = []
        seen: set[str] = set()
        filled = 0
        partial = self.folder / f"{ITEMS}.partial"
        with partial.open("wb") as out:
            for item in items:
                line, fault = _line(item, seen)
                if not line or isinstance(item, Skipped):
                    skipped.append([_printable(item.id), _printable(fault)])
                    continue
                seen.add(item.id)
                size = 1 if item.kind == "image" else IMAGES_A_VOLUME
                if not units or filled + size > unit_items * IMAGES_A_VOLUME:
                    units.append([out.tell(), 0])
                    filled = 0
                units[-1][1] += 1
                filled += size
                out.write(line)
        if not units:
            first = f", first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
            raise UniReasonError(f"the source has no usable item ({len(skipped)} were skipped{first})", "at least one")
        partial.replace(self.folder / ITEMS)
        write_json(self.plan, {"identity": identity, "place": place, "units": units, "skipped": skipped})

    def read_plan(self) -> Plan:
        """The plan.

        Raises:
            FormatError: If it is damaged.
        """
        values = read_json(self.plan)
        try:
            units = tuple(Unit(number, offset, count) for number, (offset, count) in enumerate(values["units"]))
            return Plan(values["identity"], values["place"], units, tuple((i, reason) for i, reason in values["skipped"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self.plan, error) from error

    def units(self) -> list[Unit]:
        """The units of the plan, in order; see :meth:`read_plan`."""
        return list(self.read_plan().units)

    def read_items(self, unit: Unit) -> Iterator[Item]:
        """The items of a unit.

        Raises:
            FormatError: If the list is damaged.
        """
        path = self.folder / ITEMS
        try:
            with path.open("rb") as file:
                file.seek(unit.offset)
                lines = [file.readline() for _ in range(unit.count)]
            found = [item_from_json(json.loads(line)) for line in lines]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        yield from found

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the work folder, which is created if missing, for this process; the hold ends with the process, however that ends.

        Raises:
            UniReasonError: If another process holds it, or the folder is no work folder of a build.
        """
        foreign = sorted(filter(_is_foreign, os.listdir(self.folder))) if self.folder.is_dir() else []
        if foreign:
            raise UniReasonError(
                f"'{self.folder}' holds '{foreign[0]}', which no build put there", "a new or empty folder", "choose another --out"
            )
        with lock_folder(self.folder, f"another process builds in '{self.folder.parent}'", name=LOCK):
            yield

    def remove(self) -> None:
        """Throw the work folder away; nothing happens if there is none."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def discard(self) -> None:
        """Throw the work folder away, and the data set's folder with it if that is empty then."""
        self.remove()
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()


def _line(item: Item | Skipped, seen: Container[str]) -> tuple[bytes, str]:
    """The line of an entry in the list, or nothing and why it cannot be used."""
    if isinstance(item, Skipped):
        return b"", item.reason
    if item.id in seen:
        return b"", "another item of the source has the same identifier"
    if _SLICE.search(item.id):
        return b"", "the identifier ends like that of a slice cut out of a volume"
    try:
        return json_text(item_to_json(item), ensure_ascii=False).encode() + b"\n", ""
    except UnicodeEncodeError:
        return b"", "a name or path is no Unicode text"


def _printable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a file name that are none become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_foreign(name: str) -> bool:
    return name not in OWN and not name.startswith(".") and not name.endswith(".json.gz")


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
    text = json_text(value, ensure_ascii=False, separators=(",", ":"))
    write_bytes(path, gzip.compress(text.encode(), compresslevel=1, mtime=0))


def read_json(path: Path) -> Any:
    """The inverse of ``write_json``.

    Raises:
        FormatError: If the file is missing or damaged.
    """
    try:
        return json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> FormatError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return FormatError(
        f"'{path.name}' in the work folder of a build cannot be read ({reason})",
        "the file as it was written",
        f"delete the folder {FOLDER} and build again",
    )
