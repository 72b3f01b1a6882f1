"""Masks as closed paths along the edges of their voxels, for drawings that scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unireason.types import Frame, Stack

_LONGEST = 768  # mask pixels a side; finer ones would not be seen
Corner = tuple[int, int]


def outlines(mask: NDArray[np.bool_], frame: Frame, stack: Stack) -> dict[int, str]:
    """What of a mask is seen on each slice that is shown.

    Args:
        mask: bool (Z, Y, X) or (Y, X), canonical grid.
        frame: Frame in which the slices are drawn.
        stack: The slices; several canonical slices shown as one show all that lies on any of them.

    Returns:
        Slice to SVG path in pixels of the frame, to be filled by the even-odd rule; slices without a voxel are left out.
    """
    planes = mask[None] if mask.ndim == 2 else mask
    found = {}
    for z, (first, last) in enumerate(stack.coverage):
        plane: NDArray[np.bool_] = np.logical_or.reduce(planes[first:last], axis=0)
        if plane.any():
            found[z] = _path(_fitted(plane), frame)
    return found


def _fitted(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A plane of bounded size; a pixel stands for those of which at least half are inside."""
    height, width = plane.shape
    scale = _LONGEST / max(height, width)
    if scale >= 1:
        return plane
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(plane.astype(np.uint8) * np.uint8(255)).resize(size, Image.Resampling.BOX)
    return np.asarray(small) >= 128


def _path(plane: NDArray[np.bool_], frame: Frame) -> str:
    height, width = plane.shape
    across, down = frame.width / width, frame.height / height
    loops = (" ".join(f"{x * across:g},{y * down:g}" for x, y in loop) for loop in _loops(plane))
    return "".join(f"M{loop}Z" for loop in loops)


def _loops(plane: NDArray[np.bool_]) -> Iterator[list[Corner]]:
    """Corners of the borders, clockwise around what is inside; pixels that touch at a corner only stay apart."""
    ahead = _edges(plane)
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


def _edges(plane: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """From every corner of a border the steps that lead on, what is inside always on the right hand."""
    wide = np.pad(plane, 1)
    inside = wide[1:-1, 1:-1]
    ahead: dict[Corner, list[Corner]] = defaultdict(list)
    sides = (
        (wide[:-2, 1:-1], (0, 0), (1, 0)),  # above it is outside: along the upper edge to the right
        (wide[1:-1, 2:], (1, 0), (0, 1)),
        (wide[2:, 1:-1], (1, 1), (-1, 0)),
        (wide[1:-1, :-2], (0, 1), (0, -1)),
    )
    for beyond, (dx, dy), step in sides:
        for y, x in np.argwhere(inside & ~beyond).tolist():
            ahead[(x + dx, y + dy)].append(step)
    return ahead
