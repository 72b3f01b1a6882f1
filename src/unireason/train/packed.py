"""From a pack to logits: vision features into place, one shared-prefix pass, logits where labels stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unireason.model.patches import grid, patchify

from .collate import Pack
from .shared_prefix import hidden_states, make_layout


def features(network: Any, pictures: Sequence[NDArray[np.uint8]], *, learn: bool = False) -> torch.Tensor:
    """Visual tokens of pictures of any sizes that are multiples of 28, in order.

    Args:
        network: The network.
        pictures: uint8 (H, W) each.
        learn: True to keep the gradient of the tower.

    Returns:
        (tokens, width), float32.
    """
    by_size: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        by_size.setdefault(picture.shape, []).append(i)
    parts: list[torch.Tensor] = [torch.empty(0)] * len(pictures)
    for (height, width), members in by_size.items():
        patches = patchify(np.stack([pictures[i] for i in members]))
        with torch.set_grad_enabled(learn), torch.autocast("cpu", torch.bfloat16):
            tokens = network.model.visual(patches, grid_thw=grid(len(members), height, width)).pooler_output
        for i, part in zip(members, tokens.float().split(height * width // 784), strict=True):
            parts[i] = part
    return torch.cat(parts)


def labelled_logits(
    network: Any, pack: Pack, image_token: int, *, learn_tower: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits at every labelled token of a pack.

    Args:
        network: A network registered for shared-prefix attention.
        pack: The pack.
        image_token: Id of the image pad.
        learn_tower: True to let the gradient reach the vision tower.

    Returns:
        Logits (n, vocabulary) in float32, their targets int64 (n,), and the row of each, int64 (n,).
    """
    ids = torch.from_numpy(pack.ids)
    embeddings = network.model.language_model.embed_tokens(ids)
    if pack.pictures:
        seen = features(network, pack.pictures, learn=learn_tower)
        embeddings = embeddings.index_put((torch.nonzero(ids == image_token)[:, 0],), seen)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = hidden_states(network, embeddings, torch.from_numpy(pack.positions), make_layout(pack.prefix, pack.lengths))
        where = torch.nonzero(torch.from_numpy(pack.labels))[:, 0]
        logits = network.lm_head(hidden[where - 1])
    owner = torch.repeat_interleave(torch.arange(len(pack.lengths)), torch.tensor(pack.lengths))
    return logits.float(), ids[where], owner[where - pack.prefix]
