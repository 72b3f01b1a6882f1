"""What a page or a picture shows of a trace, worked out once: numbered looks, slices in view, maps to voxel and world.

Behind it still pictures of traces and of masks, and the outlines of masks for drawings that scale.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage

from unireason.core.errors import FormatError
from unireason.core.store import write_bytes
from unireason.core.types import Box, Box2D, Box3D, Case, Frame, Geometry, LookStep, Stack, Trace, is_mismatch
from unireason.grounding.crop import extent
from unireason.imaging import present as windows
from unireason.imaging.geometry import model_to_voxel, voxel_to_world

from .html import RESEARCH_ONLY, check, clean, fit, number, png

TONES = ("#4cc2ff", "#ffb02e", "#5ddc86", "#ff7ab8", "#ffe14a", "#b59bff", "#ff7d5c", "#35dcc6")
"""Look colours, in order; they stand out on grey pictures and are told apart by colour-blind readers with the numbers."""

FAR = 20_000.0
"""Model pixels. A model writes any number; beyond every frame one place is as good as another, and can be drawn."""

_AXES = ("i", "j", "k")
_TOWARDS = (("L", "R"), ("P", "A"), ("H", "F"))


@dataclass(frozen=True, slots=True, eq=False)
class PageLook:
    """One look as it is shown."""

    number: int
    tone: int
    step: LookStep
    box: tuple[float, ...]
    rect: tuple[float, float, float, float]
    first: int
    last: int
    size_mm: tuple[float, ...] | None

    @property
    def home(self) -> int:
        """The slice to jump to: the middle one."""
        return (self.first + max(self.last - 1, self.first)) // 2

    @property
    def name(self) -> str:
        """Its number, and its label if it has one."""
        return f"Look {self.number}" + (f", {self.step.label}" if self.step.label else "")

    @property
    def where(self) -> str:
        """Its slices in a volume, its corners in an image."""
        box, last = self.box, self.last - 1
        if len(box) != 6:
            return f"{number(box[0])}\u2013{number(box[2])} × {number(box[1])}\u2013{number(box[3])}"
        if self.last <= self.first:
            return "outside the stack"
        return f"slice {self.first}" if last <= self.first else f"slices {self.first}\u2013{last}"


@dataclass(frozen=True, slots=True, eq=False)
class PageScene:
    """A trace made ready to be shown."""

    frame: Frame
    looks: tuple[PageLook, ...]
    aspect: float
    to_voxel: NDArray[np.float64]
    to_world: NDArray[np.float64] | None
    edges: tuple[str, str, str, str] | None
    ends: tuple[str, str] | None
    covered: tuple[tuple[int, int], ...]
    slice_axis: str
    start: int


def compose(trace: Trace, case: Case, stack: Stack) -> PageScene:
    """Work out what is shown where."""
    kinds = (trace.frame.kind, case.kind, stack.kind)
    if len(set(kinds)) > 1:
        raise FormatError(
            f"the trace is about a {kinds[0]}, the case is a {kinds[1]} and the stack a {kinds[2]}",
            "all three of one kind",
            "pass the case and the stack that the trace was made from",
        )
    if len(stack.slices) != trace.frame.depth:
        raise FormatError(
            f"the stack has {len(stack.slices)} slices and the frame of the trace {trace.frame.depth}",
            "the same number",
            "pass the stack that the trace was made from",
        )
    for step in trace.looks:
        if len(step.box_model) not in (4, 6) or not np.all(np.isfinite(step.box_model)):
            raise FormatError(f"a look has the box {list(step.box_model)}", "4 or 6 finite numbers")
    frame, geometry, n = trace.frame, case.geometry, len(case.geometry.order)
    to_voxel, to_world = _affine(lambda point: model_to_voxel((*point, *point), frame, geometry)[:n], n), None
    if geometry.affine_lps is not None:
        to_world = _affine(lambda point: voxel_to_world((to_voxel @ [*point, 1.0]).tolist(), geometry), n)
    looks = []
    for place, step in enumerate(trace.looks):
        box, size = executed(step), None
        half = len(box) // 2
        if step.slices:
            first, last = min(step.slices), max(step.slices) + 1
        elif len(step.box_model) == 6:
            first, last = int(np.floor(step.box_model[2])), int(np.ceil(step.box_model[5]))
        else:
            first, last = 0, frame.depth
        first = min(max(first, 0), frame.depth)
        last = min(max(last, first), frame.depth)
        x1, y1, x2, y2 = (float(np.clip(v, -FAR, FAR)) for v in (*box[:2], *box[half : half + 2]))
        if geometry.spacing_mm is not None and half == n:
            voxels = np.abs(to_voxel[:, :n]).sum(axis=0)  # one entry a column is not zero: axes are permuted, never mixed
            size = tuple(float((box[n + a] - box[a]) * voxels[a] * geometry.spacing_mm[a]) for a in range(n))
        looks.append(PageLook(place + 1, place % len(TONES), step, box, (x1, y1, x2, y2), first, last, size))
    shown = [look for look in looks if look.last > look.first]
    volume = case.kind == "volume"
    edges = ends = None
    if to_world is not None:
        right, down = to_world[:, 0], to_world[:, 1]
        edges = (_letters(-right), _letters(right), _letters(-down), _letters(down))
        ends = (_letters(-to_world[:, 2]), _letters(to_world[:, 2])) if volume else None
    # In source indices: canonical slices counted against their axis run backwards.
    depth, flipped = case.geometry.shape[0], volume and case.geometry.flips[2]
    covered = ((depth - int(b), depth - int(a)) if flipped else (int(a), int(b)) for a, b in stack.coverage)
    return PageScene(
        frame=trace.frame,
        looks=tuple(looks),
        aspect=aspect_of(case.geometry),
        to_voxel=to_voxel,
        to_world=to_world,
        edges=edges,
        ends=ends,
        covered=tuple(covered) if volume else (),
        slice_axis=_AXES[case.geometry.order[2]] if volume else "",
        start=shown[0].home if shown else trace.frame.depth // 2,
    )


def executed(step: LookStep) -> tuple[float, ...]:
    """The box of a look that was executed, model frame; as written for one that was not."""
    return extent(step.crops, "volume" if len(step.box_model) == 6 else "image").coords if step.crops else step.box_model


def aspect_of(geometry: Geometry) -> float:
    """Width over height of a slice in the patient, or in pixels without spacing; between 1/5 and 5, so that it can be drawn."""
    height, width = geometry.shape[-2:]
    along_x, along_y = geometry.spacing_mm[:2] if geometry.spacing_mm is not None else (1.0, 1.0)
    return float(np.clip(width * along_x / (height * along_y), 0.2, 5.0))


def _affine(mapping: Callable[[list[float]], Sequence[float]], n: int) -> NDArray[np.float64]:
    """The matrix of an affine map of ``n`` coordinates, read off at the origin and one step along each axis."""
    origin = np.asarray(mapping([0.0] * n), dtype=np.float64)
    steps = [np.asarray(mapping([float(a == axis) for a in range(n)])) - origin for axis in range(n)]
    return np.column_stack([*steps, origin])


def _letters(direction: NDArray[np.float64]) -> str:
    """The patient letters a direction points to: the strongest, and the next if the direction is clearly oblique."""
    unit = direction / np.linalg.norm(direction)
    strongest = sorted(range(3), key=lambda axis: -abs(unit[axis]))
    return "".join(_TOWARDS[a][0 if unit[a] > 0 else 1] for n, a in enumerate(strongest[:2]) if n == 0 or abs(unit[a]) > 0.38)


# --- Still pictures of a trace, by Pillow alone: key slices with their boxes, the crops, question and answer.


_INK, _SOFT, _PAPER, _BLACK = "#1a1d21", "#5d646d", "#ffffff", "#08090b"
_PAD, _GAP, _CROP, _NAME = 28, 14, 92, 160
_MOST_SLICES, _MOST_CROPS = 4, 8


def overlay(trace: Trace, case: Case, stack: Stack, *, width: int = 1200) -> Image.Image:
    """One picture that tells a trace: question, key slices with boxes, crops, answer."""
    if width < 400:
        raise FormatError(f"a picture {width} pixels wide", "at least 400")
    scene = compose(trace, case, stack)
    inner = width - 2 * _PAD
    chosen, cropped = key_slices(scene), [look for look in scene.looks if look.step.crops]
    widest = round(620 * scene.aspect)
    if len(chosen) > 1 or not cropped:  # slices above their crops
        each = min((inner - _GAP * (len(chosen) - 1)) // len(chosen), widest)
        slices = [_slice(scene, stack, z, (each, max(1, round(each / scene.aspect)))) for z in chosen]
        body = [_beside(slices, inner, _GAP), *(_crop_row(look, inner) for look in cropped)]
    else:  # a single slice with its crops beside it
        each = min(round(inner * 0.55), widest)
        crops = _above([_crop_row(look, inner - each - 2 * _GAP) for look in cropped])
        one = _slice(scene, stack, chosen[0], (each, max(1, round(each / scene.aspect))))
        body = [_beside([one, crops], inner, 2 * _GAP)]
    text = trace.answer.text.strip()
    against = " (letter and text contradict)" if is_mismatch(trace) else ""
    rows = [
        _words(trace.question, inner, 24, _INK),
        *body,
        _words(f"Answer: {text}{against}" if text else "The model gave no answer.", inner, 20, _INK),
        _words(RESEARCH_ONLY, inner, 13, _SOFT),
    ]
    column = _above(rows)
    sheet = Image.new("RGB", (width, column.height + 2 * _PAD), _PAPER)
    sheet.paste(column, (_PAD, _PAD))
    return sheet


def write_overlay(trace: Trace, case: Case, stack: Stack, path: str | os.PathLike[str], *, width: int = 1200) -> Path:
    """Write :func:`overlay` as a PNG file and return its path; same arguments and errors, and UniReasonError if unwritable."""
    return write_bytes(path, png(overlay(trace, case, stack, width=width)))


def thumbnail(trace: Trace, case: Case, stack: Stack, *, height: int = 220) -> Image.Image:
    """The slice that a trace opens with, its boxes drawn in, in true proportions and so many pixels high."""
    if height < 32:
        raise FormatError(f"a thumbnail {height} pixels high", "at least 32")
    scene = compose(trace, case, stack)
    return _slice(scene, stack, scene.start, (max(1, round(height * scene.aspect)), height))


def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The letters of all pictures, so many pixels high."""
    return ImageFont.load_default(size)


def _words(text: str, width: int, size: int, colour: str) -> Image.Image:
    """A block of text, broken into lines that fit, as a picture."""
    font = font_of(size)
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


def key_slices(scene: PageScene) -> list[int]:
    """The middle slices of the looks, fewest that show every look where possible, at most four."""
    chosen: list[int] = []
    for look in scene.looks:
        if look.last > look.first and not any(look.first <= z < look.last for z in chosen):
            chosen.append(look.home)
    return sorted(chosen[:_MOST_SLICES]) or [scene.start]


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


def _slice(scene: PageScene, stack: Stack, z: int, size: tuple[int, int]) -> Image.Image:
    """One slice at ``size`` (width, height) with the boxes and numbers of the looks that cover it."""
    picture = Image.fromarray(check(stack.slices[z])).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    factors = (size[0] / scene.frame.width, size[1] / scene.frame.height)
    shown = [look for look in scene.looks if look.first <= z < look.last]
    for look in shown:
        _rectangle(draw, look.rect, factors, TONES[look.tone])
    for look in shown:
        x, y = look.rect[0] * factors[0], look.rect[1] * factors[1]
        tag(draw, (x, y - 21 if y >= 21 else y + 3), str(look.number), TONES[look.tone], 14)
    if scene.frame.kind == "volume" and size[1] >= 160:
        tag(draw, (6, size[1] - 22), f"slice {z}", "#ffffff", 12)
    return picture


def _rectangle(draw: ImageDraw.ImageDraw, rect: Sequence[float], factors: tuple[float, float], tone: str) -> None:
    x1, y1, x2, y2 = (round(v * factors[n % 2]) for n, v in enumerate(rect))
    x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
    draw.rectangle((x1 - 1, y1 - 1, max(x2 + 1, x1), max(y2 + 1, y1)), outline=_BLACK)
    draw.rectangle((x1, y1, x2, y2), outline=tone, width=2)


def tag(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: str, size: int) -> None:
    """A small label: dark letters on the colour, or white letters on black for a white one."""
    font = font_of(size)
    x, y = max(corner[0], 0), max(corner[1], 0)
    box = (x, y, x + font.getlength(text) + 9, y + size + 5)
    white = colour == "#ffffff"
    draw.rounded_rectangle(box, radius=4, fill="#000000" if white else ImageColor.getrgb(colour))
    draw.text((x + 4.5, y + (size + 5) / 2), text, fill="#ffffff" if white else _BLACK, font=font, anchor="lm")


def _crop_row(look: PageLook, width: int) -> Image.Image:
    """The name of a look, then the regions it put in front of the model, evenly thinned out."""
    crops = look.step.crops
    room = max(1, (width - _NAME) // (_CROP + 8))
    chosen = spread(len(crops), min(room, _MOST_CROPS))
    row = Image.new("RGB", (width, _CROP + 4), _PAPER)
    draw = ImageDraw.Draw(row)
    tag(draw, (0, 4), str(look.number), TONES[look.tone], 14)
    for n, line in enumerate(_lines(look.step.label or f"look {look.number}", _NAME - 40, font_of(15))[:3]):
        draw.text((28, 5 + n * 19), line, fill=_INK, font=font_of(15))
    count = f"{len(chosen)} of {len(crops)} regions" if len(chosen) < len(crops) else ""
    draw.text((28, _CROP - 14), count, fill=_SOFT, font=font_of(12))
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


# --- A mask drawn over what it was found on: translucent inside, a line around it, with the box and points that asked for it.


Point = Sequence[float]
SIDE = 640
"""Longer side of a picture in pixels."""

_TILE, _COLUMNS, _MASK_GAP = 320, 3, 4
_MASK, _PROMPT, _MASK_PAPER = TONES[0], TONES[1], "#2b3037"
_FILL = 0.28  # share of the mask's colour inside its outline


def mask_picture(
    case: Case,
    mask: NDArray[np.bool_],
    *,
    boxes: Sequence[Box] = (),
    points: Sequence[Point] = (),
    at: int | None = None,
    window: str = "auto",
) -> NDArray[np.uint8]:
    """A mask over its image, or over one slice of its volume, in true proportions."""
    _check_mask(case, mask, boxes, points)
    z = 0 if at is None else at
    if at is None and case.kind == "volume":  # the slice with most of the mask, else that of the first place that was named
        places = [(box.z1 + box.z2) / 2 for box in boxes if isinstance(box, Box3D)]
        places += [point[2] for point in points if len(point) == 3]
        named = min(max(int(places[0]), 0), len(mask) - 1) if places else len(mask) // 2
        z = int(mask.sum(axis=(1, 2)).argmax()) if mask.any() else named
    if case.kind == "volume" and not 0 <= z < len(mask):
        raise FormatError(f"slice {z} of a volume of {len(mask)}", f"0 to {len(mask) - 1}")
    picture = _drawn(case, mask, z, (boxes, points), windows.choose(case, window), SIDE)
    if not mask.any():
        tag(ImageDraw.Draw(picture), (34, 6), "empty mask", "#ffffff", 14)
    return np.asarray(picture)


def mask_montage(
    case: Case, mask: NDArray[np.bool_], *, boxes: Sequence[Box] = (), points: Sequence[Point] = (), window: str = "auto"
) -> NDArray[np.uint8]:
    """Up to nine slices of a volume, evenly from the first to the last that holds a mask voxel, three in a row."""
    if case.kind != "volume":
        raise FormatError("a montage of an image", "a volume", "draw the one picture")
    _check_mask(case, mask, boxes, points)
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, len(mask) - 1)
    chosen = [first + n for n in spread(last - first + 1, _COLUMNS * _COLUMNS)]
    levels = windows.choose(case, window)
    tiles = [_drawn(case, mask, z, (boxes, points), levels, _TILE) for z in chosen]
    columns, rows = min(_COLUMNS, len(tiles)), -(-len(tiles) // _COLUMNS)
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * (width + _MASK_GAP) - _MASK_GAP, rows * (height + _MASK_GAP) - _MASK_GAP), _MASK_PAPER)
    for n, one in enumerate(tiles):
        sheet.paste(one, ((n % _COLUMNS) * (width + _MASK_GAP), (n // _COLUMNS) * (height + _MASK_GAP)))
    if not filled.size:
        tag(ImageDraw.Draw(sheet), (34, 6), "empty mask", "#ffffff", 14)
    return np.asarray(sheet)


def write_mask_picture(
    path: str | os.PathLike[str],
    case: Case,
    mask: NDArray[np.bool_],
    *,
    boxes: Sequence[Box] = (),
    points: Sequence[Point] = (),
    window: str = "auto",
) -> Path:
    """Write `mask_picture` of an image or `mask_montage` of a volume as a PNG file."""
    draw = mask_picture if case.kind == "image" else mask_montage
    return write_bytes(path, png(Image.fromarray(draw(case, mask, boxes=boxes, points=points, window=window))))


def _check_mask(case: Case, mask: NDArray[np.bool_], boxes: Sequence[Box], points: Sequence[Point]) -> None:
    if mask.dtype != np.bool_ or mask.shape != case.geometry.shape:
        raise FormatError(f"a mask of type {mask.dtype} and shape {mask.shape}", f"bool and {case.geometry.shape}")
    if case.kind == "image" and any(isinstance(box, Box3D) for box in boxes):
        raise FormatError("a cuboid on an image", "rectangles (x1, y1, x2, y2)")
    if any(len(p) not in ((2,) if case.kind == "image" else (2, 3)) for p in points):
        raise FormatError(f"the points {list(points)}", "(x, y), or (x, y, z) in a volume")
    if not all(np.isfinite(v) for place in (*(b.coords for b in boxes), *points) for v in place):
        raise FormatError("a box or point with a number that is not finite", "finite numbers")


def _drawn(
    case: Case, mask: NDArray[np.bool_], z: int, prompt: tuple[Sequence[Box], Sequence[Point]], window: windows.Window, side: int
) -> Image.Image:
    """One slice, its longer side ``side`` pixels, with everything that lies on it."""
    volume = case.kind == "volume"
    pixels, plane = (case.pixels[z], mask[z]) if volume else (case.pixels, mask)
    aspect = aspect_of(case.geometry)
    size = (side, max(1, round(side / aspect))) if aspect >= 1 else (max(1, round(side * aspect)), side)
    grey = Image.fromarray(windows.apply(pixels, window)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    # Colour inside, a line of two pixels along the inner edge, a dark one outside, so that it is seen on bright ground too.
    inside, tone = scaled(plane, size), np.array(ImageColor.getrgb(_MASK), np.float32)
    shown = np.asarray(grey, np.float32).copy()
    shown[inside] = (1 - _FILL) * shown[inside] + _FILL * tone
    shown[ndimage.binary_dilation(inside) & ~inside] = ImageColor.getrgb(_BLACK)
    shown[inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=0)] = tone
    picture = Image.fromarray((shown + 0.5).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    factors = (size[0] / plane.shape[1], size[1] / plane.shape[0])
    for box in prompt[0]:
        if isinstance(box, Box2D) or (box.z1 < z + 1 and box.z2 > z):
            _rectangle(draw, (box.x1, box.y1, box.x2, box.y2), factors, _PROMPT)
    for point in prompt[1]:
        if len(point) == 2 or min(int(point[2]), len(mask) - 1) == z:
            x, y = point[0] * factors[0], point[1] * factors[1]
            for colour, width, reach in ((_BLACK, 5, 8), (_PROMPT, 2, 7)):
                draw.line((x - reach, y, x + reach, y), fill=colour, width=width)
                draw.line((x, y - reach, x, y + reach), fill=colour, width=width)
    if volume:
        tag(draw, (6, size[1] - 22), f"slice {z}", "#ffffff", 12)
        if case.geometry.affine_lps is not None:
            tag(draw, (6, 6), "R", "#ffffff", 12)
            tag(draw, (size[0] - 24, 6), "L", "#ffffff", 12)
    return picture


def scaled(plane: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask on the grid of the picture, voxel edges kept; what would vanish keeps one pixel."""
    rows = ((np.arange(size[1]) + 0.5) * plane.shape[0] / size[1]).astype(int)
    columns = ((np.arange(size[0]) + 0.5) * plane.shape[1] / size[0]).astype(int)
    shown: NDArray[np.bool_] = plane[np.ix_(rows, columns)]
    if plane.any() and not shown.any():
        y, x = (int(v[0]) for v in np.nonzero(plane))
        shown[min(size[1] - 1, y * size[1] // plane.shape[0]), min(size[0] - 1, x * size[0] // plane.shape[1])] = True
    return shown


# --- Masks as closed paths along the edges of their voxels, for drawings that scale.


_LONGEST = 768  # mask pixels a side; finer ones would not be seen
Corner = tuple[int, int]


def outlines(mask: NDArray[np.bool_], frame: Frame, stack: Stack) -> dict[int, str]:
    """What of a mask is seen on each slice that is shown."""
    planes = mask[None] if mask.ndim == 2 else mask
    found = {}
    for z, (first, last) in enumerate(stack.coverage):
        plane: NDArray[np.bool_] = np.logical_or.reduce(planes[first:last], axis=0)
        if plane.any():
            if max(plane.shape) > _LONGEST:  # a pixel stands for those of which at least half are inside
                plane = fit(plane.astype(np.uint8) * np.uint8(255), _LONGEST) >= 128
            across, down = frame.width / plane.shape[1], frame.height / plane.shape[0]
            loops = (" ".join(f"{x * across:g},{y * down:g}" for x, y in loop) for loop in _loops(plane))
            found[z] = "".join(f"M{loop}Z" for loop in loops)
    return found


def _loops(plane: NDArray[np.bool_]) -> Iterator[list[Corner]]:
    """Corners of the borders, clockwise around what is inside; pixels that touch at a corner only stay apart."""
    wide = np.pad(plane, 1)
    inside = wide[1:-1, 1:-1]
    ahead: dict[Corner, list[Corner]] = defaultdict(list)  # from every corner of a border the steps that lead on
    sides = (  # what is inside always on the right hand
        (wide[:-2, 1:-1], (0, 0), (1, 0)),  # above it is outside: along the upper edge to the right
        (wide[1:-1, 2:], (1, 0), (0, 1)),
        (wide[2:, 1:-1], (1, 1), (-1, 0)),
        (wide[1:-1, :-2], (0, 1), (0, -1)),
    )
    for beyond, (dx, dy), step in sides:
        for y, x in np.argwhere(inside & ~beyond).tolist():
            ahead[(x + dx, y + dy)].append(step)
    while ahead:
        start = next(iter(ahead))
        here, step, loop = start, (0, 0), list[Corner]()
        while True:
            turns = ahead[here]
            onward = next((t for t in turns if t == (-step[1], step[0])), turns[0])
            turns.remove(onward)
            if not turns:
                del ahead[here]
            if onward != step:
                loop.append(here)
            step, here = onward, (here[0] + onward[0], here[1] + onward[1])
            if here == start:
                break
        yield loop
