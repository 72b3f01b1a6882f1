"""A mask on one slice followed through a volume, both ways, by any expert that segments single images.

The box of the next slice comes from the last mask, a little larger. Following stops where the structure ends: nothing found, another
size, another place, or grey levels that look like what lay around the structure rather than like the structure. The cost is one slice of
the expert for each slice of the result and one more at either end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.types import Box2D, Case, Geometry

from .expert import Expert, Prompt, Segmentation, finished, largest

Mask = NDArray[np.bool_]
Grey = NDArray[np.float64]

_GROWN = 0.03  # of a box's side, added on every side for the next slice; at least half a pixel
_LEAST_OVERLAP = 0.35  # of the smaller of two neighbouring masks
_MOST_CHANGE = 3.0  # of the area from slice to slice, either way
_LEAST_ALIKE = 0.5  # share of pixels whose grey level is the structure's
_SPREAD = 3.0  # standard deviations: how far the structure's grey level reaches
_LEAST_CONTRAST = 0.7  # standard deviations from the surroundings, below which grey levels have no say
_RING = 3  # pixels


def follow(expert: Expert, case: Case, prompt: Prompt) -> Segmentation:
    """Segment one slice and follow the structure from there."""
    key = prompt.slice or 0
    first = _flat(expert, case, key, prompt)
    mask = np.zeros(case.geometry.shape, bool)
    if not first.mask.any():
        return finished(mask, 0.0, (*first.notes, f"nothing was found on slice {key}"))
    mask[key] = first.mask
    scores = [first.score]
    for order in (range(key + 1, len(mask)), range(key - 1, -1, -1)):
        for index, found in _along(expert, case, order, first=first.mask, key=key):
            mask[index] = found.mask
            scores.append(found.score)
    return largest(mask, float(np.mean(scores)), first.notes)


def on_slice(expert: Expert, case: Case, prompt: Prompt) -> Segmentation:
    """Segment one slice of a volume as an image."""
    key = prompt.slice or 0
    found = _flat(expert, case, key, prompt)
    mask = np.zeros(case.geometry.shape, bool)
    mask[key] = found.mask
    return Segmentation(mask, found.score, (), found.notes)


def slice_case(case: Case, index: int) -> Case:
    """A canonical slice of a volume as an image."""
    height, width = case.geometry.shape[1:]
    spacing = case.geometry.spacing_mm
    flat = Geometry((height, width), (width, height), (0, 1), (False, False), spacing_mm=None if spacing is None else spacing[:2])
    return replace(case, pixels=case.pixels[index], kind="image", geometry=flat)


def _flat(expert: Expert, case: Case, index: int, prompt: Prompt) -> Segmentation:
    return expert.segment(slice_case(case, index), [replace(prompt, slice=None, propagate=False)])[0]


def _along(expert: Expert, case: Case, order: range, *, first: Mask, key: int) -> Iterator[tuple[int, Segmentation]]:
    """Slices in order as long as the structure goes on."""
    look = _Look.of(_grey(case, key), first)
    last = first
    for index in order:
        found = _flat(expert, case, index, Prompt(_grown(last)))
        if not _same(last, found.mask) or not look.fits(_grey(case, index), found.mask):
            return
        yield index, found
        last = found.mask


def _grown(mask: Mask) -> Box2D:
    """The box around a mask, a little larger."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    y1, y2, x1, x2 = float(rows[0]), float(rows[-1] + 1), float(columns[0]), float(columns[-1] + 1)
    dx, dy = max(_GROWN * (x2 - x1), 0.5), max(_GROWN * (y2 - y1), 0.5)
    height, width = mask.shape
    return Box2D(max(x1 - dx, 0.0), max(y1 - dy, 0.0), min(x2 + dx, float(width)), min(y2 + dy, float(height)))


def _same(last: Mask, mask: Mask) -> bool:
    """Whether two masks of neighbouring slices can be one structure."""
    before, now = int(np.count_nonzero(last)), int(np.count_nonzero(mask))
    if not now or max(before, now) > _MOST_CHANGE * min(before, now):
        return False
    return int(np.count_nonzero(last & mask)) >= _LEAST_OVERLAP * min(before, now)


@dataclass(frozen=True, slots=True)
class _Look:
    """Grey levels of the structure and of what lies around it, on the slice that was asked for."""

    inside: float
    around: float
    spread: float

    @classmethod
    def of(cls, grey: Grey, mask: Mask) -> _Look:
        ring = ndimage.binary_dilation(mask, iterations=_RING) & ~mask
        inside, around = grey[mask], grey[ring]
        if not np.isfinite(inside).any() or not np.isfinite(around).any():
            return cls(0.0, 0.0, 1.0)
        middle = float(np.nanmedian(inside))
        return cls(middle, float(np.nanmedian(around)), 1.4826 * float(np.nanmedian(np.abs(inside - middle))))

    def fits(self, grey: Grey, mask: Mask) -> bool:
        """Whether a mask shows the structure rather than something else; True where its surroundings look like it anyway."""
        contrast = abs(self.inside - self.around)
        if contrast <= _LEAST_CONTRAST * self.spread:
            return True
        # Without noise, or with surroundings far away, any grey level near the structure's will do.
        reach = min(max(_SPREAD * self.spread, contrast / 4), contrast / 2)
        alike = np.abs(grey[mask] - self.inside) <= reach
        return bool(np.count_nonzero(alike) >= _LEAST_ALIKE * max(alike.size, 1))


def _grey(case: Case, index: int) -> Grey:
    pixels: NDArray[Any] = case.pixels[index]
    return np.asarray(pixels if pixels.ndim == 2 else pixels.mean(axis=-1), np.float64)
