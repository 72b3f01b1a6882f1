"""The SAM architecture as a frozen network: a picture becomes features once, prompts on them become masks.

Source: SAM 2 (arXiv 2408.00714); propagation from a key slice both ways as in MedSAM2 (arXiv 2504.03600).
Source: SAM-Med2D (arXiv 2308.16184), section 3.2 and figure 3; names and shapes of the public checkpoint.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import SamConfig, SamModel
from transformers.utils import logging

from unireason.core.errors import ModelError
from unireason.imaging.present import Window
from unireason.imaging.raster import content

_SQUEEZE = 4  # channels go through a layer a quarter as wide


class Adapter(nn.Module):
    """One adapter."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // _SQUEEZE, bias=False)
        self.excite = nn.Linear(channels // _SQUEEZE, channels, bias=False)
        self.down = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(channels, channels, kernel_size=4, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape; H and W are even."""
        weight = self.excite(self.squeeze(hidden.mean(dim=(1, 2))).relu()).sigmoid()  # (B, C)
        weighted = (hidden * weight[:, None, None]).permute(0, 3, 1, 2)
        spatial = self.up(self.down(weighted).relu()).relu().permute(0, 2, 3, 1)
        normalised: Tensor = self.norm(hidden + spatial)
        return normalised


class AdaptedPerceptron(nn.Module):
    """The perceptron of an encoder layer with its adapter beside it."""

    def __init__(self, perceptron: Any, channels: int) -> None:
        super().__init__()
        self.lin1, self.lin2, self.act = perceptron.lin1, perceptron.lin2, perceptron.act
        self.adapter = Adapter(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        answer: Tensor = self.lin2(self.act(self.lin1(hidden))) + self.adapter(hidden)
        return answer


class SamMed2DModel(SamModel):  # type: ignore[misc]
    """``SamModel`` with adapters in the vision encoder."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__(config)
        for layer in self.vision_encoder.layers:
            layer.mlp = AdaptedPerceptron(layer.mlp, config.vision_config.hidden_size)


# --- What a network made of pictures, kept for the next prompts: the least recently used goes first when the memory is full.


Features = tuple[Tensor, ...]


class FeatureCache:
    """Features by what a picture holds and its window, whoever cuts it out and wherever it lies. Not safe for several threads."""

    def __init__(self, limit_bytes: int = 512 << 20) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._kept: OrderedDict[tuple[str, Window], Features] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, pixels: NDArray[Any], window: Window, make: Callable[[], Features]) -> Features:
        """The features of a picture, made if they are not at hand."""
        key = (content(pixels), window)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = make()
        self.held_bytes += _bytes(made)
        while self.held_bytes > self.limit_bytes and len(self._kept) > 1:
            self.held_bytes -= _bytes(self._kept.popitem(last=False)[1])
        return made


def _bytes(features: Features) -> int:
    return sum(tensor.nbytes for tensor in features)


# --- The SAM architecture as a frozen network: a picture becomes features once, prompts on them become masks.


@dataclass(frozen=True, slots=True)
class SamPrompt:
    """Prompts of one kind on one picture, in the network's coordinates; P prompts."""

    boxes: Tensor | None
    points: Tensor | None
    best: bool


@dataclass(frozen=True, slots=True, eq=False)
class SamMasks:
    """Answers to P prompts."""

    logits: Tensor
    scores: Tensor


class SamNetwork:
    """``transformers.SamModel``, or a network of the same form."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.size = int(model.config.vision_config.image_size)

    def encode(self, pixels: Tensor) -> Features:
        """Features of a picture."""
        return (self.model.get_image_embeddings(pixels[None].to(self.model.device)),)

    def decode(self, features: Features, ask: SamPrompt) -> SamMasks:
        """Masks of prompts, all in one call."""
        boxes, points = (None if t is None else t[None].to(self.model.device) for t in (ask.boxes, ask.points))
        out = self.model(image_embeddings=features[0], input_points=points, input_boxes=boxes, multimask_output=ask.best)
        return chosen(out.pred_masks[0], out.iou_scores[0])


def chosen(masks: Tensor, scores: Tensor) -> SamMasks:
    """Of several masks of each prompt the one with the highest predicted overlap; of equals the first."""
    best = scores.argmax(dim=1)
    rows = range(len(best))
    return SamMasks(masks[rows, best], scores[rows, best])


# --- The SAM 2 architecture as a frozen network: masks of single pictures, and a mask followed through neighbouring slices.


_CORNERS = (2, 3)  # labels of the upper left and lower right corner of a box among points
_INSIDE = 1


class Sam2Network:
    """``transformers.Sam2VideoModel``, or ``Sam2Model``, which has no memory and cannot follow."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.size = int(model.config.prompt_encoder_config.image_size)
        self._positions: list[Tensor] = []

    def encode(self, pixels: Tensor) -> Features:
        """Features of a picture."""
        made = self.model.get_image_features(pixels[None].to(self.model.device), return_dict=True)
        self._positions = list(made.fpn_position_encoding)  # the same for every picture
        return tuple(made.fpn_hidden_states)

    def decode(self, features: Features, ask: SamPrompt) -> SamMasks:
        """Masks of prompts, all in one call."""
        model = self.model
        levels = [*features[:-1], features[-1] + model.no_memory_embedding]
        maps = [
            level.permute(1, 2, 0).unflatten(2, tuple(size))
            for level, size in zip(levels, model.backbone_feature_sizes, strict=True)
        ]
        boxes, points = (None if t is None else t[None].to(model.device) for t in (ask.boxes, ask.points))
        labels = None if points is None else torch.full(points.shape[:3], _INSIDE, dtype=torch.int32, device=model.device)
        sparse, dense = model.prompt_encoder(input_points=points, input_labels=labels, input_boxes=boxes, input_masks=None)
        masks, scores, *_ = model.mask_decoder(
            image_embeddings=maps[-1],
            image_positional_embeddings=model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=ask.best,
            high_resolution_features=maps[:-1],
        )
        return chosen(masks[0], scores[0])

    def follow(
        self, features: Callable[[int], Features], order: Sequence[int], *, frames: int, ask: SamPrompt
    ) -> Iterator[Tensor]:
        """Follow one prompt along slices."""
        if not hasattr(self.model, "memory_encoder"):
            raise ModelError(
                "these weights have no memory and cannot follow a structure through slices",
                "weights of model type sam2_video",
                "take such weights, such as facebook/sam2.1-hiera-tiny",
            )
        from transformers import Sam2VideoInferenceSession

        device = self.model.device
        session = Sam2VideoInferenceSession(inference_device=device, inference_state_device=device, dtype=self.model.dtype)
        session.processed_frames = dict.fromkeys(range(frames))  # counted only: features come from below
        session.cache = _Frames(self, features)
        boxes, points = ask.boxes, ask.points
        corners = torch.empty(0, 2) if boxes is None else boxes.reshape(2, 2)
        inside = torch.empty(0, 2) if points is None else points[0]
        labels = (*(_CORNERS if boxes is not None else ()), *[_INSIDE] * len(inside))
        session.add_point_inputs(
            session.obj_id_to_idx(1),
            order[0],
            {
                "point_coords": torch.cat([corners, inside])[None, None],
                "point_labels": torch.tensor(labels, dtype=torch.int32)[None, None],
            },
        )
        session.obj_with_new_inputs = [1]
        down = len(order) > 1 and order[1] < order[0]
        for index in order:
            out = self.model(session, frame_idx=index, reverse=down)
            for outputs in session.output_dict_per_obj[0].values():
                outputs.get(index, {}).pop("high_res_masks", None)  # megabytes a slice, and of no more use
            # The library takes a score that is not finite for "not seen", and damaged weights for an empty slice.
            sound = bool(out.object_score_logits.isfinite().all())
            yield out.pred_masks[0, 0] if sound else torch.full_like(out.pred_masks[0, 0], torch.nan)


class _Frames:
    """Stands where a session keeps the features of its frames, and asks for them instead."""

    def __init__(self, network: Sam2Network, features: Callable[[int], Features]) -> None:
        self.network, self.features = network, features

    def get_vision_features(self, frame_idx: int) -> dict[str, list[Tensor]]:
        found = list(self.features(frame_idx))
        return {"vision_feats": found, "vision_pos_embeds": self.network._positions}


@contextmanager
def without_bars() -> Iterator[None]:
    """Inside the block transformers draws no progress bars: callers draw their own, or must stay quiet."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
