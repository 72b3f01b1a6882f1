"""Looking through folders and index files of a data set: order, names, bounded JSON. No pixel is read here."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TextIO, TypeVar

from unireason.core.errors import FormatError
from unireason.core.types import Kind
from unireason.data.item import CaseSource, Item, Skipped

from .labels import IGNORE

# --- Looking through folders and index files of a data set: order, names, bounded JSON. No pixel is read here.


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
    """Image files of a folder by stem, in natural order."""
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
    """The patient behind a case name."""
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
    """A text file of bounded size, as UTF-8."""
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
    """The same entries, but an item whose identifier came before is skipped with that reason."""
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


# --- Options of a source as they come from a command line or a manifest: text, checked, never guessed.


def check(source: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Refuse options that a source does not know."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise FormatError(
            f"the source '{source}' has no option '{unknown[0]}'", f"one of {', '.join(known)}" if known else "no options"
        )


def number(options: Mapping[str, str], key: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
    """A whole number.

    Raises:
        FormatError: If it is none or out of range.
    """
    text = str(options.get(key, default)).strip()
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
        raise FormatError(f"the option {key} is {text!r}", f"a whole number from {least} to {most}")
    return int(text)


def lengths(options: Mapping[str, str], key: str) -> tuple[float, ...] | None:
    """Two or three positive numbers with commas between; None if the option was not given."""
    if key not in options:
        return None
    try:
        values = tuple(float(part) for part in options[key].split(","))
    except ValueError:
        values = ()
    if len(values) not in (2, 3) or not all(0 < v < 1e6 for v in values):
        raise FormatError(f"the option {key} is {options[key]!r}", "two or three positive numbers such as 0.8,0.8,3")
    return values


def yes(options: Mapping[str, str], key: str) -> bool:
    """True for an option that says yes, False where it says no or was not given."""
    text = options.get(key, "no").strip().lower()
    if text not in ("yes", "no"):
        raise FormatError(f"the option {key} is {text!r}", "yes or no")
    return text == "yes"


def folder(source: str, root: Path | None, what: str) -> Path:
    """The folder of a source that needs one."""
    if root is None:
        raise FormatError(f"the source '{source}' was given no folder", what)
    return root


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Options from texts such as "channel=1"; of equal keys the last one holds.

    Raises:
        FormatError: If a text is no KEY=VALUE.
    """
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise FormatError(f"the option {text!r}", "KEY=VALUE")
        found[key.strip()] = value
    return found


# --- The sources by name, as a command line or a manifest calls them.


_PLACES: dict[str, tuple[str, str]] = {
    "phantom": ("phantom", "PhantomSource"),
    "pair": ("folders", "PairSource"),
    "nnunet": ("folders", "NnunetSource"),
    "msd": ("folders", "MsdSource"),
    "amos": ("folders", "AmosSource"),
    "totalsegmentator": ("folders", "TotalSegmentatorSource"),
    "sa-med2d": ("samed2d", "SaMed2dSource"),
    "m3d-seg": ("m3d", "M3dSource"),
    "slake": ("slake", "SlakeSource"),
}
NAMES: tuple[str, ...] = tuple(_PLACES)
"""Every source that `open_source` knows."""


def open_source(name: str, root: Path | None = None, *, options: Mapping[str, str] = MappingProxyType({})) -> CaseSource:
    """A source by name. Nothing is read before its items are asked for.

    Args:
        name: One of `NAMES`.
        root: The data set's folder; None for phantoms.
        options: Options of the source, as text.

    Raises:
        FormatError: If the name or an option is unknown (the message lists the known ones), or a folder is missing.
    """
    if name not in _PLACES:
        raise FormatError(f"the source {name!r} is not known", f"one of {', '.join(NAMES)}")
    module, kind = _PLACES[name]
    source: CaseSource = getattr(import_module(f"unireason.data.sources.{module}"), kind).open(root, options)
    return source


# --- What sources with a ``dataset.json`` share: nnU-Net and the Medical Segmentation Decathlon.


S = TypeVar("S", bound="IndexedSource")


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """A folder with ``dataset.json``."""

    root: Path
    channel: int = 0
    patient: str = ""
    ignore_unnamed: bool = False

    name: ClassVar[str] = ""

    @classmethod
    def open(cls: type[S], root: Path | None, options: Mapping[str, str]) -> S:
        """The source for a command line."""
        check(cls.name, options, ("channel", "patient", IGNORE))
        place = folder(cls.name, root, "the folder with dataset.json")
        return cls(place, number(options, "channel", 0, most=9999), options.get("patient", ""), yes(options, IGNORE))

    @property
    def title(self) -> str:
        """The name in dataset.json, or that of the folder."""
        return plain_text(self.index(), "name") or self.root.name

    @property
    def licence(self) -> str:
        """The licence in dataset.json, or "unknown"."""
        return plain_text(self.index(), "licence", "license") or "unknown"

    def index(self) -> dict[str, Any]:
        """The content of dataset.json."""
        index: dict[str, Any] = read_json(self.root / "dataset.json")
        return index


# --- A JSON object of any length, entry by entry: indexes of millions of images do not fit into memory at once.


_CHUNK = 1 << 20
MAX_ENTRY = 4 << 20
"""Longest entry, in characters."""


def streamed_pairs(path: Path) -> Iterator[tuple[str, Any]]:
    """Keys and values of the object that a JSON file holds, in the file's order."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield from _Reader(stream, path.name).entries()
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read ({error.strerror})", "the index of the data set", "check the path") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"'{path.name}' is no UTF-8 text ({error.reason})", "a JSON file") from error


class _Reader:
    """A window that slides over the text."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._text, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def entries(self) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        if self._peek() == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise FormatError(f"'{self._name}' has the key {str(key)[:50]!r}", "text")
            self._expect(":")
            yield key, self._value()
            if self._peek() == "}":
                return
            self._expect(",")

    def _more(self) -> bool:
        chunk = "" if self._ended else self._stream.read(_CHUNK)
        self._ended = not chunk
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)

    def _peek(self) -> str:
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise FormatError(f"'{self._name}' breaks off", "a whole JSON object", "copy or download it again")

    def _expect(self, mark: str) -> None:
        found = self._peek()
        if found != mark:
            raise FormatError(f"'{self._name}' is no JSON object ({found!r} in place of {mark!r})", "the file as published")
        self._at += 1

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MAX_ENTRY or isinstance(error, RecursionError):
                    raise FormatError(f"'{self._name}' holds an entry that is too long or too deep", "a list of names") from error
                if not self._more():
                    raise FormatError(f"'{self._name}' is no JSON ({error})", "the file as published") from error
                continue
            if end == len(self._text) and self._more():
                continue  # a number may go on in the next chunk
            self._at = end
            return value
