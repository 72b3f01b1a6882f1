"""A published release becomes a data set: the same records, pictures, manifest and card that the builder writes.

Rows that cannot be learned from are left out, each with its reason in ``skipped.jsonl``; the manifest counts them by reason under
"dropped". What a release does not tell stays empty. See docs/explanation/data.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason import imaging
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.store import json_text
from unireason.core.types import Frame, Look, Source
from unireason.data.build_store import seal
from unireason.data.frames import FrameRule
from unireason.data.records import box_of, sample_from_row, sample_row
from unireason.data.scene import readable
from unireason.data.sources.release import case_of

from . import READABLE, umrg, unimed_cot
from .rows import (
    FrameFit,
    Kept,
    LeftOut,
    ReleaseShown,
    RowStore,
    Shelving,
    from_recovered,
    from_umrg,
    no_picture,
    other_crops,
    published_split,
    read_mask,
    read_stored,
    scratch,
    unreadable,
    written_frame,
)
from .tables import whole
from .umrg import UmrgRow
from .unimed_cot import ENDINGS, ImageRow, Index, Recovered, RlRow, SftRow, from_rl, from_sft, names_of

# --- U-MRG taken in: implicit questions with their pictures and masks. Rows about one picture come together, by the hash of its
# file.


_SAID = tuple(field.name for field in fields(UmrgRow) if field.name not in ("images", "masks"))


def take_in_umrg(path: Path, aside: RowStore, shelving: Shelving, tell: Callable[[int], None]) -> None:
    """Put the rows and their masks aside, then go through the pictures."""
    names: Counter[str] = Counter()
    done = 0
    for done, (file, row) in enumerate(_rows(path), start=1):
        if isinstance(row, FormatError):
            shelving.leave_out(f"{file.stem}-{done}", unreadable(row))
            tell(done)
            continue
        name = row.id or f"{file.stem}-{done}"
        names[name] += 1
        name = name if names[name] == 1 else f"{name}~{names[name]}"
        values = {"row": name, **{field: getattr(row, field) for field in _SAID}}
        aside.keep(_key(row), Kept(published_split(file), values, row.masks[0].bytes))
        tell(done)
    aside.index()
    seen: set[str] = set()
    for count, (_, row) in enumerate(_rows(path), start=1):
        key = "" if isinstance(row, FormatError) else _key(row)
        if isinstance(row, UmrgRow) and key not in seen:
            seen.add(key)
            _put(shelving, row, key, aside.of(key))
        tell(done + count)


def _rows(path: Path) -> Iterator[tuple[Path, UmrgRow | FormatError]]:
    for file in umrg.files_of(path):
        yield from ((file, row) for row in umrg.read_any(file, strict=False))


def _key(row: UmrgRow) -> str:
    return sha256(row.images[0].bytes).hexdigest()


def _put(shelving: Shelving, row: UmrgRow, key: str, rows: list[Kept]) -> None:
    """Write the case of a picture, once a split."""
    try:
        case = read_stored(row.images[0].bytes, "picture")
        for published in dict.fromkeys(kept.split for kept in rows):
            own = [kept for kept in rows if kept.split == published]
            _put_split(shelving, ReleaseShown(key[:16], case, row.images[0].path), published, own)
    except UniReasonError as error:
        for kept in rows:
            shelving.leave_out(kept.values["row"], no_picture(error))


def _put_split(shelving: Shelving, shown: ReleaseShown, published: str, rows: list[Kept]) -> None:
    split = shelving.split(published, shown)
    scene = shelving.scene(shown, shelving.case_name(shown, published))
    height, width = shown.case.geometry.shape
    place = FrameFit(scene.case, split, "", Frame(width, height, 1, "image"), scene.frame)
    masks: dict[str, NDArray[np.bool_]] = {}
    made = []
    for kept in rows:
        name, row = kept.values["row"], _again(kept.values)
        try:
            mask = _mask(kept.data, (height, width))
            made.append((name, from_umrg(row, name, place, mask=mask, called=_named(masks, row, mask))))
        except LeftOut as why:
            shelving.leave_out(name, why)
    shelving.put(replace(shown, masks=masks), scene, split, made)


def _again(values: dict[str, Any]) -> UmrgRow:
    """A row without its pictures."""
    said = {name: values[name] for name in _SAID}
    said["box"], said["points"] = tuple(values["box"]), tuple(map(tuple, values["points"]))
    return UmrgRow((), (), **said)


def _mask(data: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        return read_mask(data, shape)
    except UniReasonError as error:
        raise LeftOut("its mask cannot be used", str(error)) from error


def _named(masks: dict[str, NDArray[np.bool_]], row: UmrgRow, mask: NDArray[np.bool_]) -> str:
    """The name of the mask of a row among those of its picture; another mask of the same name gets a number."""
    base = readable(row.category) or "target"
    number = 1
    while (name := base if number == 1 else f"{base} {number}") in masks:
        if np.array_equal(masks[name], mask):
            return name
        number += 1
    masks[name] = mask
    return name


# --- UniMed-CoT taken in: supervised and reinforcement-learning rows, pictures of the release, volumes of the user's.


Row = SftRow | RlRow

_PICTURE, _SLICES, _VOLUME = "picture:", "slices:", "volume:"
"""What rows are about begins with one of these, whatever identifiers the release chose."""
_FIELDS = ("id", "kind", "question", "options", "letter", "response", "image_ids", "origin", "problems")


def take_in_unimed_cot(
    path: Path, aside: RowStore, shelving: Shelving, tell: Callable[[int], None], *, volumes: Path | None
) -> None:
    """Put the rows aside, then go through the pictures and volumes."""
    index = Index.of(volumes) if volumes else None
    stored = _identifiers(path)
    done = 0
    for number, (table, file, row) in enumerate(_cot_rows(path), start=1):
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


def _cot_rows(path: Path) -> Iterator[tuple[str, Path, Row | FormatError]]:
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
    """The identifiers of all pictures."""
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
    """A row as plain values; the looks come out of the response again."""
    values = {field: getattr(found, field) for field in _FIELDS}
    kept = None if found.sample is None else sample_row(found.sample)
    looks = [[look.label, list(look.box.coords)] for look in found.looks]
    return {"row": name, "table": table, "found": values, "looks": looks, "sample": kept}


def _cot_again(values: dict[str, Any]) -> Recovered:
    """The inverse of ``_plain``."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values["found"].items()}
    looks = tuple(Look(label, box_of(box)) for label, box in values["looks"])
    return Recovered(**plain, looks=looks, sample=None if values["sample"] is None else sample_from_row(values["sample"]))


def _pictures(path: Path, aside: RowStore, shelving: Shelving, tell: Callable[[int], None]) -> int:
    """Write the cases of all pictures in the order of the release; the slices of volumes are kept until all are there."""
    count, seen = 0, set[str]()
    waiting = [json.loads(name.removeprefix(_SLICES)) for name in aside.names() if name.startswith(_SLICES)]
    wanted = {identifier for identifiers in waiting for identifier in identifiers}
    for count, row in enumerate(_images(path), start=1):
        if isinstance(row, ImageRow):
            seen.add(row.image_id)
            if row.image_id in wanted:
                aside.store(row.image_id, row.bytes)
            _put_cot(shelving, aside.of(_PICTURE + row.image_id), lambda row=row: _picture(row))  # type: ignore[misc]
        tell(count)
    for identifiers in waiting:
        rows = aside.of(_SLICES + json_text(identifiers))
        _put_cot(shelving, rows, lambda own=identifiers: _slices(own, aside))  # type: ignore[misc]
    for name in aside.names():
        if name.startswith(_PICTURE) and name.removeprefix(_PICTURE) not in seen:
            for kept in aside.of(name):
                shelving.leave_out(kept.values["row"], no_picture(ImageReadError("its row is damaged")))
    return count


def _images(path: Path) -> Iterator[ImageRow | FormatError]:
    for file in unimed_cot.files_of(path).get("images", ()):
        yield from unimed_cot.image_rows(file, strict=False)


def _volumes(aside: RowStore, shelving: Shelving, tell: Callable[[int], None], *, volumes: Path | None) -> None:
    """Write the cases of all volumes, in the order in which rows named them; ``tell`` gets the number of rows."""
    count = 0
    for name in aside.names():
        if name.startswith(_VOLUME) and volumes is not None:
            where, rows = name.removeprefix(_VOLUME), aside.of(name)
            _put_cot(shelving, rows, lambda where=where: ReleaseShown(where, imaging.read(volumes / where), where))  # type: ignore[misc]
            count += len(rows)
            tell(count)


def _picture(row: ImageRow) -> ReleaseShown:
    return ReleaseShown(row.image_id, read_stored(row.bytes, "picture"), row.path)


def _slices(identifiers: list[str], aside: RowStore) -> ReleaseShown:
    """Slices of one volume, as they are stored."""
    pictures = [read_stored(aside.picture(identifier), "picture").pixels for identifier in identifiers]
    if any(str(picture.dtype) != "uint8" for picture in pictures):
        raise ImageReadError("the slices are no pictures of 8 bits", "grey levels from 0 to 255")
    return ReleaseShown(identifiers[0], case_of(pictures, "volume", Source(identifiers[0], "png", "")), "")


def _put_cot(shelving: Shelving, rows: list[Kept], read: Callable[[], ReleaseShown]) -> None:
    """Write the case of a picture, once a split; nothing if no row is about it."""
    if not rows:
        return
    try:
        shown = read()
        for published in dict.fromkeys(row.split for row in rows):
            own = [(row.values["row"], row.values["table"], _cot_again(row.values)) for row in rows if row.split == published]
            _put_cot_split(shelving, shown, published, own)
    except UniReasonError as error:
        for row in rows:
            shelving.leave_out(row.values["row"], no_picture(error))


def _put_cot_split(shelving: Shelving, shown: ReleaseShown, published: str, rows: list[tuple[str, str, Recovered]]) -> None:
    patient = next((found.sample.patient for _, _, found in rows if found.sample), "")
    shown = ReleaseShown(shown.name, shown.case, shown.image, patient)
    split = shelving.split(published, shown)
    scene = shelving.scene(shown, shelving.case_name(shown, published))
    # What this package exported says so by the samples that it keeps: boxes are pixels of the stored pictures then.
    ours = not shown.image or any(found.sample for _, _, found in rows)
    written = _own(shown) if ours else written_frame(shown.case.geometry.shape)
    made = []
    for name, table, found in rows:
        try:
            sample = from_recovered(found, table, FrameFit(scene.case, split, patient, written, scene.frame))
        except LeftOut as why:
            shelving.leave_out(name, why)
            continue
        made.append((name, sample))
        if table == "sft" and other_crops(found, sample, scene.frame):
            shelving.other_crops()
    shelving.put(shown, scene, split, made)


def _own(shown: ReleaseShown) -> Frame:
    """The pixels of a picture, or of the stored slices of a volume, as a frame: what this package writes has no other."""
    depth, height, width = (1, *shown.case.geometry.shape)[-3:]
    return Frame(width, height, depth, shown.case.kind)


# --- A published release becomes a data set: the same records, pictures, manifest and card that the builder writes.


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
        return seal(folder, config, about, skipped=shelving.skipped, root=root)


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
    from .tables import row_count

    if layout == "umrg":
        return 2 * sum(map(row_count, umrg.files_of(path)))
    return sum(row_count(file) for files in unimed_cot.files_of(path).values() for file in files)
