"""A published release becomes a data set: the same records, pictures, manifest and card that the builder writes.

Rows that cannot be learned from are left out, each with its reason in ``skipped.jsonl``; the manifest counts them by reason under
"dropped". What a release does not tell stays empty. What a row says is kept word for word; boxes go from the frame of the release to that
of the data set, and are written by the grammar. See docs/explanation/data.md.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unireason import imaging
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.store import json_text, write_bytes
from unireason.core.types import Box2D, Look, Source
from unireason.data.build_store import seal
from unireason.data.checks.pictures import off_mask
from unireason.data.frames import FrameRule
from unireason.data.parquet import row_count, stream
from unireason.data.records import SampleRecord, box_of, sample_from_row, sample_row
from unireason.data.scene import IMPLICIT, LETTERS, DataQuestion, readable
from unireason.data.sources.release import case_of
from unireason.grounding import grammar
from unireason.grounding.profile import PROFILE_FILE

from . import READABLE, umrg, unimed_cot
from .rows import (
    ANNOTATOR,
    FrameFit,
    Kept,
    LeftOut,
    Reasoning,
    ReleaseShown,
    RowStore,
    Shelving,
    no_picture,
    posed,
    published_split,
    read_mask,
    read_stored,
    scratch,
    texts,
)
from .tables import IMAGE, whole, with_crops
from .umrg import UmrgRow
from .unimed_cot import ENDINGS, MAX_TEXT, Index, Recovered, RlRow, SftRow, from_rl, from_sft, names_of

# --- U-MRG taken in: implicit questions with their pictures and masks. Rows about one picture come together, by the hash of its
# file.


_SAID = tuple(field.name for field in fields(UmrgRow) if field.name not in ("images", "masks"))


def take_in_umrg(path: Path, aside: RowStore, shelving: Shelving, tell: Callable[[int], None]) -> None:
    """Put the rows and their masks aside, then go through the pictures."""

    def rows() -> Iterator[tuple[Path, UmrgRow | FormatError]]:
        for file in umrg.files_of(path):
            yield from ((file, row) for row in umrg.rows_of(file, strict=False))

    def key(row: UmrgRow) -> str:
        return hashlib.sha256(row.images[0].bytes).hexdigest()

    def picture(row: UmrgRow) -> ReleaseShown:
        return ReleaseShown(key(row)[:16], read_stored(row.images[0].bytes, "picture"), row.images[0].path)

    names: Counter[str] = Counter()
    done = 0
    for done, (file, row) in enumerate(rows(), start=1):
        if isinstance(row, FormatError):
            shelving.leave_out(f"{file.stem}-{done}", LeftOut("it cannot be read", str(row)))
        else:
            name = row.id or f"{file.stem}-{done}"
            names[name] += 1
            name = name if names[name] == 1 else f"{name}~{names[name]}"
            values = {"row": name, **{field: getattr(row, field) for field in _SAID}}
            aside.keep(key(row), Kept(published_split(file), values, row.masks[0].bytes))
        tell(done)
    aside.index()
    seen: set[str] = set()
    for count, (_, row) in enumerate(rows(), start=1):
        if isinstance(row, UmrgRow) and (name := key(row)) not in seen:
            seen.add(name)
            shelving.take(aside.of(name), partial(picture, row), _from_umrg, as_shown=True)
        tell(done + count)


def _from_umrg(kept: Kept, shown: ReleaseShown, place: FrameFit) -> SampleRecord:
    """A row of U-MRG as a sample; its mask goes to those of the picture."""
    said = {name: kept.values[name] for name in _SAID}
    said["box"], said["points"] = tuple(said["box"]), tuple(map(tuple, said["points"]))
    row = UmrgRow((), (), **said)
    try:
        mask = read_mask(kept.data, shown.case.geometry.shape)
    except UniReasonError as error:
        raise LeftOut("its mask cannot be used", str(error)) from error
    # Another mask of the same name gets a number.
    base, number = readable(row.category) or "target", 1
    called = base
    while called in shown.masks and not np.array_equal(shown.masks[called], mask):
        number += 1
        called = f"{base} {number}"
    shown.masks[called] = mask
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
    reasoned = bool(row.reasoning.strip())
    sample = SampleRecord(
        kept.values["row"],
        place.case,
        place.patient,
        place.split,
        "image",
        DataQuestion(IMPLICIT, "segment", (called,), row.question.strip(), (), -1, (), ()),
        texts(row.reasoning) if reasoned else (),
        ANNOTATOR if reasoned else "",
        box,
        points,
        row.category,
        row.supercategory,
        ("sft", "grpo") if reasoned else ("grpo",),
        row.data_source,
    )
    return posed(sample, place.frame)


# --- UniMed-CoT taken in: supervised and reinforcement-learning rows, pictures of the release, volumes of the user's.


_PICTURE, _SLICES, _VOLUME = "picture:", "slices:", "volume:"
"""What rows are about begins with one of these, whatever identifiers the release chose."""
_FIELDS = ("id", "kind", "question", "options", "letter", "response", "image_ids", "origin", "problems")


def take_in_unimed_cot(
    path: Path, aside: RowStore, shelving: Shelving, tell: Callable[[int], None], *, volumes: Path | None
) -> None:
    """Put the rows aside, then go through the pictures and volumes."""
    index = Index.of(volumes) if volumes else None
    files = unimed_cot.files_of(path)
    pictures = files.get("images", [])
    stored: set[str] = set()
    for file in pictures:
        for values in stream(file, ("image_id",), batch=4096):
            if values["image_id"] and values["image_id"] in stored:
                came = f"two pictures have the identifier {values['image_id']!r}"
                raise FormatError(came, "one", "download the release again")
            stored.add(values["image_id"])

    # Pass 1: rows of both tables, each kept under what it is about.
    done = number = 0
    for table in ("sft", "rl"):
        for file in files.get(table, []):
            for row in unimed_cot.rows_of(file, table, strict=False):
                number += 1
                name = f"{table}-{file.stem}-{number}"
                try:
                    found = _recovered(row, name)
                    about = _about(row, found, stored, index, volumes)
                except LeftOut as why:
                    shelving.leave_out(name, why)
                    done += 1
                else:
                    done += not about.startswith(_VOLUME)  # those count when their volume has been read, which takes longest
                    told = row.extra_info.get("split", "") if isinstance(row, RlRow) else ""
                    aside.keep(about, Kept(published_split(file, told), _plain(name, table, found), b""))
                tell(done)
    aside.index()

    make = partial(_from_recovered, shelving)
    # Pass 2: pictures in the order of the release; the slices of volumes are kept until all are there.
    waiting = [json.loads(name.removeprefix(_SLICES)) for name in aside.names() if name.startswith(_SLICES)]
    wanted = {identifier for identifiers in waiting for identifier in identifiers}
    seen: set[str] = set()
    for file in pictures:
        for row in unimed_cot.rows_of(file, "images", strict=False):
            if isinstance(row, unimed_cot.ImageRow):
                seen.add(row.image_id)
                if row.image_id in wanted:
                    aside.store(row.image_id, row.bytes)
                shelving.take(aside.of(_PICTURE + row.image_id), partial(_picture, row), make)
            done += 1
            tell(done)
    for identifiers in waiting:
        shelving.take(aside.of(_SLICES + json_text(identifiers)), partial(_slices, identifiers, aside), make)
    for name in aside.names():
        if name.startswith(_PICTURE) and name.removeprefix(_PICTURE) not in seen:
            for kept in aside.of(name):
                shelving.leave_out(kept.values["row"], no_picture(ImageReadError("its row is damaged")))
    for name in aside.names():
        if name.startswith(_VOLUME) and volumes is not None:
            rows = aside.of(name)
            shelving.take(rows, partial(_volume, volumes, name.removeprefix(_VOLUME)), make)
            done += len(rows)
            tell(done)


def _recovered(row: Any, name: str) -> Recovered:
    if isinstance(row, FormatError):
        raise LeftOut("it cannot be read", str(row))
    try:
        return from_sft(row, name) if isinstance(row, SftRow) else from_rl(row, name)
    except FormatError as error:
        raise LeftOut("the sample that it keeps cannot be read", str(error)) from error


def _about(row: Any, found: Recovered, stored: Collection[str], index: Index | None, volumes: Path | None) -> str:
    """What a row is about: the identifier of a picture, several of them, or the path of a volume, each behind its word."""
    held = [name in stored for name in found.image_ids]
    if held and all(held):
        return _PICTURE + found.image_ids[0] if len(held) == 1 else _SLICES + json_text(found.image_ids)
    names_a_volume = all(name.lower().endswith(ENDINGS) for name in found.image_ids)
    if any(held) or not (found.kind == "volume" or (found.image_ids and names_a_volume)):
        lost = [name for name in found.image_ids if name not in stored]
        raise LeftOut("its picture is not in the release", lost[0] if lost else "it names none")
    if index is None or volumes is None:
        raise LeftOut("its volume was not looked for: no folder of volumes was given")
    names = names_of(row)
    volume, reason = index.find(names)
    if volume is None:
        raise LeftOut(f"its volume was not found: {reason}", ", ".join(names[:3]))
    return _VOLUME + volume.relative_to(volumes).as_posix()


def _plain(name: str, table: str, found: Recovered) -> dict[str, Any]:
    """A row as plain values, as ``_from_recovered`` reads it."""
    values = {field: getattr(found, field) for field in _FIELDS}
    kept = None if found.sample is None else sample_row(found.sample)
    looks = [[look.label, list(look.box.coords)] for look in found.looks]
    return {"row": name, "table": table, "found": values, "looks": looks, "sample": kept}


def _picture(row: unimed_cot.ImageRow) -> ReleaseShown:
    return ReleaseShown(row.image_id, read_stored(row.bytes, "picture"), row.path)


def _slices(identifiers: list[str], aside: RowStore) -> ReleaseShown:
    """Slices of one volume, as they are stored."""
    pictures = [read_stored(aside.picture(identifier), "picture").pixels for identifier in identifiers]
    if any(str(picture.dtype) != "uint8" for picture in pictures):
        raise ImageReadError("the slices are no pictures of 8 bits", "grey levels from 0 to 255")
    return ReleaseShown(identifiers[0], case_of(pictures, "volume", Source(identifiers[0], "png", "")), "")


def _volume(volumes: Path, where: str) -> ReleaseShown:
    return ReleaseShown(where, imaging.read(volumes / where), where)


def _from_recovered(shelving: Shelving, kept: Kept, shown: ReleaseShown, place: FrameFit) -> SampleRecord:
    """A row of UniMed-CoT as a sample."""
    values, table = kept.values, kept.values["table"]
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values["found"].items()}
    looks = tuple(Look(label, box_of(box)) for label, box in values["looks"])
    found = Recovered(**plain, looks=looks, sample=None if values["sample"] is None else sample_from_row(values["sample"]))
    options, reasoning, annotator = found.options, Reasoning(), ""
    if not found.question:
        raise LeftOut("it has no text")
    if len(options) < 2:
        raise LeftOut("it has no options")
    if len(set(options)) < len(options):
        raise LeftOut("two of its options are the same")
    if not found.letter:
        raise LeftOut("its answer is no letter of an option")
    question = DataQuestion("", "", (), found.question, options, LETTERS.index(found.letter), (), ())
    if found.sample is not None:
        question, annotator = found.sample.question, found.sample.annotator
        parts = found.sample.reasoning
        reasoning = tuple(p if isinstance(p, str) else Look(p.label, place.box(p.box), p.seen) for p in parts)
    elif table == "sft":
        annotator, reasoning = ANNOTATOR, _reasoning(found, place)
    name = hashlib.sha256("\0".join((place.case, question.text, *question.options)).encode("utf-8", "surrogatepass"))
    sample = SampleRecord(
        found.sample.id if found.sample else name.hexdigest()[:16],
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
    sample = posed(sample, place.frame)
    crops = found.response.count(IMAGE)  # a row that shows none at all says nothing about them
    shelving.other_crops += table == "sft" and crops > 0 and crops != len(with_crops(sample.response, place.frame)[1])
    return sample


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
    return texts(*parts, text[start:end])


# --- Any release.


Progress = Callable[[int], None]

TITLES = {"unimed-cot": "UniMed-CoT", "umrg": "U-MRG-14K"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a release is taken in.

    Attributes:
        frame: How the checkpoint that will be trained sees pictures.
        validation: Share of the training pictures that become the validation split, in [0, 1); 0 for none.
        volumes: Folder of the volumes of rows that carry none (UniMed-CoT only).
    """

    frame: FrameRule
    validation: float = 0.0
    volumes: Path | None = None

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 <= self.validation < 1:
            raise FormatError(f"the share of the validation split is {self.validation}", "a number from 0, below 1")


def take_in(layout: str, path: Path, out: Path, *, wanted: Wanted, progress: Progress | None = None) -> dict[str, Any]:
    """Read a release and write it as a data set.

    Args:
        layout: One of READABLE.
        path: The release.
        out: A new or empty folder; it takes its place when everything is written.
        wanted: How.
        progress: Called with the number of rows done so far, of ``rows_in``.

    Returns:
        The manifest. ``counts.broken`` is the number of rows left out because the release is not whole or contradicts itself.

    Raises:
        FormatError: If the layout is unknown, has no volumes, or the release has another one.
        UniReasonError: If a folder cannot be read or written, or not one row can be learned from.
    """
    if layout not in READABLE:
        raise FormatError(f"the layout {layout!r} is unknown", ", ".join(READABLE))
    if layout == "umrg" and wanted.volumes is not None:
        raise FormatError("a folder of volumes was given", "none: U-MRG has pictures alone", "leave out --volumes")
    tell = progress or (lambda done: None)
    with whole(out) as folder:
        shelving = Shelving(folder, layout, wanted.frame, validation=wanted.validation)
        with scratch(folder / "scratch.sqlite") as aside:
            if layout == "umrg":
                take_in_umrg(path, aside, shelving, tell)
            else:
                take_in_unimed_cot(path, aside, shelving, tell, volumes=wanted.volumes)
        counts = shelving.close()
        if not counts["samples"]:
            reasons = ", ".join(f"{reason} {number}" for reason, number in counts.get("dropped", {}).items())
            first = f"; the first: {shelving.skipped[0][1]}" if shelving.skipped else ""
            raise UniReasonError(
                f"not one row of '{path.name}' can be learned from ({reasons or 'there is none'}{first})",
                "at least one",
                "check the path",
            )
        config = {"layout": layout, "frame": wanted.frame.to_json(), "validation": wanted.validation}
        about = {"title": TITLES[layout], "licence": "unknown", "command": command(layout, wanted), "counts": counts}
        root = str(wanted.volumes.resolve()) if wanted.volumes else ""
        if layout == "unimed-cot":
            _keep_words(path, folder)
        return seal(folder, config, about, skipped=shelving.skipped, root=root)


def _keep_words(path: Path, folder: Path) -> None:
    """Write the texts that the rows share as the profile of the data set; none where rows share no text."""
    from unireason.data.words import from_data

    try:
        words = from_data(path)
    except FormatError:
        return
    write_bytes(folder / PROFILE_FILE, words.profile.to_toml().encode())


def command(layout: str, wanted: Wanted) -> str:
    """The command that makes the same data set again; folders are left for the reader to fill in."""
    parts = [f"unireason data import {layout} PATH --out DIR --frame {wanted.frame.name}"]
    parts += ["--volumes VOLUMES"] if wanted.volumes else []
    return " ".join([*parts, *([f"--validation {wanted.validation:g}"] if wanted.validation else [])])


def rows_in(layout: str, path: Path) -> int:
    """How many rows ``take_in`` will pass, for a progress bar; those of U-MRG are passed twice.

    Raises:
        FormatError: If there are no such files, or one is damaged.
    """
    if layout == "umrg":
        return 2 * sum(map(row_count, umrg.files_of(path)))
    return sum(row_count(file) for files in unimed_cot.files_of(path).values() for file in files)
