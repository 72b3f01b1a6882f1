"""Pictures of the right size become the network's patches, many at a time.

The image processor of a checkpoint resizes one picture after the other; training shows hundreds of thousands of small ones. This
is the same arithmetic, for grey pictures of one size whose sides already are multiples of patch x merge, in one tensor operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PATCH, MERGE, FRAMES = 14, 2, 2


def patchify(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Cuts grey pictures into normalised patches in the order of Qwen2.5-VL (2 x 2 neighbours together).

    Args:
        pictures: uint8 (n, H, W); H and W multiples of 28.

    Returns:
        float32 (n * H/14 * W/14, 3 * 2 * 14 * 14), the layout of ``pixel_values``.
    """
    n, height, width = pictures.shape
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    grey = torch.from_numpy(np.array(pictures, order="C")).float().div_(255.0)
    cut = grey.view(n, rows, MERGE, PATCH, columns, MERGE, PATCH).permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, 1, 1, PATCH, PATCH)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (MEAN, STD))
    return ((cut - mean) / std).expand(-1, 3, FRAMES, PATCH, PATCH).reshape(cut.shape[0], -1)


def fits(processor: Any) -> bool:
    """True if :func:`patchify` does to a grey picture of the right size what this image processor does."""
    same = (processor.patch_size, processor.merge_size, processor.temporal_patch_size) == (PATCH, MERGE, FRAMES)
    scaled = processor.do_rescale and processor.do_normalize and processor.rescale_factor == 1 / 255
    return bool(same and scaled and (tuple(processor.image_mean), tuple(processor.image_std)) == (MEAN, STD))


def grid(count: int, height: int, width: int) -> torch.Tensor:
    """``image_grid_thw`` of ``count`` pictures of one size: int64 (count, 3)."""
    return torch.tensor([[1, height // PATCH, width // PATCH]] * count)


def resized(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes one grey picture with the filter of the image processor (bicubic, anti-aliased); unchanged if it fits already."""
    if picture.shape == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
