"""What the imports of all releases share: rows put aside, boxes brought to the model frame, cases written as records."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
from unireason.data.build_store import BuildTally
from unireason.data.checks.pictures import box_fault
from unireason.data.frames import FrameRule, mask_on_frame, model_pictures, png
from unireason.data.item import Item, Loaded
from unireason.data.measure import describe
from unireason.data.parquet import table_writers
from unireason.data.records import SPLITS, STAGES, CaseRecord, ImageRecord, SampleRecord, case_row, image_row, sample_row
from unireason.data.regions import model_box
from unireason.data.scene import Scene
from unireason.data.select import perceptual_hash, position
from unireason.data.sources import m3d, samed2d
from unireason.grounding.crop import PATCH_FACTOR

from .tables import pose

# --- Rows that cannot be learned from, and boxes in the model frame.


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
        if fault:  # without its numbers, so that rows can be counted by it
            raise LeftOut("a box " + re.sub(r"\[[^\]]*\] |of \d[\dx ]*", "", fault).strip())
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


def _sizes(frame: Frame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Sizes along x, y (and z)."""
    return np.array((frame.width, frame.height, frame.depth)[: 2 if frame.kind == "image" else 3], np.float64)


def texts(*parts: str | Look) -> Reasoning:
    """A reasoning of parts without empty texts."""
    if any(_TOKEN.search(part) for part in parts if isinstance(part, str)):
        raise LeftOut("its text holds a special token")
    return tuple(part for part in parts if part)


def posed(sample: SampleRecord, frame: Frame) -> SampleRecord:
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


# --- Samples of one case put together: what two tables of a release, or two of its rows, say of the same question.


def joined(samples: Sequence[tuple[str, SampleRecord]]) -> tuple[list[SampleRecord], list[str]]:
    """Samples of one case: the same question in both tables becomes one sample; and the rows that say what another row says."""
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
        else:  # the one that tells more, for the stages of both
            one = found[place]
            known = sorted((one, sample), key=lambda s: (bool(s.question.family), bool(s.annotator)))
            stages = tuple(stage for stage in STAGES if stage in one.stages or stage in sample.stages)
            found[place] = replace(known[1], stages=stages, origin=one.origin or sample.origin)
    seen: Counter[str] = Counter()
    for place, sample in enumerate(found):  # of those with one identifier the later ones get a number
        seen[sample.id] += 1
        if seen[sample.id] > 1:
            numbered = hashlib.sha256(f"{sample.id}~{seen[sample.id]}".encode()).hexdigest()[:16]
            found[place] = replace(sample, id=numbered)
    return found, repeated


def _agree(one: SampleRecord, other: SampleRecord) -> bool:
    """True unless two samples that ask the same answer it in two ways of their own."""
    apart = set(one.stages) & set(other.stages) or (one.annotator and other.annotator)
    return not apart or one.response == other.response


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
    """One row put aside; its value "row" is its name."""

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
    """A picture or volume of a release, and the masks of it that rows have named."""

    name: str
    case: Case
    image: str
    patient: str = ""
    masks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


class Shelving:
    """Writes the tables of a data set.

    Attributes:
        skipped: Rows left out, with the reason.
        other_crops: How many rows show another number of crops than the engine cuts.
    """

    def __init__(self, folder: Path, layout: str, rule: FrameRule, *, validation: float) -> None:
        """Set where and how to write."""
        self.skipped: list[tuple[str, str]] = []
        self.other_crops = 0
        self._layout, self._rule, self._validation = layout, rule, validation
        self._tally = BuildTally()
        self._reasons: Counter[str] = Counter()
        self._cases: set[str] = set()
        self._writers = table_writers(folder, _SHARD_ROWS)

    def leave_out(self, row: str, why: LeftOut) -> None:
        """Note a row that is not taken in."""
        self.skipped.append((row, str(why)))
        self._reasons[why.reason] += 1

    def take(
        self,
        rows: Sequence[Kept],
        read: Callable[[], ReleaseShown],
        make: Callable[[Kept, ReleaseShown, FrameFit], SampleRecord],
        *,
        as_shown: bool = False,
    ) -> None:
        """Write the case that some rows are about, once a split; nothing if there are none.

        Args:
            rows: The rows.
            read: Gives the picture or volume.
            make: Makes a sample of a row.
            as_shown: True if boxes are pixels of the stored pictures.
        """
        if not rows:
            return
        try:
            found = read()
            for published in dict.fromkeys(row.split for row in rows):
                own = [row for row in rows if row.split == published]
                kept = [row.values["sample"] for row in own if row.values.get("sample")]
                shown = replace(found, patient=kept[0]["patient"] if kept else "", masks={})
                # What this package exported says so by the samples that it keeps: boxes are pixels of the stored pictures then.
                if as_shown or kept or not shown.image:
                    depth, height, width = (1, *shown.case.geometry.shape)[-3:]
                    written = Frame(width, height, depth, shown.case.kind)
                else:
                    written = written_frame(shown.case.geometry.shape)
                split, scene = self._split(published, shown), self._scene(shown, published)
                place = FrameFit(scene.case, split, shown.patient, written, scene.frame)
                made = []
                for row in own:
                    try:
                        made.append((row.values["row"], make(row, shown, place)))
                    except LeftOut as why:
                        self.leave_out(row.values["row"], why)
                self._put(shown, scene, split, made)
        except UniReasonError as error:
            for row in rows:
                self.leave_out(row.values["row"], no_picture(error))

    def _split(self, published: str, shown: ReleaseShown) -> str:
        """The published split, or validation if that was asked for. Pictures that are known to show one patient go together: the
        patient if the release tells, else what names of SA-Med2D and M3D tell, of which UniMed-CoT was made, else the picture alone."""
        together = shown.patient
        if not together and _M3D_CAP & set(shown.image.split("/")[:-1]):
            together = m3d.patient_of(shown.image)
        for name in () if together else (shown.image, shown.name):
            try:
                together = samed2d.patient_of(name)
                break
            except FormatError:
                together = shown.name
        moved = published == "train" and position(0, self._layout, together) < self._validation
        return "validation" if moved else published

    def _scene(self, shown: ReleaseShown, published: str) -> Scene:
        """What is known of a case. Its name is one that no case written so far has: a picture may be published in several splits, and
        may be the first slice of volumes as well."""
        base = f"{self._layout}:{shown.name}" + ("" if published == "train" else f"@{published}")
        name, number = base, 1
        while name in self._cases:
            number += 1
            name = f"{base}~{number}"
        item = Item(name, shown.patient, shown.case.kind, shown.image, (), ())
        return replace(describe(Loaded(item, shown.case, ()), self._rule, case=name), described=False)

    def _put(self, shown: ReleaseShown, scene: Scene, split: str, made: Sequence[tuple[str, SampleRecord]]) -> None:
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
        case = CaseRecord(scene, self._layout, name, shown.image, -1, digest, hashed, split, self._rule.window)
        self._cases.add(name)
        rows = {"cases": [case_row(case)], "samples": [sample_row(sample) for sample in samples]}
        self._tally.add(rows | {"dropped": {}})
        for table, found in (*rows.items(), ("images", map(image_row, images))):
            for values in found:
                self._writers[table, split].add(values)

    def _images(self, shown: ReleaseShown, scene: Scene) -> list[ImageRecord]:
        pictures, frame = shown.case.pixels, scene.frame
        # Stored slices that have the size of the frame are not brought to the size of a stack and back.
        ready = not shown.image and pictures.shape[:3] == (frame.depth, frame.height, frame.width)
        stack = list(pictures) if ready else model_pictures(shown.case, self._rule)
        masks = [png(mask_on_frame(mask, frame).astype(np.uint8) * 255) for mask in shown.masks.values()]
        if scene.kind == "image":
            return [ImageRecord(scene.case, 0, png(stack[0]), tuple(masks), tuple(shown.masks))]
        return [ImageRecord(scene.case, z, png(np.ascontiguousarray(picture))) for z, picture in enumerate(stack)]

    def close(self) -> dict[str, Any]:
        """Finish the tables; the counts for the manifest."""
        for writer in self._writers.values():
            writer.close()
        return self._tally.to_json() | {
            "dropped": dict(sorted(self._reasons.items())),
            "broken": sum(number for reason, number in self._reasons.items() if reason in BROKEN),
            "other_crops": self.other_crops,
        }


def published_split(file: Path, told: object = "") -> str:
    """The split that a release names."""
    for said in (str(told).lower(), *re.split("[^a-z]+", file.name.lower())):
        split = _SPELLINGS.get(said, said)
        if split in SPLITS:
            return split
    return "train"


def no_picture(error: UniReasonError) -> LeftOut:
    """Why the rows about a picture that cannot be read are left out."""
    return LeftOut("its picture cannot be read", str(error))
