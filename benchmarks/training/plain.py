"""Whole sequences side by side through the network by the library's own road: its positions, its masks, its attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unireason.model.tokens import Grid


def response_logits(
    network: Any,
    prompt: Sequence[int],
    responses: Sequence[Sequence[int]],
    kept: Sequence[Sequence[bool]],
    grids: Sequence[Grid],
    *,
    features: torch.Tensor | None = None,
    pixels: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of tokens of responses to one prompt, in a batch padded on the right.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration``.
        prompt: Ids, repeated in every row.
        responses: Ids of every row behind the prompt.
        kept: Which ids of the responses are asked for.
        grids: Grids of the pictures of every row, row after row.
        features: Visual tokens of all these pictures; or
        pixels: patches of them, for the tower.

    Returns:
        (n, vocabulary) logits and int64 (n,) ids; no logits are computed in front of the responses.
    """
    longest = max(map(len, responses))
    ids = torch.zeros(len(responses), len(prompt) + longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, response in enumerate(responses):
        ids[i, : len(prompt) + len(response)] = torch.tensor([*prompt, *response])
        mask[i, : len(prompt) + len(response)] = 1
    pads = ids == network.config.image_token_id
    types, grid = pads.int(), torch.tensor(list(grids))
    # Without padding there is no need of a mask, and the library's attention is quicker.
    shared = {"attention_mask": None if bool(mask.all()) else mask, "use_cache": False, "logits_to_keep": longest + 1}
    if features is None:
        out = network(input_ids=ids, mm_token_type_ids=types, pixel_values=pixels, image_grid_thw=grid, **shared)
    else:
        embedded = network.get_input_embeddings()(ids).masked_scatter(pads[..., None], features)
        positions, _ = network.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid, attention_mask=mask)
        out = network(inputs_embeds=embedded, position_ids=positions, **shared)
    places = [torch.tensor([i for i, asked in enumerate(row) if asked]) for row in kept]
    logits = torch.cat([out.logits[i, where] for i, where in enumerate(places)])
    return logits, torch.cat([ids[i, len(prompt) + where] for i, where in enumerate(places)])
