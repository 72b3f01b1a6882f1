"""A case made ready once and asked many times: frame pictures, visual features, and the cache of the shared prompt prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from unireason.errors import FormatError
from unireason.grounding import crop
from unireason.model import tokens, vision
from unireason.model.checkpoint import Checkpoint
from unireason.types import Crop, Frame, Stack

from .session import Budget, Scene, Session

CropSource = Literal["model", "native"]


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
        crop_source: "model" cuts from the model frame, "native" from full-resolution pixels.
    """

    case: EncodedCase
    prompt: tuple[int, ...]
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    crop_source: CropSource = "model"


def prepare_case(checkpoint: Checkpoint, stack: Stack) -> EncodedCase:
    """Resize and cut the pictures of a stack; the vision tower is not run.

    Raises:
        ModelError: If the stack has no slices or they cannot be fed.
    """
    prepared = vision.prepare(checkpoint, list(stack.slices))
    return EncodedCase(stack, prepared, prepared.frame(stack.kind))


def start_session(checkpoint: Checkpoint, request: Request) -> Session:
    """The state machine of a request.

    Raises:
        FormatError: If the crop source is unknown.
        ModelError: If the prompt is empty or longer than the context.
    """
    if request.crop_source not in ("model", "native"):
        raise FormatError(f"the crop source is {request.crop_source!r}", "'model' or 'native'")

    def cut(plan: crop.Plan) -> tuple[Crop, ...]:
        return tuple(_cut(checkpoint, request, index, rect) for index, rect in plan)

    def decode(ids: Sequence[int]) -> str:
        return tokens.readable(checkpoint, ids)

    scene = Scene(request.case.frame, cut, decode, checkpoint.merge)
    return Session(request.prompt, scene, ids=checkpoint.ids, budget=request.budget)


def _cut(checkpoint: Checkpoint, request: Request, index: int, rect: crop.Rect) -> Crop:
    case = request.case
    if request.crop_source == "native":
        from unireason.imaging import native_region

        pixels = native_region(case.stack, case.frame, index, rect)
    else:
        pixels = crop.cut(case.prepared.pictures[index], rect)
    grid = vision.grid_of(checkpoint, *pixels.shape[:2])
    return Crop(rect, index, pixels, grid, request.crop_source)
