"""A network as trainers use it: a packed sequence goes in, something measured at every target comes out.

Everything that touches a weight happens inside ``forward``, so that wrappers which gather sharded weights around it work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint as recomputed

from unireason.errors import ModelError

from .sequence import Pack

Head = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (m, vocabulary) in float32 and targets int64 (m,) -> (m,) or (m, k) values."""

_LOGITS_AT_ONCE = 1 << 26  # 256 MB in float32


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Pictures for a vision tower that learns.

    Attributes:
        values: float32 (patches, values of a patch).
        grid: int64 (pictures, 3), (t, h, w) in patches.
    """

    values: torch.Tensor
    grid: torch.Tensor


def recompute(network: Any) -> None:
    """Let the layers of a network run again in the backward pass, in training mode, in place of keeping what they computed.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration``.

    Source: training with sublinear memory, arXiv 1604.06174.
    """
    # The method has this name in newer versions of transformers, where the old one warns.
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable({"use_reentrant": False})


class Policy(nn.Module):
    """Wraps ``Qwen2_5_VLForConditionalGeneration`` for packed sequences.

    Attributes:
        network: The network; its language model must use ``packed_attention`` during forward and backward pass.
        autocast: True computes matrix products in bfloat16.
    """

    def __init__(self, network: Any, *, autocast: bool) -> None:
        super().__init__()
        self.network = network
        self.autocast = autocast

    def forward(self, pack: Pack, seen: torch.Tensor | Patches | None, head: Head) -> torch.Tensor:
        """Measure something at every target.

        Args:
            pack: The packed sequence; its tensors on any device.
            seen: Visual tokens (tokens, width) of all pictures in order, or patches for a tower that learns; None without pictures.
            head: What is computed from logits and targets, some at a time.

        Returns:
            What ``head`` gives for all targets, in order.

        Raises:
            ModelError: If there are more or fewer visual tokens than image pads.
        """
        network, device = self.network, self.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            ids = pack.ids.to(device)
            embedded = network.model.language_model.embed_tokens(ids)
            if seen is not None:
                visual = self._look(seen).to(device, embedded.dtype)
                pads = torch.nonzero(ids == network.config.image_token_id)[:, 0]
                if len(pads) != len(visual):
                    raise ModelError(f"{len(visual)} visual tokens came for {len(pads)} image pads", "as many")
                embedded = embedded.index_put((pads,), visual)
            hidden = network.model.language_model(
                inputs_embeds=embedded[None],
                position_ids=pack.positions[:, None].to(device),
                attention_mask={"full_attention": None},
                use_cache=False,
                layout=pack.layout,
            ).last_hidden_state[0]
            return self._measure(hidden[pack.sources.to(device)], ids[pack.targets.to(device)], head)

    def _look(self, seen: torch.Tensor | Patches) -> torch.Tensor:
        """Visual tokens: as given, or by the tower with its gradient."""
        if isinstance(seen, torch.Tensor):
            return seen
        values, grid = seen.values.to(self.device), seen.grid.to(self.device)
        tokens: torch.Tensor = self.network.model.visual(values, grid_thw=grid).pooler_output
        return tokens

    def _measure(self, hidden: torch.Tensor, targets: torch.Tensor, head: Head) -> torch.Tensor:
        """The head over pieces of bounded size; several pieces are computed again in the backward pass instead of kept."""
        at_once = max(1, _LOGITS_AT_ONCE // self.network.config.get_text_config().vocab_size)
        if len(targets) <= at_once:
            return self._piece(hidden, targets, head)
        pieces = zip(torch.split(hidden, at_once), torch.split(targets, at_once), strict=True)
        return torch.cat([recomputed(self._piece, h, t, head, use_reentrant=False) for h, t in pieces])

    def _piece(self, hidden: torch.Tensor, targets: torch.Tensor, head: Head) -> torch.Tensor:
        return head(self.network.lm_head(hidden).float(), targets)

    @property
    def device(self) -> torch.device:
        """Where the embeddings lie."""
        found: torch.device = self.network.get_input_embeddings().weight.device
        return found
