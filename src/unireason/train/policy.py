"""A network as trainers use it: a packed sequence goes in, something measured at every target comes out.

Everything that touches a weight happens inside ``forward``, so that wrappers which gather sharded weights around it work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.checkpoint import checkpoint as recomputed

from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Frame, Stack
from unireason.data.formats.tables import IMAGE, Cut, with_crops
from unireason.data.records import SampleRecord
from unireason.engine.case import bilinear
from unireason.grounding.crop import cut
from unireason.grounding.profile import CropSource, Profile, load_profile
from unireason.imaging import native_region
from unireason.model.checkpoint import Checkpoint
from unireason.model.tokens import Grid, encode_text, prompt_ids
from unireason.model.vision import model_size, resized

from .packing import Pack, PrefixTree, TokenRun

Head = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (m, vocabulary) in float32 and targets int64 (m,) -> (m,) or (m, k) values."""

_LOGITS_AT_ONCE = 1 << 26  # 256 MB in float32


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Pictures for a vision tower that learns."""

    values: torch.Tensor
    grid: torch.Tensor


def recompute(network: Any) -> None:
    """Let the layers of a network run again in the backward pass, in training mode, in place of keeping what they computed.

    Source: training with sublinear memory, arXiv 1604.06174.
    """
    # The method has this name in newer versions of transformers, where the old one warns.
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable({"use_reentrant": False})


class Policy(nn.Module):
    """Wraps ``Qwen2_5_VLForConditionalGeneration`` for packed sequences."""

    def __init__(self, network: Any, *, autocast: bool) -> None:
        super().__init__()
        self.network = network
        self.autocast = autocast

    def forward(self, pack: Pack, seen: torch.Tensor | Patches | None, head: Head) -> torch.Tensor:
        """Measure something at every target."""
        network, device = self.network, self.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            ids = pack.ids.to(device)
            embedded = network.model.language_model.embed_tokens(ids)
            if seen is not None:
                visual = self._look(seen).to(device, embedded.dtype)
                pads = torch.nonzero(ids == network.config.image_token_id)[:, 0]
                if not len(pads):  # a picture that nobody asks about: its tokens count nothing, the tower's gradients are there
                    embedded, visual = embedded + 0 * visual.sum(), visual[:0]
                if len(pads) != len(visual):
                    raise ModelError(f"{len(visual)} visual tokens came for {len(pads)} image pads", "as many")
                embedded = embedded.index_put((pads,), visual)
            hidden = network.model.language_model(
                inputs_embeds=embedded[None],
                position_ids=pack.positions[:, None].to(device),
                attention_mask={"full_attention": None},
                use_cache=False,
                layout=pack.layout.to(device),
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


# --- Samples of a data set become trees: the pictures of a case once, and a row for every question on it.


Pictures = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """The pictures of a case, and where its regions are cut."""

    frame: Frame
    pictures: Pictures
    stack: Stack | None

    def region(self, place: Cut, source: CropSource) -> NDArray[np.uint8]:
        """The pixels of one crop, of the size at which they are found."""
        index, rect = place
        if rect is None:
            return self.pictures[index]
        if self.stack and source == "native":
            return native_region(self.stack, self.frame, index, rect)
        if self.stack and source == "published":
            return cut(bilinear(self.stack.slices[index], self.frame), rect)
        return cut(self.pictures[index], rect)


@dataclass(frozen=True, slots=True)
class Encoder:
    """Writes samples as token sequences for one checkpoint."""

    checkpoint: Checkpoint

    @classmethod
    def of(cls, checkpoint: Checkpoint, profile: str = "") -> Encoder:
        """The encoder of a checkpoint."""
        return cls(replace(checkpoint, profile=load_profile(profile)) if profile else checkpoint)

    def profile(self, sample: SampleRecord) -> Profile:
        """The profile that asks a sample."""
        return self.checkpoint.grounding if sample.task == "umrg" else self.checkpoint.profile

    def prompt(self, sample: SampleRecord, frame: Frame) -> tuple[int, ...]:
        """Prompt ids of a sample, pads expanded."""
        profile, question = self.profile(sample), sample.question
        messages = profile.parts(frame.kind, question.text, question.options, n_slices=frame.depth, scale=sample.scale)
        asking = replace(self.checkpoint, profile=profile)
        return prompt_ids(asking, messages, [self._grid(frame.height, frame.width)] * frame.depth)

    def run(self, ids: Sequence[int], pictures: Pictures) -> TokenRun:
        """Prompt ids with the pictures of their case, without loss."""
        run, special = TokenRun(), self.checkpoint.ids
        shown = [(p, self._grid(*p.shape[:2])) for p in pictures]
        run.tokens(ids, [False] * len(ids), pictures=shown, special=special, merge=self.checkpoint.merge)
        return run

    def trees(
        self, samples: Sequence[SampleRecord], frame: Frame, pictures: Pictures, *, stack: Stack | None = None
    ) -> list[PrefixTree]:
        """Questions and responses on one case."""
        by_prefix: dict[tuple[int, ...], list[tuple[SampleRecord, tuple[int, ...]]]] = {}
        for sample in samples:
            prompt = self.prompt(sample, frame)
            split = len(prompt) - prompt[::-1].index(self.checkpoint.ids.vision_end)
            by_prefix.setdefault(prompt[:split], []).append((sample, prompt[split:]))
        out = []
        for beginning, members in by_prefix.items():
            prefix = self.run(beginning, pictures)
            rows = [self._row(prefix.next, question, s, _Shown(frame, pictures, stack)) for s, question in members]
            out.append(PrefixTree(prefix, tuple(rows), tuple(s.question.family for s, _ in members)))
        return out

    def _row(self, start: int, question: Sequence[int], sample: SampleRecord, shown: _Shown) -> TokenRun:
        row, profile = TokenRun(next=start), self.profile(sample)
        row.text(question, label=False)
        text = sample.response
        if profile.assistant_prefix and not text.startswith(profile.assistant_prefix):
            raise FormatError(
                f"the response of {sample.id} begins with {text[:20]!r}",
                f"{profile.assistant_prefix!r}, with which the profile opens the assistant's turn",
            )
        marked, cuts = with_crops(text, shown.frame) if profile.injects else (text, ())
        pieces = marked.removeprefix(profile.assistant_prefix).split(IMAGE)
        for number, piece in enumerate(pieces):
            row.text(encode_text(self.checkpoint, piece), label=True)
            if number < len(cuts):
                region = resized(self.checkpoint, np.ascontiguousarray(shown.region(cuts[number], profile.crops)))
                row.picture(region, self._grid(*region.shape[:2]), self.checkpoint.ids, merge=self.checkpoint.merge)
        row.text([self.checkpoint.ids.im_end], label=True)
        return row

    def _grid(self, height: int, width: int) -> Grid:
        """Grid in patches of a picture of the network's own size."""
        if model_size(self.checkpoint, height, width) != (height, width):
            raise FormatError(
                f"a picture of {height} x {width} pixels",
                "the size at which the network sees it",
                "build the data for this checkpoint",
            )
        return 1, height // self.checkpoint.patch, width // self.checkpoint.patch
