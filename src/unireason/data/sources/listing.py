"""Looking through folders and index files of a data set: order, names, bounded JSON. No pixel is read here."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from unireason.data.item import Item, Skipped
from unireason.errors import FormatError
from unireason.types import Kind

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm")
ARRAY_ENDINGS = (".npy", ".npz")
ENDINGS = (*VOLUME_ENDINGS, *PICTURE_ENDINGS, *ARRAY_ENDINGS)
MAX_INDEX_BYTES = 256 * 2**20
_HERE = re.compile(r"^(\./+)+")
_MOMENT = re.compile(r"[_-]?(frame|phase|time)[_-]?\d+$", re.IGNORECASE)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which "case2" comes before "case10"; the same on every machine."""
    key: list[tuple[int, int, str]] = []
    for index, part in enumerate(re.split(r"([0-9]+)", text)):
        digits = part.lstrip("0")  # compared by length, then digit by digit: numbers in untrusted names may be of any length
        key.append((0, len(digits), digits) if index % 2 else (1, 0, part))
    return (*key, (2, 0, text))


def entries(folder: Path, what: str) -> list[Path]:
    """Visible entries of a folder in natural order; hidden ones ("._x", ".DS_Store") are no part of a data set.

    Args:
        folder: The folder.
        what: What it should be, for the message.

    Raises:
        FormatError: If there is no such folder or it cannot be read.
    """
    try:
        found = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise FormatError(
            f"'{folder}' cannot be listed ({error.strerror or type(error).__name__})", f"{what}", "check the path"
        ) from error
    return sorted(found, key=lambda entry: natural(entry.name))


def stem(name: str) -> str:
    """The file name without its image ending; "" if it ends like no image that can be read."""
    lower = name.lower()
    return next((name[: -len(ending)] for ending in ENDINGS if lower.endswith(ending)), "")


def images(folder: Path, what: str) -> dict[str, Path]:
    """Image files of a folder by stem, in natural order.

    Raises:
        FormatError: If the folder cannot be listed, or two files differ in their ending only.
    """
    found: dict[str, Path] = {}
    for entry in entries(folder, what):
        key = stem(entry.name)
        if not key:
            continue
        if key in found:
            raise FormatError(f"'{found[key].name}' and '{entry.name}' lie in '{folder.name}'", "one file a case")
        found[key] = entry
    return found


def kind_of(name: str) -> Kind:
    """Image or volume, as the ending of a file tells; arrays count as volumes."""
    return "image" if name.lower().endswith(PICTURE_ENDINGS) else "volume"


def subject(case: str, pattern: str = "") -> str:
    """The patient behind a case name.

    Args:
        case: Name of the case.
        pattern: Regular expression; its first group, or else what it matches, is the patient. "" takes the whole name without a
            closing "_frame01", "_phase2" or "_time3", so that moments of one scan are one patient.

    Raises:
        FormatError: If the pattern cannot be used or does not occur in the name.
    """
    if not pattern:
        return _MOMENT.sub("", case) or case
    try:
        match = re.search(pattern, case)
    except re.error as error:
        raise FormatError(f"the option patient={pattern!r} is no regular expression ({error})") from error
    if match is None:
        raise FormatError(f"the case {case!r} does not match patient={pattern!r}", "a pattern that occurs in every case name")
    return match.group(1 if match.re.groups else 0) or case


def read_text(path: Path, limit: int = MAX_INDEX_BYTES) -> str:
    """A text file of bounded size, as UTF-8.

    Raises:
        FormatError: If it is missing, too large or no UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise FormatError(f"'{path.name}' has {size:,} bytes", f"at most {limit:,}", "check that it is the right file")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read ({error.strerror})", "a file of the data set", "check the path") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"'{path.name}' is no UTF-8 text ({error.reason})", "a text file") from error


def read_json(path: Path, shape: type = dict, limit: int = MAX_INDEX_BYTES) -> Any:
    """A JSON file of bounded size.

    Args:
        path: The file.
        shape: dict or list: what it must hold.
        limit: Largest size in bytes.

    Raises:
        FormatError: If it is missing, too large, no JSON, nested beyond reason or of another shape.
    """
    text = read_text(path, limit)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"'{path.name}' is no JSON ({' '.join(str(error).split())[:200]})", "the file as published") from error
    if not isinstance(value, shape):
        raise FormatError(f"'{path.name}' holds a {type(value).__name__}", f"a {shape.__name__}")
    return value


def read_rows(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a CSV file with a header line.

    Raises:
        FormatError: If it cannot be read or is no CSV.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
        return [{str(k): v or "" for k, v in row.items() if isinstance(v, str | None)} for row in reader]
    except csv.Error as error:
        raise FormatError(f"'{path.name}' is no CSV ({error})", f"a table with '{delimiter}' between cells") from error


def relative(text: Any) -> str:
    """A path from an index, plainly spelled: without "./" in front and with forward slashes. It is still untrusted.

    Raises:
        FormatError: If it is no text.
    """
    if not isinstance(text, str) or not text:
        raise FormatError(f"a path in an index is {str(text)[:100]!r}", "text")
    return _HERE.sub("", text.replace("\\", "/"))


def unique(found: Iterable[Item | Skipped]) -> Iterator[Item | Skipped]:
    """The same entries, but an item whose identifier came before is skipped with that reason.

    Only a short hash of each identifier is kept, so that millions may pass.

    Args:
        found: Entries as a source finds them.
    """
    seen: set[bytes] = set()
    for entry in found:
        if isinstance(entry, Item):
            digest = blake2b(entry.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            if digest in seen:
                yield Skipped(entry.id, "it is listed twice")
                continue
            seen.add(digest)
        yield entry


def plain_text(values: Mapping[str, Any], *keys: str) -> str:
    """The first of some keys that holds text, shortened to one line of at most 200 characters; "" if none does."""
    found = next((values[k] for k in keys if isinstance(values.get(k), str) and values[k].strip()), "")
    return " ".join(found.split())[:200]
