"""The SAM 2 architecture as a frozen network: masks of single pictures, and a mask followed through neighbouring slices.

For following, slices are the frames of a film. What the network remembers of the frames behind it conditions the next one; a new
direction begins with an empty memory.

Source: SAM 2 (arXiv 2408.00714); propagation from a key slice both ways as in MedSAM2 (arXiv 2504.03600).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unireason.errors import ModelError

from .features import Features
from .sam import Ask, Found, chosen

_CORNERS = (2, 3)  # labels of the upper left and lower right corner of a box among points
_INSIDE = 1


class Sam2Network:
    """``transformers.Sam2VideoModel``, or ``Sam2Model``, which has no memory and cannot follow.

    Args:
        model: In evaluation mode, on its device.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.size = int(model.config.prompt_encoder_config.image_size)
        self._positions: list[Tensor] = []

    def encode(self, pixels: Tensor) -> Features:
        """Features of a picture.

        Args:
            pixels: float32 (3, size, size).

        Returns:
            Three tensors (h w, 1, C), from the finest to the coarsest grid.
        """
        made = self.model.get_image_features(pixels[None].to(self.model.device), return_dict=True)
        self._positions = list(made.fpn_position_encoding)  # the same for every picture
        return tuple(made.fpn_hidden_states)

    def decode(self, features: Features, ask: Ask) -> Found:
        """Masks of prompts, all in one call.

        Args:
            features: Of :meth:`encode`.
            ask: P prompts, at least one.
        """
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

    def follow(self, features: Callable[[int], Features], order: Sequence[int], *, frames: int, ask: Ask) -> Iterator[Tensor]:
        """Follow one prompt along slices.

        Args:
            features: Features of a slice.
            order: Slices in the order in which they are seen, up or down; the prompt lies on the first.
            frames: Slices of the volume.
            ask: One prompt.

        Yields:
            Logits (h, w) of each slice in order. Far below 0 everywhere where the structure is no longer seen; NaN where damaged
            weights cannot tell.

        Raises:
            ModelError: If the weights have no memory.
        """
        session = self._session(features, frames)
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

    def _session(self, features: Callable[[int], Features], frames: int) -> Any:
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
        return session


class _Frames:
    """Stands where a session keeps the features of its frames, and asks for them instead."""

    def __init__(self, network: Sam2Network, features: Callable[[int], Features]) -> None:
        self.network, self.features = network, features

    def get_vision_features(self, frame_idx: int) -> dict[str, list[Tensor]]:
        found = list(self.features(frame_idx))
        return {"vision_feats": found, "vision_pos_embeds": self.network._positions}
