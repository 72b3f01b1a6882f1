"""How a network was trained to see: the size, resizing and intensities of its pictures, and where places and masks lie on them.

The network's own prompt encoder adds half a pixel to every coordinate. A place is therefore written as ``u * scale - 0.5``, which
makes the encoded place exactly ``u * scale`` on the resized picture, for points and for the edges of boxes alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # of ImageNet, colours in [0, 1]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a network expects of a picture and what its several masks mean.

    Attributes:
        fit: "pad" brings the longest side to the network's size and pads below and on the right; "squash" fills the square.
        resize: Interpolation.
        intensity: "imagenet" subtracts the mean and divides by the deviation of ImageNet; "minmax" brings each picture to [0, 1].
        several: When the best of several masks is taken instead of the first: for a lone point ("point"), "always" or "never".
    """

    fit: Literal["pad", "squash"]
    resize: Literal["bilinear", "bicubic", "nearest"]
    intensity: Literal["imagenet", "minmax"]
    several: Literal["point", "always", "never"]

    def takes_best(self, *, boxed: bool, points: int) -> bool:
        """Whether the best of several masks is taken for a prompt with or without a box and with so many points."""
        return self.several == "always" or (self.several == "point" and not boxed and points == 1)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the network's square.

    Attributes:
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        inner_height: Rows of the square that it fills, from the top.
        inner_width: Columns of the square that it fills, from the left.
        size: Pixels a side of the square.
    """

    height: int
    width: int
    inner_height: int
    inner_width: int
    size: int

    def coordinates(self, places: Sequence[tuple[float, ...]]) -> Tensor:
        """Places (x, y) of the picture as the network's prompt encoder wants them.

        Args:
            places: Continuous indices; pixel ``n`` covers ``[n, n + 1)``.

        Returns:
            float32 (N, 2); no places give (0, 2).
        """
        scale = torch.tensor([self.inner_width / self.width, self.inner_height / self.height], dtype=torch.float64)
        return (torch.tensor(places, dtype=torch.float64).reshape(-1, 2) * scale - 0.5).float()

    def mask(self, logits: Tensor) -> NDArray[np.bool_]:
        """The mask of a network on the pixels of the picture: resized to the square, freed of its padding, resized and cut at 0.

        Args:
            logits: (h, w) over the whole square.

        Returns:
            bool (height, width).

        Source: the post-processing of Segment Anything (arXiv 2304.02643).
        """
        square = interpolate(logits[None, None].float(), size=(self.size, self.size), mode="bilinear", align_corners=False)
        inner = square[..., : self.inner_height, : self.inner_width]
        whole = interpolate(inner, size=(self.height, self.width), mode="bilinear", align_corners=False)
        found: NDArray[np.bool_] = (whole[0, 0] > 0).cpu().numpy()
        return found


def place(height: int, width: int, *, size: int, recipe: Recipe) -> Placement:
    """Where a picture of (height, width) pixels goes in a square of ``size`` pixels a side."""
    if recipe.fit == "squash":
        return Placement(height, width, size, size, size)
    scale = size / max(height, width)
    return Placement(height, width, max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)), size)


def prepare(picture: NDArray[np.uint8], placement: Placement, recipe: Recipe) -> Tensor:
    """The picture as the network's input.

    Args:
        picture: uint8 (H, W) or (H, W, 3); grey becomes three equal channels.
        placement: Where it goes.
        recipe: What the network expects.

    Returns:
        float32 (3, size, size); padding is 0 after the intensities were brought to their range.
    """
    grey = torch.from_numpy(np.ascontiguousarray(picture)).float()
    colour = (grey if grey.ndim == 3 else grey[..., None].expand(-1, -1, 3)).permute(2, 0, 1)
    inner = (placement.inner_height, placement.inner_width)
    if recipe.resize == "nearest":
        resized = interpolate(colour[None], size=inner, mode="nearest")[0]
    else:
        resized = interpolate(colour[None], size=inner, mode=recipe.resize, align_corners=False, antialias=True)[0].clamp(0, 255)
    if recipe.intensity == "minmax":
        low, high = resized.min(), resized.max()
        ready = (resized - low) / (high - low).clamp(min=1e-8)
    else:
        ready = (resized / 255 - _MEAN) / _DEVIATION
    return pad(ready, (0, placement.size - inner[1], 0, placement.size - inner[0]))
