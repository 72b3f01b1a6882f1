"""UniMed-CoT taken in: supervised and reinforcement-learning rows, pictures of the release, volumes of the user's."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from unireason import imaging
from unireason.data.records import box_of, sample_from_row, sample_row
from unireason.data.sources.release import case_of
from unireason.errors import FormatError, ImageReadError, UniReasonError
from unireason.files import json_text
from unireason.types import Frame, Look, Source

from . import unimed_cot
from .fitted import LeftOut, Place, from_recovered, other_crops, written_frame
from .recover import Recovered, from_rl, from_sft
from .scratch import Kept, Scratch
from .shelving import Shelving, Shown, no_picture, published_split, unreadable
from .stored import read_stored
from .unimed_cot import ImageRow, RlRow, SftRow
from .volumes import ENDINGS, Index, names_of

Row = SftRow | RlRow

_PICTURE, _SLICES, _VOLUME = "picture:", "slices:", "volume:"
"""What rows are about begins with one of these, whatever identifiers the release chose."""
_FIELDS = ("id", "kind", "question", "options", "letter", "response", "image_ids", "origin", "problems")


def take_in(path: Path, aside: Scratch, shelving: Shelving, tell: Callable[[int], None], *, volumes: Path | None) -> None:
    """Put the rows aside, then go through the pictures and volumes.

    Args:
        path: The release.
        aside: Takes the rows.
        shelving: Takes the cases.
        tell: Called with the number of rows done.
        volumes: Folder of the volumes; None leaves out the rows that need one.

    Raises:
        FormatError: If the release has another layout, or two pictures of one identifier.
        UniReasonError: If a folder cannot be read or written.
    """
    index = Index.of(volumes) if volumes else None
    stored = _identifiers(path)
    done = 0
    for number, (table, file, row) in enumerate(_rows(path), start=1):
        name = f"{table}-{file.stem}-{number}"
        try:
            if isinstance(row, FormatError):
                raise unreadable(row)
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
    done += _pictures(path, aside, shelving, lambda count: tell(done + count))
    _volumes(aside, shelving, lambda count: tell(done + count), volumes=volumes)


def _rows(path: Path) -> Iterator[tuple[str, Path, Row | FormatError]]:
    files = unimed_cot.files_of(path)
    for file in files.get("sft", ()):
        yield from (("sft", file, row) for row in unimed_cot.sft_rows(file, strict=False))
    for file in files.get("rl", ()):
        yield from (("rl", file, row) for row in unimed_cot.rl_rows(file, strict=False))


def _recovered(row: Row, name: str) -> Recovered:
    try:
        return from_sft(row, name) if isinstance(row, SftRow) else from_rl(row, name)
    except FormatError as error:
        raise LeftOut("the sample that it keeps cannot be read", str(error)) from error


def _identifiers(path: Path) -> set[str]:
    """The identifiers of all pictures.

    Raises:
        FormatError: If two pictures have the same.
    """
    from .tables import stream

    found: set[str] = set()
    for file in unimed_cot.files_of(path).get("images", ()):
        for values in stream(file, ("image_id",), batch=4096):
            if values["image_id"] and values["image_id"] in found:
                came = f"two pictures have the identifier {values['image_id']!r}"
                raise FormatError(came, "one", "download the release again")
            found.add(values["image_id"])
    return found


def _about(row: Row, found: Recovered, stored: Collection[str], index: Index | None, volumes: Path | None) -> str:
    """What a row is about: the identifier of a picture, several of them, or the path of a volume, each behind its word.

    Raises:
        LeftOut: If the release and the folder of the volumes do not have it.
    """
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
    """A row as plain values; the looks come out of the response again."""
    values = {field: getattr(found, field) for field in _FIELDS}
    kept = None if found.sample is None else sample_row(found.sample)
    looks = [[look.label, list(look.box.coords)] for look in found.looks]
    return {"row": name, "table": table, "found": values, "looks": looks, "sample": kept}


def _again(values: dict[str, Any]) -> Recovered:
    """The inverse of ``_plain``."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values["found"].items()}
    looks = tuple(Look(label, box_of(box)) for label, box in values["looks"])
    return Recovered(**plain, looks=looks, sample=None if values["sample"] is None else sample_from_row(values["sample"]))


def _pictures(path: Path, aside: Scratch, shelving: Shelving, tell: Callable[[int], None]) -> int:
    """Write the cases of all pictures in the order of the release; the slices of volumes are kept until all are there.

    Returns:
        The number of pictures of the release.
    """
    count, seen = 0, set[str]()
    waiting = [json.loads(name.removeprefix(_SLICES)) for name in aside.names() if name.startswith(_SLICES)]
    wanted = {identifier for identifiers in waiting for identifier in identifiers}
    for count, row in enumerate(_images(path), start=1):
        if isinstance(row, ImageRow):
            seen.add(row.image_id)
            if row.image_id in wanted:
                aside.store(row.image_id, row.bytes)
            _put(shelving, aside.of(_PICTURE + row.image_id), lambda row=row: _picture(row))  # type: ignore[misc]
        tell(count)
    for identifiers in waiting:
        rows = aside.of(_SLICES + json_text(identifiers))
        _put(shelving, rows, lambda own=identifiers: _slices(own, aside))  # type: ignore[misc]
    for name in aside.names():
        if name.startswith(_PICTURE) and name.removeprefix(_PICTURE) not in seen:
            for kept in aside.of(name):
                shelving.leave_out(kept.values["row"], no_picture(ImageReadError("its row is damaged")))
    return count


def _images(path: Path) -> Iterator[ImageRow | FormatError]:
    for file in unimed_cot.files_of(path).get("images", ()):
        yield from unimed_cot.image_rows(file, strict=False)


def _volumes(aside: Scratch, shelving: Shelving, tell: Callable[[int], None], *, volumes: Path | None) -> None:
    """Write the cases of all volumes, in the order in which rows named them; ``tell`` gets the number of rows."""
    count = 0
    for name in aside.names():
        if name.startswith(_VOLUME) and volumes is not None:
            where, rows = name.removeprefix(_VOLUME), aside.of(name)
            _put(shelving, rows, lambda where=where: Shown(where, imaging.read(volumes / where), where))  # type: ignore[misc]
            count += len(rows)
            tell(count)


def _picture(row: ImageRow) -> Shown:
    return Shown(row.image_id, read_stored(row.bytes, "picture"), row.path)


def _slices(identifiers: list[str], aside: Scratch) -> Shown:
    """Slices of one volume, as they are stored.

    Raises:
        ImageReadError: If one cannot be read or they differ in size.
    """
    pictures = [read_stored(aside.picture(identifier), "picture").pixels for identifier in identifiers]
    if any(str(picture.dtype) != "uint8" for picture in pictures):
        raise ImageReadError("the slices are no pictures of 8 bits", "grey levels from 0 to 255")
    return Shown(identifiers[0], case_of(pictures, "volume", Source(identifiers[0], "png", "")), "")


def _put(shelving: Shelving, rows: list[Kept], read: Callable[[], Shown]) -> None:
    """Write the case of a picture, once a split; nothing if no row is about it."""
    if not rows:
        return
    try:
        shown = read()
        for published in dict.fromkeys(row.split for row in rows):
            own = [(row.values["row"], row.values["table"], _again(row.values)) for row in rows if row.split == published]
            _put_split(shelving, shown, published, own)
    except UniReasonError as error:
        for row in rows:
            shelving.leave_out(row.values["row"], no_picture(error))


def _put_split(shelving: Shelving, shown: Shown, published: str, rows: list[tuple[str, str, Recovered]]) -> None:
    patient = next((found.sample.patient for _, _, found in rows if found.sample), "")
    shown = Shown(shown.name, shown.case, shown.image, patient)
    split = shelving.split(published, shown)
    scene = shelving.scene(shown, shelving.case_name(shown, published))
    # What this package exported says so by the samples that it keeps: boxes are pixels of the stored pictures then.
    ours = not shown.image or any(found.sample for _, _, found in rows)
    written = _own(shown) if ours else written_frame(shown.case.geometry.shape)
    made = []
    for name, table, found in rows:
        try:
            sample = from_recovered(found, table, Place(scene.case, split, patient, written, scene.frame))
        except LeftOut as why:
            shelving.leave_out(name, why)
            continue
        made.append((name, sample))
        if table == "sft" and other_crops(found, sample, scene.frame):
            shelving.other_crops()
    shelving.put(shown, scene, split, made)


def _own(shown: Shown) -> Frame:
    """The pixels of a picture, or of the stored slices of a volume, as a frame: what this package writes has no other."""
    depth, height, width = (1, *shown.case.geometry.shape)[-3:]
    return Frame(width, height, depth, shown.case.kind)
