"""What a suite of implicit questions offers beside questions and pictures: the place that is meant. And these suites by name.

Their entries have no options. ``answers`` holds the name of the structure that is meant, for people alone; the tags "category" and
"supercategory" group results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.types import Box2D, Frame

from .suite import Entry, Suite

Mask = NDArray[np.bool_]
Point = tuple[float, float]
Points = tuple[Point, Point]

RULE = (
    "The answer is a box and two points, read as they are written; a frozen expert outlines them. Scored are the overlap of the box with "
    "the true one (IoU), of the circles over the two points (pDice), and of the mask with the true one (Dice). Every answer counts: "
    "what is missing or cannot be read scores 0."
)
"""How an answer to an implicit question counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The place that an implicit question means.

    Attributes:
        box: In pixels of ``grid``.
        points: Two points (x, y) inside, numbers of pixels of ``grid``.
        mask: bool (Y, X), on the canonical grid of the picture.
        grid: Width and height of the grid of box and points: the picture, or a model frame.
    """

    box: Box2D
    points: Points
    mask: Mask
    grid: tuple[int, int]

    def on(self, frame: Frame) -> tuple[Box2D, Points]:
        """Box and points in a model frame, unchanged where it is their own grid; else the middles of the points' pixels are kept."""
        if self.grid == (frame.width, frame.height):
            return self.box, self.points
        across, down = frame.width / self.grid[0], frame.height / self.grid[1]
        x1, y1, x2, y2 = self.box.coords
        (ax, ay), (bx, by) = ((((x + 0.5) * across - 0.5), ((y + 0.5) * down - 0.5)) for x, y in self.points)
        return Box2D(x1 * across, y1 * down, x2 * across, y2 * down), ((ax, ay), (bx, by))


class PointingSuite(Suite, Protocol):
    """A suite of implicit questions about pictures."""

    @property
    def left_out(self) -> Mapping[str, int]:
        """After ``entries`` has come to its end: questions that cannot be asked, by reason."""
        ...

    def truth(self, entry: Entry) -> Truth:
        """The place that a question means; cheapest right after the picture of its case was read.

        Raises:
            ImageReadError: If its mask cannot be read, is empty, or does not fit the picture.
            UniReasonError: If the data are not what the entries were made of.
        """
        ...


_PLACES: dict[str, tuple[str, str]] = {
    "phantom": ("implicit", "PhantomImplicitSuite"),
    "built": ("implicit", "BuiltImplicitSuite"),
    "u-mrg": ("umrg", "UmrgSuite"),
}
NAMES: tuple[str, ...] = tuple(_PLACES)
"""Every suite that `open_pointing` knows."""


def open_pointing(
    name: str, root: Path | None = None, *, split: str = "", options: Mapping[str, str] = MappingProxyType({})
) -> PointingSuite:
    """A suite of implicit questions by name.

    Args:
        name: One of `NAMES`.
        root: The folder of the data; None for phantoms.
        split: Which questions; "" takes those meant for evaluation.
        options: Options of the suite, as text.

    Raises:
        FormatError: If the name, the split or an option is unknown (the message lists the known ones), or a folder is missing.
    """
    if name not in _PLACES:
        raise FormatError(f"there is no suite {name!r} of implicit questions", f"one of {', '.join(NAMES)}")
    module, kind = _PLACES[name]
    opened: Any = getattr(import_module(f"unireason.evaluate.suites.{module}"), kind)
    suite: PointingSuite = opened.open(root, split=split, options=options)
    return suite
