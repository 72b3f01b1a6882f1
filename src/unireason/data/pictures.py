"""The pictures of a case at the size of the model frame, and masks on the same grid.

The same steps as in serving: ``imaging.serialize`` by the profile's sizes, then the bicubic resizing of the checkpoint's image
processor. A test holds them against the pictures that are really fed.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unireason.imaging.decode import decoding
from unireason.imaging.serialize import serialize
from unireason.types import Case, Frame, Stack

from .frames import FrameRule
from .item import Loaded
from .names import readable
from .records import ImageRecord
from .scene import Scene

V = TypeVar("V", np.bool_, np.uint8)


def model_pictures(case: Case, rule: FrameRule) -> list[NDArray[np.uint8]]:
    """What the network is shown.

    Args:
        case: Image or volume.
        rule: How pictures become the model frame.

    Returns:
        uint8 (H, W) or (H, W, 3) pictures of the model frame's size, one a model slice; one for an image.

    Raises:
        FormatError: If the window or a size cannot be used.
    """
    from PIL import Image

    stack = model_stack(case, rule)
    frame = rule.frame(case.geometry.shape)
    if stack.slices.shape[1:3] == (frame.height, frame.width):
        return list(stack.slices)
    size = (frame.width, frame.height)
    return [np.asarray(Image.fromarray(s).resize(size, Image.Resampling.BICUBIC)) for s in stack.slices]


def model_stack(case: Case, rule: FrameRule) -> Stack:
    """A case as serialised for a model frame, before the image processor resizes it.

    Args:
        case: Image or volume.
        rule: How pictures become the model frame.

    Raises:
        FormatError: If the window or a size cannot be used.
    """
    if case.kind == "volume":
        depth, *size = rule.volume_shape
        return serialize(case, depth=depth, size=(size[0], size[1]), window=rule.window)
    return serialize(case, size=rule.image_size, window=rule.window)


def mask_on_frame(mask: NDArray[V], frame: Frame) -> NDArray[V]:
    """A mask or label map at the centres of the model frame's pixels.

    Args:
        mask: (Y, X) or (Z, Y, X), canonical.
        frame: Target frame.

    Returns:
        (height, width) or (depth, height, width).
    """
    grid = (frame.depth, frame.height, frame.width)[-mask.ndim :]
    picks = [((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(grid, mask.shape, strict=True)]
    return mask[np.ix_(*picks)]


def structure_mask(loaded: Loaded, name: str) -> NDArray[np.bool_]:
    """The mask of one structure on the canonical grid; all False if there is none.

    Args:
        loaded: An item in memory.
        name: Structure name.
    """
    shape = loaded.case.geometry.shape
    mask: NDArray[np.bool_] = np.zeros(shape, bool)
    for layer in loaded.layers:
        for value in (v for v, n in layer.names.items() if readable(n) == name):
            mask |= layer.labels == value
    return mask


def embedded(loaded: Loaded, scene: Scene, rule: FrameRule) -> list[ImageRecord]:
    """Pictures and, for images, masks of a case as they are stored in a data set."""
    pictures = model_pictures(loaded.case, rule)
    if scene.kind == "volume":
        return [ImageRecord(scene.case, z, png(p)) for z, p in enumerate(pictures)]
    names = tuple(scene.structures)
    masks = [mask_on_frame(structure_mask(loaded, n), scene.frame).astype(np.uint8) * 255 for n in names]
    return [ImageRecord(scene.case, 0, png(pictures[0]), tuple(png(m) for m in masks), names)]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 (H, W) or (H, W, 3)."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png", compress_level=6)
    return stream.getvalue()


def from_png(data: bytes) -> NDArray[np.uint8]:
    """The inverse of :func:`png`.

    Raises:
        UniReasonError: If it is damaged or no PNG file, or does not fit into memory.
    """
    from PIL import Image

    remedy = "check the data set, and build or import it again"
    with decoding(Path("embedded picture"), "a PNG file", remedy), Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels
