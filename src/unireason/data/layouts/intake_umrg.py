"""U-MRG taken in: implicit questions with their pictures and masks. Rows about one picture come together, by the hash of its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.data.names import readable
from unireason.errors import FormatError, UniReasonError
from unireason.types import Frame

from . import umrg
from .fitted import LeftOut, Place, from_umrg
from .scratch import Kept, Scratch
from .shelving import Shelving, Shown, no_picture, published_split, unreadable
from .stored import read_mask, read_stored
from .umrg import UmrgRow

_SAID = tuple(field.name for field in fields(UmrgRow) if field.name not in ("images", "masks"))


def take_in(path: Path, aside: Scratch, shelving: Shelving, tell: Callable[[int], None]) -> None:
    """Put the rows and their masks aside, then go through the pictures.

    As in the published evaluation the first picture and the first mask of a row count.

    Args:
        path: The release: a folder, or one of its files.
        aside: Takes rows and masks.
        shelving: Takes the cases.
        tell: Called with the number of rows done; every row is passed twice.

    Raises:
        FormatError: If the release has another layout.
        UniReasonError: If a folder cannot be read or written.
    """
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
            _put_split(shelving, Shown(key[:16], case, row.images[0].path), published, own)
    except UniReasonError as error:
        for kept in rows:
            shelving.leave_out(kept.values["row"], no_picture(error))


def _put_split(shelving: Shelving, shown: Shown, published: str, rows: list[Kept]) -> None:
    split = shelving.split(published, shown)
    scene = shelving.scene(shown, shelving.case_name(shown, published))
    height, width = shown.case.geometry.shape
    place = Place(scene.case, split, "", Frame(width, height, 1, "image"), scene.frame)
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
