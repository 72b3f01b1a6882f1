"""What a data set is built from. Everything in here shapes the result; workers and engine do not, and are not in here."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from unireason import __version__
from unireason.core.config import settings
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, lock_folder, sha256, write_bytes

from .dataset import MANIFEST, ORIGIN
from .dataset_card import write_card
from .frames import FrameRule, rule
from .item import Item, MaskRef, Skipped
from .records import SCHEMA
from .scene import DataQuestion
from .select import NEAR, SHARES, check_shares

if TYPE_CHECKING:
    pass


BUILDER = 2
"""Raised whenever the builder gives another result for the same configuration."""


Count = Annotated[int, Field(ge=0)]
Least1 = Annotated[int, Field(ge=1)]


@settings
class BuildConfig:
    """One build."""

    source: str
    """Name of the source, see ``sources.catalogue``."""
    root: Path | None = None
    """Its folder; None for phantoms."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Options of the source."""
    frame: FrameRule = Field(default_factory=partial(rule, "published"))
    """How pictures become the model frame."""
    seed: Count = 0
    """Seed of splits, of the questions drawn and of the template's wording."""
    slices: Count = 0
    """Axial slices of every volume that become images of their own."""
    questions: Count = 3
    """Questions with options a case at most."""
    implicit: Count = 1
    """Implicit grounding questions an image at most."""
    implicit_volumes: Count = 0
    """Implicit grounding questions a volume at most, answered by a cuboid and two points."""
    open: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the questions with options that are asked without them, where their kind has such a form."""
    most: Least1 | None = None
    """Largest number of questions with options of each kind; None for no limit."""
    shares: tuple[float, float, float] = SHARES
    """Of train, validation and test."""
    near: Annotated[int, Field(ge=0, lt=128)] = NEAR
    """Perceptual hashes within so many bits are one picture."""
    embed: bool = False
    """True to store pictures and masks in the data set instead of referring to the source."""
    annotator: Literal["template", "llm"] = "template"
    """Who writes the reasoning."""
    annotation: Mapping[str, Any] = Field(default_factory=dict)
    """Settings of the annotator that shape the result, as plain values."""
    names: Mapping[str, Any] = Field(default_factory=dict)
    """A table of the user's for names of structures, as ``names.read_own`` returns it; {} for none."""
    shard_rows: Least1 = 4096
    """Rows of a Parquet file at most."""
    unit_items: Least1 = 8
    """Volumes of one unit of work; of images eight times as many."""

    @model_validator(mode="after")
    def _fits(self) -> BuildConfig:
        check_shares(self.shares)
        if self.questions == self.implicit == self.implicit_volumes == 0:
            raise FormatError("questions and implicit are both 0", "at least one question a case")
        return self

    def implicit_of(self, kind: str) -> int:
        """Implicit questions at most of a case of a kind."""
        return self.implicit if kind == "image" else self.implicit_volumes

    @property
    def place(self) -> str:
        """Absolute path of the source's folder; "" for phantoms."""
        return "" if self.root is None else str(self.root.resolve())

    def to_json(self) -> dict[str, Any]:
        """All that shapes the result as plain values. The folder of the source is left out: it differs from machine to machine."""
        values = {
            name: getattr(self, name) for name in (f.name for f in fields(self)) if name not in ("root", "frame", "options")
        }
        values["options"] = dict(sorted(self.options.items()))
        for name in ("open", "implicit_volumes"):  # as data sets say that are older than these settings
            if not values[name]:
                del values[name]
        plain: dict[str, Any] = json.loads(json_text(values | {"frame": self.frame.to_json(), "builder": BUILDER}, default=dict))
        return plain

    def identity(self) -> str:
        """Hash of :meth:`to_json`."""
        return hashlib.sha256(json_text(self.to_json(), sort_keys=True).encode()).hexdigest()


# --- The work folder of a build: the plan, and what is done so far. It lies inside the data set's folder and goes when all is
# done.


FOLDER = ".work"
LOCK = "lock"
ITEMS = "items.jsonl"
OWN = {"drafts", "asked", "choices", "rows", "out", LOCK, ITEMS, f"{ITEMS}.partial"}
"""What lies in a work folder, besides files that end in ``.json.gz`` and hidden ones, which are half-written."""
_SLICE = re.compile(r".:z\d{4,}$")
IMAGES_A_VOLUME = 8
"""So many images are as much work as a volume."""


@dataclass(frozen=True, slots=True)
class BuildUnit:
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
class BuildPlan:
    """What is to be done."""

    identity: str
    place: str
    units: tuple[BuildUnit, ...]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """The work folder."""

    folder: Path

    def unit(self, stage: str, unit: BuildUnit) -> Path:
        """What a stage says of a unit: "drafts" (scenes), "asked" (candidate questions), "choices" (splits, questions chosen), "rows"."""
        return self.folder / stage / f"{unit.number:06d}.json.gz"

    def pictures(self, unit: BuildUnit) -> Path:
        """Embedded pictures of a unit, all of them."""
        return self.folder / "drafts" / f"{unit.number:06d}.parquet"

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
        """List a source: ``items.jsonl`` and the plan that divides it into units of ``unit_items`` volumes, or eight times as
        many images."""
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

    def read_plan(self) -> BuildPlan:
        """The plan."""
        values = read_json(self.plan)
        try:
            units = tuple(BuildUnit(number, offset, count) for number, (offset, count) in enumerate(values["units"]))
            return BuildPlan(values["identity"], values["place"], units, tuple((i, reason) for i, reason in values["skipped"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self.plan, error) from error

    def units(self) -> list[BuildUnit]:
        """The units of the plan, in order; see :meth:`read_plan`."""
        return list(self.read_plan().units)

    def read_items(self, unit: BuildUnit) -> Iterator[Item]:
        """The items of a unit."""
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
        """Hold the work folder, which is created if missing, for this process; the hold ends with the process, however that ends."""
        there = sorted(os.listdir(self.folder)) if self.folder.is_dir() else []
        foreign = [name for name in there if name not in OWN and not name.startswith(".") and not name.endswith(".json.gz")]
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


def question_from_json(values: dict[str, Any]) -> DataQuestion:
    """A question from plain values."""
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return DataQuestion(**plain)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as compressed JSON, at once; equal values give equal bytes."""
    text = json_text(value, ensure_ascii=False, separators=(",", ":"))
    write_bytes(path, gzip.compress(text.encode(), compresslevel=1, mtime=0))


def read_json(path: Path) -> Any:
    """The inverse of ``write_json``."""
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


# --- What a finished data set says of itself: manifest, card, counts.


def seal(
    out: Path, config: Mapping[str, Any], about: Mapping[str, Any], *, skipped: Sequence[Sequence[str]], root: str
) -> dict[str, Any]:
    """Write manifest and card beside finished tables."""
    lines = "".join(json_text({"id": i, "reason": r}, ensure_ascii=False) + "\n" for i, r in skipped)
    write_bytes(out / "skipped.jsonl", lines.encode())
    files = {path.relative_to(out).as_posix(): sha256(path) for path in sorted(filter(Path.is_file, out.rglob("*")))}
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "config": dict(config),
        **{name: about[name] for name in ("title", "licence", "command", "counts")},
        "files": files,
        "content_sha256": hashlib.sha256(json_text(files, sort_keys=True).encode()).hexdigest(),
        "skipped": len(skipped),
    }
    write_card(out, manifest)
    write_bytes(out / ORIGIN, (json_text({"root": root}) + "\n").encode())
    write_bytes(out / MANIFEST, (json_text(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return manifest


def command(config: BuildConfig) -> str:
    """The command that makes the same data set again; folders are left for the reader to fill in."""
    parts = ["unireason data build", config.source, *(["PATH"] if config.root else []), "--out DIR"]
    known = dict(config.options)
    if config.source == "phantom":
        parts += [f"--patients {shlex.quote(known.pop('patients'))}"] if "patients" in known else []
    parts += [f"--option {shlex.quote(f'{name}={value}')}" for name, value in sorted(known.items())]
    parts += [f"--seed {config.seed}", f"--frame {shlex.quote(config.frame.name)}", f"--slices {config.slices}"]
    parts += [f"--questions {config.questions}", f"--implicit {config.implicit}"]
    parts += [f"--implicit-volumes {config.implicit_volumes}"] if config.implicit_volumes else []
    parts += [f"--open {_plainly(config.open)}"] if config.open else []
    parts += [f"--most {config.most}"] if config.most else []
    parts += ["--embed"] if config.embed else []
    parts += [f"--splits {','.join(_plainly(s) for s in config.shares)}"]
    parts += _asking(config.annotation) if config.annotator == "llm" else []
    return " ".join(parts)


def _asking(annotation: Mapping[str, Any]) -> list[str]:
    """Arguments of the annotator that asks a language model."""
    rest = {name: value for name, value in annotation.items() if name not in ("repair", "rules", "endpoint_sha256", "prompt")}
    parts = ["--annotator llm --endpoint URL", f"--model {shlex.quote(str(rest.pop('model', 'NAME')))}"]
    for name in ("temperature", "max_tokens", "budget_tokens", "budget_requests"):
        value = rest.pop(name, None)
        parts += [f"--{name.replace('_', '-')} {value}"] if value is not None else []
    parts += ["--vision"] if rest.pop("vision", False) else []
    parts += [] if rest.pop("blind", False) else ["--told"]
    return [*parts, f"--request {shlex.quote(json_text(rest, sort_keys=True))}"]


def _plainly(share: float) -> str:
    """A number as short as it can be without becoming another one."""
    short = f"{share:g}"
    return short if float(short) == share else repr(share)


class BuildTally:
    """Counts for the manifest."""

    def __init__(self) -> None:
        self._by: dict[str, Counter[str]] = {}

    def add(self, done: dict[str, Any]) -> None:
        """Count the rows of one unit."""
        for row in done["cases"]:
            self._count("cases_by_split", row["split"])
            self._count("cases_by_kind", row["kind"])
            self._count("by_modality", row["modality"] or "unknown")
            for structure in row["structures"] or ():
                self._count("structures", structure["name"])
        for row in done["samples"]:
            self._count("by_split", row["split"])
            self._count("by_kind", row["kind"])
            self._count("by_task", row["task"])
            self._count("by_family", row["family"])
            self._count("by_split_kind_family", f"{row['split']}/{row['kind']}/{row['family']}")
            self._count("letters", row["letter"] or "none")
            if row.get("gold"):
                self._count("open", row["family"])
            self._count("annotator", row["annotator"] or "none")
            for stage in row["stages"]:
                self._count("stages", stage)
        for reason, number in done["dropped"].items():
            self._by.setdefault("dropped", Counter())[reason] += number

    def _count(self, name: str, value: str) -> None:
        self._by.setdefault(name, Counter())[value] += 1

    def to_json(self) -> dict[str, Any]:
        """Nested counts, names sorted."""
        counts = {name: dict(sorted(values.items())) for name, values in sorted(self._by.items())}
        totals = {"cases": sum(counts.get("cases_by_kind", {}).values()), "samples": sum(counts.get("by_kind", {}).values())}
        return totals | counts
