"""A case made ready once and asked many times: frame pictures, visual features, and the cache of the shared prompt prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unireason.core.errors import FormatError
from unireason.core.types import Crop, Frame, Kind, Stack
from unireason.grounding import crop
from unireason.grounding.profile import CropSource, Profile
from unireason.model import tokens, vision
from unireason.model.checkpoint import Checkpoint

from .session import Budget, Session, SessionScene

Regions = Callable[[crop.Plan], crop.Plan]


@dataclass(slots=True, eq=False)
class EncodedCase:
    """One stack as a network sees it.

    Attributes:
        stack: The stack.
        prepared: Frame pictures, patches and grids.
        frame: The model frame.
        features: Visual features, one tensor a picture; None for a back end that recomputes them.
        prefix: What the local back end keeps of the last prompt prefix (see ``packed.Prefix``).
    """

    stack: Stack
    prepared: vision.Prepared
    frame: Frame
    features: list[Any] | None = None
    prefix: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One response to be generated.

    Attributes:
        case: The encoded case.
        prompt: Prompt ids, pads expanded, from ``model.tokens.prompt_ids``.
        budget: Limits.
        seed: Seed of this response.
        crop_source: "model" cuts from the model frame, "native" from full-resolution pixels, "published" from a bilinear copy, with boxes
            read as the published code does it; "none" shows nothing.
        regions: Where to cut in place of what a box says, for checks of evidence; None cuts what was asked for. Called once a look; an
            empty plan shows nothing.
        profile: Whose rules of ending and of reading anew hold; None takes the checkpoint's.
        rollout: Whether looks follow the published roll-outs of training (``SessionScene.rollout``); for comparisons.
    """

    case: EncodedCase
    prompt: tuple[int, ...]
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    crop_source: CropSource = "model"
    regions: Regions | None = None
    profile: Profile | None = None
    rollout: bool = False

    def stop(self, checkpoint: Checkpoint) -> frozenset[int]:
        """Ids that end the response."""
        if (self.profile or checkpoint.profile).end_of_text:
            return checkpoint.ids.stop
        return checkpoint.ids.stop - {checkpoint.tokenizer.convert_tokens_to_ids("<|endoftext|>")}


def prepare_case(checkpoint: Checkpoint, stack: Stack, *, patches: bool = True) -> EncodedCase:
    """Resize and cut the pictures of a stack; the vision tower is not run. Without patches, where another process makes them."""
    prepared = (vision.prepare if patches else vision.sized)(checkpoint, list(stack.slices))
    if checkpoint.profile.crops == "published":
        side = {"factor": checkpoint.patch * checkpoint.merge}
        low, high = checkpoint.pixel_limits
        height, width = crop.smart_resize(*stack.slices.shape[1:3], **side, min_pixels=low, max_pixels=high)
        return EncodedCase(stack, prepared, Frame(width, height, len(stack.slices), stack.kind))
    return EncodedCase(stack, prepared, prepared.frame(stack.kind))


def bilinear(picture: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """A picture at the size of a frame as the published code makes the copy from which it cuts."""
    if picture.shape[:2] == (frame.height, frame.width):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((frame.width, frame.height), Image.Resampling.BILINEAR))


def known_case(
    checkpoint: Checkpoint, pictures: Sequence[NDArray[np.uint8]], kind: Kind, features: list[Any], *, stack: Stack | None = None
) -> EncodedCase:
    """A case whose pictures, uint8 (H, W) or (H, W, 3) of the model frame's size, and features, (tokens, width) each, are at hand already.

    ``stack`` is the case as serialised, for native crops; None takes the pictures for its full-resolution pixels.
    """
    grids = tuple(vision.grid_of(checkpoint, *p.shape[:2]) for p in pictures)
    prepared = vision.Prepared(torch.empty(0), grids, tuple(pictures), checkpoint.patch)
    frame = prepared.frame(kind)
    if stack is None:
        slices = np.stack(list(pictures))
        coverage = tuple((z, z + 1) for z in range(frame.depth))
        stack = Stack(slices, kind, "", coverage, slices if kind == "volume" else slices[0])
    return EncodedCase(stack, prepared, frame, features)


def start_session(checkpoint: Checkpoint, request: Request) -> Session:
    """The state machine of a request."""
    if request.crop_source not in get_args(CropSource):
        raise FormatError(f"the crop source is {request.crop_source!r}", f"one of {', '.join(get_args(CropSource))}")

    scene = SessionScene(
        request.case.frame,
        partial(cut_regions, checkpoint, request),
        partial(tokens.readable, checkpoint),
        checkpoint.merge,
        released=request.crop_source == "published",
        reread=partial(_reread, checkpoint) if (request.profile or checkpoint.profile).reread else None,
        rollout=request.rollout,
    )
    ids = replace(checkpoint.ids, stop=request.stop(checkpoint))
    return Session(request.prompt, scene, ids=ids, budget=request.budget)


def _reread(checkpoint: Checkpoint, ids: Sequence[int]) -> list[int]:
    return tokens.encode_text(checkpoint, tokens.decode(checkpoint, ids))


def cut_regions(checkpoint: Checkpoint, request: Request, plan: crop.Plan) -> tuple[Crop, ...]:
    """The crops that a request is shown for a plan, with their grids."""
    case, crops, source = request.case, [], request.crop_source
    plan = request.regions(plan) if request.regions else plan
    for index, rect in () if source == "none" else plan:
        if source == "native":
            from unireason.imaging import native_region

            pixels = native_region(case.stack, case.frame, index, rect)
        elif source == "published":
            pixels = crop.cut(bilinear(case.stack.slices[index], case.frame), rect)
        else:
            pixels = crop.cut(case.prepared.pictures[index], rect)
        if request.rollout:
            pixels = bilinear(pixels, Frame(*crop.rollout_size(*pixels.shape[:2])[::-1], 1, "image"))
        grid = vision.grid_of(checkpoint, *pixels.shape[:2])
        crops.append(Crop(rect, index, pixels, grid, "native" if source == "native" else "model"))
    return tuple(crops)
