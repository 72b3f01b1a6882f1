"""What all sources share: looking through folders and index files, options, and the source that reads data sets in a folder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO, TypeVar

from numpy.typing import NDArray

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Kind
from unireason.data.item import CaseSource, Item, Loaded, MaskRef, Skipped

from . import NAMES
from .labels import IGNORE, load_files

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


def number(options: Mapping[str, str], key: str, default: int = 0, *, least: int = 0, most: int = 10**9) -> int:
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


def text(options: Mapping[str, str], key: str, default: str = "") -> str:
    """Any text."""
    return options.get(key, default)


def yes(options: Mapping[str, str], key: str) -> bool:
    """True for an option that says yes, False where it says no or was not given."""
    text = options.get(key, "no").strip().lower()
    if text not in ("yes", "no"):
        raise FormatError(f"the option {key} is {text!r}", "yes or no")
    return text == "yes"


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


_HOMES = {"phantom": "phantom", "sa-med2d": "samed2d", "m3d-seg": "m3d", "slake": "slake"}  # all others: folders


def open_source(name: str, root: Path | None = None, *, options: Mapping[str, str] = MappingProxyType({})) -> CaseSource:
    """A source by name. Nothing is read before its items are asked for.

    Args:
        name: One of `NAMES`.
        root: The data set's folder; None for phantoms.
        options: Options of the source, as text.

    Raises:
        FormatError: If the name or an option is unknown (the message lists the known ones), or a folder is missing.
    """
    if name not in NAMES:
        raise FormatError(f"the source {name!r} is not known", f"one of {', '.join(NAMES)}")
    home = import_module(f"unireason.data.sources.{_HOMES.get(name, 'folders')}")
    source: CaseSource = home.LAYOUTS[name].open(root, options)
    return source


# --- Data sets in a folder: a layout is a row of a table, and one source reads them all.


OptionReaders = Mapping[str, Callable[[Mapping[str, str], str], Any]]


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """What is particular about the data sets of one layout.

    Attributes:
        name: As on the command line.
        items: Lists a source, its options read.
        wants: The folder that it is about, in words.
        holds: What is expected in one that lists nothing.
        title: Name of the data set; "" if an option or ``dataset.json`` tells it.
        licence: The same of its licence.
        options: What it may be told besides, with how to read it from text.
        indexed: True if name and licence stand in ``dataset.json``.
        load: Reads an item that is more than files of image and masks.
        correct: Sets mask values right, or refuses them, before they are named.
    """

    name: str
    items: Callable[[FolderSource], Iterator[Item | Skipped]]
    wants: str
    holds: str
    title: str = ""
    licence: str = ""
    options: OptionReaders = field(default_factory=lambda: {IGNORE: yes})
    indexed: bool = False
    load: Callable[[FolderSource, Item], Loaded] | None = None
    correct: Callable[[MaskRef, NDArray[Any]], NDArray[Any]] | None = None

    def open(self, root: Path | None, options: Mapping[str, str]) -> FolderSource:
        """The source for a command line."""
        check(self.name, options, tuple(self.options))
        if root is None:
            raise FormatError(f"the source '{self.name}' was given no folder", self.wants)
        return FolderSource(self, root, {key: read(options, key) for key, read in self.options.items()})


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A data set in a folder."""

    layout: SourceLayout
    root: Path
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Short name, as on the command line."""
        return self.layout.name

    @property
    def title(self) -> str:
        """Name of the data set."""
        if self.layout.indexed:
            return plain_text(self.index(), "name") or self.root.name
        return self.layout.title or self.options.get("title") or self.root.resolve().name

    @property
    def licence(self) -> str:
        """Its licence, "unknown" if nothing tells."""
        if self.layout.indexed:
            return plain_text(self.index(), "licence", "license") or "unknown"
        return self.layout.licence or self.options.get("licence") or "unknown"

    def items(self) -> Iterator[Item | Skipped]:
        """All items in the order of the layout; one whose identifier came before is skipped."""
        seen: set[bytes] = set()
        empty = True
        for entry in self.layout.items(self):
            empty = False
            if isinstance(entry, Item):
                digest = blake2b(entry.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                if digest in seen:
                    yield Skipped(entry.id, "it is listed twice")
                    continue
                seen.add(digest)
            yield entry
        if empty:
            raise FormatError(f"'{self.root.name}' holds no case", self.layout.holds)

    def load(self, item: Item) -> Loaded:
        """Read one item."""
        if self.layout.load:
            return self.layout.load(self, item)
        return load_files(self.root, item, ignore_unnamed=self.options.get(IGNORE, False), correct=self.layout.correct)

    def index(self) -> dict[str, Any]:
        """The content of dataset.json."""
        index: dict[str, Any] = read_json(self.root / "dataset.json")
        return index

    def below(self, path: Path) -> str:
        """A file of the folder as items name it."""
        return path.relative_to(self.root).as_posix()


def tried(identifier: str, make: Callable[[], Item | Skipped]) -> Item | Skipped:
    """An item, or why there is none."""
    try:
        return make()
    except UniReasonError as error:
        return Skipped(identifier, str(error))


M = TypeVar("M")


def paired(
    shown: Mapping[str, Path | None],
    masks: Mapping[str, M],
    make: Callable[[str, Path, M], Item | Skipped],
    *,
    lone: tuple[str, str],
) -> Iterator[Item | Skipped]:
    """Items of images and masks that go by one name; ``lone`` is what to say of an image without masks, and of masks without an image."""
    for name in dict.fromkeys([*shown, *masks]):
        image = shown.get(name)
        if name not in masks or image is None:
            yield Skipped(name, lone[name in masks])
        else:
            yield tried(name, partial(make, name, image, masks[name]))


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
