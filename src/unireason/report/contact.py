"""Contact sheets: items of a source at a glance, each with the outlines of its masks, a legend and what it is.

A volume shows the slice with most structures, in true proportions. A structure has the same colour all over the sheet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw
from scipy import ndimage

from unireason import imaging
from unireason.data.item import Loaded
from unireason.data.regions import axial
from unireason.data.sources.labels import occurring

from .html import RESEARCH_ONLY, clean
from .pictures import TONES as LOOKS
from .pictures import aspect_of, font_of, scaled

SIDE = 300
"""Pixels of a thumbnail's longer side."""
TONES = (*LOOKS, "#c8f56a", "#f2a3ff", "#7aa5ff", "#ffd0a1")
_PAPER, _CARD, _INK, _SOFT, _BLACK = "#15181c", "#1f242a", "#eef1f4", "#98a2ad", "#000000"
_PAD, _GAP, _LINE = 24, 16, 20
_LEGEND_LINES = 3
_FEWEST = 3  # columns for which there is room, so that headings fit


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One item, ready to be placed on a sheet.

    Attributes:
        title: The item's identifier.
        facts: Two lines: modality, size and slice; spacing.
        picture: uint8 (h, w, 3), at most `SIDE` a side.
        outlines: Structure name to a boolean (h, w) outline, largest structure first.
        hidden: Structures that are present but not on this slice.
        sides: True if the left of the picture is the patient's right, which is then written on it.
    """

    title: str
    facts: tuple[str, str]
    picture: NDArray[np.uint8]
    outlines: dict[str, NDArray[np.bool_]]
    hidden: int = 0
    sides: bool = False


def tile(loaded: Loaded) -> Tile:
    """The thumbnail of an item.

    Args:
        loaded: The item; one without any mask voxel shows its middle slice without outlines.
    """
    case, place = loaded.case, ""
    shown = loaded
    held = [(layer.names, occurring(layer.labels)) for layer in loaded.layers]
    present = {name for names, values in held for value, name in names.items() if value in values}
    if case.kind == "volume":
        k = fullest(loaded)
        shown, place = axial(loaded, k), f"slice {k + 1} of {case.geometry.shape[0]}"
    ratio = aspect_of(shown.case.geometry)  # in true proportions
    height, width = round(SIDE / max(1.0, ratio)), round(SIDE * min(1.0, ratio))
    picture = imaging.serialize(shown.case, size=(height, width)).slices[0]
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    outlines = _outlines(shown, height, width)
    geometry = loaded.case.geometry
    size, spacing = " x ".join(str(n) for n in reversed(geometry.shape)), "spacing unknown"
    if geometry.spacing_mm is not None:
        spacing = " x ".join(f"{s:.3g}" for s in geometry.spacing_mm) + " mm spacing"
    facts = " · ".join(part for part in (case.modality or loaded.item.modality, size, place) if part)
    sides = case.kind == "volume" and case.geometry.affine_lps is not None
    return Tile(loaded.item.id, (facts, spacing), picture, outlines, len(present - set(outlines)), sides)


def fullest(loaded: Loaded) -> int:
    """The canonical slice of a volume that shows most structures; of equals the one with most mask voxels, then the lowest."""
    depth = loaded.case.geometry.shape[0]
    kinds, voxels = np.zeros(depth, np.intp), np.zeros(depth, np.intp)
    for layer in loaded.layers:
        named = [v for v in layer.names if v]
        highest = max(named, default=0)
        for k, plane in enumerate(layer.labels):
            found = np.bincount(np.minimum(plane, highest + 1).ravel(), minlength=highest + 2)[named]
            kinds[k] += np.count_nonzero(found)
            voxels[k] += found.sum()
    if not voxels.any():
        return depth // 2
    best = np.flatnonzero(kinds == kinds.max())
    return int(best[voxels[best].argmax()])


def sheet(tiles: Sequence[Tile], *, title: str, lines: Sequence[str] = (), columns: int = 4) -> Image.Image:
    """Thumbnails side by side under a heading.

    Args:
        tiles: In reading order; none gives the heading alone.
        title: Heading.
        lines: Further lines under it.
        columns: Thumbnails in a row, at least 1.

    Returns:
        An RGB picture.
    """
    often = Counter(name for one in tiles for name in one.outlines)
    # Names seen most often take the first tones, so that neighbours rarely share one.
    ranked = sorted(often, key=lambda name: (-often[name], name))
    colours = {name: TONES[n % len(TONES)] for n, name in enumerate(ranked)}
    columns = max(1, min(columns, len(tiles)))
    rows = [tiles[n : n + columns] for n in range(0, len(tiles), columns)]
    card = SIDE + 2 * 10
    heights = [20 + SIDE + 8 + 3 * _LINE + 6 + max(len(_legend(one)) for one in row) * _LINE for row in rows]
    top = _PAD + 34 + _LINE * len(lines) + _GAP
    bottom = 30
    wide = max(columns, _FEWEST)
    width = 2 * _PAD + wide * card + (wide - 1) * _GAP
    picture = Image.new("RGB", (width, top + sum(heights) + _GAP * max(0, len(rows) - 1) + bottom + _PAD), _PAPER)
    draw = ImageDraw.Draw(picture)
    _write(draw, (_PAD, _PAD), title, width - 2 * _PAD, 24, _INK)
    for n, line in enumerate(lines):
        _write(draw, (_PAD, _PAD + 36 + n * _LINE), line, width - 2 * _PAD, 14, _SOFT)
    y = top
    for row, height in zip(rows, heights, strict=True):
        for n, one in enumerate(row):
            x = _PAD + n * (card + _GAP)
            draw.rounded_rectangle((x, y, x + card - 1, y + height - 1), radius=8, fill=_CARD)
            _place(picture, draw, one, (x + 10, y + 10), colours)
        y += height + _GAP
    _write(draw, (_PAD, picture.height - _PAD - 14), RESEARCH_ONLY, width - 2 * _PAD, 12, _SOFT)
    return picture


def _outlines(image: Loaded, height: int, width: int) -> dict[str, NDArray[np.bool_]]:
    """Outlines two pixels wide on the thumbnail's grid, largest structure first; slivers that would vanish keep one pixel."""
    found: list[tuple[int, str, NDArray[np.bool_]]] = []
    for layer in image.layers:
        for value, name in layer.names.items():
            if not value or not np.any(layer.labels == value):
                continue
            mask = scaled(layer.labels == value, (width, height))
            edge = mask & ~ndimage.binary_erosion(mask, iterations=2, border_value=0)
            found.append((int(mask.sum()), name, edge))
    return {name: edge for _, name, edge in sorted(found, key=lambda entry: (-entry[0], entry[1]))}


def _legend(one: Tile) -> list[list[tuple[str, int]]]:
    """Names with their widths, broken into lines; a width of 0 marks a remark on what is not shown."""
    font = font_of(13)
    entries = [(name, 16 + int(font.getlength(_short(clean(name), 26))) + 12) for name in one.outlines]
    lines: list[list[tuple[str, int]]] = []
    used = SIDE
    for name, wide in entries:  # no line wider than a thumbnail
        if used + wide - 12 > SIDE:
            lines.append([])
            used = 0
        lines[-1].append((name, wide))
        used += wide
    fitting = sum(len(line) for line in lines[:_LEGEND_LINES])
    lines = lines[:_LEGEND_LINES]
    remarks = [f"{len(entries) - fitting} more here"] if fitting < len(entries) else []
    remarks += [f"{one.hidden} more on other slices"] if one.hidden else []
    if not entries:
        remarks.insert(0, "no structure here")
    return [*lines, *([[(" · ".join(remarks), 0)]] if remarks else [])]


def _place(
    picture: Image.Image, draw: ImageDraw.ImageDraw, one: Tile, corner: tuple[int, int], colours: Mapping[str, str]
) -> None:
    """One thumbnail with its words."""
    x, y = corner
    pixels = one.picture.copy()
    for name, edge in reversed(one.outlines.items()):  # small structures on top
        pixels[edge] = ImageColor.getrgb(colours[name])
    height, width = pixels.shape[:2]
    draw.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), fill=_BLACK)
    picture.paste(Image.fromarray(pixels), (x + (SIDE - width) // 2, y + (SIDE - height) // 2))
    if one.sides:
        for letter, left in (("R", x + 6), ("L", x + SIDE - 16)):
            draw.text((left, y + 4), letter, fill=_INK, font=font_of(15), stroke_width=2, stroke_fill=_BLACK)
    y += SIDE + 8
    _write(draw, (x, y), one.title, SIDE, 15, _INK)
    for n, line in enumerate(one.facts, start=1):
        _write(draw, (x, y + n * _LINE), line, SIDE, 12, _SOFT)
    y += 3 * _LINE + 6
    for entries in _legend(one):
        left = x
        for name, wide in entries:
            if wide:
                draw.rounded_rectangle((left, y + 3, left + 10, y + 13), radius=2, fill=colours[name])
                draw.text((left + 16, y), _short(clean(name), 26), fill=_INK, font=font_of(13))
            else:
                draw.text((left, y), name, fill=_SOFT, font=font_of(13))
            left += wide
        y += _LINE


def _write(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, width: int, size: int, colour: str) -> None:
    """One line of text, its middle left out where it is too long."""
    text, font = clean(text), font_of(size)
    keep = len(text)
    while keep > 8 and font.getlength(_short(text, keep)) > width:
        keep -= 1
    draw.text(corner, _short(text, keep), fill=colour, font=font)


def _short(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[len(text) - half :]}"
