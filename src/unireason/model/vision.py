"""Pictures become what the network sees, and what it sees becomes features.

The pictures of the model frame are made here, once: resized by the rule of the checkpoint's image processor, so that the
processor changes nothing any more. Boxes are written in their pixels and crops are cut from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unireason.core.errors import ModelError
from unireason.core.types import Frame, Kind
from unireason.grounding.crop import fitted_size

from .checkpoint import Checkpoint
from .tokens import Grid

_PATCHES_AT_ONCE = 16384


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Pictures ready for the vision tower.

    Attributes:
        pixel_values: float32 (patches of all pictures, values of a patch), normalised, on the CPU.
        grid_thw: (t, h, w) in patches of every picture.
        pictures: uint8 (H, W) or (H, W, 3) of every picture: exactly what the network sees.
        patch: Side of a patch in pixels.
    """

    pixel_values: torch.Tensor
    grid_thw: tuple[Grid, ...]
    pictures: tuple[NDArray[np.uint8], ...]
    patch: int

    def frame(self, kind: Kind) -> Frame:
        """The model frame: grid x patch size of the tensors fed to the network. ModelError if pictures differ in size."""
        if len(set(self.grid_thw)) != 1:
            raise ModelError(f"the pictures have the grids {sorted(set(self.grid_thw))}", "one size for all pictures of a case")
        _, rows, columns = self.grid_thw[0]
        return Frame(columns * self.patch, rows * self.patch, len(self.grid_thw), kind)


def model_size(checkpoint: Checkpoint, height: int, width: int) -> tuple[int, int]:
    """(height, width) in pixels at which the network of a checkpoint sees a picture; see :func:`fitted_size`."""
    return fitted_size(height, width, factor=checkpoint.patch * checkpoint.merge, limits=checkpoint.pixel_limits)


def grid_of(checkpoint: Checkpoint, height: int, width: int) -> Grid:
    """(1, h, w) in patches of a picture of this size once it is prepared; no pixel is touched."""
    rows, columns = model_size(checkpoint, height, width)
    return 1, rows // checkpoint.patch, columns // checkpoint.patch


def prepare(checkpoint: Checkpoint, pictures: Sequence[NDArray[np.uint8]]) -> Prepared:
    """Resize, normalise and cut pictures, uint8 (H, W) or (H, W, 3) of any sizes, at least one, into patches.

    Raises:
        ModelError: If there is no picture, one has another shape or type, or the processor disagrees about a size.
        FormatError: If the sides of a picture differ by more than 200 times.
    """
    if not len(pictures):
        raise ModelError("there is no picture to prepare", "at least one")
    shown = tuple(resized(checkpoint, picture) for picture in pictures)
    colour = [p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in shown]
    fed = checkpoint.image_processor(images=[Image.fromarray(p) for p in colour], return_tensors="pt")
    grids = tuple((int(t), int(h), int(w)) for t, h, w in fed["image_grid_thw"])
    for picture, (_, rows, columns) in zip(shown, grids, strict=True):
        if picture.shape[:2] != (rows * checkpoint.patch, columns * checkpoint.patch):
            raise ModelError(
                f"the image processor made {rows * checkpoint.patch} x {columns * checkpoint.patch} of {picture.shape[:2]}",
                "no change",
                "report this with the checkpoint's preprocessor_config.json",
            )
    return Prepared(fed["pixel_values"], grids, shown, checkpoint.patch)


def sized(checkpoint: Checkpoint, pictures: Sequence[NDArray[np.uint8]]) -> Prepared:
    """Pictures at the size at which the network sees them, as ``prepare`` gives them but for the patches, of which there are none."""
    shown = tuple(resized(checkpoint, picture) for picture in pictures)
    return Prepared(torch.empty(0), tuple(grid_of(checkpoint, *p.shape[:2]) for p in shown), shown, checkpoint.patch)


@torch.no_grad()
def encode(checkpoint: Checkpoint, prepared: Prepared) -> list[torch.Tensor]:
    """Run the vision tower: one tensor (visual tokens, width of the language model) a picture, on the checkpoint's device, no gradient.

    Many pictures go through the tower in pieces of bounded size. A feature that is not finite is a ModelError.
    """
    out: list[torch.Tensor] = []
    groups: list[list[Grid]] = []
    size = 0
    for grid in prepared.grid_thw:
        size += math.prod(grid)
        if not groups or size > _PATCHES_AT_ONCE:
            groups.append([])
            size = math.prod(grid)
        groups[-1].append(grid)
    first = 0
    for grids in groups:
        pixels = prepared.pixel_values[first : first + sum(map(math.prod, grids))]
        first += len(pixels)
        done = checkpoint.network.model.get_image_features(
            pixels.to(checkpoint.device, checkpoint.dtype), torch.tensor(grids, device=checkpoint.device)
        )
        out.extend(done.pooler_output)
    if not all(bool(feature.isfinite().all()) for feature in out):
        raise ModelError(
            "the vision tower answers with numbers that are not finite",
            "finite numbers",
            "its weights are damaged, or float32 is needed: load them again, with dtype fp32",
        )
    return out


def embed(network: Any, ids: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Embeddings (1, n, width) of ids int64 (1, n), with visual features, one (tokens, width) a picture in order, at the image pads.

    Handing these to the network equals handing it the pictures, on every supported version of transformers; positions must be
    given along with them. More or fewer features than image pads are a ModelError.
    """
    embedded: torch.Tensor = network.get_input_embeddings()(ids)
    pads = ids == network.config.image_token_id
    given = sum(f.shape[0] for f in features)
    if int(pads.sum()) != given:
        raise ModelError(f"{given} visual features came for {int(pads.sum())} image pads", "as many")
    if not given:
        return embedded
    return embedded.masked_scatter(pads[..., None], torch.cat(list(features)).to(embedded))


def resized(checkpoint: Checkpoint, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture, uint8 (H, W) or (H, W, 3), at the size at which the network of a checkpoint sees it."""
    good = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    if picture.dtype != np.uint8 or not good or 0 in picture.shape:
        raise ModelError(f"a picture of shape {picture.shape} and type {picture.dtype}", "uint8 (H, W) or (H, W, 3)")
    height, width = model_size(checkpoint, *picture.shape[:2])
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), Image.Resampling(checkpoint.image_processor.resample)))


# --- Pictures of the right size become the network's patches, many at a time.


MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PATCH, MERGE, FRAMES = 14, 2, 2


def patchify(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Cuts grey pictures, uint8 (n, H, W), H and W multiples of 28, into normalised patches in the order of Qwen2.5-VL (2 x 2 neighbours).

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


def resized_picture(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resizes one grey picture with the filter of the image processor (bicubic, anti-aliased); unchanged if it fits already."""
    if picture.shape == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
