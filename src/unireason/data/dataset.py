"""A built data set, opened for reading: cases, samples and embedded pictures, streamed in bounded pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unireason.errors import FormatError, UniReasonError

from .item import Source
from .records import (
    SCHEMA,
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

_ROWS_AT_ONCE = 256
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
                f"'{folder.name}' holds no finished data set", MANIFEST, "build one with: unireason data build SOURCE --out DIR"
            )
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise FormatError(f"{MANIFEST} has {path.stat().st_size:,} bytes", f"at most {_MAX_MANIFEST_BYTES:,}")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            schema = manifest["schema"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{MANIFEST} cannot be read ({error!r})", "the file that the builder wrote") from error
        if schema != SCHEMA:
            raise FormatError(f"the data set has the schema {schema!r}", f"{SCHEMA!r}", "build it again with this version")
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

    def source(self, root: Path | None = None) -> Source:
        """The source it was built from.

        Args:
            root: Folder of the source; None takes the place where it lay when the data set was built.

        Raises:
            UniReasonError: If the place is not known or the source cannot be opened there.
        """
        from .sources.catalogue import open_source

        config = self.manifest["config"]
        if root is None:
            root = self._origin()
        return open_source(config["source"], root, options=config["options"])

    def _origin(self) -> Path | None:
        try:
            place = json.loads((self.folder / ORIGIN).read_text(encoding="utf-8"))["root"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Path(place) if place else None

    def _read(self, table: str, split: str | None, parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
        for path in self.files(table, split):
            for row in rows(path):
                yield parse(row)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file as plain values, a few hundred in memory at a time.

    Raises:
        FormatError: If the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = f"{path.parent.name}/{path.name} cannot be read ({error})"
        raise FormatError(reason, "a Parquet file", "check the data set, or build it again") from error
