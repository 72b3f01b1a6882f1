"""What a frozen vision tower sees in pictures: computed once, many pictures at a time, then kept in memory and on disk.

The features of a picture depend on the picture alone, not on what happened to be computed along with it: a run that continues, with
half of its cache written, gets the same bits as one that was never stopped. (On a CPU a test holds this; other devices come close.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unireason.errors import ModelError
from unireason.files import json_text
from unireason.imaging.array import content
from unireason.model import patches, vision
from unireason.model.checkpoint import Checkpoint
from unireason.model.vision import Prepared

from .disk import DiskCache
from .recent import Recent

Pictures = Sequence[NDArray[np.uint8]]
_MEMORY_BYTES = 512 << 20
_MOST_PATCHES = 16384  # prepared at once
# Products of very few rows take another way through the libraries and round differently, so a picture comes several times then.
_LEAST_PATCHES = 64
_PROCESSOR = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std", "rescale_factor", "resample")


class Features:
    """Visual tokens of a frozen tower.

    Attributes:
        hits: Lists of pictures that were found in memory or on disk.
        misses: Lists that went through the tower.
        kept: Type of what is returned and kept; whatever the tower computes is rounded to it, found or not.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        disk: DiskCache,
        *,
        memory_bytes: int = _MEMORY_BYTES,
        precision: Literal["bf16", "fp32"] = "fp32",
        kept: torch.dtype = torch.bfloat16,
    ) -> None:
        """Hash the tower; nothing is computed yet.

        Args:
            checkpoint: Its tower's weights lie whole in this process and do not change from here on.
            disk: Where features are kept.
            memory_bytes: Features kept in memory, on the CPU.
            precision: "bf16" computes matrix products in bfloat16, "fp32" in the type of the weights.
            kept: Type of the features.

        Raises:
            ModelError: If a weight of the tower is trained.
        """
        tower = checkpoint.network.model.visual
        trained = next((name for name, weight in tower.named_parameters() if weight.requires_grad), None)
        if trained:
            raise ModelError(
                f"the weight {trained} of the vision tower is trained", "a frozen tower", "compute its features each time"
            )
        self.kept = kept
        self.hits = self.misses = 0
        self._checkpoint, self._disk, self._precision = checkpoint, disk, precision
        self._recent: Recent[list[torch.Tensor]] = Recent(memory_bytes)
        self._fast = patches.fits(checkpoint.image_processor)
        self._width = int(checkpoint.network.config.get_text_config().hidden_size)
        self._prefix = f"features/1 {_identity(checkpoint)} {precision} {kept}"

    def of(self, pictures: Pictures) -> list[torch.Tensor]:
        """Features of the pictures of one case, or of the crops of one response; see :meth:`of_many`."""
        return self.of_many([pictures])[0]

    def of_many(self, lists: Sequence[Pictures]) -> list[list[torch.Tensor]]:
        """Features of several lists of pictures. Each list is kept as a whole, those that are missing are computed together.

        Args:
            lists: uint8 (H, W) or (H, W, 3), any sizes; those that the network would see at another size are resized. A list may be
                empty.

        Returns:
            For each list one tensor (visual tokens, width) a picture, without gradient, of type ``kept``, on the checkpoint's device.

        Raises:
            ModelError: If a picture has another shape or type.
        """
        keys = [self._key(pictures) for pictures in lists]
        found: dict[str, list[torch.Tensor]] = {}
        missing: dict[str, Pictures] = {}
        for key, pictures in zip(keys, lists, strict=True):
            if key in found or key in missing or not len(pictures):
                continue
            kept = self._kept(key, len(pictures))
            if kept is None:
                missing[key] = pictures
            else:
                found[key] = kept
        self.hits += len(found)
        self.misses += len(missing)
        found |= self._computed(missing)
        device = self._checkpoint.device
        return [[f.to(device) for f in found.get(key, ())] for key in keys]

    def _key(self, pictures: Pictures) -> str:
        return f"{self._prefix} {content(*pictures)}"

    def _kept(self, key: str, count: int) -> list[torch.Tensor] | None:
        """Features from memory or disk; None if they are not there, or are not what was put there."""
        found = self._recent.get(key)
        if found is not None:
            return found
        stored = self._disk.get(key)
        if stored is None or stored.keys() != {"features", "tokens"}:
            return None
        features, tokens = stored["features"], stored["tokens"].tolist()
        if features.shape != (sum(tokens), self._width) or len(tokens) != count or features.dtype != self.kept:
            return None
        self._remember(key, features, tokens)
        return list(features.split_with_sizes(tokens))

    def _remember(self, key: str, features: torch.Tensor, tokens: list[int]) -> None:
        self._recent.put(key, list(features.split_with_sizes(tokens)), features.nbytes)

    def _computed(self, missing: dict[str, Pictures]) -> dict[str, list[torch.Tensor]]:
        """Run the tower over all pictures of the missing lists, those of one size together, and keep what comes out."""
        flat = [vision.resized(self._checkpoint, picture) for pictures in missing.values() for picture in pictures]
        order = sorted(range(len(flat)), key=lambda i: (flat[i].shape, i))
        out: dict[int, torch.Tensor] = {}
        for some in self._portions(flat, order):
            out |= zip(some, self._encoded([flat[i] for i in some]), strict=True)
        done: dict[str, list[torch.Tensor]] = {}
        first = 0
        for key, pictures in missing.items():
            parts = [out[i] for i in range(first, first + len(pictures))]
            first += len(pictures)
            features, tokens = torch.cat(parts), [len(part) for part in parts]
            self._disk.put(key, {"features": features, "tokens": torch.tensor(tokens)})
            self._remember(key, features, tokens)
            done[key] = list(features.split_with_sizes(tokens))
        return done

    def _portions(self, flat: Pictures, order: Sequence[int]) -> Iterator[list[int]]:
        """Numbers of pictures that are prepared together."""
        some: list[int] = []
        size = 0
        for i in order:
            count = self._patches(flat[i])
            if some and size + count > _MOST_PATCHES:
                yield some
                some, size = [], 0
            some.append(i)
            size += count
        if some:
            yield some

    def _patches(self, picture: NDArray[np.uint8]) -> int:
        height, width = picture.shape[:2]
        return int(height * width) // self._checkpoint.patch**2

    def _encoded(self, pictures: Pictures) -> list[torch.Tensor]:
        """Features of pictures of the right sizes, those of one shape standing together: on the CPU, rounded."""
        first = self._patches(pictures[0])
        extra = max(0, -(-(_LEAST_PATCHES - sum(map(self._patches, pictures))) // first))
        device = self._checkpoint.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._precision == "bf16"):
            done = vision.encode(self._checkpoint, self._prepared([pictures[0]] * extra + list(pictures)))
        return [feature.to("cpu", self.kept) for feature in done[extra:]]

    def _prepared(self, pictures: Pictures) -> Prepared:
        parts = []
        for shape, same in groupby(pictures, key=lambda p: p.shape):
            some = list(same)
            if self._fast and len(shape) == 2:
                grids = [(int(t), int(h), int(w)) for t, h, w in patches.grid(len(some), *shape)]
                parts.append(Prepared(patches.patchify(np.stack(some)), tuple(grids), tuple(some), self._checkpoint.patch))
            else:
                parts.append(vision.prepare(self._checkpoint, some))
        return Prepared(
            torch.cat([p.pixel_values for p in parts]),
            tuple(grid for p in parts for grid in p.grid_thw),
            tuple(picture for p in parts for picture in p.pictures),
            self._checkpoint.patch,
        )


def _identity(checkpoint: Checkpoint) -> str:
    """Hash of all that features depend on besides pictures: weights and configuration of the tower, and the image processor."""
    tower, processor = checkpoint.network.model.visual, checkpoint.image_processor
    settings: dict[str, Any] = {name: getattr(processor, name) for name in _PROCESSOR} | {"limits": checkpoint.pixel_limits}
    digest = hashlib.sha256(json_text(settings, sort_keys=True, default=str).encode())
    digest.update(checkpoint.network.config.vision_config.to_json_string(use_diff=False).encode())
    for name, weight in sorted(tower.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} ".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
