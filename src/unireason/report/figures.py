"""Still pictures of a trace, by Pillow alone: key slices with their boxes, the crops, question and answer; contact sheets.

For a thumbnail, a README or a slide. The page (``page.py``) is the place to look closely.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from unireason.errors import FormatError
from unireason.files import write_bytes
from unireason.types import Case, Stack, Trace, is_mismatch

from .markup import clean
from .pixels import check, png
from .scene import TONES, Look, Scene, compose

_INK, _SOFT, _PAPER, _BLACK = "#1a1d21", "#5d646d", "#ffffff", "#08090b"
_PAD, _GAP, _CROP, _NAME = 28, 14, 92, 160
_MOST_SLICES, _MOST_CROPS = 4, 8


def overlay(trace: Trace, case: Case, stack: Stack, *, width: int = 1200) -> Image.Image:
    """One picture that tells a trace: question, key slices with boxes, crops, answer.

    Args:
        trace: The trace.
        case: The case it is about, for true proportions.
        stack: The slices shown to the model.
        width: Width of the picture in pixels, at least 400.

    Returns:
        An RGB picture; as high as its content. Without looks it shows the middle slice.

    Raises:
        FormatError: The three do not belong together, or the width is too small.
    """
    if width < 400:
        raise FormatError(f"a picture {width} pixels wide", "at least 400")
    scene = compose(trace, case, stack)
    inner = width - 2 * _PAD
    rows = [
        _words(trace.question, inner, 24, _INK),
        *_body(scene, stack, inner),
        _words(_answer_words(trace), inner, 20, _INK),
        _words("Research only. Not a medical device.", inner, 13, _SOFT),
    ]
    column = _above(rows)
    sheet = Image.new("RGB", (width, column.height + 2 * _PAD), _PAPER)
    sheet.paste(column, (_PAD, _PAD))
    return sheet


def write_overlay(trace: Trace, case: Case, stack: Stack, path: str | os.PathLike[str], *, width: int = 1200) -> Path:
    """Write :func:`overlay` as a PNG file and return its path; same arguments and errors, and UniReasonError if unwritable."""
    return write_bytes(path, png(overlay(trace, case, stack, width=width)))


def thumbnail(trace: Trace, case: Case, stack: Stack, *, height: int = 220) -> Image.Image:
    """The slice that a trace opens with, its boxes drawn in.

    Args:
        trace: The trace.
        case: The case it is about.
        stack: The slices shown to the model.
        height: Height in pixels, at least 32; the width follows the true proportions.

    Returns:
        An RGB picture.

    Raises:
        FormatError: The three do not belong together, or the height is too small.
    """
    if height < 32:
        raise FormatError(f"a thumbnail {height} pixels high", "at least 32")
    scene = compose(trace, case, stack)
    return _slice(scene, stack, scene.start, (max(1, round(height * scene.aspect)), height))


def montage(stack: Stack, *, columns: int = 8, tile: int = 128) -> Image.Image:
    """A contact sheet of all slices, numbered from 0, in reading order.

    Args:
        stack: One slice or more.
        columns: Tiles in a row, at least 1.
        tile: Longer side of a tile in pixels, at least 16.

    Returns:
        An RGB picture.

    Raises:
        FormatError: No slices, or sizes out of range.
    """
    if len(stack.slices) == 0 or columns < 1 or tile < 16:
        sizes = f"{len(stack.slices)} slices in {columns} columns of {tile} pixels"
        raise FormatError(f"a contact sheet of {sizes}", "at least 1 slice, 1 column and 16 pixels")
    high, wide = stack.slices.shape[1:3]
    scale = tile / max(high, wide)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    columns = min(columns, len(stack.slices))
    rows = -(-len(stack.slices) // columns)
    sheet = Image.new("RGB", (columns * (size[0] + 2) - 2, rows * (size[1] + 2) - 2), "#2b3037")
    for z, pixels in enumerate(stack.slices):
        picture = Image.fromarray(check(pixels)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        if len(stack.slices) > 1:
            tag(ImageDraw.Draw(picture), (3, 3), str(z), "#ffffff", 11)
        sheet.paste(picture, ((z % columns) * (size[0] + 2), (z // columns) * (size[1] + 2)))
    return sheet


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _answer_words(trace: Trace) -> str:
    text = trace.answer.text.strip()
    against = " (letter and text contradict)" if is_mismatch(trace) else ""
    return f"Answer: {text}{against}" if text else "The model gave no answer."


def _words(text: str, width: int, size: int, colour: str) -> Image.Image:
    """A block of text, broken into lines that fit, as a picture."""
    font = _font(size)
    lines = _lines(text, width, font)
    step = round(size * 1.35)
    block = Image.new("RGB", (width, step * len(lines)), _PAPER)
    draw = ImageDraw.Draw(block)
    for n, line in enumerate(lines):
        draw.text((0, n * step), line, fill=colour, font=font)
    return block


def _lines(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Greedy line breaking at blanks; a word that is too long for a line is broken anywhere."""
    lines = [""]
    for word in clean(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def key_slices(scene: Scene) -> list[int]:
    """The middle slices of the looks, fewest that show every look where possible, at most four."""
    chosen: list[int] = []
    for look in scene.looks:
        if look.last > look.first and not any(look.first <= z < look.last for z in chosen):
            chosen.append(look.home)
    return sorted(chosen[:_MOST_SLICES]) or [scene.start]


def _body(scene: Scene, stack: Stack, width: int) -> list[Image.Image]:
    """Slices above their crops; a single slice with its crops beside it."""
    chosen, looks = key_slices(scene), [look for look in scene.looks if look.step.crops]
    widest = round(620 * scene.aspect)
    if len(chosen) > 1 or not looks:
        each = _size(scene, min((width - _GAP * (len(chosen) - 1)) // len(chosen), widest))
        slices = [_slice(scene, stack, z, each) for z in chosen]
        return [_beside(slices, width, _GAP), *(_crop_row(look, width) for look in looks)]
    size = _size(scene, min(round(width * 0.55), widest))
    crops = _above([_crop_row(look, width - size[0] - 2 * _GAP) for look in looks])
    return [_beside([_slice(scene, stack, chosen[0], size), crops], width, 2 * _GAP)]


def _size(scene: Scene, width: int) -> tuple[int, int]:
    return width, max(1, round(width / scene.aspect))


def _beside(pictures: Sequence[Image.Image], width: int, gap: int) -> Image.Image:
    row = Image.new("RGB", (width, max(p.height for p in pictures)), _PAPER)
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def _above(pictures: Sequence[Image.Image]) -> Image.Image:
    column = Image.new("RGB", (max(p.width for p in pictures), sum(p.height + _GAP for p in pictures) - _GAP), _PAPER)
    top = 0
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height + _GAP
    return column


def _slice(scene: Scene, stack: Stack, z: int, size: tuple[int, int]) -> Image.Image:
    """One slice at ``size`` (width, height) with the boxes and numbers of the looks that cover it."""
    picture = Image.fromarray(check(stack.slices[z])).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    factors = (size[0] / scene.frame.width, size[1] / scene.frame.height)
    shown = [look for look in scene.looks if look.first <= z < look.last]
    for look in shown:
        _rectangle(draw, look, factors)
    for look in shown:
        x, y = look.rect[0] * factors[0], look.rect[1] * factors[1]
        tag(draw, (x, y - 21 if y >= 21 else y + 3), str(look.number), TONES[look.tone], 14)
    if scene.frame.kind == "volume" and size[1] >= 160:
        tag(draw, (6, size[1] - 22), f"slice {z}", "#ffffff", 12)
    return picture


def _rectangle(draw: ImageDraw.ImageDraw, look: Look, factors: tuple[float, float]) -> None:
    x1, y1, x2, y2 = (round(v * factors[n % 2]) for n, v in enumerate(look.rect))
    x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
    draw.rectangle((x1 - 1, y1 - 1, max(x2 + 1, x1), max(y2 + 1, y1)), outline=_BLACK)
    draw.rectangle((x1, y1, x2, y2), outline=TONES[look.tone], width=2)


def tag(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: str, size: int) -> None:
    """A small label: dark letters on the colour, or white letters on black for a white one."""
    font = _font(size)
    x, y = max(corner[0], 0), max(corner[1], 0)
    box = (x, y, x + font.getlength(text) + 9, y + size + 5)
    white = colour == "#ffffff"
    draw.rounded_rectangle(box, radius=4, fill="#000000" if white else ImageColor.getrgb(colour))
    draw.text((x + 4.5, y + (size + 5) / 2), text, fill="#ffffff" if white else _BLACK, font=font, anchor="lm")


def _crop_row(look: Look, width: int) -> Image.Image:
    """The name of a look, then the regions it put in front of the model, evenly thinned out."""
    crops = look.step.crops
    room = max(1, (width - _NAME) // (_CROP + 8))
    chosen = spread(len(crops), min(room, _MOST_CROPS))
    row = Image.new("RGB", (width, _CROP + 4), _PAPER)
    draw = ImageDraw.Draw(row)
    tag(draw, (0, 4), str(look.number), TONES[look.tone], 14)
    for n, line in enumerate(_lines(look.step.label or f"look {look.number}", _NAME - 40, _font(15))[:3]):
        draw.text((28, 5 + n * 19), line, fill=_INK, font=_font(15))
    count = f"{len(chosen)} of {len(crops)} regions" if len(chosen) < len(crops) else ""
    draw.text((28, _CROP - 14), count, fill=_SOFT, font=_font(12))
    for n, index in enumerate(chosen):
        pixels = crops[index].pixels
        if not pixels.size:
            continue
        picture = Image.fromarray(check(pixels)).convert("RGB")
        scale = _CROP / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        place = (_NAME + n * (_CROP + 8), (_CROP - size[1]) // 2 + 1)
        row.paste(picture.resize(size, Image.Resampling.NEAREST), place)
        draw.rectangle((place[0] - 1, place[1] - 1, place[0] + size[0], place[1] + size[1]), outline=TONES[look.tone])
    return row


def spread(count: int, most: int) -> Sequence[int]:
    """At most ``most`` indices spread evenly over ``count``, first and last among them."""
    if count <= most:
        return range(count)
    return [int(i) for i in np.linspace(0, count - 1, most).round()]
