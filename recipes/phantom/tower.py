"""Dense-mask pre-training of the small vision tower.

From every visual token a linear head must tell the organ of each 2 x 2-pixel cell that the token covers, and where in its picture
the token lies. The head is thrown away; the tower keeps what it learned and is frozen from then on. It stands in for the large-scale
pre-training of a real vision tower, and knows nothing of questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from unireason.data.sources.phantom import LESION_LABEL, ORGANS, SPINE_LABEL
from unireason.model.vision import grid, patchify, resized_picture
from unireason.train import optim
from unireason.train.config import Optim

from .cohort import View

TOKEN, CELL = 28, 2
CELLS = TOKEN // CELL
CLASSES = len(ORGANS) + 3
_CLASS = np.zeros(256, np.int64)
_CLASS[[o.label for o in ORGANS]] = range(1, len(ORGANS) + 1)
_CLASS[LESION_LABEL], _CLASS[SPINE_LABEL] = len(ORGANS) + 1, len(ORGANS) + 2
PLACES = 4  # token rows or columns of the largest picture
WARM = 100  # steps in which the rate rises
FLOOR = 0.05  # last rate as a share of the peak

Batch = list[tuple[NDArray[np.uint8], NDArray[np.uint8], bool]]
"""Pictures (n, H, W), their label maps, and whether their tokens have a place in a whole picture."""


class DenseHead(nn.Module):
    """Linear read-out of a visual token: cell classes, row and column."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.Linear(width, CELLS * CELLS * CLASSES)
        self.place = nn.Linear(width, 2 * PLACES)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, width) -> cell logits (n, 196, classes), place logits (n, 2, 4)."""
        return self.cells(tokens).view(-1, CELLS * CELLS, CLASSES), self.place(tokens).view(-1, 2, PLACES)


def cell_targets(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Class of every cell of every token."""
    n, height, width = labels.shape
    centres = labels[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
    rows, columns = height // TOKEN, width // TOKEN
    cut = centres.reshape(n, rows, CELLS, columns, CELLS).transpose(0, 1, 3, 2, 4)
    return _CLASS[cut.reshape(-1, CELLS * CELLS)]


def place_targets(count: int, height: int, width: int) -> NDArray[np.int64]:
    """(n * tokens, 2) row and column of every token in its picture."""
    rows, columns = np.mgrid[0 : height // TOKEN, 0 : width // TOKEN]
    return np.tile(np.stack([rows.ravel(), columns.ravel()], axis=1), (count, 1))


def random_crops(views: Sequence[View], rng: np.random.Generator, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Small regions, enlarged to one token as injected crops are: uint8 (count, 28, 28) pictures and labels."""
    pictures, labels = [], []
    for _ in range(count):
        view = views[int(rng.integers(len(views)))]
        z = int(rng.integers(len(view.pictures)))
        size = view.pictures.shape[1:]
        h, w = (int(rng.integers(4, min(s, 42))) for s in size)
        y, x = int(rng.integers(size[0] - h + 1)), int(rng.integers(size[1] - w + 1))
        pictures.append(resized_picture(np.ascontiguousarray(view.pictures[z, y : y + h, x : x + w]), TOKEN, TOKEN))
        rows, columns = ((np.arange(TOKEN) + 0.5) * h / TOKEN).astype(int), ((np.arange(TOKEN) + 0.5) * w / TOKEN).astype(int)
        labels.append(view.labels[z, y + rows[:, None], x + columns[None]])
    return np.stack(pictures), np.stack(labels)


class TowerTrainer:
    """Pre-trains the vision tower of a network in place."""

    def __init__(
        self,
        network: Any,
        volumes: Sequence[View],
        images: Sequence[View],
        *,
        seed: int,
        rate: float,
        lesion_weight: float = 3.5,
    ) -> None:
        self.tower, self.volumes, self.images = network.model.visual, volumes, images
        torch.manual_seed(seed)
        self.head = DenseHead(network.config.text_config.hidden_size)
        self.optimizers = optim.make_optimizers(self.parameters, Optim(lr=rate, weight_decay=0.01, betas=(0.9, 0.98)))
        self.weight = torch.ones(CLASSES)
        self.weight[0], self.weight[len(ORGANS) + 1] = 0.4, lesion_weight

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All that learns, by name."""
        parts = {"tower": self.tower, "dense": self.head}
        return {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()}

    def pictures(self, rng: np.random.Generator) -> Batch:
        """Three batches: volume slices, images, crops (the last without a place in the picture)."""
        slices = [self.volumes[int(i)] for i in rng.integers(len(self.volumes), size=4)]
        images = [self.images[int(i)] for i in rng.integers(len(self.images), size=20)]
        return [
            (np.concatenate([v.pictures for v in slices]), np.concatenate([v.labels for v in slices]), True),
            (np.concatenate([v.pictures for v in images]), np.concatenate([v.labels for v in images]), True),
            (*random_crops(slices + images, rng, 64), False),
        ]

    def losses(self, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Total loss and measured parts (share of foreground cells, lesion cells and places that are right)."""
        patches = torch.cat([patchify(p) for p, _, _ in batch])
        grids = torch.cat([grid(len(p), *p.shape[1:]) for p, _, _ in batch])
        targets = torch.from_numpy(np.concatenate([cell_targets(t) for _, t, _ in batch]))
        places = torch.from_numpy(np.concatenate([place_targets(len(p), *p.shape[1:]) for p, _, _ in batch]))
        known = torch.from_numpy(np.concatenate([np.full(p.size // TOKEN**2, flag) for p, _, flag in batch]))
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.tower(patches, grid_thw=grids).pooler_output
            cells, place = self.head(tokens)
        cell_loss = F.cross_entropy(cells.float().flatten(0, 1), targets.flatten(), weight=self.weight)
        place_loss = F.cross_entropy(place[known].float().flatten(0, 1), places[known].flatten())
        with torch.no_grad():
            right = cells.argmax(-1) == targets
            shown = {
                "cell_loss": cell_loss.item(),
                "foreground": right[targets > 0].float().mean().item(),
                "lesion": right[targets == len(ORGANS) + 1].float().mean().item(),
                "place": (place[known].argmax(-1) == places[known]).float().mean().item(),
            }
        return cell_loss + 0.3 * place_loss, shown

    def step(self, number: int, total: int, rng: np.random.Generator) -> dict[str, float]:
        """Optimiser step ``number`` of ``total``, counted from 1; returns the measured parts."""
        rate = min(1.0, number / WARM) * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * number / total)))
        loss, shown = self.losses(self.pictures(rng))
        torch.autograd.backward(loss)
        optim.advance(self.optimizers, rate=rate, clip=1.0)
        return shown
