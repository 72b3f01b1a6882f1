"""A built data set, opened for reading: cases, samples and embedded pictures, streamed in bounded pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unireason.core.errors import FormatError, UniReasonError

from .item import CaseSource
from .parquet import rows
from .records import (
    READABLE,
    SPLITS,
    CaseRecord,
    ImageRecord,
    SampleRecord,
    case_from_row,
    image_from_row,
    sample_from_row,
)

MANIFEST = "manifest.json"
ORIGIN = ".origin.json"
"""Where the source lay when the data set was built; local knowledge, no part of the data set."""

_SHOWN = 5  # patients named in a message
_MAX_MANIFEST_BYTES = 64 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A finished data set.

    Attributes:
        folder: Its folder.
        manifest: ``manifest.json`` as plain values: schema, version, config, title, licence, command, counts, files, content_sha256,
            skipped.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open a data set; nothing but its manifest is read.

        Raises:
            UniReasonError: If there is no finished data set.
            FormatError: If the manifest is damaged or of another schema version.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise UniReasonError(
                f"'{folder}' holds no finished data set", MANIFEST, "build one with: unireason data build SOURCE --out DIR"
            )
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise FormatError(f"{MANIFEST} has {path.stat().st_size:,} bytes", f"at most {_MAX_MANIFEST_BYTES:,}")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            schema = manifest["schema"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise FormatError(f"{MANIFEST} cannot be read ({error!r})", "the file that the builder wrote") from error
        if schema not in READABLE:
            raise FormatError(
                f"the data set has the schema {schema!r}", " or ".join(READABLE), "build it again with this version"
            )
        if not isinstance(manifest.get("config", {}), dict):
            raise FormatError(f"the config in {MANIFEST} is no object", "the file that the builder wrote")
        return cls(folder, manifest)

    def files(self, table: str, split: str | None = None) -> list[Path]:
        """The Parquet files of "cases", "samples" or "images", in order, of one split or of all.

        Raises:
            FormatError: If the split is unknown.
        """
        if split is not None and split not in SPLITS:
            raise FormatError(f"the split {split!r} is unknown", ", ".join(SPLITS))
        wanted = SPLITS if split is None else (split,)
        return [path for name in wanted for path in sorted((self.folder / table).glob(f"{name}-*.parquet"))]

    def cases(self, split: str | None = None) -> Iterator[CaseRecord]:
        """All cases, or those of one split.

        Raises:
            FormatError: If a file is damaged or a row has another shape.
        """
        return self._read("cases", split, case_from_row)

    def samples(self, split: str | None = None) -> Iterator[SampleRecord]:
        """All samples, or those of one split; see :meth:`cases`."""
        return self._read("samples", split, sample_from_row)

    def images(self, split: str | None = None) -> Iterator[ImageRecord]:
        """Embedded pictures in the order of their cases; none if the data set refers to its source; see :meth:`cases`."""
        return self._read("images", split, image_from_row)

    @property
    def layout(self) -> str:
        """Layout of the release that it was imported from; "" for a data set that was built."""
        return str(self.manifest.get("config", {}).get("layout", ""))

    def source(self, root: Path | None = None) -> CaseSource:
        """The source it was built from; for an imported release the data set itself, with its volumes.

        Args:
            root: Folder of the source, or of the volumes of a release; None takes the place where it lay when the data set was made.

        Raises:
            UniReasonError: If the place is not known or the source cannot be opened there.
        """
        from unireason.data.sources.base import open_source
        from unireason.data.sources.release import ReleaseSource

        config = self.manifest.get("config", {})
        if self.layout:
            return ReleaseSource(self, root or self.origin)
        source, options = config.get("source"), config.get("options")
        if not isinstance(source, str) or not isinstance(options, dict):
            raise FormatError(f"{MANIFEST} does not tell the source", "the file that the builder wrote")
        if root is None:
            root = self.origin
        return open_source(source, root, options=options)

    @property
    def origin(self) -> Path | None:
        """Where the source lay when the data set was built; None if that is not known, or for phantoms."""
        try:
            place = json.loads((self.folder / ORIGIN).read_text(encoding="utf-8"))["root"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return Path(place) if isinstance(place, str) and place else None

    def _read(self, table: str, split: str | None, parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
        for path in self.files(table, split):
            for row in rows(path, table):
                yield parse(row)


def keep_apart(datasets: Sequence[Dataset]) -> None:
    """Refuse data sets of which one trains on patients that another one keeps for validation or test.

    Cases show one patient if they were made from one file, or if one source (the same folder; where none is known, the same title) gives
    their patients one name.

    Args:
        datasets: Those that are used together; cases are read only if there are several.

    Raises:
        FormatError: Naming the patients, or if a file is damaged.
    """
    splits: dict[str, dict[int, set[str]]] = {}
    names: dict[str, str] = {}
    for number, dataset in enumerate(datasets if len(datasets) > 1 else ()):
        kind = dataset.layout or dataset.manifest.get("config", {}).get("source", "")
        source = f"{kind}\0{dataset.origin or dataset.manifest.get('title', '')}"
        for path in dataset.files("cases"):
            for row in rows(path, "cases", ("id", "patient", "split", "sha256")):
                keys = [row["sha256"]] * bool(row["sha256"]) + [f"{source}\0{row['patient']}"] * bool(row["patient"])
                for key in keys:
                    splits.setdefault(key, {}).setdefault(number, set()).add(row["split"])
                    names.setdefault(key, row["patient"] or row["id"])
    torn: dict[str, dict[int, set[str]]] = {}
    for key, own in splits.items():
        # A split that all of them share is that of the release, and told by its check.
        if any(other != next(iter(own.values())) for other in own.values()):
            torn.setdefault(names[key], own)
    if torn:
        shown = [f"{name} ({_places(own, datasets)})" for name, own in list(torn.items())[:_SHOWN]]
        more = f" and {len(torn) - _SHOWN:,} more" if len(torn) > _SHOWN else ""
        raise FormatError(
            f"{len(torn):,} {'patient stands' if len(torn) == 1 else 'patients stand'} in different splits of data sets that are used "
            f"together: {'; '.join(shown)}{more}",
            "one split of a patient in all of them",
            "make them with the same seed and shares, or put what they hold into one, or use one alone",
        )


def _places(splits: Mapping[int, set[str]], datasets: Sequence[Dataset]) -> str:
    return ", ".join(f"{'/'.join(sorted(held))} in '{datasets[number].folder.name}'" for number, held in splits.items())
