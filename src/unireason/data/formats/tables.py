"""Output folders that are whole or not there, and file names made from identifiers."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import replaced_folder
from unireason.core.types import Frame, Problem
from unireason.data.dataset import Dataset
from unireason.data.frames import FrameRule, embedded, from_png, png
from unireason.data.reader import CaseReader
from unireason.data.records import CaseRecord, SampleRecord
from unireason.grounding import crop, grammar
from unireason.grounding.crop import Rect, plan
from unireason.grounding.profile import Picture, Profile, load_profile

if TYPE_CHECKING:
    pass


_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes its place only when everything went well.

    Args:
        target: Where the result shall be; must not exist or be empty.

    Yields:
        A folder beside it. What a killed run left there is thrown away.

    Raises:
        UniReasonError: If the place is taken or cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UniReasonError(f"'{target}' is there already and not empty", "a new or empty folder", "choose another --out")
    with replaced_folder(target) as folder:
        yield folder


def stem(identifier: str) -> str:
    """A file name for an identifier: its plain characters, and eight hex digits of its hash so that no two become one."""
    plain = _OTHER.sub("-", identifier).strip("-.")[:80]
    return f"{plain}-{hashlib.sha256(identifier.encode()).hexdigest()[:8]}"


def base_name(path: str, fallback: str) -> str:
    """The last part of an untrusted path, safe to be a file name."""
    name = path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    if name in (".", "..") or "\0" in name or len(name) > 255:
        raise FormatError(f"the picture path {path[:200]!r} in a data file", "a path that ends in a file name")
    return name or f"{stem(fallback)}.png"


# --- Parquet tables in pieces: rows streamed in bounded batches, rows written to shards of bounded size.


R = TypeVar("R")


def sound(rows: Iterable[R | FormatError]) -> Iterator[R]:
    """Rows of which none may be one that cannot be read: the reason that came in its place is raised."""
    for row in rows:
        if isinstance(row, FormatError):
            raise row
        yield row


# --- A sample as messages of text: ``<image>`` stands for a picture, in the prompt and behind every box that injects crops.


IMAGE = "<image>"

Message = tuple[str, str]
"""Role and content."""

Cut = tuple[int, Rect | None]
"""A picture in the order of its placeholder: model slice and the rectangle cut from it; None for the whole slice."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A sample as it is asked and answered."""

    prompt: tuple[Message, ...]
    response: str
    shown: tuple[Cut, ...]
    cuts: tuple[Cut, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """Prompt and response."""
        return (*self.prompt, ("assistant", self.response))

    @property
    def pictures(self) -> tuple[Cut, ...]:
        """All pictures in the order of their placeholders."""
        return (*self.shown, *self.cuts)


def pose(sample: SampleRecord, frame: Frame, profile: Profile | None = None) -> Posed:
    """Lay out a sample."""
    profile = profile or load_profile("umrg" if sample.task == "umrg" else "default")
    question = sample.question
    texts = (question.text, *question.options, sample.response)
    if any(IMAGE in text for text in texts):
        raise FormatError(f"sample {sample.id} holds the text {IMAGE}", "a text without the placeholder of pictures")
    prompt, shown = [], []
    for role, parts in profile.parts(frame.kind, question.text, question.options, n_slices=frame.depth, scale=sample.scale):
        shown += [(part.index, None) for part in parts if isinstance(part, Picture)]
        prompt.append((role, "".join(IMAGE if isinstance(part, Picture) else part for part in parts)))
    response, cuts = with_crops(sample.response, frame) if profile.injects else (sample.response, ())
    return Posed(tuple(prompt), response, tuple(shown), cuts)


def with_crops(response: str, frame: Frame) -> tuple[str, tuple[Cut, ...]]:
    """Put a placeholder a crop behind every box of the reasoning.

    Args:
        response: Text with boxes, think block closed.
        frame: Model frame of the boxes.

    Returns:
        The text and the crops in order. Boxes behind ``</think>`` inject nothing.

    Raises:
        FormatError: If a box cannot be executed in the frame.
    """
    ends = response.rfind(grammar.THINK_END)
    pieces: list[str] = []
    cuts: list[Cut] = []
    done = 0
    for found in grammar.parse(response).boxes:
        if found.start >= ends:
            break
        planned = plan(found.box, frame)
        if isinstance(planned, Problem):
            raise FormatError(f"the box {found.text} cannot be executed ({planned.code})", f"a box of a {frame.kind}")
        pieces += [response[done : found.end], IMAGE * len(planned)]
        cuts += planned
        done = found.end
    return "".join([*pieces, response[done:]]), tuple(cuts)


def picture_id(case_stem: str, cut: Cut) -> str:
    """Name of a picture without ending: case, model slice and, for a crop, its rectangle. Equal crops have equal names."""
    index, rect = cut
    corner = "" if rect is None else "-" + "-".join(str(v) for v in rect)
    return f"{case_stem}-{index:03d}{corner}"


def as_structs(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as ``{"role", "content"}``."""
    return [{"role": role, "content": content} for role, content in messages]


# --- The cases of a data set with their samples and pictures, one at a time: embedded pictures as they are, others made from
# the source.


T = TypeVar("T")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, eq=False)
class FormatEntry:
    """One case with its samples and pictures."""

    case: CaseRecord
    samples: tuple[SampleRecord, ...]
    pngs: tuple[bytes, ...]
    masks: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def frame(self) -> Frame:
        """The model frame."""
        return self.case.scene.frame

    def png(self, cut: Cut) -> bytes:
        """A whole slice, or the crop that a look at it injects, as a PNG file."""
        index, rect = cut
        if rect is None:
            return self.pngs[index]
        return png(np.ascontiguousarray(crop.cut(pixels(self.pngs[index], self.frame), rect)))


def entries(dataset: Dataset, split: str, *, root: Path | None = None) -> Iterator[FormatEntry]:
    """The cases of a split, in order, one in memory at a time."""
    samples = _Groups(dataset.samples(split), lambda sample: sample.case, "samples")
    images = _Groups(dataset.images(split), lambda image: image.case, "pictures")
    inside = bool(dataset.files("images", split))
    reader: CaseReader | None = None
    for case in dataset.cases(split):
        asked, kept = samples.take(case.scene.case), images.take(case.scene.case)
        if not inside:
            reader = reader or CaseReader(dataset.source(root))
            rule = FrameRule.from_json(dataset.manifest.get("config", {}).get("frame"))
            loaded = reader.load(case.item, case.slice, case.sha256)
            kept = tuple(embedded(loaded, case.scene, rule))
        slices, depth = [image.slice for image in kept], case.scene.frame.depth
        if slices != list(range(depth)):
            raise FormatError(
                f"case {case.scene.case} has the pictures {slices[:8]}", f"0 to {depth - 1} in order", "build the data set again"
            )
        masks = dict(zip(kept[0].mask_names, kept[0].masks, strict=True)) if case.scene.kind == "image" else {}
        yield FormatEntry(case, asked, tuple(image.png for image in kept), masks)
    samples.end()
    images.end()


def pixels(data: bytes, frame: Frame) -> NDArray[np.uint8]:
    """The pixels of an embedded picture, its size judged before it is decoded (PNG, ISO/IEC 15948, 11.2.1: IHDR comes first).

    Args:
        data: A PNG file.
        frame: The model frame of its case.

    Returns:
        The pixels as they are stored, (H, W) or (H, W, channels).

    Raises:
        UniReasonError: If it is no PNG file, of another size than the frame, or damaged.
    """
    size = struct.unpack(">II", data[16:24]) if data.startswith(_SIGNATURE) and len(data) > 24 else (0, 0)
    if size != (frame.width, frame.height):
        raise FormatError(
            f"an embedded picture has {size[0]} x {size[1]} pixels",
            f"a PNG file of {frame.width} x {frame.height}",
            "build again",
        )
    return from_png(data)


class _Groups(Generic[T]):
    """Consecutive records of one case, taken case by case in one pass."""

    def __init__(self, records: Iterator[T], case_of: Callable[[T], str], what: str) -> None:
        self._records, self._case_of, self._what = records, case_of, what
        self._next = next(records, None)

    def take(self, case: str) -> tuple[T, ...]:
        """The records of a case if they come next; else none."""
        found = []
        while self._next is not None and self._case_of(self._next) == case:
            found.append(self._next)
            self._next = next(self._records, None)
        return tuple(found)

    def end(self) -> None:
        """Fail if a record is left over."""
        if self._next is not None:
            raise FormatError(
                f"the {self._what} of case {self._case_of(self._next)} do not stand in the order of the cases",
                "a data set as the builder writes it",
                "build the data set again",
            )
