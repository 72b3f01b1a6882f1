"""The SAM architecture as a frozen network: a picture becomes features once, prompts on them become masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .features import Features


@dataclass(frozen=True, slots=True)
class Ask:
    """Prompts of one kind on one picture, in the network's coordinates; P prompts.

    Attributes:
        boxes: float32 (P, 4), or None.
        points: float32 (P, N, 2) inside, or None.
        best: True takes the best of several masks, False the first.
    """

    boxes: Tensor | None
    points: Tensor | None
    best: bool


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Answers to P prompts.

    Attributes:
        logits: (P, h, w) over the whole square; above 0 is inside.
        scores: (P,) predicted overlap with the truth, not clipped.
    """

    logits: Tensor
    scores: Tensor


class SamNetwork:
    """``transformers.SamModel``, or a network of the same form.

    Args:
        model: In evaluation mode, on its device.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.size = int(model.config.vision_config.image_size)

    def encode(self, pixels: Tensor) -> Features:
        """Features of a picture.

        Args:
            pixels: float32 (3, size, size).

        Returns:
            One tensor (1, C, size/16, size/16).
        """
        return (self.model.get_image_embeddings(pixels[None].to(self.model.device)),)

    def decode(self, features: Features, ask: Ask) -> Found:
        """Masks of prompts, all in one call.

        Args:
            features: Of :meth:`encode`.
            ask: P prompts, at least one.
        """
        boxes, points = (None if t is None else t[None].to(self.model.device) for t in (ask.boxes, ask.points))
        out = self.model(image_embeddings=features[0], input_points=points, input_boxes=boxes, multimask_output=ask.best)
        return chosen(out.pred_masks[0], out.iou_scores[0])


def chosen(masks: Tensor, scores: Tensor) -> Found:
    """Of several masks of each prompt the one with the highest predicted overlap; of equals the first.

    Args:
        masks: (P, M, h, w).
        scores: (P, M).
    """
    best = scores.argmax(dim=1)
    rows = range(len(best))
    return Found(masks[rows, best], scores[rows, best])
