"""Rows of releases as samples in a model frame, or the reason why they are left out.

What a row says is kept word for word; boxes go from the frame of the release to that of the data set, and are written by the grammar.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.store import json_text
from unireason.core.types import Box, Box2D, Case, Frame, Look
from unireason.data.build_store import BuildTally, table_writers
from unireason.data.checks.pictures import box_fault, off_mask
from unireason.data.frames import FrameRule, mask_on_frame, model_pictures, png
from unireason.data.item import Item, Loaded
from unireason.data.measure import describe
from unireason.data.records import SPLITS, STAGES, CaseRecord, ImageRecord, SampleRecord, case_row, image_row, sample_row
from unireason.data.regions import model_box
from unireason.data.scene import IMPLICIT, LETTERS, DataQuestion, Scene
from unireason.data.select import perceptual_hash, position
from unireason.data.sources import m3d, samed2d
from unireason.grounding import grammar
from unireason.grounding.crop import PATCH_FACTOR

from .tables import IMAGE, pose, with_crops
from .umrg import UmrgRow
from .unimed_cot import MAX_TEXT, Recovered

# --- Rows of releases as samples in a model frame, or the reason why they are left out.


ANNOTATOR = "release"
"""Who wrote a reasoning, if a release does not tell."""
_TOKEN = re.compile(r"<\|[a-z_]{1,40}\|>|</?think>|</?answer>")

Reasoning = tuple[str | Look, ...]


class LeftOut(Exception):  # noqa: N818 (said of a row)
    """A row cannot be learned from."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class FrameFit:
    """Where a sample belongs."""

    case: str
    split: str
    patient: str
    written: Frame
    frame: Frame

    def box(self, box: Box) -> Box:
        """A box of the release in the model frame, whole pixels."""
        whole = type(box)(*(float(int(v)) for v in box.coords))  # as the engine cuts it
        fault = box_fault(whole, self.written)
        if fault:
            raise LeftOut("a box " + _told(fault))
        if self.written == self.frame:
            return type(box)(*(int(v) for v in whole.coords))
        half = len(box.coords) // 2
        low, high = (np.array(part, float) for part in (whole.coords[:half], whole.coords[half:]))
        return model_box(low, high, _sizes(self.written), self.frame)

    def point(self, point: Sequence[float], box: Box2D) -> tuple[int, int]:
        """A point of the release in the model frame, a pixel of the box. A point on the far edge of a box is in its last pixel."""
        x, y = (int((v + 0.5) * n / m) for v, n, m in zip(point, _sizes(self.frame), _sizes(self.written), strict=False))
        return min(max(x, int(box.x1)), int(box.x2) - 1), min(max(y, int(box.y1)), int(box.y2) - 1)


def written_frame(shape: tuple[int, ...]) -> Frame:
    """The frame in whose pixels UniMed-CoT writes boxes.

    Source: the model frame of arXiv 2606.11740.
    """
    if len(shape) == 2 and not any(side % PATCH_FACTOR for side in shape):
        return Frame(shape[1], shape[0], 1, "image")
    return FrameRule().frame(shape)


def from_recovered(found: Recovered, table: str, place: FrameFit) -> SampleRecord:
    """A row of UniMed-CoT as a sample."""
    question, reasoning, annotator = _question(found), Reasoning(), ""
    if found.sample is not None:
        question, annotator, reasoning = found.sample.question, found.sample.annotator, found.sample.reasoning
        reasoning = tuple(p if isinstance(p, str) else Look(p.label, place.box(p.box), p.seen) for p in reasoning)
    elif table == "sft":
        annotator, reasoning = ANNOTATOR, _reasoning(found, place)
    made = SampleRecord(
        found.sample.id if found.sample else identifier(place.case, question.text, *question.options),
        place.case,
        place.patient,
        place.split,
        place.frame.kind,
        question,
        reasoning,
        annotator,
        stages=("sft",) if table == "sft" else ("grpo",),
        origin=found.origin,
    )
    return _posed(made, place.frame)


def from_umrg(row: UmrgRow, name: str, place: FrameFit, *, mask: NDArray[np.bool_], called: str) -> SampleRecord:
    """A row of U-MRG as a sample."""
    if not row.question.strip():
        raise LeftOut("it has no text")
    box = place.box(Box2D(*row.box))
    assert isinstance(box, Box2D)
    x1, y1, x2, y2 = row.box
    apart = off_mask(Box2D(*row.box), mask)
    if apart:
        raise LeftOut("its box is not that of its mask", apart)
    if not all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in row.points):
        raise LeftOut("a point lies outside its box")
    points = (place.point(row.points[0], box), place.point(row.points[1], box))
    if points[0] == points[1]:
        raise LeftOut("its two points are one" if row.points[0] == row.points[1] else "its two points are one pixel of the frame")
    question = DataQuestion(IMPLICIT, "segment", (called,), row.question.strip(), (), -1, (), ())
    annotator = ANNOTATOR if row.reasoning.strip() else ""
    made = SampleRecord(
        name,
        place.case,
        place.patient,
        place.split,
        "image",
        question,
        _texts(row.reasoning) if annotator else (),
        annotator,
        box,
        points,
        row.category,
        row.supercategory,
        ("sft", "grpo") if annotator else ("grpo",),
        row.data_source,
    )
    return _posed(made, place.frame)


def other_crops(found: Recovered, sample: SampleRecord, frame: Frame) -> bool:
    """True if a row shows another number of crops than the engine cuts; a row that shows none at all says nothing about them."""
    shown = found.response.count(IMAGE)
    return bool(shown) and shown != len(with_crops(sample.response, frame)[1])


def identifier(*texts: str) -> str:
    """16 hex digits that name a question."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _question(found: Recovered) -> DataQuestion:
    """The question of a row, whatever else the row holds."""
    options = found.options
    if not found.question:
        raise LeftOut("it has no text")
    if len(options) < 2:
        raise LeftOut("it has no options")
    if len(set(options)) < len(options):
        raise LeftOut("two of its options are the same")
    if not found.letter:
        raise LeftOut("its answer is no letter of an option")
    return DataQuestion("", "", (), found.question, options, LETTERS.index(found.letter), (), ())


def _reasoning(found: Recovered, place: FrameFit) -> Reasoning:
    """The reasoning of a row between its think tags, word for word."""
    text = found.response.replace(IMAGE, "")
    if len(text) > MAX_TEXT:
        raise LeftOut(f"its response has more than {MAX_TEXT:,} characters")
    if grammar.THINK_START not in text:
        raise LeftOut("it has no reasoning")
    flaws = [flaw for flaw in found.problems if flaw != "mixed_brackets"]
    if flaws:
        raise LeftOut("its response cannot be read", ", ".join(flaws))
    start, end = text.index(grammar.THINK_START) + len(grammar.THINK_START), text.rindex(grammar.THINK_END)
    if not text[start:end].strip():
        raise LeftOut("it has no reasoning")
    parts: list[str | Look] = []
    for box, look in zip(grammar.parse(text).boxes, found.looks, strict=True):
        if box.start >= end:
            raise LeftOut("it looks behind its reasoning")
        parts += [text[start : box.start], Look(look.label, place.box(box.box))]
        start = box.end
    return _texts(*parts, text[start:end])


def _texts(*parts: str | Look) -> Reasoning:
    """Parts without empty texts."""
    if any(_TOKEN.search(part) for part in parts if isinstance(part, str)):
        raise LeftOut("its text holds a special token")
    return tuple(part for part in parts if part)


def _posed(sample: SampleRecord, frame: Frame) -> SampleRecord:
    """The sample, if it can be asked and its looks can be executed."""
    question = sample.question
    if any(_TOKEN.search(text) for text in (question.text, *question.options)):
        raise LeftOut("its text holds a special token")
    try:
        "".join((sample.id, question.text, *question.options, sample.response)).encode()
        pose(sample, frame)
    except (FormatError, UnicodeEncodeError) as error:
        raise LeftOut("it cannot be asked", str(error)) from error
    return sample


def _told(fault: str) -> str:
    """A fault of a box without its numbers, so that rows can be counted by it."""
    return re.sub(r"\[[^\]]*\] |of \d[\dx ]*", "", fault).strip()


def _sizes(frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Sizes along x, y (and z)."""
    sizes = (frame.width, frame.height, frame.depth)[: 2 if frame.kind == "image" else 3]
    return np.array(sizes, np.float64)


# --- Samples of one case put together: what two tables of a release, or two of its rows, say of the same question.


def joined(samples: Sequence[tuple[str, SampleRecord]]) -> tuple[list[SampleRecord], list[str]]:
    """Samples of one case: the same question in both tables becomes one sample."""
    found: list[SampleRecord] = []
    repeated: list[str] = []
    asked: dict[tuple[object, ...], list[int]] = {}
    for row, sample in samples:
        question = sample.question
        places = asked.setdefault((question.text, question.options, question.answer, sample.box, sample.points), [])
        place = next((place for place in places if _agree(found[place], sample)), None)
        if place is None:
            places.append(len(found))
            found.append(sample)
        elif set(sample.stages) <= set(found[place].stages):
            repeated.append(row)
        else:
            found[place] = _merged(found[place], sample)
    return _named(found), repeated


def _agree(one: SampleRecord, other: SampleRecord) -> bool:
    """True unless two samples that ask the same answer it in two ways of their own."""
    apart = set(one.stages) & set(other.stages) or (one.annotator and other.annotator)
    return not apart or one.response == other.response


def _merged(one: SampleRecord, other: SampleRecord) -> SampleRecord:
    """The one that tells more, for the stages of both."""
    known = sorted((one, other), key=lambda s: (bool(s.question.family), bool(s.annotator)))
    stages = tuple(stage for stage in STAGES if stage in one.stages or stage in other.stages)
    return replace(known[1], stages=stages, origin=one.origin or other.origin)


def _named(samples: Sequence[SampleRecord]) -> list[SampleRecord]:
    """The samples; of those with one identifier the later ones get a number."""
    seen: Counter[str] = Counter()
    out = []
    for sample in samples:
        seen[sample.id] += 1
        again = seen[sample.id]
        out.append(sample if again == 1 else replace(sample, id=hashlib.sha256(f"{sample.id}~{again}".encode()).hexdigest()[:16]))
    return out


# --- Picture files inside tables of a release, read as files are.


INSIDE = 128
"""Least value of a mask's pixel that is meant, where its edges are grey."""


def read_stored(data: bytes, name: str) -> Case:
    """A stored picture, whatever its bytes turn out to be.

    Args:
        data: A PNG, JPEG, TIFF or BMP file.
        name: "picture" or "mask", for messages; its path in the release is untrusted and not used.

    Returns:
        An image; its hash is that of the bytes.

    Raises:
        ImageReadError: If it is no picture of one frame.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.png"
        file.write_bytes(data)
        try:
            found = imaging.read(file)
        except FormatError as error:  # such as several frames: no choice of the caller's here
            raise ImageReadError(str(error)) from error
    if found.kind != "image":
        raise ImageReadError(f"the {name} is a {found.kind} of shape {found.geometry.shape}", "a picture")
    return found


def read_mask(data: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A stored mask.

    Args:
        data: A picture file of 0 and one other value (255, 1), or of greys of which those from 128 on are meant.
        shape: (Y, X) of its picture.

    Returns:
        bool (Y, X), at least one pixel True.

    Raises:
        ImageReadError: If it is no picture, of another size, empty, or holds several values that are all dark.
    """
    pixels = read_stored(data, "mask").pixels
    flat = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    values = np.unique(flat[flat > 0])
    mask: NDArray[np.bool_] = flat >= (INSIDE if len(values) > 1 else 1)
    if mask.shape != shape:
        raise ImageReadError(f"its mask has the shape {mask.shape}", f"that of its picture, {shape}")
    if not mask.any():
        held = f"holds the values {', '.join(map(str, values[:8]))}" if len(values) else "is empty"
        raise ImageReadError(f"its mask {held}", "0 and one other value, such as 255")
    return mask


# --- Rows of a release put aside until the picture comes that they are about, in a file: tables come in any order and of any
# length.


class Kept(NamedTuple):
    """One row put aside."""

    split: str
    values: dict[str, Any]
    data: bytes


class RowStore:
    """Rows by picture, and pictures that wait for others."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Make the tables; see :func:`scratch`."""
        self._db = database
        database.executescript(
            """
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
            CREATE TABLE kept (picture TEXT, split TEXT, row TEXT, data BLOB);
            CREATE TABLE pictures (id TEXT PRIMARY KEY, data BLOB);
            """
        )

    def keep(self, picture: str, row: Kept) -> None:
        """Put a row aside."""
        self._db.execute("INSERT INTO kept VALUES (?, ?, ?, ?)", (picture, row.split, json_text(row.values), row.data))

    def index(self) -> None:
        """Prepare for :meth:`of`; no row comes after."""
        self._db.execute("CREATE INDEX by_picture ON kept (picture)")

    def names(self) -> Iterator[str]:
        """What rows are about, in the order in which that came first."""
        return (name for (name,) in self._db.execute("SELECT picture FROM kept GROUP BY picture ORDER BY MIN(rowid)").fetchall())

    def of(self, picture: str) -> list[Kept]:
        """The rows about a picture, in the order in which they came."""
        found = self._db.execute("SELECT split, row, data FROM kept WHERE picture = ? ORDER BY rowid", (picture,))
        return [Kept(split, json.loads(row), data) for split, row, data in found]

    def store(self, identifier: str, data: bytes) -> None:
        """Keep a picture file until the others of its volume are there."""
        self._db.execute("INSERT INTO pictures VALUES (?, ?)", (identifier, data))

    def picture(self, identifier: str) -> bytes:
        """A picture file that was kept; b"" if it was not."""
        found = self._db.execute("SELECT data FROM pictures WHERE id = ?", (identifier,)).fetchone()
        return found[0] if found else b""


@contextmanager
def scratch(path: Path) -> Iterator[RowStore]:
    """A scratch file, thrown away at the end."""
    database = sqlite3.connect(path)
    try:
        yield RowStore(database)
    except sqlite3.Error as error:
        raise UniReasonError(f"the scratch file of the import cannot be used ({error})", "", "make room and try again") from error
    finally:
        database.close()
        path.unlink(missing_ok=True)


# --- Cases of a release written as records, one at a time: each with its pictures and the rows about it.


_SHARD_ROWS = 50_000
_SPELLINGS = {"val": "validation", "valid": "validation", "dev": "validation", "training": "train", "testing": "test"}
_M3D_CAP = {"ct_case", "ct_quizze"}
BROKEN = frozenset(
    {
        "it cannot be read",
        "its picture is not in the release",
        "its picture cannot be read",
        "its text holds a special token",
        "the sample that it keeps cannot be read",
        "a box is empty or inverted",
        "a box leaves the frame",
        "a point lies outside its box",
        "its two points are one",
        "its mask cannot be used",
        "its box is not that of its mask",
    }
)
"""Reasons for which a release, and not what is made of it here, is to blame."""


@dataclass(frozen=True, slots=True, eq=False)
class ReleaseShown:
    """A picture or volume of a release, as far as all its splits share it."""

    name: str
    case: Case
    image: str
    patient: str = ""
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


class Shelving:
    """Writes the tables of a data set."""

    def __init__(self, folder: Path, layout: str, rule: FrameRule, *, validation: float) -> None:
        """Set where and how to write."""
        self.layout, self.rule = layout, rule
        self.skipped: list[tuple[str, str]] = []
        self._validation = validation
        self._tally = BuildTally()
        self._reasons: Counter[str] = Counter()
        self._other_crops = 0
        self._cases: set[str] = set()
        self._writers = table_writers(folder, _SHARD_ROWS)

    def leave_out(self, row: str, why: LeftOut) -> None:
        """Note a row that is not taken in."""
        self.skipped.append((row, str(why)))
        self._reasons[why.reason] += 1

    def other_crops(self) -> None:
        """Count a row that shows another number of crops than the engine cuts."""
        self._other_crops += 1

    def split(self, published: str, shown: ReleaseShown) -> str:
        """The split of a picture in this data set: the published one, or validation if that was asked for. Pictures that are known to
        show one patient go together."""
        moved = published == "train" and position(0, self.layout, _together(shown)) < self._validation
        return "validation" if moved else published

    def case_name(self, shown: ReleaseShown, published: str) -> str:
        """Identifier of the case of a picture in a split, which no case written so far has: a picture may be published in several
        splits, and may be the first slice of volumes as well."""
        base = f"{self.layout}:{shown.name}" + ("" if published == "train" else f"@{published}")
        name, number = base, 1
        while name in self._cases:
            number += 1
            name = f"{base}~{number}"
        return name

    def scene(self, shown: ReleaseShown, name: str) -> Scene:
        """What is known of a case."""
        item = Item(name, shown.patient, shown.case.kind, shown.image, (), ())
        return replace(describe(Loaded(item, shown.case, ()), self.rule, case=name), described=False)

    def put(self, shown: ReleaseShown, scene: Scene, split: str, made: Sequence[tuple[str, SampleRecord]]) -> None:
        """Write a case with its samples and pictures, all of it or nothing."""
        samples, repeated = joined(made)
        for row in repeated:
            self.leave_out(row, LeftOut("it says what another row says"))
        if not samples:
            return
        meant = {sample.target for sample in samples}
        shown = replace(shown, masks={name: mask for name, mask in shown.masks.items() if name in meant})
        try:
            images = self._images(shown, scene)
            hashed = perceptual_hash(shown.case)
        except UniReasonError as error:
            for row in (row for row, _ in made if row not in repeated):
                self.leave_out(row, no_picture(error))
            return
        name, digest = scene.case, shown.case.source.sha256
        record = CaseRecord(scene, self.layout, name, shown.image, -1, digest, hashed, split, self.rule.window)
        self._write(record, samples, images)

    def _write(self, case: CaseRecord, samples: Sequence[SampleRecord], images: Sequence[ImageRecord]) -> None:
        self._cases.add(case.scene.case)
        rows = {"cases": [case_row(case)], "samples": [sample_row(sample) for sample in samples]}
        self._tally.add(rows | {"dropped": {}})
        for table, found in (*rows.items(), ("images", map(image_row, images))):
            for row in found:
                self._writers[table, case.split].add(row)

    def _images(self, shown: ReleaseShown, scene: Scene) -> list[ImageRecord]:
        pictures, frame = shown.case.pixels, scene.frame
        # Stored slices that have the size of the frame are not brought to the size of a stack and back.
        ready = not shown.image and pictures.shape[:3] == (frame.depth, frame.height, frame.width)
        stack = list(pictures) if ready else model_pictures(shown.case, self.rule)
        masks = [png(mask_on_frame(mask, frame).astype(np.uint8) * 255) for mask in shown.masks.values()]
        if scene.kind == "image":
            return [ImageRecord(scene.case, 0, png(stack[0]), tuple(masks), tuple(shown.masks))]
        return [ImageRecord(scene.case, z, png(np.ascontiguousarray(picture))) for z, picture in enumerate(stack)]

    def close(self) -> dict[str, Any]:
        """Finish the tables; the counts for the manifest."""
        for writer in self._writers.values():
            writer.close()
        counts = self._tally.to_json()
        counts["dropped"] = dict(sorted(self._reasons.items()))
        counts["broken"] = sum(number for reason, number in self._reasons.items() if reason in BROKEN)
        counts["other_crops"] = self._other_crops
        return counts


def published_split(file: Path, told: object = "") -> str:
    """The split that a release names."""
    for said in (str(told).lower(), *re.split("[^a-z]+", file.name.lower())):
        split = _SPELLINGS.get(said, said)
        if split in SPLITS:
            return split
    return "train"


def _together(shown: ReleaseShown) -> str:
    """What pictures of one patient share: the patient if the release tells, else what names of SA-Med2D and M3D tell, of which
    UniMed-CoT was made, else the name of the picture alone."""
    if shown.patient:
        return shown.patient
    if _M3D_CAP & set(shown.image.split("/")[:-1]):
        return m3d.patient_of(shown.image)
    for name in (shown.image, shown.name):
        try:
            return samed2d.patient_of(name)
        except FormatError:
            continue
    return shown.name


def unreadable(error: UniReasonError) -> LeftOut:
    """Why a row is left out whose values are not those of its layout."""
    return LeftOut("it cannot be read", str(error))


def no_picture(error: UniReasonError) -> LeftOut:
    """Why the rows about a picture that cannot be read are left out."""
    return LeftOut("its picture cannot be read", str(error))
